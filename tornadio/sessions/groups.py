"""Groups: named sets of a router's connections, in this process and, over the bus, in the others."""

import functools
import threading
import weakref
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from tornadio.cluster.bus import check_group_name
from tornadio.errors import CallerError
from tornadio.sessions.fanout import Receivers, encode, fan_out, payload_of, sessions_of
from tornadio.sessions.outbox import Payload

if TYPE_CHECKING:
    from tornadio.cluster.relay import Relay
    from tornadio.conn import SocketConnection
    from tornadio.sessions.base import BaseSession
    from tornadio.sessions.registry import SessionRegistry


class Group:
    """A named set of a router's connections. Made by :meth:`tornadio.Router.group`.

    :meth:`add`, :meth:`discard` and :meth:`send` may be called from any thread, as the methods of
    :class:`tornadio.SocketConnection`: on the event loop's thread they take effect at once, from others the event loop
    carries them out, in the order of each thread's calls.

    A process knows its own members alone: iteration, ``len`` and ``in`` are about these, oldest first. :meth:`send`
    reaches the members in other processes, too, when the router has a ``bus``. A connection that ends is discarded
    before its ``on_close`` runs, so what ``on_close`` sends to the group reaches the others.

    :ivar name: the group's name.
    """

    def __init__(self, name: str, groups: "Groups") -> None:
        self.name = name
        self._groups = groups
        self._members: dict[BaseSession, SocketConnection] = {}

    def __repr__(self) -> str:
        return f"<Group {self.name!r}, {len(self)} here>"

    def __len__(self) -> int:
        """The number of members in this process."""
        return len(self._members)

    def __iter__(self) -> "Iterator[SocketConnection]":
        """The members in this process, oldest first: a copy, so the group may change meanwhile."""
        # A list first: unlike a tuple, it is copied without a moment in which another thread could change the dict.
        return iter(list(self._members.values()))

    def __contains__(self, connection: object) -> bool:
        """Whether a connection is a member; any other object is none."""
        return getattr(connection, "_tornadio_session", None) in self._members

    def add(self, connection: "SocketConnection") -> None:
        """Make a connection a member, from its ``on_open`` on.

        A connection that is a member already, or that has ended, changes nothing.

        :raises tornadio.errors.CallerError: not a connection, not one of this router, or its ``on_open`` was not called
            yet.
        """
        session = self._groups.session_of(connection)
        handover = session.handover
        if handover.is_on_loop():
            self._add(session)
        elif handover.is_open(session):
            handover.call(session, functools.partial(self._add, session))

    def _add(self, session: "BaseSession") -> None:
        if not session.is_closed and session not in self._members:
            self._members[session] = session.connection
            self._groups.member_added(self, session)

    def discard(self, connection: "SocketConnection") -> None:
        """End a connection's membership. A connection that is no member changes nothing."""
        session: BaseSession | None = getattr(connection, "_tornadio_session", None)
        if session is None:
            return
        handover = session.handover
        if handover.is_on_loop():
            self._discard(session)
        elif handover.is_open(session):
            handover.call(session, functools.partial(self._discard, session))

    def _discard(self, session: "BaseSession") -> None:
        if session in self._members:
            del self._members[session]
            self._groups.member_removed(self, session)

    def send(self, message: Any, exclude: "Collection[SocketConnection]" = ()) -> None:
        """Send a message to every member but the connections in ``exclude``. The message is encoded once.

        The message is queued at once for members in this process, and published on the bus for those in other
        processes: at most once, in the order in which this process sends.

        :param message: as for :meth:`tornadio.SocketConnection.send`.
        :raises tornadio.errors.EncodeError: the message can't be sent; then no member gets it.
        """
        receivers = Receivers(self._sessions, self._groups.relay, self.name)
        self._groups.handover.publish(receivers, self._groups.encode(message), sessions_of(exclude))

    def _sessions(self) -> "tuple[BaseSession, ...]":
        return tuple(self._members)

    def _deliver(self, frames: str) -> None:
        """Send frames that came over the bus to the members in this process."""
        fan_out(payload_of(frames), tuple(self._members))

    def _session_closing(self, session: "BaseSession") -> None:
        """Remove a member whose session ends."""
        del self._members[session]


class Groups:
    """The groups of a router, by name. A group without members is kept only as long as the application refers to it.

    :param registry: the router's sessions.
    :param relay: to the other processes; ``None`` without a bus.
    """

    def __init__(self, registry: "SessionRegistry", relay: "Relay | None") -> None:
        self.relay = relay
        self.handover = registry.handover
        self._registry = registry
        self._lock = threading.RLock()  # held to make a group: two threads must not make two of one name
        self._by_name: weakref.WeakValueDictionary[str, Group] = weakref.WeakValueDictionary()
        self._by_session: dict[BaseSession, dict[Group, None]] = {}  # keeps the groups that have members
        # on_closing, not on_close: what on_close sends to a group must not reach the connection that has ended.
        registry.on_closing.append(self._session_closing)

    def get(self, name: str) -> Group:
        """Return the group of that name: the same object as long as the application refers to it or it has members.

        :raises CallerError: not a valid name.
        """
        group = self._by_name.get(check_group_name(name))
        if group is None:
            with self._lock:
                group = self._by_name.get(name)
                if group is None:
                    group = self._by_name[name] = Group(name, self)
        return group

    def sizes(self) -> dict[str, int]:
        """Return how many members each group has in this process, by its name, where it has any."""
        return {name: len(group) for name, group in list(self._by_name.items()) if len(group)}

    def of(self, session: "BaseSession") -> Collection[Group]:
        """The groups whose member a session is; only to be read."""
        return self._by_session.get(session, ())

    def encode(self, message: Any) -> Payload:
        """Encode a message as the router's setting ``json`` says.

        :raises EncodeError: the message can't be sent.
        """
        return encode(message, self._registry.settings.json)

    def session_of(self, connection: "SocketConnection") -> "BaseSession":
        """Return the session of a connection that may become a member.

        :raises CallerError: not a connection of this router.
        """
        session: BaseSession | None = getattr(connection, "_tornadio_session", None)
        if session is None:
            raise CallerError(f"a group's members are connections, each from its on_open on, not {connection!r}")
        if session.registry is not self._registry:
            raise CallerError("a connection can be added to the groups of its own router only")
        return session

    def member_added(self, group: Group, session: "BaseSession") -> None:
        """Note a new member. The first one of a group subscribes the group to the bus."""
        self._by_session.setdefault(session, {})[group] = None
        if len(group) == 1 and self.relay is not None:
            self.relay.join(group.name, group._deliver)

    def member_removed(self, group: Group, session: "BaseSession") -> None:
        """Note that a member was discarded."""
        groups = self._by_session[session]
        del groups[group]
        if not groups:
            del self._by_session[session]
        self._unsubscribe_if_empty(group)

    def _session_closing(self, session: "BaseSession") -> None:
        for group in self._by_session.pop(session, ()):
            group._session_closing(session)
            self._unsubscribe_if_empty(group)

    def _unsubscribe_if_empty(self, group: Group) -> None:
        if not group and self.relay is not None:
            self.relay.leave(group.name)
