"""``get_router``: from a connection class to one entry in a Tornado application's routing."""

import asyncio
import inspect
import pkgutil
import re
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import tornado.routing
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import BaseAsyncIOLoop
from tornado.routing import AnyMatches, PathMatches, Rule

from tornadio.cluster.bus import Bus
from tornadio.cluster.redis import RedisBus
from tornadio.cluster.relay import Relay
from tornadio.conn import SocketConnection
from tornadio.errors import PeerError, RefusedError, SettingsError
from tornadio.logs import get_logger
from tornadio.net.tasks import GRACE_SECONDS
from tornadio.sessions.groups import Group, Groups
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import HANDLERS, PROTOCOLS, Settings, make_settings
from tornadio.transports.base import Address, Resource, TransportHandler
from tornadio.web.exchange import Exchange
from tornadio.web.fastpath import FastPathRule
from tornadio.web.hosts import make_host_rule
from tornadio.web.origins import OriginRule
from tornadio.web.script import ClientHandler
from tornadio.web.tornadohttp import TornadoExchange, TornadoMessageDelegate

logger = get_logger(__name__)

_MAX_PATH: Final = 4096  # characters
_MAX_TRIED: Final = 8  # names of transports in a path with an extra
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class UnknownTransportHandler(TransportHandler):
    """Whatever else is asked for below a resource."""

    transport = "unknown"

    def check_access(self) -> None:
        self.check_host()
        raise self._refusal_of()

    def _refusal_of(self) -> RefusedError:
        return RefusedError(404, self._hint())

    def upgrade_not_allowed_error(self) -> PeerError:
        return RefusedError(400, str(self._refusal))

    def _hint(self) -> str:
        root = f"/{self.here.name}"
        path = self.exchange.path
        if _is_newer_client(self.exchange.query) or re.search(r"/1(/|$)", path.removeprefix(root)):
            logger.warning("a client of Socket.IO 0.7 or newer asked for %s: this server speaks 0.6", path)
            return (
                "this server speaks Socket.IO 0.6, not 0.7 or newer: "
                f"load the client that it serves, {root}/socket.io.js, and use new io.Socket()"
            )
        names = ", ".join(PROTOCOLS)
        return f"not a transport of this resource: there are {names}"


def _is_newer_client(query: str) -> bool:
    """Whether this is how clients of Socket.IO 1.0 and newer begin: ``/socket.io/?EIO=4&transport=polling``."""
    return "EIO=" in query


class BadPathHandler(UnknownTransportHandler):
    """What is below a resource, and can't be read."""

    def _refusal_of(self) -> RefusedError:
        return RefusedError(400, "the path is not UTF-8, percent-encoded")


class LongPathHandler(UnknownTransportHandler):
    """What is below a resource, and too long to be read."""

    def _refusal_of(self) -> RefusedError:
        return RefusedError(414, f"the path is longer than {_MAX_PATH} characters")


class BadExtraHandler(UnknownTransportHandler):
    """What has an extra that is another one when it is decoded, or controls in it."""

    def _refusal_of(self) -> RefusedError:
        return RefusedError(404, "the part between resource and transport, decoded, is not one that this server takes")


class Match(NamedTuple):
    """What a path of a resource asks for."""

    handler: type[TransportHandler]
    address: Address = Address()


class ResourcePaths:
    """The paths of a resource: which there are, and what each asks for. The one parser of paths.

    :param resource: the first part of the paths.
    :param extra_re: regular expression for the extra, which is held against that alone; ``None`` for no extra: then a
        transport's name stands directly below the resource.
    :param extra_sep: what separates the resource from the extra.
    """

    def __init__(self, resource: str, extra_re: str | None, extra_sep: str) -> None:
        root = f"/{resource}"
        self._roots = (root, f"{root}/")
        self._below = f"{root}/"
        self._extra = None if extra_re is None else re.compile(extra_re)
        self._prefix = root + extra_sep
        self.client = f"{root}/socket.io.js"

    def match(self, path: str, query: str) -> Match | None:
        """What a request asks for; ``None`` for the client's script, and where the path is not the resource's.

        Below the resource, ``/R/...``, every path is, with an extra behind another separator those of transports.
        """
        if path == self.client:
            return None
        if path in self._roots:
            return _UNKNOWN if _is_newer_client(query) else None
        is_below = path.startswith(self._below)
        if len(path) > _MAX_PATH:
            return Match(LongPathHandler) if is_below else None
        if self._extra is None:
            return self._match_below(path) if is_below else None
        if not path.startswith(self._prefix):
            return _UNKNOWN if is_below else None
        found = self._match_extra(path, self._extra, _BY_NAME)
        if found is None and (is_below or self._match_extra(path, self._extra, _NEWER) is not None):
            return _UNKNOWN
        return found

    def _match_below(self, path: str) -> Match:
        name, _, rest = path[len(self._below) :].partition("/")
        handler = _BY_NAME.get(name)
        if handler is None or (rest and handler.is_websocket):
            return _UNKNOWN
        session_id, _, tail = rest.partition("/")
        address = Address(session_id, tail)
        return Match(handler, address) if "%" not in path else _decoded(handler, address)

    def _match_extra(
        self, path: str, extra: re.Pattern[str], handlers: Mapping[str, type[TransportHandler]]
    ) -> Match | None:
        """The last part of the path that names a handler with the extra before it. Of many names the last few are
        tried: what comes behind a transport's name is the client's, the session id and a number or two."""
        start, end, tried = len(self._prefix), len(path), 0
        while tried < _MAX_TRIED and (slash := path.rfind("/", start, end)) >= 0:
            handler = handlers.get(path[slash + 1 : end])
            if handler is not None and not (handler.is_websocket and path[end + 1 :]):
                tried += 1
                piece = path[start:slash]
                if extra.fullmatch(piece):
                    session_id, _, tail = path[end + 1 :].partition("/")
                    address = Address(session_id, tail, piece)
                    if "%" not in path and path.isprintable():
                        return Match(handler, address)
                    return _checked(_decoded(handler, address), piece, extra)
            end = slash
        return None


def _decoded(handler: type[TransportHandler], address: Address) -> Match:
    """A match whose address is decoded from percent-encoded UTF-8."""
    try:
        return Match(handler, Address(*(unquote_to_bytes(part).decode("utf-8") for part in address)))
    except UnicodeDecodeError:
        return Match(BadPathHandler)


def _checked(match: Match, piece: str, extra: re.Pattern[str]) -> Match:
    """A match whose extra is what ``extra_re`` matches, decoded as well: ``[^/]+`` takes no ``%2F``."""
    found = match.address.extra
    if _CONTROLS.search(found) or (found != piece and not extra.fullmatch(found)):
        return Match(BadExtraHandler)
    return match


class TransportRouter(tornado.routing.Router):
    """From a request's path to the handler of its transport."""

    def __init__(self, resource: Resource, paths: ResourcePaths) -> None:
        self._resource = resource
        self._paths = paths

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> TornadoMessageDelegate | None:
        match = self._paths.match(request.path, request.query or "")
        if match is None:
            return None
        exchange = TornadoExchange(request)
        return TornadoMessageDelegate(
            match.handler(self._resource, exchange, match.address), exchange, self._resource.sessions.lingering
        )


class RouterRule(FastPathRule):
    """An application's rule that remembers its router, for those who look for routers in an application."""

    def __init__(self, router: "Router", resource: Resource, paths: ResourcePaths) -> None:
        # A router that has no handler for a request leaves it to the rules behind it.
        transports = Rule(AnyMatches(), TransportRouter(resource, paths))
        client = Rule(PathMatches(re.escape(paths.client)), ClientHandler)
        super().__init__(AnyMatches(), [transports, client])
        self.router = router
        self._resource = resource
        self._paths = paths

    def find_fast_handler(self, exchange: Exchange) -> TransportHandler | None:
        match = self._paths.match(exchange.path, exchange.query)
        return None if match is None else match.handler(self._resource, exchange, match.address)


class Router:
    """Serves one connection class at one resource. Made by :func:`get_router`."""

    def __init__(
        self,
        connection_class: type[SocketConnection],
        settings: Settings,
        resource: str,
        loop: IOLoop | None,
        extra_re: str | None,
        extra_sep: str,
    ) -> None:
        asyncio_loop = loop.asyncio_loop if isinstance(loop, BaseAsyncIOLoop) else None
        self._sessions = SessionRegistry(settings, asyncio_loop)
        origins = OriginRule(settings.origins)
        hosts = make_host_rule(settings.hosts, origins, socket.gethostname())
        self._resource = Resource(resource, connection_class, settings, origins, hosts, self._sessions)
        self._paths = ResourcePaths(resource, extra_re, extra_sep)
        self._relay = _relay_of(self._sessions, settings, resource)
        self._groups = Groups(self._sessions, self._relay)

    def route(self) -> Rule:
        """One entry for ``tornado.web.Application([...])``.

        It takes every path below the resource, ``/R/...``, those of transports behind an extra, and nothing else.
        """
        return RouterRule(self, self._resource, self._paths)

    @property
    def connections(self) -> tuple[SocketConnection, ...]:
        """The connections of this process that are open now, oldest first."""
        return tuple(session.connection for session in self._sessions.open_sessions)

    def broadcast(self, message: Any, exclude: Collection[SocketConnection] = ()) -> None:
        """Send a message to every open connection but those in ``exclude``. It is encoded once.

        Connections in this process get it at once, those in other processes over the ``bus``, if there is one: at most
        once, in the order in which this process sends.

        :raises tornadio.errors.EncodeError: the message can't be sent; then nobody gets it.
        """
        self._sessions.broadcast(message, exclude)

    def group(self, name: str) -> Group:
        """The group of that name, always the same object as long as somebody has it or it has members.

        :raises tornadio.errors.CallerError: that is no name: a text, not empty, of at most 200 characters.
        """
        return self._groups.get(name)

    def start(self, loop: IOLoop) -> None:
        """Connect with the bus, if there is one, once the loop runs; else that waits for the first connection."""
        if self._relay is not None:
            loop.add_callback(self._relay.start)

    def log_requests_with(self, log_function: Callable[[Any], None]) -> None:
        """Log requests as the application does that they are served by: what its setting ``log_function`` says."""
        self._resource.log_request = log_function

    @property
    def policy_domains(self) -> list[str]:
        """Domains for ``allow-access-from`` of a Flash policy: none where ``flashsocket`` is not enabled.

        A policy file can't say "the host that was asked", so the default rule becomes ``*`` here. The origin that the
        movie sends with its handshake is still held against the rule, but one with a socket of its own sends what it
        likes.
        """
        settings = self._resource.settings
        if "flashsocket" not in settings.enabled_protocols:
            return []
        domains = self._resource.origins.hosts
        return list(settings.hosts or "*") if domains is None else domains

    async def drain(self, timeout: float) -> None:
        """Refuse new sessions with 503, deliver what is queued, close every connection and wait for its ``on_close``.
        Then publish what waits for the bus, and close it.

        :param timeout: seconds; what is not done then is cut off.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await self._sessions.drain(timeout)
        if self._relay is not None:
            # What on_close has published is sent in any case, however late it is.
            await self._relay.close(max(deadline - loop.time(), GRACE_SECONDS))


def _relay_of(sessions: SessionRegistry, settings: Settings, resource: str) -> Relay | None:
    """What connects the sessions with the bus, if there is one."""
    if settings.bus is None:
        return None
    bus: Bus = RedisBus(settings.bus) if isinstance(settings.bus, str) else settings.bus
    sessions.relay = Relay(bus, resource, settings.max_send_buffer, sessions.deliver)
    return sessions.relay


_BY_NAME: Final[dict[str, type[TransportHandler]]] = {
    name: pkgutil.resolve_name(handler) for name, handler in HANDLERS.items()
}
_NEWER: Final = {"1": UnknownTransportHandler}
_UNKNOWN: Final = Match(UnknownTransportHandler)


def get_router(
    handler: type[SocketConnection],
    settings: Mapping[str, Any] | None = None,
    resource: str = "socket.io",
    io_loop: IOLoop | None = None,
    extra_re: str | None = None,
    extra_sep: str | None = None,
) -> Router:
    """Make a router for a connection class. Touches no event loop.

    :param handler: a subclass of :class:`tornadio.SocketConnection`; each client gets an instance, made without
        arguments.
    :param settings: see :class:`tornadio.settings.Settings`.
    :param resource: the first part of the URLs, as given to the client's ``io.Socket``.
    :param io_loop: the loop that the connections will live on; the running one by default.
    :param extra_re: regular expression for a part between resource and transport, handed to ``on_open`` as ``extra``.
    :param extra_sep: what separates the resource from that part, ``'/'`` usually; nothing by default.
    :raises tornadio.errors.SettingsError: any of these is not as it must be; the message says what is right.
    """
    _check_handler(handler)
    if not isinstance(resource, str) or not resource.strip("/"):
        raise SettingsError(f"resource must be the first part of a path, such as 'socket.io', not {resource!r}")
    _check_extra(extra_re, extra_sep)
    return Router(handler, make_settings(settings), resource.strip("/"), io_loop, extra_re, extra_sep or "")


def _check_handler(handler: Any) -> None:
    if not (isinstance(handler, type) and issubclass(handler, SocketConnection)):
        raise SettingsError(f"get_router takes a subclass of tornadio.SocketConnection, not {handler!r}")
    try:
        inspect.signature(handler.on_open).bind(None, None, extra="")
    except TypeError as error:
        raise SettingsError(
            f"{handler.__name__}.on_open must be on_open(self, request, *args, **kwargs): {error}"
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
