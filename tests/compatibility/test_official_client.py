"""The official browser client 0.6.3, as npm has it in socket.io 0.6.18, in each engine against our server.

The client runs unread and unchanged. Two of its transports need what browsers no longer have: official_emulation.js
gives the page Gecko's XMLHttpRequest.multipart and Internet Explorer's htmlfile. Every test runs from a page on the
server's own origin and from one on another port; in the table the two share a cell. htmlfile is left out of the second:
there the client itself declines it. In WebKit xhr-multipart can't be emulated. What has to wait for most of a minute
waits in all engines at once, beside the other tests.

What the client can't do, and how the tests take it:

- It does not notice that a stream (xhr-multipart, htmlfile) has ended, but by 15 seconds of silence, or by a POST that
  fails. So a close by the server takes that long to be seen; and after a restart of the server a message has to be
  sent for the client to notice, which is lost.
- On a socket that is disconnected while its POST is under way it never posts again. So before `disconnect` the tests
  wait for the answers to its POSTs.
- Over jsonp-polling a second socket that connects while the first one polls reads no more once that one has gone: it
  puts its scripts before the first one's. So the tests connect both at once.
- Over jsonp-polling it posts to the first session of a page's socket for ever, also after it has connected again. So
  there a new connection is tested with messages from the server.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.intermediary import Intermediary
from tests.browser_fixtures import ENGINES, NETWORK_ERRORS
from tests.compatibility.official_client import CLIENT, Socket
from tests.compatibility.table import Scenario
from tests.engines import Page
from tests.programs import OF_ENGINES, path_of
from tests.support import OF_BROWSERS, STREAMING

if TYPE_CHECKING:
    from tests.browser_fixtures import Browsers

APP = Path(__file__).with_name("official_app.py")

PERSISTENT = ("websocket", *STREAMING)
ORIGINS = ("own origin", "other port")

PLACES = [(t, origin) for t in OF_BROWSERS for origin in ORIGINS if (t, origin) != ("htmlfile", "other port")]

CANNOT = {
    ("webkit", "xhr-multipart"): "WebKit cancels each multipart/x-mixed-replace response that is no image or page, "
    "so that Gecko's XMLHttpRequest.multipart can't be emulated there",
    ("webkit", "htmlfile"): "WebKit runs the scripts that a page in a frame begins with only when more of it comes, so "
    "that Internet Explorer's htmlfile, emulated by a frame, connects there no sooner than a heartbeat comes",
}

pytestmark = [
    pytest.mark.engines(),
    pytest.mark.compatibility(client="official browser client 0.6.3", cannot=CANNOT),
]
provokes_network_errors = pytest.mark.page_errors(*NETWORK_ERRORS)
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


def shows(*scenarios: str, **keywords: Any) -> pytest.MarkDecorator:
    """The rows of the table that a test fills."""
    return pytest.mark.compatibility(scenarios=scenarios, **keywords)


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
def intermediary(start_intermediary: Callable[[int], Intermediary], server: AppServer) -> Intermediary:
    """What stands between the pages and the server, for tests that ask for it."""
    return start_intermediary(server.port)


@pytest.fixture
def open_socket(request: pytest.FixtureRequest, page: Page, server: AppServer, other_server: AppServer) -> OpenSocket:
    """Open the page of an origin, with a socket in it, over the intermediary if there is one."""
    between = "intermediary" in request.fixturenames
    reached: AppServer | Intermediary = request.getfixturevalue("intermediary") if between else server

    def open_socket(transport: str, origin: str, **options: Any) -> Socket:
        page.goto({"own origin": reached, "other port": other_server}[origin].url)
        return Socket(page, reached.port, transport, **options)

    return open_socket


class Idle(NamedTuple):
    """Sockets in pages of their own, with their engines, that are left alone while the other tests run."""

    since: float
    silent: list[tuple[str, Socket]]
    closed_by_server: list[tuple[str, Socket]]


@pytest.fixture(scope="module")
def idle(browsers: Browsers, server: AppServer, other_server: AppServer) -> Iterator[Idle]:
    """Sockets that idle in all engines. In one context there are less than the six connections of a host."""
    idle = Idle(time.monotonic(), [], [])
    contexts = []
    for engine in ENGINES:
        for origin, sockets in [*((origin, idle.silent) for origin in ORIGINS), ("", idle.closed_by_server)]:
            context = browsers[engine].new_context()
            contexts.append(context)
            for transport, place in PLACES:
                if (engine, transport) in CANNOT or (origin != place if origin else transport not in STREAMING):
                    continue
                page = context.new_page()
                page.goto({"own origin": server, "other port": other_server}[place].url)
                socket = Socket(page, server.port, transport, reconnect=bool(origin)).connect()
                if not origin:
                    socket.send("last words", "close")
                sockets.append((engine, socket))
    yield idle._replace(since=time.monotonic())
    for context in contexts:
        context.close()


@pytest.fixture(scope="module", autouse=True)
def _idle_from_the_first_test_on(request: pytest.FixtureRequest) -> None:
    """Have the sockets idle beside the other tests, so that nobody has to wait for them."""
    programs = [name for names in OF_ENGINES.values() for name in names]
    mine = (item for item in request.session.items if item.path == request.path)
    if all(map(path_of, programs)) and any("idle" in getattr(item, "fixturenames", ()) for item in mine):
        request.getfixturevalue("idle")


in_all_engines_at_once = pytest.mark.needs(*(name for names in OF_ENGINES.values() for name in names))


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


@shows("connects", "messages queued before connect", "extra parameters")
@everywhere
def test_connects(open_socket: OpenSocket, transport: str, origin: str, scenario: Scenario) -> None:
    socket = open_socket(transport, origin, resource="chat/123")
    queued = ["first é中😀", {"second": 2}, "third"]
    socket.send(*queued)
    with scenario("connects"):
        socket.connect().wait_for("connect")
    with scenario("messages queued before connect"):
        assert socket.wait_for_messages(3) == queued
        assert socket.events == ["connecting", "connect", "message", "message", "message"]
    with scenario("extra parameters"):
        socket.send("about")
        assert socket.wait_for_messages(4)[3] == {"extra": "123", "transport": transport}


@shows("two sockets in one page")
@everywhere
def test_two_sockets_in_one_page(
    open_socket: OpenSocket, server: AppServer, transport: str, origin: str, scenario: Scenario
) -> None:
    first = open_socket(transport, origin)
    second = Socket(first.page, server.port, transport, resource="chat/2")
    first.page.evaluate("([first, second]) => { first.connect(); second.connect(); }", [first.handle, second.handle])
    with scenario("two sockets in one page"):
        first.send("one", "about")
        second.send("two", "about")
        assert first.wait_for_messages(2) == ["one", {"extra": "", "transport": transport}]
        assert second.wait_for_messages(2) == ["two", {"extra": "2", "transport": transport}]
        first.disconnect()
        second.send("three")
        assert second.wait_for_messages(3)[2] == "three"
        assert len(first.messages) == 2


@pytest.mark.engines("chromium", because="the client's script decides it by itself")
@pytest.mark.page_errors("No transport available")
@pytest.mark.parametrize("transport", ["htmlfile"])
def test_another_port_is_declined_by_the_client(open_socket: OpenSocket, page: PlaywrightPage, transport: str) -> None:
    with page.expect_console_message(lambda message: message.text == "No transport available"):
        socket = open_socket(transport, "other port").connect()
    assert socket.log == []


# Messages


class Talk:
    """What is said over one socket, scenario by scenario."""

    def __init__(self, socket: Socket, server: AppServer, intermediary: Intermediary) -> None:
        self._socket = socket
        self._server = server
        self._intermediary = intermediary

    def hear(self, say: Callable[[], object], *messages: Any) -> None:
        """Say something, and hear these messages, no more and no less."""
        before = len(self._socket.messages)
        say()
        assert self._socket.wait_for_messages(before + len(messages))[before:] == list(messages)

    def echo(self, *messages: Any) -> None:
        self.hear(lambda: self._socket.send(*messages), *messages)

    def batch(self, payload: str, *messages: Any) -> None:
        """Send messages together, which makes one payload."""
        before = len(self._intermediary.payloads)
        self.hear(lambda: self._socket.send_batch(*messages), *(each for each in messages if each != "~h~1"))
        assert self._intermediary.payloads[before:] == [payload]

    def received(self, count: int) -> list[Any]:
        """What the server has received last."""
        return received(self._server, self._socket.session_id)[-count:]


NESTED = {"é中😀": {"list": [1, -2.5, None, True, [], {"deep": [{"er": '</script>"\u2028'}]}], "empty": {}}, "": ""}
MEGABYTE = ("é中😀 " + "x" * 993 + "\n") * 1100  # past the default of max_message_size
RAPID = [str(number) for number in range(200)]
SEND_RAPIDLY = """{
    let number = 0;
    const timer = setInterval(() => {
        socket.send(`${number}`);
        number += 1;
        if (number === 200) clearInterval(timer);
    }, 1);
}"""


@shows(
    "echo of ASCII",
    "non-ASCII before another frame in one batch",
    "heartbeat echo and message in one batch",
    "nested JSON",
    "hostile text",
    "burst in order",
    "200 rapid messages once and in order",
    "1 MB each way",
)
@everywhere
def test_messages(
    open_socket: OpenSocket,
    intermediary: Intermediary,
    server: AppServer,
    transport: str,
    origin: str,
    scenario: Scenario,
) -> None:
    socket = open_socket(transport, origin).connect()
    socket.wait_for("connect")
    talk = Talk(socket, server, intermediary)
    with scenario("echo of ASCII"):
        talk.echo("Hello, world!")
    with scenario("non-ASCII before another frame in one batch"):
        talk.batch("~m~4~m~é中😀~m~8~m~after it", "é中😀", "after it")
        talk.hear(lambda: socket.send({"together": ["😀é中", "after it"]}), "😀é中", "after it")
    with scenario("heartbeat echo and message in one batch"):
        talk.batch("~m~4~m~~h~1~m~19~m~after the heartbeat", "~h~1", "after the heartbeat")
        assert talk.received(2) == [{"together": ["😀é中", "after it"]}, "after the heartbeat"]
    with scenario("nested JSON"):
        talk.echo(NESTED)
    with scenario("hostile text"):
        for text in HOSTILE:
            talk.echo(text)
        talk.hear(lambda: socket.send_batch(*HOSTILE), *HOSTILE)
        assert talk.received(2 * len(HOSTILE)) == [*HOSTILE, *HOSTILE]
        assert socket.page.title() == "The official browser client"
    with scenario("burst in order"):
        talk.hear(lambda: socket.send("burst", "end"), *(f"é中😀 {number}" for number in range(100)), "end")
    with scenario("200 rapid messages once and in order"):
        talk.hear(lambda: socket.run(SEND_RAPIDLY), *RAPID)
        talk.echo("end")
        assert talk.received(201) == [*RAPID, "end"]
    with scenario("1 MB each way"):
        talk.echo(MEGABYTE, "after it")


@at_persistent
def test_heartbeat_echoed_while_a_message_is_handled(
    open_socket: OpenSocket, intermediary: Intermediary, server: AppServer, transport: str, origin: str
) -> None:
    socket = open_socket(transport, origin, resource="lively").connect()
    socket.send("hold")
    assert socket.wait_for_messages(1) == ["a heartbeat was sent"]
    socket.send("after")
    release(server, socket.session_id)
    assert socket.wait_for_messages(2) == ["a heartbeat was sent", "after"]
    payloads = intermediary.payloads
    if transport in STREAMING:  # nothing is posted while a POST is under way
        assert payloads[1].startswith("~m~4~m~~h~1")
        assert "~m~5~m~after" in payloads[1]
    else:
        assert "~m~4~m~~h~1" in payloads[: payloads.index("~m~5~m~after")]


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


@shows("server close is seen", transports=STREAMING, engines=ENGINES)
@in_all_engines_at_once
def test_the_ends_of_streams_are_seen(idle: Idle, scenario: Scenario) -> None:
    for engine, socket in idle.closed_by_server:
        with scenario("server close is seen", socket.transport, engine):
            socket.wait_for("disconnect")
            assert socket.events == ["connecting", "connect", "message", "disconnect"]


@shows("echo after 45 idle seconds", transports=OF_BROWSERS, engines=ENGINES)
@in_all_engines_at_once
def test_45_idle_seconds(idle: Idle, scenario: Scenario) -> None:
    time.sleep(max(0, 46 - (time.monotonic() - idle.since)))  # one for the last of them to connect
    for engine, socket in idle.silent:
        with scenario("echo after 45 idle seconds", socket.transport, engine):
            socket.send("still here")
            assert socket.wait_for_messages(1) == ["still here"]
            assert socket.events == ["connecting", "connect", "message"]


@shows("reconnects after the server restarts", transports=OF_BROWSERS, engines=ENGINES)
@in_all_engines_at_once
def test_reconnects_after_the_server_restarts(idle: Idle, server: AppServer, scenario: Scenario) -> None:
    server.kill()
    server.start()
    for engine, socket in idle.silent:
        with scenario("reconnects after the server restarts", socket.transport, engine):
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
