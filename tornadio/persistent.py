"""The streaming transports: xhr-multipart and htmlfile. One long response carries all payloads; POSTs go beside it.

The connection of such a GET is taken away from Tornado's HTTP when its headers are here: it carries nothing else any
more. So a stream is as fast as a WebSocket.
"""

import asyncio
import secrets
from collections.abc import Awaitable
from typing import Final, Protocol

from tornadio.departures import say_last
from tornadio.errors import HandlerError, PeerError, RefusedError
from tornadio.outbox import Payload
from tornadio.polling import script_string
from tornadio.session import Session
from tornadio.transport import TransportHandler
from tornadio.wire import Wire


class Format(Protocol):
    """How a stream carries payloads.

    :ivar start: what stands before the first payload.
    """

    start: bytes

    def part(self, payload: Payload) -> bytes:
        """A payload as a part of the stream."""


_BOUNDARY_BYTES: Final = 16


class Multipart:
    """Each payload a part of a ``multipart/x-mixed-replace`` response.

    :param is_chunked: whether each is a chunk of a chunked response, too.
    """

    __slots__ = ("_encode", "_end", "boundary", "start")

    def __init__(self, is_chunked: bool) -> None:
        # A boundary that a message could hold would let one client forge parts in the streams of others.
        self.boundary = f"socketio-{secrets.token_hex(_BOUNDARY_BYTES)}"
        line = f"--{self.boundary}\n".encode("ascii")
        self.start = _chunk(line) if is_chunked else line
        # All that differs from stream to stream is its end.
        self._encode = _part_in_chunk if is_chunked else _part
        self._end = line + b"\r\n" if is_chunked else line

    def part(self, payload: Payload) -> bytes:
        return payload.encoded(self._encode) + self._end


_LINE_LENGTH: Final = len(f"--socketio-{'':{2 * _BOUNDARY_BYTES}}\n")


def _part(text: str) -> bytes:
    """A part without the boundary that ends it."""
    return b"Content-Type: text/plain; charset=UTF-8\n\n%b\n" % text.encode("utf-8")


def _part_in_chunk(text: str) -> bytes:
    part = _part(text)
    return b"%x\r\n%b" % (len(part) + _LINE_LENGTH, part)


class Scripts:
    """Each payload a script in a page that never finishes loading.

    :param is_chunked: whether each is a chunk of a chunked response, too.
    """

    __slots__ = ("_encode", "start")

    def __init__(self, is_chunked: bool) -> None:
        page = b"<html><body>".ljust(256)  # Internet Explorer renders nothing before 256 bytes have come
        self.start = _chunk(page) if is_chunked else page
        self._encode = _script_in_chunk if is_chunked else _script

    def part(self, payload: Payload) -> bytes:
        return payload.encoded(self._encode)


def _script(text: str) -> bytes:
    return f"<script>parent.s._({script_string(text)}, document);</script>".encode("ascii")


def _script_in_chunk(text: str) -> bytes:
    return _chunk(_script(text))


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
        is_chunked = self.exchange.version == "HTTP/1.1"
        content_type, form = self.make_format(is_chunked)
        length = "Transfer-Encoding: chunked\r\n" if is_chunked else ""
        head = self.make_head(200, content_type, f"{length}Connection: close\r\n")
        wire = self.take_wire()
        channel = StreamChannel(wire, session, form, is_chunked)
        wire.start(channel)
        wire.write(head + form.start)
        self.log(200)
        session.attach(channel)

    def read(self) -> None:
        raise HandlerError  # never: a GET ends in admitted, as a stream or with a refusal

    def make_format(self, is_chunked: bool) -> tuple[str, Format]:
        """The content type of a new stream, and its form."""
        raise NotImplementedError


class XHRMultipartHandler(StreamingHandler):
    """``xhr-multipart``."""

    transport = "xhr-multipart"

    def make_format(self, is_chunked: bool) -> tuple[str, Format]:
        form = Multipart(is_chunked)
        return f'multipart/x-mixed-replace;boundary="{form.boundary}"', form


class HTMLFileHandler(StreamingHandler):
    """``htmlfile``."""

    transport = "htmlfile"

    def make_format(self, is_chunked: bool) -> tuple[str, Format]:
        return "text/html; charset=UTF-8", Scripts(is_chunked)


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
        return self._wire.write(self._format.part(payload))

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
