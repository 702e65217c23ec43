"""One HTTP request and its response: what transports need of HTTP, and HTTP of transports, whoever reads and writes.

There are two: :class:`tornadio.web.tornadohttp.TornadoExchange` on Tornado's HTTP connection, and
:class:`tornadio.web.fastpath.FastExchange` for simple requests, which are read without it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream

from tornadio.errors import PeerError
from tornadio.logs import get_logger
from tornadio.net.wire import Wire

logger = get_logger(__name__)


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


class FastHandler(Protocol):
    """The handler of one request: what the fast path needs of it."""

    @property
    def is_for_new_session(self) -> bool:
        """Whether this request may open a session, whose ``on_open`` gets an ``HTTPServerRequest``."""

    def begin(self) -> Awaitable[None] | None:
        """Check the headers, and respond at once if the body must not be read.

        :returns: what has to be awaited before the body is read.
        """

    def finish(self, body: bytes = b"") -> None:
        """Respond to the request, the whole of which was received."""


class BodyHandler(FastHandler, Protocol):
    """The handler of one request whose body is received in pieces."""

    @property
    def limit(self) -> int:
        """Bytes that a body may have."""

    def keeps_body(self, size: int) -> bool:
        """Whether a body of which ``size`` bytes were received is to be kept for :meth:`finish`.

        :raises PeerError: the rest of it must not be read.
        """

    def refuse_rest(self, error: PeerError) -> bytes:
        """The response to a request whose body is not read to its end."""

    def drop_post(self) -> None:
        """Release what was reserved for the body: it was not received as a whole."""

    def on_connection_close(self) -> None:
        """The client has closed the connection before it had its response."""


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
