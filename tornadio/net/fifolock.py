"""A FIFO lock for a connection's handlers: one runs at a time, in the order in which their messages came."""

import asyncio
import collections

# Done with ``True`` when the lock was acquired, and with ``False`` when the waiter was rejected.
Waiter = asyncio.Future[bool]


class FifoLock:
    """A FIFO lock whose ``locked`` has no gap: it stays true while the lock passes from its holder to the next waiter.

    :class:`asyncio.Lock` is FIFO-fair, too, but ``locked()`` is false from a release until the next waiter's task runs.
    A caller that only looks whether the lock is free, and then runs to its end without an ``await``, would overtake
    that waiter. Handlers that are plain functions are called so, without the cost of a task: nothing can run beside
    them, so they need not acquire the lock.

    :ivar locked: whether the lock has a holder.
    """

    __slots__ = ("_waiters", "locked")

    def __init__(self) -> None:
        self.locked = False
        self._waiters: collections.deque[Waiter] | None = None  # rarely needed, and an empty deque has 760 bytes

    def acquire(self) -> Waiter | None:
        """Acquire the lock, or join the queue for it.

        :returns: ``None`` if the lock was free, else a future of whether it was acquired. Either is to be given to
            :meth:`release` once.
        """
        if not self.locked:
            self.locked = True
            return None
        if self._waiters is None:
            self._waiters = collections.deque()
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def reject_waiters(self) -> None:
        """Set every waiter's future to ``False``. Later callers of :meth:`acquire` wait for the holder alone."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(False)

    def release(self, waiter: Waiter | None) -> None:
        """Release the lock and pass it to the next waiter; for a waiter that has not acquired it, leave the queue.

        :param waiter: what :meth:`acquire` returned.
        """
        if waiter is not None and (not waiter.done() or waiter.cancelled() or not waiter.result()):
            waiter.cancel()  # it stays in the queue, where the loop below skips it
            return
        while self._waiters:
            next_waiter = self._waiters.popleft()
            if not next_waiter.done():
                next_waiter.set_result(True)
                return  # with locked still true: see the class
        self.locked = False
        self._waiters = None
