"""Threads that send, close and broadcast: servers in processes of their own, on every transport."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer
from tests.clients import next_message, open_client
from tests.sessions.threads_app import FLOOD, MESSAGES, THREADS
from tests.support import Elsewhere
from tests.vitals import watched_memory
from tornadio.settings import PROTOCOLS

pytestmark = pytest.mark.external

APP = Path(__file__).with_name("threads_app.py")
BOUND = 8 << 20

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)

Start = Callable[[], AppServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start()` starts a server."""
    servers: list[AppServer] = []

    def start() -> AppServer:
        server = AppServer(APP, (f"--max_send_buffer={BOUND}",), tmp_path / "output.txt")
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
async def served(start: Start) -> AsyncIterator[Elsewhere]:
    async with contextlib.aclosing(Elsewhere.of(start())) as served:
        yield served


@every_transport
@pytest.mark.parametrize("debug", ["", "1"], ids=["", "debug"])
async def test_threads_and_the_loop_send_side_by_side(start, monkeypatch, transport, debug):
    monkeypatch.setenv("PYTHONASYNCIODEBUG", debug)
    server = start()
    received: dict[str, list[int]] = collections.defaultdict(list)
    async with contextlib.aclosing(Elsewhere.of(server)) as served:
        client = await open_client(served, transport)
        await client.send("side_by_side")
        while sum(len(numbers) for numbers in received.values()) < (THREADS + 1) * MESSAGES:
            for message in await client.receive():
                sender, number = message.split()
                received[sender].append(int(number))
        await client.send("echo")
        assert await next_message(client) == "echo"
    assert dict(received) == {sender: list(range(MESSAGES)) for sender in [*map(str, range(THREADS)), "loop"]}
    assert "Traceback" not in server.output()


@every_transport
async def test_an_idle_server_sends_at_once_what_a_thread_sends(served, transport):
    client = await open_client(served, transport)
    await client.send("later")
    assert await next_message(client) == "woken"  # else in an hour


@every_transport
async def test_a_thread_closes_a_connection_behind_what_it_has_sent(served, transport):
    client = await open_client(served, transport)
    await client.send("leave")
    assert await client.receive() == ["bye"]
    await client.ended()


@pytest.mark.parametrize("flood", ["flood", "flood_everybody"])
async def test_a_thread_that_is_faster_than_the_loop_ends_connections_as_too_slow_and_fills_no_memory(start, flood):
    server = start()
    async with contextlib.aclosing(Elsewhere.of(server)) as served:
        clients = [await open_client(served, "websocket") for _ in range(2)]
        before = (await served.read_json("/vitals"))["rss"]
        async with watched_memory(server.pid) as memory:
            await clients[0].send(flood)
            await clients[0].ended()
        # What waits, the messages that were encoded last, and what the kernel takes; far from what was sent.
        assert max(memory) - before < 6 * BOUND < FLOOD << 19
        if flood == "flood":
            await clients[1].send("echo")
            assert await next_message(clients[1]) == "echo"
        else:
            await clients[1].ended()
        client = await open_client(served, "websocket")
        await client.send("echo")
        assert await next_message(client) == "echo"
    lines = [line for line in server.output().splitlines() if "closed, too slow: more than max_send_buffer" in line]
    assert len(lines) == (1 if flood == "flood" else 2)
