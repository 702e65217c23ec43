"""Waiting for something that happens on the event loop without an event to wait for."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from tornadio.testing.clocks import clock_of

T = TypeVar("T")

_POLL_SECONDS: Final = 0.001


async def until(condition: Callable[[], T], timeout: float = 30.0) -> T:
    """Wait until a condition holds, which is looked at every millisecond.

    ::

        await testing.until(lambda: not server.connections)

    :param condition: returns something true once it holds.
    :param timeout: seconds of real time, whatever a :func:`tornadio.testing.clock` says.
    :returns: what ``condition`` has returned.
    :raises TimeoutError: the condition has not held in time.
    """
    deadline = time.monotonic() + timeout
    pause = _POLL_SECONDS if clock_of(asyncio.get_running_loop()) is None else 0
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition has not held within {timeout:g} s")
        await asyncio.sleep(pause)
    return result
