"""Programs of pages, each served in a process of its own, and clients that talk to them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import websockets
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.appserver import AppServer, Daemon
from tests.redis_fixtures import RedisServer
from tornadio import proto

# Starts a program of a page, which listens on port 8001, on another one: the fixture `serve_program`.
ServeProgram = Callable[[str], AppServer]

# Generous, because the machine may be busy: only a broken server is ever waited for this long.
WAIT_SECONDS: Final = 60

# What a reader has at hand who reads from the top: the class and the application of README's introduction.
SO_FAR: Final = """
import tornado.web
import tornadio

class MyConnection(tornadio.SocketConnection):
    def on_message(self, message):
        self.send(message)

    def on_close(self):
        print("closed")

MyRouter = tornadio.get_router(MyConnection)
application = tornado.web.Application([MyRouter.route()], socket_io_port=8001)
"""


def start_with(*routers: str) -> str:
    """The lines that serve these routers."""
    routes = ", ".join(f"{router}.route()" for router in routers)
    return f"tornadio.SocketServer(tornado.web.Application([{routes}], socket_io_port=8001))\n"


def on_redis(program: str, server: RedisServer) -> str:
    """The program, but with this Redis."""
    assert "redis://localhost:6379" in program
    return program.replace("redis://localhost:6379", server.url)


class Client:
    """Speaks Socket.IO 0.6 over a WebSocket."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.session_id = ""
        self._messages: deque[Any] = deque()

    async def send(self, message: Any) -> None:
        await self.socket.send(proto.encode(message))

    async def receive(self) -> Any:
        while not self._messages:
            data = await asyncio.wait_for(self.socket.recv(decode=True), WAIT_SECONDS)
            self._messages += [payload for kind, payload in proto.decode(data) if kind != proto.HEARTBEAT]
        return self._messages.popleft()

    async def close_code(self) -> int | None:
        """Waits until the server has closed the connection."""
        await asyncio.wait_for(self.socket.wait_closed(), WAIT_SECONDS)
        return self.socket.close_code


@asynccontextmanager
async def websocket(server: Daemon, resource: str = "socket.io", **headers: str) -> AsyncIterator[Client]:
    """A WebSocket, open but without a word from the server yet."""
    url = f"ws://localhost:{server.port}/{resource}/websocket"
    async with websockets.connect(url, additional_headers=headers, open_timeout=WAIT_SECONDS) as socket:
        yield Client(socket)


@asynccontextmanager
async def connected(server: Daemon, resource: str = "socket.io", **headers: str) -> AsyncIterator[Client]:
    """A client that the server has accepted."""
    async with websocket(server, resource, **headers) as client:
        client.session_id = await client.receive()
        yield client


async def fetch(server: Daemon, path: str, **options: Any) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(
        f"http://localhost:{server.port}{path}",
        request_timeout=WAIT_SECONDS,
        follow_redirects=False,
        raise_error=False,
        **options,
    )


async def status_of(server: Daemon, path: str, **headers: str) -> int:
    return (await fetch(server, path, headers=headers)).code


async def drains(server: Daemon) -> None:
    """Wait until the server's health check says that it is about to stop."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await status_of(server, "/health") != 503:
            pass


async def assert_echoes(server: Daemon, resource: str = "socket.io") -> None:
    async with connected(server, resource) as client:
        await client.send("é中😀")
        assert await client.receive() == "é中😀"
