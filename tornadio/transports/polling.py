"""The polling transports, xhr-polling and jsonp-polling: the response to a GET waits for the next payloads."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any, ClassVar

from tornadio.closecodes import CONNECTION_BROKE
from tornadio.errors import PeerError, RefusedError
from tornadio.net.sockets import failed_future
from tornadio.sessions.outbox import Payload
from tornadio.sessions.polling import PollingSession
from tornadio.sessions.state import State
from tornadio.transports import forms
from tornadio.transports.base import RequestTransport
from tornadio.transports.javascript import js_string_literal
from tornadio.transports.opening import Opening, abort_lost, open_session
from tornadio.transports.responses import TEXT_PLAIN


class PollingHandler(RequestTransport):
    """One poll: a GET whose response is the session's channel for one payload.

    A client that must not keep a connection waiting writes ``;wait=0`` behind the timestamp: if nothing is queued, the
    response is empty and comes at once. Other servers ignore that, as they ignore the timestamp. A query would not do:
    with one in a path of JSONP the official server crashes.

    :cvar content_type: the response's.
    """

    content_type: ClassVar[str]
    _session: PollingSession | None = None
    _opening: Opening[PollingSession] | None = None
    _client_disconnected = False

    def handle_get(self) -> None:
        # Set before the session is attached, which may respond at once.
        self.exchange.set_close_callback(self.on_connection_close)
        if self._client_disconnected:
            return  # Tornado serves what a connection has sent before it broke
        if self.path.session_id:
            session = self.find_session()
            assert isinstance(session, PollingSession)
            self._attach(session)
        else:
            self._opening = open_session(
                self.endpoint, PollingSession, self.transport, self.request, self.path.extra, self._opened
            )

    def _opened(self, outcome: PollingSession | PeerError) -> None:
        self._opening = None
        if self._client_disconnected:
            if not isinstance(outcome, PeerError):
                abort_lost(outcome, self.exchange)
        elif isinstance(outcome, PeerError):
            self.respond_error(outcome)
        elif outcome.state is State.CLOSED:  # aborted after on_open, a coroutine, had returned
            self.respond_error(self.session_not_found())
        else:
            self._attach(outcome)

    def _attach(self, session: PollingSession) -> None:
        self._session = session
        session.attach(self)
        if self.path.tail.partition("/")[0].endswith(";wait=0"):
            session.end_poll(self)

    def on_connection_close(self) -> None:
        self._client_disconnected = True
        session, self._session = self._session, None
        if session is not None:
            session.channel_lost(self, *CONNECTION_BROKE)
        if self._opening is not None:
            abort_lost(self._opening.session, self.exchange)

    def format_payload(self, payload: str) -> str:
        """Return the body of the response that carries a payload."""
        raise NotImplementedError

    # -- The session's channel -----------------------------------------------------------------------------------

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        """Respond with a payload; see :meth:`tornadio.sessions.channel.Channel.write`."""
        # The kernel would accept the bytes, and they would count as delivered. A failed write is requeued instead.
        if self.exchange.peer_has_closed():
            self.exchange.close()
            return failed_future()
        self.respond(200, self.content_type, self.format_payload(payload.text).encode("utf-8"))
        return self.exchange.flushed()

    def close(self, code: int, reason: str) -> None:
        """Respond with an empty payload: the client polls again, and gets 401 if the session has ended."""
        self._session = None
        self.write(Payload(""))

    def replaced(self) -> None:
        """Respond 409: other polls have taken over the session, more than a client has any use for."""
        self._session = None
        self.respond(409, TEXT_PLAIN, b"another request has taken over this session")

    def abort(self) -> None:
        """Close the connection, whether a response is being written or not."""
        self.exchange.close()


class XHRPollingHandler(PollingHandler):
    """``xhr-polling``: the response is the payload itself."""

    transport = "xhr-polling"
    content_type = TEXT_PLAIN

    def format_payload(self, payload: str) -> str:
        return payload


class JSONPPollingHandler(PollingHandler):
    """``jsonp-polling``: the response is a script, which a page may load from any host."""

    transport = "jsonp-polling"
    is_script = True
    content_type = "text/javascript; charset=UTF-8"
    _index = ""

    def handle_get(self) -> None:
        # Digits alone: the index is written into the script as it is.
        match = re.fullmatch(r"[^/]*/([0-9]{1,10})", self.path.tail)
        if match is None:
            raise RefusedError(400, "a JSONP request ends in /TIMESTAMP/INDEX, INDEX in digits")
        self._index = match[1]
        super().handle_get()

    def decode(self, data: str) -> Iterator[tuple[str, Any]]:
        # Browsers name no charset for a form. A client that does has encoded the body by itself, with newlines as they
        # are: decode_form_frames would decode some of its texts to others.
        if "charset" in self.exchange.headers.get("Content-Type", "").lower():
            return super().decode(data)
        settings = self.endpoint.settings
        return forms.decode_form_frames(data, settings.max_message_size, settings.json)

    def format_payload(self, payload: str) -> str:
        return f"io.JSONP[{self._index}]._({js_string_literal(payload)});"
