"""TornadIO's own browser client, in each engine, against the official server, Socket.IO-node 0.6.18.

websocket is missing: that server speaks the drafts 75 and 76 alone, which browsers have forgotten. xhr-multipart is
missing in WebKit, which doesn't read what that server streams.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer
from tests.browser.intermediary import Intermediary
from tests.browser_fixtures import ACTION_MILLISECONDS, ENGINES, NETWORK_ERRORS
from tests.compatibility.page_socket import (
    BOUNDARY_TEXT,
    HOSTILE_TEXTS,
    SCRIPT_TEXT,
    OpenSocket,
    PageSocket,
    sockets_in,
)
from tests.compatibility.table import Scenario
from tests.engines import Browser, Context, Page, engine_name, webkit

HERE = Path(__file__).resolve().parent

TRANSPORTS = ("xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile")

CANNOT = {
    ("webkit", "xhr-multipart"): "WebKit cancels each multipart/x-mixed-replace response that is no image or page",
}

pytestmark = [
    pytest.mark.engines(),
    pytest.mark.compatibility(client="TornadIO's own client, official server 0.6.18", cannot=CANNOT),
]

# The official server writes </script> into its scripts as it is, and all its streams have the same boundary.
BREAKS_THE_OFFICIAL_SERVER = {"htmlfile": SCRIPT_TEXT, "xhr-multipart": BOUNDARY_TEXT}

loses_its_server = pytest.mark.page_errors(*NETWORK_ERRORS)


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
    """One page for all tests in an engine."""
    page = browser.new_page()
    if not isinstance(page, webkit.Page):
        page.set_default_timeout(ACTION_MILLISECONDS)
    page.goto(official_server.url)
    yield page
    page.context.close()


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


def test_rapid_messages_beside_heartbeats(socket: PageSocket) -> None:
    """They take longer than an interval of heartbeats. Of a payload with an echo this server hears the echo alone."""
    texts = [f"message {number}" for number in range(400)]
    socket.opened().send_rapidly(*texts)
    socket.wait_for("message", 400)
    assert socket.exchange("end") == ["end"]
    assert socket.messages == [*texts, "end"]


def test_messages_before_connecting(socket: PageSocket) -> None:
    socket.send("one", {"two": 2})
    socket.connect()
    socket.send("three")
    socket.wait_for("message", 3)
    assert socket.messages == ["one", {"two": 2}, "three"]


@pytest.mark.compatibility(scenarios=("stays connected while idle",), transports=TRANSPORTS, engines=ENGINES)
def test_stays_connected_while_idle(
    contexts: dict[str, Context],
    official_server: AppServer,
    start_intermediary: Callable[[int], Intermediary],
    scenario: Scenario,
) -> None:
    """All engines and transports side by side: streams echo heartbeats, polls that end empty are repeated."""
    betweens = {engine: start_intermediary(official_server.port) for engine in contexts}
    with contextlib.ExitStack() as exits:
        sockets: dict[tuple[str, str], PageSocket] = {}
        for engine, context in contexts.items():
            page = context.new_page()
            page.goto(betweens[engine].url)
            open_socket = exits.enter_context(sockets_in(page, betweens[engine].port, []))
            for transport in TRANSPORTS:
                if (engine, transport) not in CANNOT:
                    sockets[engine, transport] = open_socket(transport).opened()
        for (engine, transport), socket in sockets.items():
            with scenario("stays connected while idle", transport, engine):
                sign = f"^{'GET' if 'polling' in transport else 'POST'} /socket.io/{transport}/{socket.session_id}"
                betweens[engine].wait_for(sign, 3)
                assert socket.exchange("still here") == ["still here"]
                assert socket.events == ["connect"]


@loses_its_server
def test_server_close_is_seen(socket: PageSocket, transport: str, browser: Browser) -> None:
    socket.opened().send("close")
    if "polling" in transport and engine_name(browser) == "firefox":
        # By itself it repeats a GET whose connection was closed without an answer, which the server takes for a poll.
        # It does where the connection was used before.
        assert socket.exchange("still here") == ["still here"]
        assert socket.events in (["connect"], ["connect", "disconnect", "connect", "reconnect"])
        return
    socket.wait_for("reconnect")
    assert socket.events == ["connect", "disconnect", "connect", "reconnect"]
    assert socket.exchange("here again") == ["here again"]


def test_disconnects_and_connects_again(socket: PageSocket, official_server: AppServer) -> None:
    socket.opened()
    session_id = socket.session_id
    assert socket.exchange("first") == ["first"]
    socket.disconnect()
    assert socket.events == ["connect", "disconnect"]
    socket.connect()
    socket.wait_for("connect", 2)
    assert socket.exchange("second") == ["second"]
    assert socket.session_id != session_id
    assert "error" not in official_server.output()  # the empty POST that ends sessions of TornadIO is none for it


@pytest.mark.compatibility(scenarios=("reconnects after a restart",), transports=TRANSPORTS)
@loses_its_server
def test_reconnects_after_a_restart(
    open_socket: OpenSocket, browser: Browser, official_server: AppServer, scenario: Scenario
) -> None:
    engine = engine_name(browser)
    sockets = {each: open_socket(each).opened() for each in TRANSPORTS if (engine, each) not in CANNOT}
    official_server.kill()
    for socket in sockets.values():
        socket.wait_for("disconnect")
        socket.send("while away")
    official_server.start()
    for transport, socket in sockets.items():
        with scenario("reconnects after a restart", transport):
            socket.wait_for("message")
            assert socket.messages == ["while away"]
            assert socket.events == ["connect", "disconnect", "connect", "reconnect"]
