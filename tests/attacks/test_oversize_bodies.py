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
from tests.attacks.posts_server import each_server
from tests.attacks.posts_server import running as running_posts
from tests.clients import Client, exchange, open_client
from tests.support import FORM, HTTP_TRANSPORTS, ClientStream, Elsewhere, Served, limit
from tests.vitals import watched_memory
from tornadio import proto
from tornadio.settings import PROTOCOLS

APP = Path(__file__).with_name("echo_app.py")

LIMIT = 64 << 10
# A body may have 3 bytes for each byte of the payload, and 4096 of other fields.
BODY_LIMIT = 3 * LIMIT + 4096
PARALLEL = 3  # to each address
SENT = 32 << 20  # by each; the server takes no more than half of it
PIECE = b"x" * (1 << 20)
# What the server may need for its answers and its log, what is read at once from each socket, what the allocator keeps.
SLACK = 12 << 20


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
ELSEWHERE = {"/elsewhere": 404}

# Requests whose bodies no session will read, and their answers. A body may be so large, and is thrown away as it comes.
UNREAD = {
    "POST /socket.io/xhr-polling/0123456789/send": 401,
    "POST /socket.io/htmlfile/0123456789/send": 401,
    "POST /socket.io/xhr-polling/ENDED/send": 401,
    "POST /socket.io/xhr-polling//send": 400,
    "GET /socket.io/xhr-polling/SESSION/1290000000000": 401,  # the session ends meanwhile
    "GET /socket.io/jsonp-polling//1290000000000/0": 200,
    "GET /socket.io/xhr-polling//1290000000000": 200,
    "OPTIONS /socket.io/xhr-polling/SESSION/send": 200,
    "POST /socket.io/nonsense": 404,
}
SLOW_BODY = 3 << 20
# Handlers that want no body read no more than this of one.
BODILESS = ("/health", "/socket.io/socket.io.js")
BODILESS_LIMIT = 64 << 10

# A twentieth of what is sent.
BOUND = PARALLEL * len(ADDRESSES) * BODY_LIMIT + SLACK


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Elsewhere]:
    with running(tmp_path) as server:
        async with contextlib.aclosing(Elsewhere.of(server)) as served:
            yield served


@contextlib.contextmanager
def running(directory: Path) -> Iterator[AppServer]:
    server = AppServer(APP, (f"--max_payload_size={LIMIT}",), directory / "output.txt")
    try:
        server.start()
        yield server
    finally:
        server.kill()


async def pour(wire: ClientStream, before: bytes, after: bytes, size: int = SENT) -> None:
    """Send a body, or as much of it as the server takes."""
    with contextlib.suppress(ConnectionError):
        for _ in range(size // len(PIECE)):
            await wire.send(before + PIECE + after)


async def start_body(served: Served, path: str, body: str) -> tuple[ClientStream, asyncio.Task[None]]:
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
    answers: dict[str, set[int]] = {}
    for (address, _), status in zip(wanted, statuses, strict=True):
        answers.setdefault(address, set()).add(status)
    for address, status in ADDRESSES.items():
        if "SESSION" in address and "Content-Length" not in BODIES[body][0]:
            answers[address].discard(503)  # as long as there are others in its session; the last one has no excuse
        assert answers[address] == {status}, address
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


async def start_slow_body(served: Served, request: str) -> ClientStream:
    """A request that has sent all of its body but the last byte."""
    method, path = request.split(" ")
    wire = await served.connect()
    await wire.send_request(method, path, FORM | {"Content-Length": str(SLOW_BODY)})
    await wire.send(b"data=" + (SLOW_BODY - len(b"data=") - 1) * b"x")
    return wire


@each_server
async def test_bodies_that_no_session_reads_are_not_kept_while_they_come(tmp_path, http):
    async with running_posts(tmp_path, http) as served:
        process = (await served.read_json("/report"))["process"]
        session_id, ended = [(await served.open())[0] for _ in range(2)]
        assert (await served.post_data(ended, "x" * ((1 << 20) + 1))).status == 413  # which ends it
        before = (await served.read_json("/vitals"))["rss"]
        wires = []
        async with watched_memory(process) as memory:
            for request, status in UNREAD.items():
                path = request.replace("SESSION", session_id).replace("ENDED", ended)
                wires.append((await start_slow_body(served, path), status, request))
            # The server has read what was sent: nothing of it waits in the sockets.
            assert (await served.read_json("/vitals"))["rss"] - before < SLACK
        assert max(memory) - before < SLACK
        assert (await served.post_data(session_id, "x" * ((1 << 20) + 1))).status == 413
        for wire, status, request in wires:
            await wire.send(b"x")
            assert (request, (await wire.read_response()).status) == (request, status)


@each_server
async def test_percent_encoded_bodies_cost_what_their_payloads_have(tmp_path, http):
    """Three bytes for each one: what is held is the payload's, while the body comes, and when it is handled."""
    size, sessions = 8 << 20, 4
    payload = 8 * proto.encode(((1 << 20) - 100) * "x")
    body = b"data=%" + payload.encode().hex("%").encode()
    async with running_posts(tmp_path, http, max_payload_size=size) as served:
        process = (await served.read_json("/report"))["process"]
        before = (await served.read_json("/vitals"))["rss"]
        wires = []
        async with watched_memory(process) as memory:
            for _ in range(sessions):
                session_id, _ = await served.open()
                wire = await served.connect()
                headers = FORM | {"Content-Length": str(len(body))}
                await wire.send_request("POST", f"/socket.io/xhr-polling/{session_id}/send", headers, body[:-1])
                wires.append(wire)
            await served.read_json("/vitals")
            coming = max(memory) - before
            for wire in wires:
                await wire.send(body[-1:])
                assert (await wire.read_response()).text == "ok"
        assert coming < sessions * size * 9 // 8 + SLACK
        assert max(memory) - before < sessions * size * 9 // 8 + 2 * size + SLACK


@each_server
@pytest.mark.parametrize("path", BODILESS)
@pytest.mark.parametrize("body", ["with its length", "in chunks"])
async def test_where_no_body_is_wanted_little_of_one_is_read(tmp_path, http, path, body):
    async with running_posts(tmp_path, http) as served:
        process = (await served.read_json("/report"))["process"]
        before = (await served.read_json("/vitals"))["rss"]
        async with watched_memory(process) as memory:
            bodies = []
            for method in ("GET", "POST"):
                for _ in range(3):
                    headers, around, behind = BODIES[body]
                    wire = await served.connect()
                    await wire.send_request(method, path, FORM | headers)
                    if body == "with its length":
                        assert (await wire.read_head()).status == 400
                    bodies.append(pour(wire, around, behind))
            await asyncio.gather(*bodies)
        assert max(memory) - before < SLACK


@each_server
@pytest.mark.parametrize("path", BODILESS)
async def test_where_no_body_is_wanted_a_small_one_does_no_harm(tmp_path, http, path):
    async with running_posts(tmp_path, http) as served:
        wire = await served.connect()
        for _ in range(2):
            await wire.send_request("GET", path, FORM, BODILESS_LIMIT * b"x")
            assert (await wire.read_response()).status == 200
            await wire.send_request("POST", path, FORM, BODILESS_LIMIT * b"x")
            assert (await wire.read_response()).status == 405
