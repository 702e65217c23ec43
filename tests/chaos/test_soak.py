"""A soak: clients of all kinds come, talk, misbehave and vanish, all the time, and in the end nothing is left of them.

Threads of the server send, flood and close beside its event loop.

A minute of it is a test; `--soak 3600` makes it an hour.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.appserver import AppServer
from tests.chaos.soak_app import MAX_MESSAGE_SIZE, MESSAGES_A_THREAD, THREADS
from tests.clients import KEYS, UPGRADE, Client, SocketClient, open_client
from tests.support import FORM, HTTP_TRANSPORTS, PERSISTENT, POLLING, SOCKETS, ClientStream, Elsewhere
from tornadio import proto
from tornadio.settings import PROTOCOLS

APP = Path(__file__).with_name("soak_app.py")

WORKERS = 30
# Until the server has seen every kind of client, its memory grows: this part of the time does not count.
WARM_UP = 0.4
GROWTH = 1.05
# Enough for any life: a client that waits longer has lost something.
LIFE_SECONDS = 60.0
MESSAGES_A_SECOND = 40

TOO_MUCH = "x" * (MAX_MESSAGE_SIZE + 1)


class Life:
    """One client's, from its first connection to its last."""

    def __init__(self, served: Elsewhere, transport: str, dice: random.Random, tally: collections.Counter[str]) -> None:
        self.served = served
        self.transport = transport
        self.dice = dice
        self.tally = tally

    async def open(self) -> Client:
        return await open_client(self.served, self.transport)

    async def request(self, headers: dict[str, str]) -> ClientStream:
        """The first request of a client, on a connection of its own."""
        wire = await self.served.connect()
        path = f"/socket.io/{self.transport}" + ("//1290000000000/0" if self.transport in HTTP_TRANSPORTS else "")
        await wire.send_request("GET", path, headers)
        return wire

    async def post(self, client: Client, data: str) -> int:
        return (await self.served.post_data(client.session_id, data, self.transport)).status

    async def half_a_post(self, client: Client) -> ClientStream:
        wire = await self.served.connect()
        path = f"/socket.io/{self.transport}/{client.session_id}/send"
        await wire.send_request("POST", path, {**FORM, "Content-Length": "9999"}, self.dice.randbytes(5000))
        return wire

    async def poll(self, client: Client) -> ClientStream:
        wire = await self.served.connect()
        await wire.send_request("GET", f"/socket.io/{self.transport}/{client.session_id}/1290000000000/0")
        return wire

    async def talk(self, client: Client) -> None:
        """Say some things, and hear the echo of each."""
        for _ in range(self.dice.randrange(1, 8)):
            messages = [self.something() for _ in range(self.dice.randrange(1, 6))]
            await client.send(*messages)
            heard: list[Any] = []
            while len(heard) < len(messages):
                heard += await self.hear(client)
            assert heard == messages
            self.tally["echoed"] += len(messages)

    def something(self) -> Any:
        # No CRLF: of hundreds in one JSONP message a form leaves it open whether each was one character or two.
        text = self.dice.choice(["x", "é", "中", "😀", "\n ", "~m~3~m~"]) * self.dice.randrange(1, 300)
        return self.dice.choice([text, {"text": text, "number": self.dice.random()}])

    async def hear(self, client: Client) -> list[Any]:
        """What has come, but heartbeats, which are answered."""
        messages = []
        for message in await client.receive():
            if isinstance(message, str) and message.startswith("~h~"):
                await client.echo(int(message.removeprefix("~h~")))
            else:
                messages.append(message)
        return messages

    async def break_off(self, wire: ClientStream) -> None:
        """FIN, or RST."""
        if self.chance(0.5):
            await wire.aclose()
        else:
            wire.reset()

    def chance(self, share: float) -> bool:
        return self.dice.random() < share


# -- Kinds of lives ----------------------------------------------------------------------------------------------------


async def talks_and_closes(life: Life) -> None:
    client = await life.open()
    await life.talk(client)
    await client.send("close")
    await client.ended()


async def hears_threads(life: Life) -> None:
    """Has threads of the server talk to it and close it: nothing is lost, and the order of each is kept."""
    client = await life.open()
    await client.send("threads")
    heard: dict[str, list[int]] = collections.defaultdict(list)
    messages: list[str] = []
    while "done" not in messages:
        messages += await life.hear(client)
    assert messages.pop() == "done"
    for message in messages:
        sender, number = message.split()
        heard[sender].append(int(number))
    assert heard == {sender: list(range(MESSAGES_A_THREAD)) for sender in [*map(str, range(THREADS)), "loop"]}
    life.tally["of threads"] += len(messages)
    await client.send("close from a thread")
    await client.ended()


async def drops(life: Life) -> None:
    client = await life.open()
    await life.talk(client)
    await client.leave()


async def resets(life: Life) -> None:
    client = await life.open()
    await life.talk(client)
    await client.leave(reset=True)


async def reconnects(life: Life) -> None:
    """Again and again, in the middle of an answer."""
    for _ in range(3):
        client = await life.open()
        await life.talk(client)
        waiting = asyncio.create_task(client.send("never mind"))
        await client.leave(reset=life.chance(0.5))
        await asyncio.gather(waiting, return_exceptions=True)


async def stalls(life: Life) -> None:
    """Asks for more than it reads, and goes on reading, or breaks off."""
    client = await life.open()
    wire = life.served.wires[-1]
    connection = cast(asyncio.ReadTransport, wire.writer.transport)
    if life.transport in PERSISTENT:
        connection.pause_reading()
    flood = life.dice.choice(["flood", "flood from a thread"])
    for _ in range(life.dice.randrange(1, 30)):
        if life.transport in SOCKETS:
            with contextlib.suppress(ConnectionError):
                await client.send(flood)
        elif await life.post(client, proto.encode(flood)) != 200:
            break
    await asyncio.sleep(life.dice.random())
    if life.transport in POLLING:
        wire = await life.poll(client)
    elif life.chance(0.5):
        connection.resume_reading()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wire.read_to_end(), life.dice.random())
    await life.break_off(wire)


async def sends_too_much(life: Life) -> None:
    client = await life.open()
    if isinstance(client, SocketClient):
        await client.send(TOO_MUCH)
    else:
        assert await life.post(client, proto.encode(TOO_MUCH)) == 413
    await client.ended()


async def sends_bad_frames(life: Life) -> None:
    client = await life.open()
    if isinstance(client, SocketClient):
        await client.peer.send(life.dice.choice(["~m~5~m~four", "nonsense", "~m~5~m~~j~{x", "~m~99999999999~m~"]))
        await client.ended()
    else:
        assert await life.post(client, life.dice.choice(["~m~5~m~four", "nonsense", "~m~5~m~~j~{x"])) == 400
        await life.talk(client)
        await client.leave()


async def posts_badly(life: Life) -> None:
    client = await life.open()
    if life.transport in HTTP_TRANSPORTS:
        path = f"/socket.io/{life.transport}/{client.session_id}/send"
        for body in (b"nonsense", b"data=%ff", b"data", life.dice.randbytes(500)):
            assert (await life.served.request("POST", path, FORM, body)).status == 400
        assert (await life.served.request("POST", path, FORM, 10 * TOO_MUCH.encode())).status == 413
    await client.leave(reset=life.chance(0.5))


async def posts_half(life: Life) -> None:
    """And breaks off, or keeps the server waiting until it has had enough."""
    client = await life.open()
    wire = await life.half_a_post(client) if life.transport in HTTP_TRANSPORTS else life.served.wires[0]
    if life.transport in HTTP_TRANSPORTS and life.chance(0.2):
        await wire.read_to_end()
    else:
        await life.break_off(wire)


async def sends_garbage(life: Life) -> None:
    """Instead of HTTP, or inside of a WebSocket."""
    if life.transport in SOCKETS:
        client = await life.open()
        assert isinstance(client, SocketClient)
        wire = client.peer.wire
    else:
        wire = await life.served.connect()
    await wire.send(life.dice.randbytes(500) + b"\r\n\r\n")
    await asyncio.sleep(life.dice.random() / 10)
    await life.break_off(wire)


async def abandons_a_handshake(life: Life) -> None:
    """Before the end of its headers, before key3, during `on_open`, or right behind it."""
    way = life.dice.randrange(4)
    if way == 0:
        wire = await life.served.connect()
        await wire.send(f"GET /socket.io/{life.transport} HTTP/1.1\r\nHost: 127.0".encode())
    elif way == 1:
        wire = await life.request({} if life.transport in HTTP_TRANSPORTS else {**UPGRADE, **KEYS})
    elif way == 2:
        wire = await life.request({"X-Slow": "yes"} | ({} if life.transport in HTTP_TRANSPORTS else UPGRADE))
    else:
        await life.open()
        wire = life.served.wires[-1]
    await asyncio.sleep(life.dice.random() / 10)
    await life.break_off(wire)


async def breaks_polls(life: Life) -> None:
    client = await life.open()
    if life.transport in POLLING:
        for _ in range(5):
            wire = await life.poll(client)
            await asyncio.sleep(life.dice.random() / 20)
            await life.break_off(wire)
        await life.talk(client)
    await client.leave(reset=life.chance(0.5))


async def makes_the_handler_fail(life: Life) -> None:
    client = await life.open()
    if isinstance(client, SocketClient):
        await client.send("fail")
    else:
        assert await life.post(client, "~m~4~m~fail") == 500
    await client.ended()


async def falls_silent(life: Life) -> None:
    """The server has to find out by itself."""
    client = await life.open()
    await life.talk(client)
    if life.transport in PERSISTENT:
        await life.served.wires[0].read_to_end()


Kind = Callable[[Life], Awaitable[None]]
KINDS: dict[Kind, int] = {
    talks_and_closes: 8,
    hears_threads: 4,
    drops: 4,
    resets: 4,
    reconnects: 4,
    stalls: 3,
    sends_too_much: 2,
    sends_bad_frames: 2,
    posts_badly: 2,
    posts_half: 2,
    sends_garbage: 2,
    abandons_a_handshake: 3,
    breaks_polls: 2,
    makes_the_handler_fail: 2,
    falls_silent: 1,
}


# -- The soak ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def soaked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppServer]:
    """The server; without asyncio's debugging, which keeps what it would not keep otherwise."""
    monkeypatch.delenv("PYTHONASYNCIODEBUG", raising=False)
    server = AppServer(APP, (), tmp_path / "output.txt")
    server.start()
    yield server
    server.kill()


async def soak(server: AppServer, seconds: float, dice: random.Random, tally: collections.Counter[str]) -> None:
    """Let clients live, one after the other in each worker, until the time is over."""
    end = time.monotonic() + seconds

    async def work(dice: random.Random) -> None:
        while time.monotonic() < end:
            [kind] = dice.choices(list(KINDS), list(KINDS.values()))
            transport = dice.choice(PROTOCOLS)
            try:
                async with asyncio.timeout(LIFE_SECONDS), contextlib.aclosing(Elsewhere.of(server)) as served:
                    await kind(Life(served, transport, dice, tally))
            except Exception as error:
                error.add_note(f"in a life over {transport} that {kind.__name__}")
                raise
            tally[kind.__name__] += 1
            tally[transport] += 1

    async with asyncio.TaskGroup() as workers:
        for _ in range(WORKERS):
            workers.create_task(work(random.Random(dice.getrandbits(64))))


STEADY = ("sessions", "connections", "tasks", "descriptors", "timers")


async def vitals_at_rest(server: AppServer, rest: dict[str, Any]) -> dict[str, Any]:
    """What the server holds when the last client has gone and the last timer has run: as much as before, at the end."""
    async with contextlib.aclosing(Elsewhere.of(server)) as served:
        deadline = time.monotonic() + 60
        while True:
            vitals: dict[str, Any] = await served.read_json("/vitals")
            if {name: vitals[name] for name in STEADY} == rest or time.monotonic() > deadline:
                return vitals
            await asyncio.sleep(0.2)


def of_the_library(vitals: dict[str, Any]) -> dict[str, int]:
    """The live objects of its classes, but for those whose number varies: the log's windows, the timers' empty places,
    and the payloads that are kept of the last message."""
    varying = ("_Window", "_Entry", "Payload")
    return {name: number for name, number in vitals["objects"].items() if name not in varying}


async def leave_during_a_poll(served: Elsewhere) -> None:
    """Have the server watch for hangups once: the epoll object for that stays."""
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/xhr-polling/{session_id}/1290000000000")
    await wire.send(b"G")  # of the next request
    await served.barrier()
    await wire.aclose()
    assert (await served.post(session_id, "close")).status == 200


async def test_after_a_soak_the_server_holds_what_it_held_before(soaked, dice, pytestconfig):
    seconds = pytestconfig.getoption("--soak")
    async with contextlib.aclosing(Elsewhere.of(soaked)) as served:
        await leave_during_a_poll(served)
        fresh = await served.read_json("/vitals")
    rest = {name: fresh[name] for name in STEADY}
    tally: collections.Counter[str] = collections.Counter()
    await soak(soaked, WARM_UP * seconds, dice, tally)
    before = await vitals_at_rest(soaked, rest)
    await soak(soaked, (1 - WARM_UP) * seconds, dice, tally)
    after = await vitals_at_rest(soaked, rest)
    print(dict(tally), before, after)

    assert {name: after[name] for name in STEADY} == rest
    assert of_the_library(after) == of_the_library(before)
    assert after["rss"] <= GROWTH * before["rss"]
    assert tally["echoed"] >= MESSAGES_A_SECOND * seconds
    assert set(tally) == {"echoed", "of threads", *PROTOCOLS, *(kind.__name__ for kind in KINDS)}

    async with contextlib.aclosing(Elsewhere.of(soaked)) as served:
        counts = await served.read_json("/counts")
    assert counts["opened"] == counts["closed"]
    assert counts["messages"] >= tally["echoed"]
    assert await asyncio.to_thread(soaked.terminate) == 0
    assert unexpected(soaked.output()) == []


UNEXPECTED = re.compile(r"\[E|Traceback|[A-Z]\w*(Error|Exception|Warning):")


def unexpected(output: str) -> list[str]:
    """Errors and tracebacks in the log, but for the handlers that had to fail: their tracebacks are indented."""
    errors = [line for line in output.splitlines() if UNEXPECTED.match(line)]
    return [line for line in errors if not re.search(r"on_message failed| 500 POST ", line)]
