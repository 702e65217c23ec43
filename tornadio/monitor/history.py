"""The samples of the last ten minutes, for onlookers who come later. Knows no I/O."""

import bisect
import collections
from collections.abc import Iterable
from typing import Any, Final

SECONDS: Final = 600.0
_NEAR: Final = 1.0  # seconds, below the interval of samples

Sample = dict[str, Any]


class History:
    """Samples in the order in which they came, each with ``at``, seconds since 1970. Older ones are forgotten.

    With nobody looking nothing is added, and what is there stays: a page that is loaded anew begins with it.
    """

    def __init__(self) -> None:
        self._samples: collections.deque[Sample] = collections.deque()

    def add(self, sample: Sample) -> None:
        """Add a sample, and forget those that are too old by then."""
        self._samples.append(sample)
        self._forget(sample["at"])

    def _forget(self, now: float) -> None:
        while self._samples and self._samples[0]["at"] < now - SECONDS:
            self._samples.popleft()

    def since(self, now: float, resource: str | None = None) -> list[Sample]:
        """Return the samples of the last ten minutes, of one router or of all."""
        self._forget(now)
        return [sample for sample in self._samples if resource in (None, sample["router"])]

    def merge(self, others: Iterable[Sample], began: float) -> None:
        """Add the samples that another process has collected, from times of which this one has none.

        Those that are not of the ten minutes before are left out, by a clock that is fast, say: they would stay.

        :param began: when this process has begun to take samples, for the onlooker who is to see these.
        """
        own = sorted({float(sample["at"]) for sample in self._samples if sample["at"] < began})
        fresh = [
            sample
            for sample in others
            if began - SECONDS <= sample["at"] < began and not _is_near(float(sample["at"]), own)
        ]
        self._samples = collections.deque(sorted([*self._samples, *fresh], key=lambda sample: float(sample["at"])))
        self._forget(began)


def _is_near(at: float, times: list[float]) -> bool:
    """Whether a time is near one of these, which are sorted."""
    place = bisect.bisect(times, at)
    return any(abs(at - each) < _NEAR for each in times[max(place - 1, 0) : place + 1])
