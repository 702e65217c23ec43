"""Connections to a server of ours: messages both ways, and how a connection ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import tornadio
from tests.internals import client_compresses
from tests.peers import Request, http_peer, response
from tests.support import POLLING, Recorder, Serve, Served, limit
from tornadio import proto

TRANSPORTS = ("websocket", "xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile")


def url_of(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}/socket.io"


class Echo(tornadio.SocketConnection):
    """Echoes; `{"close": CODE}` makes it close, `{"burst": N}` send N messages."""

    def on_message(self, message: Any) -> None:
        if isinstance(message, dict) and "close" in message:
            self.close(message["close"], "as it was asked")
        elif isinstance(message, dict) and "burst" in message:
            for number in range(message["burst"]):
                self.send(number)
        else:
            self.send(message)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_messages_arrive_as_they_were_sent(serve: Serve, transport):
    served = serve(Echo)
    messages = ["text", "", {"a": [1, None, "é"]}, "é中😀" * 100, "~m~3~m~abc", "~j~[]", 7, "x" * 1_000_000]
    async with limit(), tornadio.connect(url_of(served), transports=[transport]) as socket:
        assert (socket.transport, socket.is_closed, socket.close_code) == (transport, False, None)
        assert len(socket.session_id or "") == 32
        for message in messages:
            await socket.send(message)
        assert [await socket.recv() for _ in messages] == messages
    assert (socket.is_closed, socket.close_code, socket.unsent) == (True, 1000, ())


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_many_messages_travel_both_ways_at_once(serve: Serve, transport):
    served = serve(Echo)
    async with limit(), tornadio.connect(url_of(served), transports=[transport]) as socket:
        await socket.send({"burst": 10_000})
        await asyncio.gather(*(socket.send(f"number {number}") for number in range(200)))
        received = [await socket.recv() for _ in range(10_200)]
    assert [message for message in received if isinstance(message, int)] == list(range(10_000))
    assert [message for message in received if isinstance(message, str)] == [f"number {n}" for n in range(200)]


async def test_a_recv_that_is_cancelled_while_its_message_arrives_loses_nothing(serve: Serve):
    served = serve(Echo)
    async with limit(), tornadio.connect(url_of(served)) as socket:
        for turns in range(20):  # of the event loop, in one of which the message arrives behind the cancellation
            receiving = asyncio.create_task(socket.recv())
            await socket.send(turns)
            for _ in range(turns):
                await asyncio.sleep(0)
            receiving.cancel()
            try:
                assert await receiving == turns
            except asyncio.CancelledError:
                assert await socket.recv() == turns


@pytest.mark.parametrize(("code", "is_silent"), [(1000, True), (1001, True), (4000, False)])
async def test_iteration_ends_silently_with_a_normal_close_and_else_with_an_error(serve: Serve, code, is_silent):
    served = serve(Echo)
    async with limit(), tornadio.connect(url_of(served)) as socket:
        await socket.send(["first", {"close": code}])
        assert await anext(socket) == "first"
        with pytest.raises(StopAsyncIteration if is_silent else tornadio.ConnectionClosed):
            await anext(socket)
        for call in (socket.recv(), socket.send("late")):
            with pytest.raises(tornadio.ConnectionClosed, match=f"code {code}: as it was asked") as raised:
                await call
            assert (raised.value.code, raised.value.reason) == (code, "as it was asked")
        assert (socket.is_closed, socket.close_code, socket.close_reason) == (True, code, "as it was asked")


async def test_one_connect_is_one_connection_at_a_time(serve: Serve):
    connecting = tornadio.connect(url_of(serve(Echo)))
    async with limit(), connecting as socket:
        with pytest.raises(tornadio.CallerError, match="call connect once more for another connection"):
            async with connecting:
                pass
        await socket.send("still open")
        assert await socket.recv() == "still open"
    async with limit(), connecting as again:
        await again.send("once more")
        assert await again.recv() == "once more"


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has eager tasks first")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_tasks_may_be_eager(serve: Serve, transport):
    """On both sides: what begins at once must not be taken for what has not begun yet."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    async with limit(), tornadio.connect(url_of(serve()), transports=[transport]) as socket:
        assert await socket.recv() == "welcome"
        for number in range(3):
            await socket.send(number)
            assert await socket.recv() == number
        await socket.send("close")
        assert [message async for message in socket] == []
    [connection] = Recorder.opened
    await connection.wait_closed()
    assert connection.events[-2:] == [("message", "close"), ("close",)]


async def test_the_server_is_told_how_the_client_has_closed(serve: Serve):
    served = serve()
    async with limit(), tornadio.connect(url_of(served)) as socket:
        assert await socket.recv() == "welcome"
        await socket.close(4321, "enough")
    [connection] = Recorder.opened
    await connection.wait_closed()
    assert (connection.close_code, connection.close_reason) == (4321, "enough")


@pytest.mark.parametrize("transport", [each for each in TRANSPORTS if each != "websocket"])
async def test_the_server_is_told_at_once_that_the_client_has_closed(serve: Serve, caplog, transport):
    served = serve()
    async with limit(), tornadio.connect(url_of(served), transports=[transport]) as socket:
        assert await socket.recv() == "welcome"
        await socket.send("last")
    assert (socket.close_code, socket.close_reason) == (1000, "")
    [connection] = Recorder.opened
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("message", "last"), ("close",)]
    assert (connection.close_code, connection.close_reason) == (1005, "the client closed the connection")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO and "401" in record.getMessage()]


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("answer", [response("404 Not Found", "none"), None, "never"])
@pytest.mark.parametrize("session_id", ["0123456789abcdef0123456789abcdef", "31314224445286265"])
async def test_a_server_that_does_not_take_that_holds_up_nobody_and_others_are_not_told(transport, answer, session_id):
    payload = (
        proto.encode(session_id) if transport == "xhr-polling" else f'io.JSONP[0]._("{proto.encode(session_id)}");'
    )

    def respond(request: Request) -> bytes | asyncio.Future[bytes] | None:
        if request.method == "GET" and f"/{session_id}/" not in request.path:
            return response("200 OK", payload)
        if request.method == "GET" or answer == "never":
            return asyncio.get_running_loop().create_future()
        whole: bytes | None = answer
        return whole

    async with http_peer(respond) as peer, limit():
        socket = await tornadio.connect(peer.url, transports=[transport], close_timeout=0.2)
        await socket.close()
        posts = [request for request in peer.requests if request.method == "POST"]
    assert (socket.is_closed, socket.close_code) == (True, 1000)
    empty = [("", "0")] if len(session_id) == 32 else []
    assert [(request.body, request.headers["content-length"]) for request in posts] == empty


@pytest.mark.parametrize("context_takeover", [False, True])
async def test_messages_are_compressed_where_both_sides_want_that(serve: Serve, context_takeover):
    served = serve(Echo, {"compression": True})
    compression = {"threshold": 10, "context_takeover": context_takeover}
    async with limit(), tornadio.connect(url_of(served), compression=compression) as client:
        for number in range(20):
            message = {"number": number, "text": "é😀 repeated " * 1000}
            await client.send(message)
            assert await client.recv() == message
        assert client_compresses(client)
    async with limit(), tornadio.connect(url_of(serve(Echo)), compression=True) as client:
        assert not client_compresses(client)
        await client.send("hello" * 1000)
        assert await client.recv() == "hello" * 1000


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_json_may_travel_without_its_mark(serve: Serve, transport):
    served = serve(Echo, {"json": "plain"})
    trace: list[str] = []
    options: dict[str, Any] = {"transports": [transport], "trace": lambda _, payload: trace.append(payload)}
    async with limit(), tornadio.connect(url_of(served), json="plain", **options) as client:
        for message in ({"a": "é"}, [1, 2][0], "text"):
            await client.send(message)
            received = await client.recv()
            assert received == (message if message != 1 else "1")
    assert not any("~j~" in payload for payload in trace)
