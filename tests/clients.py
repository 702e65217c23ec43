"""Clients: WebSocket peers of every version, and clients of all six transports behind one face."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import zlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response as HandshakeResponse
from websockets.uri import parse_uri

from tests.support import (
    HTTP_TRANSPORTS,
    POLLING,
    STREAMING,
    ClientStream,
    Served,
    Stream,
    jsonp_payload,
    limit,
    until,
    with_defaults,
)
from tornadio import proto

PATH = "/socket.io/websocket"

# The examples of RFC 6455, section 1.3, and of draft-76, section 1.3.
NONCE = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}
KEYS = {"Sec-WebSocket-Key1": "4 @1  46546xW%0l 1 5", "Sec-WebSocket-Key2": "12998 5 Y3 1  .P00"}
KEY3 = b"^n:ds[4U"
ANSWER = b"8jKS'y:G*Co,Wxa-"

HYBI = ("13", "8", "7")
HIXIE = ("76", "75")


class Peer(Protocol):
    """What the tests need of a client, whatever version it speaks."""

    wire: ClientStream

    async def send(self, *texts: str) -> None:
        """Send messages, in one write."""

    async def receive(self) -> str:
        """The next message."""

    async def close(self) -> None:
        """Send a closing frame."""

    async def ended(self) -> int | None:
        """Read to the end of the connection, past a closing frame, which is answered: its code, if they have codes."""


class HybiPeer:
    """RFC 6455 and its drafts 8 and 7, as the library `websockets` speaks it."""

    def __init__(self, wire: ClientStream, path: str) -> None:
        self.wire = wire
        self.protocol = ClientProtocol(parse_uri("ws://127.0.0.1" + path), max_size=None)
        self._events: list[Any] = []

    async def shake_hands(self, version: str, headers: dict[str, str]) -> HandshakeResponse:
        request = self.protocol.connect()
        del request.headers["Sec-WebSocket-Version"]
        request.headers.update({"Sec-WebSocket-Version": version, **headers})
        self.protocol.send_request(request)
        await self.flush()
        response = await self.next_event()
        assert isinstance(response, HandshakeResponse)
        return response

    async def send(self, *texts: str) -> None:
        for text in texts:
            self.protocol.send_text(text.encode())
        await self.flush()

    async def receive(self) -> str:
        frame = await self.next_frame()
        assert frame.opcode is Opcode.TEXT
        assert frame.fin
        return bytes(frame.data).decode()

    async def close(self) -> None:
        self.protocol.send_close(1000)
        await self.flush()

    async def ended(self) -> int | None:
        while (await self.next_frame()).opcode is not Opcode.CLOSE:
            pass
        assert await self.wire.read_to_end() == b""
        await self.wire.aclose()
        self.protocol.receive_eof()
        return self.protocol.close_code

    async def next_frame(self) -> Frame:
        frame = await self.next_event()
        assert isinstance(frame, Frame)
        return frame

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.wire.send(data)

    async def next_event(self) -> Any:
        while not self._events:
            async with limit():
                data = await self.wire.reader.read(1 << 16)
            if not data:
                raise EOFError("the server closed the connection without a closing frame")
            self.protocol.receive_data(data)
            await self.flush()
            self._events += self.protocol.events_received()
        return self._events.pop(0)


class HixiePeer:
    """The drafts 76 and 75."""

    def __init__(self, wire: ClientStream) -> None:
        self.wire = wire
        self._closed = False

    async def shake_hands(self, version: str, path: str, headers: dict[str, str]) -> None:
        keys = KEYS if version == "76" else {}
        await self.wire.send(request({**UPGRADE, "Origin": "http://127.0.0.1", **keys, **headers}, path))
        assert (await self.wire.read_head()).status == 101
        if keys:
            await self.wire.send(KEY3)
            assert await self.wire.read_exactly(16) == ANSWER

    async def send(self, *texts: str) -> None:
        await self.wire.send(b"".join(b"\x00" + text.encode() + b"\xff" for text in texts))

    async def receive(self) -> str:
        assert await self.wire.read_exactly(1) == b"\x00"
        return (await self.wire.read_until(b"\xff"))[:-1].decode()

    async def close(self) -> None:
        self._closed = True
        await self.wire.send(b"\xff\x00")

    async def ended(self) -> int | None:
        while await self.wire.read_exactly(1) == b"\x00":
            await self.wire.read_until(b"\xff")
        assert await self.wire.read_exactly(1) == b"\x00"
        if not self._closed:
            await self.close()
        assert await self.wire.read_to_end() == b""
        await self.wire.aclose()
        return None


async def connect(served: Served, version: str = "13", path: str = PATH, headers: dict[str, str] | None = None) -> Peer:
    """A client after its handshake."""
    if version in HIXIE:
        hixie = HixiePeer(await served.connect())
        await hixie.shake_hands(version, path, headers or {})
        return hixie
    hybi = HybiPeer(await served.connect(), path)
    assert (await hybi.shake_hands(version, headers or {})).status_code == 101
    return hybi


async def opened(served: Served, version: str = "13", path: str = PATH) -> Peer:
    """A client that has had its session id and the Recorder's welcome."""
    peer = await connect(served, version, path)
    await peer.receive()
    assert await peer.receive() == "~m~7~m~welcome"
    return peer


async def opened_hybi(served: Served) -> HybiPeer:
    peer = await opened(served)
    assert isinstance(peer, HybiPeer)
    return peer


def request(headers: dict[str, str], path: str = PATH) -> bytes:
    given = with_defaults("GET", path, headers)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class Client(Protocol):
    """A client of whatever transport that has had its session id."""

    session_id: str

    async def send(self, *messages: Any) -> None:
        """Send messages, together. Where that is a POST, it is answered with 200."""

    async def receive(self) -> list[Any]:
        """What comes next: the messages that came together, and heartbeats as `"~h~N"`."""

    async def echo(self, number: int) -> None:
        """Answer a heartbeat."""

    async def ended(self) -> None:
        """Wait until the server has ended the session, and told so."""

    async def leave(self, reset: bool = False) -> None:
        """Break the connection, where there is one."""


async def open_client(served: Served, transport: str) -> Client:
    if transport in STREAMING:
        return StreamClient(served, transport, *await served.open_stream(transport))
    if transport in ("websocket", "flashsocket"):
        peer = await connect(served, "13" if transport == "websocket" else "76", f"/socket.io/{transport}")
        [(_, session_id)] = proto.decode(await peer.receive())
        return SocketClient(peer, session_id)
    if transport not in POLLING:
        raise LookupError(f"there is no test client for {transport}: write one here, and name it in tests/support.py")
    return PollingClient(served, transport, *await served.open(transport))


def decode(payload: str) -> list[Any]:
    return [f"~h~{content}" if kind == proto.HEARTBEAT else content for kind, content in proto.decode(payload)]


async def greeted(served: Served, transport: str = "websocket") -> Client:
    """A client that has had its session id and the Recorder's welcome."""
    client = await open_client(served, transport)
    assert await client.receive() == ["welcome"]
    return client


async def exchange(client: Client, message: str) -> None:
    """Send a message to a server that echoes, and have it back; nothing but heartbeats may come before it."""
    await client.send(message)
    received: list[str] = []
    while message not in received:
        received = await client.receive()
        assert all(each == message or each.startswith("~h~") for each in received)


class SocketClient:
    """`websocket` in version 13, `flashsocket` in draft-76."""

    def __init__(self, peer: Peer, session_id: str) -> None:
        self.peer = peer
        self.session_id = session_id

    async def send(self, *messages: Any) -> None:
        await self.peer.send("".join(map(proto.encode, messages)))

    async def receive(self) -> list[Any]:
        return decode(await self.peer.receive())

    async def echo(self, number: int) -> None:
        await self.peer.send(proto.encode_heartbeat(number))

    async def ended(self) -> None:
        await self.peer.ended()

    async def leave(self, reset: bool = False) -> None:
        await leave(self.peer.wire, reset)


class StreamClient:
    """`xhr-multipart` and `htmlfile`."""

    def __init__(self, served: Served, transport: str, stream: Stream, session_id: str) -> None:
        self.served = served
        self.transport = transport
        self.stream = stream
        self.session_id = session_id

    async def send(self, *messages: Any) -> None:
        response = await self.served.post(self.session_id, *messages, transport=self.transport)
        assert response.status == 200, response

    async def receive(self) -> list[Any]:
        return decode(await self.stream.read_payload())

    async def echo(self, number: int) -> None:
        data = proto.encode_heartbeat(number)
        assert (await self.served.post_data(self.session_id, data, self.transport)).status == 200

    async def ended(self) -> None:
        async for _ in self.stream.wire.chunks():
            pass

    async def leave(self, reset: bool = False) -> None:
        await leave(self.stream.wire, reset)


class PollingClient:
    """`xhr-polling` and `jsonp-polling`."""

    def __init__(self, served: Served, transport: str, session_id: str, first: str) -> None:
        self.served = served
        self.transport = transport
        self.session_id = session_id
        self._first = first

    async def send(self, *messages: Any) -> None:
        response = await self.served.post(self.session_id, *messages, transport=self.transport)
        assert response.status == 200, response

    async def receive(self) -> list[Any]:
        payload, self._first = self._first, ""
        while not payload:
            response = await self.served.poll(self.session_id, self.transport)
            assert response.status == 200, response
            payload = response.text if self.transport == "xhr-polling" else jsonp_payload(response.text)
        return decode(payload)

    async def echo(self, number: int) -> None:
        raise AssertionError("there are no heartbeats on polling transports")

    async def ended(self) -> None:
        while (response := await self.served.poll(self.session_id, self.transport)).status == 200:
            pass
        assert response.status == 401

    async def leave(self, reset: bool = False) -> None:
        """There is no connection that could break; the session will expire."""


async def received(client: Client, last: Any = "last") -> list[Any]:
    """What a client is sent before the last message."""
    messages: list[Any] = []
    while last not in messages:
        messages += await client.receive()
    assert messages.pop() == last
    return messages


async def next_message(client: Client) -> Any:
    """The message that comes alone, past heartbeats."""
    while True:
        messages = [message for message in await client.receive() if not str(message).startswith("~h~")]
        if messages:
            [message] = messages
            return message


@contextlib.asynccontextmanager
async def talking(client: Client) -> AsyncIterator[list[str]]:
    """A client that says something whenever it was answered: what it has got back so far."""
    heard: list[str] = []

    async def talk() -> None:
        while True:
            await client.send(f"number {len(heard)}")
            heard.append(await next_message(client))

    talk_task = asyncio.create_task(talk())
    try:
        yield heard
        # Whatever was going on has not broken it off.
        so_far = len(heard)
        await until(lambda: talk_task.done() or len(heard) > so_far)
    finally:
        talk_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await talk_task
    assert heard == [f"number {number}" for number in range(len(heard))]


async def leave(wire: ClientStream, reset: bool) -> None:
    if reset:
        wire.reset()
    else:
        await wire.aclose()


def handshake(transport: str, query: str = "") -> tuple[str, dict[str, str]]:
    """Path and headers of a request for a session."""
    fields = {"Sec-Fetch-Site": "same-origin"}
    if transport in HTTP_TRANSPORTS:
        return f"/socket.io/{transport}//1290000000000/0{query}", fields
    version = {"Sec-WebSocket-Version": "13", **NONCE} if transport == "websocket" else KEYS
    return f"/socket.io/{transport}{query}", {**fields, **UPGRADE, **version}


MASK = bytes.fromhex("37fa213d")  # the RFC's, section 5.7


def header(opcode: int, length: int, final: bool = True, mask: bytes = MASK) -> bytes:
    """The header of a client's frame, section 5.2."""
    first = 0x80 * final | opcode
    if length < 126:
        return bytes([first, 0x80 | length]) + mask
    if length < 1 << 16:
        return bytes([first, 0x80 | 126]) + length.to_bytes(2, "big") + mask
    return bytes([first, 0x80 | 127]) + length.to_bytes(8, "big") + mask


OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}


async def connect_compressing(served: Served) -> ClientStream:
    """A connection whose handshake, in version 13, has agreed on permessage-deflate."""
    wire = await served.connect()
    await wire.send(request({**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13", **OFFER}))
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate" in await wire.read_until(b"\r\n\r\n")
    return wire


def deflated(data: bytes) -> bytes:
    """The payload of a message that is compressed for itself."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(opcode: int, payload: bytes | str, final: bool = True, mask: bytes = MASK) -> bytes:
    """A client's frame."""
    data = payload.encode() if isinstance(payload, str) else payload
    masked = bytes(byte ^ key for byte, key in zip(data, itertools.cycle(mask), strict=False))
    return header(opcode, len(data), final, mask) + masked
