"""One connection of the HTTP fast path; :mod:`tornadio.web.fastpath` has the diagram of its states."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tornado.iostream import IOStream

from tornadio.errors import PeerError, ProtocolError
from tornadio.logs import get_logger
from tornadio.net import proxyprotocol
from tornadio.net.sockets import peer_has_closed, reset_error, socket_error
from tornadio.web.exchange import ExchangeHandler
from tornadio.web.fastexchange import FastExchange
from tornadio.web.fastparse import Headers, SimpleRequest, may_become_simple, parse_simple_request
from tornadio.web.peers import Client, ForwardedAddress, host_of

if TYPE_CHECKING:
    from tornadio.web.fastpath import FastPath

logger = get_logger(__name__)

# Bytes that a request on the fast path may have, with its body: several times those of a browser's poll, and of most
# messages. For a larger request Tornado's HTTP takes little more time, in comparison.
PEEK_SIZE: Final = 1 << 14

# Why Tornado's HTTP reads a request, as metrics count it.
DISABLED: Final = "disabled"  # the fast path serves nothing
NOT_SIMPLE: Final = "not_simple"  # not in the form that the fast path reads
OTHER_HANDLER: Final = "other_handler"  # not to a transport, or behind a rule that only Tornado can evaluate
SLOW_READER: Final = "slow_reader"  # the socket did not accept the whole response to the request before
TOO_LARGE: Final = "too_large"  # more than PEEK_SIZE, with its body


class FastConnection:
    """One connection: idle, or with one request that waits for its response.

    :ivar is_trusted: whether its peer is trusted to say who its client is.
    :ivar idle_deadline: when it is closed if its next request has not come, in the loop's time; 0 if it never waited.
    :ivar socket: which does not block.
    :ivar stream: that writes the end of a response, which the socket has not accepted; ``None`` else.
    :ivar is_closed: whether the fast path has it no more: it was closed, or has another owner.
    :ivar error: why it broke, if it did.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_exchange",
        "_fast_path",
        "_fd",
        "_handler",
        "_is_new",
        "_is_reading",
        "_last_headers",
        "_missing_bytes",
        "_peeked_bytes",
        "error",
        "idle_deadline",
        "is_closed",
        "is_trusted",
        "socket",
        "stream",
    )

    def __init__(self, fast_path: "FastPath", sock: socket.socket, address: Any, is_new: bool) -> None:
        self.socket = sock
        self.stream: IOStream | None = None
        self.is_closed = False
        self.error: BaseException | None = None
        self.is_trusted = fast_path.peers.trusts(address)
        self.idle_deadline = 0.0
        self._is_new = is_new  # nothing was read from it, so there may be a PROXY line
        self._peeked_bytes = 0  # of a line or head whose end has not come yet
        self._missing_bytes = 0  # of the body of the request whose head was read
        self._handler: ExchangeHandler | None = None  # which waits for that body
        self._fast_path = fast_path
        self._address = address
        self._exchange: FastExchange | None = None
        self._fd = sock.fileno()
        self._is_reading = False
        self._last_headers: Headers | None = None  # of the request before

    # -- Requests ------------------------------------------------------------------------------------------------

    def peek_request(self) -> None:
        """Peek at what was received: serve a simple request to a transport, wait for the rest of one that may become
        simple, and pass the connection to Tornado with any other.
        """
        try:
            data = self.socket.recv(PEEK_SIZE, socket.MSG_PEEK)
        except BlockingIOError:
            self.wait_for_request()
            return
        except OSError:  # reset
            data = b""
        if not data:
            self.close()
            return
        if self._is_new and not self._begins_with_request(data):
            return
        reason = DISABLED
        if self._fast_path.enabled:
            request = parse_simple_request(data, self._last_headers)
            reason = NOT_SIMPLE
            if request is not None:
                self._last_headers = request.headers
                exchange = FastExchange(self, request)
                handler = self._fast_path.find_handler(exchange)
                if handler is None:
                    reason = OTHER_HANDLER
                elif not exchange.query or exchange.has_valid_query():
                    if request.total_bytes <= len(data):
                        self._serve(exchange, handler, request)
                        return
                    if request.total_bytes <= PEEK_SIZE:
                        self._read_head(exchange, handler, request, len(data))
                        return
                    reason = TOO_LARGE
            elif may_become_simple(data) and self._wait_for_bytes(len(data), len(data) + 1):
                return
        if len(data) <= self._peeked_bytes and peer_has_closed(self.socket):
            self.close()  # part of a request whose rest the peer can't send any more
            return
        # Reset before the fallback: Tornado's reader has to be woken by each byte.
        self._reset_peek()
        self.unregister()
        self._fast_path.fall_back(IOStream(self.socket), self._address, data[:1], self.idle_deadline, reason)

    def _serve(self, exchange: FastExchange, handler: ExchangeHandler, request: SimpleRequest) -> None:
        """Read a request that was received as a whole, and have it handled."""
        self._fast_path.requests += 1
        if self._peeked_bytes:
            self._reset_peek()
        try:
            self.socket.recv(request.total_bytes)
        except OSError:  # reset since the peek: some systems discard what was received before
            self.close()
            return
        self._exchange = exchange
        try:
            checking = handler.headers_received()
            if checking is not None:
                self._fast_path.create_task(self._serve_later(exchange, handler, checking))
            elif exchange.response_pending:
                handler.handle(request.body)
        except Exception:
            self._fail()
        if exchange.response_pending:
            self._watch_reading()  # to notice a client that closes before the response

    async def _serve_later(self, exchange: FastExchange, handler: ExchangeHandler, checking: Awaitable[None]) -> None:
        try:
            await checking
            if exchange.response_pending:
                handler.handle()
        except Exception:
            self._fail()

    # -- Requests in several packets -----------------------------------------------------------------------------

    def _read_head(
        self, exchange: FastExchange, handler: ExchangeHandler, request: SimpleRequest, available: int
    ) -> None:
        """Read a request whose head is complete, have its handler check that, and wait for the rest of its body."""
        self._fast_path.requests += 1
        if self._peeked_bytes:
            self._reset_peek()
        try:
            read = self.socket.recv(available)
        except OSError:  # reset just now
            self.close()
            return
        self._missing_bytes = request.total_bytes - len(read)
        self._handler = handler
        self._exchange = exchange
        self._fast_path.set_deadline(self, self._fast_path.body_timeout)
        try:
            checking = handler.headers_received()
            if checking is not None:
                self._fast_path.create_task(self._wait_for_body_later(exchange, handler, request.body, checking))
            elif exchange.response_pending:
                self._body_received(handler, request.body)
        except Exception:
            self._fail()

    async def _wait_for_body_later(
        self, exchange: FastExchange, handler: ExchangeHandler, body: bytes, checking: Awaitable[None]
    ) -> None:
        try:
            await checking
            if exchange.response_pending:
                self._body_received(handler, body)
        except Exception:
            self._fail()

    def _read_body(self) -> None:
        handler = self._handler
        try:
            data = self.socket.recv(self._missing_bytes)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or handler is None:
            self.close()
            return
        self._missing_bytes -= len(data)
        try:
            self._body_received(handler, data)
        except Exception:
            self._fail()

    def _body_received(self, handler: ExchangeHandler, data: bytes) -> None:
        """Pass a piece of a body to its handler, and wait for the next one, or have the request handled."""
        try:
            handler.body_received(data)
        except PeerError as error:
            handler.reject_and_linger(error)
            return
        if self._missing_bytes:
            self._watch_reading()
        else:
            self._handler = None
            handler.handle()

    def _wait_for_bytes(self, available: int, wanted: int) -> bool:
        """Wait until ``wanted`` bytes were received, by the socket's low-water mark.

        :returns: whether that is possible: not if nothing was received since the last call (the peer has closed, or
            this kind of socket has no low-water mark), nor for more than ``PEEK_SIZE``.
        """
        if available <= self._peeked_bytes or available >= PEEK_SIZE:
            return False
        self._peeked_bytes = available
        self._set_low_water_mark(wanted)
        if self.idle_deadline:
            self._watch_reading()  # the timeout runs already
        else:
            self.wait_for_request()
        return True

    def _reset_peek(self) -> None:
        """Reset the low-water mark: the next reader is woken by each byte."""
        if self._peeked_bytes:
            self._peeked_bytes = 0
            self._set_low_water_mark(1)

    def _set_low_water_mark(self, size: int) -> None:
        """Set ``SO_RCVLOWAT`` (socket(7)), so that the bytes that were peeked at do not wake the loop."""
        with contextlib.suppress(OSError):  # Windows has no SO_RCVLOWAT
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    # -- The PROXY protocol --------------------------------------------------------------------------------------

    def _begins_with_request(self, data: bytes) -> bool:
        """Read or reject a PROXY line; returns whether the connection begins with a request instead."""
        # Of a peer that is not trusted, part of a prefix may still be the beginning of "PROPFIND".
        if not data.startswith(proxyprotocol.PREFIX[: len(data)]) or not (
            self.is_trusted or len(data) >= len(proxyprotocol.PREFIX)
        ):
            self._is_new = False
            if self._peeked_bytes:
                self._reset_peek()
            return True
        if not self.is_trusted:
            logger.warning(
                "closed a connection of %s: it begins with a PROXY line, and this peer is not believed. If it is your "
                "proxy, set SocketServer(xheaders=['%s'])",
                self.remote_ip,
                self.remote_ip,
            )
            self.close()
            return False
        try:
            line = proxyprotocol.parse(data)
        except ProtocolError as error:
            logger.warning("closed a connection of %s: %s (version 1, HAProxy's send-proxy)", self.remote_ip, error)
            self.close()
            return False
        if line is not None:
            self._read_proxy_line(line)
        elif not self._wait_for_bytes(len(data), len(data) + 1):
            self.close()
        return False

    def _read_proxy_line(self, line: proxyprotocol.ProxyLine) -> None:
        self._is_new = self.is_trusted = False  # behind the line the client itself speaks
        self._address = ForwardedAddress(*(line.source or (self.remote_ip, 0)), is_known=line.source is not None)
        self._reset_peek()
        try:
            self.socket.recv(line.size)
        except OSError:  # reset just now
            self.close()
        else:
            self.peek_request()

    # -- Idle times and responses --------------------------------------------------------------------------------

    def wait_for_request(self) -> None:
        """Start the idle timeout, and wait until the socket is readable."""
        self._fast_path.set_deadline(self, self._fast_path.idle_timeout)
        self._watch_reading()

    def _fail(self) -> None:
        """Log the exception that a handler has raised, and close the connection."""
        logger.exception("failed on a request of %s", self.remote_ip)
        self.close()

    def response_sent(self) -> None:
        """Wait for the next request: the kernel has accepted the response."""
        self._exchange = None
        if self._missing_bytes:
            self.close()  # the rest of this request's body would be read as the next request
            return
        self.wait_for_request()

    def write_by_stream(self, data: bytes) -> "asyncio.Future[None]":
        """Have a stream write the end of a response, which the socket has not accepted. From now on it owns the socket.

        :returns: a future of that, which fails when the connection ends first.
        """
        self._unwatch()  # before the stream adds its own handler for the same descriptor
        self.stream = IOStream(self.socket)
        return self.stream.write(data)

    def response_drained(self, stream: IOStream) -> None:
        """Pass the connection to Tornado: the stream has written the response's end, and watches the socket now."""
        self._exchange = None
        self.unregister()
        self._fast_path.fall_back(stream, self._address, b"", 0.0, SLOW_READER)

    # -- The socket ----------------------------------------------------------------------------------------------

    def _watch_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._fast_path.poller.watch_reading(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        if self._exchange is None:
            self.peek_request()
        elif self._missing_bytes:
            self._read_body()
        elif peer_has_closed(self.socket):
            self.close(socket_error(self.socket))
        else:  # a pipelined request: it waits in the socket for this one's response
            self._is_reading = False
            self._fast_path.poller.watch_hangup(self._fd, self._on_hangup)

    def _unwatch(self) -> None:
        """Stop watching the socket, for input or the peer's end."""
        was_reading, self._is_reading = self._is_reading, False
        self._fast_path.poller.unwatch(self._fd, self._on_readable if was_reading else self._on_hangup)

    def _on_hangup(self, is_reset: bool) -> None:
        # Otherwise the reader finds the FIN behind what the client sent; and a client with a response under way may
        # have half-closed, and still read.
        if self._exchange is not None and self._exchange.response_pending:
            self.close(reset_error() if is_reset else None)

    def on_idle_timeout(self, now: float) -> float | None:
        """Close a connection whose next request did not come in time; returns when to check again."""
        if self._exchange is not None and not self._missing_bytes:
            return None  # the timeout starts again with the response
        if now < self.idle_deadline:
            return self.idle_deadline
        if self._missing_bytes:
            logger.info("closed a connection of %s: the body of its request does not come", self.remote_ip)
        self.close()
        return None

    def close(self, error: BaseException | None = None) -> None:
        """Close the connection.

        :param error: why it broke, if it did.
        """
        if self.is_closed:  # or not ours to close
            return
        self.unregister()
        self.error = error
        (self.stream or self.socket).close()
        exchange, self._exchange = self._exchange, None
        handler, self._handler, self._missing_bytes = self._handler, None, 0
        if handler is not None:  # which still waits for the body
            handler.drop_post()
            handler.on_connection_close()
        if exchange is not None:
            exchange.connection_lost()

    def detach(self) -> None:
        """Detach: stop watching the socket, which the caller owns from now on."""
        self._exchange = self._handler = None  # which refer to this object: break the reference cycle
        self._missing_bytes = 0
        self.unregister()

    def unregister(self) -> None:
        """Stop watching the socket, and remove the connection from the fast path."""
        self._unwatch()
        self._fast_path.remove(self)
        self.is_closed = True

    @property
    def remote_ip(self) -> str:
        """The peer's address, or that of a PROXY line; ``0.0.0.0``, as Tornado has it, on a Unix socket."""
        return host_of(self._address)

    def client_of(self, headers: Mapping[str, str]) -> Client:
        """Return the client that sent a request with these headers."""
        # "http": the fast path has no connections over TLS; a proxy that ends TLS says so in a header.
        return self._fast_path.peers.client_of(self._address, "http", headers)
