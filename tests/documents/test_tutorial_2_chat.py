"""docs/tutorial/2-chat.rst: a chat for everybody."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from tests.documents.pages import Page
from tests.documents.tutorial import Reader, read
from tests.engines import Context
from tests.engines import Page as Tab
from tests.engines.expecting import expect

PAGE = Page("docs/tutorial/2-chat.rst")
COPY = PAGE.code("2. A chat for everybody", language="console")
START = PAGE.code("Try it", 0, language="console")
TERMINAL = PAGE.code("Try it", 1, language="console")
for _name in ("server.py", "page.html", "static/chat.js"):
    PAGE.file(f"docs/tutorial/code/2-chat/{_name}")

HOSTILE = "<img src=x onerror=alert(1)>"  # as the page has it


def say(page: Tab, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_label("Message", exact=True).press("Enter")


def test_two_windows_and_a_terminal_talk(
    reader_at: Callable[[int], Reader], new_context: Callable[..., Context]
) -> None:
    reader = reader_at(2)
    reader.type(COPY)
    reader.serve(START)
    assert HOSTILE in PAGE.path.read_text(encoding="utf-8")
    ann, bob = new_context().new_page(), new_context().new_page()
    for page in (ann, bob):
        page.goto(reader.url)
        expect(page.locator("#state")).to_have_text("Connected")
    expect(ann.locator("li")).to_have_text(["Welcome! Others here: 0", "Somebody has come."])
    expect(bob.locator("li")).to_have_text(["Welcome! Others here: 1"])
    say(ann, HOSTILE)
    expect(bob.locator("li").last).to_have_text(HOSTILE)
    expect(bob.locator("li *")).to_have_count(0)

    commands, _ = read(reader.here(TERMINAL))
    terminal = subprocess.run(
        ["bash", "-c", commands],
        cwd=reader.project,
        env=os.environ | reader.environment,
        input="from a terminal\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert "Welcome! Others here: 2" in terminal.stdout
    for page in (ann, bob):
        expect(page.get_by_text("from a terminal", exact=True)).to_be_visible()

    bob.close()
    expect(ann.locator("li").last).to_have_text("Somebody has left. Still here: 1")
    assert ann.evaluate("document.documentElement.scrollWidth <= innerWidth")
