"""Time that a test moves: `testing.clock`."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest
import websockets
from tornado.ioloop import IOLoop, PeriodicCallback

import tornadio
from tests.support import limit
from tornadio import proto, testing


class Echo(tornadio.SocketConnection):
    ends: list[tuple[int | None, str]] = []

    def on_message(self, message: Any) -> None:
        self.send(message)

    def on_close(self) -> None:
        self.ends.append((self.close_code, self.close_reason))


async def test_timers_run_one_after_another_each_at_its_time():
    fired: list[Any] = []
    loop = asyncio.get_running_loop()
    async with testing.clock() as clock:
        started = loop.time()

        def again() -> None:
            fired.append(("again", loop.time() - started))
            loop.call_later(7, again)

        loop.call_later(10, lambda: fired.append(("ten", loop.time() - started)))
        loop.call_later(0, again)
        loop.call_later(3, lambda: fired.append(("three", clock.elapsed)))
        loop.call_later(15, fired.append, "too late")
        await clock.advance(14.9)
        assert fired == [("again", 0), ("three", 3), ("again", 7), ("ten", 10), ("again", 14)]
        assert clock.elapsed == 14.9
        await clock.advance(0.1)
        assert fired[-1] == "too late"


async def test_what_a_timer_causes_is_handled_before_time_moves_on():
    """By way of a socket, a thread and several tasks."""
    at = []
    one, other = socket.socketpair()
    reader, closer = await asyncio.open_connection(sock=one)
    _, writer = await asyncio.open_connection(sock=other)

    async def write() -> None:
        await asyncio.sleep(5)
        await asyncio.to_thread(time.sleep, 0.05)
        writer.write(b"x")

    async def read() -> None:
        await reader.readexactly(1)
        await asyncio.create_task(asyncio.sleep(0))
        at.append(clock.elapsed)

    async with testing.clock() as clock:
        tasks = asyncio.gather(write(), read(), asyncio.sleep(5.1))
        await clock.advance(60)
        assert at == [5]
        assert tasks.done()
    for each in (closer, writer):
        each.close()
        await each.wait_closed()


async def test_a_thread_that_waits_for_something_does_not_hold_time_up():
    asked = threading.Event()
    async with testing.clock() as clock:
        waiting = asyncio.create_task(asyncio.to_thread(asked.wait))
        asyncio.get_running_loop().call_later(1, asked.set)
        await clock.advance(2)
        await waiting


async def test_a_task_that_never_sleeps_does_not_hold_time_up():
    done = False

    async def spin() -> None:
        while not done:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async with testing.clock() as clock:
        spinning = asyncio.create_task(spin())
        await clock.advance(3)
        done = True
        await spinning


async def test_a_heartbeat_comes_after_12_s_and_the_end_of_a_silent_client_after_42():
    Echo.ends.clear()
    async with testing.serve(Echo) as server, testing.clock() as clock:
        async with websockets.connect(server.websocket_url, ping_interval=None) as socket:
            await socket.recv()
            await clock.advance(11.9)
            assert server.connections
            await clock.advance(0.1)
            assert await socket.recv() == proto.encode_heartbeat(1)
            await clock.advance(29.9)
            assert [*server.connections] != []
            await clock.advance(0.1)
            assert Echo.ends == [(1001, "no answer to heartbeats")]
        assert clock.elapsed == 42


async def test_connections_that_were_there_before_are_moved_as_well():
    Echo.ends.clear()
    async with (
        testing.serve(Echo) as server,
        server.connect() as answering,
        websockets.connect(server.websocket_url, ping_interval=None) as silent,
    ):
        await silent.recv()
        async with testing.clock() as clock:
            await clock.advance(25)
            assert len(server.connections) == 2
        await answering.send("still here")
        assert await answering.recv() == "still here"
        async with testing.clock() as clock:
            await clock.advance(25)
        assert Echo.ends == [(1001, "no answer to heartbeats")]
        assert not answering.is_closed


async def test_what_a_connection_sends_counts_from_when_it_was_sent():
    """Also where the session had read the event loop's own time before."""
    heartbeats = []

    def trace(direction: str, payload: str) -> None:
        if direction == "in" and proto.HEARTBEAT in payload:
            heartbeats.append(payload)

    async with testing.serve(Echo) as server, server.connect(trace=trace) as socket, testing.clock() as clock:
        await clock.advance(100)
        assert len(heartbeats) == 8
        await socket.send("x")
        assert await socket.recv() == "x"
        await clock.advance(11.9)
        assert len(heartbeats) == 8
        await clock.advance(0.1)
        assert len(heartbeats) == 9


async def test_waiting_lets_time_pass_up_to_what_is_waited_for():
    def work() -> str:
        time.sleep(0.7)
        return "done"

    async with testing.clock() as clock:
        await clock.wait_for(asyncio.sleep(1000))
        assert clock.elapsed == 1000
        with pytest.raises(TimeoutError):
            await clock.wait_for(asyncio.wait_for(asyncio.Event().wait(), 5))
        assert clock.elapsed == 1005
        # What comes without a timer is waited for as ever.
        assert await clock.wait_for(asyncio.to_thread(work)) == "done"
        assert clock.elapsed == 1005


async def test_tornados_timers_are_moved():
    calls = []
    periodic = PeriodicCallback(lambda: calls.append(clock.elapsed), 5000)
    async with testing.clock() as clock:
        periodic.start()
        IOLoop.current().call_later(7, calls.append, "later")
        await clock.advance(16)
        periodic.stop()
    assert calls == [5, "later", 10, 15]


async def test_time_goes_on_by_itself_from_where_it_is():
    loop, io_loop = asyncio.get_running_loop(), IOLoop.current()
    before, wall = loop.time(), time.time()
    async with testing.clock() as clock:
        await clock.advance(100)
        moved = loop.time()
    assert moved >= before + 100
    assert loop.time() >= moved
    assert io_loop.time() >= wall + 100
    async with limit():
        await asyncio.sleep(0.01)  # not for 100 s
    assert loop.time() >= moved + 0.009


async def test_a_test_that_hangs_is_ended_after_a_time_of_the_wall():
    async def test() -> None:
        async with testing.clock(limit=0.1) as clock:
            await clock.advance(3)
            async with asyncio.timeout(1):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"more than 0\.1 s of real time, with its clock at 3 s: .*clock\.advance"):
        await test()
    await asyncio.sleep(0)  # the test itself goes on


async def test_mistakes_are_told():
    clock = testing.clock()
    with pytest.raises(tornadio.CallerError, match=r"use 'async with testing\.clock\(\)'"):
        await clock.advance(1)
    async with clock:
        with pytest.raises(tornadio.CallerError, match="it never goes back"):
            await clock.advance(-1)
        with pytest.raises(tornadio.CallerError, match="has a clock already"):
            await testing.clock().__aenter__()

    class OtherLoop(asyncio.AbstractEventLoop):
        pass

    with pytest.raises(
        tornadio.CallerError, match=r"the time of .*OtherLoop can't be moved: run the test on asyncio's"
    ):
        clock.install(OtherLoop())  # type: ignore[abstract]


async def test_a_server_sets_no_timer_of_its_own_in_time_that_is_moved():
    async with testing.clock() as clock, testing.serve(Echo):
        await clock.advance(0)
        assert clock.elapsed == 0
        waiting = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(7200, waiting.set_result, None)
        await clock.wait_for(waiting)
        assert clock.elapsed == 7200
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert [timer for timer in timers if not timer.cancelled()] == []
