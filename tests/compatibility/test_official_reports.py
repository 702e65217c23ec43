"""What public reports tell of the official browser client 0.6.3, tried with our server in Chromium.

The client does these things by its script alone, the same in every engine. See test_official_client.py for what its
transports need in a browser of today.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.appserver import AppServer
from tests.browser.intermediary import Intermediary
from tests.browser_fixtures import NETWORK_ERRORS
from tests.compatibility.official_client import CLIENT, Socket
from tests.engines import Page
from tests.support import OF_BROWSERS, POLLING

IS_ID = re.compile("[0-9a-f]{32}").fullmatch
APP = Path(__file__).with_name("official_app.py")
MESSAGES = 20_000

pytestmark = pytest.mark.engines("chromium", because="the client's script decides it by itself")
over_each_transport = pytest.mark.parametrize("transport", OF_BROWSERS)
over_polls = pytest.mark.parametrize("transport", POLLING)

OpenSocket = Callable[..., Socket]

# What a page does that is left as soon as it is connected, and comes back at once.
CONNECT_ANEW = """{
    let isFirst = true;
    socket.on('connect', () => {
        if (isFirst) {
            isFirst = false;
            socket.disconnect();
            socket.connect();
        }
    });
    socket.connect();
}"""


@pytest.fixture(scope="module")
def server(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    server = AppServer(
        APP,
        (f"--client={node_modules / CLIENT}", "--logging=warning"),
        tmp_path_factory.mktemp("server") / "output.txt",
    )
    server.start()
    yield server
    server.kill()


@pytest.fixture
def intermediary(start_intermediary: Callable[[int], Intermediary], server: AppServer) -> Intermediary:
    return start_intermediary(server.port)


@pytest.fixture
def open_socket(page: Page, intermediary: Intermediary) -> OpenSocket:
    def open_socket(transport: str, resource: str, **options: Any) -> Socket:
        page.goto(intermediary.url)
        return Socket(page, intermediary.port, transport, resource=resource, **options)

    return open_socket


def say(server: AppServer, session_id: str, text: str) -> None:
    urllib.request.urlopen(f"{server.url}/say/{session_id}/{text}").close()


def received(server: AppServer, session_id: str) -> Any:
    with urllib.request.urlopen(f"{server.url}/received/{session_id}") as response:
        return json.load(response)["messages"]


def polls_of(intermediary: Intermediary, transport: str) -> int:
    return len(intermediary.seen(f"^GET /[a-z]+/{transport}/[0-9a-f]+/"))


@over_each_transport
def test_a_queue_of_20_000_messages_arrives_in_order_and_once(
    open_socket: OpenSocket, server: AppServer, transport: str
) -> None:
    """The client sends it as one payload, of 1.5 megabytes."""
    socket = open_socket(transport, "queue")
    socket.run(
        """{
            for (let number = 0; number < argument; number += 1) socket.send(`${number} ${'x'.repeat(60)}`);
            socket.send('end');
        }""",
        MESSAGES,
    )
    socket.connect()
    assert socket.wait_for_messages(1) == [{"received": MESSAGES + 1}]
    assert received(server, socket.session_id) == [*(f"{number} {'x' * 60}" for number in range(MESSAGES)), "end"]
    assert socket.events == ["connecting", "connect", "message"]


@pytest.mark.parametrize("transport", [each for each in OF_BROWSERS if each != "websocket"])
def test_a_page_that_connects_anew_as_soon_as_it_is_connected_has_a_session(
    open_socket: OpenSocket, server: AppServer, transport: str
) -> None:
    """What on_open sends must not come in one payload with the session id: it would be taken for the next one's.

    Over a WebSocket the client does not connect again there. Over polls it sometimes opens a third session besides,
    whose id comes to the page as a message. Over xhr-polling it keeps two polls under way at once in the beginning, and
    may lose the answer of one of them.
    """
    socket = open_socket(transport, "greeting")
    socket.run(CONNECT_ANEW)
    socket.wait_for("connect", 2)
    session_id = socket.session_id
    assert IS_ID(session_id)
    if transport != "xhr-polling":
        socket.wait_for("message")
    heard: list[str] = []
    for _ in range(6):
        say(server, session_id, "news")
        # Or until it is lost.
        socket.run(
            """new Promise((resolve) => {
                socket.on('message', (text) => text === 'news' && resolve());
                if (socket.log.some(([, text]) => text === 'news')) resolve();
                setTimeout(resolve, 5000);
            })"""
        )
        heard = [text for text in socket.messages if text == "news"]
        if heard:
            break
    assert heard == ["news"]
    greetings = [text for text in socket.messages if text.startswith("greeting")]
    assert greetings in ([f"greeting {session_id}"], [] if transport == "xhr-polling" else None)
    assert socket.session_id == session_id
    assert socket.events.count("disconnect") == 1


@over_polls
def test_a_page_that_disconnects_and_connects_stays_connected(
    open_socket: OpenSocket, intermediary: Intermediary, server: AppServer, transport: str
) -> None:
    """Over jsonp-polling the poll of the session that was left goes on in the page: when it is answered, the client
    polls the new session by it, too, so that two polls replace each other."""
    socket = open_socket(transport, "socket.io").connect()
    socket.wait_for("connect")
    first = socket.session_id
    intermediary.wait_for(f"^GET /socket.io/{transport}/{first}/")
    socket.run("{ socket.disconnect(); socket.connect(); }")
    socket.wait_for("connect", 2)
    second = socket.session_id
    intermediary.wait_for(f"^GET /socket.io/{transport}/{second}/")
    say(server, first, "stale")
    if transport == "jsonp-polling":
        intermediary.wait_for(f"^GET /socket.io/{transport}/{second}/", 2)
    for number in range(20):
        say(server, second, f"news{number}")
        socket.wait_for_last_message(f"news{number}")
    assert [text for text in socket.messages if text.startswith("news")] == [f"news{number}" for number in range(20)]
    events = [event for event in socket.events if event != "message"]
    assert events == ["connecting", "connect", "disconnect", "connecting", "connect"]
    assert socket.session_id == second
    assert polls_of(intermediary, transport) < 60, "polls that replace each other have made each other poll again"


@over_each_transport
def test_a_page_that_is_reloaded_warns_of_nothing(
    open_socket: OpenSocket, intermediary: Intermediary, server: AppServer, transport: str
) -> None:
    before = server.output()
    socket = open_socket(transport, "lively")
    for _ in range(3):
        socket.connect()
        socket.wait_for("connect")
        socket.send("one", "two")
        socket.wait_for_messages(2)
        socket.send("on its way")
        socket.page.reload()
        socket = Socket(socket.page, intermediary.port, transport, resource="lively")
    assert server.output() == before


@pytest.mark.page_errors(*NETWORK_ERRORS)
@over_each_transport
def test_a_client_comes_back_after_the_server_has_closed_its_connection(
    open_socket: OpenSocket, transport: str
) -> None:
    socket = open_socket(transport, "closing", reconnectionDelay=50).connect()
    socket.wait_for("connect")
    first = socket.session_id
    socket.send("bye", "lost")  # the second, for over a stream it would notice the end after 15 seconds alone
    socket.wait_for("reconnect")
    assert socket.session_id != first
