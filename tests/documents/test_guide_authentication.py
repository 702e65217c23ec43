"""docs/guide/authentication.rst: a cookie, and a token as the first message."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
import websockets

from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, connected, fetch, start_with, status_of, websocket

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
        await stranger.close_code()
        with pytest.raises(websockets.ConnectionClosed):
            await stranger.receive()  # nothing of what the members said
