"""Connecting again, for ever: after an end, after a failure, and not where a server refuses."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import tornadio
from tests.peers import Request, http_peer, response
from tests.support import MovedLoop, Recorder, Serve, limit, until
from tornadio import ClientConnection, ConnectError

POLLING = ["xhr-polling"]


def collect(connections: AsyncIterator[ClientConnection], into: list[Any]) -> asyncio.Task[None]:
    """Iterate in a task: each connection, and the messages that come over it."""

    async def iterate() -> None:
        async for client in connections:
            into.append(client)
            with contextlib.suppress(tornadio.ConnectionClosed):
                while True:
                    into.append(await client.recv())

    return asyncio.create_task(iterate())


def has_length(items: list[Any], length: int) -> bool:
    return len(items) == length


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_each_end_is_followed_by_another_connection(serve: Serve, clock: MovedLoop):
    served = serve()
    found: list[Any] = []
    task = collect(aiter(tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io")), found)
    for number in range(1, 6):
        await clock.wait_for(until(functools.partial(has_length, found, 2 * number)))
        assert found[-1] == "welcome"
        Recorder.opened[-1].close(1001, "go on")
    first, second = found[0], found[2]
    assert isinstance(first, ClientConnection)
    assert first is not second
    assert (first.close_code, first.close_reason) == (1001, "go on")
    await cancelled(task)
    await until(lambda: not served.router.connections)
    assert all(client.is_closed for client in found[::2])


async def test_failures_are_logged_and_the_pauses_grow(clock: MovedLoop, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "tornadio.client")
    attempts: list[float] = []

    def respond(request: Request) -> bytes:
        attempts.append(clock.time())
        return response("503 Service Unavailable", "come back")

    async with http_peer(respond) as peer:
        connections = tornadio.connect(peer.url, transports=POLLING, min_delay=2, max_delay=16)
        task = collect(aiter(connections), [])
        await clock.advance(300)
        pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        assert len(pauses) > 15  # 8 s on average
        for pause, bound in zip(pauses, [2, 4, 8, *[16] * len(pauses)], strict=False):
            assert pause < bound + 0.01
        assert max(pauses) > 8
        await cancelled(task)
    lines = [record.getMessage() for record in caplog.records if record.name == "tornadio.client.connect"]
    assert lines[0].startswith(f"{peer.url}: ")
    assert "was answered 503 Service Unavailable: come back; trying again in " in lines[0]
    assert {record.levelname for record in caplog.records} == {"INFO"}


class Unwelcoming(Recorder):
    """Closes each connection as it is accepted."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        super().on_open(request, *args, **kwargs)
        self.close()


class Unforgiving(Recorder):
    """Closes each connection at its first message."""

    def on_message(self, message: Any) -> Any:
        super().on_message(message)
        self.close()


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
@pytest.mark.parametrize("connection_class", [Unwelcoming, Unforgiving])
async def test_the_pauses_grow_when_the_server_closes_each_connection_at_once(
    serve: Serve, clock: MovedLoop, transport: str, connection_class: type[Recorder]
):
    served = serve(connection_class)

    async def log_in_for_ever() -> None:
        async for client in tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io", transports=[transport]):
            with contextlib.suppress(tornadio.ConnectionClosed):
                await client.send("token")
                await client.recv()
                await client.recv()

    task = asyncio.create_task(log_in_for_ever())
    for _ in range(60):
        await clock.advance(60)
    await cancelled(task)
    # In an hour: every 30 seconds on average, after the first few.
    assert 70 < len(Recorder.opened) < 200


async def test_a_first_connection_that_is_refused_is_an_error_and_a_later_one_is_not(clock: MovedLoop):
    statuses = ["403 Forbidden", "200 OK", "403 Forbidden", "200 OK"]

    def respond(request: Request) -> bytes:
        if "/id/" in request.path:
            return response("401 Unauthorized")
        return response(statuses.pop(0), "~m~2~m~id")

    async with http_peer(respond) as peer:
        connector = tornadio.connect(peer.url, transports=POLLING)
        with pytest.raises(ConnectError, match="403 Forbidden") as raised:
            await clock.wait_for(anext(aiter(connector)))
        assert raised.value.is_permanent
        found: list[Any] = []
        task = collect(aiter(connector), found)
        await clock.wait_for(until(functools.partial(has_length, found, 2)))
        assert statuses == []
        await cancelled(task)


async def test_a_loop_that_is_left_sends_what_was_given_and_closes(serve: Serve):
    served = serve()
    async with limit():
        async for client in tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io", transports=POLLING):
            await client.send("last")
            break
        await client.wait_closed()
        assert client.unsent == ()
        assert client.close_code == 1000
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events[1:] == [("message", "last"), ("close",)]
