"""Messages between threads and a connection on the event loop: queues both ways."""

import asyncio
import collections
import contextlib
import queue
from types import TracebackType
from typing import Any, Final

from tornadio.client.connection import ClientConnection
from tornadio.errors import ConnectionClosed
from tornadio.sync.loopthread import LoopThread

# On the way to the loop: so many messages, and characters of a payload, from which on a thread that sends waits for it.
_MAX_OUTGOING: Final = 256
_LARGE: Final = 1 << 16
# Messages that wait for threads: with more than the first the loop brings no others, until they are as few as the
# second; if they are large, until there are none. Those that it does not bring count against the limits of the session.
_HIGH_WATER: Final = 64
_LOW_WATER: Final = 32

END: Final = object()  # stands behind the last message


class Bridge:
    """A connection on the event loop, and the queues between it and the threads. It doesn't refer to the threads'
    :class:`Connection`, so that one which nobody refers to can be closed.
    """

    def __init__(self, thread: LoopThread, client: ClientConnection) -> None:
        self.client = client
        self._session = client._session
        self._thread = thread
        self._incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room: asyncio.Event = asyncio.Event()
        self._is_full = False
        self._low_water = 0
        self._outgoing: collections.deque[tuple[Any, str]] = collections.deque()
        self._is_scheduled = False
        thread.clients.add(client)
        self._receiving = thread.create_task(self._receive())

    # -- On threads --

    def get(self, timeout: float | None) -> Any:
        """Return the next message.

        :returns: ``END`` behind the last one, each time.
        :raises queue.Empty: there was none for ``timeout`` seconds.
        """
        message = self._incoming.get(timeout=timeout)
        if message is END:
            self._incoming.put(END)  # for other threads
        elif self._is_full and self._incoming.qsize() <= self._low_water:
            try:
                self._is_full = False
                self._thread.loop.call_soon_threadsafe(self._room.set)
            except BaseException:  # Ctrl-C: the loop may not know yet, and nobody would tell it again
                self._thread.loop.call_soon_threadsafe(self._room.set)
                raise
        return message

    def put(self, message: Any, payload: str) -> bool:
        """Put a message on its way.

        :returns: whether there is room for more; else the thread has to call :meth:`wait_for_room` on the loop.
        """
        self._outgoing.append((message, payload))
        if not self._is_scheduled:
            try:
                self._is_scheduled = True
                self._thread.loop.call_soon_threadsafe(self._send)
            except BaseException:  # Ctrl-C, as above
                self._thread.loop.call_soon_threadsafe(self._send)
                raise
        return len(payload) < _LARGE and len(self._outgoing) < _MAX_OUTGOING and self._session.has_room

    @property
    def unsent(self) -> tuple[Any, ...]:
        """What the client has not sent, and what has not come to it."""
        return (*self.client.unsent, *(message for message, _ in self._outgoing.copy()))

    # -- On the event loop --

    async def _receive(self) -> None:
        session = self._session
        messages = session.messages
        try:
            while True:
                while messages:
                    self._incoming.put(messages.popleft())
                is_large = session.characters > _LARGE
                session.emptied()
                if is_large or self._incoming.qsize() > _HIGH_WATER:
                    await self._wait_for_threads(0 if is_large else _LOW_WATER)
                if not messages:  # some may have come while threads were waited for
                    await session.wait_for_message()
        except ConnectionClosed:
            pass
        finally:
            self._thread.clients.discard(self.client)
            if self._thread.is_usable:  # else the interpreter exits, and daemon threads may go on waiting
                self._incoming.put(END)

    async def _wait_for_threads(self, low_water: int) -> None:
        self._room.clear()
        self._low_water = low_water
        self._is_full = True
        if self._incoming.qsize() > low_water:  # still: before, threads did not know that they have to tell
            await self._room.wait()

    def _send(self) -> None:
        """Send what was put on its way. What comes too late for the connection stays there, as unsent."""
        self._is_scheduled = False  # first: what is put from now on may not be seen below
        with contextlib.suppress(ConnectionClosed):
            while self._outgoing:
                self._session.put(*self._outgoing[0])
                self._outgoing.popleft()

    async def wait_for_room(self) -> None:
        await self._session.wait_for_room()

    async def flush(self) -> None:
        self._send()  # another thread may have put something, and not have had the time to schedule this
        await self.client.flush()

    async def close(self, code: int, reason: str) -> None:
        self._send()
        await self.client.close(code, reason)

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._send()
        await self.client.__aexit__(kind, error, traceback)

    def forget(self) -> None:
        """Close the connection, which nobody can use any more."""
        self._receiving.cancel()
        self._thread.create_task(self.client.close())
