"""The event loop of a server."""

from __future__ import annotations

import asyncio
import time

from tornadio.net.running import time_of


class OtherLoop(asyncio.SelectorEventLoop):
    def time(self) -> float:
        return 42.0


def test_the_time_of_a_loop_is_what_the_loop_says():
    own, other = asyncio.new_event_loop(), OtherLoop()
    assert time_of(other)() == 42
    assert time_of(own) is time.monotonic
    before = own.time()
    assert before <= time_of(own)() <= own.time()
    own.time = lambda: 43.0  # type: ignore[method-assign]  # as a test does that moves it
    assert time_of(own)() == 43
    own.close()
    other.close()
