"""What stands opposite a client, besides servers of ours: raw servers, and a proxy."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets

from tests.support import fed, limit
from tornadio import proto
from tornadio.websocket.rfc6455 import Framer, handshake_headers

SESSION_ID = "0123456789abcdef"


@dataclasses.dataclass
class Peer:
    """A server at `port`; its connections end with the test."""

    port: int = 0
    requests: list[Request] = dataclasses.field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/socket.io"


@dataclasses.dataclass(frozen=True)
class Request:
    """An HTTP request as it came."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: str
    raw: bytes = dataclasses.field(default=b"", repr=False, compare=False)  # all of it


@contextlib.asynccontextmanager
async def websocket_peer(handler: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[Peer]:
    """A WebSocket server that sends payloads of the test's choice, by the library `websockets`."""
    async with serve_websockets(handler, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        yield Peer(server.sockets[0].getsockname()[1])


@contextlib.asynccontextmanager
async def tcp_peer(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Peer]:
    """A server that does what the test says with each TCP connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # Cancelled by the end of the test: asyncio's streams log that of a task of theirs.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield Peer(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def http_peer(respond: Callable[[Request], bytes | Awaitable[bytes] | None]) -> AsyncIterator[Peer]:
    """An HTTP server: `respond` gives the whole response to each request, now or later, `None` to close without one."""
    requests: list[Request] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            requests.append(request)
            answer = respond(request)
            if answer is None:
                return
            writer.write(answer if isinstance(answer, bytes) else await answer)
            await writer.drain()

    async with tcp_peer(handle) as peer:
        peer.requests = requests
        yield peer


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; `None` at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body.decode("utf-8"), head + body)


def response(status: str, body: str = "", *headers: str) -> bytes:
    """A whole HTTP response."""
    data = body.encode("utf-8")
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a WebSocket handshake, and send the first frame."""
    request = await read_request(reader)
    assert request is not None
    accepted = handshake_headers({"Sec-WebSocket-Key": request.headers["sec-websocket-key"]})
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in accepted.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode() + Framer(1 << 20).encode("~m~2~m~id"))


async def read_to_close(reader: asyncio.StreamReader) -> list[str | bytes]:
    """The messages of a WebSocket client up to its close frame, or to the end of the connection; a frame that was cut
    is none."""
    framer = Framer(1 << 24)
    messages: list[str | bytes] = []
    with contextlib.suppress(ConnectionError):
        while not framer.closed and (data := await reader.read(1 << 20)):
            messages += fed(framer, data)
    return messages


@contextlib.asynccontextmanager
async def connect_proxy(user: str = "") -> AsyncIterator[Peer]:
    """An HTTP proxy that knows CONNECT alone; with `user`, `name:password`, it wants Basic authorization."""
    wanted = "Basic " + base64.b64encode(user.encode()).decode()
    requests: list[Request] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        requests.append(request)
        if user and request.headers.get("proxy-authorization") != wanted:
            writer.write(response("407 Proxy Authentication Required", "who are you?"))
            return
        host, _, port = request.path.rpartition(":")
        server_reader, server_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n")
        try:
            await asyncio.gather(_pipe(reader, server_writer), _pipe(server_reader, writer))
        finally:
            server_writer.close()

    async with tcp_peer(handle) as peer:
        peer.requests = requests
        yield peer


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


class ScriptedServer:
    """A WebSocket server that does what the test says: its connections come one after the other, by `accept`.

    `requested` are the times of all handshakes.
    """

    def __init__(self, first_payload: str | None) -> None:
        self.port = 0
        self.requested: list[float] = []
        self._first_payload = first_payload
        self._peers: asyncio.Queue[ServerConnection] = asyncio.Queue()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/socket.io"

    async def accept(self) -> ServerConnection:
        """The next client; it has had the first payload."""
        async with limit():
            return await self._peers.get()

    async def handle(self, peer: ServerConnection) -> None:
        self.requested.append(asyncio.get_running_loop().time())
        if self._first_payload is not None:
            await peer.send(self._first_payload)
        self._peers.put_nowait(peer)
        await peer.wait_closed()


@contextlib.asynccontextmanager
async def scripted_server(first_payload: str | None = proto.encode(SESSION_ID)) -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer(first_payload)
    async with serve_websockets(
        scripted.handle, "127.0.0.1", 0, compression=None, ping_interval=None, open_timeout=None, close_timeout=1
    ) as server:
        scripted.port = next(iter(server.sockets)).getsockname()[1]
        yield scripted


async def heard(peer: ServerConnection) -> str:
    """The next payload that a client has sent."""
    async with limit():
        payload = await peer.recv()
    assert isinstance(payload, str)
    return payload
