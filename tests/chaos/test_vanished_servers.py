"""Servers that vanish without a word, and `tornadio.connect`: it ends after `silence_timeout`, and says what is lost.

As in test_vanished_peers.py, with the sides exchanged: a host whose cable is pulled, and a process that is stopped,
whose kernel goes on to take what is sent. Time is moved, so that it is the default times which are tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import tornadio
from tests.appserver import REPOSITORY, AppServer
from tests.chaos.hosts import SERVER, Hosts
from tests.support import MovedLoop, Recorder
from tornadio.client.options import TRANSPORTS

SILENCE = 30  # seconds, the default
ECHO = REPOSITORY / "benchmarks" / "servers" / "tornadio_app.py"

Vanishing = Callable[[str], contextlib.AbstractAsyncContextManager[tuple[Any, Callable[[], None]]]]


@pytest.fixture(params=[pytest.param("host", marks=pytest.mark.needs("ip", "namespaces")), "process"])
def vanishing(request: pytest.FixtureRequest, serve: Any, clock: MovedLoop, tmp_path: Path) -> Vanishing:
    """A client that has had an echo from its server, and what has the server vanish."""

    @contextlib.asynccontextmanager
    async def host(transport: str) -> AsyncIterator[tuple[Any, Callable[[], None]]]:
        hosts: Hosts = request.getfixturevalue("hosts")
        with hosts.inside(hosts.server):
            served = serve(Recorder, application={"socket_io_address": SERVER})
        with hosts.inside(hosts.client):
            async with opened(f"http://{SERVER}:{served.port}/socket.io", transport) as client:
                assert await client.recv() == "welcome"
                for _ in range(4):  # heartbeats and empty polls are no silence
                    await clock.advance(SILENCE / 2)
                    await exchange(client, "still here")
                yield client, hosts.pull_the_cable

    @contextlib.asynccontextmanager
    async def process(transport: str) -> AsyncIterator[tuple[Any, Callable[[], None]]]:
        server = AppServer(ECHO, (), tmp_path / "output.txt")
        server.start()
        try:
            async with opened(f"http://127.0.0.1:{server.port}/socket.io", transport) as client:
                yield client, lambda: server.send_signal(signal.SIGSTOP)
        finally:
            server.kill()

    return host if request.param == "host" else process


@contextlib.asynccontextmanager
async def opened(url: str, transport: str) -> AsyncIterator[Any]:
    async with tornadio.connect(url, transports=[transport]) as client:
        yield client


async def exchange(client: Any, text: str) -> None:
    await client.send(text)
    assert await client.recv() == text


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_connection_ends_after_silence_timeout(vanishing, clock, transport):
    async with vanishing(transport) as (client, vanish):
        await exchange(client, "hello")
        vanish()
        receiving = asyncio.create_task(client.recv())
        await clock.advance(SILENCE - 1)
        assert not receiving.done()
        await clock.advance(2)
        with pytest.raises(tornadio.ConnectionClosed, match="silence") as raised:
            await receiving
        assert raised.value.code == 1006
        assert client.unsent == ()
        await clock.advance(60)
        await client.wait_closed()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_was_sent_into_the_silence_is_reported_as_far_as_the_kernel_has_not_taken_it(
    vanishing, clock, transport
):
    async with vanishing(transport) as (client, vanish):
        await exchange(client, "hello")
        vanish()
        texts = [f"{number} ".ljust(1 << 20, "x") for number in range(14)]  # less than max_send_buffer together
        for text in texts:
            await client.send(text)
        flushing = asyncio.create_task(client.flush())
        await clock.advance(SILENCE + 2)
        with pytest.raises(tornadio.ConnectionClosed):
            await flushing
        assert client.close_code == 1006
        unsent = list(client.unsent)
        assert unsent
        assert texts[-len(unsent) :] == unsent
        if transport != "websocket":
            assert unsent == texts


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_close_does_not_wait_for_a_server_that_has_vanished(vanishing, clock, transport):
    async with vanishing(transport) as (client, vanish):
        await exchange(client, "hello")
        vanish()
        closing = asyncio.create_task(client.close())
        await clock.advance(6)  # close_timeout is 5
        await closing
        assert client.is_closed
