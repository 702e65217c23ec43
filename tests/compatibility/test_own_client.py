"""TornadIO's own browser client against the official server, Socket.IO-node 0.6.18.

websocket is missing: that server speaks the drafts 75 and 76 alone, which browsers have forgotten.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request

from tests.appserver import AppServer
from tests.browser_fixtures import ACTION_MILLISECONDS
from tests.compatibility.page_socket import (
    BOUNDARY_TEXT,
    HOSTILE_TEXTS,
    SCRIPT_TEXT,
    OpenSocket,
    PageSocket,
    sockets_in,
)
from tests.compatibility.table import Scenario

HERE = Path(__file__).resolve().parent

TRANSPORTS = ("xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile")

pytestmark = pytest.mark.compatibility(client="TornadIO's own client, official server 0.6.18")

# The official server writes </script> into its scripts as it is, and all its streams have the same boundary.
BREAKS_THE_OFFICIAL_SERVER = {"htmlfile": SCRIPT_TEXT, "xhr-multipart": BOUNDARY_TEXT}

# What the browser itself notes on the console about a request that failed. Exceptions are never allowed for.
loses_its_server = pytest.mark.page_errors(r"^console: (Failed to load resource|Refused to execute script)")


@pytest.fixture(scope="module")
def official_server(node: str, node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """The official server; it listens when a test begins, and a test may restart it."""
    server = AppServer(
        HERE / "official_server.js",
        (str(node_modules),),
        tmp_path_factory.mktemp("official") / "output.txt",
        program=(node, "--require", str(HERE / "node_preload.js")),
    )
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def own_page(browser: Browser, official_server: AppServer) -> Iterator[Page]:
    """One page for all tests."""
    page = browser.new_page()
    page.set_default_timeout(ACTION_MILLISECONDS)
    page.goto(official_server.url)
    yield page
    page.close()


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_socket(own_page: Page, official_server: AppServer, page_errors: list[str]) -> Iterator[OpenSocket]:
    with sockets_in(own_page, official_server.port, page_errors) as open_socket:
        yield open_socket


@pytest.fixture
def socket(open_socket: OpenSocket, transport: str) -> PageSocket:
    return open_socket(transport)


def test_connects(socket: PageSocket, transport: str) -> None:
    socket.opened()
    assert socket.transport == transport
    assert socket.session_id.isdigit()


def test_echo_of_text(socket: PageSocket) -> None:
    assert socket.opened().exchange("hello") == ["hello"]


def test_echo_of_other_alphabets_and_a_frame_behind(socket: PageSocket) -> None:
    socket.opened().send_together("é中😀", "behind")
    socket.wait_for("message", 2)
    assert socket.messages == ["é中😀", "behind"]


def test_echo_of_json(socket: PageSocket) -> None:
    # Objects alone: of other JSON the official server makes text when it sends it.
    messages = [{"a": [1, 2.5, {"b": None}], "é": ["中", {"😀": True}]}, {}]
    assert socket.opened().exchange(*messages) == messages


def test_echo_of_hostile_texts(socket: PageSocket, transport: str) -> None:
    texts = [text for text in HOSTILE_TEXTS if text != BREAKS_THE_OFFICIAL_SERVER.get(transport)]
    assert socket.opened().exchange(*texts) == texts
    assert socket.page.title() == ""


def test_burst_in_order(socket: PageSocket) -> None:
    # Sent one by one: of a list in `send`, the official server makes one text.
    socket.opened().send("burst")
    socket.wait_for("message", 4)
    assert socket.messages == ["one", {"two": 2}, "é中😀", "four"]


def test_200_messages_at_once(socket: PageSocket) -> None:
    texts = [f"message {number}" for number in range(200)]
    assert socket.opened().exchange(*texts, "end") == [*texts, "end"]


def test_200_rapid_messages(socket: PageSocket) -> None:
    texts = [f"message {number}" for number in range(200)]
    socket.opened().send_rapidly(*texts)
    socket.wait_for("message", 200)
    assert socket.exchange("end") == ["end"]
    assert socket.messages == [*texts, "end"]


def test_messages_before_connecting(socket: PageSocket) -> None:
    socket.send("one", {"two": 2})
    socket.connect()
    socket.send("three")
    socket.wait_for("message", 3)
    assert socket.messages == ["one", {"two": 2}, "three"]


def test_stays_connected_while_idle(open_socket: OpenSocket, scenario: Scenario) -> None:
    """All transports side by side: streams echo heartbeats, polls that end empty are repeated."""
    sockets = {transport: open_socket(transport) for transport in TRANSPORTS}
    signs_of_life = collections.Counter(dict.fromkeys(TRANSPORTS, 0))

    def completes_the_signs(request: Request) -> bool:
        transport = urlsplit(request.url).path.split("/")[2]
        if "polling" in transport or "~h~" in (request.post_data or ""):
            signs_of_life[transport] += 1
        return min(signs_of_life.values()) > 3

    with sockets["htmlfile"].page.expect_event("request", completes_the_signs):
        for socket in sockets.values():
            socket.opened()
    for transport, socket in sockets.items():
        with scenario("stays connected while idle", transport):
            assert socket.exchange("still here") == ["still here"]
            assert socket.events == ["connect"]


@loses_its_server
def test_server_close_is_seen(socket: PageSocket) -> None:
    socket.opened().send("close")
    socket.wait_for("reconnect")
    assert socket.events == ["connect", "disconnect", "connect", "reconnect"]
    assert socket.exchange("here again") == ["here again"]


def test_disconnects_and_connects_again(socket: PageSocket) -> None:
    socket.opened()
    session_id = socket.session_id
    assert socket.exchange("first") == ["first"]
    socket.disconnect()
    assert socket.events == ["connect", "disconnect"]
    socket.connect()
    socket.wait_for("connect", 2)
    assert socket.exchange("second") == ["second"]
    assert socket.session_id != session_id


@loses_its_server
def test_reconnects_after_a_restart(socket: PageSocket, official_server: AppServer) -> None:
    socket.opened()
    official_server.kill()
    socket.wait_for("disconnect")
    socket.send("while away")
    official_server.start()
    socket.wait_for("message")
    assert socket.messages == ["while away"]
    assert socket.events == ["connect", "disconnect", "connect", "reconnect"]
