"""The chatroom example, for people who compose their text, write from right to left, or let a browser keep nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.chatroom_pages import expect_messages, join, messages, say
from tests.engines import Page
from tests.engines.expecting import expect

CHATROOM = Path(__file__).resolve().parents[2] / "examples" / "chatroom" / "chatroom.py"
# A key that belongs to a composition: the event says so, or it has the code 229, as in Safari.
COMPOSED = """(box, composed) => {
  box.value = 'nihon';
  box.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...composed }));
  return [box.value, document.querySelectorAll('.message').length];
}"""


@pytest.fixture
def chatroom(app_server: Callable[..., AppServer]) -> AppServer:
    return app_server(CHATROOM)


@pytest.mark.engines
def test_an_enter_that_ends_a_composition_sends_nothing(chatroom: AppServer, page: Page) -> None:
    join(page, chatroom, "Ann")
    box = page.get_by_label("Message", exact=True)
    for composed in ({"isComposing": True, "keyCode": 229}, {"keyCode": 229}):
        assert box.evaluate(COMPOSED, composed) == ["nihon", 0]
    box.press("Enter")
    expect_messages(page, "nihon")


@pytest.mark.engines
def test_what_is_written_from_right_to_left_ends_at_the_left(chatroom: AppServer, page: Page) -> None:
    join(page, chatroom, "Ann")
    for text, is_reversed in (("שלום.", True), ("hello.", False)):
        say(page, text)
        expect(messages(page).last).to_have_text(text)
        placed = messages(page).last.evaluate(
            """(item) => [0, item.firstChild.length - 1].map((index) => {
              const range = document.createRange();
              range.setStart(item.firstChild, index);
              range.setEnd(item.firstChild, index + 1);
              return range.getBoundingClientRect().left;
            })"""
        )
        assert (placed[1] < placed[0]) is is_reversed


@pytest.mark.engines("chromium", because="only its driver runs a script before a page's own")
def test_who_blocks_cookies_can_chat(chatroom: AppServer, page: PlaywrightPage) -> None:
    """Then a page that asks for its storage gets an exception."""
    page.add_init_script(
        """for (const name of ['localStorage', 'sessionStorage']) {
          Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError'); } });
        }"""
    )
    join(page, chatroom, "Ann")
    say(page, "hello")
    expect_messages(page, "hello")
