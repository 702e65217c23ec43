"""docs/tutorial/6-ready.rst: settings, secrets, limits, and what an operator sees."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from tornado.web import create_signed_value

import tornadio
from tests.documents.pages import Page
from tests.documents.test_tutorial_3_login import ask, log_in
from tests.documents.tutorial import Reader
from tests.support import limit

PAGE = Page("docs/tutorial/6-ready.rst")
COPY = PAGE.code("6. Ready for the world", language="console")
SECRETS = PAGE.code("Settings and secrets", language="console")
START, HEALTH, ORIGIN = (PAGE.code("Try it", number, language="console") for number in (0, 1, 2))
for _name in ("server.py", "conftest.py"):
    PAGE.file(f"docs/tutorial/code/6-ready/{_name}")


@pytest.mark.needs("curl")
async def test_the_server_has_secrets_limits_and_a_log(reader_at: Callable[[int], Reader]) -> None:
    reader = reader_at(6)
    reader.type(COPY)
    reader.type(SECRETS)
    assert (reader.project / "chat.env").stat().st_mode & 0o777 == 0o600
    terminal = reader.serve(START)
    assert "12 passed" in terminal.output()
    reader.type(HEALTH)
    reader.type(ORIGIN)

    refused, _ = await log_in(reader, "Eve")
    assert refused.code == 403
    password, of_operators = re.findall('="(.+)"', SECRETS)
    welcome, cookies = await log_in(reader, "Ann", password)
    assert welcome.code == 302
    _, of_operator = await log_in(reader, "Oz", of_operators)
    assert (await ask(f"{reader.url}/monitor/", cookies)).code == 403
    assert (await ask(f"{reader.url}/monitor/", of_operator)).code == 200
    page = await ask(reader.url, cookies)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    async with limit(), tornadio.connect(f"{reader.url}/socket.io", cookies=cookies) as ann:
        await ann.send({"type": "enter", "room": "Kitchen"})
        assert [(await ann.recv())["type"] for _ in range(2)] == ["entered", "people"]
        began = time.monotonic()
        for number in range(5):
            await ann.send({"type": "say", "text": str(number)})
        assert [(await ann.recv())["text"] for _ in range(5)] == list("01234")
        assert time.monotonic() - began > 0.8
        await ann.send({"type": "say", "text": "x" * 16_000})
        await ann.wait_closed()
        assert ann.close_code == 1009

    log = terminal.output()
    for line in (
        "A wrong password, from ",
        r"Ann has come: <Chat [0-9a-f]{8} websocket \w+> of ",
        "http://evil.example",
    ):
        assert re.search(line, log)
    assert "Traceback" not in log
    # What was signed with a secret lasts over a restart.
    terminal.press_ctrl_c()
    terminal = reader.serve(START)
    assert (await ask(reader.url, cookies)).code == 200
    forged = create_signed_value("another secret", "name", "Ann").decode()
    assert (await ask(reader.url, {"name": forged})).code == 302
