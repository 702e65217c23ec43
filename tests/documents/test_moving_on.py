"""docs/moving-on.rst: examples/moving as the page describes it, clients of both protocols in one room; its pages are in
tests/browser/test_moving.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import socketio
import tornado.web

import tornadio
from tests.appserver import AppServer
from tests.documents.pages import Page, table_rows
from tests.redis_fixtures import RedisServer
from tests.support import Elsewhere, Recorder, limit

PAGE = Page("docs/moving-on.rst")
APP = PAGE.file("examples/moving/moving.py")
COMMAND = PAGE.code("Moving on to Socket.IO 4", language="bash")
EVENTS = ("joined", "left", "said")
NEW = "/socket.io/?EIO=4&transport=polling"

StartServer = Callable[..., AppServer]


class NewClient:
    """python-socketio's client, and what it has heard, as an old page would have.

    :param earlier: who has joined before: over the bus, its process may be told of that only later.
    """

    def __init__(self, earlier: list[str]) -> None:
        self.earlier = earlier
        self.sio = socketio.AsyncClient(reconnection=False)
        self.heard: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        for event in EVENTS:
            self.sio.on(event, self._listener(event))

    def _listener(self, event: str) -> Callable[[dict[str, str]], None]:
        return lambda data: self.heard.put_nowait({"type": event, **data})

    def _is_earlier(self, said: dict[str, str]) -> bool:
        return said["type"] == "joined" and said["name"] in self.earlier

    async def join(self, server: AppServer, name: str, transport: str) -> None:
        await self.sio.connect(server.url, auth={"name": name}, transports=[transport], wait_timeout=30)

    async def say(self, text: str) -> None:
        assert await self.sio.call("say", text, timeout=30) == {"ok": True}

    async def hear(self) -> dict[str, str]:
        async with limit():
            while self._is_earlier(said := await self.heard.get()):
                pass
        return said

    async def aclose(self) -> None:
        await self.sio.disconnect()


class OldClient:
    """Our client."""

    def __init__(self) -> None:
        self.socket: tornadio.ClientConnection | None = None

    async def join(self, server: AppServer, name: str, transport: str) -> None:
        self.socket = await tornadio.connect(f"{server.url}/socket.io", transports=[transport])
        await self.socket.send({"type": "join", "name": name})

    async def say(self, text: str) -> None:
        assert self.socket is not None
        await self.socket.send({"type": "say", "text": text})

    async def hear(self) -> Any:
        assert self.socket is not None
        async with limit():
            return await self.socket.recv()

    async def aclose(self) -> None:
        if self.socket is not None:
            await self.socket.close()


Client = NewClient | OldClient
Join = Callable[..., Any]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """`await join(server, name, transport)`: a client of the protocol that has this transport, in the room."""
    clients: list[Client] = []
    names: list[str] = []

    async def join(server: AppServer, name: str, transport: str) -> Client:
        is_new = transport in ("polling", "new websocket")
        clients.append(NewClient(names.copy()) if is_new else OldClient())
        names.append(name)
        await clients[-1].join(server, name, transport.removeprefix("new "))
        for client in clients:
            assert await client.hear() == {"type": "joined", "name": name}
        return clients[-1]

    yield join
    for client in clients:
        await client.aclose()


async def start(app_server: StartServer, redis: RedisServer, nodes: str) -> list[AppServer]:
    """Processes that hear each other: python-socketio subscribes when its first client comes."""
    servers = [app_server(APP, f"--bus={redis.url}", f"--node={node}") for node in nodes]
    for server in servers:
        async with contextlib.aclosing(Elsewhere.of(server)) as served:
            assert (await served.request("GET", NEW)).status == 200
    await redis.wait_for_subscribers("socketio", len(servers))
    return servers


async def test_one_process_has_one_room_for_both(app_server: StartServer, join: Join) -> None:
    assert COMMAND.split() == ["python3", "examples/moving/moving.py"]
    server = app_server(APP)
    await all_hear_all(join, [(server, "polling"), (server, "xhr-polling"), (server, "new websocket")])


async def test_two_processes_have_one_room_for_both(
    app_server: StartServer, join: Join, redis_server: RedisServer
) -> None:
    first, second = await start(app_server, redis_server, "ab")
    # Groups are subscribed to by their first members, and a process that has not subscribed yet misses what is said.
    people = [await join(first, "early", "websocket")]
    await redis_server.wait_for_subscribers("tornadio:socket.io:group:tea", 1)
    people.append(await join(second, "late", "xhr-polling"))
    await redis_server.wait_for_subscribers("tornadio:socket.io:group:tea", 2)
    await all_hear_all(join, [(first, "polling"), (second, "new websocket")], *people)


async def all_hear_all(join: Join, newcomers: list[tuple[AppServer, str]], *people: Client) -> None:
    """Everybody hears what anybody says, once: as the next thing, each time."""
    everybody = list(people)
    for number, (server, transport) in enumerate(newcomers):
        everybody.append(await join(server, f"person {number}", transport))
    for round_number in range(3):
        for number, client in enumerate(everybody):
            text = f"round {round_number}, {number}"
            await client.say(text)
            heard = [await each.hear() for each in everybody]
            assert [(said["type"], said["text"]) for said in heard] == [("said", text)] * len(everybody)


async def test_who_stops_says_goodbye_for_its_new_clients_and_for_its_old_ones(
    app_server: StartServer, join: Join, redis_server: RedisServer
) -> None:
    first, second = await start(app_server, redis_server, "ab")
    staying = [await join(first, "old", "websocket"), await join(first, "new", "polling")]
    await redis_server.wait_for_subscribers("tornadio:socket.io:group:tea", 1)
    await join(second, "gone new", "new websocket")
    await join(second, "gone old", "websocket")
    assert await asyncio.to_thread(second.terminate) == 0
    for client in staying:
        assert [await client.hear() for _ in range(2)] == [
            {"type": "left", "name": "gone new"},
            {"type": "left", "name": "gone old"},
        ]


async def test_a_worker_reaches_both(app_server: StartServer, join: Join, redis_server: RedisServer) -> None:
    [server] = await start(app_server, redis_server, "a")
    clients = [await join(server, "old", "websocket"), await join(server, "new", "polling")]
    await redis_server.wait_for_subscribers("tornadio:socket.io:group:tea", 1)
    names: dict[str, Any] = {}
    exec(ANNOUNCE.replace("redis://localhost:6379/0", redis_server.url), names)
    await asyncio.to_thread(names["announce"], "noon")
    for client in clients:
        assert await client.hear() == {"type": "said", "name": "Clock", "text": "noon"}


ANNOUNCE = PAGE.code("One room for both", 3)


async def test_a_new_page_without_a_name_is_refused_and_told_why(app_server: StartServer) -> None:
    reasons: list[Any] = []
    client = socketio.AsyncClient(reconnection=False)
    client.on("connect_error", reasons.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(app_server(APP).url, auth={"name": ""}, transports=["websocket"], wait_timeout=30)
    assert reasons == [{"message": "a name is missing"}]


# -- The first request -------------------------------------------------------------------------------------------------


async def test_the_first_request_tells_the_protocol(app_server: StartServer) -> None:
    async with contextlib.aclosing(Elsewhere.of(app_server(APP))) as served:
        answers = {path: await served.request("GET", path) for path in documented_paths()}
    said = {path: (answer.status, answer.body.decode()[:40]) for path, answer in answers.items()}
    assert said.pop("/socket.io/?EIO=4&transport=polling")[1].startswith('0{"sid":"')
    assert said.pop("/socket.io/xhr-polling//1290000000000")[1].startswith("~m~")
    assert said.pop("/socket.io/socket.io.js")[0] == 200
    assert said.pop("/socket.io/websocket")[0] == 400  # without an Upgrade
    assert said.pop("/socket.io/?EIO=3&transport=polling") == (400, '"The client is using an unsupported vers')
    assert said.pop("/socket.io/1/?t=1290000000000") == (404, "this server speaks Socket.IO 0.6, not 0.")
    assert not said


def documented_paths() -> list[str]:
    cells = [row[0] for row in table_rows("One server, one path", PAGE.path)]
    return [path.replace("transport=...", "transport=polling") for cell in cells for path in cell.split()]


async def test_behind_the_router_the_new_server_gets_no_request(serve: Any) -> None:
    sio = socketio.AsyncServer(async_mode="tornado")
    handler = (r"/socket\.io/", socketio.get_tornado_handler(sio))
    served = serve(handlers=(handler,))  # which come after the router's
    assert (await served.request("GET", NEW)).status == 404


# -- What a router does, and python-socketio does otherwise ------------------------------------------------------------

ON_CONNECT = PAGE.code("One server, one path", 1)
ORIGINS = PAGE.code("One server, one path", 2)


@contextlib.asynccontextmanager
async def serving(sio: socketio.AsyncServer, **settings: Any) -> AsyncIterator[Elsewhere]:
    handler = (r"/socket\.io/", socketio.get_tornado_handler(sio))
    router = tornadio.get_router(Recorder)
    application = tornado.web.Application([handler, router.route()], **settings)
    server = tornadio.SocketServer(application, auto_start=False, port=0, address="127.0.0.1", xheaders=["127.0.0.1"])
    async with contextlib.aclosing(Elsewhere(server, router)) as served:
        yield served
    await sio.shutdown()
    await server.shutdown()


async def test_the_request_knows_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(ON_CONNECT, names)
    namespace = type("Namespace", (socketio.AsyncNamespace,), {"on_connect": names["on_connect"]})
    sio = socketio.AsyncServer(async_mode="tornado")
    sio.register_namespace(namespace("/"))
    cookie = tornado.web.create_signed_value("secret", "user", "ann").decode()
    headers = {"X-Real-Ip": "192.0.2.7", "X-Scheme": "https", "Cookie": f"user={cookie}"}
    async with serving(sio, cookie_secret="secret") as served:
        client = socketio.AsyncClient(reconnection=False)
        await client.connect(f"http://127.0.0.1:{served.port}", headers=headers, wait_timeout=30)
        await client.disconnect()
    assert capsys.readouterr().out == "192.0.2.7 https b'ann'\n"


async def test_origins_behind_a_proxy_that_ends_tls() -> None:
    page = {"Host": "chat.example.com", "Origin": "https://chat.example.com", "X-Scheme": "https"}
    rebound = {"Host": "rebound.example", "Origin": "http://rebound.example"}
    async with serving(socketio.AsyncServer(async_mode="tornado")) as served:
        assert (await served.request("GET", NEW, page)).status == 400
        assert (await served.request("GET", NEW, page | {"X-Forwarded-Proto": "https"})).status == 200
        assert (await served.request("GET", NEW, rebound)).status == 200
    names: dict[str, Any] = {"socketio": socketio}
    exec(ORIGINS, names)
    async with serving(names["sio"]) as served:
        assert (await served.request("GET", NEW, page)).status == 200
        assert (await served.request("GET", NEW, rebound)).status == 400


# -- Tables ------------------------------------------------------------------------------------------------------------


def test_the_names_of_the_tables_are_there() -> None:
    rows = list(table_rows("Page by page", PAGE.path))
    [(_, first), *_] = [row for row in rows if row[0].startswith("a class")]
    assert "save_session" in first
    for name in ("get_session", "save_session", "emit", "enter_room", "leave_room", "disconnect"):
        assert hasattr(socketio.AsyncServer, name)
        assert any(name in cell for _, cell in rows)


def test_the_pages_are_those_of_the_example() -> None:
    assert PAGE.included_files() == {APP, *(APP.parent / name for name in ("old.js", "new.js"))}
    assert isinstance(APP, Path)
