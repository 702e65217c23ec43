"""A server whose every frame a test sends by hand: `testing.manual_server`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import ssl
from typing import Any, cast

import pytest
import trustme
import websockets
import websockets.sync.client

import tornadio
from tests.support import ClientStream
from tornadio import proto, testing
from tornadio.errors import ProtocolError
from tornadio.websocket.frames import PING, TEXT, build_frame

FRAME = proto.encode("hello")


async def test_messages_both_ways_and_everything_that_came():
    async with testing.manual_server() as server, tornadio.connect(server.url, origin="https://example.com") as socket:
        peer = await server.accept()
        assert socket.session_id == peer.session_id
        assert peer.request.path == "/socket.io/websocket"
        assert peer.request.headers["Origin"] == "https://example.com"
        assert server.requests == [peer.request]
        for message in ("hello", {"a": [1]}, "é中😀"):
            peer.send(message)
            assert await socket.recv() == message
            await socket.send(message)
            assert await peer.recv() == message
        assert peer.received == [proto.encode(message) for message in ("hello", {"a": [1]}, "é中😀")]
        await socket.send_raw("no frame")
        assert await peer.recv_raw() == "no frame"


async def test_raw_text_and_raw_bytes():
    async with testing.manual_server() as server, websockets.connect(server.websocket_url) as socket:
        peer = await server.accept()
        await socket.recv()
        peer.send_raw("no frame at all")
        assert await socket.recv() == "no frame at all"
        peer.write(build_frame(TEXT, b"fragm")[:1].replace(b"\x81", b"\x01") + b"\x05fragm" + b"\x80\x04ents")
        assert await socket.recv() == "fragments"
        peer.write(build_frame(PING, b"?"))
        await (await socket.ping())
        await socket.send(FRAME + FRAME)
        await socket.send(b"binary")
        assert await peer.recv() == "hello"
        assert await peer.recv_raw() == b"binary"  # the rest of the payload before is dropped
        await socket.send(b"binary")
        with pytest.raises(ProtocolError, match="binary"):
            await peer.recv()


async def test_what_is_wrong_with_a_clients_frames_is_told():
    async with testing.manual_server() as server, websockets.connect(server.websocket_url) as socket:
        peer = await server.accept()
        await socket.send(f"{FRAME}~m~1~m~😀")
        with pytest.raises(ProtocolError, match="UTF-16") as raised:
            await peer.recv()
        assert raised.value.__notes__ == [f"The client's payload: '{FRAME}~m~1~m~😀'"]
        await socket.send(FRAME)
        assert await peer.recv() == "hello"


async def test_heartbeats_now_and_their_answers():
    async with testing.manual_server() as server, tornadio.connect(server.url) as socket:
        peer = await server.accept()
        for number in (1, 2):
            await peer.heartbeat()
            assert (peer.heartbeats_sent, peer.heartbeats_answered) == (number, number)
        peer.send_raw(FRAME + proto.encode_heartbeat(7) + proto.encode_heartbeat("x") + FRAME)
        await testing.until(lambda: peer.heartbeats_answered == 4)
        assert [await socket.recv(), await socket.recv()] == ["hello", "hello"]
        await socket.send("behind them")
        assert await peer.recv() == "behind them"


async def test_a_heartbeat_that_is_not_answered():
    async with testing.manual_server() as server, websockets.connect(server.websocket_url) as socket:
        peer = await server.accept()
        await socket.send(proto.encode_heartbeat(17))
        with pytest.raises(
            TimeoutError, match=r"has not answered heartbeat 1; it has sent the heartbeats 17 within 0\.1 s"
        ):
            await peer.heartbeat(timeout=0.1)
        assert (peer.heartbeats_sent, peer.heartbeats_answered) == (1, 0)
        await socket.close()
        with pytest.raises(tornadio.ConnectionClosed, match="1000"):
            await peer.heartbeat()


@pytest.mark.parametrize("greeting", ["hello", {"session_id": 7}])
async def test_a_first_frame_of_ones_own(greeting):
    async with (
        testing.manual_server(greeting=greeting) as server,
        tornadio.connect(server.url, transports=["websocket"], first_frame="message") as socket,
    ):
        assert await socket.recv() == greeting
        assert (await server.accept()).session_id == ""


async def test_no_first_frame_but_what_the_test_sends():
    async with testing.manual_server(greeting=None) as server, websockets.connect(server.websocket_url) as socket:
        (await server.accept()).send_raw("x")
        assert await socket.recv() == "x"


async def test_json_without_its_mark():
    async with (
        testing.manual_server(json="plain") as server,
        tornadio.connect(server.url, json="plain") as socket,
    ):
        peer = await server.accept()
        peer.send({"a": 1})
        assert await socket.recv() == {"a": 1}
        await socket.send({"b": 2})
        assert await peer.recv() == {"b": 2}
        assert json.loads(str(peer.received[0]).rpartition("~m~")[2]) == {"b": 2}


async def test_compression():
    async with (
        testing.manual_server(compression=True) as server,
        websockets.connect(server.websocket_url, compression="deflate") as socket,
    ):
        peer = await server.accept()
        await socket.recv()
        assert socket.response is not None
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        peer.send_raw("x" * 10_000)
        assert await socket.recv() == "x" * 10_000
        await socket.send("y" * 10_000)
        assert await peer.recv_raw() == "y" * 10_000


# -- Ends --------------------------------------------------------------------------------------------------------------


async def test_a_close_frame_with_its_answer():
    async with testing.manual_server() as server, tornadio.connect(server.url) as socket:
        peer = await server.accept()
        peer.close(4001, "go away")
        await peer.wait_closed()
        assert (peer.is_closed, peer.close_code) == (True, 4001)  # echoed
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4001, "go away")
        for use in (lambda: peer.send("x"), lambda: peer.write(b"x"), peer.close):
            with pytest.raises(tornadio.ConnectionClosed):
                use()
        peer.drop()


async def test_the_clients_end():
    async with testing.manual_server() as server:
        socket = await tornadio.connect(server.url)
        peer = await server.accept()
        await socket.send("last words")
        await socket.close(4002, "bye")
        assert await peer.recv() == "last words"
        with pytest.raises(tornadio.ConnectionClosed, match="4002: bye"):
            await peer.recv()
        async with websockets.connect(server.websocket_url) as other:
            peer = await server.accept()
            other.transport.abort()
            await peer.wait_closed()
            assert peer.close_code == 1006


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_dropping_the_connection(reset, tls):
    contexts = make_contexts() if tls else (None, None)
    async with testing.manual_server(ssl_context=contexts[0]) as server:
        stream = ClientStream(*await asyncio.open_connection("127.0.0.1", server.port, ssl=contexts[1]))
        await stream.send_request("GET", "/socket.io/websocket", HANDSHAKE)
        await stream.read_until(b"\r\n\r\n")
        peer = await server.accept()
        await stream.read_until(f"~m~32~m~{peer.session_id}".encode())
        peer.drop(reset=reset)
        assert peer.close_code == 1006
        error: OSError | None = None
        try:
            assert await stream.reader.read() == b""
        except OSError as raised:
            error = raised
        assert (error.errno if error is not None else None) == (errno.ECONNRESET if reset else None)
        await stream.aclose()


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def make_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and that of a client who trusts it."""
    authority = trustme.CA()
    context, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(trusting)
    return context, trusting


async def test_a_server_that_reads_nothing_more():
    async with (
        testing.manual_server() as server,
        tornadio.connect(server.url) as socket,
        tornadio.connect(server.url),
    ):
        peer, other = await server.accept(), await server.accept()
        peer.pause_reading()
        await socket.send("hello")
        await socket.flush()
        for _ in range(5):
            await other.heartbeat()  # the server is there, and has had the time
        assert peer.received == []
        peer.resume_reading()
        assert await peer.recv() == "hello"


async def test_at_the_end_all_peers_are_dropped_without_a_wait():
    async with testing.clock() as clock:
        async with testing.manual_server() as server:
            socket = await tornadio.connect(server.url)
            server.ignore_handshakes()
            ignored = await ClientStream.connect(server.port)
            await ignored.send_request("GET", "/socket.io/websocket", HANDSHAKE)
            await testing.until(lambda: len(server.requests) == 2)
        assert clock.elapsed < 0.2
        with pytest.raises(tornadio.ConnectionClosed):
            await socket.recv()
        assert await ignored.read_to_end() == b""
        await ignored.aclose()


# -- Handshakes --------------------------------------------------------------------------------------------------------


async def test_several_peers_in_their_order():
    async with testing.manual_server() as server:
        sockets = [await tornadio.connect(server.url) for _ in range(3)]
        peers = [await server.accept() for _ in range(3)]
        assert [socket.session_id for socket in sockets] == [peer.session_id for peer in peers]
        peers[1].send("to the second")
        assert await sockets[1].recv() == "to the second"
        with pytest.raises(
            TimeoutError, match=r"no client has connected within 0\.05 s; handshakes that have come so far: 3"
        ):
            await server.accept(timeout=0.05)


async def test_handshakes_are_refused_as_often_as_is_said():
    async with testing.manual_server() as server:
        server.refuse_handshakes(429, "too many of you: 😀", headers={"Retry-After": "7"}, times=2)
        with pytest.raises(tornadio.ConnectError) as refused:
            await tornadio.connect(server.url, transports=["websocket"])
        assert (refused.value.status, refused.value.text) == (429, "too many of you: 😀")
        with pytest.raises(websockets.InvalidStatus) as seen:
            await websockets.connect(server.websocket_url)
        assert seen.value.response.headers["Retry-After"] == "7"
        async with tornadio.connect(server.url) as socket:
            assert (await server.accept()).session_id == socket.session_id
        assert len(server.requests) == 3
        server.refuse_handshakes(503)
        for _ in range(3):
            with pytest.raises(tornadio.ConnectError, match="503"):
                await tornadio.connect(server.url, transports=["websocket"])
        server.accept_handshakes()
        async with tornadio.connect(server.url):
            await server.accept()


async def test_handshakes_that_get_no_response():
    async with testing.manual_server() as server:
        server.ignore_handshakes(times=1)
        with pytest.raises(tornadio.ConnectError, match=r"longer than 0\.1 s"):
            await tornadio.connect(server.url, transports=["websocket"], open_timeout=0.1)
        server.drop_handshakes(times=1)
        with pytest.raises(tornadio.ConnectError):
            await tornadio.connect(server.url, transports=["websocket"])
        async with tornadio.connect(server.url):
            await server.accept()


async def test_a_client_that_connects_again():
    async with testing.manual_server() as server:

        async def run() -> list[Any]:
            received = []
            async for socket in tornadio.connect(server.url, min_delay=0.001, max_delay=0.001):
                with contextlib.suppress(tornadio.ConnectionClosed):
                    async for message in socket:
                        received.append(message)
                        if message == "end":
                            return received
            raise AssertionError

        client = asyncio.create_task(run())
        for message in ("one", "two"):
            peer = await server.accept()
            peer.send(message)
            await peer.heartbeat()
            peer.drop(reset=True)
            server.refuse_handshakes(503, times=2)
        (await server.accept()).send("end")
        assert await client == ["one", "two", "end"]
        assert len(server.requests) == 7


async def test_a_synchronous_client_in_a_thread():
    def client(url: str) -> list[str | bytes]:
        with websockets.sync.client.connect(url, max_size=None) as socket:
            received = [socket.recv() for _ in range(2)]
            socket.send(FRAME)
            return received

    async with testing.manual_server() as server:
        running = asyncio.create_task(asyncio.to_thread(client, server.websocket_url))
        peer = await server.accept()
        peer.send("hello")
        assert await peer.recv() == "hello"
        assert await running == [proto.encode(peer.session_id), FRAME]


async def test_what_is_no_websocket_is_told_so():
    async with testing.manual_server() as server:
        stream = await ClientStream.connect(server.port)
        await stream.send_request("GET", "/socket.io/xhr-polling//1")
        assert 'this is a WebSocket: "Upgrade: websocket" is missing' in (await stream.read_response()).text
        await stream.aclose()
        stream = await ClientStream.connect(server.port)
        await stream.send_request("POST", "/socket.io/xhr-polling/1/send", body=b"data=x")
        response = await stream.read_response()
        assert (response.status, response.text) == (405, "this server is for WebSocket clients: use GET")
        await stream.aclose()


@pytest.mark.parametrize(
    ("use", "why"),
    [
        (lambda: testing.manual_server(json=cast(Any, "bare")), "json must be 'marked' or 'plain'"),
        (lambda: testing.manual_server(ssl_context=cast(Any, "a.pem")), "ssl_context must be an ssl.SSLContext"),
        (lambda: testing.serve(tornadio.SocketConnection, ssl_context=cast(Any, True)), "ssl_context must be"),
        (lambda: testing.manual_server().refuse_handshakes(200), "status must be one of HTTP's from 300 on"),
        (lambda: testing.manual_server().refuse_handshakes(799), "status must be one of HTTP's from 300 on"),
        (lambda: testing.manual_server().ignore_handshakes(times=0), "times must be a whole number of at least 1"),
    ],
)
def test_mistakes_are_told(use, why):
    with pytest.raises(tornadio.SettingsError, match=why):
        use()


def test_a_greeting_that_cannot_be_sent_is_told_before_a_client_waits_for_it():
    with pytest.raises(tornadio.EncodeError, match="not JSON compliant"):
        testing.manual_server(greeting={"price": float("nan")})
