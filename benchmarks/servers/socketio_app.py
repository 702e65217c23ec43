"""python-socketio 5 on Tornado."""

from __future__ import annotations

import argparse
import asyncio

import socketio
import tornado.web


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bus", help="the URL of a Redis")
    arguments = parser.parse_args()
    manager = None if arguments.bus is None else socketio.AsyncRedisManager(arguments.bus)
    server = socketio.AsyncServer(
        async_mode="tornado", cors_allowed_origins="*", ping_interval=12, client_manager=manager
    )

    @server.on("message")
    async def on_message(sid: str, message: str) -> None:
        if message.startswith("b:"):
            await server.send(message[2:])
        else:
            await server.send(message, to=sid)

    application = tornado.web.Application([("/socket.io/", socketio.get_tornado_handler(server))])
    application.listen(arguments.port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
