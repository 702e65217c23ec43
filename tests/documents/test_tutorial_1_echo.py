"""docs/tutorial/1-echo.rst: a server that answers, and its page."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.documents.pages import Page
from tests.documents.tutorial import Reader
from tests.engines import Page as Tab
from tests.engines.expecting import expect

PAGE = Page("docs/tutorial/1-echo.rst")
INSTALL = PAGE.code("Install", language="console")
COPY = PAGE.code("Two files", language="console")
START = PAGE.code("Start it", language="console")
PAGE.file("docs/tutorial/code/1-echo/server.py")
PAGE.file("docs/tutorial/code/1-echo/page.html")


@pytest.mark.page_errors("ERR_CONNECTION_REFUSED")
def test_the_server_answers_and_the_page_connects_again(reader_at: Callable[[int], Reader], page: Tab) -> None:
    reader = reader_at(1)
    reader.type(INSTALL)
    reader.type(COPY)
    terminal = reader.serve(START)
    page.goto(reader.url)
    page.get_by_label("Message").fill("hello")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("li")).to_have_text(["The server has heard: hello"])

    terminal.press_ctrl_c()
    assert "Traceback" not in terminal.output()
    reader.serve(START)
    page.get_by_label("Message").fill("again")
    page.get_by_label("Message").press("Enter")
    expect(page.locator("li")).to_have_text(["The server has heard: hello", "The server has heard: again"])
