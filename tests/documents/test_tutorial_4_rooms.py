"""docs/tutorial/4-rooms.rst: rooms, and messages that are objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tornadio.sync
from tests.documents.pages import Page
from tests.documents.tutorial import Reader
from tests.engines import Context
from tests.engines import Page as Tab
from tests.engines.expecting import expect

PAGE = Page("docs/tutorial/4-rooms.rst")
COPY = PAGE.code("4. Rooms", language="console")
START = PAGE.code("Try it", language="console")
SENT, RECEIVED = (PAGE.code("Messages", number, language="javascript") for number in (0, 1))
IN_THE_CONSOLE = PAGE.code("Try it", language="javascript")
for _name in ("server.py", "page.html", "static/chat.js"):
    PAGE.file(f"docs/tutorial/code/4-rooms/{_name}")


def log_in(page: Tab, url: str, name: str) -> Tab:
    page.goto(url)
    expect(page).to_have_title("Chat: log in")
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Password").fill("open sesame")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#state")).to_have_text("Connected")
    return page


def enter(page: Tab, room: str) -> None:
    page.get_by_role("button", name=room).click()
    expect(page.get_by_role("button", name=room)).to_have_attribute("aria-pressed", "true")


def say(page: Tab, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_label("Message", exact=True).press("Enter")


@pytest.mark.page_errors("ERR_CONNECTION_REFUSED", "status of 403", "WebSocket connection to")
def test_people_log_in_and_talk_in_rooms(
    reader_at: Callable[[int], Reader], new_context: Callable[..., Context]
) -> None:
    reader = reader_at(4)
    reader.type(COPY)
    terminal = reader.serve(START)
    ann = log_in(new_context().new_page(), reader.url, "Ann")
    phone = {"width": 320, "height": 568}
    bob = log_in(new_context(viewport=phone).new_page(), reader.url, "Bob")
    expect(ann.get_by_text("Choose a room.")).to_be_visible()
    enter(ann, "Kitchen")
    say(ann, "Is there <b>tea</b>?")
    enter(bob, "Kitchen")
    for page in (ann, bob):
        expect(page.locator("#people")).to_have_text("Here: Ann, Bob")
        expect(page.locator("li")).to_have_text(["Ann Is there <b>tea</b>?"])
    say(bob, "Just made some")
    expect(ann.locator("li").last).to_have_text("Bob Just made some")
    assert bob.evaluate("document.documentElement.scrollWidth <= innerWidth")

    enter(bob, "Garden")
    expect(bob.locator("li")).to_have_count(0)
    expect(ann.locator("#people")).to_have_text("Here: Ann")
    bob.evaluate(IN_THE_CONSOLE)
    expect(bob.locator("#problem")).to_have_text("This makes no sense.")
    bob.get_by_role("button", name="Leave").click()
    expect(bob.get_by_text("Choose a room.")).to_be_visible()

    # With the next start there is another secret, and pages go to the login.
    terminal.press_ctrl_c()
    expect(ann.locator("#state")).to_have_text("Connection lost, trying again…")
    expect(ann.get_by_role("button", name="Leave")).to_be_disabled()
    reader.serve(START)
    expect(ann).to_have_title("Chat: log in")
    expect(bob).to_have_title("Chat: log in")
    log_in(ann, reader.url, "Ann")
    enter(ann, "Kitchen")

    cookies = {each["name"]: each["value"] for each in ann.context.cookies()}
    with ThreadPoolExecutor(1) as thread:  # this one has Playwright's event loop
        thread.submit(messages_are_as_the_page_says, f"{reader.url}/socket.io", cookies).result()


def messages_are_as_the_page_says(resource: str, cookies: dict[str, str]) -> None:
    """Those that are sent are understood, and the answers have the form of those that are received."""
    forms = {message["type"]: message for message in map(json.loads, RECEIVED.splitlines())}
    received: dict[str, dict[str, Any]] = {}
    with tornadio.sync.connect(resource, cookies=cookies) as client:
        for line in [*SENT.splitlines(), SENT.splitlines()[0], '"nonsense"']:
            client.send(json.loads(line))
        while received.keys() < forms.keys() or not received["entered"]["said"]:
            message = client.recv(timeout=10)
            received[message["type"]] = message
    for kind, message in received.items():
        assert form_of(message) == form_of(forms[kind])


def form_of(message: Any) -> Any:
    """A message without what is said in it."""
    match message:
        case dict():
            return {key: form_of(value) for key, value in message.items()}
        case [first, *_]:
            return [form_of(first)]
    return type(message)
