"""What permessage-deflate costs and saves: broadcasts to many receivers, with it and without it, by a server each."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

from benchmarks.clients.load import cpu_seconds, quote
from benchmarks.measuring import served
from benchmarks.report import table
from tornadio import proto
from tornadio.settings import Compression
from tornadio.websocket import rfc6455
from tornadio.websocket.deflate import Compressor, check_response

_LIMIT_SECONDS: Final = 120.0
_BASELINE: Final = "none"
_TAKEOVER: Final = "context takeover"
_NO_HEARTBEATS: Final = {"heartbeat_interval": 3600, "heartbeat_timeout": 3600}  # they are not answered
# What is measured, by name: the setting `compression`.
_SETTINGS: Final[dict[str, dict[str, Any] | None]] = {
    _BASELINE: None,
    "none again": None,  # how far its ratio is from 1 is the noise
    "level 6": {},
    "level 1": {"level": 1},
    _TAKEOVER: {"context_takeover": True, "threshold": 64},
}


def quotes(number: int, count: int) -> str:
    """So many quotes in one message."""
    return json.dumps([json.loads(quote(number * count + index)) for index in range(count)], separators=(",", ":"))


def bars(number: int, count: int) -> str:
    """So many bars of a random walk, as a chart loads them."""
    numbers, price, lines = random.Random(number), 100.0, []
    for index in range(count):
        price += numbers.gauss(0, 0.5)
        prices = (price, price + numbers.random(), price - numbers.random())
        rounded = [round(value, 2) for value in prices]
        lines.append({"i": index, "v": [1_700_000_000 + 60 * index, *rounded, numbers.randrange(10**6)]})
    return json.dumps({"m": "bars", "p": lines}, separators=(",", ":"))


MESSAGES: Final[dict[str, Callable[[int], str]]] = {
    "1 quote": quote,
    "20 quotes": lambda number: quotes(number, 20),
    "5,000 bars": lambda number: bars(number, 5000),
}

_numbers: Final = itertools.count()  # of messages: none is sent twice


# -- Sizes -------------------------------------------------------------------------------------------------------------


def sizes() -> str:
    """By how much messages become shorter, each for itself and one after another, marked as JSON and plain."""
    lines = []
    for name, make in MESSAGES.items():
        texts = [make(number) for number in range(100 if "quote" in name else 3)]
        for mark in ("~j~", ""):
            payloads = [proto.encode(mark + text).encode() for text in texts]
            before = sum(map(len, payloads))
            alone = sum(len(Compressor(6, 8, 15, 0).compress(payload) or payload) for payload in payloads)
            context = check_response("permessage-deflate", Compression(threshold=0, context_takeover=True))
            assert context is not None
            together = sum(len(context.compressor.compress(payload) or payload) for payload in payloads)
            lines.append(
                [
                    name,
                    "marked" if mark else "plain",
                    f"{before / len(payloads):,.0f}",
                    f"{before / alone:.1f}",
                    f"{before / together:.1f}",
                ]
            )
    return table(["message", "JSON", "bytes", "times shorter", "with context takeover"], lines)


# -- Broadcasts --------------------------------------------------------------------------------------------------------


class Receiver(asyncio.Protocol):
    """A client, which counts its bytes behind the handshake."""

    def __init__(self, room: Room) -> None:
        self.size = 0
        self._room = room
        self._head: bytearray | None = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        headers = rfc6455.client_request_headers(self._room.key)
        if self._room.offers:
            headers["Sec-WebSocket-Extensions"] = "permessage-deflate; client_max_window_bits"
        fields = (f"{name}: {value}" for name, value in headers.items())
        lines = ["GET /socket.io/websocket HTTP/1.1", "Host: 127.0.0.1", *fields, "", ""]
        transport.write("\r\n".join(lines).encode())

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            head, end, rest = bytes(self._head).partition(b"\r\n\r\n")
            if not end:
                return
            self._head = None
            assert (b"permessage-deflate" in head) == self._room.offers
            self.shook_hands(head)
            data = rest
        self.size += len(data)
        self._room.received(len(data))
        self.frames_received(data)

    def shook_hands(self, head: bytes) -> None: ...

    def frames_received(self, data: bytes) -> None: ...


class Speaker(Receiver):
    """The client that has messages sent to all, and that looks at what comes."""

    def shook_hands(self, head: bytes) -> None:
        agreed = head.partition(b"Sec-WebSocket-Extensions: ")[2].partition(b"\r\n")[0].decode()
        compression = Compression(context_takeover=True) if agreed else None
        self._framer = rfc6455.ClientFramer(64 << 20, check_response(agreed, compression))
        self.messages: list[str] = []

    def frames_received(self, data: bytes) -> None:
        payloads = self._framer.feed(data)
        while self._framer.has_more:
            payloads += self._framer.feed(b"")
        assert self._framer.error is None, self._framer.error
        for payload in payloads:
            assert isinstance(payload, str)
            self.messages += [content for kind, content in proto.decode(payload) if kind != proto.HEARTBEAT]

    def send(self, message: str) -> None:
        self.transport.write(rfc6455.ClientFramer(0).encode(proto.encode(message)))


class Room:
    """All clients of one server. They have received the same when they have received as many bytes."""

    def __init__(self, port: int, process: int, offers: bool) -> None:
        self.key = rfc6455.new_key()
        self.offers = offers
        self._port = port
        self._process = process
        self._size = 0
        self._receivers: list[Receiver] = []
        self._changed = asyncio.Event()

    def received(self, size: int) -> None:
        self._size += size
        self._changed.set()

    async def open(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        _, self._speaker = await loop.create_connection(lambda: Speaker(self), "127.0.0.1", self._port)
        self._receivers.append(self._speaker)
        for _ in range(count - 1):
            _, receiver = await loop.create_connection(lambda: Receiver(self), "127.0.0.1", self._port)
            self._receivers.append(receiver)
        await self._until(lambda: self._speaker.size > 0)

    async def measure(self, make: Callable[[int], str], seconds: float) -> dict[str, float]:
        """Broadcasts, one after another, for some seconds, and at least three."""
        await self._broadcast(make(next(_numbers)))
        size, started, cpu, count = self._speaker.size, time.perf_counter(), cpu_seconds(self._process), 0
        while count < 3 or time.perf_counter() - started < seconds:
            await self._broadcast(make(next(_numbers)))
            count += 1
        return {
            "cpu_us": (cpu_seconds(self._process) - cpu) / count * 1e6,
            "bytes": (self._speaker.size - size) / count,
            "rate": count / (time.perf_counter() - started),
        }

    async def _broadcast(self, text: str) -> None:
        self._speaker.messages.clear()
        self._speaker.send("b:" + text)
        await self._until(lambda: self._speaker.messages == [text])

    async def _until(self, has_arrived: Callable[[], bool]) -> None:
        """Wait until something has arrived at the speaker, and so many bytes at all others."""
        async with asyncio.timeout(_LIMIT_SECONDS):
            while not has_arrived() or self._size < len(self._receivers) * self._speaker.size:
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        for receiver in self._receivers:
            receiver.transport.abort()


def settings_for(compression: dict[str, Any] | None) -> str:
    return json.dumps(_NO_HEARTBEATS | {"compression": compression})


# By message and setting, for each round.
Results = dict[str, dict[str, list[dict[str, float]]]]


def names_for(message: str) -> list[str]:
    """The settings that a message is measured with: one that takes long to compress is compressed once."""
    return [name for name in _SETTINGS if name != _TAKEOVER or "quote" in message]


async def run_rounds(server_core: int, rounds: int, seconds: float, receivers: int) -> Results:
    """In a round each server has its turn."""
    results: Results = {message: {name: [] for name in names_for(message)} for message in MESSAGES}
    with ExitStack() as stack:
        rooms = {}
        for name, compression in _SETTINGS.items():
            arguments = ("--broadcast", "--settings", settings_for(compression))
            place = stack.enter_context(served(server_core, "tornadio_app.py", *arguments))
            rooms[name] = Room(*place, compression is not None)
            stack.callback(rooms[name].close)
            await rooms[name].open(receivers)
        for message, make in MESSAGES.items():
            for round_ in range(rounds):
                names = names_for(message)
                first = round_ % len(names)
                for name in names[first:] + names[:first]:
                    results[message][name].append(await rooms[name].measure(make, seconds))
                print(f"{message}, round {round_ + 1}", file=sys.stderr)
    return results


def measure(server_core: int, generator_core: int, rounds: int, seconds: float, receivers: int) -> str:
    """All of it, as tables."""
    os.sched_setaffinity(0, {generator_core})
    results = asyncio.run(run_rounds(server_core, rounds, seconds, receivers))
    lines = []
    for message, by_name in results.items():
        for name, figures in by_name.items():
            ratios = [own["cpu_us"] / base["cpu_us"] for own, base in zip(figures, by_name[_BASELINE], strict=True)]
            lines.append(
                [
                    message,
                    name,
                    f"{statistics.median(each['bytes'] for each in figures):,.0f}",
                    f"{statistics.median(each['cpu_us'] for each in figures) / 1000:,.2f}",
                    f"{statistics.median(ratios):.2f}",
                    f"{min(ratios):.2f} to {max(ratios):.2f}",
                ]
            )
    broadcasts = table(["message", "compression", "bytes a receiver", "CPU ms", "ratio", "in rounds"], lines)
    return f"Broadcasts to {receivers} receivers:\n\n{broadcasts}\n\nMessages:\n\n{sizes()}"
