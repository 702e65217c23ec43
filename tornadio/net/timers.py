"""Deadlines of many items with one timer of the event loop.

Ten thousand connections with a heartbeat each must not mean ten thousand timers, nor a timer for every message.
:class:`Deadlines` is a heap with one entry for each item, whose deadline is computed anew when the entry is due: a
deadline that has moved on in the meantime, the usual case, costs nothing until then. :class:`Periodic` and
:class:`DeadlineTimer` run it.
"""

import heapq
import itertools
import logging
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Items in one iteration of the event loop: so many sessions that end take some 30 ms (measured).
_MAX_ITEMS_PER_RUN: Final = 200


class Handle(Protocol):
    """What :meth:`Clock.call_at` returns, as ``asyncio.TimerHandle``."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an ``asyncio.AbstractEventLoop`` that timers need; tests have one whose time they move."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Handle: ...


class _Entry(Generic[T]):
    """An entry of the heap; ``item`` is ``None`` once it was discarded."""

    __slots__ = ("item", "number", "when")

    def __init__(self, when: float, number: int, item: T) -> None:
        self.when = when
        self.number = number
        self.item: T | None = item

    def __lt__(self, other: "_Entry[T]") -> bool:
        return (self.when, self.number) < (other.when, other.number)  # equal deadlines in the order of add()


class Deadlines(Generic[T]):
    """A heap of items by their deadlines, in the clock's time.

    :param due: called with an item and the time when its deadline has passed. It returns the item's next deadline, or
        ``None`` to remove it. If it raises, that is logged and the item removed; the others are not affected.
    """

    def __init__(self, due: Callable[[T, float], float | None]) -> None:
        self._due = due
        self._heap: list[_Entry[T]] = []
        self._entries: dict[int, _Entry[T]] = {}  # by the item's id(): items need not be hashable
        self._numbers = itertools.count()

    def add(self, item: T, when: float) -> bool:
        """Call ``due`` for ``item`` at ``when``, or at its present deadline if that is earlier.

        :returns: whether it has none that is earlier: else nothing has changed.
        """
        planned = self._entries.get(id(item))
        if planned is not None and when >= planned.when:
            return False
        self.discard(item)
        entry = self._entries[id(item)] = _Entry(when, next(self._numbers), item)
        heapq.heappush(self._heap, entry)
        return True

    def discard(self, item: T) -> None:
        """Remove ``item``. Its entry stays in the heap, empty, until it is due or more than half of them are empty."""
        entry = self._entries.pop(id(item), None)
        if entry is not None:
            entry.item = None
            if len(self._heap) > 2 * len(self._entries):
                # At least half of the entries that are visited now were discarded since the last time: amortized, a
                # discard costs two visits.
                self._heap = [entry for entry in self._heap if entry.item is not None]
                heapq.heapify(self._heap)

    def next(self) -> float | None:
        """The time of the earliest deadline, ``None`` where there is none."""
        while self._heap and self._heap[0].item is None:
            heapq.heappop(self._heap)
        return self._heap[0].when if self._heap else None

    def run(self, now: float) -> bool:
        """Call ``due`` for items whose deadlines are not after ``now``, once each: for some hundreds of them.

        :returns: whether there are more.
        """
        ready: list[_Entry[T]] = []
        while len(ready) < _MAX_ITEMS_PER_RUN and (when := self.next()) is not None and when <= now:
            ready.append(heapq.heappop(self._heap))
        for entry in ready:
            item = entry.item
            if item is None:
                continue  # discarded by the due() of one before it
            del self._entries[id(item)]
            try:
                again = self._due(item, now)
            except Exception:
                logger.exception("timer of %s failed", item)
                continue
            if again is not None:
                self.add(item, again)
        when = self.next()
        return when is not None and when <= now


class DeadlineTimer:
    """Runs :class:`Deadlines` when the earliest is due, by one timer of the clock.

    :param slack: seconds that each deadline may be missed by: so those close to each other are run together.
    """

    def __init__(self, clock: Clock, deadlines: Deadlines[Any], slack: float = 0.0) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._slack = slack
        self._handle: Handle | None = None
        self._when = 0.0

    def reset(self) -> None:
        """Set the timer to the earliest deadline, if that is earlier than the timer's; call this after an ``add`` that
        has changed something."""
        when = self._deadlines.next()
        if when is None or (self._handle is not None and self._when <= when + self._slack):
            return
        self.stop()
        self._when = when + self._slack
        self._handle = self._clock.call_at(self._when, self._fire)

    def _fire(self) -> None:
        fired = self._handle
        # A loop calls back up to its clock's resolution early: by its time alone nothing would be due yet.
        self._deadlines.run(max(self._clock.time(), self._when))
        if self._handle is fired:  # else due() has stopped the timer, or set it again
            self._handle = None
            self.reset()

    def stop(self) -> None:
        """Cancel the timer, until the next :meth:`reset`."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Periodic:
    """Calls ``callback`` every ``interval`` seconds, from :meth:`start` to :meth:`stop`."""

    def __init__(self, clock: Clock, callback: Callable[[], None], interval: float) -> None:
        self._clock = clock
        self._callback = callback
        self._interval = interval
        self._handle: Handle | None = None

    def start(self) -> None:
        """Start calling; nothing changes if it is started already."""
        if self._handle is None:
            self._handle = self._clock.call_at(self._clock.time() + self._interval, self._tick)

    def stop(self) -> None:
        """Stop calling."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = None
        self.start()  # before the callback, which may stop this, or raise
        self._callback()
