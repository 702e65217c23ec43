"""Pages of other sites get nothing of a visitor's in a real browser: by scripts, images and frames, which carry his
cookies but no `Origin`, nor by a name of theirs that points here by now.

Chromium finds every name below `.example` here.
"""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.appserver import AppServer
from tests.support import HTTP_TRANSPORTS, SECONDS, SOCKETS
from tornadio import proto

APP = Path(__file__).with_name("other_sites_app.py")

# What a browser notes about requests that fail. Exceptions are never allowed for.
pytestmark = pytest.mark.page_errors(
    r"^console: (Failed to load resource|Refused to execute script|WebSocket connection to .* failed)"
)

HOST = "chat.site.example"
NEIGHBOUR = "evil.site.example"
STRANGER = "evil.example"
ELEMENTS = ("img", "iframe", "script")


class Server:
    """The application in a process of its own, under many names."""

    def __init__(self, start: Callable[..., AppServer], settings: dict[str, Any]) -> None:
        self._server = start(APP, f"--settings={json.dumps(settings)}")

    def url(self, host: str, path: str = "/") -> str:
        return f"http://{host}:{self._server.port}{path}"

    def seen(self) -> Any:
        """Who has opened a session, and what messages have come."""
        return json.loads(self.read("/seen"))

    def read(self, path: str) -> str:
        """What a program on this machine is answered."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._server.port}{path}") as response:
            return str(response.read().decode())


@pytest.fixture
def serve(app_server: Callable[..., AppServer]) -> Callable[[dict[str, Any]], Server]:
    return lambda settings: Server(app_server, settings)


def status_of(page: Page, element: str, server: Server, host: str, transport: str) -> int:
    """What an element of the page that asks for a new session is answered, whether the page sees it or not."""
    path = f"{new_session(transport)}?{time.monotonic_ns()}"
    page.evaluate("([element, address]) => { add(element, address); }", [element, server.url(host, path)])
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for uri, status in server.seen()["answers"]:
            if uri == path:
                return int(status)
        page.wait_for_timeout(20)  # which lets the page go on
    raise TimeoutError(path)


def new_session(transport: str) -> str:
    return f"/socket.io/{transport}//1290000000000/0"


def poll_of(session_id: str) -> str:
    return f"/socket.io/jsonp-polling/{session_id}/1290000000000/0"


# -- Scripts, images and frames of other sites -------------------------------------------------------------------------

by_host_or_origin = pytest.mark.parametrize("settings", [{"origins": [f"{HOST}:*"]}, {"hosts": [HOST]}], ids=str)


@by_host_or_origin
def test_a_page_of_the_server_loads_scripts_with_cookies(serve, page, settings):
    """The tests' own eyes."""
    server = serve(settings)
    page.goto(server.url(HOST, "/login"))
    page.goto(server.url(HOST))
    for number, transport in enumerate(HTTP_TRANSPORTS):
        assert status_of(page, "script", server, HOST, transport) == 200
        assert len(server.seen()["opened"]) == number + 1
    assert {each["cookie"] for each in server.seen()["opened"]} == {"user=visitor"}
    page.wait_for_function("payloads.length")
    [(_, session_id)] = proto.decode(page.evaluate("payloads")[0])
    page.evaluate("(address) => { add('script', address); }", server.url(HOST, poll_of(session_id)))
    page.wait_for_function("payloads.length == 2")
    assert "secret" in page.evaluate("payloads")[1]


@by_host_or_origin
@pytest.mark.parametrize("site", [NEIGHBOUR, STRANGER])
@pytest.mark.parametrize("policy", ["no-referrer", "origin", ""])
def test_another_sites_script_reads_nothing(serve, page, settings, site, policy):
    """Over plain HTTP, where a browser sends no `Sec-Fetch-Site`."""
    server = serve(settings)
    page.goto(server.url(HOST, "/login"))
    page.goto(server.url(site, f"/?policy={policy}"))
    address = server.url(HOST, new_session("jsonp-polling"))
    assert page.evaluate("(address) => add('script', address)", address) == "error"
    assert page.evaluate("payloads") == []
    [(_, session_id), *_] = proto.decode(server.read(new_session("xhr-polling")))
    address = server.url(HOST, poll_of(session_id))
    assert page.evaluate("(address) => add('script', address)", address) == "error"
    assert [each["cookie"] for each in server.seen()["opened"]] == [None]  # the program's


@by_host_or_origin
@pytest.mark.parametrize("site", [NEIGHBOUR, STRANGER])
def test_another_sites_elements_open_nothing(serve, page, settings, site):
    server = serve(settings)
    page.goto(server.url(HOST, "/login"))
    page.goto(server.url(site))
    for element, transport in itertools.product(ELEMENTS, HTTP_TRANSPORTS):
        assert status_of(page, element, server, HOST, transport) == 403
    assert server.seen()["opened"] == []


@pytest.mark.parametrize("settings", [{}, {"origins": ["localhost:*"]}], ids=str)
def test_another_sites_elements_without_referer_open_nothing(serve, page, settings):
    """To localhost, as over TLS, a browser sends `Sec-Fetch-Site`."""
    server = serve(settings)
    page.goto(server.url("localhost", "/login"))
    page.goto(server.url(STRANGER, "/?policy=no-referrer"))
    for element, transport in itertools.product(ELEMENTS, HTTP_TRANSPORTS):
        assert status_of(page, element, server, "localhost", transport) == 403
    assert server.seen()["opened"] == []


# -- Names that point here ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"origins": ["localhost:*"]}, {"hosts": ["localhost"]}], ids=str)
def test_a_page_whose_name_points_here_gets_nothing_through(serve, page, settings):
    server = serve(settings)
    page.goto(server.url(STRANGER))
    for transport in HTTP_TRANSPORTS:
        status, text = page.evaluate("(address) => ask('GET', address)", new_session(transport))
        assert (status, "add it to the setting 'hosts'" in text) == (403, True)
        for element in ELEMENTS:
            assert status_of(page, element, server, STRANGER, transport) == 403
    for transport in SOCKETS:
        address = server.url(STRANGER, f"/socket.io/{transport}").replace("http", "ws", 1)
        assert page.evaluate("(address) => openSocket(address)", address) == "closed"
    assert page.evaluate("payloads") == []
    assert server.seen()["opened"] == []
    # Nor of a session whose id it knows.
    [(_, session_id), *_] = proto.decode(server.read(new_session("xhr-polling")))
    for method, tail in [("GET", "1290000000000"), ("POST", "send")]:
        path = f"/socket.io/xhr-polling/{session_id}/{tail}"
        assert page.evaluate("([method, path]) => ask(method, path)", [method, path])[0] == 403
    assert server.seen()["messages"] == []


@pytest.mark.parametrize("settings", [{"hosts": ["*"]}, {"origins": ["*:*"]}, {"hosts": [f"*.{STRANGER}"]}], ids=str)
def test_a_page_whose_name_is_listed_gets_through(serve, page, settings):
    """The tests' own eyes."""
    host = f"www.{STRANGER}"
    server = serve(settings)
    page.goto(server.url(host))
    for transport in HTTP_TRANSPORTS:
        assert page.evaluate("(address) => ask('GET', address)", new_session(transport))[0] == 200
    address = server.url(host, "/socket.io/websocket").replace("http", "ws", 1)
    assert page.evaluate("(address) => openSocket(address)", address).startswith("~m~32~m~")
    assert [each["transport"] for each in server.seen()["opened"]] == [*HTTP_TRANSPORTS, "websocket"]
