"""The bus that connects the processes of one application: its interface, the names of its channels, its messages.

No Redis and no I/O. A message on the bus is JSON in UTF-8, ``{"v": 1, "from": PUBLISHER, "frames": FRAMES}``: the
version of this format, an id of the process that sent it, and the frames as clients get them, encoded once, by the
publisher. docs/recipes.rst documents it for programs in other languages.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol
from urllib.parse import quote

from tornadio import proto
from tornadio.errors import CallerError, ProtocolError, SettingsError

_VERSION: Final = 1
_MEMBERS: Final = {"v", "from", "frames"}
# Characters of a publisher's id. Ours have 16; programs in other languages choose their own.
_MAX_PUBLISHER: Final = 64
_MAX_NAME: Final = 200  # characters of a group's name, which is part of a channel's

# Characters that a path can't have unencoded: spaces, control characters, what is not ASCII, and what ends a path
# (RFC 3986, sections 2 and 3.3).
_NOT_IN_PATHS: Final = re.compile(r"[^!-~]|[?#]")

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Bus(Protocol):
    """The interface of a publish/subscribe broker's client, for the setting ``bus``.

    :class:`tornadio.RedisBus` implements it over Redis; an application may over NATS, AMQP or others. Delivery is at
    most once: what a bus could not publish, or lost on the way, is gone. A bus that loses its broker reconnects by
    itself, and renews its subscriptions. All methods are called on one event loop. A bus belongs to one router, which
    closes it.
    """

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish messages in their order.

        Calls are made one at a time, and the router's other messages wait for the end of this one: it needs a timeout
        of its own.

        :param messages: pairs of a channel and its data, 256 KiB together, or one that is larger.
        :raises Exception: publishing failed. All of the messages count as lost, and are not published again.
        """

    async def subscribe(self, channel: str, receive: Callable[[bytes], None]) -> None:
        """Subscribe to a channel: from now on ``receive`` is called with the data of each message on it, in order.

        :param receive: called on the event loop; it never raises, nor blocks.
        :raises Exception: subscribing failed. The call is made again after 1 s.
        """

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe from a channel that :meth:`subscribe` has subscribed to.

        :raises Exception: unsubscribing failed. The call is made again after 1 s.
        """

    async def close(self) -> None:
        """Close the connection to the broker. Called once, when the router is closed; cancelled after 1 s.

        :raises Exception: logged.
        """


def channel_name(resource: str, group: str | None = None) -> str:
    """Return the name of the channel for all connections of a resource, or for those in one of its groups."""
    resource = resource.replace("%", "%25").replace(":", "%3A")  # so that no resource is another one's group
    return resource if group is None else f"{resource}:group:{group}"


def monitor_channel_name(resource: str, process: str | None = None) -> str:
    """Return the name of the channel on which the monitors of a resource's processes ask, or one of them is answered.

    No group has such a name.
    """
    return f"{channel_name(resource)}:monitor{'' if process is None else f':{process}'}"


def check_resource(resource: object) -> str:
    """Return the name of a resource as it stands in paths: without slashes around it, and without the ``/*`` that
    TornadIO 0.0.5 wrote behind it (``socket.io/*``).

    :raises SettingsError: no path begins with it.
    """
    name = resource.strip("/").removesuffix("/*").rstrip("/") if isinstance(resource, str) else ""
    if name in ("", "*") or _NOT_IN_PATHS.search(name):
        right = "resource must be the first part of a URL's path, such as 'socket.io'"
        raise SettingsError(f"{right}, not {resource!r}{_encoded_hint(name)}")
    return name


def _encoded_hint(name: str) -> str:
    """Return a hint with the percent-encoded form of a name, empty if that is the name itself or there is none."""
    try:
        encoded = _NOT_IN_PATHS.sub(lambda match: quote(match[0], safe=""), name)
    except UnicodeEncodeError:  # half of a surrogate pair
        return ""
    return f": write {encoded!r}" if encoded != name else ""


def check_group_name(name: object) -> str:
    """Return ``name``, checked.

    :raises CallerError: it is not a group's name: text of 1 to 200 characters that UTF-8 can hold.
    """
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
    """Encode a message for the bus.

    :param publisher: an id of the sending process.
    :param frames: as :func:`tornadio.proto.encode` gives them.
    """
    # Member by member: texts alone are encoded in C, and four times as fast as the dict.
    return f'{{"v":{_VERSION},"from":{_dumps(publisher)},"frames":{_dumps(frames)}}}'.encode()


def unpack(data: bytes) -> str:
    """Decode a message from the bus, and return its frames, each of which was decoded, and so checked, as a client's.

    One malformed JSON frame would disconnect every client of every process: browsers close the connection on it.

    :raises ProtocolError: the data is not such a message; says why.
    """
    try:
        message = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ProtocolError("JSON is nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"no JSON: {error}") from None
    # No other keys either: what a message may hold later has another version.
    if type(message) is not dict or message.keys() != _MEMBERS:
        raise ProtocolError(f"no object with v, from and frames alone: {str(message)[:80]}")
    version, publisher, frames = message["v"], message["from"], message["frames"]
    if type(version) is not int or version != _VERSION:  # the type first: True == 1
        raise ProtocolError(f"v is {str(version)[:80]}, this is version {_VERSION}")
    if type(publisher) is not str or not 0 < len(publisher) <= _MAX_PUBLISHER:
        raise ProtocolError(f"from is no text of up to {_MAX_PUBLISHER} characters: {str(publisher)[:80]}")
    if type(frames) is not str:
        raise ProtocolError(f"frames is no text: {str(frames)[:80]}")
    _check_frames(frames)
    return frames


def _check_frames(frames: str) -> None:
    """Check that clients can decode frames.

    :raises ProtocolError: they can't; says why.
    """
    try:
        frames.encode("utf-8")
    except UnicodeEncodeError:
        raise ProtocolError("frames hold half of a surrogate pair") from None
    if not frames:
        raise ProtocolError("there are no frames")
    for kind, _ in proto.iter_decode(frames):
        if kind == proto.HEARTBEAT:
            # Heartbeats are numbered for each connection, by the process that serves it.
            raise ProtocolError("a heartbeat among the frames")
