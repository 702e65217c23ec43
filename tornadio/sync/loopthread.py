"""The event loop of all connections for threads: one daemon thread in each process, from the first connection on."""

import asyncio
import atexit
import contextlib
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from tornadio.client.connection import ClientConnection
from tornadio.errors import CallerError

P = ParamSpec("P")
T = TypeVar("T")

# Seconds that connections have, which are open when the interpreter exits, to send what is queued.
_EXIT_SECONDS: Final = 1.0


class LoopThread:
    """A daemon thread with an event loop.

    :ivar is_usable: whether the loop runs: not in a process that was forked, which has none of its parent's threads,
        and not after the interpreter has begun to exit.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.is_usable = True
        self._pid = os.getpid()
        self.clients: set[ClientConnection] = set()  # those that are open
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="tornadio.sync", daemon=True)
        self._thread.start()
        # gevent and eventlet replace threads by greenlets of this one, where asyncio knows one running loop for all.
        self._is_greenlet = self._thread.native_id == threading.get_native_id()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def check_caller(self) -> None:
        """Check that the calling thread may wait for the loop.

        :raises CallerError: it may not; says what to do.
        """
        if self._is_greenlet:
            raise CallerError(
                "tornadio.sync needs threads of the system, which gevent or eventlet has replaced here: run it in a "
                "process without them"
            )
        if asyncio._get_running_loop() is not None:
            raise CallerError(
                "tornadio.sync would block the event loop that runs in this thread: use tornadio.connect there, or "
                "asyncio.to_thread"
            )
        if not self.is_usable:
            if os.getpid() != self._pid:
                raise CallerError("this connection is of the process before the fork: open one in the child")
            self._end_daemon()
            raise CallerError("the interpreter exits: close connections before")

    def call(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine on the loop and wait for its end. What interrupts the wait, such as Ctrl-C, cancels it."""
        self.check_caller()
        outcomes: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()
        tasks: list[asyncio.Task[None]] = []

        async def run() -> None:
            try:
                outcomes.put(await function(*args, **kwargs))
            except BaseException as error:
                outcomes.put(error)

        def begin() -> None:
            tasks.append(self.create_task(run()))

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        # Not asyncio.run_coroutine_threadsafe: an interrupt inside of it would leave a task that nobody can cancel.
        try:
            self.loop.call_soon_threadsafe(begin)
            outcome = outcomes.get()
        except BaseException:
            self.loop.call_soon_threadsafe(cancel)
            raise
        if not isinstance(outcome, BaseException):
            return outcome
        try:
            if isinstance(outcome, asyncio.CancelledError):
                self._end_daemon()
            raise outcome
        finally:
            del outcome  # breaks a cycle, with its traceback

    def _end_daemon(self) -> None:
        """Let a daemon thread wait for the interpreter's exit, if that has begun: it ends then, without a traceback."""
        if not self.is_usable and threading.current_thread().daemon:
            threading.Event().wait()

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Create a task, on the loop's thread, and refer to it until it is done."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop(self) -> None:
        """Close the open connections, and end the thread."""
        if self.is_usable:
            self.is_usable = False
            asyncio.run_coroutine_threadsafe(self._stop(), self.loop)
            self._thread.join(2 * _EXIT_SECONDS)

    async def _stop(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await asyncio.gather(*(client.close() for client in self.clients), return_exceptions=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.loop.shutdown_asyncgens()  # after the tasks, in which some of them run
        self.loop.stop()


_lock = threading.Lock()
_shared: LoopThread | None = None
_of_parents: list[LoopThread] = []  # never freed: what is on their loops is the parents'


def shared_thread() -> LoopThread:
    """Return this process's thread, started at the first call."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = LoopThread()
            atexit.register(_shared.stop)
        return _shared


def _forget_parents_thread() -> None:
    global _lock, _shared
    _lock = threading.Lock()  # another thread may have held it in the parent
    if _shared is not None:
        _shared.is_usable = False
        _of_parents.append(_shared)
        _shared = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_thread)
