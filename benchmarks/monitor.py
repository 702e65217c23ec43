"""What the live page costs: the processor time of a server with 10,000 WebSockets, idle but for heartbeats, without an
onlooker, with one who looks at the plots, and with one who has the table and the groups on the screen, too.

    python -m benchmarks.monitor [CONNECTIONS SECONDS]

The server is this process, the clients are another one. It needs two file descriptors for each connection.
"""

import asyncio
import base64
import os
import struct
import sys
import time

import tornado.web

import tornadio
from benchmarks.measuring import raise_descriptor_limit

INTERVAL = 2.0  # seconds between two looks of a page at the table and the groups


class Idle(tornadio.SocketConnection):
    """In one of 50 groups."""

    router: tornadio.Router
    number = expected = 0
    all_here = asyncio.Event()

    def on_open(self, *args: object, **kwargs: object) -> None:
        Idle.number += 1
        self.router.group(f"room {Idle.number % 50}").add(self)
        if Idle.number == Idle.expected:
            Idle.all_here.set()

    def on_message(self, message: object) -> None:
        pass


class Client(asyncio.Protocol):
    """A client that answers heartbeats: the shortest that can be written."""

    def __init__(self) -> None:
        self.buffer = b""
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /socket.io/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open:
            _, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self.is_open, self.buffer = True, rest
        while len(self.buffer) > 1 and len(self.buffer) >= 2 + self.buffer[1]:
            payload, self.buffer = self.buffer[2 : 2 + self.buffer[1]], self.buffer[2 + self.buffer[1] :]
            if b"~h~" in payload:  # masked with zeros
                self.transport.write(struct.pack("!BBI", 0x81, 0x80 | len(payload), 0) + payload)


async def connect(port: int, count: int) -> None:
    """Be the clients."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_connection(Client, "127.0.0.1", port)
    await asyncio.Event().wait()


async def look(port: int, questions: list[dict[str, object]]) -> None:
    """Be a page."""
    async with tornadio.connect(f"ws://127.0.0.1:{port}/monitor/socket", transports=["websocket"]) as page:

        async def read() -> None:
            async for _ in page:
                pass

        reading = asyncio.create_task(read())
        try:
            while True:
                for number, question in enumerate(questions):
                    await page.send({"number": number, "router": "socket.io", **question})
                await asyncio.sleep(INTERVAL)
        finally:
            reading.cancel()


QUESTIONS: dict[str, list[dict[str, object]] | None] = {
    "nobody looks": None,
    "plots alone": [],
    "all of the page": [{"type": "page", "sort": "age", "limit": 50}, {"type": "groups", "text": "", "limit": 100}],
    "all, sorted by queue and filtered": [
        {"type": "page", "sort": "queue", "descending": True, "text": "127.0", "limit": 50},
        {"type": "groups", "text": "", "limit": 100},
    ],
}


async def measure(count: int, seconds: float) -> None:
    Idle.expected = count
    router = Idle.router = tornadio.get_router(Idle)
    application = tornado.web.Application([router.route(), (r"/monitor/(.*)", tornadio.MonitorHandler)])
    server = tornadio.SocketServer(application, auto_start=False, port=0, address="127.0.0.1")
    command = [sys.executable, "-m", "benchmarks.monitor"]
    clients = await asyncio.create_subprocess_exec(*command, "connect", str(server.port), str(count))
    try:
        await Idle.all_here.wait()
        await asyncio.sleep(5)
        print(f"{count:,} connections, {seconds:g} s each", flush=True)
        baseline = 0.0
        for name, questions in QUESTIONS.items():
            page = None
            if questions is not None:
                kinds = [f"{key}={value}" for question in questions for key, value in question.items()]
                page = await asyncio.create_subprocess_exec(*command, "look", str(server.port), *kinds)
                await asyncio.sleep(3)
            started, began = time.process_time(), time.monotonic()
            await asyncio.sleep(seconds)
            share = 100 * (time.process_time() - started) / (time.monotonic() - began)
            baseline = baseline or share
            print(f"{name:36} {share:5.2f} % of a core, {share - baseline:+.2f}", flush=True)
            if page is not None:
                page.terminate()
                await page.wait()
                await asyncio.sleep(2)
    finally:
        clients.terminate()
        await clients.wait()
        await server.shutdown(1)


def questions_of(kinds: list[str]) -> list[dict[str, object]]:
    """The questions of a command line: each begins with its type."""
    questions: list[dict[str, object]] = []
    for kind in kinds:
        key, _, value = kind.partition("=")
        if key == "type":
            questions.append({})
        questions[-1][key] = (
            int(value) if value.isdecimal() else value == "True" if value in ("True", "False") else value
        )
    return questions


def main() -> None:
    raise_descriptor_limit()
    match sys.argv[1:]:
        case ["connect", port, count]:
            asyncio.run(connect(int(port), int(count)))
        case ["look", port, *kinds]:
            asyncio.run(look(int(port), questions_of(kinds)))
        case []:
            asyncio.run(measure(10_000, 60.0))
        case [count, seconds]:
            asyncio.run(measure(int(count), float(seconds)))


if __name__ == "__main__":
    main()
