"""The exchange of the fast path: a simple request and its response, on a socket."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tornadio.net.sockets import failed_future, peer_has_closed
from tornadio.net.tasks import has_succeeded
from tornadio.net.throughput import write_timeout
from tornadio.net.wire import Wire, open_unread_wire
from tornadio.web.contextrequest import ContextRequest
from tornadio.web.exchange import close_unless_flushed, own_ip_of
from tornadio.web.fastparse import SimpleRequest
from tornadio.web.peers import Client, forwarded_protocol

if TYPE_CHECKING:
    from tornadio.web.fastconnection import FastConnection


class FastExchange:
    """An :class:`tornadio.web.exchange.Exchange` on the fast path: a simple request, and its response.

    :ivar response_pending: whether neither the response was sent nor the connection lost.
    """

    __slots__ = (
        "_close_callback",
        "_connection",
        "_flushing",
        "_parsed_headers",
        "_request",
        "_started",
        "headers",
        "host",
        "method",
        "path",
        "protocol",
        "query",
        "response_pending",
        "uri",
    )

    version = "HTTP/1.1"

    def __init__(self, connection: "FastConnection", request: SimpleRequest) -> None:
        self.method = request.method
        self.uri = request.uri
        self.path, _, self.query = request.uri.partition("?")
        self.headers: Mapping[str, str] = request.headers
        self.host = request.headers["host"]
        self.response_pending = True
        self.protocol = (connection.is_trusted and forwarded_protocol(request.headers)) or "http"
        self._connection = connection
        self._parsed_headers = request.headers
        self._request: ContextRequest | None = None  # made when it is needed, which is not for most polls
        self._started = time.time()
        self._close_callback: Callable[[], None] | None = None
        self._flushing: asyncio.Future[None] | None = None

    @property
    def accepted_for(self) -> object:
        """See :class:`tornadio.web.exchange.Exchange`; kept with the headers, which go with the connection."""
        return self._parsed_headers.accepted_for

    @accepted_for.setter
    def accepted_for(self, accepted_for: object) -> None:
        self._parsed_headers.accepted_for = accepted_for

    @property
    def request(self) -> ContextRequest:
        if self._request is None:
            self._request = ContextRequest(self.method, self.uri, self.headers, self.client, self._started)
        return self._request

    def has_valid_query(self) -> bool:
        """Whether Tornado accepts the query: all else that it checks is so in a simple request."""
        try:
            self.request.parse()
        except Exception:  # Tornado will fail on it as well, and respond 400
            return False
        return True

    @property
    def client(self) -> Client:
        """The client that sent the request."""
        return self._connection.client_of(self.headers)

    @property
    def remote_ip(self) -> str:
        return self.client.remote_ip

    @property
    def own_ip(self) -> str:
        return own_ip_of(self._connection.socket)

    @property
    def is_closed(self) -> bool:
        return self._connection.is_closed

    @property
    def connection_error(self) -> BaseException | None:
        return self._connection.error

    def set_close_callback(self, callback: Callable[[], None]) -> None:
        if self.response_pending:
            self._close_callback = callback
        else:
            callback()

    def connection_lost(self) -> None:
        """Call the close callback: the connection was closed before the response was sent."""
        self.response_pending = False
        callback, self._close_callback = self._close_callback, None
        if callback is not None:
            callback()

    def peer_has_closed(self) -> bool:
        return self._connection.is_closed or peer_has_closed(self._connection.socket)

    def connection_header(self) -> str:
        return ""  # simple requests are HTTP/1.1 and keep their connection, which is the default

    def send_response(self, response: bytes, timeout: float) -> None:
        self.response_pending = False
        self._close_callback = None
        connection = self._connection
        try:
            sent = connection.socket.send(response)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._flushing = failed_future()
            connection.close()
            return
        if sent == len(response):
            connection.response_sent()
        else:
            self._flushing = connection.write_by_stream(response[sent:])
            close_unless_flushed(self._flushing, write_timeout(len(response), timeout), self)
            self._flushing.add_done_callback(self._on_flushed)

    def _on_flushed(self, flushing: "asyncio.Future[None]") -> None:
        stream = self._connection.stream
        if has_succeeded(flushing) and stream is not None:
            self._connection.response_drained(stream)
        else:
            self._connection.close()

    def flushed(self) -> "asyncio.Future[None] | None":
        flushing = self._flushing
        if flushing is None:
            return failed_future() if self.response_pending else None
        return None if has_succeeded(flushing) else flushing

    def close(self) -> None:
        self._connection.close()

    def detach(self) -> Wire:
        self.response_pending = False
        self._close_callback = None
        self._connection.detach()
        return open_unread_wire(self._connection.socket)
