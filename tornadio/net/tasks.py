"""The tasks that a router's sessions run in, by how long they may go on when the server stops."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

R = TypeVar("R")

# At shutdown, for peers to read their close frames, and for what was cancelled to end.
_GRACE_SECONDS: Final = 1.0


class Tasks:
    """Keeps tasks alive, and sees to their ends.

    :param ended: called each time one has ended.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._handlers: set[asyncio.Task[Any]] = set()
        self._goodbyes: set[asyncio.Task[Any]] = set()
        self._carriers: set[asyncio.Task[Any]] = set()

    @property
    def at_work(self) -> int:
        """How many run handlers of the application."""
        return len(self._handlers) + len(self._goodbyes)

    def spawn(self, work: Coroutine[Any, Any, R]) -> "asyncio.Task[R]":
        """Run handlers of the application, which a shutdown waits for, and cancels at its deadline."""
        return self._run(work, self._handlers)

    def spawn_goodbye(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """As :meth:`spawn`, for the last handler of a connection: it has its time even after the deadline."""
        return self._run(work, self._goodbyes)

    def carry(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run what carries a client's connection. It ends with its session, soon if not at once."""
        return self._run(work, self._carriers)

    def _run(self, work: Coroutine[Any, Any, R], tasks: "set[asyncio.Task[Any]]") -> "asyncio.Task[R]":
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(functools.partial(self._reap, tasks))
        return task

    def _reap(self, tasks: "set[asyncio.Task[Any]]", task: "asyncio.Task[Any]") -> None:
        tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it has it; nobody else must hear of it
        self._ended()

    def cancel(self) -> None:
        """The deadline has passed: cancel all but the goodbyes. A WebSocket's handlers run in what carries it."""
        for task in self._handlers | self._carriers:
            task.cancel()

    async def wait(self) -> None:
        """Wait for the ends of those that are left, for a moment; then cancel them, and wait for a moment more."""
        for _ in range(2):
            left = self._handlers | self._goodbyes | self._carriers
            if left:
                await asyncio.wait(left, timeout=_GRACE_SECONDS)
            for task in left:
                task.cancel()


def is_cancelled() -> bool:
    """Whether the task that runs now is to end, and not just something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def loop_is_running() -> bool:
    """Whether this thread is inside an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def has_succeeded(future: "asyncio.Future[None]") -> bool:
    """Whether what a future stands for is done, and well."""
    return future.done() and not future.cancelled() and future.exception() is None
