"""A TCP proxy that cuts the connections through it, at places and in ways that a network would choose.

It reads no more than it passes on, so that a side which is not read any more feels it. What a connection's server has
sent is kept: the test knows to the byte what the server's socket has taken, also of what never reached the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import random
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable

from tests.support import limit

CHUNK = 1 << 16
# Small, so that a large answer doesn't fit into what the kernel keeps for a reader that has stopped.
BUFFER = 1 << 15


class Way(enum.Enum):
    """How a connection is cut."""

    RESET = "RST to both sides"
    CLOSE = "FIN to both sides"
    CLOSE_TO_SERVER = "FIN to the server alone: it can still answer"
    CLOSE_TO_CLIENT = "FIN to the client alone: it can still ask"


@dataclasses.dataclass(frozen=True)
class Fate:
    """What is to become of a connection: cut after so many bytes in one direction, or seconds, whatever comes first."""

    way: Way = Way.RESET
    bytes_up: int = sys.maxsize
    bytes_down: int = sys.maxsize
    seconds: float | None = None
    stall: float = 0.0  # seconds before the cut in which nothing passes

    @classmethod
    def cast(cls, dice: random.Random) -> Fate:
        way = dice.choice(list(Way))
        stall = dice.choice((0.0, 0.0, dice.uniform(0, 0.02)))
        place = dice.randrange(dice.choice((300, 600, 600, 3000, 300_000)))
        match dice.choice(("up", "down", "seconds")):
            case "up":
                return cls(way, bytes_up=place, stall=stall)
            case "down":
                return cls(way, bytes_down=place, stall=stall)
        return cls(way, seconds=dice.uniform(0, 0.03), stall=stall)


@dataclasses.dataclass
class Flow:
    """One direction of a connection."""

    source: socket.socket
    target: socket.socket
    left: int  # bytes that may still pass
    seen: bytearray = dataclasses.field(default_factory=bytearray)
    pending: bytearray = dataclasses.field(default_factory=bytearray)
    is_open: bool = True  # else what comes is thrown away

    def drain(self) -> None:
        """See what the kernel has got, without passing it on."""
        with contextlib.suppress(OSError):
            while data := self.source.recv(CHUNK):
                self.seen += data

    def shut(self) -> None:
        self.is_open = False
        self.pending.clear()
        with contextlib.suppress(OSError):
            self.target.shutdown(socket.SHUT_WR)


class Passage:
    """A connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket, fate: Fate) -> None:
        self.was_cut = False
        self.has_ended = False
        self.up = Flow(client, server, fate.bytes_up)
        self.down = Flow(server, client, fate.bytes_down)
        self._fate = fate
        self._then: Callable[[], None] | None = None
        self._due = asyncio.Event()

    def cut(self, way: Way, then: Callable[[], None] | None = None) -> None:
        """Cut it now. `then` is called in the same turn of the loop: before the server can have noticed."""
        self._fate = Fate(way)
        self._then = then
        self._due.set()

    async def carry(self) -> None:
        """Pass bytes both ways until both sides have ended, or the fate is fulfilled."""
        timer = None
        if self._fate.seconds is not None:
            timer = asyncio.get_running_loop().call_later(self._fate.seconds, self._due.set)
        try:
            if await self._pump_both():
                self.was_cut = True
                await asyncio.sleep(self._fate.stall)
                self._cut()
                await self._pump_both()
        finally:
            if timer is not None:
                timer.cancel()
            self._close()

    async def _pump_both(self) -> bool:
        """Whether it is time for the cut; the pumps stand then. A side that breaks breaks the other."""
        if self.up.source.fileno() < 0:
            return False
        due = asyncio.create_task(self._due.wait())
        pumps = [asyncio.create_task(self._pump(flow)) for flow in (self.up, self.down)]
        both = asyncio.gather(*pumps)
        try:
            await asyncio.wait((due, both), return_when=asyncio.FIRST_COMPLETED)
            if not self._due.is_set() and both.exception() is not None:
                self._reset_on_close()
            return self._due.is_set()
        finally:
            for task in (due, *pumps):
                task.cancel()
            await asyncio.gather(due, *pumps, both, return_exceptions=True)

    async def _pump(self, flow: Flow) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                if flow.pending:
                    await ready(flow.target, loop.add_writer, loop.remove_writer)
                    del flow.pending[: flow.target.send(flow.pending)]
                    continue
                if flow.left <= 0:
                    self._due.set()
                    return
                await ready(flow.source, loop.add_reader, loop.remove_reader)
                data = flow.source.recv(min(CHUNK, flow.left))
            except BlockingIOError:
                continue
            if not data:
                flow.shut()
                return
            flow.seen += data
            flow.left -= len(data)
            if flow.is_open:
                flow.pending += data

    def _cut(self) -> None:
        """The cut itself, in one turn of the loop."""
        self.up.left = self.down.left = sys.maxsize
        self._due.clear()
        match self._fate.way:
            case Way.CLOSE_TO_SERVER:
                self.up.shut()
            case Way.CLOSE_TO_CLIENT:
                self.down.shut()
            case Way.RESET:
                self._reset_on_close()
                self._close()
            case Way.CLOSE:
                self._close()
        if self._then is not None:
            self._then()

    def _reset_on_close(self) -> None:
        for side in (self.up.source, self.down.source):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _close(self) -> None:
        for flow in (self.up, self.down):
            flow.drain()
        for flow in (self.up, self.down):
            flow.source.close()
        self.has_ended = True


class CuttingProxy:
    """Between its own `port` and a server's on 127.0.0.1. `fate` is asked for each connection's."""

    def __init__(self, target: int, fate: Callable[[], Fate]) -> None:
        self.passages: list[Passage] = []
        self._target = target
        self._fate = fate
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, target: int, fate: Callable[[], Fate] = Fate) -> AsyncIterator[CuttingProxy]:
        """A proxy that serves until its clients have left, and the server has let go of them, too."""
        proxy = cls(target, fate)
        accepting = asyncio.create_task(proxy._accept())
        try:
            yield proxy
            async with limit():
                await asyncio.gather(*proxy._tasks)
        finally:
            accepting.cancel()
            for task in tuple(proxy._tasks):
                task.cancel()
            await asyncio.gather(accepting, *proxy._tasks, return_exceptions=True)
            proxy._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            server = socket.socket()
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                server.setsockopt(socket.SOL_SOCKET, option, BUFFER)
            server.setblocking(False)
            await loop.sock_connect(server, ("127.0.0.1", self._target))
            passage = Passage(client, server, self._fate())
            self.passages.append(passage)
            task = asyncio.create_task(passage.carry())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def ready(
    connection: socket.socket,
    add: Callable[[socket.socket, Callable[[], None]], None],
    remove: Callable[[socket.socket], bool],
) -> None:
    """Wait until a socket can be read, or written; nothing is lost when the wait is cancelled."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(connection, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        remove(connection)
