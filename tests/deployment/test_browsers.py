"""Our browser client and the official one, over every transport that browsers have, through each proxy."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

from tests.appserver import START_SECONDS
from tests.compatibility.official_client import Socket as OfficialSocket
from tests.compatibility.page_socket import PageSocket
from tests.deployment.fleet import NODES, Fleet, Proxy
from tests.support import OF_BROWSERS

MESSAGES = 20

AnySocket = PageSocket | OfficialSocket
OpenSocket = Callable[[str], AnySocket]

# What the browser itself notes on the console about a request that failed.
loses_a_process = pytest.mark.page_errors(
    "^console: (Failed to load resource|Refused to execute script|WebSocket connection to)"
)


@pytest.fixture(params=["own", "official"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_socket(fleet: Fleet, proxy: Proxy, kind: str, page: Page) -> Iterator[OpenSocket]:
    """Opens a socket in a page that came through the proxy, too."""
    page.goto(f"http://localhost:{proxy.web_port}/{kind}")
    make: type[AnySocket] = PageSocket if kind == "own" else OfficialSocket
    sockets: list[AnySocket] = []

    def open_socket(transport: str) -> AnySocket:
        socket = make(page, proxy.web_port, transport)
        sockets.append(socket)
        socket.connect()
        socket.wait_for("connect")
        return socket

    yield open_socket
    for socket in sockets:
        socket.disconnect()


def open_at(node: str, transport: str, open_socket: OpenSocket) -> AnySocket:
    """A socket that the proxy has sent to this process."""
    ballast = []
    deadline = time.monotonic() + START_SECONDS
    while not (socket := open_socket(transport)).session_id.startswith(node):
        assert time.monotonic() < deadline, f"the proxy sends nobody to {node}"
        socket.disconnect()
        ballast.append(open_socket("websocket"))  # elsewhere, so that the process's turn comes
        socket.page.wait_for_timeout(50)
    for weight in ballast:
        weight.disconnect()
    return socket


def test_all_clients_hear_all_messages_once_and_in_order(fleet: Fleet, open_socket: OpenSocket) -> None:
    names = [*OF_BROWSERS, *NODES]
    sockets = [open_socket(transport) for transport in OF_BROWSERS]
    sockets += [open_at(node, "websocket", open_socket) for node in NODES]
    for name, socket in zip(names, sockets, strict=True):
        socket.send(*({"by": name, "number": number, "text": "é中😀"} for number in range(MESSAGES)))
    for socket in sockets:
        socket.wait_for("message", len(sockets) * MESSAGES)
    sockets[0].send("end")
    for socket in sockets:
        socket.wait_for("message", len(sockets) * MESSAGES + 1)
        *messages, end = socket.messages
        assert end == "end"
        heard = collections.defaultdict(list)
        for message in messages:
            heard[message["by"]].append(message["number"])
        assert heard == {name: list(range(MESSAGES)) for name in names}


@loses_a_process
def test_a_process_is_killed_and_its_clients_go_on_over_another(
    fleet: Fleet, kind: str, open_socket: OpenSocket
) -> None:
    # The official client takes 15 seconds to see that a stream has ended, and over jsonp-polling posts to its first
    # session for ever.
    transports = OF_BROWSERS if kind == "own" else ("websocket", "xhr-polling")
    bystander = open_at("a", "websocket", open_socket)
    sockets = [open_at("b", transport, open_socket) for transport in transports]
    fleet.nodes["b"].kill()
    try:
        for socket in sockets:
            socket.wait_for("reconnect")
            assert socket.session_id[0] in "ac"
        for socket, transport in zip(sockets, transports, strict=True):
            socket.send(f"back over {transport}")
        said = [f"back over {transport}" for transport in transports]
        for socket in (bystander, *sockets):
            socket.wait_for("message", len(said))
            assert sorted(socket.messages) == sorted(said)
        assert set(bystander.events) <= {"connecting", "connect", "message"}
    finally:
        fleet.nodes["b"].start()
