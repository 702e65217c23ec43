"""What an engine reads of a multipart stream: WebKit no multipart/x-mixed-replace, which older servers answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import APP, Client
from tests.engines import Page


@pytest.mark.engines
def test_connects_over_a_multipart_stream_from_another_origin(page: Page, app_server: Callable[..., AppServer]) -> None:
    server, other_server = app_server(APP), app_server(APP)
    page.goto(other_server.url)
    client = Client(page, server.port, "xhr-multipart").connect()
    client.send("hello", "é中😀")
    assert client.wait_for_messages(2) == ["hello", "é中😀"]
    assert client.log[:2] == [["connecting", "xhr-multipart"], ["connect"]]


@pytest.mark.engines("webkit", because="the other engines read multipart/x-mixed-replace")
def test_a_stream_that_the_engine_cancels_is_not_tried_again(page: Page, app_server: Callable[..., AppServer]) -> None:
    server = app_server(APP)
    page.goto(server.url)
    for _ in range(2):
        client = Client(page, server.port, "xhr-multipart", "xhr-polling", resource="trickle").connect()
        client.wait_for("connect_failed")
    assert [event[:2] for event in client.log] == [["connecting", "xhr-polling"], ["connect_failed", 404]]
