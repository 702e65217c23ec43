"""What happens between two steps: after a handler, before its answer, with last words on their way.

Each of these once left a connection that nobody would ever end, or an answer that never came whole.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

from tests.clients import connect, frame, greeted, open_client
from tests.internals import checks_expiry, is_writing, sessions_of
from tests.slow_clients import connect_without_room, resume_reading, stop_reading
from tests.support import HTTP_TRANSPORTS, PERSISTENT, ClientStream, Recorder, limit, until
from tornadio import proto
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)
MEBIBYTE = "x" * (1 << 20)


class Waiting(Recorder):
    """on_open waits; the last one then tells the others more than they may have waiting."""

    go_on: asyncio.Event

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        await self.go_on.wait()
        if self is Recorder.opened[-1]:
            self.broadcast("x" * 5000)


@every_transport
async def test_a_session_that_is_dropped_when_on_open_has_just_returned_ends_towards_its_client(serve, transport):
    Waiting.go_on = asyncio.Event()
    served = serve(Waiting, {"max_send_buffer": 1024})
    first = asyncio.ensure_future(open_client(served, transport))
    await until(lambda: len(Recorder.opened) == 1)
    second = asyncio.ensure_future(open_client(served, transport))
    await until(lambda: len(Recorder.opened) == 2)
    Waiting.go_on.set()
    async with limit():
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(outcomes[0], Exception)  # it was closed, or answered 401
    assert not isinstance(outcomes[1], BaseException)
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events[-1] == ("close",)


@pytest.mark.parametrize("transport", PERSISTENT)
async def test_without_a_descriptor_to_spare_a_client_is_served_all_the_same(serve, monkeypatch, transport):
    def dup(self: socket.socket) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "dup", dup)
    client = await greeted(serve(), transport)
    await client.send("hello")
    assert await client.receive() == ["hello"]
    await client.leave()
    await Recorder.opened[0].wait_closed()


class Stopped(BaseException):
    """What is no error, and ends a handler all the same."""


@every_transport
@pytest.mark.parametrize("how", ["cancelled", "stopped"])
async def test_an_on_open_that_is_ended_from_outside_ends_its_connection(serve, transport, how):
    class Ended(Recorder):
        async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)
            await asyncio.sleep(0)
            if how == "stopped":
                raise Stopped
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    served = serve(Ended)
    async with limit():
        outcome = (await asyncio.gather(open_client(served, transport), return_exceptions=True))[0]
    assert isinstance(outcome, Exception)
    await Recorder.opened[0].wait_closed()
    assert sessions_of(served.router) == []


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize("how", ["cancelled", "stopped"])
async def test_a_post_whose_handler_is_ended_from_outside_is_answered_500(serve, transport, how):
    class Ended(Recorder):
        async def on_message(self, message: Any) -> None:
            super().on_message(message)
            await asyncio.sleep(0)
            if how == "stopped":
                raise Stopped
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    served = serve(Ended)
    session_id = await served.start(transport)
    assert (await served.post(session_id, "first", "second", transport=transport)).status == 500
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("message", "first"), ("close",)]


# -- Last words --------------------------------------------------------------------------------------------------------


class Talker(Recorder):
    def on_message(self, message: Any) -> None:
        for _ in range(12):
            self.send(MEBIBYTE)


async def read_messages(wire: ClientStream) -> tuple[int, bytes]:
    """Read all whole messages of 1 MiB up to the end: their number, and what stands behind them."""
    size = 10 + len(proto.encode(MEBIBYTE))
    data = await wire.read_to_end()
    whole = 0
    while data[:2] == b"\x81\x7f" and len(data) >= size:
        data = data[size:]
        whole += 1
    return whole, data


@pytest.mark.parametrize("half_closed", [False, True], ids=["open", "half closed"])
@pytest.mark.parametrize(
    ("last", "code"),
    [(frame(1, b"nonsense"), 1007), (frame(8, b"\x03\xe8"), 1000)],
    ids=["a bad frame", "a close frame"],
)
async def test_what_is_under_way_arrives_whole_and_the_close_frame_behind_it(serve, last, code, half_closed):
    served = serve(Talker)
    wire = await connect_without_room(served.port)
    served.wires.append(wire)
    handshake = (
        "GET /socket.io/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await wire.send(handshake.encode())
    await wire.read_head()
    await wire.read_until(b"welcome")
    stop_reading(wire)
    await wire.send(frame(1, proto.encode("go").encode()))
    await until(lambda: served.router.connections and is_writing(served.router.connections[0]))
    await wire.send(last)
    if half_closed:
        wire.writer.write_eof()
    await Recorder.opened[0].wait_closed()
    resume_reading(wire)
    whole, rest = await read_messages(wire)
    assert whole >= 1
    assert rest[:1] == b"\x88"
    assert int.from_bytes(rest[2:4], "big") == code


async def test_a_websocket_of_an_application_with_slots_is_told(serve, caplog):
    class Slotted(Recorder):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "_tornadio_session":
                raise AttributeError(name)
            super().__setattr__(name, value)

    served = serve(Slotted)
    peer = await connect(served)
    assert await peer.ended() == 1011
    assert sessions_of(served.router) == []
    assert not checks_expiry(served.router)
