"""examples/moving: a page of Socket.IO 0.6 and one of Socket.IO 4, with the official client, in the same room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.appserver import REPOSITORY, AppServer
from tests.documents.pages import Page

PAGE = Page("docs/moving-on.rst")
OLD, NEW = (PAGE.file(f"examples/moving/{name}.js") for name in ("old", "new"))
APP = REPOSITORY / "examples" / "moving" / "moving.py"


@pytest.mark.page_errors("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "WebSocket connection to")
def test_an_old_and_a_new_page_are_in_one_room_and_come_back_to_it(
    new_context: Callable[..., BrowserContext], app_server: Callable[..., AppServer], node_modules: Path
) -> None:
    server = app_server(APP, f"--client={node_modules}/socket.io-client/dist")
    old, new = (new_context().new_page() for _ in range(2))
    for page, path, name in ((old, "", "Otter"), (new, "new.html", "Newt")):
        with page.expect_response(f"**/{OLD.name if page is old else NEW.name}"):
            page.goto(f"{server.url}/{path}?name={name}")
        expect(page.get_by_role("status")).to_have_text("Connected")
        expect(old.get_by_role("log")).to_contain_text(f"{name} is here")
    for round_number in range(2):
        for page in (old, new):
            text = f"{round_number} from {page.title()}"
            page.get_by_label("Message", exact=True).fill(text)
            page.get_by_role("button", name="Send").click()
            for each in (old, new):
                expect(each.get_by_text(text)).to_have_count(1)
        if round_number == 0:
            assert server.terminate() == 0
            for page in (old, new):
                expect(page.get_by_role("status")).not_to_have_text("Connected")  # it may have tried again in vain
            old.get_by_label("Message", exact=True).fill("while offline")
            old.get_by_role("button", name="Send").click()
            server.start()
            for page in (old, new):
                expect(page.get_by_role("status")).to_have_text("Connected")
            expect(old.get_by_text("Otter: while offline")).to_have_count(1)
