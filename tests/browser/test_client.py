"""The browser client, `tornadio/static/socket.io.js`, in the browsers' engines against the real server.

What an engine does runs in each: that which crosses the network, documents and frames, cookies. What the script decides
by itself runs in Chromium alone. Several things that one connection can show are shown by one test, a row of the table
for each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.client_pages import APP, NEVER_SILENT, Client, session, shows
from tests.browser.intermediary import Intermediary
from tests.browser.scenes import eventually
from tests.browser_fixtures import NETWORK_ERRORS
from tests.compatibility.table import Scenario
from tests.engines import Context, Page
from tests.support import OF_BROWSERS, POLLING

PERSISTENT = ("websocket", "xhr-multipart", "htmlfile")
POSTING = ("xhr-multipart", "xhr-polling", "jsonp-polling", "htmlfile")

pytestmark = pytest.mark.engines()
decided_by_the_script = pytest.mark.engines("chromium", because="the client's script decides it by itself")
at_moved_clock = pytest.mark.engines("chromium", because="the script's timers, by Playwright's clock")

over = pytest.mark.parametrize
over_each_transport = over("transport", OF_BROWSERS)
PLACES = [
    *((transport, "same origin") for transport in OF_BROWSERS),
    *((transport, "other port") for transport in OF_BROWSERS if transport != "htmlfile"),
]
over_each_transport_and_origin = over(("transport", "origin"), PLACES)
# For a page: keeps each WebSocket that is made.
RECORD_SOCKETS = """() => {
  window.sockets = [];
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  };
}"""
provokes_network_errors = pytest.mark.page_errors(*NETWORK_ERRORS)

OpenClient = Callable[..., Client]


@pytest.fixture
def intermediary(start_intermediary: Callable[[int], Intermediary], server: AppServer) -> Intermediary:
    """What stands between the pages and the server, for tests that ask for it."""
    return start_intermediary(server.port)


@pytest.fixture
def open_client(request: pytest.FixtureRequest, page: Page, server: AppServer, other_server: AppServer) -> OpenClient:
    """Open the page of an origin with a socket that may use these transports, over the intermediary if there is one."""
    between = "intermediary" in request.fixturenames
    reached: AppServer | Intermediary = request.getfixturevalue("intermediary") if between else server

    def open_client(*transports: str, origin: str = "same origin", **options: Any) -> Client:
        page.goto({"same origin": reached, "other port": other_server}[origin].url)
        return Client(page, reached.port, *transports, **options)

    return open_client


# Connecting


@shows("connects", "cookies travel", "a resource may hold extra parameters")
@over_each_transport_and_origin
def test_connects(open_client: OpenClient, page: Page, transport: str, origin: str, scenario: Scenario) -> None:
    client = open_client(transport, origin=origin, resource="chat/123")
    page.evaluate("() => { document.cookie = 'user=mary'; }")
    with scenario("connects"):
        assert client.state == [False, False, False]
        assert client.run("[socket.connect() === socket, socket.connecting]") == [True, True]
        client.wait_for("connect")
        assert client.state == [True, False, False]
        assert client.type == transport
        client.send("about")
        (about,) = client.wait_for_messages(1)
        assert (about["transport"], about["session"]) == (transport, client.session_id)
        assert client.log == [["connecting", transport], ["connect"], ["message", about]]
    with scenario("cookies travel"):
        assert about["cookies"]["user"] == "mary"
    with scenario("a resource may hold extra parameters"):
        assert about["extra"] == "123"


def test_without_options_connects_to_the_server_of_the_page(page: Page, server: AppServer) -> None:
    page.goto(server.url)
    page.evaluate("() => { window.socket = createSocket().connect(); }")
    page.wait_for_function("socket.connected")
    assert page.evaluate("socket.transport.type") == "websocket"


def test_a_browser_speaks_permessage_deflate(page: Page, server: AppServer) -> None:
    """It offers it by itself, to compress each message; the page sees what was agreed on, and no difference."""
    page.goto(server.url)
    page.evaluate(RECORD_SOCKETS)
    messages = ["", "é中😀", {"price": 1.5}, *("quote " * size for size in range(0, 2000, 200)), "x" * 500_000, "end"]
    for resource in ("compressed", "takeover", "socket.io"):
        client = Client(page, server.port, "websocket", resource=resource).connect()
        client.send(*messages)
        assert client.wait_for_messages(len(messages)) == messages
    compressed, takeover, plain = page.evaluate("sockets.map((each) => each.extensions)")
    without_takeover = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert compressed in (without_takeover, "permessage-deflate")  # Firefox leaves parameters out
    assert (takeover, plain) == ("permessage-deflate", "")


@decided_by_the_script
def test_connecting_twice_makes_one_connection(open_client: OpenClient) -> None:
    client = open_client("websocket").connect().connect()
    client.wait_for("connect")
    client.connect().send("hello")
    client.wait_for_messages(1)
    assert client.log == [["connecting", "websocket"], ["connect"], ["message", "hello"]]


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


def exchange(client: Client, *messages: Any) -> list[Any]:
    """Send messages to a server that echoes: what came until as many came as were sent."""
    before = len(client.messages)
    client.send(*messages)
    return client.wait_for_messages(before + len(messages))[before:]


@shows("text, JSON, other alphabets", "hostile texts", "200 rapid messages, once and in order", "a megabyte each way")
@over_each_transport_and_origin
def test_messages_return_unchanged(open_client: OpenClient, transport: str, origin: str, scenario: Scenario) -> None:
    client = open_client(transport, origin=origin).connect()
    with scenario("text, JSON, other alphabets"):
        nested = {"a": {"b": [1, {"é中😀": None}], "": "\u2028</script>"}}
        messages = ["hello", "é中😀", "after", nested, 3, 1.5, True, False]
        assert exchange(client, *messages) == messages
    with scenario("hostile texts"):
        assert exchange(client, *HOSTILE_TEXTS) == list(HOSTILE_TEXTS)
    with scenario("200 rapid messages, once and in order"):
        messages = [f"message {number}" for number in range(200)]
        assert exchange(client, *messages, "end") == [*messages, "end"]
    with scenario("a megabyte each way"):
        assert exchange(client, "x" * 1_000_000) == ["x" * 1_000_000]


@decided_by_the_script
@over_each_transport
def test_what_travels_in_another_form_arrives_as_it_was_sent(
    open_client: OpenClient, server: AppServer, transport: str
) -> None:
    """Text that looks like a heartbeat or like JSON, an array, which is a message for each element, and surrogates
    without another half, which become a replacement character."""
    client = open_client(transport, resource="silent").connect()
    client.send("~h~1", "~j~{", '~j~"x"', "text")
    client.wait_for("connect")
    client.send(["a", {"b": [1]}, "é", 4], [], ["array", [["list"]]])
    client.run(r"{ socket.send('a\ud83d'); socket.send('\ude00b\ud83d\ude00'); socket.send('end'); }")
    messages = ["~h~1", "~j~{", '~j~"x"', "text", "a", {"b": [1]}, "é", 4, "array", [["list"]]]
    eventually(lambda: session(server, client.session_id)["received"], [*messages, "a\ufffd", "\ufffdb😀", "end"])


@decided_by_the_script
@over("transport", POSTING)
def test_what_is_queued_during_a_post_is_one_batch(
    open_client: OpenClient, intermediary: Intermediary, transport: str
) -> None:
    client = open_client(transport).connect()
    client.wait_for("connect")
    client.send(*range(100))
    assert client.wait_for_messages(100) == list(range(100))
    assert len(intermediary.seen("^POST ")) == 2


@decided_by_the_script
@over_each_transport
def test_a_long_queue_travels_in_payloads_that_the_server_takes(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport)
    messages = [f"{number}" + "中" * 60_000 for number in range(6)]  # 1,080,000 bytes
    client.send(*messages)
    client.connect()
    assert client.wait_for_messages(6) == messages


@decided_by_the_script
@over_each_transport
def test_a_queue_of_20_000_messages_arrives_in_order_and_once(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport)
    client.run("{ for (let number = 0; number < 20000; number += 1) socket.send(`${number} ${'x'.repeat(60)}`); }")
    client.connect()
    assert client.wait_for_messages(20_000) == [f"{number} {'x' * 60}" for number in range(20_000)]


@shows("messages wait for the connection", "stays connected while nothing is said")
@over_each_transport_and_origin
def test_messages_wait_and_then_silence_passes(
    open_client: OpenClient, intermediary: Intermediary, transport: str, origin: str, scenario: Scenario
) -> None:
    """Over streams and sockets heartbeats are echoed at once, polls that end empty go on."""
    client = open_client(transport, origin=origin, resource="impatient")
    with scenario("messages wait for the connection"):
        client.run(
            """{
                socket.on('connect', () => socket.send('at connect'));
                socket.send('before').send({connect: 'too'}).connect().send('while connecting');
            }"""
        )
        assert client.wait_for_messages(4) == ["before", {"connect": "too"}, "while connecting", "at connect"]
    with scenario("stays connected while nothing is said"):
        if transport in PERSISTENT:
            # One that comes while a POST is under way is echoed together with the messages of the next.
            echoed = lambda: re.findall(r"~m~4~m~~h~(\d)", "".join(intermediary.payloads))  # noqa: E731
            eventually(lambda: echoed()[:2], ["1", "2"])
        else:
            polls = rf"^GET .*{client.session_id}"
            intermediary.wait_for(polls, len(intermediary.seen(polls)) + 2)
        assert exchange(client, "hello") == ["hello"]
        assert client.log[:2] == [["connecting", transport], ["connect"]]
        assert len(client.log) == 2 + 5


@over("resource", ["trickle", "trickle-mixed"])
@decided_by_the_script
def test_a_multipart_stream_may_arrive_byte_by_byte(open_client: OpenClient, resource: str) -> None:
    client = open_client("xhr-multipart", resource=resource, reconnect=False).connect()
    client.wait_for("disconnect")
    assert client.session_id == "sid"
    assert client.messages == ["é中😀", "a\n\n\nb", "end"]


# The end of a connection


@shows("a close by the server is seen at once")
@provokes_network_errors
@over_each_transport_and_origin
def test_a_close_by_the_server_is_seen_at_once(
    open_client: OpenClient, transport: str, origin: str, scenario: Scenario
) -> None:
    client = open_client(transport, origin=origin, reconnect=False, **NEVER_SILENT).connect()
    client.wait_for("connect")
    with scenario("a close by the server is seen at once"):
        client.send("close")
        client.wait_for("disconnect")
        assert client.state == [False, False, False]
        assert client.log[2:] == [["disconnect"]]


@provokes_network_errors
@shows("disconnects while connecting, silently", "messages before a disconnect still arrive", "connects again")
@over_each_transport_and_origin
def test_disconnects_and_connects_again(
    open_client: OpenClient, server: AppServer, transport: str, origin: str, scenario: Scenario
) -> None:
    client = open_client(transport, origin=origin)
    with scenario("disconnects while connecting, silently"):
        client.run("{ socket.connect(); socket.send('never'); socket.disconnect(); }")
        assert client.state == [False, False, False]
        client.connect().send("hello")
        assert client.wait_for_messages(1) == ["hello"]
        assert client.log == [["connecting", transport], ["connecting", transport], ["connect"], ["message", "hello"]]
    with scenario("messages before a disconnect still arrive"):
        first = client.session_id
        client.run("{ socket.send('one'); socket.send('two'); socket.disconnect(); socket.send('for the next'); }")
        assert client.log[4:] == [["disconnect"]]
        assert client.state == [False, False, False]
        eventually(lambda: session(server, first)["received"], ["hello", "one", "two"])
        if transport in PERSISTENT:
            eventually(lambda: session(server, first)["ended"], True)
    with scenario("connects again"):
        client.connect().send("hello again")
        assert client.wait_for_messages(3) == ["hello", "for the next", "hello again"]
        assert client.session_id != first
        assert [event[0] for event in client.log[5:]] == ["connecting", "connect", "message", "message"]


@over("transport", POLLING)
def test_disconnect_ends_the_poll(open_client: OpenClient, intermediary: Intermediary, transport: str) -> None:
    client = open_client(transport).connect()
    poll = intermediary.wait_for(rf"^GET .*/{transport}/\w")
    intermediary.hold("^POST ")  # the server would end the poll, too, and could be faster
    client.disconnect()
    eventually(lambda: poll in intermediary.abandoned, True)


@over("transport", PERSISTENT)
def test_leaving_the_page_ends_the_connection(
    open_client: OpenClient, page: Page, server: AppServer, transport: str
) -> None:
    client = open_client(transport).connect()
    client.wait_for("connect")
    session_id = client.session_id
    page.goto("about:blank")
    eventually(lambda: session(server, session_id)["ended"], True)


@pytest.mark.engines("chromium", because="the page is told by the test that it is left")
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


@pytest.mark.engines("chromium", because="the page is told by the test that it is left")
def test_a_page_that_comes_back_begins_its_attempt_anew(
    open_client: OpenClient, page: Page, intermediary: Intermediary
) -> None:
    intermediary.hold("/xhr-polling/", times=1)
    client = open_client("xhr-polling").connect()
    intermediary.wait_for("/xhr-polling/")
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    client.wait_for("connect")
    assert client.log == [["connecting", "xhr-polling"], ["connecting", "xhr-polling"], ["connect"]]


@decided_by_the_script
@over("transport", PERSISTENT)
def test_silence_ends_the_connection(open_client: OpenClient, transport: str) -> None:
    client = open_client(transport, reconnect=False, transportOptions={transport: {"timeout": 200}}).connect()
    client.wait_for("disconnect")
    assert client.log == [["connecting", transport], ["connect"], ["disconnect"]]


@at_moved_clock
@over("transport", POLLING)
def test_a_poll_without_an_answer_ends_the_connection(
    open_client: OpenClient, page: PlaywrightPage, intermediary: Intermediary, transport: str
) -> None:
    page.clock.install()
    intermediary.hold(rf"/{transport}/\w")
    client = open_client(transport, reconnect=False).connect()
    client.wait_for("connect")
    page.clock.fast_forward(50_000)
    assert client.state == [True, False, False]
    page.clock.fast_forward(10_000)
    client.wait_for("disconnect")


@at_moved_clock
@over("transport", POLLING)
def test_a_post_without_an_answer_ends_the_connection(
    open_client: OpenClient, page: PlaywrightPage, intermediary: Intermediary, transport: str
) -> None:
    page.clock.install()
    client = open_client(transport, resource="impatient", reconnect=False).connect()
    client.wait_for("connect")
    intermediary.hold("^POST ")
    client.send("hello")
    intermediary.wait_for("^POST ")
    page.clock.fast_forward(50_000)
    for _ in range(2):  # polls are answered, so it is not for their silence
        with page.expect_response(lambda response: client.session_id in response.url):
            pass
    assert client.state == [True, False, False]
    page.clock.fast_forward(10_000)
    client.wait_for("disconnect")


@decided_by_the_script
@over(
    ("transport", "malformed"),
    [
        pytest.param("xhr-polling", "~m~9~m~cut off", id="too short"),
        pytest.param("xhr-polling", "~m~6~m~longer?~m", id="too long"),
        pytest.param("xhr-polling", "~m~x~m~abc", id="no length"),
        pytest.param("xhr-polling", "<html>", id="no frame"),
        pytest.param("xhr-polling", "~m~6~m~~j~{x}", id="no JSON"),
        pytest.param("jsonp-polling", "<html>", id="over jsonp-polling"),
    ],
)
def test_a_malformed_payload_is_a_disconnect(
    open_client: OpenClient, intermediary: Intermediary, transport: str, malformed: str
) -> None:
    payload = "~m~3~m~sid~m~4~m~good" + malformed
    body = f"io.JSONP[0]._({json.dumps(payload)});" if transport == "jsonp-polling" else payload
    intermediary.answer(f"/{transport}/", 200, body)
    client = open_client(transport, reconnect=False).connect()
    client.wait_for("disconnect")
    assert client.messages[0] == "good"
    assert client.log[-1] == ["disconnect"]


@over("kind", ["malformed", "binary"])
def test_a_websocket_message_that_is_no_payload_is_a_disconnect(open_client: OpenClient, kind: str) -> None:
    client = open_client("websocket", resource=f"odd/{kind}", reconnect=False).connect()
    client.wait_for("disconnect")
    assert client.log == [["connecting", "websocket"], ["connect"], ["message", "good"], ["disconnect"]]


@shows("any status of a poll but 200 is a disconnect")
@provokes_network_errors
@over("transport", POLLING)
def test_a_poll_answered_with_any_status_but_200_is_a_disconnect(
    open_client: OpenClient, page: Page, intermediary: Intermediary, transport: str, scenario: Scenario
) -> None:
    first = open_client(transport, reconnect=False)
    for status, client in [(204, first), (500, Client(page, intermediary.port, transport, reconnect=False))]:
        with scenario("any status of a poll but 200 is a disconnect"):
            intermediary.pass_on()
            intermediary.answer(rf"/{transport}/\w", status)
            client.connect().wait_for("disconnect")
            assert client.log == [["connecting", transport], ["connect"], ["disconnect"]]


# Reconnecting


@shows("reconnects when the server was killed", transports=OF_BROWSERS)
@provokes_network_errors
@over("origin", ["same origin", "other port"])
def test_reconnects_when_the_server_was_killed_and_started_again(
    app_server: Callable[..., AppServer], page: Page, other_server: AppServer, origin: str, scenario: Scenario
) -> None:
    """All transports in one page, one socket each."""
    server = app_server(APP)
    page.goto({"same origin": server, "other port": other_server}[origin].url)
    transports = [transport for transport, place in PLACES if place == origin]
    clients = [Client(page, server.port, each, reconnectionDelay=50, **NEVER_SILENT) for each in transports]
    for client in clients:
        client.connect().send("one")
        client.wait_for_messages(1)
    server.kill()
    for client in clients:
        client.wait_for("disconnect")
        assert client.state[0] is False
        client.send("two")
    server.start()
    for transport, client in zip(transports, clients, strict=True):
        with scenario("reconnects when the server was killed", transport):
            client.wait_for("reconnect")
            assert client.state == [True, False, False]
            client.send("three")
            client.send("four")
            assert client.wait_for_messages(4) == ["one", "two", "three", "four"]
            attempts = [event[2] for event in client.log if event[0] == "reconnecting"]
            assert attempts == list(range(1, len(attempts) + 1))
            assert ["reconnect", transport, len(attempts)] in client.log
            assert session(server, client.session_id)["received"] == ["two", "three", "four"]


@shows("a POST that failed is not repeated")
@provokes_network_errors
@over("transport", POSTING)
def test_a_failed_post_is_not_sent_again_and_what_waited_behind_it_is_sent_later(
    open_client: OpenClient, intermediary: Intermediary, server: AppServer, transport: str, scenario: Scenario
) -> None:
    # The test reconnects it: by itself it might be back, and post, while its posts still fail.
    client = open_client(transport, reconnectionDelay=1_000_000).connect()
    client.wait_for("connect")
    client.run("socket.on('disconnect', () => socket.send('waits, too'))")
    failures: list[Callable[[], None]] = [
        lambda: intermediary.answer("^POST ", 204),
        lambda: intermediary.answer("^POST ", 500),
        lambda: intermediary.drop("^POST "),
    ]
    with scenario("a POST that failed is not repeated"):
        for number, fail in enumerate(failures, 1):
            before = client.session_id
            received = session(server, before)["received"]
            fail()
            client.send("lost", "waits")
            client.wait_for("disconnect", number)
            assert session(server, before)["received"] == received
            intermediary.pass_on()
            client.connect().wait_for("reconnect", number)
            assert client.wait_for_messages(2 * number)[-2:] == ["waits", "waits, too"]
            assert session(server, client.session_id)["received"] == ["waits", "waits, too"]


@decided_by_the_script
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
    reconnecting = [event[1:] for event in client.log if event[0] == "reconnecting"]
    assert [attempt for _, attempt in reconnecting] == [1, 2, 3]
    assert all(longest / 2 <= delay <= longest for longest, (delay, _) in zip((20, 40, 80), reconnecting, strict=True))
    assert client.state == [False, False, False]
    assert "connect_failed" not in [event[0] for event in client.log]
    server.start()
    client.connect().send("hello")
    assert client.wait_for_messages(1) == ["hello"]


@decided_by_the_script
@provokes_network_errors
def test_reconnects_over_another_transport_when_the_one_that_worked_does_not(
    open_client: OpenClient, intermediary: Intermediary
) -> None:
    client = open_client("xhr-multipart", "xhr-polling", reconnectionDelay=10).connect()
    client.wait_for("connect")
    intermediary.answer("/xhr-multipart//", 503)
    client.send("close")
    client.wait_for("reconnect")
    assert client.log[-1] == ["reconnect", "xhr-polling", 3]
    tried = [event[1] for event in client.log if event[0] == "connecting"]
    assert tried == ["xhr-multipart"] * 4 + ["xhr-polling"]


@decided_by_the_script
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


@decided_by_the_script
def test_connect_in_a_disconnect_listener_reconnects_now(open_client: OpenClient) -> None:
    client = open_client("websocket", reconnectionDelay=1_000_000).connect()
    client.wait_for("connect")
    client.run("{ socket.on('disconnect', () => socket.connect()); }")
    client.send("close")
    client.wait_for("reconnect")
    assert client.log[2:] == [["disconnect"], ["connecting", "websocket"], ["connect"], ["reconnect", "websocket", 0]]


# Choosing a transport


REFUSABLE = [transport for transport in OF_BROWSERS if transport != "xhr-polling"]


@shows("the next one is tried when it is refused", transports=REFUSABLE)
@provokes_network_errors
def test_the_next_transport_is_tried_when_one_is_refused(
    open_client: OpenClient, page: Page, intermediary: Intermediary, scenario: Scenario
) -> None:
    """The port is that of the test: Firefox holds WebSockets back where one was refused."""
    open_client("websocket")
    clients = {
        transport: Client(
            page, intermediary.port, transport, "xhr-polling", resource="plain", rememberTransport=False
        ).connect()
        for transport in REFUSABLE
    }
    for transport, client in clients.items():
        with scenario("the next one is tried when it is refused", transport):
            client.send("hello")
            assert client.wait_for_messages(1) == ["hello"]
            assert client.log[:3] == [["connecting", transport], ["connecting", "xhr-polling"], ["connect"]]
            assert client.type == "xhr-polling"


@shows("the next one is tried when it does not answer", transports=POSTING)
def test_the_next_transport_is_tried_when_one_does_not_answer(
    open_client: OpenClient, page: Page, intermediary: Intermediary, scenario: Scenario
) -> None:
    open_client("websocket")
    intermediary.hold("^GET /socket.io/.*-?(multipart|polling|htmlfile)/")
    clients = {
        transport: Client(page, intermediary.port, transport, "websocket", rememberTransport=False)
        for transport in POSTING
    }
    for client in clients.values():
        # The first is given up soon, the next one has all the time that it needs.
        client.run(
            """socket.on('connecting', (type) => {
                socket.options.connectTimeout = type === 'websocket' ? 30000 : 1000;
            }) === socket"""
        )
        client.connect()
    for transport, client in clients.items():
        with scenario("the next one is tried when it does not answer", transport):
            client.wait_for("connect")
            assert client.log == [["connecting", transport], ["connecting", "websocket"], ["connect"]]


@provokes_network_errors
def test_connect_fails_when_all_transports_were_tried(open_client: OpenClient, intermediary: Intermediary) -> None:
    client = open_client(resource="never").connect()
    client.wait_for("connect_failed")
    refusal = [403, "htmlfile is not enabled here"]
    assert client.log == [*(["connecting", transport] for transport in OF_BROWSERS), ["connect_failed", *refusal]]
    assert client.state == [False, False, False]


@decided_by_the_script
@provokes_network_errors
def test_without_try_transports_only_the_first_is_tried(open_client: OpenClient) -> None:
    client = open_client(resource="plain", tryTransportsOnConnectTimeout=False).connect()
    client.wait_for("connect_failed")
    assert client.log == [["connecting", "websocket"], ["connect_failed"]]


@decided_by_the_script
def test_transports_that_cannot_work_are_left_out(open_client: OpenClient) -> None:
    client = open_client("flashsocket", "htmlfile", "nonsense", origin="other port").connect()
    client.wait_for("connect_failed")
    assert client.log == [["connect_failed"]]
    assert client.run("socket.transport") is None


def test_the_transport_that_worked_is_tried_first_next_time(open_client: OpenClient, context: Context) -> None:
    client = open_client("xhr-polling").connect()
    client.wait_for("connect")
    (cookie,) = context.cookies()
    assert (cookie["name"], cookie["value"]) == ("socketio", "xhr-polling")
    assert (cookie["path"], cookie["sameSite"]) == ("/", "Lax")
    assert ("expiry" in cookie, cookie.get("expires", -1)) == (False, -1)  # as WebDriver has it, and as Playwright
    for origin in ("same origin", "other port"):  # cookies know no ports
        client = open_client(origin=origin).connect()
        client.wait_for("connect")
        assert client.log == [["connecting", "xhr-polling"], ["connect"]]


@provokes_network_errors
def test_a_remembered_transport_that_fails_is_forgotten(open_client: OpenClient, context: Context) -> None:
    client = open_client("websocket").connect()
    client.wait_for("connect")
    client = open_client(resource="never").connect()
    client.wait_for("connect_failed")
    assert context.cookies() == []


def test_without_remember_transport_there_is_no_cookie(open_client: OpenClient, context: Context) -> None:
    client = open_client(rememberTransport=False).connect()
    client.wait_for("connect")
    assert context.cookies() == []


# The page around it


@shows("two sockets in a page do not meet", "the page keeps its globals and its document")
@over_each_transport_and_origin
def test_sockets_meet_neither_each_other_nor_the_page(
    open_client: OpenClient, page: Page, server: AppServer, transport: str, origin: str, scenario: Scenario
) -> None:
    first = open_client(transport, origin=origin)
    second = Client(page, server.port, transport, resource="chat/2")
    page.evaluate("() => { window.s = 'mine'; window.before = Object.keys(window).join(); }")
    with scenario("two sockets in a page do not meet"):
        first.connect()
        second.connect()
        first.send("first", "about")
        second.send("second", "about")
        assert [first.wait_for_messages(2)[0], second.wait_for_messages(2)[0]] == ["first", "second"]
        assert [first.messages[1]["extra"], second.messages[1]["extra"]] == ["", "2"]
    with scenario("the page keeps its globals and its document"):
        exchange(first, *HOSTILE_TEXTS)
        scripts = "[...document.querySelectorAll('iframe')].map((each) => each.contentDocument.scripts.length)"
        assert max(page.evaluate(scripts), default=0) <= 1
        assert page.evaluate("document.scripts.length") == 3
        assert page.evaluate(
            "[s, Object.keys(window).filter((key) => isNaN(key) && key !== 'before').join() === before]"
        ) == ["mine", True]
    first.disconnect()
    with scenario("two sockets in a page do not meet"):
        assert exchange(second, "third") == ["third"]
        assert len(first.messages) == 2 + len(HOSTILE_TEXTS)
    second.disconnect()
    with scenario("the page keeps its globals and its document"):
        assert page.title() == "The browser client's tests"
        assert page.locator("iframe").count() == 0


@decided_by_the_script
@pytest.mark.page_errors("^exception: broken")
@over_each_transport
def test_a_listener_that_throws_stops_nothing(
    open_client: OpenClient, page: PlaywrightPage, page_errors: list[str], transport: str
) -> None:
    client = open_client(transport)
    client.run(
        """['connecting', 'connect', 'message', 'disconnect'].forEach((name) => {
            socket.on(name, () => { throw new Error(`broken ${name}`); });
            socket.on(name, () => socket.log.push([`after ${name}`]));
        })"""
    )
    client.connect().send("one", "two")
    client.wait_for("after message", 2)
    with page.expect_event("pageerror"):
        client.disconnect()
    client.wait_for("after disconnect")
    assert client.messages == ["one", "two"]
    names = ("connecting", "connect", "message", "message", "disconnect")
    assert page_errors == [f"exception: broken {name}" for name in names]


@decided_by_the_script
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
