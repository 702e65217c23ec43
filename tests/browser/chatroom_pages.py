"""Pages of the chatroom example, as people use them."""

from __future__ import annotations

import re
from typing import TypeVar

from tests.appserver import AppServer
from tests.engines import Locator, Page
from tests.engines.expecting import expect

AnyPage = TypeVar("AnyPage", bound=Page)


def join(page: AnyPage, server: AppServer, name: str, transport: str = "websocket") -> AnyPage:
    page.goto(f"{server.url}/?transport={transport}")
    page.get_by_label("What shall the others call you?").fill(name)
    page.get_by_role("button", name="Join").click()
    expect_connected(page, transport)
    expect(page.locator("#people .me")).to_have_text(re.compile(f"^{name}"))
    return page


def say(page: Page, text: str) -> None:
    box = page.get_by_label("Message", exact=True)
    if "\n" in text:  # what is filled in is typed, in Firefox: a line break would send what is before it
        box.evaluate(
            "(box, text) => { box.value = text; box.dispatchEvent(new Event('input', { bubbles: true })); }", text
        )
    else:
        box.fill(text)
    box.press("Enter")


def expect_connected(page: Page, transport: str) -> None:
    expect(page.locator("#state")).to_have_text(f"Connected · {transport}")


def expect_people(page: Page, *names: str) -> None:
    expect(page.locator("#people li")).to_have_count(len(names))
    assert sorted(page.locator("#people li").all_text_contents()) == sorted(names)


def messages(page: Page) -> Locator:
    return page.locator("#log .message .text")


def expect_messages(page: Page, *texts: str) -> None:
    expect(messages(page)).to_have_count(len(texts))
    assert messages(page).all_text_contents() == list(texts)
