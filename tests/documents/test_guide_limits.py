"""docs/guide/limits.rst: the room's limits, tried by programs that keep no rules."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from types import SimpleNamespace
from typing import Any, Final

import pytest
from tornado.web import create_signed_value

import tornadio
from tests.appserver import AppServer
from tests.documents.pages import Page, on_given_port
from tests.documents.programs import connected, fetch, on_redis, status_of, websocket
from tests.support import OF_BROWSERS, POLLING
from tornadio import proto

PAGE = Page("docs/guide/limits.rst")
ROOM = PAGE.code("The server")
HTML = PAGE.code("The page", language="html")
SHARED = PAGE.code("Several processes")

SECRET: Final = "of the test"
MESSAGES: Final = 60
PAGES: Final = 3
ELSEWHERE: Final = {"end": "You have opened this page elsewhere."}
TOO_MANY: Final = {"end": "Too many messages. Come back in a minute."}


def cookie_of(member: str) -> str:
    return f"member={create_signed_value(SECRET, 'member', member).decode()}"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOKIE_SECRET", SECRET)


def in_one_span(code: str) -> str:
    """The program, but with a span of time that doesn't end within a test."""
    assert "seconds=60" in code
    return code.replace("seconds=60", "seconds=86_400")


async def test_members_are_let_in_and_nobody_else(serve_program, tmp_path):
    (tmp_path / "page.html").write_text(HTML, encoding="utf-8")
    server = serve_program(ROOM)
    assert (await fetch(server, "/")).body.decode().split() == HTML.split()
    cookie = cookie_of("Ann")
    for wrong in ("", "member=Ann", cookie[:-1], f"member={create_signed_value('guessed', 'member', 'Ann').decode()}"):
        assert await status_of(server, "/socket.io/xhr-polling/", Cookie=wrong) == 403
        async with websocket(server, Cookie=wrong) as stranger:
            assert await stranger.close_code() == 1008
    async with connected(server, Cookie=cookie) as ann, connected(server, Cookie=cookie_of("Bob")) as bob:
        await ann.send("hello")
        assert await bob.receive() == await ann.receive() == "Ann: hello"
        for useless in ({"end": "of Bob"}, "x" * 501):
            await bob.send(useless)
        await bob.send("é中😀")
        assert await ann.receive() == await bob.receive() == "Bob: é中😀"
    assert "Traceback" not in server.output()


async def flood(server: AppServer, transport: str, member: str) -> None:
    """As a program does that wants its messages through: it comes back at once, until it is refused."""
    url = f"{server.url}/socket.io"
    cookies = dict([cookie_of(member).split("=", 1)])
    while True:
        try:
            async with tornadio.connect(url, transports=[transport], cookies=cookies) as socket:
                with contextlib.suppress(tornadio.ConnectionClosed):
                    while True:
                        await socket.send(f"over {transport}")
                        await socket.recv()
        except tornadio.ConnectError as error:
            if error.status == 403 or "1008" in str(error):
                return


async def heard(listener: Any, end: str) -> list[str]:
    """What was said in the room until somebody says that it is the end."""
    texts: list[str] = []
    while not texts or texts[-1] != end:
        texts.append(await listener.receive())
    return texts


async def test_a_member_that_comes_back_over_every_transport_at_once_sends_no_more_than_its_share(serve_program):
    server = serve_program(in_one_span(ROOM))
    async with connected(server, Cookie=cookie_of("Bob")) as bob:
        async with asyncio.timeout(60):
            await asyncio.gather(*(flood(server, transport, "Eve") for transport in OF_BROWSERS for _ in range(2)))
        await bob.send("the end")
        said = [text for text in await heard(bob, "Bob: the end") if text.startswith("Eve")]
        assert 0 < len(said) < MESSAGES  # to open counts, too
        assert await status_of(server, "/socket.io/xhr-polling/", Cookie=cookie_of("Eve")) == 403


async def test_of_a_payload_nothing_counts_behind_the_message_that_was_too_much(serve_program):
    server = serve_program(in_one_span(ROOM))
    async with connected(server, Cookie=cookie_of("Bob")) as bob, connected(server, Cookie=cookie_of("Eve")) as eve:
        await eve.socket.send("".join(proto.encode(str(number)) for number in range(3000)))
        said = [await eve.receive() for _ in range(MESSAGES)]
        assert said == [*(f"Eve: {number}" for number in range(MESSAGES - 1)), TOO_MANY]
        assert await eve.close_code() == 1000
        await bob.send("the end")
        assert len(await heard(bob, "Bob: the end")) == MESSAGES


async def test_who_opens_pages_in_a_loop_is_refused(serve_program):
    server = serve_program(in_one_span(ROOM))
    statuses = [await status_of(server, "/socket.io/xhr-polling/", Cookie=cookie_of("Eve")) for _ in range(100)]
    assert statuses == [200] * MESSAGES + [403] * (100 - MESSAGES)
    assert await status_of(server, "/socket.io/xhr-polling/", Cookie=cookie_of("Ann")) == 200


async def test_the_oldest_page_gives_way_and_is_told(serve_program):
    server = serve_program(ROOM)
    async with contextlib.AsyncExitStack() as exits:
        pages = [await exits.enter_async_context(connected(server, Cookie=cookie_of("Ann"))) for _ in range(5)]
        for oldest in pages[:-PAGES]:
            assert await oldest.receive() == ELSEWHERE
            await oldest.close_code()
        await pages[-1].send("hello")
        for page in pages[-PAGES:]:
            assert await page.receive() == "Ann: hello"


@pytest.mark.parametrize("transport", POLLING)
async def test_pages_that_were_left_without_a_word_lock_nobody_out(serve_program, transport):
    """As those of the official client, which over polling tells nobody that it leaves."""
    server = serve_program(ROOM)
    path, tail = f"/socket.io/{transport}/", "/0" if transport == "jsonp-polling" else ""
    headers = {"Cookie": cookie_of("Ann"), "Referer": server.url}
    for visit in range(4 * PAGES):
        response = await fetch(server, f"{path}/{visit}{tail}", headers=headers)
        assert response.code == 200


def test_the_count_is_by_member_and_of_one_minute():
    allowance, clock = allowance_of_page()
    for _ in range(3):
        assert [admits(allowance, "Ann") for _ in range(MESSAGES + 5)] == [True] * MESSAGES + [False] * 5
        assert admits(allowance, "Bob")
        clock.now += 59.9
        assert not admits(allowance, "Ann")
        clock.now += 0.1


def test_of_100_000_members_it_keeps_some_megabytes_and_those_for_a_minute():
    allowance, clock = allowance_of_page()
    tracemalloc.start()
    try:
        for number in range(100_000):
            admits(allowance, f"{number:032}")
        size, _ = tracemalloc.get_traced_memory()
        assert 5e6 < size < 16e6  # with the members' ids
        clock.now += 60
        admits(allowance, "one more")
        assert len(allowance.counts) == 1
        assert tracemalloc.get_traced_memory()[0] < 1e6
    finally:
        tracemalloc.stop()


def allowance_of_page() -> tuple[Any, SimpleNamespace]:
    """An allowance as the page has it, and the clock that it looks at; it has no other."""
    clock = SimpleNamespace(now=1000.0)
    names: dict[str, Any] = {"__name__": "room"}
    exec(compile(ROOM, PAGE.name, "exec"), names)
    names["time"] = SimpleNamespace(monotonic=lambda: clock.now)
    return names["Allowance"](messages=MESSAGES, seconds=60), clock


def admits(allowance: Any, member: str) -> bool:
    """What the coroutine `admits` returns, which waits for nothing."""
    try:
        allowance.admits(member).send(None)
    except StopIteration as done:
        return bool(done.value)
    raise AssertionError("it waits")


async def test_several_processes_have_one_count_and_go_on_without_redis(redis_server, tmp_path):
    first, _, last = ROOM.rpartition("if __name__")
    script = tmp_path / "server.py"
    script.write_text(on_given_port(on_redis(f"{first}\n{SHARED}\nif __name__{last}", redis_server)), encoding="utf-8")
    servers = [AppServer(script, (), tmp_path / f"output {number}") for number in range(2)]
    try:
        for server in servers:
            server.start()
        assert await statuses_at(servers, "Eve", MESSAGES + 10) == [200] * MESSAGES + [403] * 10
        assert 0 < await redis_server.tell("TTL", "room:sent:Eve") <= 60
        redis_server.kill()
        assert await statuses_at(servers, "Ann", 2 * MESSAGES + 10) == [200] * 2 * MESSAGES + [403] * 10
        redis_server.start()
        assert await statuses_at(servers, "Ann", 2) == [200, 200]
    finally:
        for server in servers:
            server.kill()


async def statuses_at(servers: list[AppServer], member: str, number: int) -> list[int]:
    """What a member is answered who opens a page at one process after the other."""
    return [
        await status_of(servers[each % len(servers)], "/socket.io/xhr-polling/", Cookie=cookie_of(member))
        for each in range(number)
    ]
