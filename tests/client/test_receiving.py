"""What a server sends: heartbeats wherever they stand, more than is received, what it may not, and nothing at all."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import operator
import weakref
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed as PeerClosed

import tornadio
from tests.internals import client_session
from tests.peers import Request, http_peer, read_to_close, response, tcp_peer, upgrade, websocket_peer
from tests.support import MovedLoop, Recorder, Serve, is_failure, limit, until
from tornadio import ConnectionClosed, proto

TRANSPORTS = ("websocket", "xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile")
SOCKET = ["websocket"]


class Payloads:
    """A WebSocket server that sends these payloads, and notes what it is sent, to the end."""

    def __init__(self, *payloads: str | bytes) -> None:
        self.payloads = payloads
        self.received: list[str] = []
        self.closed: asyncio.Future[tuple[int | None, str | None]] = asyncio.get_running_loop().create_future()

    async def handle(self, connection: ServerConnection) -> None:
        await connection.send("~m~2~m~id")
        for payload in self.payloads:
            await connection.send(payload)
        try:
            while True:
                self.received.append(str(await connection.recv()))
        except PeerClosed:
            self.closed.set_result((connection.close_code, connection.close_reason))


# -- Heartbeats --------------------------------------------------------------------------------------------------------


async def test_heartbeats_are_answered_wherever_they_stand():
    server = Payloads("~m~4~m~~h~1~m~2~m~hi~m~5~m~~h~23", "~m~2~m~ho~m~4~m~~h~4~m~2~m~he")
    async with websocket_peer(server.handle) as peer, limit():
        async with tornadio.connect(peer.url, transports=SOCKET) as client:
            assert [await client.recv() for _ in range(3)] == ["hi", "ho", "he"]
        await server.closed
    assert server.received == ["~m~4~m~~h~1", "~m~5~m~~h~23", "~m~4~m~~h~4"]


@pytest.mark.parametrize("transport", ["websocket", "xhr-multipart", "htmlfile"])
async def test_a_client_that_says_nothing_outlives_the_servers_heartbeats(serve: Serve, clock: MovedLoop, transport):
    served = serve(settings={"heartbeat_interval": 5, "heartbeat_timeout": 5})
    url = f"ws://127.0.0.1:{served.port}/socket.io"
    trace: list[tuple[str, str]] = []
    async with tornadio.connect(url, transports=[transport], trace=lambda *entry: trace.append(entry)) as client:
        assert await client.recv() == "welcome"
        for number in range(1, 11):
            await clock.advance(5)
            echo = ("out", f"~m~{len(str(number)) + 3}~m~~h~{number}")
            await until(functools.partial(operator.contains, trace, echo))
            assert ("in", echo[1]) in trace
        assert not client.is_closed


@pytest.mark.bulk
async def test_heartbeats_alone_never_fill_what_waits_to_be_received():
    """They are much more than may wait, but none of them does."""
    heartbeats = "~m~8~m~~h~12345" * 500
    server = Payloads(*[heartbeats] * 200, "~m~4~m~last")
    async with limit(), websocket_peer(server.handle) as peer, tornadio.connect(peer.url, transports=SOCKET) as client:
        assert await client.recv() == "last"


async def test_echoes_overtake_the_messages_that_wait(serve: Serve):
    may_read = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        await may_read.wait()
        await read_to_close(reader)

    trace: list[str] = []

    async with tcp_peer(handle) as peer, limit():
        options: dict[str, Any] = {"transports": SOCKET, "trace": lambda _, payload: trace.append(payload)}
        async with tornadio.connect(peer.url, **options) as client:
            while len(client.unsent) < 20:
                await client.send("x" * 100_000)
            waiting = len(client.unsent)
            await client.send("behind")
            written = len(trace)
            client_session(client).payload_received("~m~5~m~~h~99")
            may_read.set()
            await client.flush()
        assert waiting >= 20
        assert trace[written : written + 2] == ["~m~5~m~~h~99", "~m~5~m~~h~99"]  # in, and out
        assert trace[-1] == "~m~6~m~behind"


# -- Much --------------------------------------------------------------------------------------------------------------


class Flooding(tornadio.SocketConnection):
    """Sends without end, as fast as the client takes it."""

    sent = 0

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        Recorder.opened.append(self)
        self.sending = asyncio.create_task(self.send_all())

    async def send_all(self) -> None:
        while not self.is_closed:
            self.send(f"{self.sent} {'x' * 1000}")
            self.sent += 1
            await self.drain()

    def on_close(self) -> None:
        self.sending.cancel()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_is_not_read_while_too_much_waits_to_be_received(serve: Serve, transport):
    served = serve(Flooding)
    sizes = [0]
    options: dict[str, Any] = {"transports": [transport], "trace": lambda _, payload: sizes.append(len(payload))}
    async with limit(), tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io", **options) as client:
        number = 0
        while len(sizes) > number or number < 3:  # until no more is read
            number = len(sizes)
            for _ in range(500):
                await asyncio.sleep(0)
            assert sum(sizes) < 1 << 23
        for number in range(10_000):
            assert (await client.recv()).startswith(f"{number} ")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_that_is_not_read_is_closed_without_a_word(serve: Serve, transport, caplog):
    served = serve(Flooding)
    async with limit(), tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io", transports=[transport]) as client:
        await until(lambda: client_session(client).messages)
        for _ in range(50):
            await asyncio.sleep(0)
    assert [record for record in caplog.records if is_failure(record)] == []


async def test_very_many_frames_in_a_payload_do_not_hold_up_the_loop():
    number = 200_000
    server = Payloads("".join(["~m~0~m~"] * number + ["~m~4~m~~h~7"]), "~m~4~m~last")
    async with limit(), websocket_peer(server.handle) as peer, tornadio.connect(peer.url, transports=SOCKET) as client:
        session = client_session(client)
        await until(lambda: session.messages)
        for received in range(number):
            assert len(session.messages) < 7000  # not all are decoded at once
            assert await client.recv() == "", received
            if received % 100 == 0:
                await asyncio.sleep(0)
        assert await client.recv() == "last"
        await until(lambda: server.received)
        assert server.received == ["~m~4~m~~h~7"]


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        ("~m~2~m~hi~m~9~m~hello", 1007, "9 UTF-16 code units"),
        ("~m~2~m~hi~m~7~m~~j~{a:1}", 1007, "bad JSON"),
        ("~m~2~m~hi~m~2000~m~" + "x" * 2000, 1009, "max_message_size"),
        ("~m~2~m~hi~m~9000~m~" + "x" * 9000, 1009, "max_payload_size"),
        (b"~m~2~m~hi", 1003, "binary messages are not part of Socket.IO 0.6"),
    ],
)
async def test_what_a_server_may_not_send_ends_the_connection_and_it_is_told(payload, code, reason):
    server = Payloads("~m~5~m~first", payload, "~m~4~m~late")
    async with websocket_peer(server.handle) as peer, limit():
        options: dict[str, Any] = {"max_message_size": 1000, "max_payload_size": 8000}
        async with tornadio.connect(peer.url, transports=SOCKET, **options) as client:
            assert await client.recv() == "first"
            if isinstance(payload, str) and "max_payload" not in reason:
                assert await client.recv() == "hi"
            with pytest.raises(ConnectionClosed, match=reason):
                await client.recv()
            assert client.close_code == code
        assert (await server.closed)[0] == code


async def test_a_poll_that_is_too_large_ends_the_connection():
    def respond(request: Request) -> bytes:
        return response("200 OK", "~m~2000~m~" + "x" * 2000 if "/id/" in request.path else "~m~2~m~id")

    options: dict[str, Any] = {"transports": ["xhr-polling"], "max_payload_size": 1000}
    async with limit(), http_peer(respond) as peer, tornadio.connect(peer.url, **options) as client:
        with pytest.raises(ConnectionClosed, match="max_payload_size"):
            await client.recv()
        assert client.close_code == 1009


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (response("409 Conflict", "another"), 1006, "a poll was answered 409 Conflict: another"),
        (response("500 Oh"), 1011, "a poll was answered 500 Oh"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n~m~4~m~half",
            1006,
            "a poll failed: the server closed the conn",
        ),
        (None, 1006, "a poll failed: the server closed the connection"),
        (response("401 Unauthorized"), 1005, "the server has ended the session"),
    ],
)
async def test_a_poll_that_fails_ends_the_connection_and_is_not_made_again(answer, code, reason):
    """What its response held would be lost unseen: the server counts as delivered what its kernel has accepted."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (response("200 OK", "~m~2~m~id"), response("200 OK"), response("200 OK", "~m~2~m~hi"), answer):
            polls.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(reply or b"")

    polls: list[bytes] = []
    async with tcp_peer(handle) as peer, limit(), tornadio.connect(peer.url, transports=["xhr-polling"]) as client:
        assert await client.recv() == "hi"
        await client.wait_closed()
        assert (client.close_code, client.close_reason[: len(reason)]) == (code, reason)
    assert len(polls) == 4


# -- Silence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling", "htmlfile"])
async def test_silence_is_an_end(serve: Serve, clock: MovedLoop, transport):
    settings = {"heartbeat_interval": 100, "heartbeat_timeout": 1000, "xhr_polling_timeout": 100}
    served = serve(settings=settings)
    url = f"ws://127.0.0.1:{served.port}/socket.io"
    async with tornadio.connect(url, transports=[transport], silence_timeout=25) as client:
        assert await client.recv() == "welcome"
        await clock.advance(20)
        [connection] = Recorder.opened
        connection.send("news")
        assert await client.recv() == "news"
        await clock.advance(24)
        assert not client.is_closed
        receiving = asyncio.ensure_future(client.recv())
        await clock.advance(2)
        with pytest.raises(ConnectionClosed, match=r"silence: nothing was received for 25 s \(silence_timeout\)"):
            await receiving
        assert client.close_code == 1006
        await client.wait_closed()


async def test_a_response_to_a_poll_that_comes_slowly_is_no_silence(clock: MovedLoop):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response("200 OK", proto.encode("0123abcd")))
        await reader.readuntil(b"\r\n\r\n")
        head, _, body = response("200 OK", proto.encode("x" * 100)).partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        for position in range(0, len(body), 30):
            await asyncio.sleep(20)
            writer.write(body[position : position + 30])
        await reader.read()

    async with tcp_peer(handle) as peer:
        client = await tornadio.connect(peer.url, transports=["xhr-polling"], silence_timeout=30)
        assert await clock.wait_for(client.recv()) == "x" * 100
        await clock.wait_for(client.close())


async def test_what_is_not_read_is_no_silence(serve: Serve, clock: MovedLoop):
    served = serve(Flooding, {"heartbeat_timeout": 1000})  # its heartbeats are not read either
    url = f"ws://127.0.0.1:{served.port}/socket.io"
    async with tornadio.connect(url, transports=SOCKET, silence_timeout=10) as client:
        await clock.advance(60)
        assert not client.is_closed
        for _ in range(10_000):
            await client.recv()


async def test_silence_begins_anew_when_a_server_is_read_again(clock: MovedLoop):
    server = Payloads(*["~m~50000~m~" + "x" * 50_000] * 21)  # the last is one too many
    options: dict[str, Any] = {"transports": SOCKET, "silence_timeout": 10}
    async with websocket_peer(server.handle) as peer, tornadio.connect(peer.url, **options) as client:
        await until(lambda: len(client_session(client).messages) == 21)
        await clock.advance(65)
        for _ in range(21):
            await client.recv()
        await clock.advance(9)
        assert not client.is_closed
        await clock.advance(2)
        assert client.is_closed


# -- Ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_recv_that_is_cancelled_loses_nothing(serve: Serve, transport):
    served = serve(tornadio.SocketConnection)
    async with limit(), tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io", transports=[transport]) as client:
        [connection] = served.router.connections
        received: list[int] = []
        for number in range(50):
            receiving = [asyncio.ensure_future(client.recv()) for _ in range(3)]
            await asyncio.sleep(0)
            connection.send(number)
            for _ in range(number):
                await asyncio.sleep(0)
            for task in receiving:
                task.cancel()
            await asyncio.wait(receiving)
            received += [task.result() for task in receiving if not task.cancelled()]
        connection.send("last")
        while (message := await client.recv()) != "last":
            received.append(message)
    assert received == list(range(50))


async def test_a_recv_that_is_cancelled_when_it_was_woken_leaves_the_message_to_another():
    server = Payloads()
    async with limit(), websocket_peer(server.handle) as peer, tornadio.connect(peer.url) as client:
        first, second = asyncio.ensure_future(client.recv()), asyncio.ensure_future(client.recv())
        await asyncio.sleep(0)
        client_session(client).payload_received("~m~3~m~one")
        first.cancel()
        assert await second == "one"
        assert first.cancelled()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_block_that_is_left_by_an_error_closes_at_once(serve: Serve, transport):
    served = serve()
    client = await tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io", transports=[transport])
    with contextlib.suppress(ZeroDivisionError):
        async with limit(), client:
            assert await client.recv() == "welcome"
            raise ZeroDivisionError
    assert (client.is_closed, client.close_code) == (True, 1001)
    assert len(asyncio.all_tasks()) == 1
    if transport != "xhr-polling" and transport != "jsonp-polling":
        await Recorder.opened[0].wait_closed()


async def test_close_waits_for_the_servers_answer_and_no_longer_than_it_may(clock: MovedLoop):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        await reader.read()

    async with tcp_peer(handle) as peer:
        client = await tornadio.connect(peer.url, transports=SOCKET, close_timeout=3)
        closing = [asyncio.ensure_future(client.close()) for _ in range(2)]
        await clock.advance(2.9)
        assert not any(task.done() for task in closing)
        with pytest.raises(ConnectionClosed):
            await client.send("late")
        await clock.advance(0.2)
        await asyncio.gather(*closing)
        assert client.close_code == 1000


@pytest.mark.parametrize("code", [999, 1005, 1006, 5000, "1000"])
async def test_a_close_code_that_can_not_be_sent_is_an_error(serve: Serve, code):
    async with limit(), tornadio.connect(f"ws://127.0.0.1:{serve().port}/socket.io") as client:
        with pytest.raises(tornadio.CloseError):
            await client.close(code)
        assert not client.is_closed


@pytest.mark.parametrize("is_left", [False, True])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_that_is_closed_is_freed_without_the_collector(serve: Serve, transport, is_left):
    served = serve()
    gc.collect()
    gc.disable()
    try:
        async with limit():
            client = await tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io", transports=[transport])
            with contextlib.suppress(ZeroDivisionError):
                async with client:
                    assert await client.recv() == "welcome"
                    await client.send("hello")
                    assert await client.recv() == "hello"
                    if is_left:
                        raise ZeroDivisionError
            session = weakref.ref(client_session(client))
            del client
            for _ in range(5):
                await asyncio.sleep(0)
        assert session() is None
    finally:
        gc.enable()


async def test_a_trace_that_fails_is_logged_and_ends_nothing(serve: Serve, caplog: pytest.LogCaptureFixture):
    def trace(direction: str, payload: str) -> None:
        raise ZeroDivisionError(direction)

    async with limit(), tornadio.connect(f"ws://127.0.0.1:{serve().port}/socket.io", trace=trace) as client:
        assert await client.recv() == "welcome"
    assert "trace failed" in caplog.text


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_trace_shows_the_payloads_on_the_wire(serve: Serve, transport):
    served = serve()
    trace: list[tuple[str, str]] = []
    options: dict[str, Any] = {"transports": [transport], "trace": lambda *entry: trace.append(entry)}
    async with limit(), tornadio.connect(f"ws://127.0.0.1:{served.port}/socket.io", **options) as client:
        await client.send({"é": 1})
        assert [await client.recv() for _ in range(2)] == ["welcome", {"é": 1}]
    payload = proto.encode({"é": 1})
    assert [entry for entry in trace if entry[0] == "out"] == [("out", payload)]
    received = "".join(payload for direction, payload in trace if direction == "in")
    assert received == proto.encode([client.session_id, "welcome"]) + payload
