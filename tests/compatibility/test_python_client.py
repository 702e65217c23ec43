"""`tornadio.connect` against both servers, in processes of their own: TornadIO, and the official Socket.IO-node 0.6.18.

With the official server websocket is missing: it speaks the drafts 75 and 76 alone, which this client doesn't.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tornado.httpclient import AsyncHTTPClient

import tornadio
from tests.appserver import AppServer
from tests.compatibility.page_socket import BOUNDARY_TEXT, HOSTILE_TEXTS, SCRIPT_TEXT
from tests.compatibility.table import Scenario
from tests.support import SECONDS
from tests.texts import IN_SCRIPTS
from tornadio.client.options import TRANSPORTS

HERE: Final = Path(__file__).resolve().parent
OFFICIAL: Final = TRANSPORTS[1:]

# The official server writes </script> into its scripts as it is, and all its streams have the same boundary.
BREAKS_THE_OFFICIAL_SERVER: Final = {"htmlfile": SCRIPT_TEXT, "xhr-multipart": BOUNDARY_TEXT}
# It decodes a frame in the square of its length: a megabyte takes it minutes.
LARGE_BYTES: Final = {"TornadIO": 1 << 20, "official": 20_000}

pytestmark = pytest.mark.compatibility(client="tornadio.connect")

CASES: Final = [("TornadIO", transport) for transport in TRANSPORTS] + [("official", each) for each in OFFICIAL]
each_transport = pytest.mark.parametrize(("server", "transport"), CASES, indirect=["server"])


@pytest.fixture(scope="module")
def servers(node: str, node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, AppServer]]:
    directory = tmp_path_factory.mktemp("servers")
    own = AppServer(HERE / "official_app.py", (), directory / "own.txt")
    program = (node, "--require", str(HERE / "node_preload.js"))
    official = AppServer(HERE / "official_server.js", (str(node_modules),), directory / "official.txt", program=program)
    for server in (own, official):
        server.start()
    yield {"TornadIO": own, "official": official}
    for server in (own, official):
        server.kill()


class Served:
    def __init__(self, name: str, server: AppServer) -> None:
        self.name = name
        self.process = server

    def connect(self, *transports: str, resource: str = "socket.io", **options: Any) -> Any:
        return tornadio.connect(f"{self.process.url}/{resource}", transports=transports or ("websocket",), **options)


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: dict[str, AppServer]) -> Served:
    return Served(request.param, servers[request.param])


async def exchange(client: Any, *messages: Any) -> list[Any]:
    """Send messages to a server that echoes, and have them back."""
    async with asyncio.timeout(SECONDS):
        for message in messages:
            await client.send(message)
        return [await client.recv() for _ in messages]


@each_transport
async def test_connects(server: Served, transport: str) -> None:
    async with server.connect(transport) as client:
        assert client.transport == transport
        assert client.session_id
        assert client.session_id.isalnum()
        assert await exchange(client, "hello") == ["hello"]
    assert client.is_closed
    assert client.unsent == ()


@each_transport
async def test_echo_of_texts(server: Served, transport: str) -> None:
    texts = [*HOSTILE_TEXTS, *IN_SCRIPTS] if server.name == "TornadIO" else [*HOSTILE_TEXTS, "é中😀", "behind"]
    if server.name == "official":
        texts = [text for text in texts if text != BREAKS_THE_OFFICIAL_SERVER.get(transport)]
    async with server.connect(transport) as client:
        assert await exchange(client, *texts) == texts


@each_transport
async def test_echo_of_json(server: Served, transport: str) -> None:
    messages: list[Any] = [{"a": [1, 2.5, {"b": None}], "é": ["中", {"😀": True}]}, {}]
    async with server.connect(transport) as client:
        assert await exchange(client, *messages) == messages


@each_transport
async def test_echo_of_much(server: Served, transport: str) -> None:
    size = LARGE_BYTES[server.name]
    texts = ["x" * size, "😀" * (size // 4)]
    async with server.connect(transport) as client:
        assert await exchange(client, *texts) == texts


@each_transport
async def test_200_rapid_messages(server: Served, transport: str) -> None:
    texts = [f"message {number}" for number in range(200)]
    async with server.connect(transport) as client:
        assert await exchange(client, *texts) == texts


@pytest.mark.parametrize("server", ["TornadIO"], indirect=True)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_20_000_messages_at_once(server: Served, transport: str) -> None:
    texts = [f"{number} {'x' * 60}" for number in range(20_000)]
    async with server.connect(transport, resource="queue") as client, asyncio.timeout(4 * SECONDS):
        for text in (*texts, "end"):
            await client.send(text)
        assert await client.recv() == {"received": 20_001}
        response = await AsyncHTTPClient().fetch(f"{server.process.url}/received/{client.session_id}")
        assert json.loads(response.body)["messages"] == [*texts, "end"]


@each_transport
async def test_burst_in_order(server: Served, transport: str) -> None:
    expected: list[Any] = [f"é中😀 {number}" for number in range(100)]
    if server.name == "official":
        expected = ["one", {"two": 2}, "é中😀", "four"]
    async with server.connect(transport) as client:
        await client.send("burst")
        async with asyncio.timeout(SECONDS):
            assert [await client.recv() for _ in expected] == expected


@pytest.mark.parametrize("server", ["TornadIO", "official"], indirect=True)
async def test_stays_connected_while_idle(server: Served, scenario: Scenario) -> None:
    """All transports side by side: heartbeats are echoed, polls that end empty are repeated."""
    signs = collections.Counter[str]()
    is_enough = asyncio.Event()
    transports = TRANSPORTS if server.name == "TornadIO" else OFFICIAL
    waiting = {transport for transport in transports if "polling" not in transport}

    def tracer(transport: str) -> Any:
        def trace(direction: str, payload: str) -> None:
            signs[transport] += direction == "out" and "~h~" in payload
            if min(signs[transport] for transport in waiting) > 3:
                is_enough.set()

        return trace

    resource = "lively" if server.name == "TornadIO" else "socket.io"
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            transport: await stack.enter_async_context(
                server.connect(transport, resource=resource, trace=tracer(transport))
            )
            for transport in transports
        }
        async with asyncio.timeout(SECONDS):
            await is_enough.wait()
        for transport, client in clients.items():
            with scenario("stays connected while idle", transport):
                assert await exchange(client, "still here") == ["still here"]
                assert not client.is_closed


async def have_closed(client: Any) -> None:
    """Have the server close, again and again: between two polls the official server has nothing that it could end."""
    while not client.is_closed:
        with contextlib.suppress(tornadio.ConnectionClosed, TimeoutError):
            await client.send("close")
            await asyncio.wait_for(client.wait_closed(), 0.2)


@each_transport
async def test_server_close_is_seen(server: Served, transport: str) -> None:
    async with server.connect(transport) as client:
        async with asyncio.timeout(SECONDS):
            await have_closed(client)
        with pytest.raises(tornadio.ConnectionClosed):
            await client.recv()
        assert client.close_code is not None


@each_transport
async def test_disconnects_and_connects_again(server: Served, transport: str) -> None:
    ids = set()
    for _ in range(2):
        async with server.connect(transport) as client:
            assert await exchange(client, "here") == ["here"]
            ids.add(client.session_id)
    assert len(ids) == 2


async def send_on(client: Any) -> None:
    while True:
        await client.send("while away")
        await asyncio.sleep(0)


async def sessions(client: Any) -> AsyncGenerator[Any, None]:
    async for session in client:
        async with session:
            yield session


@each_transport
async def test_reconnects_after_kill_9_and_loses_nothing_unseen(server: Served, transport: str) -> None:
    connecting = server.connect(transport, min_delay=0.05, max_delay=0.2)
    async with contextlib.aclosing(sessions(connecting)) as reconnecting:
        async with asyncio.timeout(2 * SECONDS):
            first = await anext(reconnecting)
            assert await exchange(first, "before") == ["before"]
            server.process.kill()
            with pytest.raises(tornadio.ConnectionClosed) as raised:
                await send_on(first)
            assert raised.value.code == 1006
            await asyncio.to_thread(server.process.start)
            second = await anext(reconnecting)
            assert second is not first
            assert second.session_id != first.session_id
            assert await exchange(second, *first.unsent, "after") == [*first.unsent, "after"]


@pytest.mark.parametrize("server", ["official"], indirect=True)
@pytest.mark.compatibility(transport="xhr-polling")
async def test_falls_back_from_the_websocket_that_this_server_does_not_speak(server: Served) -> None:
    async with tornadio.connect(f"{server.process.url}/socket.io") as client:
        assert client.transport == "xhr-polling"
        assert await exchange(client, "hello") == ["hello"]
