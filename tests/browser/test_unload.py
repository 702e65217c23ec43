"""What a page sends in its listener for `unload`, when it is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.intermediary import Intermediary
from tests.browser.scenes import APP, Scene, eventually, report_of
from tests.browser.test_page_lifecycle import close
from tests.engines import Context

# A stream ends with its page, and its session with it: what a page sends over it in `unload` may come too late.
TRANSPORTS = ("websocket", "xhr-polling", "jsonp-polling")

pytestmark = pytest.mark.page_errors()  # requests that were under way, in some engines

Leave = Callable[[Scene], object]

OTHER_WAYS: dict[str, Leave] = {
    "reloaded": lambda scene: scene.page.reload(),
    "left for another page of the site": lambda scene: scene.page.goto(scene.other_url),
    "left for another site, or none": lambda scene: scene.page.goto("about:blank"),
}

# The last is 60,000 bytes of 65,536 that browsers send for a page that has ended.
SEND = """() => {
  addEventListener('unload', () => sockets.forEach((each) => {
    each.send('one');
    each.send({ two: '&+ é😀' });
    each.send('x'.repeat(60000));
  }));
}"""
MESSAGES = ["one", {"two": "&+ é😀"}, "x" * 60_000]


def assert_all_arrive(context: Context, server: AppServer, origin: AppServer, transport: str, leave: Leave) -> None:
    options = {"transports": [transport], "rememberTransport": False}
    scene = Scene(context.new_page(), server, options, origin=origin).open()
    scene.wait_until_connected()
    (session_id,) = scene.ids
    scene.page.evaluate(SEND)
    leave(scene)
    eventually(lambda: [each for sender, each in report_of(server)["received"] if sender == session_id], MESSAGES)
    if transport == "websocket":
        scene.wait_until_closed({session_id})


@pytest.mark.engines(
    "chromium", "webkit", because="Firefox may cut the connections of a page that is left before it tells it"
)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_a_page_sends_as_its_tab_is_closed_arrives(
    context: Context, app_server: Callable[..., AppServer], transport: str
) -> None:
    server, other = app_server(APP, "--logging=warning"), app_server(APP, "--logging=warning")
    for origin in (server, other):
        assert_all_arrive(context, server, origin, transport, lambda scene: close(scene.page))
    assert (server.output(), other.output()) == ("", "")


@pytest.mark.engines("chromium", because="the others may keep it, or cut its connections before they tell it")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("way", OTHER_WAYS)
def test_what_a_page_sends_as_it_goes_elsewhere_arrives(
    context: Context, app_server: Callable[..., AppServer], way: str, transport: str
) -> None:
    server, other = app_server(APP, "--logging=warning"), app_server(APP, "--logging=warning")
    for origin in (server, other):
        assert_all_arrive(context, server, origin, transport, OTHER_WAYS[way])
    assert (server.output(), other.output()) == ("", "")


@pytest.mark.engines("chromium", because="the others may keep it, or cut its connections before they tell it")
@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling"])
def test_what_a_page_sends_before_it_disconnects_there_is_not_overtaken(
    page: PlaywrightPage, app_server: Callable[..., AppServer], transport: str
) -> None:
    """One POST has the message. None that ends the session goes out beside it, and the tab's place is free."""
    server = app_server(APP, "--logging=warning")
    with Intermediary(server.port) as line:
        scene = Scene(page, server, {"transports": [transport], "rememberTransport": False}, through=line).open()
        scene.wait_until_connected()
        (session_id,) = scene.ids
        page.evaluate("addEventListener('unload', () => { sockets[0].send('bye'); sockets[0].disconnect(); })")
        page.goto(scene.other_url)
        eventually(lambda: [each for sender, each in report_of(server)["received"] if sender == session_id], ["bye"])
        assert len(line.seen("^POST ")) == 1
        assert page.evaluate("Object.keys(localStorage)") == []
    assert server.output() == ""


@pytest.mark.engines("chromium", because="the other engines have no such policy")
def test_a_page_that_may_not_hear_of_it_ends_its_sessions_at_once(
    page: PlaywrightPage, app_server: Callable[..., AppServer]
) -> None:
    server = app_server(APP, "--logging=warning")
    scene = Scene(page, server)
    scene.url = scene.url.replace("/?", "/no-unload?")
    scene.open()
    scene.wait_until_connected()
    ids = set(scene.ids)
    page.evaluate("addEventListener('unload', () => { localStorage.heard = true; })")
    page.evaluate("addEventListener('pagehide', ({ persisted }) => { localStorage.persisted = persisted; })")
    page.reload()
    scene.wait_until_closed(ids)
    assert page.evaluate("[localStorage.persisted, localStorage.heard]") == ["false", None]
