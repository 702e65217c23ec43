"""``get_router``: from a connection class to one entry in a Tornado application's routing."""

import asyncio
import dataclasses
import inspect
import re
import socket
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

import tornado.web
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import BaseAsyncIOLoop
from tornado.routing import AnyMatches, PathMatches, Rule

from tornadio.cluster.bus import Bus, check_resource
from tornadio.cluster.redis import RedisBus
from tornadio.cluster.relay import Relay
from tornadio.conn import SocketConnection
from tornadio.errors import SettingsError
from tornadio.logs import get_logger
from tornadio.net.tasks import GRACE_SECONDS
from tornadio.sessions.groups import Group, Groups
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import Settings, make_settings, names_given, of_application, with_application_settings
from tornadio.stats import RouterStats
from tornadio.transports.base import TransportHandler
from tornadio.transports.construction import connection_factory
from tornadio.transports.endpoint import Endpoint
from tornadio.transports.paths import BY_NAME, EndpointRouter, ResourcePaths
from tornadio.web.exchange import Exchange
from tornadio.web.hosts import HostRule, make_host_rule
from tornadio.web.origins import OriginRule
from tornadio.web.script import ClientScriptHandler
from tornadio.web.tornadohttp import FastPathRule, TornadoMessageDelegate

logger = get_logger(__name__)

# Names of TornadIO 0.0.5: each transport's handler, and the settings with their defaults.
PROTOCOLS: Final[Mapping[str, type[TransportHandler]]] = MappingProxyType(BY_NAME)
DEFAULT_SETTINGS: Final[Mapping[str, Any]] = MappingProxyType(dataclasses.asdict(Settings()))


class RouterRule(FastPathRule):
    """The rule that a router gives to an application: its transports, and the client's files.

    :ivar router: the router, for servers that look for the routers of their application.
    """

    def __init__(self, router: "Router", endpoint: Endpoint, paths: ResourcePaths) -> None:
        self.router = router
        # A router that has no handler for a request leaves it to the rules behind it.
        transports = Rule(AnyMatches(), EndpointRouter(endpoint, paths))
        client = [
            Rule(PathMatches(re.escape(path)), ClientScriptHandler, {"name": name})
            for path, name in paths.client_files.items()
        ]
        super().__init__(AnyMatches(), [transports, *client])
        self._endpoint = endpoint
        self._paths = paths

    def added_to(self, application: tornado.web.Application) -> None:
        self.router._use_application_settings(application.settings)

    def find_fast_handler(self, exchange: Exchange) -> TransportHandler | None:
        match = self._paths.match(exchange.path, exchange.query)
        return None if match is None else match.handler_class(self._endpoint, exchange, match.path)


class Router:
    """Serves one connection class at one resource. Made by :func:`get_router`."""

    def __init__(
        self,
        connection_class: type[SocketConnection],
        settings: Settings,
        own_settings: frozenset[str],
        resource: str,
        loop: IOLoop | None,
        extra_re: str | None,
        extra_sep: str,
    ) -> None:
        asyncio_loop = loop.asyncio_loop if isinstance(loop, BaseAsyncIOLoop) else None
        sessions = self._sessions = SessionRegistry(settings, asyncio_loop)
        sessions.has_greeting = connection_class.greeting is not SocketConnection.greeting
        self._own_settings = own_settings  # the names of those that get_router was given
        factory = connection_factory(connection_class, lambda: sessions.settings)
        self._endpoint = Endpoint(resource, factory, settings, *_make_rules(settings), sessions)
        self._paths = ResourcePaths(resource, extra_re, extra_sep)
        self._relay = _connect_relay(self._sessions, settings, resource)
        self._groups = Groups(self._sessions, self._relay)

    def route(self) -> Rule:
        """One entry for ``tornado.web.Application([...])``.

        The entry matches every path below the resource, ``/R/...``, those of transports behind an extra, and no other.
        """
        return RouterRule(self, self._endpoint, self._paths)

    @property
    def connections(self) -> tuple[SocketConnection, ...]:
        """The connections of this process that are open now, oldest first: a copy, made at each access."""
        return self._sessions.open_connections

    def broadcast(self, message: Any, exclude: Collection[SocketConnection] = ()) -> None:
        """Send a message to every open connection but those in ``exclude``. The message is encoded once.

        It is queued at once for connections in this process, and published on the ``bus``, if there is one, for those
        in other processes: at most once, in the order in which this process sends. From another thread than the event
        loop's it is handed over, see :class:`tornadio.SocketConnection`.

        :raises tornadio.errors.EncodeError: the message can't be sent; then no connection gets it.
        """
        self._sessions.broadcast(message, exclude)

    def group(self, name: str) -> Group:
        """Return the group of that name: the same object as long as the application refers to it or it has members.

        :raises tornadio.errors.CallerError: ``name`` is not text of 1 to 200 characters.
        """
        return self._groups.get(name)

    def stats(self) -> RouterStats:
        """Return what this router has counted in this process: connections, messages, refusals, its bus.

        The figures are of one moment on the event loop's thread. May be called from any thread: then one that changes
        meanwhile may be ahead of another.
        """
        return self._sessions.stats(self._endpoint.resource, len(self._groups.sizes()))

    # -- For the server, and for a route beside this router's own ------------------------------------------------

    def _find_delegate(self, request: HTTPServerRequest, path: str) -> TornadoMessageDelegate | None:
        """Return the delegate of a request to a transport; ``None`` where the path is not one of this router's.

        :param path: in the place of the request's own: what is before the resource is another one's.
        """
        return EndpointRouter(self._endpoint, self._paths).find_delegate(request, path)

    def _start(self, loop: IOLoop) -> None:
        """Connect to the bus, if there is one, once the loop runs. Without this call the first session connects.

        From here on what other threads broadcast is carried out on that loop. A router whose server was shut down
        accepts sessions again.
        """
        self._sessions.tasks.use_context()
        bus = self._endpoint.settings.bus
        if self._sessions.reopen() and self._relay is not None and bus is not None:
            self._relay.reopen(_make_bus(bus))
        if isinstance(loop, BaseAsyncIOLoop):
            self._sessions.handover.set_loop(loop.asyncio_loop)
        if self._relay is not None:
            loop.add_callback(self._relay.start)

    def _use_application_settings(self, application_settings: Mapping[str, Any]) -> None:
        """Use settings of ``get_router`` that an application has, where the router was given none of its own.

        :raises SettingsError: one of these is wrong.
        """
        endpoint = self._endpoint
        settings = with_application_settings(endpoint.settings, self._own_settings, application_settings)
        if settings == endpoint.settings:
            return
        try:
            origins, hosts = _make_rules(settings)
        except SettingsError as error:
            raise of_application(error) from None
        changed = [name for name in DEFAULT_SETTINGS if getattr(settings, name) != getattr(endpoint.settings, name)]
        logger.warning(
            "%s: tornado.web.Application has settings of this router, which count: %s. They belong into the second "
            "argument of get_router",
            endpoint.resource,
            ", ".join(name for name in changed if name in application_settings),
        )
        endpoint.settings = self._sessions.settings = settings
        endpoint.origins, endpoint.hosts = origins, hosts
        if self._relay is not None:
            self._relay.limit = settings.max_send_buffer

    def _set_log_function(self, log_function: Callable[[Any], None]) -> None:
        """Set the function that logs requests to this router: the application's setting ``log_function``."""
        self._endpoint.log_request = log_function

    @property
    def _policy_domains(self) -> list[str]:
        """The domains for ``allow-access-from`` in a Flash policy file: none where ``flashsocket`` is not enabled.

        A policy file can't say "the requested host", so the default rule for origins becomes ``*``. The origin in a
        movie's handshake is still held against that rule, but a movie with a socket of its own may send any.
        """
        settings = self._endpoint.settings
        if "flashsocket" not in settings.enabled_protocols:
            return []
        domains = self._endpoint.origins.hosts
        return list(settings.hosts or "*") if domains is None else domains

    async def _drain(self, timeout: float, linger: float = GRACE_SECONDS) -> None:
        """Refuse new sessions with 503, deliver what is queued, close every connection and wait for its ``on_close``.
        Then publish what waits for the bus, and close it.

        :param timeout: seconds; what is not done then is cut off.
        :param linger: seconds for clients to close their connections, after that.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await self._sessions.drain(timeout, linger)
        if self._relay is not None:
            # A grace period even if the sessions took the whole timeout: what their on_close published is sent.
            await self._relay.close(max(deadline - loop.time(), GRACE_SECONDS))


def _make_rules(settings: Settings) -> tuple[OriginRule, HostRule]:
    """Make the rules for the settings ``origins`` and ``hosts``.

    :raises SettingsError: an entry of one of them that is none.
    """
    origins = OriginRule(settings.origins)
    return origins, make_host_rule(settings.hosts, origins, socket.gethostname())


def _connect_relay(sessions: SessionRegistry, settings: Settings, resource: str) -> Relay | None:
    """Make the relay between the sessions and the bus; ``None`` without a bus."""
    if settings.bus is None:
        return None
    sessions.relay = Relay(_make_bus(settings.bus), resource, settings.max_send_buffer, sessions.deliver)
    return sessions.relay


def _make_bus(bus: str | Bus) -> Bus:
    """Return the bus of the setting, which may be a URL."""
    return RedisBus(bus) if isinstance(bus, str) else bus


def get_router(
    handler: type[SocketConnection],
    settings: Mapping[str, Any] | Settings | None = None,
    resource: str = "socket.io",
    io_loop: IOLoop | None = None,
    extra_re: str | None = None,
    extra_sep: str | None = None,
) -> Router:
    """Make a router for a connection class. Touches no event loop.

    :param handler: a subclass of :class:`tornadio.SocketConnection`; each client gets an instance, made without
        arguments, or with those of TornadIO 0.0.5 where its constructor takes them.
    :param settings: a :class:`tornadio.Settings`, or a dict of what that takes. One that is not given is taken from the
        settings of the ``tornado.web.Application``, where programs for TornadIO 0.0.5 often have them; a line in the
        log names what was found. ``bus``, ``compression``, ``json`` and ``node`` are not: there these names may mean
        anything.
    :param resource: the first part of the URLs' paths, as given to the client's ``io.Socket``; percent-encoded where a
        path has to be. ``'socket.io/*'``, as TornadIO 0.0.5 wrote it, is ``'socket.io'``.
    :param io_loop: the loop that the connections will live on; the running one by default.
    :param extra_re: regular expression for a part between resource and transport, handed to ``on_open`` as ``extra``.
    :param extra_sep: what separates the resource from that part, ``'/'`` usually; nothing by default.
    :raises tornadio.errors.SettingsError: an argument or a setting is not valid; the message says what is.
    """
    _check_handler(handler)
    resource = check_resource(resource)
    _check_extra(extra_re, extra_sep)
    made = make_settings(settings)
    return Router(handler, made, names_given(settings), resource, io_loop, extra_re, extra_sep or "")


def _check_handler(handler: Any) -> None:
    if not (isinstance(handler, type) and issubclass(handler, SocketConnection)):
        raise SettingsError(f"get_router takes a subclass of tornadio.SocketConnection, not {handler!r}")
    try:
        # As sessions call it: found now, not with the first client.
        inspect.signature(handler.on_open).bind(None, None, extra="")
    except TypeError as error:
        raise SettingsError(
            f"{handler.__name__}.on_open must be on_open(self, request, *args, **kwargs): {error}"
        ) from error
    _check_greeting(handler)


def _check_greeting(handler: type[SocketConnection]) -> None:
    name = f"{handler.__name__}.greeting"
    if inspect.iscoroutinefunction(handler.greeting):
        raise SettingsError(f"{name} can't be async: await in on_open, and keep in self what it is to return")
    try:
        inspect.signature(handler.greeting).bind(None)
    except TypeError as error:
        raise SettingsError(
            f"{name} must be greeting(self), which returns the first frame (another method or attribute of that name "
            f"needs another one): {error}"
        ) from error


def _check_extra(extra_re: str | None, extra_sep: str | None) -> None:
    if extra_re is None:
        if extra_sep is not None:
            raise SettingsError("extra_sep separates what extra_re matches: give extra_re, too")
        return
    try:
        named = re.compile(extra_re).groupindex
    except re.error as error:
        raise SettingsError(f"extra_re {extra_re!r} is no regular expression: {error}") from error
    if named:
        raise SettingsError(f"extra_re {extra_re!r} must have no named groups: on_open gets all of it as 'extra'")
