"""docs/guide/authentication.rst: a cookie, and a token as the first message.

The scripts for pages run in tests/browser/test_guide_authentication.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlencode

import pytest
import websockets

import tornadio
import tornadio.sync
from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, WAIT_SECONDS, connected, fetch, start_with, status_of, websocket

PAGE = Page("docs/guide/authentication.rst")


@PAGE.runs("A cookie")
async def test_a_cookie_lets_members_in_and_nobody_else(serve_program, code):
    server = serve_program(code)
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


@PAGE.runs("A cookie")
async def test_who_logs_out_is_closed_in_all_tabs_and_stays_out(serve_program, code):
    server = serve_program(code)

    async def log_in() -> str:
        login = await fetch(server, "/login", method="POST", body=urlencode({"name": "Ann"}))
        return login.headers["Set-Cookie"].partition(";")[0]

    here, phone = await log_in(), await log_in()
    async with (
        connected(server, Cookie=here) as tab,
        connected(server, Cookie=here) as other_tab,
        connected(server, Cookie=phone) as elsewhere,
    ):
        for cookie in ("token=guessed", here):
            logout = await fetch(server, "/logout", method="POST", body="", headers={"Cookie": cookie})
            assert (logout.code, logout.headers["Location"]) == (302, "/login")
        for closed in (tab, other_tab):
            assert await closed.close_code() == 1000
        assert await status_of(server, "/socket.io/xhr-polling/", Cookie=here) == 403
        async with websocket(server, Cookie=here) as back:
            assert await back.close_code() == 1008
        await elsewhere.send("still here")
        assert await elsewhere.receive() == "Ann: still here"


@PAGE.runs("A token as the first message")
async def test_a_token_as_the_first_message_lets_in(serve_program, code):
    server = serve_program(SO_FAR + code + start_with("MembersRouter"))
    async with connected(server) as ann, connected(server) as bob, connected(server) as stranger:
        for member in (ann, bob):
            await member.send("correct horse battery staple")
            assert await member.receive() == "Come in!"
        await ann.send("for members")
        assert await ann.receive() == await bob.receive() == "for members"
        await stranger.send("1234")
        assert await stranger.receive() == {"refused": "This is not the token."}
        await stranger.close_code()
        with pytest.raises(websockets.ConnectionClosed):
            await stranger.receive()  # nothing of what the members said
        await ann.send("correct horse battery staple")  # once more: nobody else hears it
        await ann.send("end")
        assert await ann.receive() == "Come in!"
        assert await ann.receive() == await bob.receive() == "end"


@PAGE.runs("A token as the first message")
async def test_who_says_nothing_is_refused_and_a_member_may_be_silent(serve_program, code):
    assert "call_later(10," in code
    server = serve_program(SO_FAR + code.replace("call_later(10,", "call_later(1,") + start_with("MembersRouter"))
    async with connected(server) as ann, connected(server) as stranger:
        await ann.send("correct horse battery staple")
        assert await ann.receive() == "Come in!"
        assert await stranger.receive() == {"refused": "This is not the token."}
        await stranger.close_code()
        for useless in ({"refused": "by a member"}, 5):
            await ann.send(useless)
        await ann.send("still here")
        assert await ann.receive() == "still here"


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
@PAGE.runs("A token as the first message")
async def test_in_python_what_is_sent_first_comes_first_over_each_connection(serve_program, code, transport):
    leave = """
class LeavingMembers(Members):
    def on_message(self, message):
        super().on_message(message)
        if message == "hello":
            self.close()

MembersRouter = tornadio.get_router(LeavingMembers)
"""
    server = serve_program(SO_FAR + code + leave + start_with("MembersRouter"))
    url = f"http://localhost:{server.port}/socket.io"
    options: dict[str, Any] = {"transports": [transport], "min_delay": 0.01, "max_delay": 0.01}

    async def come_and_go() -> list[Any]:
        received: list[Any] = []
        async with asyncio.timeout(WAIT_SECONDS):
            async for socket in tornadio.connect(url, **options):
                with contextlib.suppress(tornadio.ConnectionClosed):
                    await socket.send("correct horse battery staple")
                    await socket.send("hello")
                    received += [message async for message in socket]
                if len(received) == 6:
                    break
        return received

    def come_and_go_in_a_thread() -> list[Any]:
        received: list[Any] = []
        for socket in tornadio.sync.reconnecting(url, **options):
            with contextlib.suppress(tornadio.ConnectionClosed):
                socket.send("correct horse battery staple")
                socket.send("hello")
                received += socket
            if len(received) == 6:
                break
        return received

    assert await come_and_go() == ["Come in!", "hello"] * 3
    assert await asyncio.to_thread(come_and_go_in_a_thread) == ["Come in!", "hello"] * 3
