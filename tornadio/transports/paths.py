"""The paths of an endpoint: which of them belong to it, and which transport, session and extra each names."""

import pkgutil
import re
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import tornado.routing
from tornado.httputil import HTTPServerRequest

from tornadio.errors import PeerError, RefusedError
from tornadio.settings import HANDLERS, PROTOCOLS
from tornadio.transports.base import TransportHandler
from tornadio.transports.endpoint import Endpoint, TransportPath
from tornadio.web.script import FILES as CLIENT_FILES
from tornadio.web.tornadohttp import TornadoExchange, TornadoMessageDelegate

# Characters. Clients' paths have about 100 besides the extra. On longer ones the application's regular expression,
# extra_re, may take long.
_MAX_PATH: Final = 4096
# Names of transports in a path with an extra that are tried, from the end: each costs a match of extra_re.
_MAX_TRIED: Final = 8
_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class UnknownTransportHandler(TransportHandler):
    """Refuses a path below a resource that names no transport: 404."""

    transport = "unknown"
    is_for_every_transport: ClassVar = False

    def check_access(self) -> None:
        self.check_host()  # and no more: a request that names no transport reads and opens nothing
        raise self.path_error()

    def path_error(self) -> RefusedError:
        """Return the error for this path."""
        return RefusedError(404, self._reason(), is_for_every_transport=self.is_for_every_transport)

    def upgrade_not_allowed_error(self) -> PeerError:
        return RefusedError(400, str(self._refusal))

    def _reason(self) -> str:
        names = ", ".join(PROTOCOLS)
        return f"not a transport of this resource: there are {names}"


class NewerClientHandler(UnknownTransportHandler):
    """Refuses what only clients of Socket.IO 0.7 and newer ask for: 404, with a hint."""

    def _reason(self) -> str:
        return (
            "this server speaks Socket.IO 0.6, not 0.7 or newer: "
            f"load the client that it serves, /{self.endpoint.resource}/socket.io.js, and use new io.Socket()"
        )


class BadPathHandler(UnknownTransportHandler):
    """Refuses a path that is not percent-encoded UTF-8: 400."""

    def path_error(self) -> RefusedError:
        return RefusedError(400, "the path is not UTF-8, percent-encoded")


class LongPathHandler(UnknownTransportHandler):
    """Refuses a path below a resource that is too long to be parsed: 414."""

    def path_error(self) -> RefusedError:
        return RefusedError(414, f"the path is longer than {_MAX_PATH} characters")


class BadExtraHandler(UnknownTransportHandler):
    """Refuses an extra that ``extra_re`` does not match, or only while it is percent-encoded, and one with control
    characters: 404.
    """

    is_for_every_transport = True  # the extra is the same in the paths of all

    def _reason(self) -> str:
        return "what stands between resource and transport, the extra, is not what extra_re matches"


class Match(NamedTuple):
    """A match of a path: the handler for it, and its parts."""

    handler_class: type[TransportHandler]
    path: TransportPath = TransportPath()


class ResourcePaths:
    """Parses the paths of a resource; the only parser of them.

    :param resource: the first part of the paths.
    :param extra_re: regular expression for the extra, which is held against that alone; ``None`` for no extra: then a
        transport's name stands directly below the resource.
    :param extra_sep: what separates the resource from the extra.
    :ivar client_files: the paths of the browser client's files, with their names.
    """

    def __init__(self, resource: str, extra_re: str | None, extra_sep: str) -> None:
        root = f"/{resource}"
        self._roots = (root, f"{root}/")
        self._resource_prefix = f"{root}/"
        self._extra = None if extra_re is None else re.compile(extra_re)
        self._extra_prefix = root + extra_sep
        self.client_files = {f"{root}/{name}": name for name in CLIENT_FILES}

    def match(self, path: str, query: str) -> Match | None:
        """Return the handler for a request; ``None`` for the client's files, and where the path is not the resource's.

        Below the resource, ``/R/...``, every path is, with an extra behind another separator those of transports.
        """
        if path in self.client_files:
            return None
        if path in self._roots:  # the application may have a page there; only newer clients are answered
            return _NEWER_CLIENT if _names_engine(query) else None
        is_below = path.startswith(self._resource_prefix)
        if len(path) > _MAX_PATH:
            return Match(LongPathHandler) if is_below else None
        if self._extra is None:
            found = self._match_resource(path) if is_below else None
        else:
            found = self._match_extra(path, self._extra) if path.startswith(self._extra_prefix) else None
        if found is not None:
            return found
        if self._is_of_newer_client(path) or (is_below and _names_engine(query)):
            return _NEWER_CLIENT
        if not is_below:
            return None
        has_extra = path.startswith(self._extra_prefix) and not BY_NAME.keys().isdisjoint(path.split("/"))
        return Match(BadExtraHandler) if self._extra is not None and has_extra else _UNKNOWN

    def _is_of_newer_client(self, path: str) -> bool:
        """Whether a path that names no transport of this resource is one of Socket.IO 0.7 to 0.9. The version of their
        protocol, 1, stands directly behind what their page has as its resource: this one, or one with an extra.
        """
        version = _NEWER_PATH_END.search(path)
        if version is None:
            return False
        asked = path[: version.start()]
        if asked == self._roots[0]:
            return True
        return (
            self._extra is not None
            and asked.startswith(self._extra_prefix)
            and self._extra.fullmatch(asked[len(self._extra_prefix) :]) is not None
        )

    def _match_resource(self, path: str) -> Match | None:
        name, _, rest = path[len(self._resource_prefix) :].partition("/")
        handler = BY_NAME.get(name)
        if handler is None:
            return None
        # A WebSocket's path names no session: what follows the transport's name means nothing, as in TornadIO 0.0.5.
        session_id, _, tail = ("", "", rest) if handler.is_websocket else rest.partition("/")
        found = TransportPath(session_id, tail)
        return Match(handler, found) if "%" not in path else _decoded(handler, found)

    def _match_extra(self, path: str, extra: re.Pattern[str]) -> Match | None:
        """Return the handler whose name stands last in the path, with the extra before it. Only the last few names are
        tried: clients put no more than the session id and two numbers behind the transport's name.
        """
        start, end, tried = len(self._extra_prefix), len(path), 0
        while tried < _MAX_TRIED and (slash := path.rfind("/", start, end)) >= 0:
            handler = BY_NAME.get(path[slash + 1 : end])
            if handler is not None:
                tried += 1
                piece = path[start:slash]
                if extra.fullmatch(piece):
                    rest = path[end + 1 :]
                    session_id, _, tail = ("", "", rest) if handler.is_websocket else rest.partition("/")
                    found = TransportPath(session_id, tail, piece)
                    if "%" not in path and path.isprintable():
                        return Match(handler, found)
                    return _checked(_decoded(handler, found), piece, extra)
            end = slash
        return None


def _decoded(handler: type[TransportHandler], path: TransportPath) -> Match:
    """Return a match whose path's parts are decoded from percent-encoded UTF-8."""
    try:
        return Match(handler, TransportPath(*(unquote_to_bytes(part).decode("utf-8") for part in path)))
    except UnicodeDecodeError:
        return Match(BadPathHandler)


def _checked(match: Match, piece: str, extra: re.Pattern[str]) -> Match:
    """Check the decoded extra against ``extra_re``, too: ``[^/]+`` must not match ``%2F``."""
    decoded = match.path.extra
    if _CONTROL_CHARACTERS.search(decoded) or (decoded != piece and not extra.fullmatch(decoded)):
        return Match(BadExtraHandler)
    return match


BY_NAME: Final[dict[str, type[TransportHandler]]] = {
    name: pkgutil.resolve_name(handler) for name, handler in HANDLERS.items()
}
# How paths of Socket.IO 0.7 to 0.9 end: in the version of their protocol, 1, for the handshake, and behind it in their
# transport and session. Clients of 0.6 whose page has a resource that ends in 1 put nothing behind a WebSocket's name,
# and two or more parts behind the names of the others.
_NEWER_PATH_END: Final = re.compile(r"/1(?:/(?:websocket|flashsocket|htmlfile|xhr-polling|jsonp-polling)/[^/]+)?/?\Z")
# Clients of Socket.IO 1.0 and newer begin with /socket.io/?EIO=4&transport=polling.
_ENGINE: Final = re.compile(r"(?:^|&)EIO=[0-9]")
_UNKNOWN: Final = Match(UnknownTransportHandler)
_NEWER_CLIENT: Final = Match(NewerClientHandler)


def _names_engine(query: str) -> bool:
    """Whether a query is one of clients of Socket.IO 1.0 and newer."""
    return _ENGINE.search(query) is not None


class EndpointRouter(tornado.routing.Router):
    """A ``tornado.routing.Router`` from a request to the handler of its transport."""

    def __init__(self, endpoint: Endpoint, paths: ResourcePaths) -> None:
        self._endpoint = endpoint
        self._paths = paths

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> TornadoMessageDelegate | None:
        return self.find_delegate(request, request.path)

    def find_delegate(self, request: HTTPServerRequest, path: str) -> TornadoMessageDelegate | None:
        """As :meth:`find_handler`, with another path in the place of the request's."""
        match = self._paths.match(path, request.query or "")
        if match is None:
            return None
        exchange = TornadoExchange(request)
        handler = match.handler_class(self._endpoint, exchange, match.path)
        return TornadoMessageDelegate(handler, exchange, self._endpoint.sessions.lingering)
