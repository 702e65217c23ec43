"""``SocketServer``: Tornado's HTTP server with the fast path, the Flash policy, timeouts and graceful shutdown.

The server listens where the application's settings say, starts the Flash policy server, responds to Flash policy
requests on its own port, and to simple requests without Tornado's HTTP (see :mod:`tornadio.web.fastpath`), limits the
time that headers and bodies may take, and stops gracefully.
"""

import asyncio
import collections
import contextlib
import functools
import logging
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, cast

import tornado.web
from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httputil import HTTPConnection, HTTPMessageDelegate
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.platform.asyncio import BaseAsyncIOLoop

from tornadio.errors import SettingsError
from tornadio.logs import LINE_FILTER, TRACEBACK_FILTER, get_logger
from tornadio.monitor.route import mount_monitors
from tornadio.net.descriptors import Descriptors, count_open_descriptors
from tornadio.net.listening import bind, checked_sockets, name_of, port_of
from tornadio.net.looplag import LoopLag
from tornadio.net.poller import poller_of
from tornadio.net.reloading import call_before_reload
from tornadio.net.running import checked_loop, run_loop, running_loop
from tornadio.net.sockets import detach_socket
from tornadio.net.tasks import GRACE_SECONDS, Tasks, is_cancelled, start_task
from tornadio.observability.accesslog import log_request
from tornadio.observability.health import SERVERS
from tornadio.observability.metrics import MetricsHandler
from tornadio.router import RouterRule
from tornadio.stats import ServerStats
from tornadio.web.arguments import checked_address, checked_flag, checked_port, checked_seconds, checked_tls
from tornadio.web.bodiless import NotFoundHandler
from tornadio.web.fastpath import FastPath, missing_interfaces
from tornadio.web.flash import DEFAULT_PORT, POLICY_REQUEST, FlashPolicyServer, serve_policy
from tornadio.web.origins import flash_policy
from tornadio.web.peers import Peers, host_of
from tornadio.web.timeouts import ConnectionTimeouts
from tornadio.web.tornadohttp import RequestDelegate, TornadoServer, overrides_routing, pop_served_request, walk_rules

logger = get_logger(__name__)

# What docker stop gives a container between SIGTERM and SIGKILL; systemd and Kubernetes give more.
_SHUTDOWN_SECONDS: Final = 10.0

_KEPT: Final = "kept"  # why Tornado reads a request: it has read the one before, and the fast path would not have

_TLS_HANDSHAKE: Final = b"\x16"  # the type of a ClientHello's record (RFC 8446, section 5.1)
_NO_TLS: Final = b"this port is without TLS: use http:// or ws://\n"


class SocketServer(TornadoServer):
    """Serves an application, and its routers, on ``socket_io_port`` (8001) of ``socket_io_address`` (all), or where the
    arguments say.

    Reads the application's settings ``socket_io_port``, ``socket_io_address``, ``flash_policy_port`` and
    ``flash_policy_file``. Sets its settings ``log_function`` and ``default_handler_class``, where they are not set (to
    an access log that no client can flood, and to a 404 that keeps no body), and adds itself to ``tornadio_servers``,
    by which :class:`tornadio.HealthHandler` finds it. Adds filters to the loggers ``tornado.general``,
    ``tornado.application`` and ``asyncio``, for the whole process, which bound what clients can have them write.

    :param application: with one or more routers' ``route()``.
    :param no_keep_alive: close each HTTP connection after one request. Tornado's HTTP then serves all of them.
    :param io_loop: the loop to run on, that of this thread by default, which is made where there is none. It is left
        open: a thread that ends before the program does closes it then, by ``IOLoop.current().close()``.
    :param xheaders: the proxies that are trusted to name their clients: a list of addresses and networks, such as
        ``['127.0.0.1', '10.0.0.0/8']`` (a Unix socket's peer is ``0.0.0.0``), or ``True`` for every peer, where nobody
        but proxies can connect. A client's address and protocol are what they say in ``X-Real-Ip``, else
        ``X-Forwarded-For``, and ``X-Scheme``, else ``X-Forwarded-Proto``; or in the line of the PROXY protocol, version
        1, at the beginning of a connection without TLS. Behind such a line the client speaks for itself: its
        ``X-`` headers are not trusted.
    :param ssl_options: an ``ssl.SSLContext``, or its options as a dict with ``certfile``.
    :param auto_start: run the loop, until SIGTERM or SIGINT have stopped the server, or somebody has stopped the loop;
        the constructor returns after that, and nothing listens any more. In a thread other than the main one, which
        Python hands no signals to, it serves without them. With ``False`` it returns at once, and the application runs
        the loop.
    :param port: listen on this port, whatever ``socket_io_port`` says; 0 is any that is free.
    :param address: listen on this address, whatever ``socket_io_address`` says; ``''`` is all addresses.
    :param sockets: listen on these, which listen already, and on no port: of
        :func:`tornado.netutil.bind_unix_socket`, or of systemd. The server closes them, also when it fails to start on
        them; an argument or setting that is not valid leaves them as they are.
    :param header_timeout: seconds, above zero, that a request's headers may take to arrive, also the first and the
        next ones.
    :param body_timeout: seconds, above zero, that a request's body may take.
    :param drain_delay: seconds between the first moment of a shutdown, when :class:`tornadio.HealthHandler` begins to
        answer 503, and the moment when newcomers are refused: for proxies to notice, and to send newcomers elsewhere.
    :param fast_path: respond to simple requests to transports without Tornado's HTTP, which takes several times as
        long. ``False`` has Tornado read every request; so have ``no_keep_alive``, an application that overrides
        ``find_handler`` or ``start_request``, and a version of Tornado that lacks what the fast path needs.
    :param on_shutdown: called by :meth:`shutdown`, and awaited, after ``drain_delay`` and before connections are
        closed: for what else the application serves, and to send last messages over the ``bus``. What takes longer than
        the shutdown's timeout is cancelled; an exception is logged, and the shutdown goes on.
    :ivar port: the port that it listens on, also where 0 was asked for, any that is free; 0 on a Unix socket.
    :ivar routers: the :class:`tornadio.Router` objects that were found in the application's rules.
    :ivar is_draining: whether :meth:`shutdown` was called.
    :raises OSError: the port can't be bound, or ``flash_policy_file`` not be read.
    :raises tornadio.errors.CallerError: ``auto_start`` inside a running loop, which can't be run twice, or a loop that
        is closed, or runs in another thread.
    :raises tornadio.errors.SettingsError: an argument, or a setting of the application, is not valid.

    Whatever the constructor raises, nothing listens then.
    """

    def __init__(
        self,
        application: tornado.web.Application,
        no_keep_alive: bool = False,
        io_loop: IOLoop | None = None,
        xheaders: bool | Iterable[str] = False,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        auto_start: bool = True,
        *,
        port: int | None = None,
        address: str | None = None,
        sockets: Iterable[socket.socket] | None = None,
        header_timeout: float = 20.0,
        body_timeout: float = 20.0,
        drain_delay: float = 0.0,
        fast_path: bool = True,
        on_shutdown: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        if not isinstance(application, tornado.web.Application):
            raise SettingsError(f"application must be a tornado.web.Application, not {application!r}")
        if not isinstance(io_loop, IOLoop | None):
            raise SettingsError(f"io_loop must be a tornado.ioloop.IOLoop, not {io_loop!r}")
        loop = self._loop = checked_loop(io_loop, auto_start)
        if on_shutdown is not None and not callable(on_shutdown):
            raise SettingsError(f"on_shutdown must be a coroutine function without arguments, not {on_shutdown!r}")
        header_timeout = checked_seconds("header_timeout", header_timeout)
        body_timeout = checked_seconds("body_timeout", body_timeout)
        no_keep_alive = checked_flag("no_keep_alive", no_keep_alive)
        is_fast = checked_flag("fast_path", fast_path) and not no_keep_alive and not overrides_routing(application)
        self.start_http(
            application,
            no_keep_alive=no_keep_alive,
            ssl_options=checked_tls(ssl_options),
            idle_connection_timeout=header_timeout,
            body_timeout=body_timeout,
        )
        self._peers = Peers(xheaders)
        self._drain_delay = checked_seconds("drain_delay", drain_delay, zero=True)
        if is_fast and (missing := missing_interfaces(application)):
            is_fast = False
            what = "; ".join(missing)
            logger.warning("every request is served by Tornado's HTTP: Tornado %s has no %s", tornado.version, what)
        # Made here: the application sees the descriptor that it takes before it has a client.
        poller = poller_of(cast(BaseAsyncIOLoop, loop).asyncio_loop)
        self._fast_path = FastPath(
            poller, application, is_fast, self._peers, header_timeout, body_timeout, self._serve_by_tornado
        )
        self._timeouts = ConnectionTimeouts()
        self._lag = LoopLag()
        self._tornado_requests: collections.Counter[str] = collections.Counter()
        self._reasons: dict[IOStream, str] = {}  # why a connection became Tornado's, until its first request is counted
        self.is_draining = False
        self._descriptors = Descriptors()
        self._closing_tasks = Tasks(lambda: None)
        self._on_shutdown = on_shutdown
        self._flash_server: FlashPolicyServer | None = None
        self._stopping: asyncio.Task[None] | None = None
        sockets = checked_sockets(sockets)
        # All settings are read before a port is bound, so that an error leaves nothing that listens.
        settings = application.settings
        if port is None:
            port = checked_port("socket_io_port", settings.get("socket_io_port"), 8001)
        else:
            port = checked_port("port", port, port)
        if address is None:
            address = checked_address("socket_io_address", settings.get("socket_io_address"))
        else:
            address = checked_address("address", address)
        policy_port = checked_port("flash_policy_port", settings.get("flash_policy_port"), DEFAULT_PORT)
        policy_file = settings.get("flash_policy_file")
        policy = None if policy_file is None else Path(policy_file).read_bytes()
        self._applications, rules = walk_rules(application)
        found = [(rule.router, around) for rule, around in rules if isinstance(rule, RouterRule)]
        for rule, _ in rules:
            if isinstance(rule.target, type) and issubclass(rule.target, MetricsHandler):
                rule.target.check(rule.target_kwargs)
        for router, around in found:
            router._use_application_settings(around)
        self.routers = tuple(dict.fromkeys(router for router, around in found))
        self._monitors = mount_monitors(
            self._applications, next((router._endpoint.settings.node for router in self.routers), "")
        )
        self._change_application(application)
        try:
            sockets = sockets or bind(port, address)
            self._listen(sockets)
            domains = [domain for router in self.routers for domain in router._policy_domains]
            self._policy = flash_policy(domains, self.port) if policy is None else policy
            if policy_file is not None or settings.get("flash_policy_port") is not None:
                self._start_flash_server(policy_port, address)
            for router in self.routers:
                router._start(loop)
            for monitor in self._monitors:
                monitor.start(loop, self)
            loop.add_callback(self._start_lag)
            call_before_reload(self._close_now)
            if auto_start:
                run_loop(loop, self._on_signal)
                self._stop_listening(sockets)  # the loop may have been stopped without a shutdown
        except BaseException:
            self._stop_listening(sockets)
            raise

    # -- Start ---------------------------------------------------------------------------------------------------

    def _change_application(self, application: tornado.web.Application) -> None:
        """Set the application's settings, and add the filters to loggers of Tornado and asyncio, as the class says."""
        for served in self._applications:
            served.settings.setdefault(SERVERS, set()).add(self)
        application.settings.setdefault("log_function", log_request)
        application.settings.setdefault("default_handler_class", NotFoundHandler)
        # Transports respond without a RequestHandler: Tornado calls no log function for them.
        for router in self.routers:
            router._set_log_function(application.settings["log_function"])
        for monitor in self._monitors:
            monitor.router._set_log_function(application.settings["log_function"])
        logging.getLogger("tornado.general").addFilter(LINE_FILTER)  # its lines about bad requests and TLS handshakes
        for name in ("tornado.application", "asyncio"):
            logging.getLogger(name).addFilter(TRACEBACK_FILTER)

    def _start_flash_server(self, port: int, address: str) -> None:
        server = FlashPolicyServer(self._policy, self._descriptors)
        try:
            server.listen(port, address)
        except OSError as error:
            logger.warning(
                "no Flash policy server on port %d (%s): start as root or with CAP_NET_BIND_SERVICE, or set "
                "flash_policy_port; Flash then asks on port %d, which answers it, too",
                port,
                error,
                self.port,
            )
            return
        logger.info("the Flash policy is served on port %d, too", port)
        self._flash_server = server

    def _listen(self, sockets: list[socket.socket]) -> None:
        self.add_sockets(sockets)
        self.port = port_of(sockets[0])
        logger.info("listening on %s", "; ".join(map(name_of, sockets)))

    def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Undo what would have clients connect to a server that nobody runs."""
        with contextlib.suppress(KeyError):  # of a socket that Tornado failed to watch
            self.stop()
        for sock in sockets:
            sock.close()
        if self._flash_server is not None:
            self._flash_server.stop()
        self._forget_server()

    def _forget_server(self) -> None:
        for served in self._applications:
            served.settings[SERVERS].discard(self)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stopping is not None:
            logger.warning("%s again: stopping at once", number.name)
            self._loop.stop()
            return
        logger.info("%s: shutting down", number.name)
        self._stopping = start_task(self.shutdown())
        self._stopping.add_done_callback(lambda task: self._loop.stop())

    # -- Connections ---------------------------------------------------------------------------------------------

    def _trusts_peer(self, address: Any) -> bool:
        """Whether the peer of a connection is a proxy, by the argument ``xheaders``.

        :param address: of the connection's context.
        """
        return self._peers.trusts(address)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a new connection: HTTP, or a Flash policy request, told apart by the first byte."""
        if not isinstance(stream, SSLIOStream):
            self.handle_socket(detach_socket(stream), address)
        elif self._descriptors.admit(stream.socket):  # ssl.SSLSocket.recv accepts no MSG_PEEK
            self._reasons[stream] = "tls"
            super().handle_stream(stream, address)
        else:
            stream.close()

    def handle_socket(self, sock: socket.socket, address: Any) -> None:
        """Serve a new connection without TLS, as :meth:`handle_stream` does."""
        if self._descriptors.admit(sock):
            self._fast_path.accept(sock, address)
        else:
            sock.close()

    def _serve_by_tornado(
        self, stream: IOStream, address: tuple[Any, ...], first: bytes, headers_due: float, reason: str
    ) -> None:
        """Serve a connection whose next request the fast path does not serve: see ``fallback`` of ``FastPath``."""
        if first == POLICY_REQUEST[:1]:  # "<", which begins no HTTP method (RFC 9110, section 5.6.2)
            self._closing_tasks.spawn(serve_policy(stream, self._policy))
        elif first == _TLS_HANDSHAKE:
            logger.warning(
                "closed a connection of %s: it speaks TLS, and this port does not: give SocketServer ssl_options, let "
                "a proxy end TLS, or use URLs of http:// and ws://",
                host_of(address),
            )
            self._closing_tasks.spawn(_refuse_tls(stream))
        else:
            if headers_due:
                self._timeouts.set_header_deadline(stream, headers_due)
            self._reasons[stream] = reason
            super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Called by Tornado before it reads the next request of a connection, which the fast path may reclaim."""
        connection = cast(HTTP1ServerConnection, server_conn)
        stream, context = connection.stream, cast(Any, connection.context)
        self._timeouts.add(stream, context)
        last = pop_served_request(context)
        if last is not None and self._fast_path.reclaim(stream, context.address, last):
            return HTTPMessageDelegate()  # the stream is closed now, which ends Tornado's loop for the connection
        delegate = super().start_request(server_conn, request_conn)
        on_headers = functools.partial(self._headers_received, stream)
        return RequestDelegate(delegate, cast(HTTP1Connection, request_conn), self._peers, on_headers)

    def _headers_received(self, stream: IOStream) -> None:
        self._timeouts.headers_received(stream)
        self._tornado_requests[self._reasons.pop(stream, _KEPT)] += 1

    def on_close(self, server_conn: object) -> None:
        """Called by Tornado when it no longer serves a connection."""
        stream = cast(HTTP1ServerConnection, server_conn).stream
        self._timeouts.discard(stream)
        self._reasons.pop(stream, None)
        super().on_close(server_conn)

    # -- Figures -------------------------------------------------------------------------------------------------

    def stats(self) -> ServerStats:
        """Return what this server and its routers have counted.

        The figures are of one moment on the event loop's thread. May be called from any thread: then one that changes
        meanwhile may be ahead of another.
        """
        return ServerStats(
            routers=tuple(router.stats() for router in self.routers),
            loop_lag=self._lag.seconds.copy(),
            fast_requests=self._fast_path.requests,
            tornado_requests=dict(self._tornado_requests),
            open_descriptors=count_open_descriptors(),
            max_descriptors=self._descriptors.limit,
            refused_connections=self._descriptors.refused,
            is_draining=self.is_draining,
        )

    def _start_lag(self) -> None:
        self._lag.start(asyncio.get_running_loop())

    def _stop_lag(self) -> None:
        """Measure the event loop's lag no more: a test moves its time, which would stop at each of these timers."""
        self._lag.stop()

    # -- Stop ----------------------------------------------------------------------------------------------------

    async def shutdown(self, timeout: float = _SHUTDOWN_SECONDS) -> None:
        """Stop gracefully: fail health checks, for ``drain_delay`` seconds, and await ``on_shutdown``; refuse new
        sessions with 503, deliver what is queued, close every connection (each with its ``on_close``), then stop
        listening: a client that polls may need a new connection to fetch its last messages, above all behind a proxy.

        A handler that is still at work at the timeout is cancelled: it sees ``asyncio.CancelledError``; ``on_close``
        has a second more. Called again, this waits for the sessions that remain, and changes nothing else.

        The routers may then be served again, by another server.

        :param timeout: seconds, from the end of ``drain_delay`` on; what is not done then is cut off.
        """
        await self._shut_down(timeout, GRACE_SECONDS)

    async def _shut_down(self, timeout: float, linger: float) -> None:
        """Stop as :meth:`shutdown` does.

        :param linger: seconds for clients to close their connections, after ``timeout``; then these are cut off.
        """
        self.is_draining = True
        if self._drain_delay:
            await asyncio.sleep(self._drain_delay)
        timeout = max(0.0, timeout - await self._call_on_shutdown(timeout))
        # Before stop(): see above, a polling client opens new connections while it is drained.
        routers = (*self.routers, *(monitor.router for monitor in self._monitors))
        await asyncio.gather(*(router._drain(timeout, linger) for router in routers))
        self.stop()
        if self._flash_server is not None:
            self._flash_server.stop()
        self._fast_path.close()
        self._lag.stop()
        self._closing_tasks.cancel()
        await self.close_all_connections()
        self._forget_server()

    def _close_now(self) -> None:
        """Close every connection, as far as it goes without waiting: Tornado's autoreload is about to replace the
        process.
        """
        if not isinstance(self._loop, BaseAsyncIOLoop) or running_loop() is not self._loop.asyncio_loop:
            return  # of another thread: its connections are not this one's to close
        self.is_draining = True
        routers = (*self.routers, *(monitor.router for monitor in self._monitors))
        cut_off = sum(router._sessions.close_now() for router in routers)
        if cut_off:
            logger.warning("the program is started anew: %d on_close had to wait, and went no further", cut_off)

    async def _call_on_shutdown(self, timeout: float) -> float:
        """Call the application's ``on_shutdown``, once, wait for it, and return the seconds that it took."""
        on_shutdown, self._on_shutdown = self._on_shutdown, None
        begun = asyncio.get_running_loop().time()
        try:
            if on_shutdown is not None:
                async with asyncio.timeout(timeout):
                    await on_shutdown()
        except (Exception, asyncio.CancelledError):  # the latter of a task that it has cancelled, and awaited
            if is_cancelled():
                raise
            logger.exception("on_shutdown failed: the shutdown goes on")
        return asyncio.get_running_loop().time() - begun


async def _refuse_tls(stream: IOStream) -> None:
    """Respond in plain HTTP, which TLS libraries report as a wrong version or record, and close the connection."""
    try:
        await stream.read_bytes(1 << 16, partial=True)  # what stayed unread would reset the connection
        await stream.write(
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (len(_NO_TLS), _NO_TLS)
        )
    except StreamClosedError:
        pass
    finally:
        stream.close()
