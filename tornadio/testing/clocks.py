"""Time that a test moves: a clock in place of an asyncio event loop's own.

The clock replaces ``time()`` of one event loop, and of Tornado's ``IOLoop`` around it. Timers stay the loop's own, in
the order in which it keeps them; sockets work as ever. ``time.time()`` and ``time.monotonic()`` are not changed.
"""

import asyncio
import functools
import math
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from tornado.ioloop import IOLoop

from tornadio.errors import CallerError
from tornadio.net.tasks import loop_is_running

T = TypeVar("T")

# Iterations of the event loop without anything to do, after which all that has happened counts as handled. One is
# enough where the kernel hands bytes on within send(2), as Linux' loopback does unless it is busy.
_QUIET_ITERATIONS: Final = 10
# Iterations after which time moves on in any case: a task may be waiting in a loop of sleep(0).
_MAX_ITERATIONS: Final = 200
# Seconds of real time for what runs in a thread of the event loop's (asyncio.to_thread, the lookup of a name), after
# which it counts as one that waits for something.
_THREAD_SECONDS: Final = 0.5
# Seconds by which a timer may lie behind the end of an advance(): sums of the same times differ in their last bits.
_TOLERANCE: Final = 1e-6

# Called with an event loop whose time() was replaced, by those who keep that method.
observers: Final[set[Callable[[asyncio.AbstractEventLoop], None]]] = set()

_clocks: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, "Clock"]] = weakref.WeakKeyDictionary()


class Clock:
    """The time of an event loop, which stands still until :meth:`advance` is called. Made by
    :func:`tornadio.testing.clock`.

    At its end time moves by itself again, from where it is: it never goes back.

    :param limit: seconds of real time for an ``async with`` block.
    """

    def __init__(self, limit: float = 60.0) -> None:
        self._limit = limit
        self._now = self._start = 0.0
        self._loop: Any = None
        self._io_loop: IOLoop | None = None
        self._run_in_executor: Any = None  # the event loop's own
        self._threads: set[asyncio.Future[Any]] = set()  # what runs in threads of the loop's
        self._waiting_threads: set[asyncio.Future[Any]] = set()  # those that have had _THREAD_SECONDS
        self._task: asyncio.Task[Any] | None = None
        self._timer: threading.Timer | None = None
        self._is_over_limit = False

    async def __aenter__(self) -> "Clock":
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        self.install(loop)
        self._timer = threading.Timer(self._limit, loop.call_soon_threadsafe, [self._on_limit])
        self._timer.daemon = True
        self._timer.start()
        return self

    async def __aexit__(self, error_type: type[BaseException] | None, *error: object) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self.uninstall()
        task, self._task = self._task, None
        if not self._is_over_limit or task is None:
            return
        if task.uncancel() == 0 and error_type is asyncio.CancelledError:
            raise TimeoutError(
                f"the test took more than {self._limit:g} s of real time, with its clock at {self.elapsed:g} s: it may "
                "wait for a timer, which comes when the test says 'await clock.advance(seconds)'"
            )

    def _on_limit(self) -> None:
        if self._task is not None:
            self._is_over_limit = True
            self._task.cancel()

    # -- Time ----------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Return the event loop's time, in seconds."""
        return self._now

    @property
    def elapsed(self) -> float:
        """Seconds by which time was moved, rounded to microseconds: so ``clock.elapsed == 14.9`` can be asked."""
        return round(self._now - self._start, 6)

    async def advance(self, seconds: float) -> None:
        """Let time pass. Timers run one after another, each at its own time, and what they cause, sockets included, is
        handled before time moves on.

        What other processes do, and threads that are not the event loop's, takes real time: advance to the moment in
        which they have to act, wait for what they do, and advance on.

        :param seconds: zero lets what is under way be handled.
        :raises tornadio.errors.CallerError: ``seconds`` is below zero, or the clock is not in use.
        """
        if not seconds >= 0:
            raise CallerError(f"time can't be moved by {seconds!r} seconds: it never goes back")
        self._check()
        end = self._now + seconds
        await self._settle()
        while (due := self._next_timer()) <= end + _TOLERANCE:
            self._now = max(self._now, due)
            await self._settle()
        self._now = max(self._now, end)
        await self._settle()

    async def wait_for(self, awaitable: Awaitable[T]) -> T:
        """Let time pass, from one timer to the next, until something is done. Returns its result.

        :raises tornadio.errors.CallerError: the clock is not in use.
        """
        self._check()
        future = asyncio.ensure_future(awaitable)
        try:
            await self._settle()
            while not future.done() and (due := self._next_timer()) < math.inf:
                self._now = max(self._now, due)
                await self._settle()
            return await future  # without a timer, what is awaited comes from elsewhere
        finally:
            future.cancel()

    def _check(self) -> None:
        if self._loop is None or not loop_is_running() or asyncio.get_running_loop() is not self._loop:
            raise CallerError("this clock is not that of the running event loop: use 'async with testing.clock()'")

    def _next_timer(self) -> float:
        timers: list[asyncio.TimerHandle] = self._loop._scheduled
        return min((timer.when() for timer in timers if not timer.cancelled()), default=math.inf)

    async def _settle(self) -> None:
        """Let everybody act on what has happened: a wakeup may pass through sockets, threads and several tasks."""
        quiet = 0
        for _ in range(_MAX_ITERATIONS):
            await asyncio.sleep(0)
            # This task was scheduled before the sockets were looked at: their callbacks are behind it in the queue.
            quiet = 0 if self._loop._ready else quiet + 1
            if quiet == _QUIET_ITERATIONS:
                if not self._threads - self._waiting_threads:
                    return
                await self._wait_for_threads()
                quiet = 0

    async def _wait_for_threads(self) -> None:
        deadline = time.monotonic() + _THREAD_SECONDS
        running = set(self._threads - self._waiting_threads)
        while running & self._threads and time.monotonic() < deadline:
            # The event loop has nothing to do, and no timer would end asyncio.sleep().
            time.sleep(0.0005)  # noqa: ASYNC251
            await asyncio.sleep(0)
        self._waiting_threads = (self._waiting_threads | running) & self._threads

    # -- The event loop ------------------------------------------------------------------------------------------

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop the time of an event loop, at a whole second: sums of times are then exact enough to be compared.

        :raises tornadio.errors.CallerError: this loop's time can't be replaced, or was replaced by another clock.
        """
        if not isinstance(loop, asyncio.BaseEventLoop):
            raise CallerError(
                f"the time of {type(loop).__module__}.{type(loop).__name__} can't be moved: run the test on asyncio's "
                "own event loop"
            )
        if loop in _clocks:
            raise CallerError("this event loop has a clock already")
        _clocks[loop] = self
        self._loop = loop
        self._now = self._start = float(math.ceil(loop.time()))
        _replace(loop, "time", self.time)
        self._run_in_executor = loop.run_in_executor
        _replace(loop, "run_in_executor", self._run_noted)
        if loop_is_running() and asyncio.get_running_loop() is loop:
            self._io_loop = IOLoop.current()
            started = self._io_loop.time()
            _replace(self._io_loop, "time", lambda: started + self.elapsed)
        _notify(loop)

    def uninstall(self) -> None:
        """Let time move by itself again, from where it is."""
        loop, self._loop = self._loop, None
        del _clocks[loop]
        del loop.run_in_executor
        for owner in (loop, self._io_loop):
            if owner is not None:
                _replace(owner, "time", functools.partial(_time_ahead, owner, owner.time() - _own_time(owner)))
        _notify(loop)

    def _run_noted(self, executor: Any, function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """Run a function in a thread, as the event loop's ``run_in_executor``, and note that it runs."""
        future: asyncio.Future[Any] = self._run_in_executor(executor, function, *args)
        self._threads.add(future)
        future.add_done_callback(self._threads.discard)
        return future


def _replace(owner: object, name: str, function: Callable[..., Any]) -> None:
    """Replace a method of one object."""
    setattr(owner, name, function)


def _notify(loop: asyncio.AbstractEventLoop) -> None:
    for observer in tuple(observers):
        observer(loop)


def _own_time(owner: Any) -> float:
    """Return the time of an event loop that no clock has replaced."""
    own: float = type(owner).time(owner)
    return own


def _time_ahead(owner: Any, seconds: float) -> float:
    return _own_time(owner) + seconds


def clock(limit: float = 60.0) -> Clock:
    """Stop the time of the running event loop, within ``async with``: it moves when the test says so, and then at once.

    ::

        async with testing.serve(Chat) as server, testing.clock() as clock:
            async with server.connect() as socket:
                await clock.advance(12)  # a heartbeat

    Everything that waits by the event loop's timers is moved: sessions and clients of TornadIO, :func:`asyncio.sleep`,
    :func:`asyncio.timeout`, Tornado's ``PeriodicCallback``. ``time.time()`` and ``time.monotonic()`` are not; a program
    that measures by ``asyncio.get_running_loop().time()`` can be tested.

    :param limit: seconds of real time for the block, after which the test is cancelled, and :exc:`TimeoutError` raised:
        what waits for a timer that nobody lets come would wait for ever.
    :raises tornadio.errors.CallerError: at the beginning of the block: this loop's time can't be moved, as that of
        uvloop, or is moved already.
    """
    return Clock(limit)


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock | None:
    """Return the clock by which a test moves the time of an event loop; ``None`` where time moves by itself."""
    return _clocks.get(loop)
