"""Fan-out: one message to many sessions, encoded once.

Three steps lie between a message and the bytes on a socket, and each is done once for all receivers. A loop of
``connection.send(text)`` in an application is a fan-out, too, so the results are cached where all callers pass:

* message to frames: :func:`encode` for broadcasts and groups; :mod:`tornadio.conn` keeps the last text that was sent.
* the frames of several messages to one batch: :mod:`tornadio.sessions.outbox` keeps the last batch that was joined.
* frames to the bytes of a transport: each :class:`~tornadio.sessions.outbox.Payload` keeps its encodings.
"""

from collections.abc import Callable, Collection, Iterable, Set
from typing import TYPE_CHECKING, Any

from tornadio import proto
from tornadio.framing import split_frames
from tornadio.sessions.outbox import Payload

if TYPE_CHECKING:
    from tornadio.cluster.relay import Relay
    from tornadio.conn import SocketConnection
    from tornadio.sessions.base import BaseSession

# Sessions that a message is not sent to. ``None`` in it excludes none: a connection that has no session yet.
Excluded = Set["BaseSession | None"]


def encode(message: Any, json: proto.JSONFormat) -> Payload:
    """Encode a message for any number of receivers.

    :param json: the router's setting.
    :raises EncodeError: the message can't be sent.
    """
    frames = proto.encode(message, json)
    return payload_of(frames) if isinstance(message, list) else Payload(frames)


def payload_of(frames: str) -> Payload:
    """Return the payload of frames, any number of which are messages."""
    return Payload(frames, sum(1 for _ in split_frames(frames)))


def sessions_of(connections: "Collection[SocketConnection]") -> Excluded:
    """Return the sessions of connections that are to be excluded."""
    return {getattr(connection, "_tornadio_session", None) for connection in connections}


def fan_out(payload: Payload, sessions: "Iterable[BaseSession]", excluded: Excluded = frozenset()) -> None:
    """Queue a payload for every session but the excluded ones.

    :param sessions: a copy: sending may end a session, and so remove it from the collection.
    """
    if excluded:
        sessions = [session for session in sessions if session not in excluded]
    for session in sessions:
        session.send(payload)


class Receivers:
    """Whom a broadcast is for: every open connection of a router, or the members of a group; in all processes.

    :param sessions: returns a copy of those in this process, at the moment of the call.
    :param relay: to the other processes; ``None`` without a bus.
    :param group: the group's name; ``None`` for every connection.
    """

    __slots__ = ("_sessions", "group", "relay")

    def __init__(
        self, sessions: "Callable[[], Iterable[BaseSession]]", relay: "Relay | None", group: str | None = None
    ) -> None:
        self._sessions = sessions
        self.relay = relay
        self.group = group

    def send(self, payload: Payload, excluded: Excluded) -> None:
        """Send a payload to the sessions of this process, then over the bus to those of the others."""
        fan_out(payload, self._sessions(), excluded)  # first: this process does not wait for the bus
        if self.relay is not None:
            self.relay.publish(payload.text, self.group)

    def abort(self, excluded: Excluded, dropped: int) -> None:
        """Abort the sessions of this process, as too slow, and have the relay count the messages that were dropped."""
        for session in self._sessions():
            if session not in excluded:
                session.abort_too_slow()
        if self.relay is not None and dropped:
            self.relay.drop(dropped, "too much waits for the event loop")
