"""A text that a page has cut in the middle of an emoji takes nobody's connection: it arrives with U+FFFD in its place.

A limit of `maxlength` or `slice` counts UTF-16 code units and leaves half of a surrogate pair. encodeURIComponent
throws on it, JSON.stringify makes an escape of it that many readers refuse, and UTF-8 has no bytes for it.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.appserver import AppServer
from tests.browser.client_pages import APP, Client
from tests.support import OF_BROWSERS

# What a page sends, in its own words, and what arrives.
CUT: list[tuple[str, Any]] = [
    (r"'hello 😀'.slice(0, 7)", "hello \ufffd"),
    (r"'😀 there'.slice(1)", "\ufffd there"),
    (r"'\ude00\ud83d'", "\ufffd\ufffd"),
    (r"'\ud83d\ud83d\ude00\ude00'", "\ufffd😀\ufffd"),
    (r"'~h~\ud83d'", "~h~\ufffd"),
    (r"'~j~\\ud83d \ud83d'", "~j~\\ud83d \ufffd"),
    (r"{text: 'hello \ud83d'}", {"text": "hello \ufffd"}),
    (r"{'\ude00': ['\ud83d', {'deep': '😀\ud83d'}]}", {"\ufffd": ["\ufffd", {"deep": "😀\ufffd"}]}),
    (r"{text: '\\ud83d \\\ud83d \\\\ud83d'}", {"text": "\\ud83d \\\ufffd \\\\ud83d"}),
    (r"{text: '\n\"\ud83d\"\ude00'}", {"text": '\n"\ufffd"\ufffd'}),
]
ARRIVING = [message for _, message in CUT]


@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_half_an_emoji_arrives_as_a_replacement_character(
    page: Page, app_server: Callable[..., AppServer], transport: str
) -> None:
    server = app_server(APP)
    page.goto(server.url)
    client = Client(page, server.port, transport).connect()
    client.wait_for("connect")
    for text, _ in CUT:
        client.run(f"{{ socket.send({text}); }}")
    client.send("the last")
    assert client.wait_for_messages(len(ARRIVING) + 1) == [*ARRIVING, "the last"]
    with urllib.request.urlopen(f"{server.url}/sessions/{client.session_id}") as response:
        assert json.load(response)["received"] == [*ARRIVING, "the last"]
    assert [name for name, *_ in client.log if name == "disconnect"] == []
    assert client.type == transport


@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_what_others_send_of_it_reaches_the_page(
    page: Page, app_server: Callable[..., AppServer], transport: str
) -> None:
    # Without the client's own care: bytes as another client's JSON.stringify writes them.
    server = app_server(APP)
    page.goto(server.url)
    client = Client(page, server.port, transport).connect()
    client.wait_for("connect")
    client.run(
        r"""{
            const text = '~j~{"text":"hello \\ud83d"}';
            socket.transport.write(`~m~${text.length}~m~${text}`);
        }"""
    )
    assert client.wait_for_messages(1) == [{"text": "hello \ufffd"}]
