"""Groups: named sets of a router's connections, in this process and, over the bus, in the others."""

import weakref
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from tornadio import proto
from tornadio.cluster.bus import check_group_name
from tornadio.errors import CallerError
from tornadio.sessions.outbox import Payload
from tornadio.sessions.registry import SessionRegistry

if TYPE_CHECKING:
    from tornadio.cluster.relay import Relay
    from tornadio.conn import SocketConnection
    from tornadio.sessions.base import Session


class Group:
    """A named set of a router's connections. Given by :meth:`tornadio.Router.group`.

    Of the set this process knows its own part: iteration, ``len`` and ``in`` are about the members here, oldest first;
    :meth:`send` reaches those in other processes, too, when the router has a ``bus``. A connection leaves its groups by
    itself when it ends, before its ``on_close``: what that sends to the group reaches the others.

    :ivar name: the group's name.
    """

    def __init__(self, name: str, groups: "Groups") -> None:
        self.name = name
        self._groups = groups
        self._members: dict[Session, SocketConnection] = {}

    def __repr__(self) -> str:
        return f"<Group {self.name!r}, {len(self)} here>"

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> "Iterator[SocketConnection]":
        return iter(tuple(self._members.values()))

    def __contains__(self, connection: object) -> bool:
        return getattr(connection, "_tornadio_session", None) in self._members

    def add(self, connection: "SocketConnection") -> None:
        """Make a connection a member, from ``on_open`` on. One that is already, or has ended, changes nothing.

        :raises tornadio.errors.CallerError: it is not a connection of this router.
        """
        session = self._groups.session_of(connection)
        if not session.is_closed and session not in self._members:
            self._members[session] = connection
            self._groups.added(self, session)

    def discard(self, connection: "SocketConnection") -> None:
        """Make a connection a member no more. One that is none changes nothing."""
        session = getattr(connection, "_tornadio_session", None)
        if session in self._members:
            self.remove(session)
            self._groups.removed(self, session)

    def remove(self, session: "Session") -> None:
        """A member's session has ended, or been discarded."""
        del self._members[session]

    def send(self, message: Any, exclude: "Collection[SocketConnection]" = ()) -> None:
        """Send a message to every member but those in ``exclude``. It is encoded once.

        Members here get it at once, those in other processes over the bus: at most once, in the order in which this
        process sends.

        :raises tornadio.errors.EncodeError: the message can't be sent; then nobody gets it.
        """
        frames = proto.encode(message)
        if not frames:
            return
        self.deliver(frames, exclude)
        if self._groups.relay is not None:
            self._groups.relay.publish(frames, self.name)

    def deliver(self, frames: str, exclude: "Collection[SocketConnection]" = ()) -> None:
        """Send frames to the members here but those in ``exclude``."""
        payload = Payload(frames)
        excluded = {id(connection) for connection in exclude}
        for session, connection in tuple(self._members.items()):
            if id(connection) not in excluded:
                session.send(payload)


class Groups:
    """The groups of a router. One without members costs nothing: it is known as long as somebody has it.

    :param registry: the router's sessions.
    :param relay: to the bus, if there is one.
    """

    def __init__(self, registry: SessionRegistry, relay: "Relay | None") -> None:
        self.relay = relay
        self._registry = registry
        self._known: weakref.WeakValueDictionary[str, Group] = weakref.WeakValueDictionary()
        self._of: dict[Session, dict[Group, None]] = {}
        registry.on_closing.append(self._ended)

    def get(self, name: str) -> Group:
        """The group of that name, always the same one.

        :raises CallerError: that is no name.
        """
        group = self._known.get(check_group_name(name))
        if group is None:
            group = self._known[name] = Group(name, self)
        return group

    def session_of(self, connection: "SocketConnection") -> "Session":
        """:raises CallerError: not a connection of this router."""
        session: Session | None = getattr(connection, "_tornadio_session", None)
        if session is None:
            raise CallerError(f"a group's members are connections, each from its on_open on, not {connection!r}")
        if session.registry is not self._registry:
            raise CallerError("a connection can be added to the groups of its own router only")
        return session

    def added(self, group: Group, session: "Session") -> None:
        """A group has a new member. From its first one to its last one it is listened for."""
        self._of.setdefault(session, {})[group] = None
        if len(group) == 1 and self.relay is not None:
            self.relay.join(group.name, group.deliver)

    def removed(self, group: Group, session: "Session") -> None:
        """A group has lost a member."""
        groups = self._of[session]
        del groups[group]
        if not groups:
            del self._of[session]
        self._check_left(group)

    def _ended(self, session: "Session") -> None:
        for group in self._of.pop(session, ()):
            group.remove(session)
            self._check_left(group)

    def _check_left(self, group: Group) -> None:
        if not group and self.relay is not None:
            self.relay.leave(group.name)
