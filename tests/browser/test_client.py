"""The browser client, `tornadio/static/socket.io.js`, in a real browser against the real server."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, WebSocket, WebSocketRoute

from tests.appserver import AppServer
from tests.browser.client_pages import APP, Client
from tests.support import OF_BROWSERS, POLLING

PERSISTENT = ("websocket", "xhr-multipart", "htmlfile")
POSTING = ("xhr-multipart", "xhr-polling", "jsonp-polling", "htmlfile")

# What the browser itself notes on the console about a request that failed. Exceptions are never allowed for.
NETWORK_ERRORS = r"^console: (Failed to load resource|Refused to execute script|WebSocket connection to)"

# Well below the seconds of silence after which a client gives up, well above what a busy machine needs.
AT_ONCE_SECONDS = 5
EVENTUALLY_SECONDS = 30

over = pytest.mark.parametrize
over_each_transport = over("transport", OF_BROWSERS)
over_each_transport_and_origin = over(
    ("transport", "origin"),
    [(transport, "same origin") for transport in OF_BROWSERS]
    + [(transport, "other port") for transport in OF_BROWSERS if transport != "htmlfile"],
)
provokes_network_errors = pytest.mark.page_errors(NETWORK_ERRORS)


OpenClient = Callable[..., Client]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """The server for all tests that leave it running."""
    server = AppServer(APP, (), tmp_path_factory.mktemp("server") / "output.txt")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """One more on another port, to get pages from."""
    server = AppServer(APP, (), tmp_path_factory.mktemp("other") / "output.txt")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def open_client(page: Page, server: AppServer, other_server: AppServer) -> OpenClient:
    """Open the page of an origin with a socket that may use these transports."""

    def open_client(*transports: str, origin: str = "same origin", **options: Any) -> Client:
        page.goto({"same origin": server, "other port": other_server}[origin].url)
        return Client(page, server.port, *transports, **options)

    return open_client


def session(server: AppServer, session_id: str) -> dict[str, Any]:
    """What the server knows of a session."""
    with urllib.request.urlopen(f"{server.url}/sessions/{session_id}") as response:
        known: dict[str, Any] = json.load(response)
    return known


def eventually(read: Callable[[], Any], wanted: Any) -> None:
    deadline = time.monotonic() + EVENTUALLY_SECONDS
    while (found := read()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == wanted


def is_post(request: Request) -> bool:
    return request.method == "POST"


# Connecting


@over_each_transport_and_origin
def test_connects(open_client: OpenClient, transport: str, origin: str) -> None:
    client = open_client(transport, origin=origin)
    assert client.state == [False, False, False]
    assert client.run("[socket.connect() === socket, socket.connecting]") == [True, True]
    client.wait_for("connect")
    assert client.state == [True, False, False]
    assert client.type == transport
    client.send("about")
    (about,) = client.wait_for_messages(1)
    assert (about["transport"], about["session"]) == (transport, client.session_id)
    assert client.log == [["connecting", transport], ["connect"], ["message", about]]


def test_without_options_connects_to_the_server_of_the_page(page: Page, server: AppServer) -> None:
    page.goto(server.url)
    page.evaluate("window.socket = createSocket().connect()")
    page.wait_for_function("socket.connected")
    assert page.evaluate("socket.transport.type") == "websocket"


def test_connecting_twice_makes_one_connection(open_client: OpenClient) -> None:
    client = open_client("websocket").connect().connect()
    client.wait_for("connect")
    client.connect().send("hello")
    client.wait_for_messages(1)
    assert client.log == [["connecting", "websocket"], ["connect"], ["message", "hello"]]


@over("transport", ["jsonp-polling", "htmlfile"])
def test_connecting_early_does_not_hold_back_the_load_of_the_page(
    page: Page, server: AppServer, transport: str
) -> None:
    html = (
        "<!DOCTYPE html><link rel=icon href=data:,><script src=/socket.io/socket.io.js></script>"
        f"<script>window.socket = new io.Socket(null, {{transports: ['{transport}']}}).connect()</script>"
    )
    page.route(f"{server.url}/early", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{server.url}/early", wait_until="load")
    page.wait_for_function("socket.connected")


# Messages


HOSTILE_TEXTS = (
    "</script><script>document.title = 'lost'</script>",
    "<!--<script>",
    "\u2028 \u2029 \0 \" ' \\ \\u0041 &amp; %41 + ~m~ ]]>",
    "~m~3~m~abc",
    "trailing blanks   ",
    "   ",
    "LF\nCRLF\r\nCR\rboth\n\r\n",
    "\n--socketio\n",
    "",
    "\ufeff",
)


@over(
    "messages",
    [
        pytest.param(["hello"], id="ascii"),
        pytest.param(["é中😀", "after"], id="not ascii, then another frame"),
        pytest.param(
            [{"a": {"b": [1, {"é中😀": None}], "": "\u2028</script>"}}, 3, 1.5, True, False], id="nested JSON"
        ),
        pytest.param(["x" * 1_000_000], id="a megabyte"),
    ],
)
@over_each_transport
def test_messages_return_unchanged(open_client: OpenClient, transport: str, messages: list[Any]) -> None:
    client = open_client(transport).connect()
    client.send(*messages)
    assert client.wait_for_messages(len(messages)) == messages


@over_each_transport_and_origin
def test_hostile_texts_return_unchanged(open_client: OpenClient, transport: str, origin: str) -> None:
    client = open_client(transport, origin=origin).connect()
    client.send(*HOSTILE_TEXTS)
    assert client.wait_for_messages(len(HOSTILE_TEXTS)) == list(HOSTILE_TEXTS)


@over_each_transport
def test_text_that_looks_like_a_heartbeat_or_json_arrives_as_text(
    open_client: OpenClient, server: AppServer, transport: str
) -> None:
    client = open_client(transport, resource="silent").connect()
    client.send("~h~1", "~j~{", '~j~"x"', "end")
    client.wait_for("connect")
    eventually(lambda: session(server, client.session_id)["received"], ["~h~1", "~j~{", '~j~"x"', "end"])


@over_each_transport
def test_an_array_is_a_message_for_each_element(open_client: OpenClient, server: AppServer, transport: str) -> None:
    client = open_client(transport, resource="silent").connect()
    client.wait_for("connect")
    client.send(["a", {"b": [1]}, "é", 4], [], ["end", [["list"]]])
    messages = ["a", {"b": [1]}, "é", 4, "end", [["list"]]]
    eventually(lambda: session(server, client.session_id)["received"], messages)


@over_each_transport
def test_an_unmatched_surrogate_becomes_a_replacement_character(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport).connect()
    client.run(r"{ socket.send('a\ud83d'); socket.send('\ude00b\ud83d\ude00'); socket.send('end'); }")
    assert client.wait_for_messages(3) == ["a\ufffd", "\ufffdb😀", "end"]


@over_each_transport_and_origin
def test_rapid_messages_arrive_once_and_in_order(open_client: OpenClient, transport: str, origin: str) -> None:
    client = open_client(transport, origin=origin).connect()
    client.wait_for("connect")
    messages = [f"message {number}" for number in range(200)]
    client.send(*messages, "about")
    assert client.wait_for_messages(201)[:200] == messages


@over("transport", POSTING)
def test_what_is_queued_during_a_post_is_one_batch(open_client: OpenClient, page: Page, transport: str) -> None:
    client = open_client(transport).connect()
    client.wait_for("connect")
    posts: list[Request] = []
    page.on("request", lambda request: posts.append(request) if is_post(request) else None)
    client.send(*range(100))
    assert client.wait_for_messages(100) == list(range(100))
    assert len(posts) == 2


@over_each_transport
def test_a_long_queue_travels_in_payloads_that_the_server_takes(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport)
    messages = [f"{number}" + "中" * 60_000 for number in range(6)]  # 1,080,000 bytes
    client.send(*messages)
    client.connect()
    assert client.wait_for_messages(6) == messages


@over_each_transport_and_origin
def test_messages_wait_for_the_connection(open_client: OpenClient, transport: str, origin: str) -> None:
    client = open_client(transport, origin=origin)
    client.run("{ socket.send('before').send({connect: 'too'}).connect().send('while connecting'); }")
    assert client.wait_for_messages(3) == ["before", {"connect": "too"}, "while connecting"]


@over_each_transport
def test_what_is_sent_at_connect_comes_after_what_waited(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport)
    client.run("{ socket.on('connect', () => socket.send('at connect')).send('before').connect(); }")
    assert client.wait_for_messages(2) == ["before", "at connect"]


@over("transport", PERSISTENT)
def test_heartbeats_are_echoed_at_once(open_client: OpenClient, page: Page, transport: str) -> None:
    sent: list[str] = []

    def note_frames(websocket: WebSocket) -> None:
        websocket.on("framesent", lambda frame: sent.append(str(frame)))

    page.on("websocket", note_frames)
    page.on("request", lambda request: sent.append(request.post_data or "") if is_post(request) else None)
    client = open_client(transport, resource="impatient").connect()
    client.wait_for("connect")
    deadline = time.monotonic() + EVENTUALLY_SECONDS
    while len(sent) < 2 and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    prefix = "" if transport == "websocket" else "data="
    assert sent[:2] == [f"{prefix}~m~4~m~~h~1", f"{prefix}~m~4~m~~h~2"]
    assert client.messages == []


@over("transport", POLLING)
def test_polls_that_end_empty_go_on(open_client: OpenClient, page: Page, transport: str) -> None:
    client = open_client(transport, resource="impatient").connect()
    client.wait_for("connect")
    for _ in range(2):
        with page.expect_response(lambda response: client.session_id in response.url):
            pass
    client.send("hello")
    assert client.wait_for_messages(1) == ["hello"]
    assert client.log[-1] == ["message", "hello"]


def test_a_multipart_stream_may_arrive_byte_by_byte(open_client: OpenClient) -> None:
    client = open_client("xhr-multipart", resource="trickle", reconnect=False).connect()
    client.wait_for("disconnect")
    assert client.session_id == "sid"
    assert client.messages == ["é中😀", "a\n\n\nb", "end"]


# The end of a connection


@provokes_network_errors
@over_each_transport_and_origin
def test_a_close_by_the_server_is_seen_at_once(open_client: OpenClient, transport: str, origin: str) -> None:
    client = open_client(transport, origin=origin, reconnect=False).connect()
    client.wait_for("connect")
    started = time.monotonic()
    client.send("close")
    client.wait_for("disconnect")
    assert time.monotonic() - started < AT_ONCE_SECONDS
    assert client.state == [False, False, False]
    assert client.log[2:] == [["disconnect"]]


@over_each_transport
def test_disconnects_and_connects_again(open_client: OpenClient, server: AppServer, transport: str) -> None:
    client = open_client(transport).connect()
    client.wait_for("connect")
    first = client.session_id
    client.disconnect()
    assert client.log == [["connecting", transport], ["connect"], ["disconnect"]]
    assert client.state == [False, False, False]
    if transport in PERSISTENT:
        eventually(lambda: session(server, first)["ended"], True)
    client.connect().send("hello again")
    assert client.wait_for_messages(1) == ["hello again"]
    assert client.session_id != first
    assert client.log[3:] == [["connecting", transport], ["connect"], ["message", "hello again"]]


@over("transport", POLLING)
def test_disconnect_ends_the_poll(open_client: OpenClient, page: Page, transport: str) -> None:
    client = open_client(transport)
    with page.expect_request(lambda request: not request.url.split(transport)[1].startswith("//")) as poll:
        client.connect()
    with page.expect_event("requestfailed", lambda request: request == poll.value):
        client.disconnect()


@over_each_transport
def test_messages_before_disconnect_still_arrive(open_client: OpenClient, server: AppServer, transport: str) -> None:
    client = open_client(transport).connect()
    client.wait_for("connect")
    client.run("{ socket.send('one'); socket.send('two'); socket.disconnect(); socket.send('for the next'); }")
    eventually(lambda: session(server, client.session_id)["received"], ["one", "two"])
    if transport in PERSISTENT:
        eventually(lambda: session(server, client.session_id)["ended"], True)


@over_each_transport
def test_disconnect_while_connecting_is_silent(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport)
    client.run("{ socket.connect(); socket.send('never'); socket.disconnect(); }")
    assert client.state == [False, False, False]
    client.connect().send("hello")
    assert client.wait_for_messages(1) == ["hello"]
    assert client.log == [["connecting", transport], ["connecting", transport], ["connect"], ["message", "hello"]]


@over("transport", PERSISTENT)
def test_leaving_the_page_ends_the_connection(
    open_client: OpenClient, page: Page, server: AppServer, transport: str
) -> None:
    client = open_client(transport).connect()
    client.wait_for("connect")
    session_id = client.session_id
    page.goto("about:blank")
    eventually(lambda: session(server, session_id)["ended"], True)


@over_each_transport
def test_a_page_that_comes_back_reconnects(open_client: OpenClient, transport: str) -> None:
    """Playwright's Chromium keeps no pages it left, so the page is only told that it is left."""
    client = open_client(transport, reconnectionDelay=10).connect()
    client.wait_for("connect")
    client.page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    client.send("hello")
    assert client.wait_for_messages(1) == ["hello"]
    events = " ".join(event[0] for event in client.log[2:])
    assert events == "disconnect reconnecting connecting connect reconnect message"


def test_a_page_that_comes_back_begins_its_attempt_anew(open_client: OpenClient, page: Page) -> None:
    page.route("**/xhr-polling/**", lambda route: None, times=1)
    client = open_client("xhr-polling")
    with page.expect_request("**/xhr-polling/**"):
        client.connect()
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    client.wait_for("connect")
    assert client.log == [["connecting", "xhr-polling"], ["connecting", "xhr-polling"], ["connect"]]


@over("transport", PERSISTENT)
def test_silence_ends_the_connection(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport, reconnect=False, transportOptions={transport: {"timeout": 200}}).connect()
    client.wait_for("disconnect")
    assert client.log == [["connecting", transport], ["connect"], ["disconnect"]]


@over("transport", POLLING)
def test_a_poll_without_an_answer_ends_the_connection(open_client: OpenClient, page: Page, transport: str) -> None:
    page.clock.install()
    page.route(re.compile(rf"/{transport}/\w"), lambda route: None)
    client = open_client(transport, reconnect=False).connect()
    client.wait_for("connect")
    page.clock.fast_forward(50_000)
    assert client.state == [True, False, False]
    page.clock.fast_forward(10_000)
    client.wait_for("disconnect")


@over("transport", POLLING)
def test_a_post_without_an_answer_ends_the_connection(open_client: OpenClient, page: Page, transport: str) -> None:
    page.clock.install()
    client = open_client(transport, resource="impatient", reconnect=False).connect()
    client.wait_for("connect")
    answer_posts(page, lambda route: None)
    client.send("hello")
    page.clock.fast_forward(50_000)
    for _ in range(2):  # polls are answered, so it is not for their silence
        with page.expect_response(lambda response: client.session_id in response.url):
            pass
    assert client.state == [True, False, False]
    page.clock.fast_forward(10_000)
    client.wait_for("disconnect")


@over(
    ("transport", "malformed"),
    [
        pytest.param("xhr-polling", "~m~9~m~cut off", id="too short"),
        pytest.param("xhr-polling", "~m~6~m~longer?~m", id="too long"),
        pytest.param("xhr-polling", "~m~x~m~abc", id="no length"),
        pytest.param("xhr-polling", "<html>", id="no frame"),
        pytest.param("xhr-polling", "~m~6~m~~j~{x}", id="no JSON"),
        pytest.param("jsonp-polling", "<html>", id="over jsonp-polling"),
        pytest.param("websocket", "<html>", id="over websocket"),
    ],
)
def test_a_malformed_payload_is_a_disconnect(
    open_client: OpenClient, page: Page, transport: str, malformed: str
) -> None:
    payload = "~m~3~m~sid~m~4~m~good" + malformed
    body = f"io.JSONP[0]._({json.dumps(payload)});" if transport == "jsonp-polling" else payload
    page.route(f"**/{transport}/**", lambda route: route.fulfill(body=body))
    page.route_web_socket("**/websocket", lambda websocket: websocket.send(payload))
    client = open_client(transport, reconnect=False).connect()
    client.wait_for("disconnect")
    assert client.messages[0] == "good"
    assert client.log[-1] == ["disconnect"]


def test_a_binary_message_is_a_disconnect(open_client: OpenClient, page: Page) -> None:
    def greet(websocket: WebSocketRoute) -> None:
        websocket.send("~m~3~m~sid")
        websocket.send(b"~m~3~m~abc")

    page.route_web_socket("**/websocket", greet)
    client = open_client("websocket", reconnect=False).connect()
    client.wait_for("disconnect")
    assert client.log == [["connecting", "websocket"], ["connect"], ["disconnect"]]


@provokes_network_errors
@over("status", [204, 500])
@over("transport", POLLING)
def test_a_poll_answered_with_any_status_but_200_is_a_disconnect(
    open_client: OpenClient, page: Page, transport: str, status: int
) -> None:
    page.route(re.compile(rf"/{transport}/\w"), lambda route: route.fulfill(status=status))
    client = open_client(transport, reconnect=False).connect()
    client.wait_for("disconnect")
    assert client.log == [["connecting", transport], ["connect"], ["disconnect"]]


@provokes_network_errors
@over("status", [204, 500])
@over("transport", POSTING)
def test_a_post_answered_with_any_status_but_200_is_a_disconnect(
    open_client: OpenClient, page: Page, transport: str, status: int
) -> None:
    client = open_client(transport, reconnect=False).connect()
    client.wait_for("connect")
    answer_posts(page, lambda route: route.fulfill(status=status))
    client.send("hello")
    client.wait_for("disconnect")
    assert client.log[2:] == [["disconnect"]]


def answer_posts(page: Page, answer: Callable[[Route], object]) -> None:
    page.route(
        re.compile(r"/(send|\d+/\d+)$"), lambda route: answer(route) if is_post(route.request) else route.continue_()
    )


# Reconnecting


@provokes_network_errors
@over_each_transport
def test_reconnects_when_the_server_was_killed_and_started_again(
    app_server: Callable[..., AppServer], page: Page, transport: str
) -> None:
    server = app_server(APP)
    page.goto(server.url)
    client = Client(page, server.port, transport, reconnectionDelay=50).connect()
    client.send("one")
    client.wait_for_messages(1)
    started = time.monotonic()
    server.kill()
    client.wait_for("disconnect")
    assert time.monotonic() - started < AT_ONCE_SECONDS
    assert client.state[0] is False
    assert client.run("socket.reconnecting")
    client.send("two")
    server.start()
    client.wait_for("reconnect")
    assert client.state == [True, False, False]
    client.send("three")
    client.send("four")
    assert client.wait_for_messages(4) == ["one", "two", "three", "four"]
    attempts = [event[2] for event in client.log if event[0] == "reconnecting"]
    assert attempts == list(range(1, len(attempts) + 1))
    assert ["reconnect", transport, len(attempts)] in client.log
    assert session(server, client.session_id)["received"] == ["two", "three", "four"]


@provokes_network_errors
@over("transport", POSTING)
def test_a_failed_post_is_not_sent_again_and_what_waited_behind_it_is_sent_later(
    open_client: OpenClient, page: Page, server: AppServer, transport: str
) -> None:
    client = open_client(transport, reconnectionDelay=10).connect()
    client.wait_for("connect")
    first = client.session_id
    answer_posts(page, lambda route: route.abort())
    client.run("socket.on('disconnect', () => socket.send('three'))")
    client.send("lost", "one", "two")
    client.wait_for("disconnect")
    page.unroute_all()
    client.wait_for("reconnect")
    assert client.wait_for_messages(3) == ["one", "two", "three"]
    assert session(server, client.session_id)["received"] == ["one", "two", "three"]
    assert session(server, first)["received"] == []


@provokes_network_errors
@over("transport", ["websocket", "xhr-polling"])
def test_reconnection_delays_double_until_it_gives_up(
    app_server: Callable[..., AppServer], page: Page, transport: str
) -> None:
    server = app_server(APP)
    page.goto(server.url)
    client = Client(page, server.port, transport, reconnectionDelay=20, maxReconnectionAttempts=3).connect()
    client.wait_for("connect")
    server.kill()
    client.wait_for("reconnect_failed")
    assert [event[1:] for event in client.log if event[0] == "reconnecting"] == [[20, 1], [40, 2], [80, 3]]
    assert client.state == [False, False, False]
    assert "connect_failed" not in [event[0] for event in client.log]
    server.start()
    client.connect().send("hello")
    assert client.wait_for_messages(1) == ["hello"]


@provokes_network_errors
def test_reconnects_over_another_transport_when_the_one_that_worked_does_not(
    open_client: OpenClient, page: Page
) -> None:
    client = open_client("xhr-multipart", "xhr-polling", reconnectionDelay=10).connect()
    client.wait_for("connect")
    page.route("**/xhr-multipart//**", lambda route: route.fulfill(status=503))
    client.send("close")
    client.wait_for("reconnect")
    assert client.log[-1] == ["reconnect", "xhr-polling", 3]
    tried = [event[1] for event in client.log if event[0] == "connecting"]
    assert tried == ["xhr-multipart"] * 4 + ["xhr-polling"]


@over("event", ["disconnect", "reconnecting"])
def test_disconnect_stops_the_reconnecting(open_client: OpenClient, event: str) -> None:
    client = open_client("websocket", reconnectionDelay=10).connect()
    client.wait_for("connect")
    client.run("{ socket.on(argument, () => socket.disconnect()); }", event)
    client.send("close")
    client.wait_for(event)
    assert client.state == [False, False, False]
    log = client.log
    client.page.wait_for_timeout(100)
    assert client.log == log


def test_connect_in_a_disconnect_listener_reconnects_now(open_client: OpenClient) -> None:
    client = open_client("websocket", reconnectionDelay=1_000_000).connect()
    client.wait_for("connect")
    client.run("{ socket.on('disconnect', () => socket.connect()); }")
    client.send("close")
    client.wait_for("reconnect")
    assert client.log[2:] == [["disconnect"], ["connecting", "websocket"], ["connect"], ["reconnect", "websocket", 0]]


# Choosing a transport


@provokes_network_errors
@over("transport", [transport for transport in OF_BROWSERS if transport != "xhr-polling"])
def test_the_next_transport_is_tried_when_one_is_refused(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport, "xhr-polling", resource="plain").connect()
    client.send("hello")
    assert client.wait_for_messages(1) == ["hello"]
    assert client.log[:3] == [["connecting", transport], ["connecting", "xhr-polling"], ["connect"]]
    assert client.type == "xhr-polling"


@over("transport", POSTING)
def test_the_next_transport_is_tried_when_one_does_not_answer(
    open_client: OpenClient, page: Page, transport: str
) -> None:
    page.route(f"**/{transport}/**", lambda route: None)
    client = open_client(transport, "websocket", connectTimeout=300).connect()
    client.wait_for("connect")
    assert client.log == [["connecting", transport], ["connecting", "websocket"], ["connect"]]


@provokes_network_errors
def test_connect_fails_when_all_transports_were_tried(open_client: OpenClient) -> None:
    client = open_client(resource="never").connect()
    client.wait_for("connect_failed")
    assert client.log == [*(["connecting", transport] for transport in OF_BROWSERS), ["connect_failed"]]
    assert client.state == [False, False, False]


@provokes_network_errors
def test_without_try_transports_only_the_first_is_tried(open_client: OpenClient) -> None:
    client = open_client(resource="plain", tryTransportsOnConnectTimeout=False).connect()
    client.wait_for("connect_failed")
    assert client.log == [["connecting", "websocket"], ["connect_failed"]]


def test_transports_that_cannot_work_are_left_out(open_client: OpenClient) -> None:
    client = open_client("flashsocket", "htmlfile", "nonsense", origin="other port").connect()
    client.wait_for("connect_failed")
    assert client.log == [["connect_failed"]]
    assert client.run("socket.transport") is None


def test_the_transport_that_worked_is_tried_first_next_time(open_client: OpenClient, context: BrowserContext) -> None:
    client = open_client("xhr-polling").connect()
    client.wait_for("connect")
    (cookie,) = context.cookies()
    assert (cookie["name"], cookie["value"]) == ("socketio", "xhr-polling")
    assert (cookie["path"], cookie["sameSite"]) == ("/", "Lax")
    client = open_client().connect()
    client.wait_for("connect")
    assert client.log == [["connecting", "xhr-polling"], ["connect"]]


@provokes_network_errors
def test_a_remembered_transport_that_fails_is_forgotten(open_client: OpenClient, context: BrowserContext) -> None:
    client = open_client("websocket").connect()
    client.wait_for("connect")
    client = open_client(resource="never").connect()
    client.wait_for("connect_failed")
    assert context.cookies() == []


def test_without_remember_transport_there_is_no_cookie(open_client: OpenClient, context: BrowserContext) -> None:
    client = open_client(rememberTransport=False).connect()
    client.wait_for("connect")
    assert context.cookies() == []


# The page around it


@over_each_transport
def test_a_resource_may_hold_extra_parameters(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport, resource="chat/123").connect()
    client.send("about")
    assert client.wait_for_messages(1)[0]["extra"] == "123"


@over_each_transport_and_origin
def test_cookies_travel(open_client: OpenClient, page: Page, transport: str, origin: str) -> None:
    client = open_client(transport, origin=origin)
    page.evaluate("document.cookie = 'user=mary'")
    client.connect().send("about")
    assert client.wait_for_messages(1)[0]["cookies"]["user"] == "mary"


@over_each_transport
def test_sockets_in_one_page_do_not_meet(open_client: OpenClient, server: AppServer, transport: str) -> None:
    first = open_client(transport)
    second = Client(first.page, server.port, transport, resource="chat/2")
    first.connect()
    second.connect()
    first.send("first", "about")
    second.send("second", "about")
    assert [first.wait_for_messages(2)[0], second.wait_for_messages(2)[0]] == ["first", "second"]
    assert [first.messages[1]["extra"], second.messages[1]["extra"]] == ["", "2"]
    first.disconnect()
    second.send("third")
    assert second.wait_for_messages(3)[2] == "third"
    assert len(first.messages) == 2


@over_each_transport
def test_the_page_keeps_its_globals_and_its_document(open_client: OpenClient, page: Page, transport: str) -> None:
    client = open_client(transport)
    page.evaluate("window.s = 'mine'; window.before = Object.keys(window).join()")
    client.connect().send(*HOSTILE_TEXTS)
    client.wait_for_messages(len(HOSTILE_TEXTS))
    assert page.locator("script").count() == 2
    for frame in page.frames[1:]:
        assert frame.locator("script").count() <= 1
    assert page.evaluate("[window.s, Object.keys(window).filter((key) => isNaN(key) && key !== 'before').join()]") == [
        "mine",
        page.evaluate("window.before"),
    ]
    client.disconnect()
    assert page.title() == "The browser client's tests"
    assert page.locator("iframe").count() == 0


@pytest.mark.page_errors("^exception: broken")
@over_each_transport
def test_a_listener_that_throws_stops_nothing(open_client: OpenClient, page_errors: list[str], transport: str) -> None:
    client = open_client(transport)
    client.run(
        """['connecting', 'connect', 'message', 'disconnect'].forEach((name) => {
            socket.on(name, () => { throw new Error(`broken ${name}`); });
            socket.on(name, () => socket.log.push([`after ${name}`]));
        })"""
    )
    client.connect().send("one", "two")
    client.wait_for("after message", 2)
    with client.page.expect_event("pageerror"):
        client.disconnect()
    client.wait_for("after disconnect")
    assert client.messages == ["one", "two"]
    names = ("connecting", "connect", "message", "message", "disconnect")
    assert page_errors == [f"exception: broken {name}" for name in names]


def test_listeners_come_and_go(open_client: OpenClient) -> None:
    client = open_client("websocket")
    client.run(
        """{
            const note = (text) => function (message) { this.log.push([text, message, this === socket]); };
            const [both, removed] = [note('both'), note('removed')];
            socket.on('message', removed).once('message', both).addEvent('message', both);
            socket.addListener('message', note('addListener')).removeEvent('message', removed);
            socket.removeEvent('message', () => {}).removeEvent('nothing', removed);
        }"""
    )
    client.connect().send("a", "b")
    client.wait_for("addListener", 2)
    assert client.log[2:] == [
        ["message", "a"],
        ["both", "a", True],
        ["both", "a", True],
        ["addListener", "a", True],
        ["message", "b"],
        ["both", "b", True],
        ["addListener", "b", True],
    ]
