"""The exchange of requests that Tornado's HTTP reads, and the delegates around it.

With :mod:`tornadio.web.fastpath` and :mod:`tornadio.web.contextrequest` the place for all use of Tornado's interfaces
that are not documented, or deprecated, so that three files are to be checked against a new version of Tornado. The
interfaces used here are: attributes of an ``HTTP1Connection``'s context (``address``, ``remote_ip``, ``protocol``, and
two of our own); ``HTTP1Connection.write`` without ``write_headers``, which is deprecated;
``HTTPServer._handle_connection`` and ``ssl_options``; the routers of an ``Application``, which replace the target of a
rule, where it is a list, by a router with the attribute ``application``.
"""

import asyncio
import contextlib
import functools
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import tornado.web
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.routing import Rule, RuleRouter

from tornadio.errors import PeerError
from tornadio.logs import get_logger
from tornadio.net.linger import LingeringClose, LingeringCloses
from tornadio.net.poller import poller_of
from tornadio.net.sockets import failed_future, half_close, peer_has_closed, reset_error
from tornadio.net.throughput import write_timeout
from tornadio.net.wire import Wire, open_wire
from tornadio.web.exchange import Exchange, ExchangeHandler, close_unless_flushed, own_ip_of
from tornadio.web.peers import Peers, host_of

logger = get_logger(__name__)

# Chunks of a body that are handled in one iteration of the event loop: some milliseconds, be each a byte.
_MAX_CHUNKS_PER_TICK: Final = 256


class ServedRequest(NamedTuple):
    """The head of a request to a transport that Tornado's HTTP has read."""

    method: str
    uri: str
    version: str
    headers: HTTPHeaders

    def head(self) -> bytes:
        """Return the head as the client may have sent it, for the parser of the fast path."""
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.get_all()]
        return f"{self.method} {self.uri} {self.version}\r\n{''.join(lines)}\r\n".encode("latin-1", "replace")


def pop_served_request(context: Any) -> ServedRequest | None:
    """Remove and return the last request of a connection, if it was one to a transport.

    :param context: of the connection, an ``HTTP1ServerConnection``.
    """
    served: ServedRequest | None = vars(context).pop("served_request", None)
    return served


class RequestDelegate(HTTPMessageDelegate):
    """A delegate for one request, around Tornado's: sets the client's address and protocol, and has Tornado respond 400
    to headers of which no ``HTTPServerRequest`` can be made. (Tornado alone logs a traceback, and closes.)

    :param delegate: Tornado's, or the application's.
    :param connection: the request's.
    :param peers: those that are trusted to name their clients.
    :param on_headers: called when the headers were received.
    """

    __slots__ = ("_connection", "_delegate", "_on_headers", "_peers")

    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        connection: HTTP1Connection,
        peers: Peers,
        on_headers: Callable[[], None],
    ) -> None:
        self._delegate = delegate
        self._connection = connection
        self._peers = peers
        self._on_headers = on_headers
        context: Any = connection.context
        context.remote_ip = host_of(context.address)  # until the headers were read; not that of the request before

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._on_headers()
        context: Any = self._connection.context
        protocol = "https" if isinstance(self._connection.stream, SSLIOStream) else "http"
        client = self._peers.client_of(context.address, protocol, headers)
        # In the order of Client's fields. HTTPServerRequest reads the first two from the context.
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
    """Check that an ``HTTPServerRequest`` can be made of a request's head.

    :raises HTTPInputError: none can. Tornado responds 400 to this error, and closes the connection.
    """
    try:
        HTTPServerRequest(start_line=start_line, headers=headers)
    except HTTPInputError:
        raise
    except Exception as error:
        raise HTTPInputError(f"no request can be made of this: {error}") from None


def _client_certificate(sock: socket.socket | None, binary_form: bool = False) -> Any:
    """Return what ``HTTPServerRequest.get_ssl_certificate`` promises: a client's certificate, as a dict or in DER;
    ``None`` without one, without TLS, and when the connection is closed.
    """
    if not isinstance(sock, ssl.SSLSocket) or sock.fileno() < 0:
        return None
    try:
        return sock.getpeercert(binary_form)
    except ssl.SSLError:
        return None


class TornadoExchange:
    """An :class:`tornadio.web.exchange.Exchange` on Tornado's ``HTTP1Connection``: a request, and its response.

    Made when the headers were received; the body may still come.
    """

    __slots__ = (
        "_close_callback",
        "_connection",
        "_hangup_fd",
        "_lingering_close",
        "_response_sent",
        "accepted_for",
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
        self.accepted_for: object = None
        self._connection = cast(HTTP1Connection, request.connection)
        # Tornado's asks the connection, which a WebSocket or a stream has left, and the socket as if there were TLS.
        certificate = functools.partial(_client_certificate, self._connection.stream.socket)
        request.get_ssl_certificate = certificate  # type: ignore[method-assign]
        self._response_sent = False
        self._lingering_close: LingeringClose | None = None
        self._close_callback: Callable[[], None] | None = None
        self._hangup_fd: int | None = None  # the descriptor whose hangup is watched

    @property
    def _stream(self) -> IOStream:
        return self._connection.stream

    @property
    def remote_ip(self) -> str:
        return self.request.remote_ip or ""

    @property
    def own_ip(self) -> str:
        return own_ip_of(self._stream.socket)

    @property
    def is_closed(self) -> bool:
        return self._stream.closed()

    @property
    def connection_error(self) -> BaseException | None:
        return self._stream.error

    def set_close_callback(self, callback: Callable[[], None]) -> None:
        stream = self._stream
        if stream.closed():
            callback()
            return
        self._close_callback = callback
        # Tornado replaces the stream's callback when the body was received, by one that calls the connection's.
        stream.set_close_callback(self._on_closed)
        self._connection.set_close_callback(self._on_closed)
        # While a request is served Tornado reads ahead once: it sees no FIN behind the next request.
        self._hangup_fd = stream.socket.fileno()
        poller_of(asyncio.get_running_loop()).watch_hangup(self._hangup_fd, self._on_hangup)

    def _on_hangup(self, is_reset: bool) -> None:
        self._stream.close(exc_info=reset_error() if is_reset else False)

    def _on_closed(self) -> None:
        closed = self._close_callback
        self._unwatch_hangup()
        if closed is not None:
            closed()

    def _unwatch_hangup(self) -> None:
        self._close_callback = None
        if self._hangup_fd is not None:
            poller_of(asyncio.get_running_loop()).unwatch(self._hangup_fd, self._on_hangup)
            self._hangup_fd = None

    def peer_has_closed(self) -> bool:
        stream = self._stream
        return stream.closed() or peer_has_closed(stream.socket)

    def connection_header(self) -> str:
        wanted = self.headers.get("Connection", "").lower()
        if self.version == "HTTP/1.1":
            return "Connection: close\r\n" if wanted == "close" or self._connection.no_keep_alive else ""
        is_kept = wanted == "keep-alive" and not self._connection.no_keep_alive and self._can_keep_alive_http10()
        return "Connection: Keep-Alive\r\n" if is_kept else ""

    def _can_keep_alive_http10(self) -> bool:
        """Whether Tornado keeps the connection of a request of HTTP/1.0 that asks for it."""
        return self.method in ("GET", "HEAD") or "Content-Length" in self.headers or "Transfer-Encoding" in self.headers

    def send_response(self, response: bytes, timeout: float) -> None:
        self._response_sent = True
        self._unwatch_hangup()
        context: Any = self._connection.context
        # For FastPath.reclaim, which is asked before Tornado reads the next request.
        context.served_request = ServedRequest(self.method, self.uri, self.version, self.request.headers)
        # write_headers would build the same bytes, from an object for each header.
        self._connection.write(response)
        self._connection.finish()
        if self._stream.writing():
            # An empty write returns the future of all that was written before.
            close_unless_flushed(self._stream.write(b""), write_timeout(len(response), timeout), self)

    def flushed(self) -> "asyncio.Future[None] | None":
        stream = self._stream
        if stream.closed():
            return None if stream.error is None and self._response_sent else failed_future()
        return stream.write(b"") if stream.writing() else None

    def close(self) -> None:
        self._stream.close()

    def detach(self) -> Wire:
        self._unwatch_hangup()
        return open_wire(self._connection.detach())

    # -- Bodies that are still coming ----------------------------------------------------------------------------

    def set_max_body_size(self, size: int) -> None:
        """Have Tornado respond 400 only to bodies larger than ``size`` bytes."""
        self._connection.set_max_body_size(size)

    def send_early_response(self, response: bytes, lingering: LingeringCloses) -> None:
        """Respond before the end of a chunked body, and discard the rest within the limits of a lingering close."""
        self._response_sent = True
        stream = self._stream
        if stream.closed():
            return
        closing = self._lingering_close = LingeringClose(lingering, stream.close)
        # Both: Tornado replaces the stream's callback at the body's end by one that calls the connection's.
        stream.set_close_callback(closing.finish)
        self._connection.set_close_callback(closing.finish)
        with contextlib.suppress(StreamClosedError):
            stream.write(response)
        flushing = self.flushed()
        if flushing is None:
            self._write_eof()
        else:
            flushing.add_done_callback(self._write_eof)
        closing.start()

    def _write_eof(self, flushing: "asyncio.Future[None] | None" = None) -> None:
        stream = self._stream
        if not stream.closed() and not isinstance(stream, SSLIOStream):
            half_close(stream.socket)

    def body_discarded(self, size: int) -> None:
        """Note that so many bytes of the body were discarded behind an early response."""
        if self._lingering_close is not None:
            self._lingering_close.discarded(size)

    def connection_lost(self) -> None:
        """Note that the connection is closed."""
        if self._lingering_close is not None:
            self._lingering_close.finish()

    def close_when_flushed(self) -> None:
        """Close the connection when the kernel has accepted the response."""
        flushing = self.flushed()
        if flushing is None:
            self.close()
        else:
            flushing.add_done_callback(self._on_flushed)

    def _on_flushed(self, flushing: "asyncio.Future[None]") -> None:
        self.close()


class TornadoMessageDelegate(HTTPMessageDelegate):
    """Tornado's delegate for one request to a transport: passes its parts on to the handler.

    The body is received in pieces, so that one that is too large is rejected before its end.

    :param lingering: of the server whose shutdown waits for the connection to close.
    """

    def __init__(self, handler: ExchangeHandler, exchange: TornadoExchange, lingering: LingeringCloses) -> None:
        self._handler = handler
        self._exchange = exchange
        self._lingering = lingering
        self._chunks = 0
        self._responded_early = False  # before the end of the body

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        # To a body past its limit Tornado responds 400, without a text; data_received enforces the handler's.
        self._exchange.set_max_body_size(sys.maxsize)
        return self._handler.headers_received()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._chunk_received(chunk)
        self._chunks += 1
        if self._chunks % _MAX_CHUNKS_PER_TICK:
            return None
        return asyncio.sleep(0)  # before 6.6 Tornado itself does not yield between chunks of one read

    def _chunk_received(self, chunk: bytes) -> None:
        if self._responded_early:
            self._exchange.body_discarded(len(chunk))
            return
        try:
            self._handler.body_received(chunk)
        except PeerError as error:
            self._responded_early = True
            self._exchange.send_early_response(self._handler.early_error_response(error), self._lingering)

    def finish(self) -> None:
        if self._responded_early:
            self._exchange.close_when_flushed()
        else:
            self._handler.handle()

    def on_connection_close(self) -> None:
        self._exchange.connection_lost()
        self._handler.drop_post()  # Tornado leaves this object, and so the handler, to the garbage collector
        self._handler.on_connection_close()


# -- Servers and applications ----------------------------------------------------------------------------------------


class TornadoServer(HTTPServer):
    """An ``HTTPServer`` whose subclasses are initialized by ``__init__``, not ``initialize``."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``tornado.util.Configurable`` calls this before ``__init__``, with the same arguments."""

    def start_http(self, application: tornado.web.Application, **options: Any) -> None:
        """Initialize ``HTTPServer`` with what it takes as arguments; listen on nothing yet."""
        super().initialize(application, **options)

    def handle_socket(self, sock: socket.socket, address: Any) -> None:
        """Hook: serve a new connection without TLS. What this raises is logged, and closes the connection."""
        raise NotImplementedError

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        """Serve a new connection, without a stream where it is without TLS: most never need one.

        Tornado logs most errors of a connection that was reset before its TLS handshake with a traceback.
        """
        try:
            if self.ssl_options is None:
                self.handle_socket(connection, address)
            else:
                super()._handle_connection(connection, address)
        except OSError as error:  # of which SSLError is one
            logger.debug("a connection of %s ended before it began: %s", address, error)
            connection.close()
        except Exception:
            logger.exception("failed on a new connection of %s", host_of(address))
            connection.close()


def overrides_routing(application: tornado.web.Application) -> bool:
    """Whether an application's class overrides how handlers are found, which the fast path could not follow."""
    names = ("find_handler", "start_request")
    return any(getattr(type(application), name) is not getattr(tornado.web.Application, name) for name in names)


class ApplicationRule(Rule):
    """A rule with a list of rules as its target, which is told which application it becomes an entry of."""

    @property
    def target(self) -> Any:
        """As of every rule; Tornado replaces the list by a router of the application's."""
        return self._target

    @target.setter
    def target(self, target: Any) -> None:
        self._target = target
        application = getattr(target, "application", None)
        if isinstance(application, tornado.web.Application):
            self.added_to(application)

    def added_to(self, application: tornado.web.Application) -> None:
        """Hook: an application, whose constructor may still run, has taken this rule. Errors are raised into the call
        that adds the rule.
        """


class FastPathRule(ApplicationRule):
    """A rule of an application's routing, for which the fast path may serve requests."""

    def find_fast_handler(self, exchange: Exchange) -> ExchangeHandler | None:
        """Return the handler of a request; ``None`` leaves the request to the rules behind this one."""
        raise NotImplementedError


def walk_rules(
    application: tornado.web.Application,
) -> tuple[list[tornado.web.Application], list[tuple[Rule, dict[str, Any]]]]:
    """Return the applications in an application's rules, itself included, and the rules of all, nested ones, too: each
    with the settings of the application that it is in, and of those around that where it has none.
    """
    waiting: list[tuple[Any, dict[str, Any]]] = [(application, {})]
    applications: list[tornado.web.Application] = []
    rules: list[tuple[Rule, dict[str, Any]]] = []
    while waiting:
        target, settings = waiting.pop()
        if isinstance(target, tornado.web.Application):
            applications.append(target)
            settings = settings | target.settings
            waiting += [(target.default_router, settings), (target.wildcard_router, settings)]
        elif isinstance(target, RuleRouter):
            rules += [(rule, settings) for rule in target.rules]
            waiting += [(rule.target, settings) for rule in target.rules]
    return applications, rules
