"""The examples, as people use them: real pages, real servers, each of the five transports that browsers have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.chatroom_pages import expect_connected, expect_messages, expect_people, join, messages, say
from tests.browser.scenes import eventually
from tests.engines import Context, Page
from tests.engines.expecting import expect
from tests.support import OF_BROWSERS

pytestmark = pytest.mark.engines("chromium", because="the page's script decides it by itself")
seen_on_the_network = pytest.mark.engines("chromium", because="its driver sees what goes over the network")
on_a_phone = pytest.mark.engines("chromium", because="its driver has a phone's screen, which is touched")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HOSTILE = """é中😀 </script><b>b</b> <img src=x onerror=alert(1)> "double" 'single' \\ &amp;\n\n  indented\u2028end"""
QUIET_FEED = f"""
import sys
sys.path.insert(0, {str(EXAMPLES / "feed")!r})
import feed
feed.TICK_SECONDS = 60  # in between there is silence, and heartbeats
feed.SETTINGS.update(heartbeat_interval=0.25, heartbeat_timeout=5)
feed.main()
"""
# WebKit's window is never as narrow as a phone: there the page is in a frame, which the feed's policy forbids.
FRAMED_FEED = f"""
import sys
sys.path.insert(0, {str(EXAMPLES / "feed")!r})
import feed
feed.PageHandler.policy = feed.PageHandler.policy.replace("frame-ancestors 'none'", "")
feed.main()
"""
PHONE = {"width": 375, "height": 812}
WIDTHS = (320, 360, 375, 390, 1280)
GROUNDS = {"light": "rgb(245, 245, 241)", "dark": "rgb(20, 23, 27)"}
TWO_KINDS = ("websocket", "xhr-polling")  # a connection that stays, and requests
CONNECTION_ERRORS = (
    "ERR_CONNECTION_REFUSED",
    "ERR_CONNECTION_RESET",
    "ERR_INCOMPLETE_CHUNKED_ENCODING",
    "ERR_EMPTY_RESPONSE",
    "ERR_SOCKET_NOT_CONNECTED",
    "Firefox can.t establish a connection",
    "The connection to ws:.* was interrupted",
)

NewContext = Callable[..., Context]
StartServer = Callable[..., AppServer]


@pytest.fixture
def chatroom(app_server: StartServer) -> AppServer:
    return app_server(EXAMPLES / "chatroom" / "chatroom.py")


@pytest.fixture
def ping(app_server: StartServer) -> AppServer:
    return app_server(EXAMPLES / "ping" / "ping.py")


@pytest.fixture
def feed(app_server: StartServer) -> AppServer:
    return app_server(EXAMPLES / "feed" / "feed.py")


@pytest.fixture
def transports(app_server: StartServer) -> AppServer:
    return app_server(EXAMPLES / "transports" / "transports.py")


# Chatroom


@pytest.mark.engines
@pytest.mark.parametrize("pair", [OF_BROWSERS[:2], OF_BROWSERS[2:4], (OF_BROWSERS[4], OF_BROWSERS[0])], ids="-".join)
def test_two_people_chat(pair: tuple[str, str], chatroom: AppServer, new_context: NewContext) -> None:
    """Each over a transport of their own."""
    ann = join(new_context().new_page(), chatroom, "Ann", pair[0])
    bob = join(new_context().new_page(), chatroom, "Bob", pair[1])
    expect(ann.get_by_text("Bob joined")).to_be_visible()
    expect_people(ann, "Ann", "Bob")
    expect_people(bob, "Ann", "Bob")

    say(ann, HOSTILE)
    expect_messages(bob, HOSTILE)
    say(bob, "Good evening")
    for page in (ann, bob):
        expect_messages(page, HOSTILE, "Good evening")
        expect(messages(page).locator("*")).to_have_count(0)
    expect(ann.locator(".message.own .text")).to_have_text(HOSTILE)
    expect(bob.locator(".message.own .text")).to_have_text("Good evening")

    bob.get_by_role("button", name="Change name").click()
    expect(ann.get_by_text("Bob left")).to_be_visible()
    expect_people(ann, "Ann")
    bob.get_by_label("What shall the others call you?").fill("Bea")
    bob.get_by_role("button", name="Join").click()
    expect(ann.get_by_text("Bea joined")).to_be_visible()
    expect_people(ann, "Ann", "Bea")


@pytest.mark.engines("chromium", because="test_page_lifecycle.py closes pages in each engine")
def test_who_closes_the_page_has_left(chatroom: AppServer, page: Page, new_context: NewContext) -> None:
    join(page, chatroom, "Ann")
    contexts = {transport: new_context() for transport in OF_BROWSERS}
    for transport, context in contexts.items():
        join(context.new_page(), chatroom, transport, transport)
        expect(page.get_by_text(f"{transport} joined")).to_be_visible()
    for context in contexts.values():
        context.close()
    for transport in OF_BROWSERS:
        # Of a process that ended too soon to say so, a polling session lasts longer than `expect` waits.
        eventually(page.get_by_text(f"{transport} left").count, 1)
    expect_people(page, "Ann")


@pytest.mark.engines
@pytest.mark.page_errors(*CONNECTION_ERRORS)
def test_pages_go_on_when_the_server_was_killed_and_started_again(chatroom: AppServer, new_context: NewContext) -> None:
    pages = {transport: join(new_context().new_page(), chatroom, transport, transport) for transport in OF_BROWSERS}
    say(pages["websocket"], "before")
    for page in pages.values():
        expect_messages(page, "before")

    chatroom.kill()
    for page in pages.values():
        expect(page.get_by_text("Connection lost", exact=True)).to_be_visible()
    say(pages["htmlfile"], "meanwhile")
    expect(pages["htmlfile"].locator("#outbox .text")).to_have_text("meanwhile")
    chatroom.start()

    for transport, page in pages.items():
        expect_connected(page, transport)
        expect(page.get_by_text("Connected again")).to_be_visible()
        expect(page.locator("#people li")).to_have_count(len(pages))
    expect(messages(pages["htmlfile"])).to_have_count(2)
    said = ["before", "meanwhile"]
    for transport, page in pages.items():
        say(page, f"after, over {transport}")
        said.append(f"after, over {transport}")
        for other in pages.values():
            expect(messages(other).last).to_have_text(said[-1])
    for page in pages.values():
        assert [text for text in messages(page).all_text_contents() if text != "meanwhile"] == [
            text for text in said if text != "meanwhile"
        ]
        expect(page.locator("#outbox li")).to_have_count(0)


@pytest.mark.engines
@pytest.mark.parametrize("transport", TWO_KINDS)
def test_a_reload_keeps_name_and_messages(transport: str, chatroom: AppServer, new_context: NewContext) -> None:
    ann = join(new_context().new_page(), chatroom, "Ann", transport)
    say(ann, "Is anybody here?")
    expect_messages(ann, "Is anybody here?")
    ann.reload()
    expect_connected(ann, transport)
    expect_messages(ann, "Is anybody here?")
    expect(ann.locator(".message.own")).to_have_count(1)
    expect_people(ann, "Ann")


def test_newcomers_get_the_history_and_a_name_of_their_own(chatroom: AppServer, context: Context) -> None:
    ann = join(context.new_page(), chatroom, "Ann")
    say(ann, "first")
    say(ann, "second")
    expect_messages(ann, "first", "second")
    second_window = context.new_page()
    second_window.goto(f"{chatroom.url}/?transport=xhr-polling")
    expect_people(second_window, "Ann", "Ann 2")
    expect(second_window.locator("#people .me")).to_have_text("Ann 2")
    expect_messages(second_window, "first", "second")
    expect(second_window.locator(".message.own")).to_have_count(0)


def test_another_transport_is_picked_within_the_page(chatroom: AppServer, new_context: NewContext) -> None:
    ann = join(new_context().new_page(), chatroom, "Ann", "websocket")
    bob = join(new_context().new_page(), chatroom, "Bob", "websocket")
    for transport in OF_BROWSERS[1:]:
        ann.get_by_label("Transport").select_option(transport)
        expect_connected(ann, transport)
        say(ann, transport)
        expect(messages(bob).last).to_have_text(transport)
        expect_people(bob, "Ann", "Bob")
    assert f"transport={OF_BROWSERS[-1]}" in ann.url
    expect_messages(ann, *OF_BROWSERS[1:])
    expect(bob.get_by_text("Ann left")).to_have_count(0)


def test_the_keyboard_writes_lines_and_sends(chatroom: AppServer, page: Page) -> None:
    join(page, chatroom, "Ann")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    expect_messages(page, "one\ntwo")
    assert page.get_by_label("Message", exact=True).input_value() == ""


def test_who_reads_further_up_is_left_in_peace(chatroom: AppServer, new_context: NewContext) -> None:
    ann = join(new_context().new_page(), chatroom, "Ann")
    bob = join(new_context().new_page(), chatroom, "Bob")
    for line in range(40):
        say(bob, f"line {line}")
    expect(messages(ann)).to_have_count(40)
    expect(messages(ann).last).to_be_in_viewport()
    ann.locator("#scroller").evaluate("(scroller) => scroller.scrollTo(0, 0)")
    expect(messages(ann).first).to_be_in_viewport()
    newer = ann.get_by_role("button", name="New messages")
    expect(newer).to_be_hidden()
    say(bob, "the latest")
    expect(newer).to_be_visible()
    expect(messages(ann).first).to_be_in_viewport()
    newer.click()
    expect(messages(ann).last).to_be_in_viewport()
    expect(newer).to_be_hidden()


def test_a_message_that_is_too_long_is_not_sent_and_the_page_says_why(chatroom: AppServer, page: Page) -> None:
    join(page, chatroom, "Ann")
    box = page.get_by_label("Message", exact=True)
    box.fill("😀" * 2001)
    expect(page.locator("#hint")).to_have_text("1 character too many: 2000 at most.")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    box.press("Enter")
    say(page, "😀" * 2000)
    expect_messages(page, "😀" * 2000)


def test_the_server_answers_what_it_can_not_take(chatroom: AppServer, page: Page) -> None:
    page.goto(chatroom.url)
    bad: list[Any] = [
        "text",
        7,
        {},
        {"type": "join"},
        {"type": "join", "name": 3, "tab": "t"},
        {"type": "join", "name": " \u200b\t", "tab": "t"},
        {"type": "join", "name": "x" * 25, "tab": "t"},
        {"type": "join", "name": "Ann", "tab": "t" * 65},
        {"type": "say", "id": [], "text": "x"},
        {"type": "say", "id": "1", "text": "not joined"},
    ]
    joined: list[Any] = [
        {"type": "join", "name": "Ann", "tab": "t"},
        {"type": "join", "name": "Bob", "tab": "t"},
        {"type": "say", "id": "1", "text": " \n "},
        {"type": "say", "id": "2", "text": "x" * 2001},
        {"type": "say", "id": "i" * 65, "text": "x"},
        {"type": "say", "id": "3", "text": "taken"},
    ]
    answers = page.evaluate(
        """(messages) => new Promise((resolve) => {
            const socket = new io.Socket(location.hostname, { transports: ['websocket'] });
            const answers = [];
            setTimeout(() => resolve(answers), 30000);
            socket.on('message', (answer) => {
                answers.push(answer.type);
                if (answers.length === messages.length) resolve(answers);
            });
            socket.connect();
            messages.forEach((message) => socket.send(message));
        })""",
        bad + joined,
    )
    assert answers == ["refused"] * len(bad) + ["welcome"] + ["refused"] * 4 + ["said"]
    assert "Traceback" not in chatroom.output()


# Ping


# What took no longer than the clock can tell is not said to have taken no time.
TIME = re.compile(r"(<\s0\.1|<\s1|0\.[1-9]|[1-9]\d*(\.\d)?)\sms")


def least(time: str) -> float:
    """The least that may have taken "1.2 ms" or "< 1 ms", to sort them."""
    value = float(time.removeprefix("< ").removesuffix(" ms"))
    return value - 0.05 if time.startswith("<") else value


def number(page: Page, name: str) -> float:
    return float(re.sub(r"[^0-9.]", "", page.locator(f"#{name}").inner_text()) or "nan")


@pytest.mark.engines
def test_ping_measures_each_transport(ping: AppServer, page: Page) -> None:
    page.goto(f"{ping.url}/?size=1000&pace=0")
    for transport in OF_BROWSERS:
        page.get_by_label("Transport").select_option(transport)
        expect_connected(page, transport)
        expect(page.locator("#count")).to_have_text(re.compile(r"^([2-9]\d|\d{3}|\d+,\d+)$"))
        page.get_by_role("button", name="Pause").click()
        times = [page.locator(f"#{name}").inner_text() for name in ("minimum", "median", "percentile", "maximum")]
        assert all(TIME.fullmatch(time) for time in times), times
        statistics = list(map(least, times))
        assert statistics == sorted(statistics), times
        assert number(page, "rate") > 0
        page.get_by_role("button", name="Resume").click()
    assert f"transport={OF_BROWSERS[-1]}" in page.url
    assert page.locator("#plot").evaluate(
        """(plot) => {
            const brush = document.createElement('canvas').getContext('2d');
            brush.font = `12px ${getComputedStyle(document.body).fontFamily}`;
            return plot.getContext('2d').font === brush.font;
        }"""
    )


def test_ping_pauses_resumes_and_resets(ping: AppServer, page: Page) -> None:
    page.goto(f"{ping.url}/?pace=20&size=16")
    expect(page.locator("#count")).to_have_text(re.compile(r"^\d\d"))
    page.get_by_role("button", name="Pause").click()
    count = number(page, "count")
    page.wait_for_timeout(500)  # ten round trips long
    assert number(page, "count") == count
    page.get_by_role("button", name="Reset").click()
    expect(page.locator("#count")).to_have_text("0")
    expect(page.locator("#median")).to_have_text("\N{EN DASH}")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#count")).to_have_text(re.compile(r"^[1-9]"))


@seen_on_the_network
def test_ping_sends_the_size_that_was_picked(ping: AppServer, page: PlaywrightPage) -> None:
    page.goto(f"{ping.url}/?transport=xhr-polling")
    for size in ("16", "128", "1000", "10000", "100000"):
        with page.expect_request(lambda request: (request.post_data or "").startswith(f"data=~m~{size}~m~")):  # noqa: B023
            page.get_by_label("Message").select_option(size)


@pytest.mark.page_errors(*CONNECTION_ERRORS)
def test_ping_goes_on_when_the_server_was_killed_and_started_again(ping: AppServer, new_context: NewContext) -> None:
    pages = {transport: new_context().new_page() for transport in TWO_KINDS}
    for transport, page in pages.items():
        page.goto(f"{ping.url}/?transport={transport}&pace=1")
        expect(page.locator("#count")).not_to_have_text("0")
    ping.kill()
    for page in pages.values():
        expect(page.locator("#state")).to_have_text(re.compile("^Trying again"))
    ping.start()
    for transport, page in pages.items():
        expect_connected(page, transport)
        before = number(page, "count")
        page.get_by_role("button", name="Reset").click()
        expect(page.locator("#count")).to_have_text(re.compile(r"^[1-9]"))
        assert before > 0


@seen_on_the_network
@pytest.mark.page_errors(*CONNECTION_ERRORS, "status of 403")
@pytest.mark.parametrize("example", ["chatroom", "ping", "transports"])
def test_a_page_that_is_refused_when_it_comes_back_says_so_and_can_try_again(
    example: str, request: pytest.FixtureRequest, page: PlaywrightPage
) -> None:
    server: AppServer = request.getfixturevalue(example)
    if example == "chatroom":
        join(page, server, "Ann", "xhr-polling")
    else:
        page.goto(f"{server.url}/?transport=xhr-polling")
    expect(page.locator("#state")).to_have_text(re.compile("^Connected"))
    headers = {"Socket-IO-Refusal": "every-transport"}
    page.route("**/xhr-polling/**", lambda route: route.fulfill(status=403, headers=headers, body="no"))
    server.kill()
    expect(page.locator("#state")).to_have_text("No connection")
    server.start()
    page.unroute("**/xhr-polling/**")
    page.locator("#retry").click()
    expect(page.locator("#state")).to_have_text(re.compile("^Connected"))


# Transports


@pytest.mark.engines
def test_all_transports_are_tested(transports: AppServer, page: Page) -> None:
    page.goto(transports.url)
    page.get_by_role("button", name="Test all").click()
    expect(page.locator("#progress")).to_have_text(
        re.compile(rf"^5 of 5 work\. The fastest is \S+, there and back in {TIME.pattern}\.$")
    )
    for transport in OF_BROWSERS:
        row = page.locator(f"#table [data-transport={transport}]")
        expect(row.locator("th")).to_have_text(transport)
        expect(row.locator(".here")).to_have_text("yes")
        for name in ("connect", "trip"):
            expect(row.locator(f".{name}")).to_have_text(re.compile(f"^{TIME.pattern}$"))
    flash = page.locator("#table [data-transport=flashsocket]")
    expect(flash.locator(".here")).to_have_text("no")
    expect(flash.locator(".how")).to_have_text(
        "Needs Flash Player, which browsers no longer have; Flash and AIR programs use it."
    )


def test_echo_over_each_transport(transports: AppServer, page: Page) -> None:
    page.goto(f"{transports.url}/?transport={OF_BROWSERS[0]}")
    line = HOSTILE.replace("\n", " ")
    for transport in OF_BROWSERS:
        if transport != OF_BROWSERS[0]:
            page.get_by_label("Transport").select_option(transport)
        expect(messages(page).last).to_have_text(re.compile(rf"^Hello! This connection is {transport}\."))
        page.get_by_label("Message", exact=True).fill(line)
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#log .message").last.locator(".byline")).to_have_text(re.compile("^back after "))
        assert messages(page).last.text_content() == line
    expect(messages(page)).to_have_count(3 * len(OF_BROWSERS))
    expect(messages(page).locator("*")).to_have_count(0)


@pytest.mark.page_errors(*CONNECTION_ERRORS)
def test_echo_goes_on_when_the_server_was_killed_and_started_again(
    transports: AppServer, new_context: NewContext
) -> None:
    pages = {transport: new_context().new_page() for transport in TWO_KINDS}
    for transport, page in pages.items():
        page.goto(f"{transports.url}/?transport={transport}")
        expect(messages(page)).to_have_count(1)
    transports.kill()
    for page in pages.values():
        say(page, "lost")
        expect(page.locator("#state")).to_have_text(re.compile("^Trying again"))
    transports.start()
    for page in pages.values():
        expect(page.locator("#state")).to_have_text(re.compile("^Connected"))
        say(page, "found")
        expect(page.locator("#log .message").last.locator(".byline")).to_have_text(re.compile("^back after "))
        expect(messages(page).last).to_have_text("found")


@pytest.mark.page_errors(*CONNECTION_ERRORS)
def test_the_table_says_what_fails(transports: AppServer, page: Page) -> None:
    page.goto(f"{transports.url}/?transport=websocket")
    expect(page.locator("#state")).to_have_text(re.compile("^Connected"))
    transports.kill()
    page.get_by_role("button", name="Test all").click()
    expect(page.locator("#progress")).to_have_text("None of them works at the moment.")
    expect(page.locator("#table .here", has_text="failed")).to_have_count(5)
    expect(page.locator("#table .how", has_text="No connection.")).to_have_count(5)


# Feed


def expect_chart(page: Page, symbol: str, interval: str = "5") -> None:
    """The chart shows these bars, and they live: the price moves."""
    expect(page.locator("#state")).to_have_text("Connected")
    expect(page.locator("#watchlist [aria-current=true] .symbol")).to_have_text(symbol)
    expect(page.locator("#symbol")).to_have_text(symbol)
    expect(page.locator("#tools input[name=interval]:checked")).to_have_value(interval)
    canvas = page.locator("#chart")
    expect(canvas).to_have_attribute("aria-label", re.compile(f"^Bars of {symbol},"))
    expect(canvas).to_have_attribute("aria-valuetext", re.compile("open .* close .* volume"))
    picture = canvas.evaluate("(canvas) => canvas.toDataURL()")
    page.wait_for_function("(before) => document.getElementById('chart').toDataURL() !== before", arg=picture)


def record_requests(page: Page) -> None:
    """Have the page keep, from now on, what it says over its WebSockets."""
    page.evaluate(
        """() => {
            const { send } = WebSocket.prototype;
            window.sentFrames = [];
            WebSocket.prototype.send = function (frame) {
                window.sentFrames.push(frame);
                send.call(this, frame);
            };
        }"""
    )


def recorded_requests(page: Page) -> list[Any]:
    """What the page has said, without heartbeats."""
    requests = []
    for frame in page.evaluate("() => window.sentFrames"):
        _, mark, text = frame.split("~m~", 2)
        assert int(mark) == len(text)
        if not text.startswith("~h~"):
            requests.append(json.loads(text))
    return requests


def inked(page: Page) -> float:
    """The share of the chart that isn't blank."""
    share = page.locator("#chart").evaluate(
        """(canvas) => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let inked = 0;
            for (let place = 3; place < data.length; place += 4) if (data[place]) inked += 1;
            return inked / (canvas.width * canvas.height);
        }"""
    )
    return float(share)


@pytest.mark.engines
def test_the_chart_lives_and_shows_what_is_picked(feed: AppServer, page: Page) -> None:
    page.goto(feed.url)
    expect_chart(page, "ACME")
    record_requests(page)
    assert 0.01 < inked(page) < 0.9
    row = page.locator("#watchlist li", has_text="Comet Night Mail ☄️")
    before = row.locator(".price").text_content()
    expect(row.locator(".price")).not_to_have_text(str(before))
    expect(row.locator(".tick")).to_have_text(re.compile("^[▲▼]$"))
    expect(page).to_have_title(re.compile(r"^ACME [\d.]+ · Feed$"))

    row.locator("button").press("Enter")
    expect_chart(page, "COMET")
    expect(page.locator("#name")).to_have_text("Comet Night Mail ☄️")
    page.get_by_label("1 min").check()
    expect_chart(page, "COMET", "60")
    assert recorded_requests(page) == [
        {"m": "unsubscribe", "p": ["ACME@5"]},
        {"m": "subscribe", "p": ["COMET@5"]},
        {"m": "unsubscribe", "p": ["COMET@5"]},
        {"m": "subscribe", "p": ["COMET@60"]},
    ]
    page.reload()
    expect_chart(page, "COMET", "60")

    candles = inked(page)
    page.get_by_label("Line").check()
    page.wait_for_function("() => location.search.includes('style=line')")
    expect_chart(page, "COMET", "60")
    assert inked(page) > 2 * candles  # the ground below the line is tinted


def test_the_chart_is_read_with_pointer_and_keys(feed: AppServer, page: PlaywrightPage) -> None:
    page.goto(f"{feed.url}/?interval=300")
    expect_chart(page, "ACME", "300")
    canvas = page.locator("#chart")
    closes = page.locator("#readout dd").nth(3)
    canvas.focus()
    seen = set()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        seen.add(canvas.get_attribute("aria-valuetext"))
    assert len(seen) == 3
    assert f"close {closes.text_content()}" in str(canvas.get_attribute("aria-valuetext"))
    assert canvas.get_attribute("aria-valuenow") in ("238", "239")  # a bar may have begun meanwhile

    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 60)
    page.wait_for_function("() => Number(document.getElementById('chart').getAttribute('aria-valuenow')) < 230")
    page.mouse.move(0, 0)
    expect(canvas).to_have_attribute("aria-valuenow", re.compile("^24[01]$"))
    for _ in range(12):
        page.keyboard.press("+")
    expect(page.get_by_role("button", name="Wider bars")).to_be_disabled()


@pytest.mark.engines
@pytest.mark.page_errors(*CONNECTION_ERRORS)
def test_the_feed_comes_back_when_the_server_was_killed_and_started_again(feed: AppServer, page: Page) -> None:
    page.goto(f"{feed.url}/?symbol=YONDER&interval=15")
    expect_chart(page, "YONDER", "15")
    feed.kill()
    expect(page.locator("#state")).to_have_text(re.compile("^No connection. Trying again in "))
    expect(page.locator("body")).to_have_attribute("data-stale", "")
    feed.start()
    expect_chart(page, "YONDER", "15")
    expect(page.locator("body")).not_to_have_attribute("data-stale", "")


def test_a_hidden_page_asks_for_the_price_in_its_title_alone(feed: AppServer, page: Page) -> None:
    page.goto(feed.url)
    expect_chart(page, "ACME")
    record_requests(page)
    symbols = page.locator("#watchlist .symbol").all_text_contents()
    others = ["ACME@5", *(symbol for symbol in symbols if symbol != "ACME")]
    hide = """(hidden) => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    title = page.title()
    page.wait_for_function("(before) => document.title !== before", arg=title)
    page.evaluate(hide, False)
    expect_chart(page, "ACME")
    assert recorded_requests(page) == [{"m": "unsubscribe", "p": others}, {"m": "subscribe", "p": others}]


@seen_on_the_network
def test_the_page_of_the_feed_answers_heartbeats(app_server: StartServer, page: PlaywrightPage) -> None:
    server = app_server(QUIET_FEED)
    with page.expect_websocket() as opening:
        page.goto(server.url)

    def is_late_echo(payload: str) -> bool:
        """The answer to a heartbeat that comes when an unanswered one would have ended the connection."""
        _, _, number = payload.partition("~h~")
        return bool(number) and int(number) > 24

    opening.value.wait_for_event("framesent", is_late_echo)
    assert not opening.value.is_closed()
    expect(page.locator("#state")).to_have_text("Connected")


@on_a_phone
def test_the_feed_fits_a_narrow_phone_and_moves_less_when_asked(feed: AppServer, new_context: NewContext) -> None:
    narrow = {"width": 320, "height": 640}
    page = new_context(viewport=narrow, has_touch=True, is_mobile=True, reduced_motion="reduce").new_page()
    page.goto(f"{feed.url}/?symbol=PICKLE")
    expect_chart(page, "PICKLE")
    assert page.evaluate("() => document.documentElement.scrollWidth") == narrow["width"]
    assert page.evaluate("() => document.getAnimations().length") == 0
    page.locator("#chart").tap()
    page.wait_for_function("() => Number(document.getElementById('chart').getAttribute('aria-valuenow')) < 235")


# All of them

# The elements that stick out of the window at a side, or whose content sticks out of them. What may: the line of
# people, which scrolls sideways, what ends in an ellipsis, what is there for screen readers alone.
STICKING_OUT = """() => {
    const right = document.documentElement.clientWidth;
    const sticksOut = (element) => {
        const { textOverflow, clipPath } = getComputedStyle(element);
        if (clipPath !== 'none' || element.closest('#people')) return false;
        const box = element.getBoundingClientRect();
        const isFull = element.clientWidth && element.scrollWidth > element.clientWidth + 1;
        return box.left < -0.5 || box.right > right + 0.5
            || isFull && textOverflow !== 'ellipsis' && !element.matches('input, textarea, select');
    };
    return [...document.querySelectorAll('body, body :not(svg *, option)')].filter(sticksOut).map(
        (element) => `${element.cloneNode().outerHTML} in ${element.parentElement.cloneNode().outerHTML}`
    );
}"""


def states(example: str, server: AppServer, page: Page) -> Iterator[str]:
    """The page of an example in one state after another."""
    page.goto(f"{server.url}/?transport=websocket&symbol=COMET")
    if example == "chatroom":
        expect(page.locator("#name")).to_be_visible()
        yield "at the door"
        join(page, server, "W" * 24)
        say(page, "W" * 500)
        say(page, "Ok 😀")
        expect(messages(page)).to_have_count(2)
        yield "in the room"
        server.kill()
        expect(page.locator("#retry")).to_be_visible()
        say(page, "W" * 100)
        yield "without a connection"
    elif example == "feed":
        expect_chart(page, "COMET")
        yield "with a chart"
        server.kill()
        expect(page.locator("#retry")).to_be_visible()
        yield "without a connection"
    elif example == "ping":
        expect(page.locator("#count")).to_have_text(re.compile(r"^\d\d"))
        yield "running"
    else:
        say(page, "W" * 100)
        for outcome in ("^5 of 5 work", "^None of them works"):
            page.get_by_role("button", name="Test all").click()
            expect(page.locator("#progress")).to_have_text(re.compile(outcome))
            yield "tested"
            server.kill()


@pytest.mark.engines
@pytest.mark.page_errors(*CONNECTION_ERRORS)
@pytest.mark.parametrize("example", ["chatroom", "feed", "ping", "transports"])
def test_pages_are_light_or_dark_and_never_wider_than_their_window(
    example: str, app_server: StartServer, new_context: NewContext
) -> None:
    server = app_server(FRAMED_FEED if example == "feed" else EXAMPLES / example / f"{example}.py")
    for scheme, ground in GROUNDS.items():
        page = new_context(viewport={"width": WIDTHS[0], "height": 700}, color_scheme=scheme).new_page()
        page.goto(server.url)
        assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == ground
    for state in states(example, server, page):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 700})
            assert page.evaluate(STICKING_OUT) == [], f"{width} pixels, {state}"


@on_a_phone
@pytest.mark.parametrize("example", ["chatroom", "feed", "ping", "transports"])
def test_on_a_phone(example: str, app_server: StartServer, new_context: Callable[..., BrowserContext]) -> None:
    server = app_server(EXAMPLES / example / f"{example}.py")
    page = new_context(viewport=PHONE, has_touch=True, is_mobile=True, color_scheme="dark").new_page()
    if example == "chatroom":
        join(page, server, "W" * 24)
        say(page, "W" * 500)
        expect(messages(page)).to_have_count(1)
    else:
        page.goto(server.url)
        expect(page.locator("#state")).to_have_text(re.compile("^Connected"))
    width, background = page.evaluate(
        "() => [document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"
    )
    assert width == PHONE["width"]
    assert background == GROUNDS["dark"]
    small = page.locator("button:visible:not(.link), select:visible, input:visible, textarea:visible")
    boxes = [each.bounding_box() for each in small.all()]
    assert all(box and box["height"] >= 44 for box in boxes)


@seen_on_the_network
@pytest.mark.parametrize("example", ["chatroom", "feed", "ping", "transports"])
def test_nothing_is_loaded_from_elsewhere(example: str, app_server: StartServer, context: BrowserContext) -> None:
    server = app_server(EXAMPLES / example / f"{example}.py")
    addresses: list[str] = []
    context.on("request", lambda request: addresses.append(request.url))
    page = context.new_page()
    page.on("websocket", lambda websocket: addresses.append(websocket.url))
    response = page.goto(server.url)
    if example == "chatroom":
        join(page, server, "Ann")
    expect(page.locator("#state")).to_have_text(re.compile("^Connected"))
    assert any(address.startswith("ws:") for address in addresses)
    assert {urlsplit(address).netloc for address in addresses} == {f"localhost:{server.port}"}
    assert response is not None
    assert response.headers["content-security-policy"].startswith("default-src 'self';")
    for path in (f"{example}.py", f"../{example}/{example}.py", "common.css/", "index.html.py"):
        assert context.request.get(f"{server.url}/{path}").status == 404
