"""SIGTERM in the middle of everything: what was promised to anybody is kept, and stderr hears not a word of it."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import simplejson

from tests.appserver import AppServer
from tests.chaos.shutdown_app import FAREWELL
from tests.clients import KEYS, UPGRADE, Client, SocketClient, frame, open_client
from tests.support import HTTP_TRANSPORTS, PERSISTENT, POLLING, ClientStream, Elsewhere, jsonp_payload, limit
from tornadio import proto
from tornadio.settings import PROTOCOLS

APP = Path(__file__).with_name("shutdown_app.py")

PLAIN = (sys.executable,)
DEBUGGED = ("env", "PYTHONASYNCIODEBUG=1", sys.executable, "-W", "error::ResourceWarning")

CLIENTS = 200

# What a client does, and sees, once the server is stopping.
Rest = Callable[[], Awaitable[None]]
# Brings a client over some transport into the situation in which the server's end meets it.
Situation = Callable[[Elsewhere, str], Awaitable[Rest]]


@dataclasses.dataclass(frozen=True)
class Program:
    """The server's process, what clients need of it, and where it leaves its report."""

    process: AppServer
    served: Elsewhere
    path: Path

    async def stop(self, rests: list[Rest]) -> dict[str, dict[str, int]]:
        """Tell it to stop, do the clients' part, and read its report."""
        stopping = asyncio.create_task(asyncio.to_thread(self.process.terminate))
        await asyncio.gather(*(rest() for rest in rests))
        assert await stopping == 0
        report: dict[str, dict[str, int]] = simplejson.loads(self.path.read_text(encoding="utf-8"))
        return report

    async def wait_until_at_work(self, handlers: int) -> None:
        """Wait until so many handlers have begun; none has ended."""
        async with limit():
            while len((report := await self.served.read_json("/report"))["begun"]) < handlers:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert report["handled"] == {}
        assert report["closed"] == {}


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[[tuple[str, ...], float], Program]]:
    """Starts the server, with seconds for its end."""
    programs: list[Program] = []

    def start(python: tuple[str, ...], deadline: float) -> Program:
        arguments = (f"--report={tmp_path / 'report'}", f"--deadline={deadline}")
        process = AppServer(APP, arguments, tmp_path / "output.txt", python)
        process.start()
        programs.append(Program(process, Elsewhere.of(process), tmp_path / "report"))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        await program.served.aclose()


# -- Polls on connections of their own ---------------------------------------------------------------------------------


async def keep_alive(served: Elsewhere) -> ClientStream:
    """An HTTP connection that is open already: a server that stops accepts no new ones."""
    wire = await served.connect()
    await wire.send_request("GET", "/report")
    assert (await wire.read_response()).status == 200
    return wire


async def ask(wire: ClientStream, client: Client, transport: str) -> None:
    await wire.send_request("GET", f"/socket.io/{transport}/{client.session_id}/1290000000000/0")


async def answer(wire: ClientStream, transport: str) -> list[Any]:
    response = await wire.read_response()
    assert response.status == 200, response
    payload = response.text if transport == "xhr-polling" else jsonp_payload(response.text)
    return [message for _, message in proto.decode(payload)]


# -- Situations --------------------------------------------------------------------------------------------------------


async def open_to_stay(served: Elsewhere, transport: str) -> Client:
    """A client that comes back once after its handshake: else its session could end before the others are there."""
    client = await open_client(served, transport)
    await client.send("here I am")
    return client


async def idle(served: Elsewhere, transport: str) -> Rest:
    client = await open_to_stay(served, transport)

    async def rest() -> None:
        if transport in PERSISTENT:
            await client.ended()

    return rest


async def with_a_poll_open(served: Elsewhere, transport: str) -> Rest:
    client = await open_client(served, transport)
    wire = await served.connect()
    await ask(wire, client, transport)

    async def rest() -> None:
        assert await answer(wire, transport) == []

    return rest


async def with_messages_for_the_next_poll(served: Elsewhere, transport: str) -> Rest:
    client = await open_client(served, transport)
    await client.send("fill")
    wire = await keep_alive(served)

    async def rest() -> None:
        numbers: list[int] = []
        while len(numbers) < FAREWELL:  # more than one answer carries
            await ask(wire, client, transport)
            numbers += map(number_of, await answer(wire, transport))
        assert numbers == list(range(FAREWELL))

    return rest


async def with_more_under_way_than_the_socket_takes(served: Elsewhere, transport: str) -> Rest:
    client = await open_client(served, transport)
    connection = cast(asyncio.ReadTransport, served.wires[-1].writer.transport)
    connection.pause_reading()
    await client.send("fill")

    async def rest() -> None:
        connection.resume_reading()
        numbers: list[int] = []
        while len(numbers) < FAREWELL:
            numbers += map(number_of, await client.receive())
        assert numbers == list(range(FAREWELL))
        await client.ended()

    return rest


def number_of(message: str) -> int:
    return int(message.split(" ")[0])


async def with_on_message_at_work(served: Elsewhere, transport: str) -> Rest:
    client = await open_client(served, transport)
    sending = asyncio.create_task(client.send("work"))

    async def rest() -> None:
        if transport in PERSISTENT:
            await client.ended()
        async with limit():
            await asyncio.gather(sending, return_exceptions=True)  # a POST is answered, with whatever

    return rest


async def with_on_open_at_work(served: Elsewhere, transport: str) -> Rest:
    wire = await served.connect()
    path = f"/socket.io/{transport}" + ("//1290000000000/0" if transport in HTTP_TRANSPORTS else "")
    await wire.send_request("GET", path, {"X-Slow": "yes"} | ({} if transport in HTTP_TRANSPORTS else UPGRADE))

    async def rest() -> None:
        await wire.read_to_end()

    return rest


async def half_way_through_a_message(served: Elsewhere, transport: str) -> Rest:
    client = await open_to_stay(served, transport)
    if isinstance(client, SocketClient):
        half = frame(1, b"~m~5~m~hello")[:9] if transport == "websocket" else b"\x00~m~5~m~he"
        await client.peer.wire.send(half)
    else:
        wire = await served.connect()
        head = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "100"}
        await wire.send_request("POST", f"/socket.io/{transport}/{client.session_id}/send", head, b"data=~m~")

    async def rest() -> None:
        if transport in PERSISTENT:
            await client.ended()
        if not isinstance(client, SocketClient):
            await wire.read_to_end()

    return rest


async def half_way_through_a_handshake(served: Elsewhere, transport: str) -> Rest:
    """No session has come of it yet, and none will."""
    wire = await served.connect()
    if transport == "flashsocket":
        await wire.send_request("GET", "/socket.io/flashsocket", {**UPGRADE, **KEYS})  # and no key3
    else:
        await wire.send(f"GET /socket.io/{transport}//1290000000000/0 HTTP/1.1\r\nHost: 127.0".encode())

    async def rest() -> None:
        await wire.read_to_end()

    return rest


async def with_on_message_hanging(served: Elsewhere, transport: str) -> Rest:
    client = await open_client(served, transport)
    wire = served.wires[-1]
    sending = asyncio.create_task(client.send("hang"))

    async def rest() -> None:
        async with limit():
            await asyncio.gather(sending, return_exceptions=True)
        await wire.read_to_end()

    return rest


async def with_messages_that_nobody_fetches(served: Elsewhere, transport: str) -> Rest:
    client = await open_client(served, transport)
    await client.send("fill")

    async def rest() -> None:
        pass

    return rest


AT_WORK = (with_on_message_at_work, with_on_open_at_work)
SITUATIONS: dict[Situation, tuple[str, ...]] = {
    idle: PROTOCOLS,
    with_a_poll_open: POLLING,
    with_messages_for_the_next_poll: POLLING,
    with_more_under_way_than_the_socket_takes: PERSISTENT,
    with_on_message_at_work: PROTOCOLS,
    with_on_open_at_work: PROTOCOLS,
    half_way_through_a_message: PROTOCOLS,
    half_way_through_a_handshake: PROTOCOLS,
}
CASES = [(situation, transport) for situation, transports in SITUATIONS.items() for transport in transports]


@pytest.mark.parametrize("python", [PLAIN, DEBUGGED], ids=["plain", "debugged"])
async def test_sigterm_with_200_clients_in_every_situation(start, python):
    program = start(python, 60)
    cases = list(itertools.islice(itertools.cycle(CASES), CLIENTS))
    rests = [await situation(program.served, transport) for situation, transport in cases]
    at_work = sum(situation in AT_WORK for situation, _ in cases)
    await program.wait_until_at_work(at_work)
    report = await program.stop(rests)
    assert program.process.output() == ""
    connections = sum(situation is not half_way_through_a_handshake for situation, _ in cases)
    assert len(report["opened"]) == connections
    assert set(report["opened"].values()) == {1}
    assert report["closed"] == report["opened"]
    assert len(report["begun"]) == at_work
    assert report["handled"] == report["begun"]


@pytest.mark.parametrize("python", [PLAIN, DEBUGGED], ids=["plain", "debugged"])
async def test_sigterm_with_clients_and_handlers_that_hang_until_the_deadline(start, python):
    program = start(python, 1)
    for transport in POLLING:
        await with_messages_that_nobody_fetches(program.served, transport)
    rests = [await with_on_message_hanging(program.served, transport) for transport in PROTOCOLS]
    await program.wait_until_at_work(len(PROTOCOLS))
    report = await program.stop(rests)
    first, *posts = program.process.output().splitlines()
    assert re.fullmatch(r"shutting down: \d+ sessions and \d+ handlers were not done in time", first)
    assert all(" POST " in line and line.startswith("503") for line in posts)  # which say so to the access log
    assert len(posts) == len(HTTP_TRANSPORTS)
    assert len(report["opened"]) == len(PROTOCOLS) + len(POLLING)
    assert report["closed"] == dict.fromkeys(report["opened"], 1)
    assert report["handled"] == {}
