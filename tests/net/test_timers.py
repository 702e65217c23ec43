"""Timers, on a clock that the test moves."""

from __future__ import annotations

import dataclasses
import gc
import logging
import random
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornadio.net.timers import Deadlines, DeadlineTimer, Periodic


@dataclasses.dataclass(eq=False)
class Timer:
    when: float
    callback: Callable[..., Any]
    arguments: tuple[Any, ...]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """A loop's clock, as far as timers need one."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer:
        timer = Timer(when, callback, args)
        self.timers.append(timer)
        return timer

    @property
    def pending(self) -> list[float]:
        """When the timers that are set will ring."""
        return sorted(timer.when for timer in self.timers if not timer.cancelled)

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer, each at its own time."""
        end = self.now + seconds
        while self.pending and self.pending[0] <= end:
            timer = min((timer for timer in self.timers if not timer.cancelled), key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.callback(*timer.arguments)
        self.now = end


class Item:
    """Something with deadlines. It notes when it was looked at, and wants to be looked at again at `again`."""

    def __init__(self, *again: float | None) -> None:
        self.again = list(again)
        self.looks: list[float] = []

    def look(self, now: float) -> float | None:
        self.looks.append(now)
        return self.again.pop(0) if self.again else None


def look(item: Item, now: float) -> float | None:
    return item.look(now)


@pytest.fixture(name="clock")
def make_clock() -> Clock:
    return Clock()


@pytest.fixture(name="deadlines")
def make_deadlines() -> Deadlines[Item]:
    return Deadlines(look)


# -- Deadlines -------------------------------------------------------------------------------------------------------


def test_a_deadline_is_due_at_its_time_and_not_before(deadlines):
    item = Item()
    deadlines.add(item, 10)
    deadlines.run(9.999)
    assert item.looks == []
    deadlines.run(10)
    assert item.looks == [10]
    deadlines.run(100)
    assert item.looks == [10]


def test_deadlines_are_due_in_their_order():
    order: list[str] = []

    def note(item: str, now: float) -> None:
        order.append(item)

    deadlines = Deadlines(note)
    for item, when in [("c", 3), ("a", 1), ("d", 3), ("b", 2), ("e", 4)]:
        deadlines.add(item, when)
    deadlines.run(3)
    assert order == ["a", "b", "c", "d"]


def test_what_is_due_says_when_to_look_again(deadlines):
    item = Item(20, 30)
    deadlines.add(item, 10)
    for now in range(0, 50, 5):
        deadlines.run(now)
    assert item.looks == [10, 20, 30]
    assert deadlines.next() is None


def test_a_deadline_that_is_due_again_at_once_waits_for_the_next_run(deadlines):
    item = Item(0, 0)
    deadlines.add(item, 0)
    deadlines.run(1)
    assert item.looks == [1]
    deadlines.run(1)
    assert item.looks == [1, 1]


def test_next_is_the_earliest_deadline(deadlines):
    assert deadlines.next() is None
    first, second = Item(), Item()
    deadlines.add(first, 20)
    deadlines.add(second, 10)
    assert deadlines.next() == 10
    deadlines.discard(second)
    assert deadlines.next() == 20
    deadlines.discard(first)
    assert deadlines.next() is None


def test_an_earlier_deadline_replaces_a_later_one(deadlines):
    item = Item()
    deadlines.add(item, 20)
    deadlines.add(item, 10)
    deadlines.run(30)
    assert item.looks == [30]
    assert deadlines.next() is None


def test_a_later_deadline_changes_nothing(deadlines):
    item = Item()
    deadlines.add(item, 10)
    deadlines.add(item, 20)
    assert deadlines.next() == 10
    deadlines.run(10)
    assert item.looks == [10]


def test_who_adds_a_deadline_is_told_whether_that_changes_something(deadlines):
    item = Item()
    assert deadlines.add(item, 5)
    assert not deadlines.add(item, 5)
    assert not deadlines.add(item, 6)
    assert deadlines.add(item, 4)
    deadlines.discard(item)
    assert deadlines.add(item, 6)


def test_a_discarded_item_is_not_looked_at(deadlines):
    item, other = Item(), Item()
    deadlines.add(item, 10)
    deadlines.add(other, 10)
    deadlines.discard(item)
    deadlines.discard(item)
    deadlines.run(10)
    assert (item.looks, other.looks) == ([], [10])


def test_a_discarded_item_is_forgotten_at_once(deadlines):
    item = Item()
    gone = weakref.ref(item)
    deadlines.add(item, 10)
    deadlines.discard(item)
    del item
    gc.collect()
    assert gone() is None


def test_a_discarded_item_can_come_back(deadlines):
    item = Item()
    deadlines.add(item, 10)
    deadlines.discard(item)
    deadlines.add(item, 20)
    deadlines.run(15)
    assert item.looks == []
    deadlines.run(20)
    assert item.looks == [20]


def test_an_item_that_is_discarded_by_one_before_it_is_not_looked_at():
    looked_at: list[str] = []

    def due(item: str, now: float) -> float:
        looked_at.append(item)
        deadlines.discard("second")
        return now + 1

    deadlines = Deadlines(due)
    deadlines.add("first", 10)
    deadlines.add("second", 10)
    deadlines.run(10)
    deadlines.run(100)
    assert looked_at == ["first", "first"]


def test_an_item_may_be_added_while_it_is_looked_at():
    looks: list[float] = []

    def due(item: str, now: float) -> None:
        looks.append(now)
        deadlines.add(item, now + 10)

    deadlines = Deadlines(due)
    deadlines.add("item", 10)
    for now in (10, 15, 20, 29, 30):
        deadlines.run(now)
    assert looks == [10, 20, 30]


def test_one_that_fails_is_logged_and_forgotten_and_the_others_get_their_turn(caplog):
    looked_at: list[str] = []

    def due(item: str, now: float) -> float:
        looked_at.append(item)
        if item == "bad":
            raise RuntimeError("as the test asked")
        return now + 10

    deadlines = Deadlines(due)
    for item in ("one", "bad", "two"):
        deadlines.add(item, 10)
    deadlines.run(10)
    deadlines.run(20)
    assert looked_at == ["one", "bad", "two", "one", "two"]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("tornadio.net.timers", logging.ERROR)
    assert record.getMessage() == "timer of bad failed"
    assert record.exc_info is not None


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["add", "discard", "run"]), st.integers(0, 50))))
def test_deadlines_do_what_a_plain_dictionary_would(steps):
    looked_at: list[int] = []
    items = [Item() for _ in range(10)]

    def due(item: Item, now: float) -> None:
        looked_at.append(items.index(item))

    deadlines = Deadlines(due)
    model: dict[int, int] = {}
    for number, step, when in steps:
        if step == "add":
            deadlines.add(items[number], when)
            model[number] = min(when, model.get(number, when))
        elif step == "discard":
            deadlines.discard(items[number])
            model.pop(number, None)
        else:
            looked_at.clear()
            deadlines.run(when)
            assert [model[one] for one in looked_at] == sorted(due for due in model.values() if due <= when)
            model = {one: due for one, due in model.items() if one not in looked_at}
        assert deadlines.next() == min(model.values(), default=None)


# -- The alarm -------------------------------------------------------------------------------------------------------


def test_an_alarm_rings_when_the_first_deadline_is_due(clock, deadlines):
    alarm = DeadlineTimer(clock, deadlines)
    item, other = Item(), Item()
    deadlines.add(item, 10)
    deadlines.add(other, 20)
    alarm.reset()
    clock.advance(9)
    assert item.looks == []
    clock.advance(30)
    assert (item.looks, other.looks) == ([10], [20])


def test_an_alarm_has_one_timer_for_any_number_of_deadlines(clock, deadlines):
    alarm = DeadlineTimer(clock, deadlines)
    for number in range(1000):
        deadlines.add(Item(), 1000 - number % 100)
        alarm.reset()
    assert clock.pending == [901]


def test_an_alarm_without_deadlines_sets_no_timer(clock, deadlines):
    DeadlineTimer(clock, deadlines).reset()
    assert clock.pending == []


def test_an_alarm_stays_off_after_the_last_deadline(clock, deadlines):
    alarm = DeadlineTimer(clock, deadlines)
    deadlines.add(Item(), 10)
    alarm.reset()
    clock.advance(10)
    assert clock.pending == []


def test_an_alarm_is_set_earlier_for_an_earlier_deadline(clock, deadlines):
    alarm = DeadlineTimer(clock, deadlines)
    late, early = Item(), Item()
    deadlines.add(late, 20)
    alarm.reset()
    deadlines.add(early, 10)
    alarm.reset()
    assert clock.pending == [10]
    clock.advance(20)
    assert (late.looks, early.looks) == ([20], [10])


def test_an_alarm_is_not_set_anew_for_a_deadline_that_moved_on(clock, deadlines):
    alarm = DeadlineTimer(clock, deadlines)
    item = Item(30)
    deadlines.add(item, 10)
    alarm.reset()
    for _ in range(100):
        deadlines.add(item, 30)
        alarm.reset()
    assert len(clock.timers) == 1
    clock.advance(100)
    assert item.looks == [10, 30]


def test_an_alarm_that_rings_early_runs_its_deadline_nevertheless(clock, deadlines):
    alarm = DeadlineTimer(clock, deadlines)
    item = Item()
    deadlines.add(item, 10)
    alarm.reset()
    [timer] = clock.timers
    clock.now = 9.999  # an event loop rounds to the resolution of its clock
    timer.callback(*timer.arguments)
    assert item.looks == [10]


def test_an_alarm_with_slack_rings_once_for_all_that_is_due_meanwhile(clock):
    looks: list[tuple[str, float]] = []

    def due(item: str, now: float) -> None:
        looks.append((item, now))

    deadlines = Deadlines(due)
    alarm = DeadlineTimer(clock, deadlines, slack=2)
    for item, when in {"first": 10, "later": 12.5, "second": 12}.items():
        deadlines.add(item, when)
        alarm.reset()
    assert clock.pending == [12]
    deadlines.add("earlier", 9)
    alarm.reset()
    assert clock.pending == [11]
    clock.advance(100)
    assert looks == [("earlier", 11), ("first", 11), ("second", 14), ("later", 14)]
    assert clock.pending == []


def test_a_stopped_alarm_does_not_ring(clock, deadlines):
    alarm = DeadlineTimer(clock, deadlines)
    item = Item()
    deadlines.add(item, 10)
    alarm.reset()
    alarm.stop()
    alarm.stop()
    assert clock.pending == []
    clock.advance(20)
    assert item.looks == []


def test_a_stopped_alarm_can_be_reset(clock, deadlines):
    alarm = DeadlineTimer(clock, deadlines)
    item = Item()
    deadlines.add(item, 10)
    alarm.reset()
    alarm.stop()
    alarm.reset()
    clock.advance(10)
    assert item.looks == [10]


def test_an_alarm_that_is_stopped_while_it_rings_stays_off(clock):
    looks: list[float] = []

    def due(item: str, now: float) -> float:
        looks.append(now)
        alarm.stop()
        return now + 10

    deadlines = Deadlines(due)
    alarm = DeadlineTimer(clock, deadlines)
    deadlines.add("item", 10)
    alarm.reset()
    clock.advance(100)
    assert looks == [10]
    assert clock.pending == []


def test_an_alarm_may_be_reset_while_it_rings(clock):
    looks: list[tuple[str, float]] = []

    def due(item: str, now: float) -> None:
        looks.append((item, now))
        if item == "first":
            deadlines.add("second", now + 5)
            alarm.reset()

    deadlines = Deadlines(due)
    alarm = DeadlineTimer(clock, deadlines)
    deadlines.add("first", 10)
    alarm.reset()
    clock.advance(100)
    assert looks == [("first", 10), ("second", 15)]
    assert clock.pending == []


def test_one_that_fails_does_not_stop_the_alarm(clock, caplog):
    looks: list[tuple[str, float]] = []

    def due(item: str, now: float) -> float:
        looks.append((item, now))
        if item == "bad":
            raise RuntimeError("as the test asked")
        return now + 10

    deadlines = Deadlines(due)
    alarm = DeadlineTimer(clock, deadlines)
    deadlines.add("bad", 10)
    deadlines.add("good", 10)
    alarm.reset()
    clock.advance(20)
    assert looks == [("bad", 10), ("good", 10), ("good", 20)]
    assert len(caplog.records) == 1


def test_what_was_discarded_leaves_little_behind():
    deadlines: Deadlines[Item] = Deadlines(lambda item, now: None)
    items = [Item() for _ in range(10_000)]
    for item in items[:10]:
        deadlines.add(item, 10)
    for item in items[10:]:
        deadlines.add(item, 1000)
        deadlines.discard(item)
    assert len(deadlines._heap) <= 21
    for item in items:
        deadlines.add(item, 1000)
    for item in items[:9_000]:
        deadlines.discard(item)
    assert len(deadlines._heap) <= 2 * 1000 + 1


def test_what_was_not_discarded_keeps_its_time():
    looks: list[tuple[int, float]] = []

    def due(item: int, now: float) -> None:
        looks.append((item, now))

    deadlines = Deadlines(due)
    numbers = random.Random(1).sample(range(1000), 1000)
    for number in numbers:
        deadlines.add(number, number)
    for number in numbers[:900]:
        deadlines.discard(number)
    left = sorted(numbers[900:])
    assert deadlines.next() == left[0]
    for now in range(1000):
        deadlines.run(now)
    assert looks == [(number, number) for number in left]


def test_to_discard_costs_as_much_however_many_there_are():
    def cost(number: int) -> float:
        deadlines: Deadlines[Item] = Deadlines(lambda item, now: None)
        items = [Item() for _ in range(number)]
        for item in items:
            deadlines.add(item, 10)
        before = time.process_time()
        for item in items:
            deadlines.discard(item)
        return time.process_time() - before

    assert cost(80_000) < 16 * max(cost(10_000), 0.005)


# -- The periodic callback -------------------------------------------------------------------------------------------


def test_a_callback_is_called_every_interval(clock):
    calls: list[float] = []
    periodic = Periodic(clock, lambda: calls.append(clock.now), 15)
    periodic.start()
    clock.advance(14.9)
    assert calls == []
    clock.advance(45)
    assert calls == [15, 30, 45]


def test_starting_twice_is_starting_once(clock):
    calls: list[float] = []
    periodic = Periodic(clock, lambda: calls.append(clock.now), 15)
    periodic.start()
    clock.advance(10)
    periodic.start()
    assert clock.pending == [15]
    clock.advance(20)
    assert calls == [15, 30]


def test_nothing_is_called_before_the_start_nor_after_the_end(clock):
    calls: list[float] = []
    periodic = Periodic(clock, lambda: calls.append(clock.now), 15)
    periodic.stop()
    clock.advance(100)
    periodic.start()
    periodic.stop()
    periodic.stop()
    assert clock.pending == []
    clock.advance(100)
    assert calls == []


def test_it_can_be_started_again(clock):
    calls: list[float] = []
    periodic = Periodic(clock, lambda: calls.append(clock.now), 15)
    periodic.start()
    clock.advance(10)
    periodic.stop()
    periodic.start()
    clock.advance(15)
    assert calls == [25]


def test_a_callback_may_stop_it(clock):
    calls: list[float] = []

    def callback() -> None:
        calls.append(clock.now)
        periodic.stop()

    periodic = Periodic(clock, callback, 15)
    periodic.start()
    clock.advance(100)
    assert calls == [15]
    assert clock.pending == []


def test_a_callback_that_fails_is_called_again(clock):
    calls: list[float] = []

    def callback() -> None:
        calls.append(clock.now)
        raise RuntimeError("as the test asked")

    Periodic(clock, callback, 15).start()
    for _ in range(3):
        with pytest.raises(RuntimeError):
            clock.advance(15)  # a loop logs it
    assert calls == [15, 30, 45]


def test_of_many_that_are_due_some_hundreds_have_their_turn():
    seen: list[int] = []
    deadlines = Deadlines[int](lambda item, now: seen.append(item))
    items = list(range(1000, 1500))
    for item in items:
        deadlines.add(item, 1.0)
    runs = 0
    while deadlines.run(2.0):
        runs += 1
        assert len(seen) <= 200 * runs
    assert seen == items
    assert runs == 2
