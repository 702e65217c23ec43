"""The connections of a router as rows of the table, and what an onlooker may do with one."""

import hashlib
import operator
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tornadio import proto
from tornadio.errors import CallerError, ProtocolError
from tornadio.logs import get_logger, printable
from tornadio.monitor.table import Query, Selection, merge, parse_query, select

if TYPE_CHECKING:
    from tornadio.router import Router
    from tornadio.sessions.base import BaseSession

logger = get_logger(__name__)

_CLOSE_REASON: Final = "closed by an operator"
_MAX_GROUPS: Final = 8  # names of a connection's groups in its row
_CLOCK_STEP: Final = 0.5  # seconds
_MAX_WHO: Final = 120  # characters in the log
COLUMNS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("id", "transport", "address"), str),
    **dict.fromkeys(("age", "received", "sent", "queue", "groups"), float),
}

_VALUES: "Final[Mapping[str, Callable[[BaseSession], Any]]]" = {
    "id": operator.attrgetter("short_id"),
    "transport": operator.attrgetter("transport"),
    "address": operator.attrgetter("address"),
    "received": operator.attrgetter("messages_in"),
    "sent": operator.attrgetter("messages_out"),
    "queue": operator.attrgetter("send_buffer_size"),
}


class Connections:
    """The connections of one router in this process that are open or closing.

    :param router: the router.
    :param secret: with which the handles are made. Session ids are secrets, and stay in the process: the page has the
        short id, which logs show, and a handle that is good for nothing else.
    """

    def __init__(self, router: "Router", secret: bytes) -> None:
        self._registry = router._sessions
        self._groups = router._groups
        self._resource = router._endpoint.resource
        self._secret = secret
        self._last_offset = 0.0

    def page(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return this process's part of a page of the table.

        :raises ProtocolError: the query is none.
        """
        query = parse_query(data, COLUMNS)
        selection = select(self._matching(query.text), self._value(query.sort), _VALUES["id"], query)
        rows = [[*key, self._row(session)] for key, session in selection.rows]
        return {"rows": rows, "total": selection.total, "ahead": selection.ahead}

    def _sessions(self) -> "tuple[BaseSession, ...]":
        """Return the sessions that have a row: those that are closing, too, since their queues are still delivered."""
        sessions = self._registry.open_sessions
        if len(sessions) == len(self._registry):
            return sessions
        return sessions + tuple([session for session in self._registry if session.is_closed])

    def _matching(self, text: str) -> "Iterator[BaseSession] | tuple[BaseSession, ...]":
        sessions = self._sessions()
        if not text:
            return sessions
        groups_of = self._groups.of
        return (
            session
            for session in sessions
            if text in session.short_id
            or text in session.address
            or text in session.transport
            or any(text in group.name.lower() for group in groups_of(session))
        )

    def _value(self, column: str) -> "Callable[[BaseSession], Any]":
        """Return what returns a session's value in a column."""
        if column == "age":
            # The youngest first, in whole tenths of a second, which are the same in each process.
            offset = self._offset()
            return lambda session: -int((session.started + offset) * 10)
        if column == "groups":
            groups_of = self._groups.of
            return lambda session: len(groups_of(session))
        return _VALUES[column]

    def _row(self, session: "BaseSession") -> dict[str, Any]:
        groups = list(self._groups.of(session))
        return {
            "id": session.short_id,
            "handle": self._handle(session),
            "transport": session.transport,
            "address": session.address,
            "opened": round(session.started + self._offset(), 1),
            "received": session.messages_in,
            "sent": session.messages_out,
            "queue": session.send_buffer_size,
            "groups": len(groups),
            "names": [group.name for group in groups[:_MAX_GROUPS]],
            "closing": session.is_closed,
        }

    def _offset(self) -> float:
        """Return the seconds from the event loop's time to that since 1970: the same all the time, but for steps of
        the clock, so that a row keeps its key."""
        if len(self._registry):  # else it has no clock yet, and no row
            now = time.time() - self._registry.time()
            if abs(now - self._last_offset) > _CLOCK_STEP:
                self._last_offset = now
        return self._last_offset

    def _handle(self, session: "BaseSession") -> str:
        return hashlib.blake2b(session.session_id.encode(), key=self._secret, digest_size=9).hexdigest()

    def act(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Close a connection, or send it a message, as an onlooker has asked, and log that.

        :returns: whether that was done, and a text for the onlooker if not.
        :raises ProtocolError: what was asked for is neither.
        """
        match data:
            case {"action": "close" | "send" as action, "id": str(short_id), "handle": str(handle), "who": str(who)}:
                message = data.get("message") if action == "send" else None
            case _:
                raise ProtocolError("no action, or not all that it needs")
        session = self._find(short_id, handle)
        if session is None:
            return {"done": False, "text": "This connection has ended."}
        if session.is_closed:
            return {"done": False, "text": "This connection is being closed already."}
        try:
            frames = proto.encode(message, self._registry.settings.json)
        except CallerError as error:
            return {"done": False, "text": f"This can't be sent: {error}"}
        if action == "send" and not frames:
            return {"done": False, "text": "This is no message: nothing would be sent."}
        # An operator's action is never left out: limit_note says that the line was counted.
        logger.warning(
            "monitor: %s %s %s of %s (/%s)",
            printable(who, _MAX_WHO),
            "sent a message to" if action == "send" else "closed",
            session,
            session.address or "no address",
            self._resource,
            extra={"limit_note": ""},
        )
        if action == "send":
            session.connection.send(message)
        else:
            session.connection.close(1000, _CLOSE_REASON)
        return {"done": True}

    def _find(self, short_id: str, handle: str) -> "BaseSession | None":
        for session in self._sessions():
            if session.short_id == short_id and self._handle(session) == handle:
                return session
        return None

    def groups(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the largest groups of this process, and how many there are.

        :raises ProtocolError: the query is none.
        """
        match data:
            case {"text": str(text), "limit": int(limit)} if 0 < limit <= 200 and len(text) <= 200:
                pass
            case _:
                raise ProtocolError("no text and limit of groups")
        sizes = [(size, name) for name, size in self._groups.sizes().items() if text in name.lower()]
        total = len(sizes)
        sizes.sort(key=lambda each: (-each[0], each[1]))
        return {"groups": sizes[:limit], "total": total}


def merge_pages(parts: list[dict[str, Any]], query: Query) -> Selection[dict[str, Any]]:
    """Merge the parts of a page, as :meth:`Connections.page` returns them."""
    selections = [
        Selection([((value, tie), row) for value, tie, row in part["rows"]], part["total"], part["ahead"])
        for part in parts
    ]
    return merge(selections, query)
