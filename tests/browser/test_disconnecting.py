"""`disconnect()` over polling tells the server, so `on_close` runs at once. test_page_lifecycle.py leaves pages."""

from __future__ import annotations

import time

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import Client, session
from tests.engines import Page
from tests.support import POLLING

# A busy machine may need some; a session whose client says nothing lasts more than 30.
SECONDS = 25

pytestmark = pytest.mark.engines

over = pytest.mark.parametrize


@over("transport", POLLING)
@over("origin", ["own", "other"])
def test_disconnect_ends_the_session_once_what_was_sent_before_has_arrived(
    page: Page, server: AppServer, other_server: AppServer, transport: str, origin: str
) -> None:
    page.goto({"own": server, "other": other_server}[origin].url)
    client = Client(page, server.port, transport).connect()
    client.wait_for("connect")
    client.run("{ socket.send('one'); socket.send('two'); socket.disconnect(); }")
    deadline = time.monotonic() + SECONDS
    while not session(server, client.session_id)["ended"]:
        assert time.monotonic() < deadline, "on_close did not run"
        time.sleep(0.05)
    assert session(server, client.session_id)["received"] == ["one", "two"]
