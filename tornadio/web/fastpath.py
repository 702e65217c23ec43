"""HTTP fast path: peeks at each new connection, responds to simple requests to transports, and passes every other one,
unread, to Tornado's HTTP.

A simple request (:mod:`tornadio.web.fastparse`) that was received as a whole takes a fraction of its time in Tornado's
HTTP, which awaits each line, and a poll is little else. A line of the PROXY protocol
(:mod:`tornadio.net.proxyprotocol`) is read before the first request. The states of a connection, with the methods of
:class:`tornadio.web.fastconnection.FastConnection`::

    accept()
       |
       v    peek_request():
    +------------------+  simple, to a transport   +--------------------+  detach()   +----------------------+
    | idle, or waiting |-------------------------->| request: its body  |------------>| the transport's:     |
    | for the rest of  |                           | comes, its handler |             | WebSocket, stream,   |
    | a head           |<--------------------------| responds           |             | early rejection      |
    +------------------+      response_sent()      +--------------------+             +----------------------+
       |   |        ^                                 |              |
       |   |        | FastPath.reclaim(): Tornado     |              | response_drained():
       |   |        | has responded to a request as   |              | the IOStream had to send
       |   |        | are served here, and has not    |              | the response's end
       |   |        | read ahead                      |              v
       |   |     +------------------------------------|---------------------------------+
       |   +---->| Tornado's: a HTTP1ServerConnection reads and responds                |
       |         +------------------------------------|---------------------------------+
       | idle timeout, end of the connection          | the client closes, or does not read the response
       v                                              v
    closed                                         closed

This module, :mod:`tornadio.web.contextrequest` and :mod:`tornadio.web.tornadohttp` are the place for all use of
Tornado's interfaces that are not documented, or deprecated. :func:`missing_interfaces` checks them when the server
starts.
"""

import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

import tornado.web
from tornado.iostream import IOStream, SSLIOStream
from tornado.routing import PathMatches, Rule

from tornadio.net.poller import Poller
from tornadio.net.sockets import detach_socket, stop_watching
from tornadio.net.tasks import Tasks
from tornadio.net.timers import Deadlines, DeadlineTimer
from tornadio.web.contextrequest import ContextRequest
from tornadio.web.exchange import ExchangeHandler
from tornadio.web.fastconnection import PEEK_SIZE, FastConnection
from tornadio.web.fastexchange import FastExchange
from tornadio.web.fastparse import parse_simple_request
from tornadio.web.peers import Client, Peers
from tornadio.web.tornadohttp import FastPathRule, ServedRequest


class FastPath:
    """The connections that the fast path serves, their timeouts, and the routing of their requests.

    :param poller: of the event loop that the connections live on.
    :param application: whose rules are asked for handlers.
    :param enabled: whether the fast path serves requests at all; ``fallback`` serves all if not.
    :param peers: which of them are trusted to say who their clients are.
    :param idle_timeout: seconds that a connection may wait for a request's head: for the first one, and between two.
    :param body_timeout: seconds that a request's body may take.
    :param fallback: called with the stream of a connection that leaves the fast path, its address, the first
        byte of its request, when the head of that is due, in the loop's time, or 0 where its timeout begins now, and
        the reason, one of those in :mod:`tornadio.web.fastconnection`.
    :ivar requests: how many were served.
    :ivar idle_timeout: as given, as ``body_timeout``.
    """

    def __init__(
        self,
        poller: Poller,
        application: tornado.web.Application,
        enabled: bool,
        peers: Peers,
        idle_timeout: float,
        body_timeout: float,
        fallback: Callable[[IOStream, Any, bytes, float, str], None],
    ) -> None:
        self.poller = poller
        self.requests = 0
        self.enabled = enabled
        self.peers = peers
        self._fallback = fallback
        self._application = application
        self.idle_timeout = idle_timeout
        self.body_timeout = body_timeout
        self._connections: dict[FastConnection, None] = {}
        self._idle_deadlines = Deadlines(FastConnection.on_idle_timeout)
        self._timer: DeadlineTimer | None = None
        self._tasks = Tasks(lambda: None)
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._connections)

    def accept(self, sock: socket.socket, address: Any) -> None:
        """Serve a new connection."""
        sock.setblocking(False)
        connection = FastConnection(self, sock, address, is_new=True)
        self._connections[connection] = None
        connection.peek_request()

    def reclaim(self, stream: IOStream, address: Any, last: ServedRequest) -> bool:
        """Reclaim a connection from Tornado, whose stream is closed then.

        :param last: the request that Tornado has responded to. Only if the fast path would have served it, it is likely
            to serve the next one: a connection that fetches pages is not passed to and fro.
        :returns: whether the fast path serves the connection: not over TLS, nor if Tornado has read ahead.
        """
        if not self.enabled or self._is_closed or isinstance(stream, SSLIOStream):
            return False
        # What Tornado has read ahead belongs to the next request, and can't be put back into the socket.
        if stream.closed() or stream.writing() or stream._read_buffer_size:
            return False
        request = parse_simple_request(last.head())
        if request is None or request.total_bytes > PEEK_SIZE:
            return False
        asked = FastExchange(FastConnection(self, stream.socket, address, is_new=False), request)
        if self.find_handler(asked) is None:
            return False
        stream.set_close_callback(None)  # detach_socket closes the stream: not an end of the client's connection
        stop_watching(stream)
        connection = FastConnection(self, detach_socket(stream), address, is_new=False)
        self._connections[connection] = None
        connection.wait_for_request()
        return True

    def remove(self, connection: FastConnection) -> None:
        """Unregister a connection that is closed, or leaves the fast path."""
        self._connections.pop(connection, None)
        self._idle_deadlines.discard(connection)
        if not self._connections and self._timer is not None:
            self._timer.stop()

    def set_deadline(self, connection: FastConnection, seconds: float) -> None:
        """Close a connection if what it waits for, a request's head or the rest of its body, does not come in time."""
        loop = self.poller.loop
        connection.idle_deadline = loop.time() + seconds
        if self._idle_deadlines.add(connection, connection.idle_deadline):
            self._timer = self._timer or DeadlineTimer(loop, self._idle_deadlines)
            self._timer.reset()

    def find_handler(self, exchange: FastExchange) -> ExchangeHandler | None:
        """Return the handler that the application's rules have for a request, if the fast path may serve that.

        The rules are tried in their order, as Tornado does. If one before the router's matches, or can't be evaluated
        without Tornado's HTTP, as a rule for a host, the request is Tornado's.
        """
        application = self._application
        if len(application.default_router.rules) != 1:  # add_handlers() has added rules for a host
            return None
        for rule in application.wildcard_router.rules:
            if isinstance(rule, FastPathRule):
                handler = rule.find_fast_handler(exchange)
                if handler is not None:
                    return handler
            elif type(rule.matcher) is not PathMatches or rule.matcher.regex.match(exchange.path):
                return None
        return None

    def create_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine for a request in a task."""
        self._tasks.spawn(work)

    def fall_back(self, stream: IOStream, address: Any, first_byte: bytes, headers_due: float, reason: str) -> None:
        """Pass a connection to Tornado, whose handlers start with the context variables of the server's start.

        Parameters are those of ``fallback``.
        """
        self._tasks.call(self._fallback, stream, address, first_byte, headers_due, reason)

    def close(self) -> None:
        """Close every connection on the fast path, and take none back from Tornado any more."""
        self._is_closed = True
        for connection in tuple(self._connections):
            connection.close()


# -- Interfaces of Tornado -------------------------------------------------------------------------------------------


def missing_interfaces(application: tornado.web.Application) -> list[str]:
    """Return the names of interfaces that the fast path needs and this version of Tornado lacks, or has changed.

    Those that transports need in any case are not among them, such as ``IOStream.socket``.
    """
    missing = []
    for name, works in _INTERFACES.items():
        try:
            is_there = works(application)
        except Exception:
            is_there = False
        if not is_there:
            missing.append(name)
    return missing


def _has_rules(application: tornado.web.Application) -> bool:
    routers = (application.default_router, application.wildcard_router)
    return all(isinstance(rule, Rule) and hasattr(rule, "matcher") for router in routers for rule in router.rules)


def _matches_paths(application: tornado.web.Application) -> bool:
    matcher = PathMatches("/a")
    return matcher.regex.match("/a") is not None and matcher.regex.match("/ab") is None


def _accepts_context(application: tornado.web.Application) -> bool:
    request = ContextRequest("GET", "/a?b=c", {"host": "x"}, Client("192.0.2.1", "https", ""), 0.0)
    seen = (request.path, request.query, request.host, request.remote_ip, request.protocol)
    return seen == ("/a", "b=c", "x", "192.0.2.1", "https")


def _counts_read_ahead(application: tornado.web.Application) -> bool:
    with contextlib.closing(IOStream(socket.socket())) as stream:
        return stream._read_buffer_size == 0


_INTERFACES: Final[dict[str, Callable[[tornado.web.Application], bool]]] = {
    "Application.default_router and wildcard_router, with the rules of each": _has_rules,
    "PathMatches.regex": _matches_paths,
    "HTTPServerRequest(connection=...), which reads the connection's context": _accepts_context,
    "IOStream._read_buffer_size": _counts_read_ahead,
}
