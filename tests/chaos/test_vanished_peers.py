"""Peers that vanish without a word: no FIN, no RST, no error.

Two faults that look alike to an application: a host whose cable is pulled, in a network namespace of its own, which
needs root; and a process that is stopped, whose kernel goes on to take what is sent. Time is moved, so that it is the
default times which are tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.appserver import REPOSITORY
from tests.chaos.faithful_peer import ANSWERED, live
from tests.chaos.hosts import SERVER, Hosts
from tests.support import LARGE, PERSISTENT, POLLING, ClientStream, MovedLoop, Recorder, Served, until
from tornadio.settings import Settings

PEER = Path(__file__).with_name("faithful_peer.py")

SETTINGS = Settings()
GIVEN_UP = SETTINGS.heartbeat_interval + SETTINGS.heartbeat_timeout
# More than the kernel keeps for a client that takes nothing, less than max_send_buffer.


class Listener(Recorder):
    """Remembers, and leaves it at that."""

    def on_message(self, message: Any) -> None:
        self.events.append(("message", message))


# -- A host of its own -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class OnAnotherHost(Served):
    """A server whose clients are on a host of their own."""

    hosts: Hosts | None = None

    async def connect(self) -> ClientStream:
        assert self.hosts is not None
        with self.hosts.inside(self.hosts.client):
            connection = socket.socket()
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, (SERVER, self.port))
        except BaseException:
            connection.close()
            raise
        wire = ClientStream(*await asyncio.open_connection(sock=connection, limit=1 << 20))
        self.wires.append(wire)
        return wire


@dataclasses.dataclass(frozen=True)
class Vanished:
    """A client that was there and answered, and is not there any more."""

    served: Served
    recorder: Recorder
    descriptors: int  # before it came
    forget: Callable[[], None]  # gives back what the client's side holds


@contextlib.asynccontextmanager
async def host_that_vanishes(serve: Any, clock: MovedLoop, hosts: Hosts, transport: str) -> AsyncIterator[Vanished]:
    with hosts.inside(hosts.server):
        plain = serve(Listener, application={"socket_io_address": SERVER})
    served = OnAnotherHost(plain.server, plain.router, plain.wires, hosts)
    before = open_descriptors()
    living = asyncio.create_task(live(served, transport))
    try:
        recorder = await seen_alive(served, clock, transport)
        hosts.pull_the_cable()

        def forget() -> None:
            living.cancel()
            for wire in served.wires:
                wire.reset()

        yield Vanished(served, recorder, before, forget)
    finally:
        living.cancel()
        await asyncio.wait((living,))


@contextlib.asynccontextmanager
async def process_that_stops(serve: Any, clock: MovedLoop, transport: str) -> AsyncIterator[Vanished]:
    served = serve(Listener)
    before = open_descriptors()
    with start_peer(served.port, transport) as process:
        try:
            recorder = await seen_alive(served, clock, transport)
            process.send_signal(signal.SIGSTOP)
            yield Vanished(served, recorder, before, lambda: None)
        finally:
            process.kill()


def start_peer(port: int, transport: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PEER), f"--port={port}", f"--transport={transport}"]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def seen_alive(served: Served, clock: MovedLoop, transport: str) -> Recorder:
    """The client's connection, which lives for longer than a silent one would."""
    await until(lambda: Recorder.opened)
    recorder: Recorder = Recorder.opened[0]
    pause = SETTINGS.xhr_polling_timeout if transport in POLLING else SETTINGS.heartbeat_interval
    for answers in range(1, 6):
        await until(lambda: recorder.events.count(("message", ANSWERED)) == answers)  # noqa: B023
        await served.barrier()
        if answers < 5:
            await clock.advance(pause)
    return recorder


async def check_end(clock: MovedLoop, vanished: Vanished, earliest: float, latest: float) -> None:
    """Nothing happens before the earliest second; at the latest the connection ends, once and for all."""
    recorder = vanished.recorder
    await clock.advance(earliest - 0.5)
    assert recorder.events.count(("close",)) == 0
    await clock.advance(latest - earliest + 1)
    await until(lambda: recorder.events.count(("close",)) == 1)
    assert vanished.served.router.connections == ()
    await clock.advance(120)
    assert [event for event in recorder.events if event[0] != "message"] == [("open", ""), ("close",)]
    vanished.forget()
    await until(lambda: open_descriptors() <= vanished.descriptors)


Vanishing = Callable[[str], contextlib.AbstractAsyncContextManager[Vanished]]


@pytest.fixture(params=[pytest.param("host", marks=pytest.mark.needs("ip", "namespaces")), "process"])
def vanishing(request: pytest.FixtureRequest, serve: Any, clock: MovedLoop) -> Vanishing:
    if request.param == "process":
        return functools.partial(process_that_stops, serve, clock)
    return functools.partial(host_that_vanishes, serve, clock, request.getfixturevalue("hosts"))


# -- What must hold ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", PERSISTENT)
async def test_a_persistent_connection_ends_after_the_heartbeats_time(vanishing, clock, transport):
    async with vanishing(transport) as vanished:
        await check_end(clock, vanished, GIVEN_UP, GIVEN_UP)


@pytest.mark.parametrize("transport", PERSISTENT)
async def test_it_ends_then_also_when_the_peer_is_sent_something_all_the_time(vanishing, clock, transport):
    async with vanishing(transport) as vanished:
        for _ in range(int(GIVEN_UP) - 2):
            vanished.recorder.send("news " * 200)
            await clock.advance(1)
        await check_end(clock, vanished, 2, 2)


@pytest.mark.parametrize("transport", PERSISTENT)
async def test_it_ends_then_also_with_more_on_its_way_than_the_kernel_takes(vanishing, clock, transport):
    async with vanishing(transport) as vanished:
        vanished.recorder.send(LARGE)
        await check_end(clock, vanished, GIVEN_UP, GIVEN_UP)


@pytest.mark.parametrize("transport", POLLING)
async def test_a_polling_session_ends_session_expiry_after_its_poll(vanishing, clock, transport):
    async with vanishing(transport) as vanished:
        expires = SETTINGS.xhr_polling_timeout + SETTINGS.session_expiry
        await check_end(clock, vanished, expires, expires + SETTINGS.session_check_interval)


@pytest.mark.parametrize("transport", POLLING)
async def test_a_polling_session_ends_session_expiry_after_an_answer_that_was_not_taken(vanishing, clock, transport):
    async with vanishing(transport) as vanished:
        vanished.recorder.send(LARGE)
        expires = SETTINGS.heartbeat_timeout + len(LARGE) / 4096 + SETTINGS.session_expiry
        await check_end(clock, vanished, expires, expires + SETTINGS.session_check_interval)
