"""The official client's flashsocket: its movie, WebSocketMain.swf, played by Ruffle.

Ruffle asks for no policy files, so test_flash_policy.py does that with raw sockets.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.appserver import AppServer
from tests.browser_fixtures import ACTION_MILLISECONDS
from tests.compatibility.flash_app import BURST, LIVELY
from tests.compatibility.page_socket import HOSTILE_TEXTS, OpenSocket, PageSocket, sockets_in

HERE = Path(__file__).resolve().parent

pytestmark = [
    pytest.mark.engines(
        "chromium", because="Ruffle plays the movie in WebAssembly, and needs nothing of the engine but a WebSocket"
    ),
    pytest.mark.compatibility(client="official browser client 0.6.3, in Ruffle 0.6.0", transport="flashsocket"),
]


@pytest.fixture(scope="module")
def server(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """The server; a test may restart it."""
    output = tmp_path_factory.mktemp("flash") / "output.txt"
    server = AppServer(HERE / "flash_app.py", (f"--modules={node_modules}",), output)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def page_server(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """One more on another port, to get the page from."""
    output = tmp_path_factory.mktemp("flash_page") / "output.txt"
    server = AppServer(HERE / "flash_app.py", (f"--modules={node_modules}",), output)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def proxy(server: AppServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    output = tmp_path_factory.mktemp("proxy") / "output.txt"
    proxy = AppServer(HERE / "tcp_proxy.py", (f"--target={server.port}",), output)
    proxy.start()
    yield proxy
    proxy.kill()


@pytest.fixture(scope="module")
def flash_page(browser: Browser, server: AppServer, proxy: AppServer) -> Iterator[Page]:
    """One page for all tests: Ruffle takes a while to start, and the client plays its movie once for all sockets."""
    page = browser.new_page()
    page.set_default_timeout(ACTION_MILLISECONDS)
    page.goto(f"{server.url}/?port={server.port}&proxy=ws://localhost:{proxy.port}/")
    yield page
    page.close()


@pytest.fixture
def open_socket(flash_page: Page, server: AppServer, page_errors: list[str]) -> Iterator[OpenSocket]:
    with sockets_in(flash_page, server.port, page_errors) as open_socket:
        yield functools.partial(open_socket, "flashsocket")


@pytest.fixture
def socket(open_socket: OpenSocket) -> PageSocket:
    return open_socket()


def test_connects(socket: PageSocket) -> None:
    socket.opened()
    assert socket.transport == "flashsocket"
    assert socket.exchange("about") == [{"transport": "flashsocket", "draft-76": True, "extra": ""}]
    assert re.fullmatch("[0-9a-z]{20,}", socket.session_id)


def test_echo_of_text(socket: PageSocket) -> None:
    assert socket.opened().exchange("hello") == ["hello"]


def test_echo_of_other_alphabets_and_a_frame_behind(socket: PageSocket) -> None:
    socket.opened().send_together("é中😀", "behind")
    socket.wait_for("message", 2)
    assert socket.messages == ["é中😀", "behind"]


def test_echo_of_json(socket: PageSocket) -> None:
    messages = [{"a": [1, 2.5, {"b": None}], "é": ["中", {"😀": True}]}, {}]
    assert socket.opened().exchange(*messages) == messages


def test_echo_of_hostile_texts(socket: PageSocket) -> None:
    assert socket.opened().exchange(*HOSTILE_TEXTS) == list(HOSTILE_TEXTS)
    assert socket.page.title() == "flashsocket"


def test_burst_in_order(socket: PageSocket) -> None:
    socket.opened().send("burst")
    socket.wait_for("message", len(BURST))
    assert socket.messages == BURST


def test_200_messages_at_once(socket: PageSocket) -> None:
    texts = [f"message {number}" for number in range(200)]
    assert socket.opened().exchange(*texts, "end") == [*texts, "end"]


def test_200_rapid_messages(socket: PageSocket) -> None:
    texts = [f"message {number}" for number in range(200)]
    socket.opened().send_rapidly(*texts)
    socket.wait_for("message", 200)
    assert socket.exchange("end") == ["end"]
    assert socket.messages == [*texts, "end"]


def test_megabyte_each_way(socket: PageSocket) -> None:
    text = "0123456789" * 100_000
    (echo,) = socket.opened().exchange(text)
    assert echo == text


def test_messages_before_connecting(socket: PageSocket) -> None:
    socket.send("one", {"two": 2})
    socket.connect()
    socket.send("three")
    socket.wait_for("message", 3)
    assert socket.messages == ["one", {"two": 2}, "three"]


def test_stays_connected_while_idle(open_socket: OpenSocket) -> None:
    socket = open_socket(resource="lively")
    assert isinstance(socket.page, Page)
    with socket.page.expect_websocket() as opened:
        socket.opened()
    past = LIVELY["heartbeat_timeout"] + 1  # by then a client that answers no heartbeats is closed
    heartbeat = f"~h~{past / LIVELY['heartbeat_interval']:.0f}".encode()
    opened.value.wait_for_event("framereceived", lambda frame: heartbeat in frame)
    assert socket.exchange("still here") == ["still here"]
    assert socket.events == ["connect"]


def test_two_sockets_in_one_page(open_socket: OpenSocket) -> None:
    one, other = open_socket(), open_socket()
    one.connect()
    other.opened()
    one.wait_for("connect")
    assert (one.exchange("from one"), other.exchange("from the other")) == (["from one"], ["from the other"])
    assert one.session_id != other.session_id
    other.disconnect()
    assert one.exchange("and again") == ["and again"]


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


def test_extra(open_socket: OpenSocket) -> None:
    (about,) = open_socket(resource="chat/123").opened().exchange("about")
    assert about["extra"] == "123"


def test_connects_from_a_page_on_another_port(
    browser: Browser, server: AppServer, page_server: AppServer, proxy: AppServer
) -> None:
    page = browser.new_page()
    page.goto(f"{page_server.url}/?port={server.port}&proxy=ws://localhost:{proxy.port}/")
    socket = PageSocket(page, server.port, "flashsocket").opened()
    assert socket.exchange("é中😀", "behind") == ["é中😀", "behind"]
    page.close()


def test_reconnects_after_a_restart(socket: PageSocket, server: AppServer) -> None:
    socket.opened()
    server.kill()
    socket.wait_for("disconnect")
    server.start()
    socket.wait_for("reconnect")
    assert socket.exchange("here again") == ["here again"]
