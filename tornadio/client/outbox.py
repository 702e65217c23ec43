"""Messages on their way to the server: those that wait, and those that are being sent."""

import asyncio
import collections
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

_MAX_HEARTBEATS: Final = 64  # that wait to be echoed; each of them tells the server that its client is alive


class Outgoing(NamedTuple):
    """A message that was given to ``send``, and its payload."""

    message: Any
    payload: str


class Outbox:
    """The messages that were given to ``send`` and not handed over to the server yet, in order.

    Echoes of heartbeats overtake them: the server closes a client that does not answer in time.

    :param limit: characters of payloads from which on ``send`` has to wait.
    :ivar size: characters of the payloads that wait or are being sent.
    """

    __slots__ = (
        "_heartbeats",
        "_in_flight",
        "_is_ended",
        "_limit",
        "_put",
        "_queue",
        "_room_waiters",
        "_sent",
        "_sent_waiters",
        "size",
    )

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._queue: collections.deque[Outgoing] = collections.deque()
        self._in_flight: tuple[Outgoing, ...] = ()
        self._heartbeats: collections.deque[str] = collections.deque(maxlen=_MAX_HEARTBEATS)
        self._room_waiters: collections.deque[asyncio.Future[None]] = collections.deque()
        self._put = self._sent = 0  # messages, in all
        self._sent_waiters: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()
        self._is_ended = False

    def messages(self) -> Iterator[Any]:
        """Iterate over the messages that were not handed over."""
        return (outgoing.message for outgoing in (*self._in_flight, *self._queue))

    @property
    def is_empty(self) -> bool:
        """Whether no message waits or is being sent."""
        return not self._queue and not self._in_flight

    @property
    def has_room(self) -> bool:
        """Whether a message may be put now."""
        return self.size < self._limit and not self._room_waiters

    async def wait_for_room(self) -> None:
        """Wait until a message may be put, or the connection has ended. Who waits first may put first."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._room_waiters.append(waiter)
        try:
            await waiter
        finally:
            self._room_waiters.remove(waiter)
            loop.call_soon(self._wake_for_room)  # after this one has put its message, or has not

    async def wait_sent(self) -> bool:
        """Wait until all messages that were put so far were handed over, or the connection has ended.

        :returns: whether they were handed over.
        """
        number = self._put
        if self._sent < number and not self._is_ended:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sent_waiters.append((number, waiter))
            await waiter
        return self._sent >= number

    def put(self, message: Any, payload: str) -> None:
        """Add a message to the queue."""
        self._queue.append(Outgoing(message, payload))
        self._put += 1
        self.size += len(payload)

    def put_heartbeat(self, payload: str) -> None:
        """Add the echo of a heartbeat. Of too many the first is dropped."""
        self._heartbeats.append(payload)

    def pop_heartbeat(self) -> str:
        """Remove and return the echo of a heartbeat; empty if none waits."""
        return self._heartbeats.popleft() if self._heartbeats else ""

    def begin(self, message: Any, payload: str) -> None:
        """Note that a message is being sent that did not wait in the queue."""
        self._in_flight = (Outgoing(message, payload),)
        self._put += 1
        self.size += len(payload)

    def begin_next(self, size: int = 0) -> str:
        """Take messages from the queue, as being sent: the first, and those behind it up to ``size`` characters.

        :returns: their payloads, as one; empty if no message waits.
        """
        if not self._queue:
            return ""
        taken = [self._queue.popleft()]
        length = len(taken[0].payload)
        while self._queue and length + len(self._queue[0].payload) <= size:
            taken.append(self._queue.popleft())
            length += len(taken[-1].payload)
        self._in_flight = tuple(taken)
        return "".join([outgoing.payload for outgoing in taken])

    def sent(self) -> None:
        """Note that the messages that were being sent were handed over to the server."""
        self.size -= sum([len(outgoing.payload) for outgoing in self._in_flight])
        self._sent += len(self._in_flight)
        self._in_flight = ()
        self._wake_for_room()
        self._wake_sent()

    def end(self) -> None:
        """Note that the connection has ended: what was not handed over will not be."""
        self._is_ended = True
        self._heartbeats.clear()
        for waiter in self._room_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._wake_sent()

    def _wake_for_room(self) -> None:
        if self._room_waiters and self.size < self._limit and not self._room_waiters[0].done():
            self._room_waiters[0].set_result(None)

    def _wake_sent(self) -> None:
        waiters = self._sent_waiters
        while waiters and (waiters[0][0] <= self._sent or self._is_ended):
            _, waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
