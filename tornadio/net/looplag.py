"""The lag of an event loop: how late it runs what is due. Knows no I/O."""

from typing import Final

from tornadio.histograms import Recorder
from tornadio.net.timers import Clock, Handle

_INTERVAL: Final = 1.0  # seconds


class LoopLag:
    """Measures once a second how late a timer is, from :meth:`start` to :meth:`stop`.

    :ivar seconds: by which the timers were late.
    """

    def __init__(self) -> None:
        self.seconds = Recorder()
        self._handle: Handle | None = None
        self._is_stopped = False

    def start(self, clock: Clock) -> None:
        """Start measuring the lag of an event loop, which runs; nothing changes if that has begun, or was stopped."""
        if self._handle is None and not self._is_stopped:
            self._schedule(clock)

    def stop(self) -> None:
        """Stop measuring, for good."""
        self._is_stopped = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self, clock: Clock) -> None:
        due = clock.time() + _INTERVAL
        self._handle = clock.call_at(due, self._measure, clock, due)

    def _measure(self, clock: Clock, due: float) -> None:
        self.seconds.observe(max(clock.time() - due, 0.0))
        self._schedule(clock)
