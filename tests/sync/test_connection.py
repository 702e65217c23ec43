"""The client for threads against a server in the test's own loop: what threads do runs in `asyncio.to_thread`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import socket
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import tornadio
import tornadio.sync
from tests.support import LARGE, Recorder, Served, limit, until
from tornadio.sync.loopthread import LoopThread

TRANSPORTS = ("websocket", "xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile")


def url_of(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}/socket.io"


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    async with limit():
        return await asyncio.to_thread(function, *args, **kwargs)


async def connect(served: Served, **options: Any) -> tornadio.sync.Connection:
    """A connection that has received the server's `welcome`."""
    connection: tornadio.sync.Connection = await in_thread(tornadio.sync.connect, url_of(served), **options)
    assert await in_thread(connection.recv) == "welcome"
    return connection


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_messages_both_ways(serve, transport):
    def program() -> None:
        with tornadio.sync.connect(url, transports=[transport]) as connection:
            assert connection.transport == transport
            session_id = Recorder.opened[0].session_id
            assert connection.session_id == session_id
            assert repr(connection) == f"<tornadio.sync.Connection {transport} {session_id[:8]}..., open>"
            messages = ["é😀", {"a": [1]}, "~j~text", LARGE[:100_000], *map(str, range(500))]
            for message in messages:
                connection.send(message)
            assert [connection.recv(timeout=60) for _ in range(len(messages) + 1)] == ["welcome", *messages]
            connection.flush()
            assert (connection.is_closed, connection.close_code, connection.unsent) == (False, None, ())
            connection.send("close")
            assert list(connection) == []
            assert connection.is_closed
        with pytest.raises(tornadio.ConnectionClosed) as closed:
            connection.send("too late")
        assert closed.value.code == connection.close_code
        with pytest.raises(tornadio.ConnectionClosed):
            connection.recv()

    url = url_of(serve())
    await in_thread(program)


async def test_a_timeout_loses_nothing(serve):
    connection = await connect(serve())
    for timeout in (0, 0.001):
        with pytest.raises(TimeoutError, match=f"no message for {timeout:g} seconds"):
            await in_thread(connection.recv, timeout=timeout)
    Recorder.opened[0].send("late")
    assert await in_thread(connection.recv, timeout=60) == "late"
    for wrong in (-1, float("nan")):
        with pytest.raises(tornadio.SettingsError, match="timeout must be None or a number of seconds, 0 or above"):
            await in_thread(connection.recv, wrong)
    await in_thread(connection.close)


async def test_what_waits_is_received_while_the_event_loop_is_busy(serve):
    arrived, is_blocked, may_go_on = threading.Semaphore(0), threading.Event(), threading.Event()

    def trace(direction: str, payload: str) -> None:
        if direction == "in":
            arrived.release(payload.count("~m~") // 2)
        elif "block" in payload:
            is_blocked.set()
            may_go_on.wait(60)

    def program() -> None:
        connection = tornadio.sync.connect(url_of(served), trace=trace)
        for text in ("one", "two", "three"):
            connection.send(text)
        for _ in range(5):  # with the session id and the greeting
            assert arrived.acquire(timeout=60)
        connection.flush()  # begins a turn of the loop behind the one that brings what has arrived to this thread
        connection.send("block")
        assert is_blocked.wait(60)
        try:
            assert [connection.recv(0) for _ in range(4)] == ["welcome", "one", "two", "three"]
        finally:
            may_go_on.set()
        connection.close()

    served = serve()
    await in_thread(program)


async def test_who_does_not_receive_is_not_overrun(serve):
    connection = await connect(serve(settings={"max_send_buffer": 1 << 30}))
    [server] = Recorder.opened
    number = 100
    for count in range(number):
        server.send(f"{count} {LARGE[:1_000_000]}")
    await in_thread(connection.send, "still heard")
    await settles(lambda: server.send_buffer_size)
    assert server.send_buffer_size > 85_000_000  # it waits in the server, not in this process a second time
    assert server.events[-1] == ("message", "still heard")
    for count in range(number):
        assert (await in_thread(connection.recv, 60)).startswith(f"{count} ")
    assert await in_thread(connection.recv, 60) == "still heard"
    await in_thread(connection.close)


async def settles(value: Callable[[], int]) -> None:
    """Wait until nothing moves any more."""
    before = -1
    while before != value():
        before = value()
        await asyncio.sleep(0.3)


async def test_who_sends_waits_for_a_server_that_does_not_read(serve):
    class Slow(Recorder):
        async def on_message(self, message: Any) -> None:
            await may_read.wait()
            self.events.append(message)

    may_read = asyncio.Event()
    connection = await connect(serve(Slow), max_send_buffer=1 << 20)
    [server] = Recorder.opened
    sent: list[int] = []

    def program() -> None:
        for number in range(100):
            connection.send(f"{number} {LARGE[:1_000_000]}")
            sent.append(number)

    sending = asyncio.ensure_future(in_thread(program))
    await until(lambda: len(sent) > 2)
    await settles(lambda: len(sent))
    assert len(sent) < 50
    may_read.set()
    await sending
    await in_thread(connection.close)
    async with limit():
        await server.wait_closed()
    received = [message.split()[0] for message in server.events if isinstance(message, str)]
    assert received == [str(number) for number in range(100)]


async def test_a_burst_arrives_however_slowly_it_is_received(serve):
    class Bursts(Recorder):
        def on_message(self, message: Any) -> None:
            for number in range(message):
                self.send(str(number))

    def program() -> None:
        with tornadio.sync.connect(url) as connection:
            for _ in range(30):
                connection.send(1000)
            for received in range(30_000):
                if received % 50 == 0:
                    time.sleep(0)  # the loop goes on
                assert connection.recv(timeout=60) == ("welcome" if not received else str((received - 1) % 1000))

    url = url_of(serve(Bursts))
    await in_thread(program)


async def test_several_threads_send_and_receive(serve):
    connection = await connect(serve())
    received: list[str] = []

    def send(name: str) -> None:
        for number in range(300):
            connection.send(f"{name} {number}")

    def receive() -> None:
        received.extend(connection)

    receiving = [asyncio.create_task(in_thread(receive)) for _ in range(2)]
    await asyncio.gather(*(in_thread(send, name) for name in "abc"))
    await until(lambda: len(received) == 900)
    await in_thread(connection.close)
    await asyncio.gather(*receiving)
    assert sorted(received) == sorted(f"{name} {number}" for name in "abc" for number in range(300))
    messages = [event[1].split() for event in Recorder.opened[0].events if event[0] == "message"]
    for name in "abc":
        assert [int(number) for sender, number in messages if sender == name] == list(range(300))


async def test_closing_wakes_who_waits(serve):
    connection = await connect(serve())
    waiting = asyncio.create_task(in_thread(connection.recv))
    iterating = asyncio.create_task(in_thread(list, connection))
    for _ in range(2):
        await in_thread(connection.close, 3000, "enough")
    with pytest.raises(tornadio.ConnectionClosed) as closed:
        await waiting
    assert (closed.value.code, closed.value.reason) == (3000, "enough")
    with pytest.raises(tornadio.ConnectionClosed):
        await iterating
    await in_thread(connection.wait_closed)
    async with limit():
        await Recorder.opened[0].wait_closed()
    assert (Recorder.opened[0].close_code, Recorder.opened[0].close_reason) == (3000, "enough")
    with pytest.raises(tornadio.CloseError):
        await in_thread(connection.close, 1005)


async def test_a_failure_is_raised_behind_the_messages_before_it(serve):
    connection = await connect(serve())
    for text in ("one", "two", "fail"):
        await in_thread(connection.send, text)
    received: list[Any] = []
    with pytest.raises(tornadio.ConnectionClosed, match="1011"):
        await in_thread(received.extend, connection)
    assert received == ["one", "two"]
    assert connection.close_code == 1011


async def test_an_error_in_the_block_ends_the_connection_at_once(serve):
    def program() -> None:
        with tornadio.sync.connect(url):
            raise ZeroDivisionError

    url = url_of(serve())
    with pytest.raises(ZeroDivisionError):
        await in_thread(program)
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].close_code == 1001


async def test_what_was_not_sent_is_told(serve):
    class Deaf(Recorder):
        async def on_message(self, message: Any) -> None:
            await asyncio.Event().wait()

    connection = await connect(serve(Deaf), close_timeout=0.1)
    messages = [f"{number} {LARGE[:1_000_000]}" for number in range(12)]
    for message in messages:
        await in_thread(connection.send, message)
    await in_thread(connection.close)
    unsent = connection.unsent
    assert len(unsent) > 2
    assert [*unsent] == messages[-len(unsent) :]
    with pytest.raises(tornadio.ConnectionClosed) as closed:
        await in_thread(connection.recv)
    assert closed.value.unsent == unsent


async def test_wrong_options_and_messages_are_errors_at_once(serve):
    for function in (tornadio.sync.connect, tornadio.sync.reconnecting):
        with pytest.raises(tornadio.SettingsError, match="did you mean 'websocket'"):
            await in_thread(function, "http://localhost/socket.io", transports=["websockets"])
    connection = await connect(serve())
    for message in (object(), float("nan"), b"\xff"):
        with pytest.raises(tornadio.EncodeError):
            await in_thread(connection.send, message)
    with pytest.raises(tornadio.EncodeError):
        await in_thread(connection.send_raw, "\ud800")
    await in_thread(connection.send_raw, "~m~1~m~a~m~1~m~b")
    assert [await in_thread(connection.recv) for _ in range(2)] == ["a", "b"]
    await in_thread(connection.send, [])
    await in_thread(connection.close)


async def test_a_thread_with_an_event_loop_is_told_what_to_use(serve):
    served = serve()
    connection = await connect(served)
    calls: list[Callable[[], Any]] = [
        lambda: tornadio.sync.connect(url_of(served)),
        lambda: next(iter(tornadio.sync.reconnecting(url_of(served)))),
        lambda: connection.send("x"),
        connection.recv,
        connection.flush,
        connection.close,
        connection.wait_closed,
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # coroutines that nobody awaited, too
        for call in calls:
            with pytest.raises(tornadio.CallerError, match=r"use tornadio\.connect there, or asyncio\.to_thread"):
                call()
        gc.collect()
    await in_thread(connection.close)


def test_who_has_no_threads_is_told(monkeypatch):
    """As with gevent and eventlet, whose threads are greenlets of the one that there is."""
    monkeypatch.setattr(threading, "get_native_id", lambda: 5)
    monkeypatch.setattr(threading.Thread, "native_id", 5)
    thread = LoopThread()
    try:
        with pytest.raises(tornadio.CallerError, match="needs threads of the system, which gevent or eventlet"):
            thread.check_caller()
    finally:
        thread.stop()


async def test_no_connection_is_an_error(serve):
    served = serve(settings={"origins": ["http://a.example"]})
    with pytest.raises(tornadio.ConnectError) as refused:
        await in_thread(tornadio.sync.connect, url_of(served), origin="http://b.example")
    assert refused.value.status == 403


async def test_one_that_nobody_refers_to_is_closed_with_a_warning(serve):
    def program() -> None:
        connection = tornadio.sync.connect(url)
        with pytest.warns(ResourceWarning, match="unclosed connection <tornadio.sync.Connection websocket .*, open>"):
            del connection

    url = url_of(serve())
    await in_thread(program)
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].close_code == 1000


async def test_all_connections_share_one_thread(serve):
    served = serve()
    connections = [await connect(served) for _ in range(3)]
    assert [thread.name for thread in threading.enumerate()].count("tornadio.sync") == 1
    for connection in connections:
        await in_thread(connection.close)


async def test_reconnecting(serve):
    class Counting(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)
            self.send(len(Recorder.opened))

    def program() -> None:
        for connection in tornadio.sync.reconnecting(url, min_delay=0.01):
            assert connection.recv() == "welcome"
            numbers.append(connection.recv())
            if len(numbers) == 1:
                connection.send("fail")
                with pytest.raises(tornadio.ConnectionClosed):
                    connection.recv()
            if len(numbers) == 3:
                connection.send("last")
                break

    numbers: list[int] = []
    url = url_of(serve(Counting))
    await in_thread(program)
    assert numbers == [1, 2, 3]
    for server in Recorder.opened:
        await server.wait_closed()
    assert [server.close_code for server in Recorder.opened] == [1011, 1000, 1000]
    assert ("message", "last") in Recorder.opened[2].events


@pytest.mark.parametrize("is_away", [False, True])
async def test_reconnecting_ends_when_another_thread_closes_it(serve, is_away):
    def program() -> None:
        for connection in connections:
            began.set()
            with contextlib.suppress(tornadio.ConnectionClosed):
                connection.recv()
                connection.recv()
        assert list(connections) == []

    began = threading.Event()
    url = url_of(serve())
    if is_away:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"ws://127.0.0.1:{listener.getsockname()[1]}/socket.io"
    connections = tornadio.sync.reconnecting(url, min_delay=3600, max_delay=3600)
    running = asyncio.ensure_future(in_thread(program))
    await (until(lambda: connections._opening is not None) if is_away else asyncio.to_thread(began.wait))
    await asyncio.to_thread(connections.close)
    async with limit():
        await running
    for server in Recorder.opened:
        await server.wait_closed()
        assert server.close_code == 1000


async def test_several_threads_may_close_reconnecting_at_the_same_time(serve, caplog):
    connections = tornadio.sync.reconnecting(url_of(serve()))
    assert (await in_thread(next, connections)).is_closed is False
    barrier = threading.Barrier(4)

    def close() -> None:
        barrier.wait()
        connections.close()

    await asyncio.gather(*(in_thread(close) for _ in range(4)))
    await until(lambda: not connections._thread._tasks)
    gc.collect()
    assert caplog.records == []


@pytest.mark.parametrize("function", [tornadio.sync.connect, tornadio.sync.reconnecting])
def test_the_parameters_are_those_of_connect(function):
    assert inspect.signature(function).parameters == inspect.signature(tornadio.connect).parameters


async def test_an_interrupt_at_any_line_leaves_a_connection_that_works(serve):
    """The interrupt is a trace function's, which can be as exact as no signal."""

    def interrupt_after(lines: int, function: Callable[[], object]) -> bool:
        """Call a function, and interrupt it before a line, of its callees too; whether it had so many."""
        remaining = lines

        def trace(frame: types.FrameType, event: str, argument: object) -> Any:
            nonlocal remaining
            if event == "line" and (remaining := remaining - 1) < 0:
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            function()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    def program() -> None:
        with tornadio.sync.connect(url) as connection:
            assert connection.recv(timeout=60) == "welcome"
            lines = 0
            while interrupt_after(lines, lambda: connection.send("interrupted")):
                lines += 1
                connection.send(lines)
                while connection.recv(timeout=60) != lines:
                    pass
            assert lines > 10

    url = url_of(serve())
    await in_thread(program)
