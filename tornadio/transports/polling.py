"""The polling transports: xhr-polling and jsonp-polling. Each GET waits for news and is answered with them."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

from simplejson.encoder import JSONEncoderForHTML

from tornadio.errors import PeerError, RefusedError
from tornadio.net.sockets import failed_future
from tornadio.sessions.outbox import Payload
from tornadio.sessions.polling import PollingSession
from tornadio.sessions.state import State
from tornadio.transports import forms
from tornadio.transports.base import TEXT, TransportHandler
from tornadio.transports.opening import Opening, open_session

_script_string = JSONEncoderForHTML().encode


def script_string(text: str) -> str:
    """``text`` as a JavaScript string literal, in ASCII, that nothing in it can leave, nor a ``<script>`` around it."""
    return _script_string(text)


class PollingHandler(TransportHandler):
    """A GET is one poll: a channel that carries one payload."""

    content_type: str
    _session: PollingSession | None = None
    _opening: Opening[PollingSession] | None = None
    _has_gone = False

    def read(self) -> None:
        self.exchange.set_close_callback(self.on_connection_close)
        if self.address.session_id:
            session = self.find_session()
            assert isinstance(session, PollingSession)
            self._attach(session)
        else:
            self._opening = open_session(
                self.here, PollingSession, self.transport, self.request, self.address.extra, self._opened
            )

    def _opened(self, outcome: PollingSession | PeerError) -> None:
        self._opening = None
        if self._has_gone:
            if not isinstance(outcome, PeerError):
                outcome.abort()
        elif isinstance(outcome, PeerError):
            self.respond_error(outcome)
        elif outcome.state is State.CLOSED:
            self.respond_error(self.session_not_found())
        else:
            self._attach(outcome)

    def _attach(self, session: PollingSession) -> None:
        self._session = session
        session.attach(self)

    def on_connection_close(self) -> None:
        self._has_gone = True
        session, self._session = self._session, None
        if session is not None:
            session.channel_lost(self)
        if self._opening is not None:
            self._opening.session.abort()

    def format_payload(self, payload: str) -> str:
        """A payload as the body of a response."""
        raise NotImplementedError

    # -- The session's channel -----------------------------------------------------------------------------------

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        """Answer with a payload; see :meth:`tornadio.sessions.channel.Channel.write`."""
        if self.exchange.peer_has_closed():
            self.exchange.close()
            return failed_future()
        self.respond(200, self.content_type, self.format_payload(payload.text).encode("utf-8"))
        return self.exchange.flushed()

    def close(self, code: int, reason: str) -> None:
        """Answer with nothing, which is no news."""
        self._session = None
        self.write(Payload(""))

    def replaced(self) -> None:
        """Another GET waits instead."""
        self._session = None
        self.respond(409, TEXT, b"another request has taken over this session")

    def abort(self) -> None:
        """Cut off an answer under way."""
        self.exchange.close()


class XHRPollingHandler(PollingHandler):
    """``xhr-polling``: payloads as they are."""

    transport = "xhr-polling"
    content_type = "text/plain; charset=UTF-8"

    def format_payload(self, payload: str) -> str:
        return payload


class JSONPPollingHandler(PollingHandler):
    """``jsonp-polling``: payloads as calls of a script, which a page may load from anywhere."""

    transport = "jsonp-polling"
    is_script = True
    content_type = "text/javascript; charset=UTF-8"
    _index = ""

    def read(self) -> None:
        address = re.fullmatch(r"[^/]*/([0-9]{1,10})", self.address.tail)
        if address is None:
            raise RefusedError(400, "a JSONP request ends in /TIMESTAMP/INDEX, INDEX in digits")
        self._index = address[1]
        super().read()

    def decode(self, data: str) -> Iterator[tuple[str, Any]]:
        # Browsers name no charset for a form. Who does has written the body itself, and turned no newline: there two
        # texts could be taken for others (see form_frames).
        if "charset" in self.exchange.headers.get("Content-Type", "").lower():
            return super().decode(data)
        return forms.form_frames(data)

    def format_payload(self, payload: str) -> str:
        return f"io.JSONP[{self._index}]._({script_string(payload)});"
