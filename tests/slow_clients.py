"""Clients that have little room for what comes, or stop reading."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from tests.support import ClientStream, Elsewhere

SMALL_BUFFER = 4096


async def connect_without_room(port: int) -> ClientStream:
    """A connection whose client can hold little of what comes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return ClientStream(*await asyncio.open_connection(sock=connection, limit=SMALL_BUFFER))


def stop_reading(wire: ClientStream) -> None:
    """From here on what comes stays in the socket: asyncio would read ahead."""
    cast(asyncio.ReadTransport, wire.writer.transport).pause_reading()


def resume_reading(wire: ClientStream) -> None:
    """What has stayed in the socket is read, and what comes."""
    cast(asyncio.ReadTransport, wire.writer.transport).resume_reading()


class Roomless(Elsewhere):
    """A server in a process of its own, for clients without room."""

    async def connect(self) -> ClientStream:
        wire = await connect_without_room(self.port)
        self.wires.append(wire)
        return wire
