"""Tabs that are closed while a handler is at work on what they have sent, with the official client and with ours: the
handler is told, and the session ends. Over polling that takes `session_expiry`, unless the page says that it leaves.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tornadio
from tests.appserver import AppServer
from tests.compatibility.official_client import CLIENT
from tests.compatibility.staying_app import SESSION_EXPIRY
from tests.engines import Context
from tests.support import SECONDS

APP = Path(__file__).with_name("staying_app.py")
OWN = Path(tornadio.__file__).with_name("static") / "socket.io.js"

pytestmark = pytest.mark.page_errors()  # requests that were under way


def events_of(server: AppServer) -> dict[str, tuple[float, str]]:
    with urllib.request.urlopen(f"{server.url}/events") as response:
        events: dict[str, tuple[float, str]] = dict(json.load(response)["events"])
    return events


def wait_for(server: AppServer, event: str) -> dict[str, tuple[float, str]]:
    deadline = time.monotonic() + SECONDS
    while event not in (events := events_of(server)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert event in events
    return events


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling", "jsonp-polling"])
@pytest.mark.parametrize("says_so", [True, False], ids=["left", "killed"])
@pytest.mark.parametrize("client", ["official", "own"])
def test_a_handler_at_work_ends_when_the_tab_of_its_client_is_closed(
    request: pytest.FixtureRequest,
    context: Context,
    app_server: Callable[..., AppServer],
    client: str,
    says_so: bool,
    transport: str,
) -> None:
    script = OWN if client == "own" else request.getfixturevalue("node_modules") / CLIENT
    server = app_server(APP, f"--client={script}", "--logging=warning")
    page: Any = context.new_page()
    page.goto(f"{server.url}/#{transport}")
    wait_for(server, "begins")
    left_at = time.time()
    page.close(run_before_unload=says_so)
    events = wait_for(server, "closed")
    (told_at, _), (closed_at, reason) = events["ends"], events["closed"]
    print(f"{client}, {transport}: told after {told_at - left_at:.2f} s, {reason!r}")
    assert told_at <= closed_at
    if transport != "websocket" and client == "official":  # which may be back
        assert told_at - left_at > SESSION_EXPIRY - 0.5
        assert reason == "no request for session_expiry"
    elif transport != "websocket" and says_so:
        assert reason == "the client closed the connection"
