"""The samples of the last ten minutes."""

from __future__ import annotations

from typing import Any

from tornadio.monitor.history import SECONDS, History


def sample(at: float, process: str = "p", router: str = "r") -> dict[str, Any]:
    return {"at": at, "process": process, "router": router}


def test_samples_are_kept_for_ten_minutes() -> None:
    history = History()
    for at in range(0, 1200, 2):
        history.add(sample(float(at)))
    assert [each["at"] for each in history.since(1198)] == list(range(598, 1200, 2))
    assert history.since(1198 + SECONDS) == [sample(1198.0)]
    assert history.since(1199 + SECONDS) == []


def test_samples_of_one_router_alone() -> None:
    history = History()
    history.add(sample(1, router="a"))
    history.add(sample(1, router="b"))
    assert history.since(1, "b") == [sample(1, router="b")]


def test_what_others_have_collected_comes_in_its_order_where_there_is_nothing_yet() -> None:
    history = History()
    history.add(sample(3))
    history.add(sample(9))
    history.merge([sample(1), sample(2.5), sample(5), sample(8.9)], 9)
    assert [each["at"] for each in history.since(9)] == [1, 3, 5, 8.9, 9]
    history.merge([sample(1.5), sample(5), sample(7)], 9)
    assert [each["at"] for each in history.since(9)] == [1, 3, 5, 7, 8.9, 9]


def test_what_others_have_collected_at_other_times_is_left_out() -> None:
    history = History()
    history.add(sample(1000))
    history.merge([sample(399), sample(401), sample(1e9), sample(float("nan"))], 1000)
    assert [each["at"] for each in history.since(1000)] == [401, 1000]
