"""How many messages a second programs without a server can send: TornadIO's emitters, and python-socketio's manager."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import socketio

import tornadio
from benchmarks.measuring import free_port, wait_for
from benchmarks.report import table

_SECONDS: Final = 2.0
_AT_ONCE: Final = 100
MESSAGE: Final = "a message of 20 byte"


@contextmanager
def redis(core: int) -> Iterator[str]:
    """The URL of a Redis of our own, on a core of its own."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL)
    try:
        if not wait_for(process, port):
            raise RuntimeError("redis-server did not start")
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def rate(send: Callable[[], object]) -> tuple[float, float]:
    """Calls a second, and microseconds of our CPU time for each."""
    send()
    count, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < _SECONDS:
        send()
        count += 1
    seconds = time.perf_counter() - started
    return count / seconds, (time.process_time() - cpu) / count * 1e6


def measure(redis_core: int, own_core: int) -> str:
    """All of them, one after the other, as a table."""
    os.sched_setaffinity(0, {own_core})
    lines = []

    def add(name: str, measured: tuple[float, float], messages: int = 1) -> None:
        lines.append([name, f"{measured[0] * messages:,.0f}", f"{measured[1] / messages:,.1f}"])

    with redis(redis_core) as url, asyncio.Runner() as runner:
        with tornadio.Emitter(url) as emitter:
            add("TornadIO's Emitter", rate(lambda: emitter.broadcast(MESSAGE)))
        several = tornadio.AsyncEmitter(url)

        async def send_at_once() -> None:
            await asyncio.gather(*(several.broadcast(MESSAGE) for _ in range(_AT_ONCE)))

        add("its AsyncEmitter", rate(lambda: runner.run(several.broadcast(MESSAGE))))
        add(f"its AsyncEmitter, {_AT_ONCE} at once", rate(lambda: runner.run(send_at_once())), _AT_ONCE)
        runner.run(several.close())
        manager = socketio.RedisManager(url, write_only=True)
        add("python-socketio's RedisManager", rate(lambda: manager.emit("message", MESSAGE)))
    return table(["emitter", "messages/s", "CPU us"], lines)
