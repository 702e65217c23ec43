"""What a server process holds at the moment: memory, descriptors, tasks, timers, sessions."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ctypes
import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import simplejson
import tornado.web

import tornadio
from tests.internals import sessions_of


def vitals(router: tornadio.Router) -> dict[str, Any]:
    """After a collection, so that garbage counts for nothing.

    `rss` is bytes, `timers` those of the loop that are still to run, `objects` the live instances of the library's
    classes by name.
    """
    gc.collect()
    loop = asyncio.get_running_loop()
    kinds = (type(thing) for thing in gc.get_objects())
    ours = (kind.__name__ for kind in kinds if str(kind.__module__).startswith("tornadio."))
    return {
        "rss": resident_bytes(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "tasks": len(asyncio.all_tasks()),
        "timers": sum(not timer.cancelled() for timer in loop._scheduled),  # type: ignore[attr-defined]
        "sessions": len(sessions_of(router)),
        "connections": len(router.connections),
        "objects": dict(collections.Counter(ours)),
    }


def resident_bytes(process_id: int | str = "self") -> int:
    """Memory of a process. Of one's own, what was freed is given back to the system first."""
    if process_id == "self":
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path(f"/proc/{process_id}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


class VitalsHandler(tornado.web.RequestHandler):
    """`("/vitals", VitalsHandler, {"router": router})` beside a router answers with its `vitals` as JSON."""

    def initialize(self, router: tornadio.Router) -> None:
        self.router = router

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.write(simplejson.dumps(vitals(self.router)))


@contextlib.asynccontextmanager
async def watched_memory(process: int) -> AsyncIterator[list[int]]:
    """The process's memory, every few milliseconds."""
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(resident_bytes(process))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()
