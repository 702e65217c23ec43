"""The sending side of a session: its send queue, its channel, and who waits until the client has taken what was sent.

This is what a delivery reads and writes of a session, so it comes first in the line of a session's classes: an object
begins with the slots of its first class, and these lie together. A fan-out to a thousand sessions waits for memory
longer than it computes, once for each piece of 64 bytes that it touches.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from tornadio.net.tasks import has_succeeded
from tornadio.sessions.outbox import Outbox

if TYPE_CHECKING:
    from tornadio.sessions.channel import Channel
    from tornadio.sessions.registry import SessionRegistry

# Bytes queued down to which drain() waits: those of asyncio's StreamWriter.drain().
_LOW_WATER: Final = 1 << 14


class Writer(Protocol):
    """Writes bytes to a connection, such as a :class:`tornadio.net.wire.Wire`."""

    def write(self, data: bytes) -> "asyncio.Future[None] | None":
        """Send bytes; returns as :meth:`tornadio.sessions.channel.Channel.write` does."""


class Sender(Outbox):
    """The send queue of a session, the channel that is attached, and the one that writes the batch in flight.

    :ivar is_closed: whether the session is closing or closed: then nothing is queued any more.
    :ivar last_flush: when a batch was last written, in the event loop's time; persistent sessions keep it.
    :ivar registry: which holds the session.
    """

    __slots__ = (
        "_channel",
        "_drain_waiters",
        "_encode",
        "_wire",
        "_write_deadline",
        "_write_future",
        "_writing_channel",
        "is_closed",
        "last_flush",
        "registry",
    )

    registry: "SessionRegistry"
    _encode: Callable[[bytes], bytes]  # set with _wire

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False
        self.last_flush = 0.0
        self._channel: Channel | None = None
        self._wire: Writer | None = None  # of the channel, where the bytes of a payload are all that it writes
        # The batch in flight: the channel that writes it, a future of the write, and its deadline in the loop's time.
        self._writing_channel: Channel | None = None
        self._write_future: asyncio.Future[None] | None = None
        self._write_deadline = 0.0
        self._drain_waiters: set[asyncio.Future[None]] | None = None

    def write_directly(self, wire: Writer, encode: Callable[[bytes], bytes]) -> None:
        """Write payloads to the wire of the channel that is attached, as long as it is: what it writes of a payload is
        what ``encode`` returns.

        :param encode: a pure function, the same object for all channels that are sent the same bytes.
        """
        if self._channel is not None:
            self._wire, self._encode = wire, encode

    def _channels(self) -> "tuple[Channel | None, Channel | None]":
        """Return the channel that waits for a payload, and the one that writes a payload."""
        return (self._channel if self._channel is not self._writing_channel else None), self._writing_channel

    def _batch_written(self) -> None:
        """Remove the batch in flight from the queue: the kernel has accepted it."""
        self.ack()
        self._writing_channel = self._write_future = None
        if self._drain_waiters is not None:
            self._wake_drain_waiters()

    def _requeue_in_flight(self) -> None:
        """Requeue the batch in flight, unless the kernel has accepted it and only the callback is outstanding."""
        if self._write_future is not None and has_succeeded(self._write_future):
            self.ack()
            self._wake_drain_waiters()
        else:
            self.requeue()
        self._writing_channel = self._write_future = None

    def _mark(self, size: int) -> int:
        """Return the mark of that size for ``drain``: less with a small ``max_send_buffer``."""
        return min(size, self.registry.unchecked_size)

    def _wake_drain_waiters(self) -> None:
        if self.is_closed or self.size <= self._mark(_LOW_WATER):
            self._release_drain_waiters()

    def _release_drain_waiters(self) -> None:
        waiters, self._drain_waiters = self._drain_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
