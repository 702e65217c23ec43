"""The event loop that a server runs on: which one it is, its time, and running it until a signal comes."""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

from tornado.ioloop import IOLoop
from tornado.platform.asyncio import BaseAsyncIOLoop

from tornadio.errors import CallerError
from tornadio.logs import get_logger

logger = get_logger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def time_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the function that tells an event loop's time: of asyncio's own loops that is ``time.monotonic``, without
    the method around it.
    """
    is_own = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return time.monotonic if is_own else loop.time


def checked_loop(io_loop: IOLoop | None, will_run: bool) -> IOLoop:
    """Return the loop for a server: the given one, or that of this thread, which is made where there is none.

    A loop that is given, and does not run, becomes this thread's: Tornado has listening sockets watched by that.

    :param io_loop: ``None`` for this thread's.
    :param will_run: whether the caller is going to run the loop.
    :raises CallerError: the loop is closed, or another one runs in this thread, or it runs in another one.
    """
    running = running_loop()
    if running is not None and will_run:
        raise CallerError("the loop runs already: use SocketServer(application, auto_start=False)")
    loop = io_loop or IOLoop.current()
    if not isinstance(loop, BaseAsyncIOLoop):
        return loop
    asyncio_loop = loop.asyncio_loop
    if asyncio_loop.is_closed():
        raise CallerError("the event loop is closed: give SocketServer another one as io_loop, tornado.ioloop.IOLoop()")
    if running is None and asyncio_loop.is_running():
        raise CallerError(
            "io_loop runs in another thread: make the server there, in a coroutine that "
            "asyncio.run_coroutine_threadsafe starts"
        )
    if running is not None and asyncio_loop is not running:
        raise CallerError("io_loop is not the event loop that runs here: leave it out, or make the server on that loop")
    if io_loop is not None and running is None:
        asyncio.set_event_loop(asyncio_loop)
    return loop


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def run_loop(loop: IOLoop, on_signal: Callable[[signal.Signals], None]) -> None:
    """Run a loop until it is stopped, then cancel the tasks that remain on it.

    :param on_signal: called on the loop for each SIGTERM and SIGINT. Python hands signals to the main thread alone: a
        loop of another thread runs without them, which is logged.
    """
    asyncio_loop: asyncio.AbstractEventLoop = loop.asyncio_loop  # type: ignore[attr-defined]
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread:
        logger.info(
            "SIGTERM and SIGINT do not stop the server in thread %s: Python hands them to the main thread alone. "
            "Await its shutdown() on the loop, then stop that",
            threading.current_thread().name,
        )
    for number in _SIGNALS if in_main_thread else ():
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio_loop.add_signal_handler(number, on_signal, number)
    try:
        loop.start()
    finally:
        for number in _SIGNALS if in_main_thread else ():
            with contextlib.suppress(NotImplementedError):
                asyncio_loop.remove_signal_handler(number)
        _cancel_tasks(asyncio_loop)  # the application's: a task that is destroyed while pending is logged


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that remain on a stopped loop, and wait for their ends, as ``asyncio.run`` does."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
