"""The tasks in which a router's handlers run, and predicates for tasks and futures."""

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

R = TypeVar("R")
P = ParamSpec("P")

# Seconds at the end of a shutdown, past its deadline: for tasks that were cancelled to end, for peers to read their
# last frames. Longer than a round trip, and little beside the time that process managers give (docker stop: 10 s).
GRACE_SECONDS: Final = 1.0


def start_task(work: Coroutine[Any, Any, R]) -> "asyncio.Task[R]":
    """Start a task of the running event loop whose first step comes in the loop's next iteration.

    An application may have made tasks eager (:func:`asyncio.eager_task_factory`): then ``create_task`` runs the first
    step at once, before the caller has noted the task, and within the handler that runs.
    Asyncio's own eager factories are recognised; another one is used as it is.
    """
    loop = asyncio.get_running_loop()
    if "create_eager_task_factory" in getattr(loop.get_task_factory(), "__qualname__", ""):
        return asyncio.Task(work, loop=loop)
    return loop.create_task(work)


class Tasks:
    """Strong references to running tasks (asyncio keeps weak ones alone), and their ends at a shutdown.

    :param on_task_done: called each time a task has ended.
    :ivar context: the context variables with which handlers start. Each has a copy: else it saw what the handler of
        another client has set, whose message came before over the same connection, which a proxy keeps for all of its
        clients, or whose handler had a timer set.
    :ivar is_last_moment: whether nothing will be waited for any more, as the process is about to be replaced.
    """

    def __init__(self, on_task_done: Callable[[], None]) -> None:
        self._on_task_done = on_task_done
        self.is_last_moment = False
        self._cut_off = 0
        self.context = contextvars.copy_context()
        self._handlers: set[asyncio.Task[Any]] = set()
        self._on_closes: set[asyncio.Task[Any]] = set()
        self._scheduled = 0  # calls of on_close that come in the event loop's next iteration

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that calls a handler in a copy of :attr:`context`."""
        return self.context.copy().run(function, *args, **kwargs)

    def use_context(self) -> None:
        """Start every handler from now on with the context variables that are set now."""
        self.context = contextvars.copy_context()

    @property
    def running_handlers(self) -> int:
        """The number of tasks that have not ended, and of calls of ``on_close`` that are scheduled."""
        return len(self._handlers) + len(self._on_closes) + self._scheduled

    @property
    def cut_off(self) -> int:
        """How many ``on_close`` had to wait in the last moment, or waited already, and went no further."""
        return self._cut_off + self._scheduled + sum(not task.done() for task in self._on_closes)

    def spawn(self, work: Coroutine[Any, Any, R]) -> "asyncio.Task[R]":
        """Start a task for ``on_open`` or ``on_message``. A shutdown waits for it, and cancels it at its deadline."""
        return self._run(work, self._handlers)

    def call_on_close(self, function: Callable[[], None]) -> None:
        """Call a function that calls ``on_close``, in the event loop's next iteration; in the last moment at once. A
        shutdown waits for it.
        """
        if self.is_last_moment:
            self.call(function)
        else:
            self._scheduled += 1
            asyncio.get_running_loop().call_soon(self._call_scheduled, function, context=self.context.copy())

    def _call_scheduled(self, function: Callable[[], None]) -> None:
        self._scheduled -= 1
        try:
            function()
        finally:
            self._on_task_done()

    def spawn_on_close(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task for ``on_close``. A shutdown cancels it :data:`GRACE_SECONDS` after its deadline. In the last
        moment it runs at once, until it has to wait.
        """
        if not self.is_last_moment:
            self._run(work, self._on_closes)
            return
        try:
            self.call(work.send, None)
        except StopIteration:
            return
        self._cut_off += 1
        with contextlib.suppress(RuntimeError):  # of a coroutine that awaits in its "finally"
            work.close()

    def _run(self, work: Coroutine[Any, Any, R], tasks: "set[asyncio.Task[Any]]") -> "asyncio.Task[R]":
        task = self.call(start_task, work)
        tasks.add(task)
        task.add_done_callback(functools.partial(self._on_done, tasks))
        return task

    def _on_done(self, tasks: "set[asyncio.Task[Any]]", task: "asyncio.Task[Any]") -> None:
        tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: the caller has logged it, asyncio must not do so again
        self._on_task_done()

    def cancel(self) -> None:
        """Cancel every ``on_open`` and ``on_message`` that runs: the deadline of a shutdown has passed."""
        for task in self._handlers:
            task.cancel()

    async def wait(self) -> None:
        """Wait up to :data:`GRACE_SECONDS` for all tasks; cancel those that remain, and wait as long again."""
        if self._scheduled:
            await asyncio.sleep(0)  # they come before this goes on, and may start tasks
        for _ in range(2):
            remaining = self._handlers | self._on_closes
            if remaining:
                await asyncio.wait(remaining, timeout=GRACE_SECONDS)
            for task in remaining:
                task.cancel()


def is_cancelled() -> bool:
    """Whether cancellation of the current task was requested.

    This tells a task that catches :exc:`asyncio.CancelledError` whether the error is its own, or that of something it
    awaited (:meth:`asyncio.Task.cancelling`).
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def loop_is_running() -> bool:
    """Whether the caller runs inside an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def has_succeeded(future: "asyncio.Future[None]") -> bool:
    """Whether a future is done, without an error and not cancelled. The error counts as retrieved."""
    return future.done() and not future.cancelled() and future.exception() is None
