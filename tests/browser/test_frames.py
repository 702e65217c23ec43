"""The hidden frames of the browser client's transports jsonp-polling and htmlfile, in each engine."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import Client
from tests.engines import Page

pytestmark = pytest.mark.engines()

over_both_transports = pytest.mark.parametrize("transport", ["jsonp-polling", "htmlfile"])


def test_sockets_over_jsonp_connect_from_another_origin_under_a_policy_for_content(
    page: Page, server: AppServer, other_server: AppServer
) -> None:
    """The frame has the page's policies, and sends the page's Referer all the same."""
    scripts = f"'self' 'unsafe-inline' {server.url}"
    policy = f"default-src 'self'; img-src data:; script-src {scripts}; connect-src {server.url}"
    page.goto(f"{other_server.url}/?policy={quote(policy)}")
    first = Client(page, server.port, "jsonp-polling").connect()
    second = Client(page, server.port, "jsonp-polling", resource="chat/2").connect()
    first.send("first", "about")
    second.send("second", "about")
    assert [first.wait_for_messages(2)[0], second.wait_for_messages(2)[0]] == ["first", "second"]
    assert [first.messages[1]["extra"], second.messages[1]["extra"]] == ["", "2"]
    first.disconnect()
    second.send("third")
    assert second.wait_for_messages(3)[2] == "third"
    assert page.locator("iframe").count() == 1


@over_both_transports
def test_a_transport_is_left_while_its_frame_loads(page: Page, server: AppServer, transport: str) -> None:
    page.goto(server.url)
    client = Client(page, server.port, transport)
    client.run("{ socket.connect(); socket.disconnect(); }")
    assert page.locator("iframe").count() == 0
    client.connect().send("hello")
    assert client.wait_for_messages(1) == ["hello"]
    assert client.log == [["connecting", transport], ["connecting", transport], ["connect"], ["message", "hello"]]


@over_both_transports
def test_connecting_early_does_not_hold_back_the_load_of_the_page(
    page: Page, server: AppServer, transport: str
) -> None:
    page.goto(f"{server.url}/early/{transport}")
    page.wait_for_function("events.includes('connect')")
    assert page.evaluate("events") == ["load", "connect"]
