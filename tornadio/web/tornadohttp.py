"""Bounds what peers can do to the connections of a server that Tornado's HTTP serves, whoever answers their requests.

Tornado closes a connection without an answer, and logs a traceback, where it fails to make a request of the headers. It
waits for ever for peers that do not read. And its time for headers begins when it is given the connection, however long
that was silent before.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, cast

from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, SSLIOStream

from tornadio.logs import get_logger
from tornadio.net.patience import SLOWEST_BYTES_PER_SECOND
from tornadio.net.timers import Periodic
from tornadio.web.peers import Peers, host_of

logger = get_logger(__name__)

_LOOK_SECONDS: Final = 10.0
# After so much time in which a peer has always had something to take, it is seen how much it has taken.
_PATIENCE_SECONDS: Final = 30.0
# Where nobody knows how much it has taken.
_BLIND_PATIENCE_SECONDS: Final = 300.0
# tcpi_bytes_acked in the struct tcp_info of linux/tcp.h, since Linux 4.2.
_BYTES_ACKED: Final = struct.Struct("120xQ")


class RequestDelegate(HTTPMessageDelegate):
    """Tornado's delegate for one request: tells it who the client is, and a client that its headers make no request.

    :param delegate: Tornado's, or the application's.
    :param connection: the request's.
    :param peers: which of them are believed about their clients.
    :param headers_came: called when the headers are here.
    """

    __slots__ = ("_connection", "_delegate", "_headers_came", "_peers")

    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        connection: HTTP1Connection,
        peers: Peers,
        headers_came: Callable[[], None],
    ) -> None:
        self._delegate = delegate
        self._connection = connection
        self._peers = peers
        self._headers_came = headers_came
        context: Any = connection.context
        context.remote_ip = host_of(context.address)  # until there is a header, and not whom the last request named

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._headers_came()
        context: Any = self._connection.context
        protocol = "https" if isinstance(self._connection.stream, SSLIOStream) else "http"
        client = self._peers.client_of(context.address, protocol, headers)
        context.remote_ip, context.protocol, context.counted_address = client
        try:
            return self._delegate.headers_received(start_line, headers)
        except HTTPInputError:
            raise
        except Exception:
            _check_request(cast(RequestStartLine, start_line), headers)
            raise

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()


def _check_request(start_line: RequestStartLine, headers: HTTPHeaders) -> None:
    """:raises HTTPInputError: Tornado fails to make a request of these; it answers this error with 400, and closes."""
    try:
        HTTPServerRequest(start_line=start_line, headers=headers)
    except HTTPInputError:
        raise
    except Exception as error:
        raise HTTPInputError(f"no request can be made of this: {error}") from None


class _Backlog(NamedTuple):
    """A connection that had something to send at every look.

    :ivar since: the first of these looks, in the loop's time.
    :ivar acked: bytes that the peer's system had acknowledged then, if that is known.
    """

    since: float
    acked: int | None


class TornadoConnections:
    """A server's connections that Tornado's HTTP serves: closes those whose peers keep it waiting."""

    def __init__(self) -> None:
        self._connections: dict[HTTP1ServerConnection, _Backlog | None] = {}
        self._headers_due: dict[IOStream, asyncio.TimerHandle] = {}
        self._looks: Periodic | None = None

    # -- Headers -------------------------------------------------------------------------------------------------

    def expect_headers(self, stream: IOStream, until: float) -> None:
        """Close a connection if the headers of its next request have not come by then, in the loop's time."""
        self._headers_due[stream] = asyncio.get_running_loop().call_at(until, stream.close)

    def headers_came(self, stream: IOStream) -> None:
        """The headers of a request are here, or the connection has gone."""
        timer = self._headers_due.pop(stream, None)
        if timer is not None:
            timer.cancel()

    # -- Answers -------------------------------------------------------------------------------------------------

    def add(self, connection: HTTP1ServerConnection) -> None:
        """A connection waits for its next request."""
        if connection not in self._connections:
            self._connections[connection] = None
            if self._looks is None:
                self._looks = Periodic(asyncio.get_running_loop(), self._look, _LOOK_SECONDS)
            self._looks.start()

    def discard(self, connection: HTTP1ServerConnection) -> None:
        """A connection has ended, or was taken away from HTTP."""
        self.headers_came(connection.stream)
        self._connections.pop(connection, None)
        if not self._connections and self._looks is not None:
            self._looks.stop()

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection, backlog in tuple(self._connections.items()):
            stream = connection.stream
            if not stream.writing():
                self._connections[connection] = None
            elif backlog is None:
                self._connections[connection] = _Backlog(now, _acked(stream))
            elif (taken := _taken_since(backlog, stream)) is None:
                if now - backlog.since >= _BLIND_PATIENCE_SECONDS:
                    self._give_up(connection)
            elif now - backlog.since >= _PATIENCE_SECONDS:
                if taken < SLOWEST_BYTES_PER_SECOND * (now - backlog.since):
                    self._give_up(connection)
                else:
                    self._connections[connection] = _Backlog(now, _acked(stream))

    def _give_up(self, connection: HTTP1ServerConnection) -> None:
        logger.info("closed a connection of %s: its peer does not take its answers", connection.context)
        connection.stream.close()


def _taken_since(backlog: _Backlog, stream: IOStream) -> int | None:
    """Bytes that a peer has taken since its backlog began, if that is known."""
    acked = _acked(stream)
    return None if acked is None or backlog.acked is None else acked - backlog.acked


def _acked(stream: IOStream) -> int | None:
    """Bytes that the peer's system has acknowledged, if this one knows."""
    if sys.platform != "linux" or stream.socket is None or stream.socket.family == socket.AF_UNIX:
        return None
    try:
        info = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack(info)[0])
    except (OSError, struct.error):
        return None
