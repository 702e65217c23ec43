"""Last words: how a connection is closed so that they arrive, and who waits for that.

A socket that is closed with unread data is reset, and the reset may overtake what was written last. So what a peer
still sends is read and thrown away, for a while.
"""

import asyncio
import contextlib
from typing import Final, Protocol

from tornadio.net.wire import Wire

_BYTES: Final = 16 << 20
_SECONDS: Final = 5.0


class LingeringCloses:
    """Connections that have said their last words, while their peers have a moment to read them."""

    def __init__(self) -> None:
        self._leaving: set[Abortable] = set()
        self._all_left: asyncio.Event | None = None
        self._is_over = False

    def __len__(self) -> int:
        return len(self._leaving)

    def add(self, leaving: "Abortable") -> None:
        """It leaves: soon, by itself. When the server has stopped it leaves at once."""
        if self._is_over:
            leaving.abort()
        else:
            self._leaving.add(leaving)

    def discard(self, leaving: "Abortable") -> None:
        """It has left, if it was about to."""
        self._leaving.discard(leaving)
        if self._all_left is not None and not self._leaving:
            self._all_left.set()

    async def wait(self, seconds: float) -> None:
        """Wait until all have left; after so many seconds they are put out."""
        self._all_left = asyncio.Event()
        if self._leaving:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_left.wait(), seconds)
        self._is_over = True
        for leaving in tuple(self._leaving):
            leaving.abort()


class Abortable(Protocol):
    """Who is among the :class:`LingeringCloses`."""

    def abort(self) -> None:
        """Close the TCP connection at once."""


def close_after(wire: Wire, last: bytes, lingering: LingeringCloses) -> None:
    """Send last words, and close when the peer has, or after some seconds."""
    farewell = _LingeringClose(wire, lingering)
    wire.start(farewell)
    wire.resume_reading()
    taken = wire.write(last)
    if taken is None:
        wire.write_eof()
    else:
        taken.add_done_callback(farewell.write_eof)
    lingering.add(farewell)


class _LingeringClose:
    """Reads and throws away what comes, until the peer closes, or is given up."""

    __slots__ = ("_is_lost", "_left", "_lingering", "_timer", "_wire")

    def __init__(self, wire: Wire, lingering: LingeringCloses) -> None:
        self._wire = wire
        self._lingering = lingering
        self._left = _BYTES
        self._is_lost = False
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, self.abort)

    def write_eof(self, taken: "asyncio.Future[None]") -> None:
        self._wire.write_eof()
        if self._is_lost:
            self.abort()

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.abort()

    def connection_lost(self) -> None:
        self._is_lost = True
        if not self._wire.is_writing:  # else the peer still listens
            self.abort()

    def abort(self) -> None:
        self._wire.close()
        self._timer.cancel()
        self._lingering.discard(self)
