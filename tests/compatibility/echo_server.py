"""The library's WebSocket layer, its handshake, framing and reading, behind an echo, for the Autobahn testsuite."""

from __future__ import annotations

import asyncio
import sys

import tornado.web
from tornado.httputil import HTTPServerRequest

from tornadio import SocketConnection
from tornadio.origins import OriginRule
from tornadio.session import SessionContainer
from tornadio.settings import Settings
from tornadio.transport import Resource
from tornadio.websocket import Framer, WebSocketChannel, WebSocketHandler


class EchoChannel(WebSocketChannel):
    """Carries no session: what it receives goes back."""

    async def _open(self, request: HTTPServerRequest, extra: str) -> None:
        pass

    async def _receive(self, message: str | bytes) -> None:
        self._write(self._framer.encode(message))


class EchoHandler(WebSocketHandler):
    """Shakes hands as ever."""

    def _start(self, framer: Framer, head: bytes, keys: tuple[int, int] | None) -> None:
        channel = EchoChannel(self.detach(), framer, self.here, self.transport)
        self.here.sessions.tasks.carry(channel.run(head, keys, self.request, ""))


async def serve(port: int) -> None:
    settings = Settings()
    resource = Resource("echo", SocketConnection, settings, OriginRule(None), SessionContainer(settings, None))
    tornado.web.Application([("/", EchoHandler, {"resource": resource})]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1].removeprefix("--port="))))
