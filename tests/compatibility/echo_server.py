"""The library's WebSocket layer, its handshake, framing and reading, behind an echo, for the Autobahn testsuite."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import tornado.routing
import tornado.web
from tornado.httputil import HTTPServerRequest

from tornadio import SocketConnection
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import Settings
from tornadio.transports.endpoint import Endpoint, TransportPath
from tornadio.transports.websocket import WebSocketHandler
from tornadio.transports.websocketchannel import WebSocketChannel
from tornadio.web.hosts import HostRule
from tornadio.web.origins import OriginRule
from tornadio.web.tornadohttp import TornadoExchange, TornadoMessageDelegate
from tornadio.websocket.framer import Framer


class EchoChannel(WebSocketChannel):
    """Carries no session: what it receives goes back."""

    def _open(self, handshake: Any) -> None:
        self._write_head()
        self._handshake = None

    def _receive(self, data: bytes) -> None:
        messages = self._framer.feed(data)
        if self._framer.has_data_to_send and not self._framer.closed:
            self._send_pongs()
        for message in messages:
            self._wire.write(self._framer.encode(message))
        self._dispatch(iter(()))


class EchoHandler(WebSocketHandler):
    """Shakes hands as ever."""

    def _start(self, framer: Framer, head: bytes, keys: tuple[int, int] | None) -> None:
        EchoChannel(self.exchange.detach(), framer, self.endpoint, self.transport).start(head, keys, self.request, "")


class EchoRouter(tornado.routing.Router):
    """Every path is the echo's."""

    def __init__(self) -> None:
        settings = Settings()
        sessions = SessionRegistry(settings)
        self._endpoint = Endpoint("echo", SocketConnection, settings, OriginRule(None), HostRule(["*"], ""), sessions)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> TornadoMessageDelegate:
        exchange = TornadoExchange(request)
        return TornadoMessageDelegate(
            EchoHandler(self._endpoint, exchange, TransportPath()), exchange, self._endpoint.sessions.lingering
        )


async def serve(port: int) -> None:
    rule = tornado.routing.Rule(tornado.routing.AnyMatches(), EchoRouter())
    tornado.web.Application([rule]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1].removeprefix("--port="))))
