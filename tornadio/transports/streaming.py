"""The streaming transports: xhr-multipart and htmlfile. One long response carries all payloads; POSTs go beside it.

The connection of such a GET is taken away from Tornado's HTTP when its headers are here: it carries nothing else any
more. So a stream is as fast as a WebSocket.
"""

import asyncio
import secrets
from collections.abc import Awaitable
from typing import Final, Protocol

from tornadio.errors import HandlerError, PeerError, RefusedError
from tornadio.net.linger import close_after
from tornadio.net.wire import Wire
from tornadio.sessions.base import BaseSession
from tornadio.sessions.outbox import Payload
from tornadio.sessions.persistent import PersistentSession
from tornadio.transports.base import TransportHandler
from tornadio.transports.opening import open_session
from tornadio.transports.polling import script_string


class Format(Protocol):
    """How a stream carries payloads.

    :ivar content_type: the response's.
    :ivar start: what stands before the first payload.
    :ivar end: what stands behind the last one.
    """

    content_type: str
    start: bytes
    end: bytes

    def part(self, payload: Payload) -> bytes:
        """A payload as a part of the stream."""


class Multipart:
    """Each payload a part of a ``multipart/x-mixed-replace`` response.

    :param is_chunked: whether each is a chunk of a chunked response, too.
    """

    __slots__ = ("_encode", "_line", "content_type", "end", "start")

    def __init__(self, is_chunked: bool) -> None:
        # A boundary that a message could hold would let one client forge parts in the streams of others.
        boundary = f"socketio-{secrets.token_hex(16)}"
        self.content_type = f'multipart/x-mixed-replace;boundary="{boundary}"'
        line = f"--{boundary}\n".encode("ascii")
        self.start = _chunk(line) if is_chunked else line
        self.end = _chunk(b"") if is_chunked else b""
        # All that differs from stream to stream is the line at the end of each part.
        self._encode = _part_in_chunk if is_chunked else _part
        self._line = line + b"\r\n" if is_chunked else line

    def part(self, payload: Payload) -> bytes:
        return payload.encoded(self._encode) + self._line


_LINE_LENGTH: Final = len("--socketio-") + 2 * 16 + len("\n")


def _part(text: str) -> bytes:
    """A part without the line that ends it."""
    return b"Content-Type: text/plain; charset=UTF-8\n\n%b\n" % text.encode("utf-8")


def _part_in_chunk(text: str) -> bytes:
    part = _part(text)
    return b"%x\r\n%b" % (len(part) + _LINE_LENGTH, part)


class Scripts:
    """Each payload a script in a page that never finishes loading.

    :param is_chunked: whether each is a chunk of a chunked response, too.
    """

    __slots__ = ("_encode", "end", "start")

    content_type = "text/html; charset=UTF-8"

    def __init__(self, is_chunked: bool) -> None:
        self.start = _chunk(_PAGE) if is_chunked else _PAGE
        self.end = _chunk(b"") if is_chunked else b""
        self._encode = _script_in_chunk if is_chunked else _script

    def part(self, payload: Payload) -> bytes:
        return payload.encoded(self._encode)


_PAGE: Final = b"<html><body>".ljust(256)  # Internet Explorer renders nothing before 256 bytes have come


def _script(text: str) -> bytes:
    return f"<script>parent.s._({script_string(text)}, document);</script>".encode("ascii")


def _script_in_chunk(text: str) -> bytes:
    return _chunk(_script(text))


def _chunk(data: bytes) -> bytes:
    """A chunk of a chunked response (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class StreamingHandler(TransportHandler):
    """A GET becomes a stream, unless it is refused."""

    def try_detach(self) -> Awaitable[None] | None:
        if self.exchange.method != "GET" or self._refusal is not None:
            return None
        try:
            self._check_body()
            if self.address.session_id:
                self._begin(self.find_session())
                return None
            opening = open_session(
                self.here, PersistentSession, self.transport, self.request, self.address.extra, self._opened
            )
            if opening is not None:  # nothing is read meanwhile; a client that goes ends its session
                self.exchange.set_close_callback(opening.session.abort)
                return opening.concluded
        except PeerError as error:
            self._refusal = error.with_traceback(None)  # which knows this object: a circle
        except Exception:
            self._refusal = self.failure()
        return None

    def _check_body(self) -> None:
        """:raises RefusedError: there is one. Nobody would read it, nor see whether it is as HTTP has it."""
        fields = self.exchange.headers
        if "Transfer-Encoding" in fields or fields.get("Content-Length", "0") != "0":
            raise RefusedError(400, "a GET that opens a stream has no body")

    def _opened(self, outcome: BaseSession | PeerError) -> None:
        if isinstance(outcome, PeerError):
            self._refusal = outcome
        else:
            self._begin(outcome)

    def _begin(self, session: BaseSession) -> None:
        is_chunked = self.exchange.version == "HTTP/1.1"
        form = self.make_format(is_chunked)
        length = "Transfer-Encoding: chunked\r\n" if is_chunked else ""
        head = self.make_head(200, form.content_type, f"{length}Connection: close\r\n")
        wire = self.exchange.detach()
        channel = StreamChannel(wire, session, form)
        wire.start(channel)
        wire.write(head + form.start)
        self.log(200)
        session.attach(channel)

    def read(self) -> None:
        raise HandlerError  # never: a GET ends in try_detach, as a stream or with a refusal

    def make_format(self, is_chunked: bool) -> Format:
        """The form of a new stream."""
        raise NotImplementedError


class XHRMultipartHandler(StreamingHandler):
    """``xhr-multipart``."""

    transport = "xhr-multipart"

    def make_format(self, is_chunked: bool) -> Format:
        return Multipart(is_chunked)


class HTMLFileHandler(StreamingHandler):
    """``htmlfile``."""

    transport = "htmlfile"

    def make_format(self, is_chunked: bool) -> Format:
        return Scripts(is_chunked)


class StreamChannel:
    """A stream that has begun: the session's channel."""

    __slots__ = ("__weakref__", "_format", "_session", "_wire")

    def __init__(self, wire: Wire, session: BaseSession, form: Format) -> None:
        self._wire = wire
        self._session: BaseSession | None = session
        self._format = form

    def data_received(self, data: bytes) -> None:
        """Whatever a client sends behind its GET: nothing is answered any more on this connection."""

    def connection_lost(self) -> None:
        """See :class:`tornadio.net.wire.Receiver`."""
        session, self._session = self._session, None
        if session is not None:
            session.channel_lost(self)

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        """Send a payload; see :meth:`tornadio.sessions.channel.Channel.write`."""
        return self._wire.write(self._format.part(payload))

    def close(self, code: int, reason: str) -> None:
        """End the response."""
        if self._session is None:
            return  # the connection has gone before
        lingering, self._session = self._session.registry.lingering, None
        close_after(self._wire, self._format.end, lingering)

    def replaced(self) -> None:
        """Another stream goes on."""
        self.close(1000, "")

    def abort(self) -> None:
        """Cut the stream off."""
        self._session = None
        self._wire.close()
