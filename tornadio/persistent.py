"""The streaming transports: xhr-multipart and htmlfile. One long response carries all payloads; POSTs go beside it.

The connection of such a GET is taken away from Tornado's HTTP when its headers are here: it carries nothing else any
more. So a stream is as fast as a WebSocket.
"""

import asyncio
import secrets
from collections.abc import Awaitable
from typing import Protocol

from tornadio.departures import say_last
from tornadio.errors import HandlerError, PeerError, RefusedError
from tornadio.outbox import Payload
from tornadio.polling import script_string
from tornadio.session import Session
from tornadio.transport import TransportHandler
from tornadio.wire import Wire


class Format(Protocol):
    """How a stream carries payloads.

    :ivar content_type: the response's.
    :ivar start: what stands before the first payload.
    """

    content_type: str
    start: bytes

    def part(self, payload: Payload) -> bytes:
        """A payload as a part of the stream."""


class Multipart:
    """Each payload a part of a ``multipart/x-mixed-replace`` response."""

    __slots__ = ("_after", "content_type", "start")

    def __init__(self) -> None:
        # A boundary that a message could hold would let one client forge parts in the streams of others.
        boundary = f"socketio-{secrets.token_hex(16)}"
        self.content_type = f'multipart/x-mixed-replace;boundary="{boundary}"'
        self.start = f"--{boundary}\n".encode("ascii")

    def part(self, payload: Payload) -> bytes:
        return b"".join(
            (b"Content-Type: text/plain; charset=UTF-8\n\n", payload.encoded(str.encode), b"\n", self.start)
        )


class Scripts:
    """Each payload a script in a page that never finishes loading."""

    __slots__ = ()

    content_type = "text/html; charset=UTF-8"
    start = b"<html><body>".ljust(256)  # Internet Explorer renders nothing before 256 bytes have come

    def part(self, payload: Payload) -> bytes:
        return payload.encoded(_script)


def _script(text: str) -> bytes:
    return f"<script>parent.s._({script_string(text)}, document);</script>".encode("ascii")


def _chunk(data: bytes) -> bytes:
    """A chunk of a chunked response (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class StreamingHandler(TransportHandler):
    """A GET becomes a stream, unless it is refused."""

    def admitted(self) -> Awaitable[None] | None:
        if self.exchange.method != "GET" or self._refusal is not None:
            return None
        try:
            if self.address.session_id:
                self._begin(self.find_session())
                return None
            session = self.here.sessions.create(Session, self.here.connection_class(), self.transport)
            opened = session.open(self.request, self.address.extra)
            if isinstance(opened, bool):
                self._opened(session, opened)
                return None
        except PeerError as error:
            self._refusal = error.with_traceback(None)  # which knows this object: a circle
            return None
        except Exception:
            self._refusal = self.failure()
            return None
        return self._open_later(session, opened)

    async def _open_later(self, session: Session, opened: "asyncio.Task[bool]") -> None:
        """Nothing is read meanwhile; that a client has gone shows as soon as its stream begins."""
        await asyncio.wait((opened,))
        error = None if opened.cancelled() else opened.exception()
        if opened.cancelled():
            self._refusal = RefusedError(503, "this server is shutting down: connect again")
        elif isinstance(error, PeerError):
            self._refusal = error.with_traceback(None)
        elif error is not None:
            self._refusal = HandlerError()
        else:
            self._opened(session, opened.result())

    def _opened(self, session: Session, accepted: bool) -> None:
        if accepted:
            try:
                self._begin(session)
            except BaseException:
                session.drop()
                raise
        else:
            self._refusal = RefusedError(403, "the application refused this connection")

    def _begin(self, session: Session) -> None:
        form = self.make_format()
        is_chunked = self.exchange.version == "HTTP/1.1"
        length = "Transfer-Encoding: chunked\r\n" if is_chunked else ""
        head = self.make_head(200, form.content_type, f"{length}Connection: close\r\n")
        wire = self.take_wire()
        channel = StreamChannel(wire, session, form, is_chunked)
        wire.start(channel)
        wire.write(head + (_chunk(form.start) if is_chunked else form.start))
        self.log(200)
        session.attach(channel)

    def read(self) -> None:
        raise HandlerError  # never: a GET ends in admitted, as a stream or with a refusal

    def make_format(self) -> Format:
        """The form of a new stream."""
        raise NotImplementedError


class XHRMultipartHandler(StreamingHandler):
    """``xhr-multipart``."""

    transport = "xhr-multipart"

    def make_format(self) -> Format:
        return Multipart()


class HTMLFileHandler(StreamingHandler):
    """``htmlfile``."""

    transport = "htmlfile"

    def make_format(self) -> Format:
        return Scripts()


class StreamChannel:
    """A stream that has begun: the session's channel."""

    __slots__ = ("__weakref__", "_format", "_is_chunked", "_session", "_wire")

    def __init__(self, wire: Wire, session: Session, form: Format, is_chunked: bool) -> None:
        self._wire = wire
        self._session: Session | None = session
        self._format = form
        self._is_chunked = is_chunked

    def data_received(self, data: bytes) -> None:
        """Whatever a client sends behind its GET: nothing is answered any more on this connection."""

    def connection_lost(self) -> None:
        """See :class:`tornadio.wire.Receiver`."""
        session, self._session = self._session, None
        if session is not None:
            session.lost(self)

    def deliver(self, payload: Payload) -> "asyncio.Future[None] | None":
        """Send a payload; see :meth:`tornadio.session.Channel.deliver`."""
        part = self._format.part(payload)
        return self._wire.write(_chunk(part) if self._is_chunked else part)

    def end(self, code: int, reason: str) -> None:
        """End the response."""
        if self._session is None:
            return  # the connection has gone before
        departures, self._session = self._session.container.departures, None
        say_last(self._wire, _chunk(b"") if self._is_chunked else b"", departures)

    def replaced(self) -> None:
        """Another stream goes on."""
        self.end(1000, "")

    def abort(self) -> None:
        """Cut the stream off."""
        self._session = None
        self._wire.close()
