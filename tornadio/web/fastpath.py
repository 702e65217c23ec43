"""The way into the server: what a new connection wants shows in its first bytes, which are looked at and not yet read.

A proxy announces its client (:mod:`tornadio.net.proxyprotocol`), Flash asks for its policy. A plain request
(:mod:`tornadio.web.fastparse`) to a transport is answered right here, and so are those that follow it on the same
connection: that costs a fraction of what Tornado's HTTP takes, which awaits each line, and a poll is little else. The
first request of any other kind makes the connection Tornado's, unread, from there on.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple

import tornado.web
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.routing import PathMatches, Rule

from tornadio.errors import ProtocolError
from tornadio.logs import get_logger
from tornadio.net import proxyprotocol
from tornadio.net.hangups import hangups_of, peer_has_closed
from tornadio.net.patience import seconds_to_take
from tornadio.net.tasks import has_succeeded
from tornadio.net.timers import Deadlines, DeadlineTimer
from tornadio.net.wire import Wire, failed_future, take_untouched
from tornadio.web.exchange import Exchange, FastHandler, close_unless_taken, own_ip_of
from tornadio.web.fastparse import SimpleRequest, parse
from tornadio.web.peers import Client, ForwardedAddress, Peers, forwarded_protocol, host_of

logger = get_logger(__name__)

# A request with its body is plain only if it is no larger. Larger ones take a while anyway.
_LOOK: Final = 1 << 14


class FastPathRule(Rule):
    """An application's rule some of whose requests the fast path may serve."""

    def find_fast_handler(self, exchange: Exchange) -> FastHandler | None:
        """The handler of a request; ``None`` leaves it to the rules behind this one."""
        raise NotImplementedError


class FastPath:
    """What the connections share that are still here.

    :param application: whose routers are asked for transports.
    :param is_plain_served: whether plain requests are answered here at all.
    :param peers: which of them are believed about their clients.
    :param timeout: seconds that a connection may be silent: before its first request, and between two.
    :param hand_over: called with the stream of a connection that is not for here, its address, its first byte, and when
        the headers of its request are due, in the loop's time, or 0 where its time begins now.
    """

    def __init__(
        self,
        application: tornado.web.Application,
        is_plain_served: bool,
        peers: Peers,
        timeout: float,
        hand_over: Callable[[IOStream, Any, bytes, float], None],
    ) -> None:
        self.is_plain_served = is_plain_served
        self.peers = peers
        self.hand_over = hand_over
        self._application = application
        self._timeout = timeout
        self._connections: dict[FastConnection, None] = {}
        self._silences = Deadlines(FastConnection.on_silence)
        self._alarm: DeadlineTimer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def enter(self, stream: IOStream, address: Any) -> None:
        """A new connection."""
        connection = FastConnection(self, stream, address)
        self._connections[connection] = None
        connection.look()

    def leave(self, connection: "FastConnection") -> None:
        """A connection is not for here any more, or closed."""
        self._connections.pop(connection, None)
        self._silences.discard(connection)
        if not self._connections and self._alarm is not None:
            self._alarm.stop()

    def wait(self, connection: "FastConnection") -> None:
        """A connection is silent from now on."""
        loop = asyncio.get_running_loop()
        connection.silent_until = loop.time() + self._timeout
        self._silences.add(connection, connection.silent_until)
        self._alarm = self._alarm or DeadlineTimer(loop, self._silences)
        self._alarm.reset()

    def find_handler(self, exchange: "FastExchange") -> FastHandler | None:
        """The handler that the application's rules have for a request, if it is a transport's.

        The rules before the routers are asked in their order, as Tornado does. What they can't be asked for without
        Tornado's HTTP, such as rules for a host, makes a request Tornado's.
        """
        application = self._application
        if len(application.default_router.rules) != 1:
            return None
        for rule in application.wildcard_router.rules:
            if isinstance(rule, FastPathRule):
                handler = rule.find_fast_handler(exchange)
                if handler is not None:
                    return handler
            elif type(rule.matcher) is not PathMatches or rule.matcher.regex.match(exchange.path):
                return None
        return None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what a request waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Close every connection that is still here."""
        for connection in tuple(self._connections):
            connection.close()


class FastConnection:
    """One connection: silent, or with one request that waits for its answer.

    :ivar is_believed: whether its peer is, about its clients.
    :ivar silent_until: when it is closed if it stays silent, in the loop's time.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_exchange",
        "_fast_path",
        "_hangup_watched",
        "_is_new",
        "_is_watched",
        "_seen",
        "_stream",
        "is_believed",
        "silent_until",
    )

    def __init__(self, fast_path: FastPath, stream: IOStream, address: Any) -> None:
        self.is_believed = fast_path.peers.believes(address)
        self.silent_until = 0.0
        self._is_new = True
        self._seen = 0  # bytes of a PROXY line whose end has not come yet
        self._fast_path = fast_path
        self._stream = stream
        self._address = address
        self._exchange: FastExchange | None = None
        self._is_watched = False
        self._hangup_watched: int | None = None  # the descriptor, if its hangup is or was watched

    # -- Requests ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """See what is there, and serve it if it is a plain request to a transport."""
        try:
            data = self._stream.socket.recv(_LOOK, socket.MSG_PEEK)
        except BlockingIOError:
            self._wait()
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self._is_new and not self._is_from_client(data):
            return
        request = parse(data) if self._fast_path.is_plain_served else None
        if request is not None:
            exchange = FastExchange(self, request)
            handler = self._fast_path.find_handler(exchange)
            if handler is not None and exchange.is_acceptable(handler):
                try:
                    self._stream.socket.recv(request.size)
                except OSError:  # reset just now: some systems throw away what was there
                    self.close()
                else:
                    self._serve(exchange, handler, request.body)
                return
        self.leave()
        self._fast_path.hand_over(self._stream, self._address, data[:1], self.silent_until)

    # -- A proxy's announcement ----------------------------------------------------------------------------------

    def _is_from_client(self, data: bytes) -> bool:
        """Whether a new connection begins with the client's bytes. A PROXY line is taken, or refused."""
        if not data.startswith(proxyprotocol.PREFIX[: len(data)]) or not (
            self.is_believed or len(data) >= len(proxyprotocol.PREFIX)
        ):
            self._is_new = False
            self._wake_at(1)
            return True
        if not self.is_believed:
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
        if line is None:
            self._await_rest(len(data))
        else:
            self._take_line(line)
        return False

    def _await_rest(self, seen: int) -> None:
        """Half of a PROXY line is there."""
        if seen <= self._seen:  # woken for nothing new: the peer has closed
            self.close()
            return
        self._seen = seen
        self._wake_at(seen + 1)
        if self.silent_until:
            self._watch()  # its time runs already
        else:
            self._wait()

    def _take_line(self, line: proxyprotocol.ProxyLine) -> None:
        self._is_new = self.is_believed = False
        self._address = ForwardedAddress(*(line.source or (self.remote_ip, 0)), is_known=line.source is not None)
        try:
            self._stream.socket.recv(line.size)
        except OSError:  # reset just now
            self.close()
        else:
            self._wake_at(1)
            self.look()

    def _wake_at(self, size: int) -> None:
        """Have the socket become readable when so many bytes are there: the line is left in it until its end comes."""
        if self._seen:
            with contextlib.suppress(OSError):  # Windows has no such thing
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    # -- Silence and service -------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Nothing is there yet, or not known."""
        self._fast_path.wait(self)
        self._watch()

    def _serve(self, exchange: "FastExchange", handler: FastHandler, body: bytes) -> None:
        self._exchange = exchange
        try:
            beginning = handler.begin()
            if beginning is not None:
                self._fast_path.spawn(self._serve_later(exchange, handler, beginning))
            elif exchange.is_open:
                handler.finish(body)
        except Exception:
            logger.exception("failed on a request of %s", self.remote_ip)
            self.close()
        if exchange.is_open:
            self._watch()

    async def _serve_later(self, exchange: "FastExchange", handler: FastHandler, beginning: Awaitable[None]) -> None:
        try:
            await beginning
            if exchange.is_open:
                handler.finish()
        except Exception:
            logger.exception("failed on a request of %s", self.remote_ip)
            self.close()

    def answered(self) -> None:
        """The socket has taken the answer: it is another request's turn."""
        self._exchange = None
        self._wait()

    def answered_slowly(self) -> None:
        """As :meth:`answered`, but the stream watches the socket from now on: the connection is Tornado's."""
        self._exchange = None
        self.leave()
        self._fast_path.hand_over(self._stream, self._address, b"", 0.0)

    # -- The socket ----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._stream.io_loop.add_handler(self._stream.socket, self._on_readable, IOLoop.READ)

    def unwatch(self) -> None:
        """Look no more."""
        if self._is_watched:
            self._is_watched = False
            self._stream.io_loop.remove_handler(self._stream.socket)

    def _on_readable(self, connection: Any, events: int) -> None:
        if self._exchange is None:
            self.look()
        elif peer_has_closed(self._stream.socket):
            self.close()
        else:
            self.unwatch()  # the next request: its turn comes
            self._hangup_watched = self._stream.socket.fileno()
            hangups_of(asyncio.get_running_loop()).watch(self._hangup_watched, self._on_hangup)

    def _on_hangup(self, is_reset: bool) -> None:
        # Else what it sent is read, and its end behind it; and whose answer is under way may still listen.
        if self._exchange is not None and self._exchange.is_open:
            self.close()

    def on_silence(self, now: float) -> float | None:
        """Close a connection that has been silent for too long; returns when to look again."""
        if self._exchange is not None:
            return None  # it is added again with its answer
        if now < self.silent_until:
            return self.silent_until
        self.close()
        return None

    def close(self) -> None:
        """Close the connection."""
        self.leave()
        self._stream.close()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()

    def let_go(self) -> None:
        """The socket belongs to the request that was made on it."""
        self._exchange = None  # which knows this object: in a circle both would wait for the collector
        self.leave()

    def leave(self) -> None:
        """It is not for here any more."""
        self.unwatch()
        if self._hangup_watched is not None:
            hangups_of(asyncio.get_running_loop()).unwatch(self._hangup_watched, self._on_hangup)
            self._hangup_watched = None
        self._fast_path.leave(self)

    @property
    def stream(self) -> IOStream:
        """Untouched as long as the connection is here, but for answers that the socket does not take at once."""
        return self._stream

    @property
    def remote_ip(self) -> str:
        """Where the connection comes from; as Tornado says it for a peer without an address, on a Unix socket."""
        return host_of(self._address)

    def client_of(self, fields: Mapping[str, str]) -> Client:
        """Who sent a request.

        :param fields: its header.
        """
        return self._fast_path.peers.client_of(self._address, "http", fields)  # TLS is Tornado's, or a proxy's


class FastExchange:
    """A plain request, and its answer: see :class:`tornadio.web.exchange.Exchange`."""

    __slots__ = (
        "_closed",
        "_connection",
        "_request",
        "_started",
        "_taken",
        "headers",
        "host",
        "is_open",
        "method",
        "path",
        "protocol",
        "query",
        "uri",
    )

    version = "HTTP/1.1"

    def __init__(self, connection: FastConnection, request: SimpleRequest) -> None:
        self.method = request.method
        self.uri = request.uri
        self.path, _, self.query = request.uri.partition("?")
        self.headers: Mapping[str, str] = request.headers
        self.host = request.headers["host"]
        self.is_open = True  # until the answer, or the connection's end
        self.protocol = (connection.is_believed and forwarded_protocol(request.headers)) or "http"
        self._connection = connection
        self._request: HTTPServerRequest | None = None
        self._started = time.time()
        self._closed: Callable[[], None] | None = None
        self._taken: asyncio.Future[None] | None = None

    @property
    def request(self) -> HTTPServerRequest:
        if self._request is None:
            self._request = _Request(self, self._started)
        return self._request

    def is_acceptable(self, handler: FastHandler) -> bool:
        """Whether Tornado can make a request of this, where ``on_open`` needs one or there are arguments."""
        if self.query or handler.is_for_new_session:
            try:
                self._request = _Request(self, self._started)
            except Exception:  # which Tornado will meet again, and answer
                return False
        return True

    @property
    def client(self) -> Client:
        """Who sent it."""
        return self._connection.client_of(self.headers)

    @property
    def remote_ip(self) -> str:
        return self.client.remote_ip

    @property
    def own_ip(self) -> str:
        return own_ip_of(self._connection.stream)

    @property
    def is_closed(self) -> bool:
        return self._connection.stream.closed()

    def set_close_callback(self, callback: Callable[[], None]) -> None:
        if self.is_open:
            self._closed = callback
        else:
            callback()

    def lost(self) -> None:
        """The connection has gone before the answer was taken."""
        self.is_open = False
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()

    def peer_has_closed(self) -> bool:
        stream = self._connection.stream
        return stream.closed() or peer_has_closed(stream.socket)

    def connection_header(self) -> str:
        return ""

    def send_response(self, response: bytes, patience: float) -> None:
        self.is_open = False
        self._closed = None
        connection, stream = self._connection, self._connection.stream
        try:
            sent = stream.socket.send(response)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._taken = failed_future()
            connection.close()
            return
        if sent == len(response):
            connection.answered()
        else:
            connection.unwatch()
            self._taken = stream.write(response[sent:])
            close_unless_taken(self._taken, seconds_to_take(len(response), patience), self)
            self._taken.add_done_callback(self._answer_taken)

    def _answer_taken(self, taken: "asyncio.Future[None]") -> None:
        if has_succeeded(taken):
            self._connection.answered_slowly()
        else:
            self._connection.close()

    def flushed(self) -> "asyncio.Future[None] | None":
        taken = self._taken
        if taken is None:
            return failed_future() if self.is_open else None
        return None if has_succeeded(taken) else taken

    def close(self) -> None:
        self._connection.close()

    def detach(self) -> Wire:
        self.is_open = False
        self._closed = None
        self._connection.let_go()
        return take_untouched(self._connection.stream)


class _Connection(NamedTuple):
    """What Tornado's requests ask of their connection: who the client is."""

    context: Client


class _Request(HTTPServerRequest):
    """A plain request as Tornado's users know it."""

    def __init__(self, exchange: FastExchange, started: float) -> None:
        headers = HTTPHeaders()
        for name, value in exchange.headers.items():
            headers.add(name, value)
        client = _Connection(exchange.client)
        start_line = RequestStartLine(exchange.method, exchange.uri, exchange.version)
        super().__init__(start_line=start_line, headers=headers, connection=client)  # type: ignore[arg-type]
        self._started = started

    def request_time(self) -> float:
        return time.time() - self._started
