"""websockets, by its own `broadcast`. Without compression, as all servers here.

--heartbeats has it ping every so many seconds.
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
    parser.add_argument("--heartbeats", type=float)
    arguments = parser.parse_args()
    options = {"compression": None, "ping_interval": arguments.heartbeats, "backlog": 4096}
    async with serve(echo, "127.0.0.1", arguments.port, **options):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
