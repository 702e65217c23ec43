"""Whose turn it is: one at a time, and in the order in which they asked."""

from __future__ import annotations

import asyncio

from tornadio.net.fifolock import FifoLock


async def test_the_first_has_the_turn_at_once_and_the_others_wait():
    turns = FifoLock()
    assert turns.take() is None
    assert turns.is_taken
    second, third = turns.take(), turns.take()
    assert second is not None
    assert third is not None
    assert not second.done()
    turns.give_back(None)
    assert second.done()
    assert not third.done()
    turns.give_back(second)
    assert third.done()
    turns.give_back(third)
    assert not turns.is_taken


async def test_it_is_never_free_between_two():
    """Who came then would overtake those who wait."""
    turns = FifoLock()
    turns.take()
    waiting = turns.take()
    turns.give_back(None)
    assert turns.is_taken
    late = turns.take()
    assert late is not None
    assert not late.done()
    turns.give_back(waiting)
    assert late.done()


async def test_a_place_that_is_given_up_is_left_out():
    turns = FifoLock()
    turns.take()
    second, third = turns.take(), turns.take()
    turns.give_back(second)  # who waited has been cancelled
    assert third is not None
    assert not third.done()
    turns.give_back(None)
    assert third.done()


async def test_a_cancelled_wait_is_left_out():
    turns = FifoLock()
    turns.take()
    second, third = turns.take(), turns.take()
    assert second is not None
    assert third is not None
    second.cancel()
    turns.give_back(None)
    assert third.done()
    turns.give_back(second)  # its turn never came, and changes nothing
    assert turns.is_taken
    turns.give_back(third)
    assert not turns.is_taken


async def test_a_turn_that_came_while_its_wait_was_cancelled_is_passed_on():
    turns = FifoLock()
    turns.take()
    place = turns.take()
    assert place is not None

    async def wait() -> None:
        try:
            await place
        finally:
            turns.give_back(place)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    turns.give_back(None)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not turns.is_taken
