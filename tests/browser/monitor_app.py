"""The server of the live page's tests: 120 connections in groups, some of which talk, and a monitor.

`--rights=read` is what anybody may do there. With `--slow` one of the connections has a client that never polls.
"""

from __future__ import annotations

import asyncio

import tornado.web
from tornado.httpclient import AsyncHTTPClient

import tornadio
from tests.app import options_of

COUNT = 120
TALKERS = 5


class Connection(tornadio.SocketConnection):
    number = 0
    router: tornadio.Router

    def on_open(self, *args: object, **kwargs: object) -> None:
        self.router.group(f"room {Connection.number % 7}").add(self)
        Connection.number += 1

    def on_message(self, message: object) -> None:
        self.send(message)


async def be_client(port: int, number: int) -> None:
    # None of those that poll talks: a message from the page would wait there behind others, and be lost at the end.
    transport = "xhr-polling" if number % 10 == 7 else "websocket"
    async with tornadio.connect(f"http://localhost:{port}/socket.io", transports=[transport]) as connection:
        if number < TALKERS:
            for _ in range(number + 1):
                await connection.send("x" * 100)
        async for message in connection:
            print(f"client {number} got {message!r}"[:60], flush=True)
            if number < TALKERS:
                await asyncio.sleep(0.2)
                await connection.send("x" * 100)


async def main() -> None:
    options = options_of(rights="act", slow=False)
    router = Connection.router = tornadio.get_router(Connection, {"session_expiry": 60})
    monitor = (r"/below/monitor/(.*)", tornadio.MonitorHandler, {"authorize": lambda handler: options.rights})
    application = tornado.web.Application([router.route(), monitor])
    tornadio.SocketServer(application, auto_start=False, port=options.port, address="localhost")
    if options.slow:
        await AsyncHTTPClient().fetch(f"http://localhost:{options.port}/socket.io/xhr-polling//1")
        router.broadcast("x" * 2_000_000)
    clients = [asyncio.create_task(be_client(options.port, number)) for number in range(options.slow, COUNT)]
    await asyncio.gather(*clients, return_exceptions=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
