"""The three examples, as people use them: real pages, real servers, each of the five transports that browsers have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.appserver import AppServer
from tests.browser.chatroom_pages import expect_connected, expect_messages, expect_people, join, messages, say
from tests.support import OF_BROWSERS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HOSTILE = """é中😀 </script><b>b</b> <img src=x onerror=alert(1)> "double" 'single' \\ &amp;\n\n  indented\u2028end"""
PHONE = {"width": 375, "height": 812}
CONNECTION_ERRORS = (
    "ERR_CONNECTION_REFUSED",
    "ERR_CONNECTION_RESET",
    "ERR_INCOMPLETE_CHUNKED_ENCODING",
    "ERR_EMPTY_RESPONSE",
    "ERR_SOCKET_NOT_CONNECTED",
)

NewContext = Callable[..., BrowserContext]
StartServer = Callable[..., AppServer]


@pytest.fixture
def chatroom(app_server: StartServer) -> AppServer:
    return app_server(EXAMPLES / "chatroom" / "chatroom.py")


@pytest.fixture
def ping(app_server: StartServer) -> AppServer:
    return app_server(EXAMPLES / "ping" / "ping.py")


@pytest.fixture
def transports(app_server: StartServer) -> AppServer:
    return app_server(EXAMPLES / "transports" / "transports.py")


# Chatroom


@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_two_people_chat(transport: str, chatroom: AppServer, new_context: NewContext) -> None:
    ann = join(new_context().new_page(), chatroom, "Ann", transport)
    bob = join(new_context().new_page(), chatroom, "Bob", transport)
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


def test_who_closes_the_page_has_left(chatroom: AppServer, page: Page, new_context: NewContext) -> None:
    join(page, chatroom, "Ann")
    contexts = {transport: new_context() for transport in OF_BROWSERS}
    for transport, context in contexts.items():
        join(context.new_page(), chatroom, transport, transport)
        expect(page.get_by_text(f"{transport} joined")).to_be_visible()
    for context in contexts.values():
        context.close()
    for transport in OF_BROWSERS:
        expect(page.get_by_text(f"{transport} left")).to_be_visible()
    expect_people(page, "Ann")


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


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
def test_a_reload_keeps_name_and_messages(transport: str, chatroom: AppServer, new_context: NewContext) -> None:
    ann = join(new_context().new_page(), chatroom, "Ann", transport)
    say(ann, "Is anybody here?")
    expect_messages(ann, "Is anybody here?")
    ann.reload()
    expect_connected(ann, transport)
    expect_messages(ann, "Is anybody here?")
    expect(ann.locator(".message.own")).to_have_count(1)
    expect_people(ann, "Ann")


def test_newcomers_get_the_history_and_a_name_of_their_own(chatroom: AppServer, context: BrowserContext) -> None:
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
            setTimeout(() => resolve(answers), 15000);
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


def number(page: Page, name: str) -> float:
    return float(re.sub(r"[^0-9.]", "", page.locator(f"#{name}").inner_text()) or "nan")


def test_ping_measures_each_transport(ping: AppServer, page: Page) -> None:
    page.goto(f"{ping.url}/?size=1000&pace=0")
    for transport in OF_BROWSERS:
        page.get_by_label("Transport").select_option(transport)
        expect_connected(page, transport)
        expect(page.locator("#count")).to_have_text(re.compile(r"^([2-9]\d|\d{3}|\d+,\d+)$"))
        page.get_by_role("button", name="Pause").click()
        statistics = [number(page, name) for name in ("minimum", "median", "percentile", "maximum")]
        assert statistics == sorted(statistics)
        assert statistics[0] >= 0
        assert statistics[-1] > 0
        assert number(page, "rate") > 0
        page.get_by_role("button", name="Resume").click()
    assert f"transport={OF_BROWSERS[-1]}" in page.url


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


def test_ping_sends_the_size_that_was_picked(ping: AppServer, page: Page) -> None:
    page.goto(f"{ping.url}/?transport=xhr-polling")
    for size in ("16", "128", "1000", "10000", "100000"):
        with page.expect_request(lambda request: (request.post_data or "").startswith(f"data=~m~{size}~m~")):  # noqa: B023
            page.get_by_label("Message").select_option(size)


@pytest.mark.page_errors(*CONNECTION_ERRORS)
def test_ping_goes_on_when_the_server_was_killed_and_started_again(ping: AppServer, new_context: NewContext) -> None:
    pages = {transport: new_context().new_page() for transport in OF_BROWSERS}
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


# Transports


def test_all_transports_are_tested(transports: AppServer, page: Page) -> None:
    page.goto(transports.url)
    page.get_by_role("button", name="Test all").click()
    expect(page.locator("#progress")).to_have_text(re.compile(r"^5 of 5 work\. The fastest is "), timeout=60_000)
    for transport in OF_BROWSERS:
        row = page.locator("#table tbody", has=page.get_by_role("rowheader", name=transport, exact=True))
        expect(row.locator(".here")).to_have_text("yes")
        expect(row.locator(".connect")).to_have_text(re.compile(r"^\d+(\.\d)? ms$"))
        expect(row.locator(".trip")).to_have_text(re.compile(r"^\d+(\.\d)? ms$"))
    flash = page.locator("#table tbody", has=page.get_by_role("rowheader", name="flashsocket"))
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
    pages = {transport: new_context().new_page() for transport in OF_BROWSERS}
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
    expect(page.locator("#progress")).to_have_text("None of them works at the moment.", timeout=60_000)
    expect(page.locator("#table .here", has_text="failed")).to_have_count(5)
    expect(page.locator("#table .how", has_text="No connection.")).to_have_count(5)


# All three


@pytest.mark.parametrize("example", ["chatroom", "ping", "transports"])
def test_on_a_phone(example: str, app_server: StartServer, new_context: NewContext) -> None:
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
    assert background == "rgb(20, 23, 27)"
    small = page.locator("button:visible:not(.link), select:visible, input:visible, textarea:visible")
    assert all(box and box["height"] >= 44 for box in map(Locator.bounding_box, small.all()))


@pytest.mark.parametrize("example", ["chatroom", "ping", "transports"])
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
