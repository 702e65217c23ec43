"""The library's WebSocket layer, its handshake, framing and reading, behind an echo, for the Autobahn testsuite."""

from __future__ import annotations

import asyncio
import sys

import tornado.routing
import tornado.web

from tests.internals import EchoRouter


async def serve(port: int) -> None:
    rule = tornado.routing.Rule(tornado.routing.AnyMatches(), EchoRouter())
    tornado.web.Application([rule]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1].removeprefix("--port="))))
