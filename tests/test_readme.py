"""Every Python block of README.rst and docs/security.rst runs, and does what the text around it says."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import websockets
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.web import create_signed_value

import tornadio
from tests.appserver import REPOSITORY, AppServer
from tests.readme import code_blocks, on_given_port, table_rows
from tests.redis_fixtures import RedisServer
from tests.support import until
from tornadio import proto
from tornadio.settings import Settings

PYTHON = code_blocks("python") | code_blocks("python", REPOSITORY / "docs" / "security.rst")
HTML = code_blocks("html")

# Generous, because the machine may be busy: only a broken server is ever waited for this long.
WAIT_SECONDS = 60

# What a reader has at hand who reads from the top: the class and the application of the introduction.
SO_FAR = """
import tornado.web
import tornadio

class MyConnection(tornadio.SocketConnection):
    def on_message(self, message):
        self.send(message)

    def on_close(self):
        print("closed")

application = tornado.web.Application([tornadio.get_router(MyConnection).route()], socket_io_port=8001)
"""

tested: set[tuple[str, int]] = set()


def runs(section: str, *numbers: int) -> pytest.MarkDecorator:
    """The test gets these blocks of the section, one after the other, as its argument `code`."""
    blocks = [(section, number) for number in numbers]
    tested.update(blocks)
    return pytest.mark.parametrize("code", ["\n".join(PYTHON[block] for block in blocks)], ids=[section])


def start_with(router: str) -> str:
    return f"tornadio.SocketServer(tornado.web.Application([{router}.route()], socket_io_port=8001))\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], AppServer]]:
    """Starts a program in a process of its own and waits until it serves."""
    script = tmp_path / "server.py"
    servers: list[AppServer] = []

    def serve(program: str) -> AppServer:
        script.write_text(on_given_port(program), encoding="utf-8")
        server = AppServer(script, (), tmp_path / "output.txt")
        servers.append(server)
        server.start()
        return server

    yield serve
    for server in servers:
        server.kill()
        print(server.output())


class Client:
    """Speaks Socket.IO 0.6 over a WebSocket."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.session_id = ""
        self._messages: deque[Any] = deque()

    async def send(self, message: Any) -> None:
        await self.socket.send(proto.encode(message))

    async def receive(self) -> Any:
        while not self._messages:
            data = await asyncio.wait_for(self.socket.recv(decode=True), WAIT_SECONDS)
            self._messages += [payload for kind, payload in proto.decode(data) if kind != proto.HEARTBEAT]
        return self._messages.popleft()

    async def close_code(self) -> int | None:
        """Waits until the server has closed the connection."""
        await asyncio.wait_for(self.socket.wait_closed(), WAIT_SECONDS)
        return self.socket.close_code


@asynccontextmanager
async def websocket(server: AppServer, resource: str = "socket.io", **headers: str) -> AsyncIterator[Client]:
    """A WebSocket, open but without a word from the server yet."""
    url = f"ws://localhost:{server.port}/{resource}/websocket"
    async with websockets.connect(url, additional_headers=headers, open_timeout=WAIT_SECONDS) as socket:
        yield Client(socket)


@asynccontextmanager
async def connected(server: AppServer, resource: str = "socket.io", **headers: str) -> AsyncIterator[Client]:
    """A client that the server has accepted."""
    async with websocket(server, resource, **headers) as client:
        client.session_id = await client.receive()
        yield client


async def fetch(server: AppServer, path: str, **options: Any) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(
        server.url + path, request_timeout=WAIT_SECONDS, follow_redirects=False, raise_error=False, **options
    )


async def status_of(server: AppServer, path: str, **headers: str) -> int:
    return (await fetch(server, path, headers=headers)).code


async def assert_echoes(server: AppServer, resource: str = "socket.io") -> None:
    async with connected(server, resource) as client:
        await client.send("é中😀")
        assert await client.receive() == "é中😀"


@runs("TornadIO", 0)
async def test_the_smallest_server_is_a_chat_with_a_page(serve, code, tmp_path):
    (tmp_path / "page.html").write_text(HTML["TornadIO", 0], encoding="utf-8")
    server = serve(code)
    assert b"<script" in (await fetch(server, "/")).body
    assert (await fetch(server, "/socket.io/socket.io.js")).code == 200
    async with connected(server) as ann, connected(server) as bob:
        await ann.send("hello")
        assert await ann.receive() == "hello"
        assert await bob.receive() == "hello"


@runs("Introduction", 0, 1, 2, 3)
async def test_the_four_steps_are_a_server(serve, code):
    await assert_echoes(serve(code))


@runs("Goodies", 0)
async def test_the_three_methods(serve, code):
    program = SO_FAR + "import logging\nlogging.basicConfig(level=logging.INFO)\n" + code
    server = serve(program + start_with("tornadio.get_router(MyConnection)"))
    async with connected(server) as client:
        assert await client.receive() == "Welcome!"
        for message in ("hi", {"do": "something slow"}):
            await client.send(message)
            assert await client.receive() == "Here you are:"
            assert await client.receive() == {"you said": message}
            assert await client.receive() == f"{client.session_id} said something over websocket"
    assert server.terminate() == 0
    assert f"Gone: {client.session_id}" in server.output()


@runs("Groups", 0)
async def test_a_group_is_a_room(serve, code):
    server = serve(SO_FAR + code + start_with("TalkRouter"))
    async with connected(server) as ann, connected(server) as bob:
        assert await ann.receive() == "1 are here"
        assert await ann.receive() == await bob.receive() == "2 are here"
        await bob.send("hello")
        assert await ann.receive() == "hello"
        await bob.socket.close()
        assert await ann.receive() == "1 are left"


@runs("Threads", 0, 1)
async def test_threads_send_and_take_what_is_slow(serve, code):
    before = SO_FAR + "def make_report(message):\n    return f'{message}: {threading.current_thread().name}'\n"
    routes = "[ClockRouter.route(), tornadio.get_router(Reports).route()]"
    server = serve(before + code + f"tornadio.SocketServer(tornado.web.Application({routes}, socket_io_port=8001))\n")
    async with connected(server, "clock") as client:
        for _ in range(2):
            assert re.fullmatch("[0-9]{2}:[0-9]{2}:[0-9]{2}", await client.receive())
    async with connected(server) as client:
        await client.send("sales")
        report = await client.receive()
        assert report.startswith("sales: ")
        assert report != "sales: MainThread"


@runs("Clients that read slowly", 0)
async def test_a_feed_waits_for_its_client(serve, code):
    settings = '{"max_send_buffer": 100_000}'
    server = serve(SO_FAR + "import asyncio\n" + code + start_with(f"tornadio.get_router(Feed, {settings})"))
    async with connected(server) as client:
        for number in range(100_000):
            assert await client.receive() == str(number)


@runs("Configuration", 0)
async def test_the_settings(serve, code):
    server = serve(SO_FAR + code + start_with("MyRouter"))
    await assert_echoes(server)
    assert await status_of(server, "/socket.io/htmlfile/") == 403
    assert await status_of(server, "/socket.io/xhr-polling/") == 200
    assert await status_of(server, "/socket.io/xhr-polling/", Origin="http://www.example.com:8080") == 200
    assert await status_of(server, "/socket.io/xhr-polling/", Origin="http://www.example.org") == 403


@runs("Resources", 0)
async def test_three_resources_on_one_server(serve, code):
    connections = "".join(f"class {name}Connection(MyConnection): pass\n" for name in ("Chat", "Ping", "Map"))
    server = serve(SO_FAR + connections + code + "tornadio.SocketServer(application)\n")
    for resource in ("chat", "ping", "map"):
        await assert_echoes(server, resource)
    assert await status_of(server, "/socket.io/xhr-polling/") == 404


@runs("Extra parameters", 0)
async def test_the_extra_parameter_is_printed(serve, code):
    server = serve(code)
    async with connected(server, "chat/123"):
        assert server.output() == "Extra: 123\n"


@runs("Authentication", 0)
async def test_a_cookie_lets_members_in_and_nobody_else(serve, code):
    server = serve(code)
    login = await fetch(server, "/login", method="POST", body=urlencode({"name": "Ann"}))
    assert login.code == 302
    cookie = login.headers["Set-Cookie"].partition(";")[0]

    async with connected(server, Cookie=cookie) as ann, connected(server, Cookie=cookie) as other_window:
        await ann.send("hello")
        assert await ann.receive() == "Ann: hello"
        assert await other_window.receive() == "Ann: hello"
    for headers in ({}, {"Cookie": "token=guessed"}):
        assert await status_of(server, "/socket.io/xhr-polling/", **headers) == 403
        async with websocket(server, **headers) as stranger:
            assert await stranger.close_code() == 1008


@runs("Authentication", 1)
async def test_a_token_as_the_first_message_lets_in(serve, code):
    server = serve(SO_FAR + code + start_with("MembersRouter"))
    async with connected(server) as ann, connected(server) as bob, connected(server) as stranger:
        for member in (ann, bob):
            await member.send("correct horse battery staple")
            assert await member.receive() == "Come in!"
        await ann.send("for members")
        assert await ann.receive() == await bob.receive() == "for members"
        await stranger.send("1234")
        await stranger.close_code()
        with pytest.raises(websockets.ConnectionClosed):
            await stranger.receive()  # nothing of what the members said


@runs("What is left to you", 0)
async def test_a_room_admits_members_who_keep_the_rules(serve, code, monkeypatch):
    monkeypatch.setenv("COOKIE_SECRET", "of the test")
    server = serve(code)
    ann, bob = (f"member={create_signed_value('of the test', 'member', name).decode()}" for name in ("Ann", "Bob"))

    async with connected(server, Cookie=ann), connected(server, Cookie=ann):
        async with connected(server, Cookie=ann):
            assert await status_of(server, "/socket.io/xhr-polling/", Cookie=ann) == 403
        # Its place is free again as soon as the server has noticed.
        while await status_of(server, "/socket.io/xhr-polling/", Cookie=ann) == 403:
            pass
    async with connected(server, Cookie=ann) as first, connected(server, Cookie=bob) as second:
        await first.send("hello")
        assert await second.receive() == await first.receive() == "Ann: hello"
        await second.send({"no": "text"})
        await second.send("x" * 501)
        for number in range(18):
            await second.send(str(number))
            assert await second.receive() == await first.receive() == f"Bob: {number}"
        await second.send("one too many")
        assert await second.receive() == "Too many messages, good bye."
        await second.close_code()
    for cookie in ("", "member=Ann", ann[:-1]):
        assert await status_of(server, "/socket.io/xhr-polling/", Cookie=cookie) == 403
    assert "Traceback" not in server.output()


@runs("Many processes", 0)
async def test_a_chat_of_many_processes(code, redis_server, tmp_path):
    script = tmp_path / "server.py"
    script.write_text(on_redis(code, redis_server), encoding="utf-8")
    servers = [AppServer(script, (f"--node=n{number}",), tmp_path / f"output {number}") for number in range(2)]
    try:
        for server in servers:
            server.start()
        await redis_server.wait_for_subscribers("tornadio:socket.io", 2)
        async with connected(servers[0]) as ann, connected(servers[1]) as bob:
            assert (ann.session_id[:2], bob.session_id[:2]) == ("n0", "n1")
            await ann.send("hello")
            assert await ann.receive() == await bob.receive() == "hello"
            assert await status_of(servers[0], "/health") == 200
            servers[0].send_signal(signal.SIGTERM)
            while await status_of(servers[0], "/health") != 503:
                pass
            await bob.send("still here?")
            assert await ann.receive() == await bob.receive() == "still here?"
    finally:
        for server in servers:
            server.kill()


@runs("Sending from other programs", 0)
async def test_a_program_without_a_server_sends(serve, code, redis_server):
    server = serve(
        on_redis(
            """
import tornado.web, tornadio

class Member(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        router.group("room 5").add(self)

router = tornadio.get_router(Member, {"bus": "redis://localhost:6379"})
"""
            + start_with("router"),
            redis_server,
        )
    )
    async with connected(server) as client:
        await redis_server.wait_for_subscribers("tornadio:socket.io:group:room 5", 1)
        program = on_redis(code, redis_server)
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        process = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", program, env=environment)
        assert await process.wait() == 0
        assert await client.receive() == {"news": "The report is ready."}
        assert await client.receive() == "The kettle boils."


def on_redis(program: str, server: RedisServer) -> str:
    """The program, but with this Redis."""
    assert "redis://localhost:6379" in program
    return program.replace("redis://localhost:6379", server.url)


@runs("Going big", 0)
async def test_three_lines_make_it_one_of_many(serve, code, redis_server):
    server = serve(SO_FAR + on_redis(code, redis_server))
    assert await status_of(server, "/health") == 200
    async with connected(server) as client:
        assert client.session_id.startswith("a")
        await redis_server.wait_for_subscribers("tornadio:socket.io", 1)
        with tornadio.Emitter(redis_server.url) as emitter:
            emitter.broadcast("from elsewhere")
        assert await client.receive() == "from elsewhere"
        server.send_signal(signal.SIGTERM)
        while await status_of(server, "/health") != 503:
            pass
        await client.send("still here?")
        assert await client.receive() == "still here?"


@runs("Starting up", 0)
async def test_the_shortest_start_ends_gracefully(serve, code):
    await assert_ends_gracefully(serve(SO_FAR + code))


@runs("Starting up", 1)
async def test_starting_the_loop_oneself(serve, code):
    server = serve(SO_FAR + "import logging\nlogging.basicConfig(level=logging.INFO)\n" + code)
    await until(lambda: "The server listens" in server.output())  # it may be reached before it has said so
    await assert_echoes(server)


@runs("Starting up", 2)
async def test_the_asyncio_start_ends_gracefully(serve, code):
    await assert_ends_gracefully(serve(SO_FAR + code))


async def assert_ends_gracefully(server: AppServer) -> None:
    async with connected(server) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        ending = asyncio.to_thread(server.terminate)
        assert (await asyncio.gather(ending, client.close_code()))[0] == 0
    assert server.output() == "closed\n"


def test_every_python_block_is_tested():
    assert tested == set(PYTHON)


def test_the_table_of_settings_is_true():
    defaults = {
        "all six": Settings().enabled_protocols,
        "see below": None,
        "1 MiB": 2**20,
        "8 MiB": 2**23,
        "16 MiB": 2**24,
        "100,000": 100_000,
        "none": None,
        "empty": "",
    }
    table = {
        name: defaults[default] if default in defaults else float(default)
        for name, _unit, default, _meaning in table_rows("Configuration")
    }
    assert table == dataclasses.asdict(Settings())


def test_the_table_of_server_arguments_is_true():
    (_self, *parameters) = inspect.signature(tornadio.SocketServer.__init__).parameters.values()
    table = {name: default for name, default, _meaning in table_rows("Starting up")}
    assert table == {
        parameter.name: "" if parameter.default is parameter.empty else repr(parameter.default)
        for parameter in parameters
    }
