"""Pages whose requests a service worker answers: from its cache, from the network, or with a page when that fails."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import Client, session
from tests.browser.scenes import eventually
from tests.browser_fixtures import NETWORK_ERRORS
from tests.engines import Page
from tests.support import OF_BROWSERS, STREAMING

# Keeps each response to a GET, for ever, and knows what to show where there is no network.
WORKER = """
  addEventListener('install', () => skipWaiting());
  addEventListener('activate', (event) => event.waitUntil(clients.claim()));
  addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

  async function answer(request) {
    const cache = await caches.open('all');
    const kept = await cache.match(request);
    if (kept) return kept;
    try {
      const response = await fetch(request);
      if (request.method === 'GET') cache.put(request, response.clone()).catch(() => {});
      return response;
    } catch {
      return new Response('<!DOCTYPE html><title>No network</title>', { headers: { 'Content-Type': 'text/html' } });
    }
  }
"""

pytestmark = [
    pytest.mark.engines(
        "chromium", "firefox", because="WebKit's driver keeps a service worker for the pages of other tests"
    ),
    # Firefox tells of a stream that the page has broken off, as the worker does not hear of that.
    pytest.mark.page_errors(*NETWORK_ERRORS, "ServiceWorker|service worker|intercepted"),
]


@pytest.fixture
def controlled(page: Page, server: AppServer) -> Page:
    """A page whose requests the worker answers."""
    page.goto(server.url)
    page.evaluate(
        """async (url) => {
          const controlled = new Promise((resolve) => {
            navigator.serviceWorker.addEventListener('controllerchange', resolve);
          });
          await navigator.serviceWorker.register(url);
          await controlled;
        }""",
        f"/script.js?text={quote(WORKER)}",
    )
    return page


@pytest.mark.parametrize("transport", OF_BROWSERS)
def test_no_poll_is_answered_from_its_cache(controlled: Page, server: AppServer, transport: str) -> None:
    client = Client(controlled, server.port, transport).connect()
    for number in range(3):
        client.send(f"message {number}")
        assert client.wait_for_messages(number + 1)[number] == f"message {number}"
    session_id = client.session_id
    client.disconnect()
    if transport not in STREAMING:  # a worker reads on for its copy, until the server misses answers to its heartbeats
        eventually(lambda: session(server, session_id)["ended"], True)


def test_a_page_in_the_servers_place_is_a_failure(controlled: Page, server: AppServer, other_server: AppServer) -> None:
    nobody = Client(controlled, 1, "xhr-polling", "xhr-multipart").connect()
    nobody.wait_for("connect_failed")
    assert [name for name, *_ in nobody.log] == ["connecting", "connecting", "connect_failed"]
