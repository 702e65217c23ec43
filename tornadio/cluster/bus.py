"""What connects the processes of one application: the interface of a bus, the names of its channels, its messages.

Knows no Redis and no I/O. A message on the bus is JSON, ``{"v": 1, "from": PUBLISHER, "frames": FRAMES}``: the frames
as clients get them, encoded once, by the publisher.
"""

import json
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from tornadio import proto
from tornadio.errors import CallerError, ProtocolError

_VERSION: Final = 1
_MEMBERS: Final = {"v", "from", "frames"}
_MAX_PUBLISHER: Final = 64  # characters of a publisher's id
_MAX_NAME: Final = 200  # characters of a group's name

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Bus(Protocol):
    """What carries messages between processes: over Redis it is :class:`tornadio.RedisBus`, over NATS or AMQP yours.

    At most once: what a bus could not publish, or lost on the way, is gone. A bus that loses its server connects again
    by itself, and brings its subscriptions back. All of it happens on one event loop. A bus belongs to one router,
    which closes it.
    """

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish messages, each a channel and its data, in this order. Others wait meanwhile: give up some day.

        :raises Exception: they did not go out; any of them may be lost. They are not published again.
        """

    async def subscribe(self, channel: str, receive: Callable[[bytes], None]) -> None:
        """From now on call ``receive`` with the data of each message on a channel, in order. It never raises.

        :raises Exception: that can't be; it is asked for again.
        """

    async def unsubscribe(self, channel: str) -> None:
        """No more messages from a channel."""

    async def close(self) -> None:
        """The end: let go of everything."""


def channel_of(resource: str, group: str | None = None) -> str:
    """The channel that reaches a resource's connections, or those in one of its groups."""
    resource = resource.replace("%", "%25").replace(":", "%3A")  # so that no resource is another one's group
    return resource if group is None else f"{resource}:group:{group}"


def check_group_name(name: object) -> str:
    """:raises CallerError: no name for a group."""
    if not isinstance(name, str) or not name:
        raise CallerError(f"a group's name is a text that is not empty, not {name!r}")
    if len(name) > _MAX_NAME:
        raise CallerError(f"a group's name has at most {_MAX_NAME} characters, this one has {len(name):,}")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise CallerError(f"a group's name can't hold half of a surrogate pair: {name!r}") from None
    return name


def pack(publisher: str, frames: str) -> bytes:
    """A message for the bus."""
    return _dumps({"v": _VERSION, "from": publisher, "frames": frames}).encode("utf-8")


def unpack(data: bytes) -> str:
    """The frames of a message from the bus, each as well made as a client's has to be.

    Every browser would hang up on JSON that is none, in every process: one look at it here is cheaper.

    :raises ProtocolError: it is none; says why.
    """
    try:
        message = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ProtocolError("JSON is nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"no JSON: {error}") from None
    if type(message) is not dict or message.keys() != _MEMBERS:
        raise ProtocolError(f"no object with v, from and frames alone: {str(message)[:80]}")
    version, publisher, frames = message["v"], message["from"], message["frames"]
    if type(version) is not int or version != _VERSION:
        raise ProtocolError(f"v is {str(version)[:80]}, this is version {_VERSION}")
    if type(publisher) is not str or not 0 < len(publisher) <= _MAX_PUBLISHER:
        raise ProtocolError(f"from is no text of up to {_MAX_PUBLISHER} characters: {str(publisher)[:80]}")
    if type(frames) is not str:
        raise ProtocolError(f"frames is no text: {str(frames)[:80]}")
    _check_frames(frames)
    return frames


def _check_frames(frames: str) -> None:
    try:
        frames.encode("utf-8")
    except UnicodeEncodeError:
        raise ProtocolError("frames hold half of a surrogate pair") from None
    if not frames:
        raise ProtocolError("there are no frames")
    for kind, _ in proto.frames(frames):
        if kind == proto.HEARTBEAT:
            raise ProtocolError("a heartbeat among the frames")
