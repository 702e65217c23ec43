"""The official browser client 0.6.3, as npm has it in socket.io 0.6.18, in Chromium against our server.

The client runs unread and unchanged. Two of its transports need what browsers no longer have: official_emulation.js
gives the page Gecko's XMLHttpRequest.multipart and Internet Explorer's htmlfile. Every test runs from a page on the
server's own origin and from one on another port; in the table the two share a cell. htmlfile is left out of the second:
there the client itself declines it.

What the client can't do, and how the tests take it:

- It does not notice that a stream (xhr-multipart, htmlfile) has ended, but by 15 seconds of silence, or by a POST that
  fails. So a close by the server takes that long to be seen; and after a restart of the server a message has to be
  sent for the client to notice, which is lost.
- On a socket that is disconnected while its POST is under way it never posts again. So before `disconnect` the tests
  wait for the answers to its POSTs.
- Over jsonp-polling it posts to the first session of a page's socket for ever, also after it has connected again. So
  there a new connection is tested with messages from the server.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, Page, Request, WebSocket

from tests.appserver import AppServer
from tests.compatibility.official_client import CLIENT, Socket
from tests.compatibility.table import Scenario
from tests.support import OF_BROWSERS, STREAMING

APP = Path(__file__).with_name("official_app.py")

PERSISTENT = ("websocket", *STREAMING)
ORIGINS = ("own origin", "other port")

PLACES = [(t, origin) for t in OF_BROWSERS for origin in ORIGINS if (t, origin) != ("htmlfile", "other port")]

pytestmark = pytest.mark.compatibility(client="official browser client 0.6.3")
# What the browser itself notes on the console about a request that failed.
provokes_network_errors = pytest.mark.page_errors(
    "^console: (Failed to load resource|Refused to execute script|WebSocket connection to)"
)
everywhere = pytest.mark.parametrize(("transport", "origin"), PLACES)
at_persistent = pytest.mark.parametrize(("transport", "origin"), [place for place in PLACES if place[0] in PERSISTENT])

HOSTILE = (
    "</script><script>document.title = 'lost'</script>",
    "<!--<script>",
    "line\u2028separators\u2029 and\x00NUL",
    """quotes " ' ` \\ \\u0041 \\n""",
    "~m~3~m~abc",
    "percent %41 + plus & ampersand = ;",
    "trailing blanks \t  ",
    "\n\nnewlines\n between\n\n",
    "--socketio\n",
    "",
)


OpenSocket = Callable[..., Socket]
StartServer = Callable[[], AppServer]


@pytest.fixture(scope="module")
def start_server(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    servers: list[AppServer] = []

    def start_server() -> AppServer:
        output = tmp_path_factory.mktemp("server") / "output.txt"
        servers.append(AppServer(APP, (f"--client={node_modules / CLIENT}",), output))
        servers[-1].start()
        return servers[-1]

    yield start_server
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> AppServer:
    """The server of all tests. The last one restarts it, on the same port."""
    return start_server()


@pytest.fixture(scope="module")
def other_server(start_server: StartServer) -> AppServer:
    """One more on another port, to get pages from."""
    return start_server()


@pytest.fixture
def open_socket(page: Page, server: AppServer, other_server: AppServer) -> OpenSocket:
    """Open the page of an origin, with a socket in it."""

    def open_socket(transport: str, origin: str, **options: Any) -> Socket:
        page.goto({"own origin": server, "other port": other_server}[origin].url)
        return Socket(page, server.port, transport, **options)

    return open_socket


class Idle(NamedTuple):
    """Sockets in pages of their own that are left alone while the other tests run."""

    since: float
    silent: list[Socket]
    closed_by_server: list[Socket]


@pytest.fixture(scope="module", autouse=True)
def idle(browser: Browser, server: AppServer, other_server: AppServer) -> Iterator[Idle]:
    """Sockets that begin to idle before the first test, so that nobody has to wait for them."""
    silent = [open_page(browser, server, other_server, *place) for place in PLACES]
    closed = [
        Socket(socket.page, server.port, socket.transport, reconnect=False).connect()
        for socket in silent
        if socket.transport in STREAMING
    ]
    for socket in closed:
        socket.send("last words", "close")
    yield Idle(time.monotonic(), silent, closed)
    for socket in silent:
        socket.page.context.close()


def open_page(browser: Browser, server: AppServer, other_server: AppServer, transport: str, origin: str) -> Socket:
    """A page of its own with a socket that connects."""
    page = browser.new_context().new_page()
    page.goto({"own origin": server, "other port": other_server}[origin].url)
    return Socket(page, server.port, transport).connect()


@pytest.fixture
def payloads(page: Page) -> list[str]:
    """What the client of the page has sent, payload by payload."""
    payloads: list[str] = []

    def note_request(request: Request) -> None:
        if request.method == "POST":
            payloads.extend(parse_qs(request.post_data or "")["data"])

    def note_websocket(websocket: WebSocket) -> None:
        websocket.on("framesent", lambda payload: payloads.append(str(payload)))

    page.on("request", note_request)
    page.on("websocket", note_websocket)
    return payloads


def received(server: AppServer, session_id: str) -> list[Any]:
    """The messages that the server has received in a session."""
    with urllib.request.urlopen(f"{server.url}/received/{session_id}") as response:
        messages: list[Any] = json.load(response)["messages"]
    return messages


def say(server: AppServer, session_id: str, text: str) -> None:
    """Make the server send a message in a session."""
    urllib.request.urlopen(f"{server.url}/say/{session_id}/{text}").close()


def release(server: AppServer, session_id: str) -> None:
    """End the handling of the message `hold`."""
    urllib.request.urlopen(f"{server.url}/release/{session_id}").close()


# Connecting


@everywhere
def test_connects(open_socket: OpenSocket, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin).connect()
    socket.wait_for("connect")
    socket.send("about")
    assert socket.wait_for_messages(1) == [{"extra": "", "transport": transport}]
    assert socket.events == ["connecting", "connect", "message"]


@everywhere
def test_messages_queued_before_connect(open_socket: OpenSocket, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin)
    queued = ["first é中😀", {"second": 2}, "third"]
    socket.send(*queued)
    socket.connect()
    assert socket.wait_for_messages(3) == queued
    assert socket.events == ["connecting", "connect", "message", "message", "message"]


@everywhere
def test_extra_parameters(open_socket: OpenSocket, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin, resource="chat/123").connect()
    socket.send("about")
    assert socket.wait_for_messages(1)[0]["extra"] == "123"


@everywhere
def test_two_sockets_in_one_page(open_socket: OpenSocket, server: AppServer, transport: str, origin: str) -> None:
    first = open_socket(transport, origin).connect()
    second = Socket(first.page, server.port, transport, resource="chat/2").connect()
    first.send("one", "about")
    second.send("two", "about")
    assert first.wait_for_messages(2) == ["one", {"extra": "", "transport": transport}]
    assert second.wait_for_messages(2) == ["two", {"extra": "2", "transport": transport}]
    first.disconnect()
    second.send("three")
    assert second.wait_for_messages(3)[2] == "three"
    assert len(first.messages) == 2


@pytest.mark.page_errors("No transport available")
@pytest.mark.parametrize("transport", ["htmlfile"])
def test_another_port_is_declined_by_the_client(open_socket: OpenSocket, page: Page, transport: str) -> None:
    with page.expect_console_message(lambda message: message.text == "No transport available"):
        socket = open_socket(transport, "other port").connect()
    assert socket.log == []


# Messages


@everywhere
def test_echo_of_ASCII(open_socket: OpenSocket, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin).connect()
    socket.send("Hello, world!")
    assert socket.wait_for_messages(1) == ["Hello, world!"]


@everywhere
def test_non_ASCII_before_another_frame_in_one_batch(
    open_socket: OpenSocket, payloads: list[str], transport: str, origin: str
) -> None:
    socket = open_socket(transport, origin).connect()
    socket.wait_for("connect")
    socket.send_batch("é中😀", "after it")
    assert socket.wait_for_messages(2) == ["é中😀", "after it"]
    assert payloads == ["~m~4~m~é中😀~m~8~m~after it"]
    socket.send({"together": ["😀é中", "after it"]})
    assert socket.wait_for_messages(4)[2:] == ["😀é中", "after it"]


@everywhere
def test_nested_JSON(open_socket: OpenSocket, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin).connect()
    nested = {"é中😀": {"list": [1, -2.5, None, True, [], {"deep": [{"er": '</script>"\u2028'}]}], "empty": {}}, "": ""}
    socket.send(nested)
    assert socket.wait_for_messages(1) == [nested]


@everywhere
def test_hostile_text(open_socket: OpenSocket, server: AppServer, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin).connect()
    socket.wait_for("connect")
    for number, text in enumerate(HOSTILE, 1):
        socket.send(text)
        assert socket.wait_for_messages(number)[-1] == text
    socket.send_batch(*HOSTILE)
    assert socket.wait_for_messages(2 * len(HOSTILE)) == [*HOSTILE, *HOSTILE]
    assert received(server, socket.session_id) == [*HOSTILE, *HOSTILE]
    assert socket.page.title() == "The official browser client"


@everywhere
def test_burst_in_order(open_socket: OpenSocket, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin).connect()
    socket.send("burst", "end")
    assert socket.wait_for_messages(101) == [*(f"é中😀 {number}" for number in range(100)), "end"]


@everywhere
def test_200_rapid_messages_once_and_in_order(
    open_socket: OpenSocket, server: AppServer, transport: str, origin: str
) -> None:
    socket = open_socket(transport, origin).connect()
    socket.wait_for("connect")
    socket.run(
        """{
            let number = 0;
            const timer = setInterval(() => {
                socket.send(`${number}`);
                number += 1;
                if (number === 200) clearInterval(timer);
            }, 1);
        }"""
    )
    rapid = [str(number) for number in range(200)]
    assert socket.wait_for_messages(200) == rapid
    socket.send("end")
    assert socket.wait_for_messages(201) == [*rapid, "end"]
    assert received(server, socket.session_id) == [*rapid, "end"]


@everywhere
def test_heartbeat_echo_and_message_in_one_batch(
    open_socket: OpenSocket, payloads: list[str], server: AppServer, transport: str, origin: str
) -> None:
    socket = open_socket(transport, origin).connect()
    socket.wait_for("connect")
    socket.send_batch("~h~1", "after the heartbeat")
    assert socket.wait_for_messages(1) == ["after the heartbeat"]
    assert payloads == ["~m~4~m~~h~1~m~19~m~after the heartbeat"]
    assert received(server, socket.session_id) == ["after the heartbeat"]


@at_persistent
def test_heartbeat_echoed_while_a_message_is_handled(
    open_socket: OpenSocket, payloads: list[str], server: AppServer, transport: str, origin: str
) -> None:
    socket = open_socket(transport, origin, resource="lively").connect()
    socket.send("hold")
    assert socket.wait_for_messages(1) == ["a heartbeat was sent"]
    socket.send("after")
    release(server, socket.session_id)
    assert socket.wait_for_messages(2) == ["a heartbeat was sent", "after"]
    if transport in STREAMING:  # nothing is posted while a POST is under way
        assert payloads[1].startswith("~m~4~m~~h~1")
        assert "~m~5~m~after" in payloads[1]
    else:
        assert "~m~4~m~~h~1" in payloads[: payloads.index("~m~5~m~after")]


@everywhere
def test_1_MB_each_way(open_socket: OpenSocket, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin).connect()
    socket.wait_for("connect")
    megabyte = ("é中😀 " + "x" * 993 + "\n") * 1100  # past the default of max_message_size
    socket.send(megabyte, "after it")
    assert socket.wait_for_messages(2) == [megabyte, "after it"]


# Ends


@everywhere
def test_client_disconnects_and_connects_again(
    open_socket: OpenSocket, server: AppServer, transport: str, origin: str
) -> None:
    socket = open_socket(transport, origin).connect()
    socket.send("one")
    socket.wait_for_messages(1)
    first = socket.session_id
    socket.disconnect()
    socket.wait_for("disconnect")
    assert socket.events == ["connecting", "connect", "message", "disconnect"]
    socket.connect()
    socket.wait_for("connect", 2)
    assert socket.session_id != first
    if transport == "jsonp-polling":
        say(server, socket.session_id, "two")
        assert socket.wait_for_messages(2) == ["one", "two"]
    else:
        socket.send("two", "three")
        assert socket.wait_for_messages(3) == ["one", "two", "three"]


@provokes_network_errors
@pytest.mark.parametrize(("transport", "origin"), [place for place in PLACES if place[0] not in STREAMING])
def test_server_close_is_seen(open_socket: OpenSocket, transport: str, origin: str) -> None:
    socket = open_socket(transport, origin, reconnect=False).connect()
    socket.wait_for("connect")
    socket.send_batch("last words", "close")
    socket.wait_for("disconnect")
    assert socket.events == ["connecting", "connect", "message", "disconnect"]


def test_the_ends_of_streams_are_seen(idle: Idle, scenario: Scenario) -> None:
    for socket in idle.closed_by_server:
        with scenario("server close is seen", socket.transport):
            socket.wait_for("disconnect")
            assert socket.events == ["connecting", "connect", "message", "disconnect"]


def test_45_idle_seconds(idle: Idle, scenario: Scenario) -> None:
    left = 46 - (time.monotonic() - idle.since)  # one for the last of them to connect
    idle.silent[0].page.wait_for_timeout(max(0, left * 1000))
    for socket in idle.silent:
        with scenario("echo after 45 idle seconds", socket.transport):
            socket.send("still here")
            assert socket.wait_for_messages(1) == ["still here"]
            assert socket.events == ["connecting", "connect", "message"]


@provokes_network_errors
def test_reconnects_after_the_server_restarts(idle: Idle, server: AppServer, scenario: Scenario) -> None:
    sockets = idle.silent
    server.kill()
    server.start()
    for socket in sockets:
        with scenario("reconnects after the server restarts", socket.transport):
            if socket.transport in STREAMING:
                socket.send("lost")
            socket.wait_for("reconnect")
            if socket.transport == "jsonp-polling":
                say(server, socket.session_id, "after")
            else:
                socket.send("after")
            socket.wait_for_last_message("after")
            events = [event for event in dict.fromkeys(socket.events) if event != "message"]
            assert events == ["connecting", "connect", "disconnect", "reconnecting", "reconnect"]
