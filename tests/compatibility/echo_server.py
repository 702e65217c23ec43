"""The library's WebSocket layer, its handshake, framing and reading, behind an echo, for the Autobahn testsuite."""

from __future__ import annotations

import asyncio
import sys

import tornado.routing
import tornado.web

from tests.internals import EchoRouter
from tornadio.settings import Compression


async def serve(port: int) -> None:
    routers = {
        "/compressed": EchoRouter(Compression(threshold=0)),
        "/takeover": EchoRouter(Compression(threshold=0, context_takeover=True)),
        "/.*": EchoRouter(),
    }
    rules = [tornado.routing.Rule(tornado.routing.PathMatches(path), router) for path, router in routers.items()]
    tornado.web.Application(rules).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1].removeprefix("--port="))))
