"""Lookups of names: getaddrinfo(3), in threads of their own."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

_Key = tuple[Any, ...]


class LookupThreads(Executor):
    """The executor of lookups: each runs in a daemon thread, and lookups of the same at the same time are one.

    The event loop's own executor is not used. A lookup that takes long, since no name server answers, would hold up
    the end of :func:`asyncio.run`, and all else that waits for that executor's threads; and once the main thread has
    ended, while others go on, that executor accepts no work any more.
    """

    def __init__(self) -> None:
        self._running: dict[_Key, Future[Any]] = {}

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Call a function in a thread; see :class:`concurrent.futures.Executor`.

        :returns: a future of its result; of an :exc:`OSError` if no thread can be started.
        """
        key = (os.getpid(), function, *args, *kwargs.items())  # a forked process has none of its parent's threads
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # whoever is cancelled leaves it to the others that wait for it
        running = self._running.setdefault(key, future)
        if running is future:
            work = threading.Thread(
                target=self._run, args=(key, future, function, args, kwargs), name="tornadio.lookup", daemon=True
            )
            try:
                work.start()
            except RuntimeError as error:
                del self._running[key]
                future.set_exception(OSError(errno.EAGAIN, str(error)))  # for all that wait for it
        return running

    def _run(
        self, key: _Key, future: "Future[Any]", function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> None:
        result = failure = None
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            failure = error.with_traceback(None)  # which refers to this frame: break the reference cycle
        del self._running[key]
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)


_threads = LookupThreads()


async def look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    """Return what getaddrinfo(3) says of a name, for TCP.

    :raises OSError: the name can't be resolved.
    :raises UnicodeError: it is none.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, _getaddrinfo, host, port)


def _getaddrinfo(host: str, port: int) -> list[tuple[Any, ...]]:
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
