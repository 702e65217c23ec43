"""What a page is told when its client is refused: status and text, and no attempts that would be refused, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import APP, Client
from tests.engines import Page

# What the browser itself notes on the console about a request that failed.
pytestmark = pytest.mark.page_errors("^console: ")

REFUSAL = [403, "the application refused this connection"]


@pytest.mark.engines
def test_a_refusal_of_every_transport_stops_the_attempts(page: Page, app_server: Callable[..., AppServer]) -> None:
    server, other_server = app_server(APP), app_server(APP)
    page.goto(server.url)
    Client(page, server.port, "websocket", resource="refusing").connect().wait_for("connect")  # is accepted
    for origin in (server, other_server):
        page.goto(origin.url)
        client = Client(page, server.port, resource="refusing", rememberTransport=False).connect()
        client.wait_for("connect_failed")
        assert client.log == [
            ["connecting", "websocket"],
            ["connecting", "xhr-multipart"],
            ["connect_failed", *REFUSAL],
        ]
        assert client.state == [False, False, False]


def test_another_refusal_does_not(page: Page, app_server: Callable[..., AppServer]) -> None:
    server = app_server(APP)
    page.goto(server.url)
    client = Client(page, server.port, "xhr-polling", "jsonp-polling", "websocket", resource="never").connect()
    client.wait_for("connect_failed")
    tried = [["connecting", transport] for transport in ("xhr-polling", "jsonp-polling", "websocket")]
    assert client.log == [*tried, ["connect_failed", 403, "xhr-polling is not enabled here"]]
    client = Client(page, server.port, "jsonp-polling", "websocket", resource="never").connect()
    client.wait_for("connect_failed")
    assert client.log[2:] == [["connect_failed"]]


def test_it_ends_the_reconnecting(page: Page, app_server: Callable[..., AppServer]) -> None:
    server = app_server(APP)
    page.goto(server.url)
    client = Client(page, server.port, "xhr-polling", resource="refusing", reconnectionDelay=10).connect()
    client.send("close")
    client.wait_for("reconnect_failed")
    assert [event[0] for event in client.log] == [
        *("connecting", "connect", "disconnect"),
        *("reconnecting", "connecting", "reconnect_failed"),
    ]
    assert client.log[-1] == ["reconnect_failed", *REFUSAL]
    assert client.state == [False, False, False]


def test_of_a_text_the_page_is_told_the_beginning_and_of_a_page_nothing(
    page: Page, app_server: Callable[..., AppServer]
) -> None:
    server = app_server(APP)
    page.goto(server.url)
    for kind, text in (("plain", "é" * 500), ("html", None)):
        client = Client(page, server.port, "xhr-polling", resource=f"failing/{kind}").connect()
        client.wait_for("connect_failed")
        assert client.log[-1] == ["connect_failed", 503, text]
