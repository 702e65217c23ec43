"""One connection of the HTTP fast path: see :mod:`tornadio.web.fastpath`, which shows its states."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from tornadio.errors import ProtocolError
from tornadio.logs import get_logger
from tornadio.net import proxyprotocol
from tornadio.net.hangups import hangups_of, peer_has_closed
from tornadio.web.exchange import FastHandler
from tornadio.web.fastexchange import FastExchange
from tornadio.web.fastparse import SimpleRequest, may_become_simple, parse_simple_request
from tornadio.web.peers import Client, ForwardedAddress, host_of

if TYPE_CHECKING:
    from tornadio.web.fastpath import FastPath

logger = get_logger(__name__)

# Bytes of a request with its body that are served here: several times those of a browser's poll, and of most messages.
# Tornado takes little more time for a larger one, in comparison.
PEEK_SIZE: Final = 1 << 14


class FastConnection:
    """One connection: idle, or with one request that waits for its response.

    :ivar is_trusted: whether its peer is trusted to say who its client is.
    :ivar idle_deadline: when it is closed if its next request has not come, in the loop's time; 0 if it never waited.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_body",
        "_exchange",
        "_fast_path",
        "_handler",
        "_hangup_fd",
        "_is_new",
        "_is_reading",
        "_missing_bytes",
        "_peeked_bytes",
        "_stream",
        "idle_deadline",
        "is_trusted",
    )

    def __init__(self, fast_path: "FastPath", stream: IOStream, address: Any, is_new: bool) -> None:
        self.is_trusted = fast_path.peers.trusts(address)
        self.idle_deadline = 0.0
        self._is_new = is_new  # nothing was read from it, so there may be a PROXY line
        self._peeked_bytes = 0  # of a line or head whose end has not come yet
        self._missing_bytes = 0  # of the body of the request whose head was read
        self._body: bytearray | None = None  # what has come of that
        self._handler: FastHandler | None = None  # which waits for it
        self._fast_path = fast_path
        self._stream = stream
        self._address = address
        self._exchange: FastExchange | None = None
        self._is_reading = False
        self._hangup_fd: int | None = None  # the descriptor, if its hangup is or was watched

    # -- Requests ------------------------------------------------------------------------------------------------

    def peek_request(self) -> None:
        """Serve the request that is there if it is simple and to a transport; wait for the rest of one that may be."""
        try:
            data = self._stream.socket.recv(PEEK_SIZE, socket.MSG_PEEK)
        except BlockingIOError:
            self.wait_for_request()
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self._is_new and not self._begins_with_request(data):
            return
        if self._fast_path.enabled:
            request = parse_simple_request(data)
            if request is not None:
                exchange = FastExchange(self, request)
                handler = self._fast_path.find_handler(exchange)
                if handler is not None and exchange.is_acceptable(handler):
                    if request.total_bytes <= len(data):
                        self._read_and_serve(exchange, handler, request)
                        return
                    if request.total_bytes <= PEEK_SIZE:
                        self._read_head(exchange, handler, request, len(data))
                        return
            elif may_become_simple(data) and self._wait_for_bytes(len(data), len(data) + 1):
                return
        if len(data) <= self._peeked_bytes and peer_has_closed(self._stream.socket):
            self.close()  # half a request, and no more will come
            return
        self._reset_peek()
        self.unregister()
        self._fast_path.fallback(self._stream, self._address, data[:1], self.idle_deadline)

    def _read_and_serve(self, exchange: FastExchange, handler: FastHandler, request: SimpleRequest) -> None:
        if self._peeked_bytes:
            self._reset_peek()
        try:
            self._stream.socket.recv(request.total_bytes)
        except OSError:  # reset just now: some systems throw away what was there
            self.close()
        else:
            self._serve(exchange, handler, request.body)

    # -- Requests that come in pieces ----------------------------------------------------------------------------

    def _read_head(self, exchange: FastExchange, handler: FastHandler, request: SimpleRequest, available: int) -> None:
        """Have the handler check a request whose head is there, and wait for the rest of its body."""
        if self._peeked_bytes:
            self._reset_peek()
        try:
            read = self._stream.socket.recv(available)
        except OSError:  # reset just now
            self.close()
            return
        self._body = bytearray(request.body)
        self._missing_bytes = request.total_bytes - len(read)
        self._handler = handler
        self._exchange = exchange
        self._fast_path.start_body_timer(self)
        try:
            checking = handler.headers_received()
            if checking is not None:
                self._fast_path.create_task(self._wait_for_body_later(exchange, checking))
            elif exchange.response_pending:
                self._add_reader()
        except Exception:
            self._fail()

    async def _wait_for_body_later(self, exchange: FastExchange, checking: Awaitable[None]) -> None:
        try:
            await checking
            if exchange.response_pending:
                self._add_reader()
        except Exception:
            self._fail()

    def _read_body(self) -> None:
        handler = self._handler
        try:
            data = self._stream.socket.recv(self._missing_bytes)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or handler is None or self._body is None:
            self.close()
            return
        self._body += data
        self._missing_bytes -= len(data)
        if not self._missing_bytes:
            body, self._body, self._handler = bytes(self._body), None, None
            try:
                handler.handle(body)
            except Exception:
                self._fail()

    def _wait_for_bytes(self, available: int, wanted: int) -> bool:
        """Wait until more bytes are there than were peeked at.

        :returns: whether they can be waited for: not without end, and not if this was woken for nothing new. Then the
            peer has closed, or this kind of socket has no low-water mark.
        """
        if available <= self._peeked_bytes or available >= PEEK_SIZE:
            return False
        self._peeked_bytes = available
        self._set_low_water_mark(wanted)
        if self.idle_deadline:
            self._add_reader()  # the timeout runs already
        else:
            self.wait_for_request()
        return True

    def _reset_peek(self) -> None:
        """Nothing is waited for any more: the next reader is woken by each byte."""
        if self._peeked_bytes:
            self._peeked_bytes = 0
            self._set_low_water_mark(1)

    def _set_low_water_mark(self, size: int) -> None:
        """Have the socket become readable only when so many bytes are there: what was peeked at is left in it."""
        with contextlib.suppress(OSError):  # Windows has no such thing
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    # -- A proxy's announcement ----------------------------------------------------------------------------------

    def _begins_with_request(self, data: bytes) -> bool:
        """Whether a new connection begins with the client's bytes. A PROXY line is read, or rejected."""
        if not data.startswith(proxyprotocol.PREFIX[: len(data)]) or not (
            self.is_trusted or len(data) >= len(proxyprotocol.PREFIX)
        ):
            self._is_new = False
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
        self._is_new = self.is_trusted = False
        self._address = ForwardedAddress(*(line.source or (self.remote_ip, 0)), is_known=line.source is not None)
        self._reset_peek()
        try:
            self._stream.socket.recv(line.size)
        except OSError:  # reset just now
            self.close()
        else:
            self.peek_request()

    # -- Idle times and responses --------------------------------------------------------------------------------

    def wait_for_request(self) -> None:
        """Start the idle timeout, and wait until the socket is readable."""
        self._fast_path.start_idle_timer(self)
        self._add_reader()

    def _serve(self, exchange: FastExchange, handler: FastHandler, body: bytes) -> None:
        self._exchange = exchange
        try:
            checking = handler.headers_received()
            if checking is not None:
                self._fast_path.create_task(self._serve_later(exchange, handler, checking))
            elif exchange.response_pending:
                handler.handle(body)
        except Exception:
            self._fail()
        if exchange.response_pending:
            self._add_reader()

    async def _serve_later(self, exchange: FastExchange, handler: FastHandler, checking: Awaitable[None]) -> None:
        try:
            await checking
            if exchange.response_pending:
                handler.handle()
        except Exception:
            self._fail()

    def _fail(self) -> None:
        """Log the exception that a handler has raised, and close the connection."""
        logger.exception("failed on a request of %s", self.remote_ip)
        self.close()

    def response_sent(self) -> None:
        """The socket has taken the response: wait for the next request."""
        self._exchange = None
        if self._missing_bytes:
            self.close()  # nobody reads the body of a request with a response, and it is no next request
            return
        self.wait_for_request()

    def response_drained(self) -> None:
        """The response's end was sent by the stream, which watches the socket from now on: pass it to Tornado, which
        sees to peers that read slowly."""
        self._exchange = None
        self.unregister()
        self._fast_path.fallback(self._stream, self._address, b"", 0.0)

    # -- The socket ----------------------------------------------------------------------------------------------

    def _add_reader(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._stream.io_loop.add_handler(self._stream.socket, self._on_readable, IOLoop.READ)

    def remove_reader(self) -> None:
        """Don't watch the socket any more."""
        if self._is_reading:
            self._is_reading = False
            self._stream.io_loop.remove_handler(self._stream.socket)

    def _on_readable(self, sock: Any, events: int) -> None:
        if self._exchange is None:
            self.peek_request()
        elif self._missing_bytes:
            self._read_body()
        elif peer_has_closed(self._stream.socket):
            self.close()
        else:
            self.remove_reader()  # the next request waits for this one's response
            self._hangup_fd = self._stream.socket.fileno()
            hangups_of(asyncio.get_running_loop()).watch(self._hangup_fd, self._on_hangup)

    def _on_hangup(self, is_reset: bool) -> None:
        # Else what the client sent is read, and its end behind it; and one with a response under way may still listen.
        if self._exchange is not None and self._exchange.response_pending:
            self.close()

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

    def close(self) -> None:
        """Close the connection."""
        self.unregister()
        self._stream.close()
        exchange, self._exchange = self._exchange, None
        handler, self._handler, self._missing_bytes = self._handler, None, 0
        if handler is not None:  # it still waits for the body
            handler.drop_post()
            handler.on_connection_close()
        if exchange is not None:
            exchange.connection_lost()

    def detach(self) -> None:
        """The socket belongs to the caller from now on."""
        self._exchange = self._handler = None  # which know this object: in a circle all would wait for the collector
        self._missing_bytes = 0
        self.unregister()

    def unregister(self) -> None:
        """Neither watch the connection nor keep it any more."""
        self.remove_reader()
        if self._hangup_fd is not None:
            hangups_of(asyncio.get_running_loop()).unwatch(self._hangup_fd, self._on_hangup)
            self._hangup_fd = None
        self._fast_path.remove(self)

    @property
    def stream(self) -> IOStream:
        """Not used as long as the connection is here, but for responses that the socket does not take at once."""
        return self._stream

    @property
    def remote_ip(self) -> str:
        """Where the connection comes from; as Tornado says it for a peer without an address, on a Unix socket."""
        return host_of(self._address)

    def client_of(self, headers: Mapping[str, str]) -> Client:
        """The client that sent a request with these headers."""
        return self._fast_path.peers.client_of(self._address, "http", headers)  # TLS is Tornado's, or a proxy's
