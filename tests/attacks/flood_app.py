"""The server of the session floods' tests: its time stands still until it is asked to let some pass."""

from __future__ import annotations

import asyncio

import tornado.options
import tornado.web

import tornadio
from tests.app import options_of, serve, vitals_of
from tests.support import MovedLoop


class AdvanceHandler(tornado.web.RequestHandler):
    """`/advance?seconds=11`"""

    async def get(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MovedLoop)
        await loop.advance(float(self.get_argument("seconds")))


def main() -> None:
    options = options_of(max_sessions=0)
    loop = MovedLoop()
    loop.set_debug(False)  # debugging keeps a traceback with each session
    asyncio.set_event_loop(loop)
    router = tornadio.get_router(tornadio.SocketConnection, {"max_sessions": options.max_sessions})
    serve(router.route(), vitals_of(router), (r"/advance", AdvanceHandler), port=options.port)


if __name__ == "__main__":
    main()
