"""Histograms of seconds that are being counted; :class:`tornadio.stats.Histogram` is a copy of one. Knows no I/O."""

from bisect import bisect_left
from typing import Final

from tornadio.stats import Histogram

# Upper bounds in seconds, for all histograms: from what is not worth a look (a millisecond) to what heartbeat_timeout
# and session_expiry end. Few, since a scrape carries each of them.
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Recorder:
    """Counts seconds in buckets.

    :ivar counts: for each of :data:`BOUNDS`, and for all above.
    :ivar sum: seconds together.
    """

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one that took so long."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def copy(self, *others: "Recorder") -> Histogram:
        """Return a copy, with what others have counted."""
        counts = map(sum, zip(self.counts, *(other.counts for other in others), strict=True))
        return Histogram(BOUNDS, tuple(counts), self.sum + sum(other.sum for other in others))
