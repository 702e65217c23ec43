"""A proxy from WebSocket to TCP, for a Flash movie's socket: in a browser, Ruffle has no TCP of its own.

    python tcp_proxy.py --port=N --target=PORT

Each connection to it is a connection to the target; binary messages there are bytes here.
"""

from __future__ import annotations

import argparse
import asyncio

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def pass_on(client: ServerConnection, target: int) -> None:
    """Carry bytes both ways until one side closes."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", target)
    except OSError:
        return  # closes the client's side, too
    back = asyncio.create_task(pass_back(reader, client))
    try:
        async for message in client:
            assert isinstance(message, bytes)
            writer.write(message)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
        await back


async def pass_back(reader: asyncio.StreamReader, client: ServerConnection) -> None:
    try:
        while data := await reader.read(1 << 16):
            await client.send(data)
    except (ConnectionError, ConnectionClosed):
        pass
    await client.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", type=int, required=True)
    arguments = parser.parse_args()
    server = await serve(lambda client: pass_on(client, arguments.target), "localhost", arguments.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
