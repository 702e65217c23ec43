"""An `on_open` that waits for something that never comes holds no session for ever: after `open_timeout` it is over.

Who can make an application wait, for a slow backend or a lock, could fill it up with sessions that no expiry looks at.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.clients import KEY3, exchange, greeted, handshake
from tests.internals import callbacks_at_work, sessions_of
from tests.support import SOCKETS, ClientStream, Recorder, Served, until
from tornadio.settings import PROTOCOLS

TOLD = "on_open took longer than open_timeout"


class Hanging(Recorder):
    """Waits in `on_open` for ever, unless it is cancelled."""

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append(("cancelled",))


class Stubborn(Recorder):
    """Is not to be stopped by one cancellation."""

    def __init__(self) -> None:
        super().__init__()
        self.going_on = asyncio.Event()

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await self.going_on.wait()


async def start(served: Served, transport: str) -> ClientStream:
    """Ask for a session: `on_open` has been entered when this returns."""
    wire = await served.connect()
    before = len(Recorder.opened)
    path, headers = handshake(transport)
    await wire.send_request("GET", path, headers)
    if transport == "flashsocket":
        await wire.send(KEY3)
    await until(lambda: len(Recorder.opened) > before)
    return wire


async def answer_of(wire: ClientStream, transport: str) -> bytes:
    """What the client is told at last."""
    if transport not in SOCKETS:
        response = await wire.read_response()
        assert response.status == 503
        return response.body
    assert (await wire.read_head()).status == 101
    if transport == "flashsocket":
        return await wire.read_until(b"\xff\x00")
    assert (await wire.read_exactly(2))[0] == 0x88
    return await wire.read_exactly(2 + len(TOLD))


def said(transport: str) -> bytes:
    return {"websocket": (1013).to_bytes(2, "big") + TOLD.encode(), "flashsocket": b"8jKS'y:G*Co,Wxa-\xff\x00"}.get(
        transport, TOLD.encode()
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("tornadio")
    ]


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_an_on_open_that_hangs_is_cancelled_and_its_client_told(site, clock, transport, caplog):
    served = site(Hanging)
    wire = await start(served, transport)
    [connection] = Recorder.opened
    await clock.advance(29.9)
    assert connection.events == [("open", "")]
    await clock.advance(0.2)
    assert await answer_of(wire, transport) == said(transport)
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("cancelled",), ("close",)]
    assert (sessions_of(served.router), callbacks_at_work(served.router)) == ([], 0)
    [line] = warnings(caplog)
    assert line.endswith("cancelled on_open, it took longer than open_timeout (30 s)")


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_one_whose_client_has_gone_is_cancelled_too(site, clock, transport, caplog):
    served = site(Hanging, {"open_timeout": 2.5})
    wire = await start(served, transport)
    [connection] = Recorder.opened
    wire.reset()
    await clock.advance(2.4)
    assert connection.events == [("open", "")]
    await clock.advance(0.2)
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("cancelled",), ("close",)]
    assert (sessions_of(served.router), callbacks_at_work(served.router)) == ([], 0)
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_one_that_goes_on_when_it_is_cancelled_holds_neither_client_nor_session(
    site,
    clock,
    transport,
):
    served = site(Stubborn)
    wire = await start(served, transport)
    [connection] = Recorder.opened
    await clock.advance(30.1)
    assert await answer_of(wire, transport) == said(transport)
    assert sessions_of(served.router) == []
    assert connection.events == [("open", "")]  # on_close waits for its turn
    connection.going_on.set()
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("close",)]


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_one_that_returns_in_time_leaves_no_timer(serve, clock, transport):
    class Slow(Recorder):
        async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            await asyncio.sleep(0)
            super().on_open(request, *args, **kwargs)

    served = serve(Slow, {"open_timeout": 1000})
    client = await greeted(served, transport)
    assert [timer for timer in clock.timers if timer.when() > clock.time() + 900] == []
    await exchange(client, "in time")


async def test_a_room_that_is_full_of_them_is_empty_after_open_timeout(serve, clock):
    served = serve(Hanging, {"max_sessions": 60})
    for number in range(60):
        await start(served, PROTOCOLS[number % len(PROTOCOLS)])
    path, headers = handshake("xhr-polling")
    assert (await served.request("GET", path, headers)).text == "too many sessions: try again later"
    await clock.advance(30.1)
    await until(lambda: all(connection.events[-1] == ("close",) for connection in Recorder.opened))
    assert sessions_of(served.router) == []
