"""Programs in the shapes of applications of 2011 for TornadIO 0.0.5, on Python 3: each runs as a process of its own.

Nothing was changed in them but what docs/migrating.rst says. They were written for these tests.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.appserver import AppServer
from tests.clients import KEY3, KEYS, NONCE, UPGRADE, Client, SocketClient, connect, open_client
from tests.support import Elsewhere, limit, payload_of
from tornadio import proto
from tornadio.settings import PROTOCOLS

PROGRAMS = Path(__file__).resolve().parent

Start = Callable[..., Awaitable["Running"]]

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)


class Running(Elsewhere):
    """A program that runs: what clients of the tests need of a server."""

    @property
    def program(self) -> AppServer:
        program: Any = self.server
        assert isinstance(program, AppServer)
        return program

    def lines(self, text: str) -> list[str]:
        """The lines of its output with a text."""
        return [line for line in self.program.output().splitlines() if text in line]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start("program.py", "--option=value")`: started, and ended with SIGTERM after the test, without a word."""
    running: list[Running] = []

    async def start(name: str, *arguments: str) -> Running:
        program = AppServer(PROGRAMS / name, arguments, tmp_path / "output.txt")
        served = Running.of(program)
        assert isinstance(served, Running)
        running.append(served)
        program.start()
        return served

    yield start
    for served in running:
        await served.aclose()
        try:
            assert served.program.terminate() == 0
            assert "Traceback" not in served.program.output()
        finally:
            served.program.kill()
            print(served.program.output())


async def messages(client: Client, number: int) -> list[Any]:
    """The next messages, heartbeats left out."""
    got: list[Any] = []
    async with limit():
        while len(got) < number:
            got += [each for each in await client.receive() if not str(each).startswith("~h~")]
    assert len(got) == number
    return got


async def messages_at_least(client: Client, number: int) -> list[Any]:
    """So many messages, and those that came along with the last of them."""
    got: list[Any] = []
    async with limit():
        while len(got) < number:
            got += await client.receive()
    return got


@contextlib.asynccontextmanager
async def client_of(served: Running, transport: str) -> AsyncIterator[Client]:
    client = await open_client(served, transport)
    yield client
    await client.leave()


@every_transport
async def test_the_start_of_the_readme(start, transport):
    async with client_of(await start("readme_start.py"), transport) as client:
        for message in ("é中😀", {"a": ["b", 1]}, "1e5"):
            await client.send(message)
            assert await messages(client, 1) == [message]


async def test_settings_in_the_application_count_and_are_told_once(start):
    served = await start("application_settings.py")
    async with client_of(served, "websocket") as client:
        assert await messages(client, 1) == ["Welcome!"]
        await client.send("hello")
        assert await messages(client, 1) == ["hello"]
    for transport in PROTOCOLS:
        if transport not in ("websocket", "flashsocket"):
            response = await served.request("GET", f"/socket.io/{transport}//1/0")
            assert (response.status, response.text) == (403, f"{transport} is not enabled here")
    headers = {**UPGRADE, **KEYS}
    assert (await served.request("GET", "/socket.io/flashsocket", headers, KEY3)).status == 403
    assert (await served.request("GET", "/")).text == "index"
    [line] = served.lines("enabled_protocols")
    assert "get_router" in line


@every_transport
async def test_a_constructor_with_three_arguments(start, transport):
    async with client_of(await start("three_arguments.py"), transport) as client:
        assert await messages(client, 1) == [{"frame": "~m~2~m~hi", "interval": 10.0}]
        for score in (3, 6):
            await client.send({"points": 3})
            assert await messages(client, 1) == [{"score": score}]


@every_transport
async def test_a_constructor_that_passes_its_arguments_on(start, transport):
    async with client_of(await start("any_arguments.py"), transport) as client:
        for count in (1, 2):
            await client.send("hello")
            assert await messages(client, 2) == ["hello", {"count": count, "arguments": 3}]


@every_transport
async def test_a_constructor_without_arguments_that_calls_no_other(start, transport):
    async with client_of(await start("own_constructor.py"), transport) as client:
        await client.send("milk", "bread", "all")
        assert await messages(client, 1) == [{"notes": ["milk", "bread"]}]


@every_transport
async def test_a_thread_that_follows_a_log(start, transport, tmp_path):
    log = tmp_path / "access.log"
    log.touch()
    served = await start("log_tail.py", f"--log={log}")
    async with client_of(served, transport) as one, client_of(served, transport) as other:
        for client in (one, other):
            assert await messages(client, 1) == ["following"]
        lines = [f"line {number}" for number in range(100)]
        with log.open("a") as written:
            for line in lines:
                written.write(f"{line}\n")
        for client in (one, other):
            assert await messages(client, len(lines)) == lines


@every_transport
async def test_threads_that_answer_and_close(start, transport):
    served = await start("thread_pool.py")
    for number in (10, 100):
        client = await open_client(served, transport)
        await client.send(number)
        assert await messages(client, 2) == [f"working on {number}", {"result": number * (number - 1) // 2}]
        async with limit():
            await client.ended()


@every_transport
async def test_a_thread_that_hands_its_lines_to_the_loop(start, transport):
    served = await start("serial_port.py")
    async with client_of(served, transport) as client:
        lines = await messages_at_least(client, 3)
    [first, *_] = (int(re.findall(r"^line (\d+) of reader$", line)[0]) for line in lines)
    assert lines == [f"line {first + index} of reader" for index in range(len(lines))]


async def test_a_check_of_the_version(start):
    async with client_of(await start("version_check.py"), "websocket") as client:
        first, second = await messages(client, 2)
        assert re.fullmatch(r"TornadIO \d+\.\d+\.\d+", first)
        assert first == second
        await client.send("hello")
        assert await messages(client, 1) == ["hello"]


async def opened_at(served: Running, transport: str, resource: str) -> Client:
    """A client of another resource."""
    path = f"/{resource}/{transport}"
    if transport in ("websocket", "flashsocket"):
        peer = await connect(served, "13" if transport == "websocket" else "76", path)
        [(_, session_id)] = proto.decode(await peer.receive())
        return SocketClient(peer, session_id)
    raise LookupError(transport)


@pytest.mark.parametrize("transport", ["websocket", "flashsocket"])
async def test_resources_and_a_token_in_the_path(start, transport):
    served = await start("resources.py")
    ping = await opened_at(served, transport, "ping")
    await ping.send({"n": 1})
    assert await messages(ping, 1) == [{"n": 1, "pong": True}]
    ann, bob = [await opened_at(served, transport, f"chat/{token}") for token in ("a1", "b2")]
    assert [await messages(ann, 1), await messages(bob, 1)] == [["Hello Ann"], ["Hello Bob"]]
    await ann.send("tea?")
    assert await messages(ann, 1) == await messages(bob, 1) == ["Ann: tea?"]
    for client in (ping, ann, bob):
        await client.leave()


async def read_greeting(served: Running, path: str, greeting: bytes, headers: dict[str, str] | None = None) -> None:
    """Open a session over HTTP, and read what `on_open` has sent, which over polling comes with the second poll."""
    session_id = ""
    if path.endswith("polling"):
        response = await served.request("GET", f"{path}//1/0", headers)
        [(_, session_id)] = proto.decode(payload_of(response, path.rpartition("/")[2]))
    wire = await served.connect()
    await wire.send_request("GET", f"{path}/{session_id}/1/0", headers)
    assert (await wire.read_head()).status == 200
    await wire.read_until(greeting)


@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile"])
async def test_resources_over_http(start, transport):
    served = await start("resources.py")
    await read_greeting(served, f"/chat/a1/{transport}", b"Hello Ann")
    assert (await served.request("GET", f"/socket.io/{transport}//1/0")).status == 404
    stranger = await served.request("GET", f"/chat/nobody/{transport}//1/0")
    assert stranger.status in (200, 401)
    assert "Hello" not in stranger.text


@every_transport
async def test_a_loop_and_a_timer_of_its_own(start, transport):
    served = await start_own_loop(start)
    async with client_of(served, transport) as client:
        await client.send("hello")
        got: list[Any] = []
        async with limit():
            while "late: hello" not in got or {"tick": True} not in got:
                got += await client.receive()
    assert served.lines("You can perform some actions here")


async def start_own_loop(start: Start) -> Running:
    """The program that runs the loop by itself, and so is ended by SIGTERM as any other process, without a shutdown."""
    served = await start("own_loop.py")
    terminate = served.program.terminate

    def end() -> int:
        assert terminate() == -15
        return 0

    served.program.terminate = end  # type: ignore[method-assign]
    return served


@every_transport
async def test_pages_and_their_cookie(start, transport):
    served = await start("pages.py")
    assert (await served.request("GET", "/")).status == 302
    body = urlencode({"name": "Ann"}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    login = await served.request("POST", "/login", headers, body)
    assert login.text == "welcome"
    cookie = login.headers["set-cookie"].partition(";")[0]
    assert (await served.request("GET", "/", {"Cookie": cookie})).text == "Hello Ann"
    path = f"/socket.io/{transport}"
    if transport in ("websocket", "flashsocket"):
        peer = await connect(served, "13" if transport == "websocket" else "76", path, {"Cookie": cookie})
        await peer.receive()
        client: Client = SocketClient(peer, "")
        assert await messages(client, 1) == [{"user": "Ann", "address": "127.0.0.1"}]
        await client.send("hello")
        assert await messages(client, 1) == ["Ann said hello"]
    else:
        await read_greeting(served, path, b"Ann", {"Cookie": cookie})
    async with client_of(served, transport) as stranger:
        assert await messages(stranger, 1) == [{"user": "nobody", "address": "127.0.0.1"}]


@every_transport
async def test_a_signed_cookie_read_by_a_handler_that_on_open_makes(start, transport):
    served = await start("cookie_handler.py")
    cookie = (await served.request("GET", "/login")).headers["set-cookie"].partition(";")[0]
    if transport in ("websocket", "flashsocket"):
        peer = await connect(
            served, "13" if transport == "websocket" else "76", f"/socket.io/{transport}", {"Cookie": cookie}
        )
        await peer.receive()
        client = SocketClient(peer, "")
        assert await messages(client, 1) == ["Hello Ann"]
        await client.send("hello")
        assert await messages(client, 1) == ["hello"]
        await client.leave()
    else:
        await read_greeting(served, f"/socket.io/{transport}", b"Hello Ann", {"Cookie": cookie})
        stranger = await served.request("GET", f"/socket.io/{transport}//1/0")
        assert stranger.status in (200, 401)
        assert "Hello" not in stranger.text


@pytest.mark.parametrize("version", ["13", "8", "7", "76", "75"])
@pytest.mark.parametrize("transport", ["websocket", "flashsocket"])
@pytest.mark.parametrize("behind", ["/1290000000000", "/0123456789/send"])
async def test_an_old_client_that_asks_with_something_behind_the_transport(start, version, transport, behind):
    served = await start("readme_start.py")
    path = f"/socket.io/{transport}{behind}"
    peer = await connect(served, version, path)
    [(_, session_id)] = proto.decode(await peer.receive())
    client = SocketClient(peer, session_id)
    await client.send("hello")
    assert await messages(client, 1) == ["hello"]
    assert (await served.request("POST", path, {**UPGRADE, **NONCE})).status in (400, 405)
    assert (await served.request("PUT", path)).status == 405
    await client.leave()


@every_transport
async def test_an_application_in_a_package(start, transport):
    served = await start("shop_app.py")
    async with client_of(served, transport) as client:
        for number in (1, 2):
            await client.send({"item": "tea"})
            assert await messages(client, 1) == [{"items": number}]


async def test_names_of_the_modules(start):
    served = await start("names.py")
    async with client_of(served, "websocket") as client:
        assert await messages(client, 1) == [{"protocols": sorted(PROTOCOLS), "heartbeat_interval": 12}]
        await client.send("~m~1~m~a~m~1~m~b")
        assert await messages(client, 2) == ["a", "b"]
    assert (await served.request("GET", "/socket.io/htmlfile//1")).status == 403


@pytest.mark.pure
def test_each_program_is_tested():
    text = Path(__file__).read_text(encoding="utf-8")
    programs = {path.name for path in PROGRAMS.glob("*.py")} - {Path(__file__).name}
    assert {name for name in programs if f'"{name}"' not in text} == set()
