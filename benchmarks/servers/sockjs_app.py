"""sockjs-tornado, by its own broadcast."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import sockjs.tornado
import tornado.web


class EchoConnection(sockjs.tornado.SockJSConnection):
    participants: set[EchoConnection] = set()

    def on_open(self, info: Any) -> None:
        self.participants.add(self)

    def on_message(self, message: str) -> None:
        if message.startswith("b:"):
            self.broadcast(self.participants, message[2:])
        else:
            self.send(message)

    def on_close(self) -> None:
        self.participants.discard(self)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    router = sockjs.tornado.SockJSRouter(EchoConnection, "/echo")
    tornado.web.Application(router.urls).listen(arguments.port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
