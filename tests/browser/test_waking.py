"""A page that slept, or was frozen: its client notices at once what has died, and takes nothing alive for dead."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.client_pages import Client
from tests.engines import Page

# The milliseconds of silence after which a client gives up: less than it slept, more than a test waits.
TIMEOUT = 60_000

WAKE = {
    "visible": "document.dispatchEvent(new Event('visibilitychange'))",
    "resumed": "document.dispatchEvent(new Event('resume'))",
    "shown": "window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))",
    "online": "window.dispatchEvent(new Event('online'))",
}
# Timers of a computer that sleeps may stand still, while its clock goes on.
SLEEP = "{ const { now } = Date; Date.now = () => now() + 70_000; }"

over_each_sign = pytest.mark.parametrize("sign", WAKE)


@over_each_sign
def test_a_connection_that_died_in_sleep_is_ended_at_once(page: PlaywrightPage, server: AppServer, sign: str) -> None:
    page.goto(server.url)
    client = Client(page, server.port, "websocket", reconnect=False, timeout=TIMEOUT).connect()
    client.wait_for("connect")
    page.evaluate(SLEEP)
    page.evaluate(WAKE[sign])
    client.wait_for("disconnect")


@over_each_sign
def test_a_connection_that_is_alive_is_not(page: PlaywrightPage, server: AppServer, sign: str) -> None:
    page.goto(server.url)
    client = Client(page, server.port, "websocket", resource="impatient", reconnect=False).connect()
    client.wait_for("connect")
    page.evaluate(SLEEP)
    page.evaluate(WAKE[sign])
    page.wait_for_timeout(2500)  # more than it is given to show that it lives
    client.send("hello")
    assert client.wait_for_messages(1) == ["hello"]
    assert client.log == [["connecting", "websocket"], ["connect"], ["message", "hello"]]


@over_each_sign
def test_who_waits_to_reconnect_reconnects_now(page: PlaywrightPage, server: AppServer, sign: str) -> None:
    page.goto(server.url)
    client = Client(page, server.port, "websocket", reconnectionDelay=1_000_000).connect()
    client.send("close")
    client.wait_for("reconnecting")
    page.evaluate(WAKE[sign])
    client.wait_for("reconnect")


def test_the_network_is_back(page: PlaywrightPage, server: AppServer) -> None:
    page.goto(server.url)
    client = Client(page, server.port, "websocket", reconnectionDelay=1_000_000, timeout=3000).connect()
    client.wait_for("connect")
    page.context.set_offline(True)
    client.send("close")
    client.wait_for("reconnecting")
    page.context.set_offline(False)
    client.wait_for("reconnect")


@pytest.mark.engines
def test_a_page_that_was_frozen_reads_what_has_arrived_before_it_takes_its_connections_for_dead(
    page: Page, server: AppServer
) -> None:
    """The server says something every 0.3 s; the page can read nothing of it for three seconds."""
    page.goto(server.url)
    clients = [
        Client(page, server.port, transport, resource="impatient", reconnect=False, timeout=2000).connect()
        for transport in ("websocket", "xhr-multipart", "htmlfile")
    ]
    for client in clients:
        client.wait_for("connect")
    page.evaluate("() => { const end = performance.now() + 3000; while (performance.now() < end); }")
    page.wait_for_timeout(2500)
    for client in clients:
        client.send("hello")
        assert client.wait_for_messages(1) == ["hello"]
        assert client.log[1:] == [["connect"], ["message", "hello"]]
