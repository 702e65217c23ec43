"""The monitor as a target in an application's routing: who may see it, and which of its parts serves a request.

``SocketServer`` puts a :class:`Route` in the place of each :class:`tornadio.MonitorHandler` in the application's rules.
Tornado then asks the route for the delegate of each request below it. The first thing that delegate does is to ask who
has sent the request, so page, files, data and actions have one door.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

import tornado.web
from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.routing import PathMatches, Router, Rule, RuleRouter

from tornadio.errors import SettingsError
from tornadio.logs import get_logger
from tornadio.monitor.access import NOT_LOCAL, OTHER_ORIGIN, Rights, is_same_origin
from tornadio.monitor.handler import FileHandler, MonitorHandler, RefusedHandler
from tornadio.monitor.monitor import Admission, Monitor
from tornadio.observability.health import SERVERS

logger = get_logger(__name__)

_DATA: Final = "socket"  # the resource of the page's own connections, below the route
_AUTHORIZE_SECONDS: Final = 30.0
_FAILED: Final = "the application failed to say who may look"


class Route(Router):
    """The target of a rule: serves the monitor below the rule's path.

    :param application: in whose rules it is.
    :param handler_class: :class:`tornadio.MonitorHandler`, or a subclass of the application's.
    :param arguments: of that class, from the rule.
    :param node: for :class:`Monitor`.
    :raises SettingsError: they are not right.
    """

    def __init__(
        self,
        application: tornado.web.Application,
        handler_class: type[MonitorHandler],
        arguments: Mapping[str, Any],
        node: str,
    ) -> None:
        self._application = application
        self._handler_class = handler_class
        self._arguments = dict(arguments)
        authorize = self._arguments.get("authorize")
        if self._arguments.keys() - {"authorize"} or not (authorize is None or callable(authorize)):
            raise SettingsError(
                f"MonitorHandler takes {{'authorize': a function of the handler}}, and no more, not {arguments!r}"
            )
        self.monitor = Monitor(lambda: application.settings.get(SERVERS, ()), _DATA, node)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        (tail, *_) = kwargs["path_args"]
        return Door(self, request, (tail or b"").decode("utf-8", "replace"))

    def _handler_of(self, request: HTTPServerRequest) -> MonitorHandler:
        """Return a handler that tells who has sent a request, and responds to none."""
        handler = self._handler_class(self._application, request, **self._arguments)
        # Breaks two cycles: with the connection, which would call the handler when it closes, and with what templates
        # use, which a handler that responds gives up at its end.
        cast(HTTP1Connection, request.connection).set_close_callback(None)
        handler.ui = None  # type: ignore[assignment]
        return handler

    async def rights_of(self, request: HTTPServerRequest) -> Rights | None:
        """Return what the sender of a request may do; ``None`` for nothing.

        :raises Exception: ``authorize`` failed, took too long, or returned something else.
        """
        handler = self._handler_of(request)
        authorize = handler.authorize
        if authorize is None:
            return "read" if handler.is_local() else None
        answer = authorize(handler)
        if inspect.isawaitable(answer):
            async with asyncio.timeout(_AUTHORIZE_SECONDS):
                answer = await answer
        if answer is None or answer is False:
            return None
        if answer not in ("read", "act"):
            raise SettingsError(f"authorize must return 'read', 'act', None or False, not {answer!r}")
        return answer

    async def may_act(self, request: HTTPServerRequest) -> str | None:
        """Ask whether the sender of a request may act now.

        :returns: who that is, for the log; ``None`` for somebody who may not.
        """
        try:
            if await self.rights_of(request) != "act":
                return None
            user = self._handler_of(request).current_user
        except Exception:
            logger.exception("monitor: authorize failed: nothing is done")
            return None
        return str(request.remote_ip) if user is None else f"{user} ({request.remote_ip})"

    async def admit(self, request: HTTPServerRequest, tail: str) -> HTTPMessageDelegate:
        """Return the delegate for a request: that of what it asks for, or that of a refusal."""
        is_data = tail.startswith(f"{_DATA}/")
        try:
            rights = await self.rights_of(request)
        except Exception:
            logger.exception("monitor: authorize failed: nobody is let in")
            return self._refusal(request, 500, _FAILED)
        if rights is None:
            is_default = self._arguments.get("authorize") is None
            return self._refusal(request, 403, NOT_LOCAL if is_default else "you may not look at this")
        if not self.monitor.is_known_as(request):
            return self._refusal(request, 403, "this server is not asked for by that name: see the setting 'hosts'")
        if not is_data:
            return self._application.get_handler_delegate(request, FileHandler, {}, [tail.encode()])
        if not is_same_origin(request.headers, request.headers.get("Host", "")):
            return self._refusal(request, 403, OTHER_ORIGIN)
        if rights == "read" and self.monitor.is_of_actor(tail):
            return self._refusal(request, 403, "this is the connection of somebody who may act, and you may not")
        self.monitor.admit(request, Admission(rights, self.may_act))
        delegate = self.monitor.router._find_delegate(request, f"/{tail}")
        return delegate or self._refusal(request, 404, "the monitor has no such file")

    def _refusal(self, request: HTTPServerRequest, status: int, reason: str) -> HTTPMessageDelegate:
        logger.warning("monitor: refused %s (%d): %s", request.remote_ip, status, reason)
        return self._application.get_handler_delegate(request, RefusedHandler, {"status": status, "reason": reason})


class Door(HTTPMessageDelegate):
    """The delegate of a request below a route: passes it on once it is known who has sent it."""

    def __init__(self, route: Route, request: HTTPServerRequest, tail: str) -> None:
        self._route = route
        self._request = request
        self._tail = tail
        self._delegate: HTTPMessageDelegate | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        return self._admit(start_line, headers)

    async def _admit(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        delegate = self._delegate = await self._route.admit(self._request, self._tail)
        received = delegate.headers_received(start_line, headers)
        if received is not None:
            await received

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return None if self._delegate is None else self._delegate.data_received(chunk)

    def finish(self) -> None:
        if self._delegate is not None:
            self._delegate.finish()
        self._route.monitor.take_admission(self._request)

    def on_connection_close(self) -> None:
        self._route.monitor.take_admission(self._request)
        if self._delegate is not None:
            self._delegate.on_connection_close()


def mount_monitors(applications: Iterable[tornado.web.Application], node: str) -> list[Monitor]:
    """Put a :class:`Route` in the place of each ``MonitorHandler`` in the rules of these applications.

    :param node: as the routers' setting, for the connections of the monitors.
    :returns: the monitors of all routes, those that another server has mounted, too.
    :raises SettingsError: a rule that can't serve a monitor.
    """
    monitors = []
    for application in applications:
        for rule in _rules_of(application):
            target = rule.target
            if isinstance(target, type) and issubclass(target, MonitorHandler):
                if not isinstance(rule.matcher, PathMatches) or rule.matcher.regex.groups != 1:
                    raise SettingsError(r"the route of MonitorHandler must have one group: (r'/monitor/(.*)', ...)")
                rule.target = Route(application, target, rule.target_kwargs, node)
            if isinstance(rule.target, Route):
                monitors.append(rule.target.monitor)
    return monitors


def _rules_of(application: tornado.web.Application) -> Iterator[Rule]:
    """The rules of an application, those of lists among them, too, but not those of applications in it."""
    waiting: list[RuleRouter] = [application.default_router]  # in whose rules the other router is
    while waiting:
        for rule in waiting.pop().rules:
            yield rule
            if isinstance(rule.target, RuleRouter) and not isinstance(rule.target, tornado.web.Application):
                waiting.append(rule.target)
