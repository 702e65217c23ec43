"""The polling transports: xhr-polling and jsonp-polling. Each GET waits for news and is answered with them."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

from simplejson.encoder import JSONEncoderForHTML

from tornadio import forms
from tornadio.errors import RefusedError
from tornadio.pollingsession import PollingSession
from tornadio.transport import Resource, TransportHandler, has_hung_up, taken

_script_string = JSONEncoderForHTML().encode


def script_string(text: str) -> str:
    """``text`` as a JavaScript string literal, in ASCII, that nothing in it can leave, nor a ``<script>`` around it."""
    return _script_string(text)


class PollingHandler(TransportHandler):
    """A GET is one poll: a channel that carries one payload."""

    content_type: str

    def initialize(self, resource: Resource) -> None:
        super().initialize(resource)
        self._session: PollingSession | None = None
        self._answered = asyncio.Event()

    async def read(self, session_id: str, tail: str, extra: str) -> None:
        if session_id:
            session = self.find_session(session_id)
            assert isinstance(session, PollingSession)
        else:
            opened = await self.open_session(PollingSession, extra)
            if opened is None:
                return
            session = opened
        self._session = session
        session.attach(self)
        await self._answered.wait()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._answered.set()
        if self._session is not None:
            self._session.lost(self)

    def format_payload(self, payload: str) -> str:
        """A payload as the body of a response."""
        raise NotImplementedError

    # -- The session's channel -----------------------------------------------------------------------------------

    def deliver(self, payload: str) -> "asyncio.Future[None] | None":
        """Answer with a payload; see :meth:`tornadio.session.Channel.deliver`."""
        stream = self.stream
        self._answered.set()
        if has_hung_up(stream):
            stream.close()
        else:
            self.set_header("Content-Type", self.content_type)
            self.finish(self.format_payload(payload))
            if stream.closed() and stream.error is None:
                return None  # Tornado closes a connection that is not kept alive, once all is written
        return taken(stream)

    def end(self, code: int, reason: str) -> None:
        """Answer with nothing, which is no news."""
        self.deliver("")

    def replaced(self) -> None:
        """Another GET waits instead."""
        self.set_status(409)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish("another request has taken over this session")
        self._answered.set()

    def abort(self) -> None:
        """Cut off an answer under way."""
        self.stream.close()


class XHRPollingHandler(PollingHandler):
    """``xhr-polling``: payloads as they are."""

    transport = "xhr-polling"
    content_type = "text/plain; charset=UTF-8"

    def format_payload(self, payload: str) -> str:
        return payload


class JSONPPollingHandler(PollingHandler):
    """``jsonp-polling``: payloads as calls of a script, which a page may load from anywhere."""

    transport = "jsonp-polling"
    content_type = "text/javascript; charset=UTF-8"
    _index = ""

    def is_allowed_origin(self) -> bool:
        return self.here.origins.allows_script(self.request.headers, self.request.host)

    async def read(self, session_id: str, tail: str, extra: str) -> None:
        address = re.fullmatch(r"[^/]*/([0-9]{1,10})", tail)
        if address is None:
            raise RefusedError(400, "a JSONP request ends in /TIMESTAMP/INDEX, INDEX in digits")
        self._index = address[1]
        await super().read(session_id, tail, extra)

    def decode(self, data: str) -> Iterator[tuple[str, Any]]:
        return forms.form_frames(data)

    def format_payload(self, payload: str) -> str:
        return f"io.JSONP[{self._index}]._({script_string(payload)});"
