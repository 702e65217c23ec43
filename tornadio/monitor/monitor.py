"""A monitor: the onlookers of one route, the samples that they see, and their questions and actions.

While nobody looks there is no timer, and no counter is read: the monitors of the other processes can ask this one, and
that is all.
"""

import os
import secrets
import socket
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop

from tornadio.conn import SocketConnection
from tornadio.errors import ProtocolError
from tornadio.histograms import BOUNDS
from tornadio.logs import get_logger
from tornadio.monitor.access import Rights
from tornadio.monitor.connections import COLUMNS, Connections, merge_pages
from tornadio.monitor.history import History
from tornadio.monitor.link import Answer, Link
from tornadio.monitor.onlooker import Onlooker
from tornadio.monitor.sample import make_sample
from tornadio.monitor.table import parse_query
from tornadio.net.timers import Clock, Periodic
from tornadio.router import Router, get_router
from tornadio.stats import ServerStats
from tornadio.web.exchange import own_ip_of

if TYPE_CHECKING:
    from tornadio.server import SocketServer

logger = get_logger(__name__)

INTERVAL: Final = 2.0  # seconds between two samples
_HISTORY_SECONDS: Final = 0.3  # that the first onlooker waits for what other processes have collected
_STATS_SECONDS: Final = 0.5  # for which the numbers of a server are kept: each of its routers asks for them
# A page that polls and is closed just asks no more: it is an onlooker for so long.
_SETTINGS: Final = {
    "enabled_protocols": ["websocket", "xhr-polling"],  # the origins of others' transports can't all be checked
    "session_expiry": 10.0,
    "session_check_interval": 2.0,
    "max_sessions": 100,
    "max_message_size": 1 << 16,
    # Both were checked at the door, more strictly.
    "origins": ["*:*"],
    "hosts": ["*"],
}


class Admission(NamedTuple):
    """A request for data that was let in.

    :ivar rights: what its sender may do.
    :ivar may_act: asks again, before an action, of the same request: returns who acts, for the log, or ``None``.
    """

    rights: Rights
    may_act: Callable[[HTTPServerRequest], Awaitable[str | None]]


class Monitor:
    """What the onlookers of one route share.

    :param servers: returns the servers that serve the route's application.
    :param resource: of the onlookers' connections.
    :param node: what the ids of these begin with, by which a proxy finds the process.
    :ivar router: the onlookers' own router, which is none of the application's.
    """

    def __init__(self, servers: "Callable[[], Iterable[SocketServer]]", resource: str, node: str) -> None:
        self._servers = servers
        self._process = secrets.token_hex(8)
        self._secret = secrets.token_bytes(32)
        self._admissions: weakref.WeakKeyDictionary[HTTPServerRequest, Admission] = weakref.WeakKeyDictionary()
        self._links: dict[Router, Link] = {}
        self._server_of: dict[Router, SocketServer] = {}
        self._history = History()
        self._onlookers: dict[Onlooker, None] = {}
        self._sampling: Periodic | None = None
        self._asked_at = 0.0  # when the last samples were asked for: all that come have that time
        self._stats: tuple[SocketServer, float, ServerStats] | None = None
        # The connection class has the monitor as an attribute: the library makes the objects.
        onlooker_class: type[SocketConnection] = type("BoundOnlooker", (Onlooker,), {"monitor": self})
        self.router = get_router(onlooker_class, {**_SETTINGS, "node": node}, resource)

    # -- For the server ------------------------------------------------------------------------------------------

    def start(self, loop: IOLoop, server: "SocketServer") -> None:
        """Serve, and answer other processes' questions about a server's routers."""
        self.router._start(loop)
        for router in server.routers:
            self._server_of[router] = server
            if router not in self._links:
                self._links[router] = self._link(router)

    def _link(self, router: Router) -> Link:
        connections = Connections(router, self._secret)

        def respond(kind: str, query: Mapping[str, Any]) -> Answer | None:
            return self._respond(router, connections, kind, query)

        return Link(router, self._process, respond, self._sampled)

    # -- At the door ---------------------------------------------------------------------------------------------

    def is_known_as(self, request: HTTPServerRequest) -> bool:
        """Whether clients may ask for this server by the name in a request's ``Host`` header: as those of its routers.

        A route beside no router is known by any name.
        """
        rules = [router._endpoint.hosts for server in self._servers() for router in server.routers]
        host = request.headers.get("Host", "")
        own_ip = own_ip_of(cast(HTTP1Connection, request.connection).stream.socket)
        return not rules or any(
            rule.allows_name(host) or rule.allows_client(str(request.remote_ip), own_ip) for rule in rules
        )

    def is_of_actor(self, path: str) -> bool:
        """Whether a path names the connection of an onlooker who may act, as a poll or a POST does: its id may have
        been read in the log of a proxy."""
        parts = path.split("/")
        return any(onlooker.rights == "act" and onlooker.session_id in parts for onlooker in self._onlookers)

    def admit(self, request: HTTPServerRequest, admission: Admission) -> None:
        """Let a request for data in."""
        self._admissions[request] = admission

    def take_admission(self, request: HTTPServerRequest) -> Admission | None:
        """Forget the admission of a request, and return it: it opens an onlooker's connection, or is over."""
        return self._admissions.pop(request, None)

    # -- Onlookers -----------------------------------------------------------------------------------------------

    async def enter(self, onlooker: Onlooker) -> None:
        """Show an onlooker everything from now on, and what was collected before."""
        is_first = not self._onlookers
        self._onlookers[onlooker] = None
        onlooker.send(
            {
                "type": "welcome",
                "rights": onlooker.rights,
                "interval": INTERVAL,
                "bounds": list(BOUNDS),
                "time": time.time(),
                "routers": [link.resource for link in self._links.values()],
            }
        )
        if is_first:
            loop = self.router._sessions.loop
            clock: Clock = loop
            self._sampling = Periodic(clock, self._take_samples, INTERVAL)
            self._sampling.start()
            self._take_samples()
            began = self._asked_at
            for link in list(self._links.values()):
                answers = await link.ask("history", {}, wait=_HISTORY_SECONDS)
                for process, answer in answers.items():
                    if process != self._process:
                        self._history.merge(answer["samples"], began)
        onlooker.send({"type": "history", "samples": self._history.since(time.time())})

    def leave(self, onlooker: Onlooker) -> None:
        """Note that an onlooker has gone. With the last one sampling ends; what was collected stays."""
        self._onlookers.pop(onlooker, None)
        if not self._onlookers and self._sampling is not None:
            self._sampling.stop()
            self._sampling = None

    def _take_samples(self) -> None:
        self._asked_at = round(time.time(), 2)
        for link in self._links.values():
            link.request_samples()

    def _sampled(self, link: Link, process: str, sample: Answer) -> None:
        sample = {**sample, "process": process, "at": self._asked_at}
        if self._onlookers:
            self._history.add(sample)
            self.router.broadcast({"type": "sample", "sample": sample})

    # -- Questions -----------------------------------------------------------------------------------------------

    def _respond(self, router: Router, connections: Connections, kind: str, query: Mapping[str, Any]) -> Answer | None:
        """Answer a question, of an onlooker of this process or another one.

        :raises ProtocolError: it is none.
        """
        match kind:
            case "sample":
                return self._sample(router)
            case "page":
                return connections.page(query)
            case "groups":
                return connections.groups(query)
            case "act":
                return connections.act(query)
            case "history":
                return {"samples": self._history.since(time.time(), router._endpoint.resource)}
        raise ProtocolError(f"no question: {kind[:40]}")

    def _sample(self, router: Router) -> Answer | None:
        server, now = self._server_of[router], time.monotonic()
        if self._stats is None or self._stats[0] is not server or now - self._stats[1] > _STATS_SECONDS:
            self._stats = server, now, server.stats()
        stats = self._stats[2]
        for each in stats.routers:
            if each.resource == router._endpoint.resource:
                node = router._endpoint.settings.node
                name = f"{node or socket.gethostname().partition('.')[0]} {os.getpid()}"
                return make_sample(stats, each, name, self._stats[1])
        return None

    def _link_of(self, resource: object) -> Link:
        for link in self._links.values():
            if link.resource == resource:
                return link
        raise ProtocolError("no such router")

    async def page(self, query: Mapping[str, Any]) -> Answer:
        """Return a page of the table of a router's connections, in all processes or one.

        :raises ProtocolError: the query is none.
        """
        parsed = parse_query(query, COLUMNS)
        link = self._link_of(query.get("router"))
        expected = link.processes if _process_of(query) is None else set()
        answers = await link.ask("page", query, _process_of(query))
        for process, answer in answers.items():
            for row in answer["rows"]:
                row[2]["process"] = process
        merged = merge_pages(list(answers.values()), parsed)
        rows = [{**row, "key": key} for key, row in merged.rows]
        missing = len(expected - answers.keys())
        return {"rows": rows, "total": merged.total, "ahead": merged.ahead, "missing": missing}

    async def groups(self, query: Mapping[str, Any]) -> Answer:
        """Return the largest groups of a router, with their sizes in all processes.

        :raises ProtocolError: the query is none.
        """
        link = self._link_of(query.get("router"))
        answers = await link.ask("groups", query)
        sizes: dict[str, int] = {}
        for answer in answers.values():
            for size, name in answer["groups"]:
                sizes[name] = sizes.get(name, 0) + size
        largest = sorted(sizes.items(), key=lambda each: (-each[1], each[0]))[: query["limit"]]
        return {"groups": largest, "total": max([len(sizes), *(answer["total"] for answer in answers.values())])}

    async def act(self, action: Mapping[str, Any], who: str) -> Answer:
        """Close a connection, or send it a message, in whatever process it is.

        :param who: who does that, for the log.
        :raises ProtocolError: it is no action.
        """
        process = _process_of(action)
        if process is None:
            raise ProtocolError("which process?")
        answers = await self._link_of(action.get("router")).ask("act", {**action, "who": who}, process)
        return answers.get(process, {"done": False, "text": "The process of this connection does not answer."})


def _process_of(query: Mapping[str, Any]) -> str | None:
    process = query.get("process")
    return process if isinstance(process, str) and process else None
