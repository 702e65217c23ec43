"""The server of the session floods' tests: its time stands still until it is asked to let some pass."""

from __future__ import annotations

import asyncio
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.support import MovedLoop
from tests.vitals import VitalsHandler


class Connection(tornadio.SocketConnection):
    def on_message(self, message: Any) -> None:
        self.send(message)


class AdvanceHandler(tornado.web.RequestHandler):
    """`/advance?seconds=11`"""

    async def get(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MovedLoop)
        await loop.advance(float(self.get_argument("seconds")))


def main() -> None:
    for name in ("port", "max_sessions"):
        tornado.options.define(name, type=int)
    tornado.options.parse_command_line()
    options = tornado.options.options
    loop = MovedLoop()
    loop.set_debug(False)  # debugging keeps a traceback with each session
    asyncio.set_event_loop(loop)
    router = tornadio.get_router(Connection, {"max_sessions": options.max_sessions})
    application = tornado.web.Application(
        [
            router.route(),
            (r"/vitals", VitalsHandler, {"router": router}),
            (r"/advance", AdvanceHandler),
        ],
        socket_io_port=options.port,
        socket_io_address="127.0.0.1",
    )
    tornadio.SocketServer(application)


if __name__ == "__main__":
    main()
