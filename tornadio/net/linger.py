"""Lingering close: send the final bytes, half-close, then read and discard what comes until the peer closes.

A TCP connection that is closed with unread data is reset, and the reset may overtake what was written last (RFC 9112,
section 9.6; ``lingering_close`` of nginx). A peer that does not close is cut off after 5 s or 16 MiB.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from tornadio.net.wire import Wire

# nginx's default of lingering_timeout: a peer that closes at all does so within a few round trips.
_SECONDS: Final = 5.0
# What a peer may have under way when the final bytes reach it: as much as the largest socket buffers of Linux hold
# (tcp_rmem, tcp_wmem: 4 to 6 MiB each), and some more.
_MAX_BYTES: Final = 16 << 20


class LingeringCloses:
    """The lingering connections of a server, whose shutdown waits for them."""

    def __init__(self) -> None:
        self._lingering: set[Abortable] = set()
        self._shutdowns: set[asyncio.Event] = set()  # which wait until every connection is closed
        self._is_shut_down = False

    def __len__(self) -> int:
        return len(self._lingering)

    def add(self, lingering: "Abortable") -> None:
        """Register a lingering connection; after the shutdown it is aborted at once."""
        if self._is_shut_down:
            lingering.abort()
        else:
            self._lingering.add(lingering)

    def discard(self, lingering: "Abortable") -> None:
        """Unregister a connection that is closed; no error if it is not registered."""
        self._lingering.discard(lingering)
        if not self._lingering:
            for all_closed in self._shutdowns:
                all_closed.set()

    async def wait_closed(self, seconds: float) -> None:
        """Shut down: wait until every lingering connection is closed, and abort those that are not in time."""
        if self._lingering:
            all_closed = asyncio.Event()
            self._shutdowns.add(all_closed)
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(all_closed.wait(), seconds)
            finally:
                self._shutdowns.discard(all_closed)
        self._is_shut_down = True
        for lingering in tuple(self._lingering):  # a copy: abort() unregisters
            lingering.abort()


class Abortable(Protocol):
    """A lingering connection."""

    def abort(self) -> None:
        """Close the TCP connection at once."""


class LingeringClose:
    """The lingering close of one connection: registration, timeout and limit of bytes.

    :param close: closes the TCP connection at once; may be called again.
    """

    __slots__ = ("_bytes_remaining", "_close", "_registry", "_timer")

    def __init__(self, registry: LingeringCloses, close: Callable[[], None]) -> None:
        self._registry = registry
        self._close = close
        self._bytes_remaining = _MAX_BYTES
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the timeout, and register the connection: the final bytes were written to the socket or its buffer."""
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, self.abort)
        self._registry.add(self)

    def discarded(self, size: int) -> None:
        """Note that so many bytes of the peer were read and discarded."""
        self._bytes_remaining -= size
        if self._bytes_remaining < 0:
            self.abort()

    def abort(self) -> None:
        """Close the TCP connection at once."""
        self._close()
        self.finish()

    def finish(self) -> None:
        """Note that the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
        self._registry.discard(self)


def close_after(wire: Wire, final_bytes: bytes, lingering: LingeringCloses) -> None:
    """Send final bytes on a wire, and close it lingering."""
    receiver = _DiscardingReceiver(wire, lingering)
    wire.start(receiver)
    wire.resume_reading()
    flushing = wire.write(final_bytes)
    if flushing is None:
        wire.write_eof()
    else:
        flushing.add_done_callback(receiver.on_flushed)
    # Last: after a shutdown this aborts the connection at once, and so must find its final bytes sent.
    receiver.lingering.start()


class _DiscardingReceiver:
    """The receiver of a wire that lingers: discards what the peer sends, up to the limit, until the peer closes."""

    __slots__ = ("_is_connection_lost", "_wire", "lingering")

    def __init__(self, wire: Wire, lingering: LingeringCloses) -> None:
        self._wire = wire
        self._is_connection_lost = False
        self.lingering = LingeringClose(lingering, wire.close)

    def on_flushed(self, flushing: "asyncio.Future[None]") -> None:
        self._wire.write_eof()
        if self._is_connection_lost:
            self.lingering.abort()

    def data_received(self, data: bytes) -> None:
        self.lingering.discarded(len(data))

    def connection_lost(self, error: BaseException | None) -> None:
        self._is_connection_lost = True
        if not self._wire.is_writing:  # else the peer may still read
            self.lingering.abort()
