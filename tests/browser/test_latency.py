"""A long line: 300 ms each way, and many quick messages, over each transport."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import shows
from tests.browser.intermediary import Intermediary
from tests.browser.scenes import APP, Scene, report_of
from tests.engines import Page
from tests.support import OF_BROWSERS

DELAY_SECONDS = 0.3
MESSAGES = 200


@shows("200 quick messages, 300 ms each way", transports=OF_BROWSERS)
@pytest.mark.engines
def test_quick_messages_over_a_long_line_arrive_once_and_in_order(
    page: Page, app_server: Callable[..., AppServer]
) -> None:
    """There and back. What comes while a POST is under way waits for the next: there are few of them."""
    server = app_server(APP, "--logging=warning")
    with Intermediary(server.port) as line:
        line.delay_seconds = DELAY_SECONDS
        scene = Scene(page, server, through=line).open()
        scene.wait_until_connected()
        page.evaluate(
            """(count) => {
              let sent = 0;
              window.began = performance.now();
              const timer = setInterval(() => {
                sockets.forEach((each) => each.send(sent));
                sent += 1;
                if (sent === count) {
                  window.seconds = (performance.now() - began) / 1000;
                  clearInterval(timer);
                }
              }, 5);
            }""",
            MESSAGES,
        )
        scene.wait_for_messages(*range(MESSAGES))
        posts = len(line.seen("^POST"))
        received = report_of(server)["received"]
        for session_id in scene.ids:
            assert [message for each, message in received if each == session_id] == list(range(MESSAGES))
        seconds = page.evaluate("seconds")  # a second, where the page isn't held up
        print(f"{posts} POSTs while messages were sent for {seconds:.1f} s")
        assert posts <= len(scene.ids) * (2 + seconds / (2 * DELAY_SECONDS))  # one a round trip, and what is left
        assert [[name for _, name, *_ in log if name == "disconnect"] for log in scene.logs] == [[]] * len(scene.ids)
        page.goto("about:blank")
    assert server.output() == ""
