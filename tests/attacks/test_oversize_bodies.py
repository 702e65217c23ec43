"""Bodies that are too large are refused before they are in memory, however many come at once.

CVE-2020-36048, CVE-2020-36049: POSTs of a hundred megabytes were read, concatenated and decoded before anybody looked
at their size.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer
from tests.attacks.test_slow_readers import watched_memory
from tests.clients import Client, exchange, open_client
from tests.support import HTTP_TRANSPORTS, Elsewhere, Served, Wire, limit
from tornadio.settings import PROTOCOLS

APP = Path(__file__).with_name("echo_app.py")

LIMIT = 64 << 10
# A body may have 9 bytes for each byte of the payload, and its name.
BODY_LIMIT = 9 * LIMIT + len("data=")
PARALLEL = 3  # to each address
SENT = 32 << 20  # by each; the server takes no more than half of it
PIECE = b"x" * (1 << 20)
# What the server may need for its answers and its log, what is read at once from each socket, what the allocator keeps.
SLACK = 12 << 20

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}

# Headers, what stands around each piece of the body, and what is left of the body for ever.
BODIES: dict[str, tuple[dict[str, str], bytes, bytes]] = {
    "with its length": ({"Content-Length": str(SENT)}, b"", b""),
    "with a length of an exabyte": ({"Content-Length": str(10**18)}, b"", b""),
    "in chunks": ({"Transfer-Encoding": "chunked"}, b"100000\r\n", b"\r\n"),
    "in one chunk without end": ({"Transfer-Encoding": "chunked"}, b"", b""),
}

# Where bodies may be sent to, and how they are refused there. Where none is expected, what comes is read and forgotten.
ADDRESSES = {
    "xhr-polling/SESSION/send": 413,
    "jsonp-polling/SESSION/1290000000000/0": 413,
    "xhr-multipart/SESSION/send": 413,
    "htmlfile/SESSION/send": 413,
    "xhr-polling/0123456789/send": 413,
    "xhr-polling//send": 413,
    "websocket": 405,
    "nonsense": 404,
}
ELSEWHERE = {"/socket.io/socket.io.js": 405, "/elsewhere": 404}

# A twentieth of what is sent.
BOUND = PARALLEL * len(ADDRESSES) * BODY_LIMIT + SLACK


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Elsewhere]:
    with running(tmp_path) as server:
        async with contextlib.aclosing(Elsewhere.of(server)) as served:
            yield served


@contextlib.contextmanager
def running(directory: Path) -> Iterator[AppServer]:
    server = AppServer(APP, (f"--max_message_size={LIMIT}",), directory / "output.txt")
    try:
        server.start()
        yield server
    finally:
        server.kill()


async def pour(wire: Wire, before: bytes, after: bytes, size: int = SENT) -> None:
    """Send a body, or as much of it as the server takes."""
    with contextlib.suppress(ConnectionError):
        for _ in range(size // len(PIECE)):
            await wire.send(before + PIECE + after)


async def start_body(served: Served, path: str, body: str) -> tuple[Wire, asyncio.Task[None]]:
    """A POST whose body is being sent."""
    headers, before, after = BODIES[body]
    wire = await served.connect()
    await wire.send_request("POST", path, FORM | headers)
    if body == "in one chunk without end":
        await wire.send(b"fffffffff\r\n")
    return wire, asyncio.create_task(pour(wire, before, after))


async def status_of_body(served: Served, path: str, body: str) -> int:
    """What a POST is answered while its body is still being sent. Its connection is closed then."""
    wire, pouring = await start_body(served, path, body)
    status = (await wire.read_head()).status
    async with limit():
        await pouring
    await wire.read_to_end()
    return status


class Bystanders:
    """Clients of all six transports that talk for as long as the attack lasts."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = clients
        self._exchanges = 0

    async def exchange(self) -> None:
        """Each sends a message, and has it back."""
        self._exchanges += 1
        for client in self._clients:
            await exchange(client, f"message {self._exchanges}")

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        ended = asyncio.Event()

        async def talk() -> None:
            await self.exchange()
            while not ended.is_set():
                await self.exchange()

        talking = asyncio.create_task(talk())
        try:
            yield
        finally:
            ended.set()
            await talking


async def handlers_and_sessions(served: Elsewhere) -> dict[str, int]:
    """What the server has of them."""
    vitals = await served.read_json("/vitals")
    handlers = {name: number for name, number in vitals["objects"].items() if name.endswith("Handler")}
    return {**handlers, "sessions": vitals["sessions"]}


@pytest.mark.parametrize("body", BODIES)
async def test_many_bodies_at_once_cost_no_more_than_the_limit_for_each(served, body):
    bystanders = Bystanders([await open_client(served, transport) for transport in PROTOCOLS])
    before = await handlers_and_sessions(served)
    sessions = {transport: await served.start(transport) for transport in HTTP_TRANSPORTS}
    process = (await served.read_json("/report"))["process"]
    memory_before = (await served.read_json("/vitals"))["rss"]
    wanted, attacks = [], []
    for address, status in ADDRESSES.items():
        session_id = sessions.get(address.split("/")[0], "")
        path = f"/socket.io/{address.replace('SESSION', session_id)}"
        wanted += PARALLEL * [(address, status)]
        attacks += [status_of_body(served, path, body) for _ in range(PARALLEL)]
    async with bystanders.talking(), watched_memory(process) as memory:
        statuses = await asyncio.gather(*attacks)
    assert [(address, status) for (address, _), status in zip(wanted, statuses, strict=True)] == wanted
    assert max(memory) - memory_before < BOUND
    for transport, session_id in sessions.items():
        assert (await served.poll(session_id, transport)).status in (
            200,
            401,
        )  # what its client was sent before the end
        assert (await served.poll(session_id, transport)).status == 401
    await bystanders.exchange()
    assert await handlers_and_sessions(served) == before


@pytest.mark.parametrize("path", ELSEWHERE)
@pytest.mark.parametrize("body", ["with its length", "in chunks"])
async def test_where_bodies_are_read_to_their_end_they_are_not_kept(served, path, body):
    process = (await served.read_json("/report"))["process"]
    memory_before = (await served.read_json("/vitals"))["rss"]
    async with watched_memory(process) as memory:
        bodies = [await start_body(served, path, body) for _ in range(10)]
        await asyncio.gather(*(pouring for _, pouring in bodies))
        for wire, _ in bodies:
            if body == "in chunks":
                await wire.send(b"0\r\n\r\n")
            assert (await wire.read_response()).status == ELSEWHERE[path]
    assert max(memory) - memory_before < SLACK
