"""One HTTP request and its response: the interfaces between transports and HTTP.

There are two implementations: :class:`tornadio.web.tornadohttp.TornadoExchange` on Tornado's HTTP connection, and
:class:`tornadio.web.fastexchange.FastExchange` for simple requests, which are read without it.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tornado.httputil import HTTPServerRequest

from tornadio.errors import PeerError
from tornadio.logs import get_logger
from tornadio.net.wire import Wire

logger = get_logger(__name__)


class Exchange(Protocol):
    """One HTTP request and its response, as a transport's handler has them.

    :ivar uri: path and query.
    :ivar headers: the request's, by their names in any case.
    :ivar accepted_for: what the handler has set it to that has accepted the request before on this connection, if that
        had the same headers; ``None`` in any other case.
    """

    method: str
    uri: str
    path: str
    query: str
    version: str
    host: str
    protocol: str
    headers: Mapping[str, str]
    accepted_for: object

    @property
    def request(self) -> HTTPServerRequest:
        """The request as a Tornado application knows it."""

    @property
    def remote_ip(self) -> str:
        """The client's address, as ``HTTPServerRequest`` has it: the peer's, or what a trusted proxy says."""

    @property
    def own_ip(self) -> str:
        """The connection's local address, empty on a Unix socket."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed on this side."""

    @property
    def connection_error(self) -> BaseException | None:
        """Why a connection that is closed has broken; ``None`` if the client has closed it, by a FIN."""

    def set_close_callback(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` if the client closes the connection before the response, also behind unread bytes."""

    def peer_has_closed(self) -> bool:
        """Whether the peer has closed the connection, also behind unread bytes where the system reports that
        (:mod:`tornadio.net.poller`)."""

    def connection_header(self) -> str:
        """The response's ``Connection`` header line with its CRLF, empty where none is needed."""

    def send_response(self, response: bytes, timeout: float) -> None:
        """Send the whole response, once, and close the connection if the client does not read it.

        :param timeout: seconds that the client has, besides those for the response's size
            (:func:`tornadio.net.throughput.write_timeout`).
        """

    def flushed(self) -> "asyncio.Future[None] | None":
        """Return ``None`` if the kernel has accepted the whole response, else a future of that, which fails when the
        connection ends first."""

    def close(self) -> None:
        """Close the connection at once."""

    def detach(self) -> Wire:
        """Detach the connection from HTTP, before the response: the caller owns the wire."""


class ExchangeHandler(Protocol):
    """The handler of one request, as HTTP calls it, on the fast path as on Tornado's."""

    def headers_received(self) -> Awaitable[None] | None:
        """Check the headers, and respond at once if the body must not be read.

        :returns: what has to be awaited before the body is read.
        """

    def body_received(self, data: bytes) -> None:
        """Take the next piece of the body. A body that was received as a whole may be given to :meth:`handle` instead.

        :raises PeerError: the rest of the body must not be read.
        """

    def handle(self, body: bytes = b"") -> None:
        """Respond to the request, the whole of which was received."""

    def drop_post(self) -> None:
        """Release what is kept of the body, which was not received as a whole."""

    def on_connection_close(self) -> None:
        """Hook: the client has closed the connection before its response was sent."""

    def reject_and_linger(self, error: PeerError) -> None:
        """Respond before the body was read, and close the connection, which is detached from HTTP."""

    def early_error_response(self, error: PeerError) -> bytes:
        """Return the response to a request whose body is not read to its end, where HTTP can't detach the connection
        any more.
        """


def own_ip_of(sock: socket.socket | None) -> str:
    """Return the local address of a connection, empty for one on a Unix socket, or that is closed.

    :param sock: its socket; ``None`` of a stream that is closed.
    """
    try:
        name = sock.getsockname() if sock is not None else None
    except OSError:  # it is closed
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


def close_unless_flushed(flushing: "asyncio.Future[None]", seconds: float, exchange: Exchange) -> None:
    """Close the connection of a response that its client has not read after so many seconds."""
    timer = asyncio.get_running_loop().call_later(seconds, _close_unread, exchange)
    flushing.add_done_callback(lambda flushing: timer.cancel())


def _close_unread(exchange: Exchange) -> None:
    logger.info("closed a connection: the client does not take the answer to its %s", exchange.method)
    exchange.close()
