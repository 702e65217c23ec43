"""A server that runs inside a test: on the test's event loop, on a free port of 127.0.0.1, with real sockets."""

import asyncio
import logging
import ssl
import traceback
from types import TracebackType
from typing import Any, Final

import tornado.web

import tornadio.logs
from tornadio.client.connect import Connector, connect
from tornadio.conn import SocketConnection
from tornadio.errors import CallerError, SettingsError
from tornadio.router import Router, get_router
from tornadio.server import SocketServer
from tornadio.sessions.base import BaseSession
from tornadio.sync.loopthread import shared_thread
from tornadio.testing import clocks
from tornadio.testing.manual import check_context, websocket_url
from tornadio.testing.threads import SyncServer

# Seconds for handlers to end, and for what is queued to be delivered, when the test is over.
_SHUTDOWN_SECONDS: Final = 1.0
# Seconds for clients to close their connections after that: those on this machine do it at once, or never.
_LINGER_SECONDS: Final = 0.1

# Those that run, in the order in which they were started.
_running: Final[list["Server"]] = []


class Server:
    """A server that runs within ``async with``, or within ``with``, which gives a :class:`SyncServer`. Made by
    :func:`tornadio.testing.serve`.

    :ivar port: on which it listens, of 127.0.0.1; free before.
    :ivar routers: the routers that it serves.
    :ivar errors: the exceptions of handlers, in their order: what :class:`tornadio.SocketConnection`'s and Tornado's
        raised, callbacks of the event loop, and tasks that nobody awaits. They are in the log, too. A test that expects
        one removes it: what is left at the end is raised, see :func:`tornadio.testing.serve`.
    """

    def __init__(
        self, application: tornado.web.Application, ssl_context: ssl.SSLContext | None, shutdown_timeout: float
    ) -> None:
        self._application = application
        self._ssl_context = ssl_context
        self._shutdown_timeout = shutdown_timeout
        self._server: SocketServer | None = None
        self.port = 0
        self.routers: tuple[Router, ...] = ()
        self.errors: list[BaseException] = []
        self._is_ending = False
        self._origins: dict[BaseException, str] = {}  # of errors: what the log says of them

    async def __aenter__(self) -> "Server":
        self._server = SocketServer(
            self._application, ssl_options=self._ssl_context, auto_start=False, port=0, address="127.0.0.1"
        )
        self.port = self._server.port
        self.routers = self._server.routers
        _running.append(self)
        tornadio.logs.observers.add(_note_error)
        clocks.observers.add(self._time_replaced)
        if clocks.clock_of(asyncio.get_running_loop()) is not None:
            self._server._stop_lag()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, *rest: object
    ) -> None:
        assert self._server is not None
        self._is_ending = True
        try:
            shutdown = self._server._shut_down(self._shutdown_timeout, _LINGER_SECONDS)
            moved = clocks.clock_of(asyncio.get_running_loop())
            await (shutdown if moved is None else moved.wait_for(shutdown))
        finally:
            clocks.observers.discard(self._time_replaced)
            _running.remove(self)
            if not _running:
                tornadio.logs.observers.discard(_note_error)
        for each in self.errors:
            if (origin := self._origins.get(each)) is not None:
                each.add_note(origin)
        if error is not None:
            for each in self.errors:
                error.add_note("In the application under test:\n" + "".join(traceback.format_exception(each)).rstrip())
        elif self.errors:
            raise BaseExceptionGroup(
                "the application under test has failed (an error that the test expects it takes out of server.errors)",
                self.errors,
            )

    def __enter__(self) -> SyncServer:
        shared_thread().call(self.__aenter__)
        return SyncServer(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shared_thread().call(self.__aexit__, kind, error, trace)

    # -- For the test --------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL of the first router's resource: ``http://127.0.0.1:PORT/socket.io``."""
        return self.url_of(None)

    def url_of(self, resource: str | None) -> str:
        """Return the URL of a router's resource.

        :param resource: as given to ``get_router``; ``None`` for the first router's.
        :raises tornadio.errors.CallerError: there is no such router, or the server does not run.
        """
        names = [router._endpoint.resource for router in self.routers]
        if self._server is None:
            raise CallerError("the server does not run: use 'async with testing.serve(...) as server'")
        if resource is None and not names:
            raise CallerError("this application has no router of TornadIO")
        if resource is not None and resource not in names:
            raise CallerError(
                f"there is no router of the resource {resource!r}: there are {', '.join(names) or 'none'}"
            )
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/{names[0] if resource is None else resource}"

    @property
    def websocket_url(self) -> str:
        """The URL of the first router's WebSocket, for other clients: ``ws://127.0.0.1:PORT/socket.io/websocket``."""
        return websocket_url(self.url)

    def connect(self, resource: str | None = None, **options: Any) -> Connector:
        """Connect to this server: as :func:`tornadio.connect`, with this server's URL.

        :param resource: of which router; ``None`` for the first one.
        :param options: those of :func:`tornadio.connect`.
        :raises tornadio.errors.SettingsError: an option that can't be used.
        """
        return connect(self.url_of(resource), **options)

    @property
    def connections(self) -> tuple[SocketConnection, ...]:
        """The open connections, as the application has them, those of the first router first: a copy."""
        return tuple(connection for router in self.routers for connection in router.connections)

    # -- For the clock, and for the log --------------------------------------------------------------------------

    def _time_replaced(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._server is not None:
            self._server._stop_lag()
        for router in self.routers:
            if router._sessions and router._sessions.loop is loop:
                router._sessions.read_clock()

    def _has(self, session: BaseSession) -> bool:
        return any(session.registry is router._sessions for router in self.routers)


def _note_error(record: logging.LogRecord) -> None:
    """Note an error that is logged with the server that it is of: the last one started, where nothing tells."""
    error = record.exc_info[1] if record.exc_info else None
    if record.levelno < logging.ERROR or not _running:
        return
    if error is None:
        error = RuntimeError(record.getMessage())
    sessions = [value for value in record.args or () if isinstance(value, BaseSession)]
    servers = [server for server in _running if any(map(server._has, sessions))] if sessions else _running
    # A task of the test's, which nobody awaits, may have had a connection that the shutdown has closed.
    if servers and not (servers[-1]._is_ending and record.name == "asyncio"):
        servers[-1].errors.append(error)
        servers[-1]._origins[error] = record.getMessage()


def serve(
    app: tornado.web.Application | Router | type[SocketConnection],
    *,
    ssl_context: ssl.SSLContext | None = None,
    shutdown_timeout: float = _SHUTDOWN_SECONDS,
    **settings: Any,
) -> Server:
    """Serve an application inside a test, within ``async with``: on the running event loop, with real sockets, on a
    free port of 127.0.0.1. In tests without an event loop, within ``with``.

    ::

        async with testing.serve(Chat, heartbeat_interval=5) as server:
            async with server.connect() as socket:
                await socket.send("hello")
                assert await socket.recv() == "hello"

    At the end the server is shut down as in production: every connection is closed, and has its ``on_close``. The same
    application can be served again, by the next test.

    What handlers raise is not lost in the log. If the test itself has succeeded, an :exc:`ExceptionGroup` of
    ``server.errors`` is raised at the end; if it has failed, they are notes of its error.

    :param app: an application, whose routers are found as by :class:`tornadio.SocketServer`; a router; or a connection
        class.
    :param ssl_context: to serve ``https`` and ``wss``.
    :param shutdown_timeout: seconds at the end for handlers that still run, which are then cancelled.
    :param settings: of the router, as for :func:`tornadio.get_router`; for a connection class alone.
    :raises tornadio.errors.SettingsError: an argument or a setting is not valid.
    """
    check_context(ssl_context)
    if isinstance(app, type) and issubclass(app, SocketConnection):
        app = get_router(app, settings)
    elif settings:
        raise SettingsError(f"settings ({', '.join(settings)}) belong to a connection class: give them to get_router")
    if isinstance(app, Router):
        app = tornado.web.Application([app.route()])
    if not isinstance(app, tornado.web.Application):
        raise SettingsError(
            f"serve takes a tornado.web.Application, a tornadio.Router, or a subclass of SocketConnection, not {app!r}"
        )
    return Server(app, ssl_context, shutdown_timeout)
