"""Fan-out: one message to many sessions, encoded once.

Three steps lie between a message and the bytes on a socket, and each is done once for all receivers. A loop of
``connection.send(text)`` in an application is a fan-out, too, so the results are cached where all callers pass:

* message to frames: :func:`publish` for broadcasts and groups; :mod:`tornadio.conn` keeps the last text that was sent.
* the frames of several messages to one batch: :mod:`tornadio.sessions.outbox` keeps the last batch that was joined.
* frames to the bytes of a transport: each :class:`~tornadio.sessions.outbox.Payload` keeps its encodings.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from tornadio import proto
from tornadio.sessions.outbox import Payload

if TYPE_CHECKING:
    from tornadio.cluster.relay import Relay
    from tornadio.conn import SocketConnection
    from tornadio.sessions.base import BaseSession


def fan_out(frames: str, sessions: "Iterable[BaseSession]", exclude: "Collection[SocketConnection]" = ()) -> None:
    """Queue frames for every session but those of the connections in ``exclude``.

    :param sessions: a copy: sending may end a session, and so remove it from the collection.
    """
    payload = Payload(frames)
    # A connection that has no session yet is excluded from nothing: None is no session.
    excluded = {getattr(connection, "_tornadio_session", None) for connection in exclude}
    for session in sessions:
        if session not in excluded:
            session.send(payload)


def publish(
    message: Any,
    sessions: "Iterable[BaseSession]",
    exclude: "Collection[SocketConnection]",
    relay: "Relay | None",
    group: str | None = None,
) -> None:
    """Send a message to sessions of this process, then over the bus to those of the others.

    :param group: the group's name; ``None`` for every connection.
    :raises EncodeError: the message can't be sent; then no connection gets it.
    """
    frames = proto.encode(message)
    if not frames:
        return
    fan_out(frames, sessions, exclude)  # first: this process does not wait for the bus
    if relay is not None:
        relay.publish(frames, group)
