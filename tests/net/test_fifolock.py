"""The FIFO lock: one holder at a time, and waiters in the order in which they asked."""

from __future__ import annotations

import asyncio

from tornadio.net.fifolock import FifoLock


async def test_the_first_acquires_the_lock_at_once_and_the_others_wait():
    lock = FifoLock()
    assert lock.acquire() is None
    assert lock.locked
    second, third = lock.acquire(), lock.acquire()
    assert second is not None
    assert third is not None
    assert not second.done()
    lock.release(None)
    assert second.done()
    assert not third.done()
    lock.release(second)
    assert third.done()
    lock.release(third)
    assert not lock.locked


async def test_it_is_never_free_between_two():
    """Who came then would overtake those who wait."""
    lock = FifoLock()
    lock.acquire()
    waiting = lock.acquire()
    lock.release(None)
    assert lock.locked
    late = lock.acquire()
    assert late is not None
    assert not late.done()
    lock.release(waiting)
    assert late.done()


async def test_a_waiter_that_is_released_early_leaves_the_queue():
    lock = FifoLock()
    lock.acquire()
    second, third = lock.acquire(), lock.acquire()
    lock.release(second)  # who waited has been cancelled
    assert third is not None
    assert not third.done()
    lock.release(None)
    assert third.done()


async def test_a_cancelled_waiter_is_left_out():
    lock = FifoLock()
    lock.acquire()
    second, third = lock.acquire(), lock.acquire()
    assert second is not None
    assert third is not None
    second.cancel()
    lock.release(None)
    assert third.done()
    lock.release(second)  # it never acquired the lock, and changes nothing
    assert lock.locked
    lock.release(third)
    assert not lock.locked


async def test_a_lock_that_was_acquired_while_its_wait_was_cancelled_is_passed_on():
    lock = FifoLock()
    lock.acquire()
    waiter = lock.acquire()
    assert waiter is not None

    async def wait() -> None:
        try:
            await waiter
        finally:
            lock.release(waiter)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    lock.release(None)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not lock.locked
