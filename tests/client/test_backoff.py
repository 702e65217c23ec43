"""The waits between attempts to connect."""

from __future__ import annotations

from tornadio.client.backoff import Backoff


def test_the_bound_doubles_up_to_its_maximum_and_the_wait_is_anything_below():
    asked = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high / 4

    backoff = Backoff(1.0, 10.0, uniform)
    assert [backoff.next() for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 2.5, 2.5]
    assert asked == [(0.0, bound) for bound in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0)]


def test_a_connection_that_stood_for_longer_than_the_bound_begins_anew():
    backoff = Backoff(1.0, 60.0, lambda low, high: high)
    assert [backoff.next() for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert backoff.next(lasted=15.0) == 16.0  # of 16 s: opened, and closed at once, as it were
    assert backoff.next(lasted=33.0) == 1.0
    assert backoff.next(lasted=0.1) == 2.0
