"""docs/tutorial/3-login.rst: a form, a signed cookie, and what becomes of a connection without one."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

import tornadio
from tests.documents.pages import Page
from tests.documents.tutorial import Reader
from tests.support import limit

PAGE = Page("docs/tutorial/3-login.rst")
COPY = PAGE.code("3. Who is talking?", language="console")
START = PAGE.code("Try it", language="console")
for _name in ("server.py", "login.html", "page.html", "static/chat.js"):
    PAGE.file(f"docs/tutorial/code/3-login/{_name}")


async def ask(url: str, cookies: dict[str, str], **form: str) -> HTTPResponse:
    """A request, a POST where there is something in the form; the cookies are those that the server has set by now."""
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    body = urlencode(form) if form else None
    response = await AsyncHTTPClient().fetch(
        *(url,),
        method="POST" if form else "GET",
        body=body,
        headers={"Cookie": header},
        follow_redirects=False,
        raise_error=False,
    )
    for line in response.headers.get_list("Set-Cookie"):
        name, value = line.partition(";")[0].split("=", 1)
        cookies[name] = value
    return response


async def log_in(reader: Reader, name: str, password: str = "open sesame") -> tuple[HTTPResponse, dict[str, str]]:
    """What is answered to the form, and the cookies of this browser."""
    cookies: dict[str, str] = {}
    form = await ask(f"{reader.url}/login", cookies)
    [token] = re.findall(r'name="_xsrf" value="(.+?)"', form.body.decode())
    return await ask(f"{reader.url}/login", cookies, name=name, password=password, _xsrf=token), cookies


async def test_who_has_logged_in_talks_and_nobody_else(reader_at: Callable[[int], Reader]) -> None:
    reader = reader_at(3)
    reader.type(COPY)
    terminal = reader.serve(START)
    stranger = await ask(reader.url, {})
    assert (stranger.code, stranger.headers["Location"]) == (302, "/login")
    refused, cookies = await log_in(reader, "<b>Eve</b>", "sesame")
    assert refused.code == 403
    assert "This is not the password." in refused.body.decode()
    assert "name" not in cookies
    refused, _ = await log_in(reader, "x" * 21)
    assert "A name has 1 to 20 characters." in refused.body.decode()
    without_token = await ask(f"{reader.url}/login", {}, name="Ann", password="open sesame")
    assert without_token.code == 403

    welcome, of_ann = await log_in(reader, "Ann")
    assert (welcome.code, welcome.headers["Location"]) == (302, "/")
    _, of_bob = await log_in(reader, "Bøb <b>")
    page = (await ask(reader.url, of_bob)).body.decode()
    assert "Bøb &lt;b&gt; <button>" in page
    resource = f"{reader.url}/socket.io"
    async with limit(), tornadio.connect(resource, cookies=of_ann) as ann, tornadio.connect(resource, cookies=of_bob):
        assert [await ann.recv(), await ann.recv()] == ["Welcome, Ann!", "Bøb <b> has come."]
        await ann.send("hello")
        assert await ann.recv() == "Ann: hello"
        for cookies in ({}, of_ann | {"name": of_ann["name"].replace("QW5u", "RXZl")}):  # Ann, Eve in base64
            with pytest.raises(tornadio.ConnectError) as refusal:
                await tornadio.connect(resource, cookies=cookies)
            assert refusal.value.status == 403
    gone = await ask(f"{reader.url}/logout", of_ann, _xsrf=of_ann["_xsrf"])
    assert (gone.headers["Location"], of_ann["name"]) == ("/login", '""')

    # Another start, another secret.
    terminal.press_ctrl_c()
    reader.serve(START)
    assert (await ask(reader.url, of_bob)).code == 302
