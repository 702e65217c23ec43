"""Sessions that are opened by the thousand and left: there is an end to their number, their cost, and their time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.appserver import AppServer
from tests.clients import exchange, greeted, handshake
from tests.support import POLLING, ClientStream, Elsewhere, Recorder, Response, Served
from tornadio.net.timers import _Entry
from tornadio.settings import PROTOCOLS

APP = Path(__file__).with_name("flood_app.py")

SESSIONS = 2000
CONNECTIONS = 10
# A session with its connection, its outbox, its places in the container and in two heaps of timers.
BYTES_A_SESSION = 3 << 10
# What a server comes to need once, for whatever client, and what the allocator keeps.
SLACK = 2 << 20
# After the second flood the allocator has all that it will need, but for one more of the arenas of 1 MiB in which it
# takes memory: whether one comes free again is chance.
GROWTH = 3 << 19

MAX_SESSIONS = 50


async def refusal(served: Served, transport: str) -> Response:
    """The answer to one client more than there is room for."""
    path, headers = handshake(transport)
    return await served.request("GET", path, headers)


# -- A room that is full -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flooding", POLLING)
async def test_a_flood_of_handshakes_leaves_the_others_alone_and_is_over_soon(serve, clock, flooding):
    served = serve(settings={"max_sessions": MAX_SESSIONS, "session_expiry": 600, "session_check_interval": 600})
    clients = [await greeted(served, transport) for transport in PROTOCOLS]
    for client in clients:
        await exchange(client, "before")
    left = [await served.shake_hands(flooding) for _ in range(MAX_SESSIONS - len(PROTOCOLS))]
    for transport in PROTOCOLS:
        response = await refusal(served, transport)
        assert (response.status, response.text) == (503, "too many sessions: try again later")
    assert len(Recorder.opened) == MAX_SESSIONS
    for client in clients:
        await exchange(client, "among them")
    await clock.advance(9.9)
    assert (await refusal(served, flooding)).status == 503
    await clock.advance(0.2)
    assert {recorder.session_id for recorder in Recorder.opened if recorder.is_closed} == {*left}
    for client in clients:
        await exchange(client, "after them")
    for transport in PROTOCOLS:
        await exchange(await greeted(served, transport), "new")
    assert len(served.router.connections) == 2 * len(PROTOCOLS)


@pytest.mark.parametrize("flooding", POLLING)
async def test_refused_handshakes_leave_nothing_behind_in_the_timers(serve, clock, flooding):
    class Refusing(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return bool(Refusing.first) and Refusing.first.pop()

        first = [True]

    served = serve(Refusing)
    await served.open(flooding)  # as long as one is there, the timers are
    gc.collect()
    before = timer_entries()
    path, headers = handshake(flooding)
    async with contextlib.aclosing(await served.connect()) as wire:
        for _ in range(500):
            await wire.send_request("GET", path, headers)
            assert (await wire.read_response()).status == 403
    assert timer_entries() < before + 20


def timer_entries() -> int:
    return sum(type(each) is _Entry for each in gc.get_objects())


@pytest.mark.parametrize("flooding", PROTOCOLS)
async def test_who_comes_back_once_and_leaves_makes_room_when_the_session_expires(serve, clock, flooding):
    served = serve(settings={"max_sessions": 6, "heartbeat_interval": 10, "heartbeat_timeout": 19.9})
    for client in [await greeted(served, flooding) for _ in range(6)]:
        await client.send("here I am")  # and never again, nor does it answer heartbeats
    assert (await refusal(served, flooding)).status == 503
    await clock.advance(29.5)
    assert (await refusal(served, flooding)).status == 503
    await clock.advance(16)  # session_check_interval
    assert all(recorder.events[-1] == ("close",) for recorder in Recorder.opened)
    assert await greeted(served, flooding)
    assert len(served.router.connections) == 1


async def test_handshakes_without_key3_take_no_room(serve, clock):
    served = serve(settings={"max_sessions": 1})
    path, headers = handshake("flashsocket")
    for _ in range(100):
        wire = await served.connect()
        await wire.send_request("GET", path, headers)
        assert (await wire.read_head()).status == 101
    assert await greeted(served, "flashsocket")
    assert len(Recorder.opened) == 1


# -- What an abandoned handshake costs ---------------------------------------------------------------------------------


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Elsewhere]:
    server = AppServer(APP, (f"--max_sessions={SESSIONS}",), tmp_path / "output.txt")
    server.start()
    async with contextlib.aclosing(Elsewhere.of(server)) as served:
        yield served
    server.kill()


async def flood(served: Elsewhere, transport: str) -> None:
    """Open as many sessions as there is room for, and leave."""

    async def open_and_leave() -> None:
        async with contextlib.aclosing(await ClientStream.connect(served.port)) as wire:
            for _ in range(SESSIONS // CONNECTIONS):
                await wire.send_request("GET", f"/socket.io/{transport}//1290000000000/0")
                assert (await wire.read_response()).status == 200

    await asyncio.gather(*(open_and_leave() for _ in range(CONNECTIONS)))
    assert (await refusal(served, transport)).status == 503


@pytest.mark.external
@pytest.mark.parametrize("transport", POLLING)
async def test_an_abandoned_handshake_costs_little_and_not_for_long(served, transport):
    before = await served.read_json("/vitals")
    memory = []
    for _ in range(3):
        await flood(served, transport)
        during = await served.read_json("/vitals")
        assert during["sessions"] == SESSIONS
        assert during["timers"] <= before["timers"] + 2  # all sessions share them
        assert during["descriptors"] <= before["descriptors"] + 1
        memory.append(during["rss"] - before["rss"])
        assert (await served.request("GET", "/advance?seconds=10.1")).status == 200
        after = await served.read_json("/vitals")
        assert after["sessions"] == after["connections"] == 0
        assert not {"PollingSession", "Outbox", "Heartbeat", "_Entry"} & after["objects"].keys()
    assert memory[2] < memory[1] + GROWTH
    assert max(memory) < SESSIONS * BYTES_A_SESSION + SLACK
