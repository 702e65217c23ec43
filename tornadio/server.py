"""``SocketServer``: Tornado's HTTP server with what a 0.6 server needs around it.

It listens where the application's settings say, starts the Flash policy server, answers Flash policy requests on its
own port, and plain requests without Tornado's HTTP (see :mod:`tornadio.web.fastpath`), limits the time that headers and
bodies may take, and stops gracefully.
"""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast

import tornado.web
from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPMessageDelegate
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream
from tornado.routing import RuleRouter

from tornadio.errors import CallerError, SettingsError
from tornadio.logs import LINE_FILTER, TRACEBACK_FILTER, get_logger
from tornadio.net.descriptors import Descriptors
from tornadio.net.tasks import loop_is_running
from tornadio.observability.accesslog import log_request
from tornadio.observability.health import SERVERS
from tornadio.router import Router, RouterRule
from tornadio.web.fastpath import FastPath
from tornadio.web.flash import DEFAULT_PORT, POLICY_REQUEST, FlashPolicyServer, serve_policy
from tornadio.web.origins import flash_policy
from tornadio.web.peers import Peers
from tornadio.web.timeouts import ConnectionTimeouts
from tornadio.web.tornadohttp import RequestDelegate

logger = get_logger(__name__)

_SHUTDOWN_SECONDS: Final = 10.0


class SocketServer(HTTPServer):
    """Serves an application, and its routers, on ``socket_io_port`` (8001) of ``socket_io_address`` (all).

    Reads the application's settings ``socket_io_port``, ``socket_io_address``, ``flash_policy_port`` and
    ``flash_policy_file``.

    :param application: with one or more routers' ``route()``.
    :param no_keep_alive: close each HTTP connection after one request.
    :param io_loop: the loop to run on, the current one by default.
    :param xheaders: the proxies that are believed about their clients: a list of addresses and networks, such as
        ``['127.0.0.1', '10.0.0.0/8']`` (a Unix socket's peer is ``0.0.0.0``), or ``True`` for every peer, where nobody
        but proxies can connect. A client's address and protocol are what they say in ``X-Real-Ip``, else
        ``X-Forwarded-For``, and ``X-Scheme``, else ``X-Forwarded-Proto``; or in the line of the PROXY protocol, version
        1, at the beginning of a connection without TLS. Behind such a line the client speaks for itself: its
        ``X-`` fields are not believed.
    :param ssl_options: an ``ssl.SSLContext``, or its options as a dict.
    :param auto_start: run the loop, until SIGTERM or SIGINT have stopped the server; the constructor returns after
        that. With ``False`` it returns at once and the loop is yours.
    :param header_timeout: seconds that a request's headers may take to arrive, also the first and the next ones.
    :param body_timeout: seconds that a request's body may take.
    :param drain_delay: seconds between the first moment of a shutdown, when :class:`tornadio.HealthHandler` begins to
        answer 503, and the moment when newcomers are refused: for proxies to notice, and to send newcomers elsewhere.
    :raises OSError: the port can't be bound.
    :raises tornadio.errors.CallerError: ``auto_start`` inside a running loop, which can't be run twice.
    :raises tornadio.errors.SettingsError: an argument or setting is not as it must be.
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
        header_timeout: float = 20.0,
        body_timeout: float = 20.0,
        drain_delay: float = 0.0,
    ) -> None:
        """Tornado makes servers through ``initialize``, which has the same parameters."""

    def initialize(  # type: ignore[override]
        self,
        application: tornado.web.Application,
        no_keep_alive: bool = False,
        io_loop: IOLoop | None = None,
        xheaders: bool | Iterable[str] = False,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        auto_start: bool = True,
        *,
        header_timeout: float = 20.0,
        body_timeout: float = 20.0,
        drain_delay: float = 0.0,
    ) -> None:
        if auto_start and loop_is_running():
            raise CallerError("the loop runs already: use SocketServer(application, auto_start=False)")
        super().initialize(
            application,
            no_keep_alive=no_keep_alive,
            ssl_options=ssl_options,
            idle_connection_timeout=header_timeout,
            body_timeout=body_timeout,
        )
        is_tornados = any(
            getattr(type(application), name) is not getattr(tornado.web.Application, name)
            for name in ("find_handler", "start_request")
        )
        self._peers = Peers(xheaders)
        self._fast_path = FastPath(
            application, not (no_keep_alive or is_tornados), self._peers, header_timeout, self._serve
        )
        self._timeouts = ConnectionTimeouts()
        self._drain_delay = _delay(drain_delay)
        self.is_draining = False
        self._descriptors = Descriptors()
        self._policy_answers: set[asyncio.Task[None]] = set()
        self._flash_server: FlashPolicyServer | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._applications, self.routers = _parts_of(application)
        for served in self._applications:
            served.settings.setdefault(SERVERS, set()).add(self)
        settings = application.settings
        settings.setdefault("log_function", log_request)
        settings.setdefault("default_handler_class", NotFoundHandler)
        for router in self.routers:
            router.log_requests_with(settings["log_function"])
        logging.getLogger("tornado.general").addFilter(LINE_FILTER)  # its lines about bad requests and TLS handshakes
        for name in ("tornado.application", "asyncio"):
            logging.getLogger(name).addFilter(TRACEBACK_FILTER)
        # What may be wrong with the settings shows before anything listens.
        port, policy_port = _port(settings, "socket_io_port", 8001), _port(settings, "flash_policy_port", DEFAULT_PORT)
        policy_file = settings.get("flash_policy_file")
        policy = None if policy_file is None else Path(policy_file).read_bytes()
        self._listen(port, settings.get("socket_io_address", ""))
        domains = [domain for router in self.routers for domain in router.policy_domains]
        self._policy = flash_policy(domains, self.port) if policy is None else policy
        if policy_file is not None or settings.get("flash_policy_port") is not None:
            self._start_flash_server(policy_port, settings.get("socket_io_address", ""))
        for router in self.routers:
            router.start(io_loop or IOLoop.current())
        if auto_start:
            self._run(io_loop or IOLoop.current())

    # -- Start ---------------------------------------------------------------------------------------------------

    def _listen(self, port: int, address: str) -> None:
        try:
            self.listen(port, address)
        except OSError as error:
            logger.error("can't listen on port %d (%s): stop what does, or set socket_io_port or _address", port, error)
            raise
        self.port: int = next(iter(self._sockets.values())).getsockname()[1]
        logger.info("listening on %s, port %d", address or "all addresses", self.port)

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
        self._flash_server = server

    def _run(self, loop: IOLoop) -> None:
        """Run the loop until a signal has stopped the server."""
        asyncio_loop = loop.asyncio_loop  # type: ignore[attr-defined]
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):  # Windows
                asyncio_loop.add_signal_handler(number, self._on_signal, loop, number)
        try:
            loop.start()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                with contextlib.suppress(NotImplementedError):
                    asyncio_loop.remove_signal_handler(number)
            _cancel_tasks(asyncio_loop)

    def _on_signal(self, loop: IOLoop, number: int) -> None:
        if self._stopping is not None:
            logger.warning("%s again: stopping at once", signal.Signals(number).name)
            loop.stop()
            return
        logger.info("%s: shutting down", signal.Signals(number).name)
        self._stopping = asyncio.get_running_loop().create_task(self.shutdown())
        self._stopping.add_done_callback(lambda task: loop.stop())

    # -- Connections ---------------------------------------------------------------------------------------------

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        """Close a connection that was reset before its TLS handshake began: Tornado lets most of these errors out."""
        try:
            super()._handle_connection(connection, address)
        except OSError as error:  # of which SSLError is one
            logger.debug("a connection of %s ended before it began: %s", address, error)
            connection.close()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a connection: HTTP, or a Flash policy request, which its first byte tells apart."""
        if not self._descriptors.admit(stream):
            return
        if isinstance(stream, SSLIOStream):
            super().handle_stream(stream, address)
        else:
            self._fast_path.enter(stream, address)

    def _serve(self, stream: IOStream, address: tuple[Any, ...], first: bytes, headers_due: float) -> None:
        if first == POLICY_REQUEST[:1]:
            task = asyncio.get_running_loop().create_task(serve_policy(stream, self._policy))
            self._policy_answers.add(task)
            task.add_done_callback(self._policy_answers.discard)
        else:
            if headers_due:
                self._timeouts.set_header_deadline(stream, headers_due)
            super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """A connection that Tornado serves waits for its next request."""
        connection = cast(HTTP1ServerConnection, server_conn)
        self._timeouts.add(connection.stream, connection.context)
        delegate = super().start_request(server_conn, request_conn)
        headers_came = functools.partial(self._timeouts.headers_received, connection.stream)
        return RequestDelegate(delegate, cast(HTTP1Connection, request_conn), self._peers, headers_came)

    def on_close(self, server_conn: object) -> None:
        """A connection that Tornado served has ended, or a transport has taken it."""
        self._timeouts.discard(cast(HTTP1ServerConnection, server_conn).stream)
        super().on_close(server_conn)

    # -- Stop ----------------------------------------------------------------------------------------------------

    async def shutdown(self, timeout: float = _SHUTDOWN_SECONDS) -> None:
        """Stop gracefully: fail health checks, for ``drain_delay`` seconds; refuse new sessions with 503, deliver what
        is queued, close every connection (each with its ``on_close``), then stop listening: a client that polls may
        need a new connection to fetch its last messages, above all behind a proxy.

        :param timeout: seconds, from the end of ``drain_delay`` on; what is not done then is cut off.
        """
        self.is_draining = True
        if self._drain_delay:
            await asyncio.sleep(self._drain_delay)
        await asyncio.gather(*(router.drain(timeout) for router in self.routers))
        self.stop()
        if self._flash_server is not None:
            self._flash_server.stop()
        self._fast_path.close()
        for task in tuple(self._policy_answers):
            task.cancel()
        await self.close_all_connections()
        for served in self._applications:
            served.settings[SERVERS].discard(self)


@tornado.web.stream_request_body
class NotFoundHandler(tornado.web.ErrorHandler):
    """Answers 404 where the application has no handler, as Tornado's own, but keeps no body of 100 MB for that."""

    def initialize(self) -> None:  # type: ignore[override]
        super().initialize(404)

    def prepare(self) -> None:
        """Not yet: an answer before the end of the body might not arrive."""

    def data_received(self, chunk: bytes) -> None:
        """Nobody wants it."""

    def get(self) -> None:
        raise tornado.web.HTTPError(404)

    head = post = put = patch = delete = options = get


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let what is left on a stopped loop end, as ``asyncio.run`` does."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _port(settings: dict[str, Any], name: str, default: int) -> int:
    """A port among the application's settings.

    :raises SettingsError: it is none.
    """
    value = settings.get(name)
    if value is None:
        return default
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = -1
    if not 0 <= port < 1 << 16:
        raise SettingsError(f"{name} must be a port from 0 (any that is free) to 65535, not {value!r}")
    return port


def _delay(seconds: float) -> float:
    """:raises SettingsError: no time to wait."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= sys.float_info.max:
        raise SettingsError(f"drain_delay must be a number of seconds, 0 or more, not {seconds!r}")
    return float(seconds)


def _parts_of(application: tornado.web.Application) -> tuple[list[tornado.web.Application], tuple[Router, ...]]:
    """The applications, and the routers, in an application's rules: of every host, nested rules, itself included."""
    waiting: list[Any] = [application]
    applications = []
    found: dict[Router, None] = {}
    while waiting:
        target = waiting.pop()
        if isinstance(target, tornado.web.Application):
            applications.append(target)
            waiting += [target.default_router, target.wildcard_router]
        elif isinstance(target, RuleRouter):
            for rule in target.rules:
                if isinstance(rule, RouterRule):
                    found[rule.router] = None
                else:
                    waiting.append(rule.target)
    return applications, tuple(found)
