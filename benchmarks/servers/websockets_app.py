"""websockets, by its own `broadcast`. Without compression, as all servers here.

--heartbeats has it ping every 12 seconds.
"""

from __future__ import annotations

import argparse
import asyncio

from websockets.asyncio.server import ServerConnection, broadcast, serve

participants: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    participants.add(connection)
    try:
        async for message in connection:
            assert isinstance(message, str)
            if message.startswith("b:"):
                broadcast(participants, message[2:])
            else:
                await connection.send(message)
    finally:
        participants.discard(connection)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--heartbeats", action="store_true")
    arguments = parser.parse_args()
    interval = 12 if arguments.heartbeats else None
    async with serve(echo, "127.0.0.1", arguments.port, compression=None, ping_interval=interval, backlog=4096):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
