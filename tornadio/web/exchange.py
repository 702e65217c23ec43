"""One HTTP request, and the way its answer takes: what transports need of HTTP, whoever reads and writes it.

:class:`TornadoExchange` stands on Tornado's HTTP connection. That of plain requests, which were read without it, is
:class:`tornadio.web.fastpath.FastExchange`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tornadio.logs import get_logger
from tornadio.net.hangups import hangups_of, peer_has_closed
from tornadio.net.patience import seconds_to_take
from tornadio.net.wire import Wire, failed_future, take

logger = get_logger(__name__)

# After an answer that came before the end of a body, the rest of it is read for so long.
_LINGER_SECONDS: Final = 5.0


class Exchange(Protocol):
    """What a transport's handler knows of its request, and does with its connection.

    :ivar uri: path and query.
    :ivar fields: the header fields, by their names in any case.
    """

    method: str
    uri: str
    path: str
    query: str
    version: str
    host: str
    protocol: str
    headers: Mapping[str, str]

    @property
    def request(self) -> HTTPServerRequest:
        """The request as Tornado's users know it."""

    @property
    def remote_ip(self) -> str:
        """The client's address, as Tornado says it: of a proxy that is believed, or the peer's."""

    @property
    def own_ip(self) -> str:
        """The address at which the connection arrived, empty on a Unix socket."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection has gone."""

    def set_close_callback(self, callback: Callable[[], None]) -> None:
        """Have it called if the client goes before its answer is there, also where more than its request was sent."""

    def peer_has_closed(self) -> bool:
        """Whether the peer has closed, although what it sent last was not read yet."""

    def connection_header(self) -> str:
        """What becomes of the connection after the answer, as a header line where one is needed."""

    def send_response(self, response: bytes, patience: float) -> None:
        """Send the whole response, once, and close the connection if the client does not take it.

        :param patience: seconds that the client has, besides those that it needs for so many bytes.
        """

    def flushed(self) -> "asyncio.Future[None] | None":
        """Whether the socket has taken all of the answer: ``None`` if so, else a future of it."""

    def close(self) -> None:
        """Close the connection at once."""

    def detach(self) -> Wire:
        """Take the connection away from HTTP, before the answer."""


class TornadoExchange:
    """On Tornado's HTTP connection, which is at this request's headers or behind them."""

    __slots__ = (
        "_closed",
        "_connection",
        "_is_answered",
        "_watched",
        "headers",
        "host",
        "method",
        "path",
        "protocol",
        "query",
        "request",
        "uri",
        "version",
    )

    def __init__(self, request: HTTPServerRequest) -> None:
        self.request = request
        self.method, self.uri, self.version = request.method or "", request.uri or "", request.version
        self.path, self.query = request.path, request.query or ""
        self.host, self.protocol = request.host, request.protocol
        self.headers: Mapping[str, str] = request.headers
        self._connection = cast(HTTP1Connection, request.connection)
        self._is_answered = False
        self._closed: Callable[[], None] | None = None
        self._watched: int | None = None  # the descriptor whose hangup is watched

    @property
    def _stream(self) -> IOStream:
        return self._connection.stream

    @property
    def remote_ip(self) -> str:
        return self.request.remote_ip or ""

    @property
    def own_ip(self) -> str:
        return own_ip_of(self._stream)

    @property
    def is_closed(self) -> bool:
        return self._stream.closed()

    def set_close_callback(self, callback: Callable[[], None]) -> None:
        stream = self._stream
        if stream.closed():
            callback()
            return
        self._closed = callback
        # Tornado takes the stream's own when all of the request is here, to call the other.
        stream.set_close_callback(self._lost)
        self._connection.set_close_callback(self._lost)
        # Tornado reads ahead, but then not on: it sees no end behind another request.
        self._watched = stream.socket.fileno()
        hangups_of(asyncio.get_running_loop()).watch(self._watched, self._on_hangup)

    def _on_hangup(self, is_reset: bool) -> None:
        self._stream.close()

    def _lost(self) -> None:
        closed = self._closed
        self._unwatch()
        if closed is not None:
            closed()

    def _unwatch(self) -> None:
        self._closed = None
        if self._watched is not None:
            hangups_of(asyncio.get_running_loop()).unwatch(self._watched, self._on_hangup)
            self._watched = None

    def peer_has_closed(self) -> bool:
        stream = self._stream
        return stream.closed() or peer_has_closed(stream.socket)

    def connection_header(self) -> str:
        wanted = self.headers.get("Connection", "").lower()
        if self.version == "HTTP/1.1":
            return "Connection: close\r\n" if wanted == "close" or self._connection.no_keep_alive else ""
        is_kept = wanted == "keep-alive" and not self._connection.no_keep_alive and self._has_known_end()
        return "Connection: Keep-Alive\r\n" if is_kept else ""

    def _has_known_end(self) -> bool:
        """Whether Tornado keeps the connection of a request of HTTP/1.0 that asks for it."""
        return self.method in ("GET", "HEAD") or "Content-Length" in self.headers or "Transfer-Encoding" in self.headers

    def send_response(self, response: bytes, patience: float) -> None:
        self._is_answered = True
        self._unwatch()
        # Tornado's write_headers makes the same bytes, from an object for each header.
        self._connection.write(response)
        self._connection.finish()
        if self._stream.writing():
            close_unless_taken(self._stream.write(b""), seconds_to_take(len(response), patience), self)

    def flushed(self) -> "asyncio.Future[None] | None":
        stream = self._stream
        if stream.closed():
            return None if stream.error is None and self._is_answered else failed_future()
        return stream.write(b"") if stream.writing() else None

    def close(self) -> None:
        self._stream.close()

    def detach(self) -> Wire:
        self._unwatch()
        return take(self._connection.detach())

    # -- Bodies that are still coming ----------------------------------------------------------------------------

    def set_max_body_size(self, size: int) -> None:
        """Have Tornado hand on bodies of up to ``size`` bytes."""
        self._connection.set_max_body_size(size)

    def send_early_response(self, response: bytes) -> None:
        """Answer while the body still comes. What comes is read until its end, but not for long."""
        self._is_answered = True
        stream = self._stream
        with contextlib.suppress(StreamClosedError):
            stream.write(response)
        if not stream.closed() and not isinstance(stream, SSLIOStream):
            with contextlib.suppress(OSError):
                stream.socket.shutdown(socket.SHUT_WR)
        stream.io_loop.call_later(_LINGER_SECONDS, stream.close)

    def close_when_flushed(self) -> None:
        """Close the connection when the socket has taken the answer."""
        taken = self.flushed()
        if taken is None:
            self.close()
        else:
            taken.add_done_callback(self._close_taken)

    def _close_taken(self, taken: "asyncio.Future[None]") -> None:
        self.close()


def own_ip_of(stream: IOStream) -> str:
    """The address at which a connection arrived, empty for one on a Unix socket, or that has ended."""
    try:
        name = stream.socket.getsockname()
    except (OSError, AttributeError):  # a stream that has ended has no socket
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


def close_unless_taken(taken: "asyncio.Future[None]", seconds: float, exchange: Exchange) -> None:
    """Close the connection of an answer that its client has not taken after so many seconds."""
    timer = asyncio.get_running_loop().call_later(seconds, _give_up, exchange)
    taken.add_done_callback(lambda taken: timer.cancel())


def _give_up(exchange: Exchange) -> None:
    logger.info("closed a connection: the client does not take the answer to its %s", exchange.method)
    exchange.close()
