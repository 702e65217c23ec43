"""Writing payloads to a connection that was detached from HTTP: what WebSockets and streams have in common."""

import asyncio
from collections.abc import Callable

from tornadio.net.wire import Wire
from tornadio.sessions.outbox import Payload


class WireChannel:
    """A channel on a wire. The first base class of such channels, for the same reason as
    :class:`tornadio.sessions.sender.Sender` is one of sessions: what each delivery reads lies together.

    :param encode: returns the bytes of a payload, given as UTF-8, a pure function.
    :param head: of the HTTP response, which is written with the first payload, in one piece.
    """

    __slots__ = ("_encode", "_head", "_wire")

    def __init__(self, wire: Wire, encode: Callable[[bytes], bytes], head: bytes = b"") -> None:
        self._wire = wire
        self._encode = encode
        self._head = head

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        """Send a payload; see :meth:`tornadio.sessions.channel.Channel.write`."""
        data = payload.encoded(self._encode)
        if self._head:
            data, self._head = self._head + data, b""
        return self._wire.write(data)

    def write_head(self) -> None:
        """Write the response's head by itself, if it was not written yet."""
        if self._head:
            self._wire.write(self._head)
            self._head = b""
