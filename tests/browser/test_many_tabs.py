"""More tabs of one site than a browser has connections to a server over HTTP/1.1: six, for all tabs together."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import BrowserContext as PlaywrightContext
from playwright.sync_api import Error
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.intermediary import Intermediary
from tests.browser.scenes import APP, Scene, eventually
from tests.browser_fixtures import NETWORK_ERRORS
from tests.engines import Browser, Context, Page, engine_name

# When each tab kept a connection, the seventh got none before another's poll ended, after 20 seconds; of streams never.
SOON_SECONDS = 10
TABS = {"chromium": 10, "firefox": 7, "webkit": 7}
LISTS = {
    "xhr-polling": ["xhr-polling"],
    "jsonp-polling": ["jsonp-polling"],
    "xhr-multipart": ["xhr-multipart"],
    "htmlfile": ["htmlfile"],
    "all": None,
}
LONG = r"/\d+(/\d+)?$"
SHORT = r"/\d+;wait=0(/\d+)?$"
HIDDEN = "Object.defineProperty(document, 'hidden', { get: () => !window.isShown });"
SHOW = "{ window.isShown = true; document.dispatchEvent(new Event('visibilitychange')); }"

OpenTab: TypeAlias = Callable[..., Scene]


@pytest.fixture
def site(app_server: Callable[..., AppServer]) -> AppServer:
    return app_server(APP, "--logging=warning")


@pytest.fixture
def line(site: AppServer, start_intermediary: Callable[[int], Intermediary]) -> Intermediary:
    """A line to the site that lets no WebSocket through."""
    line = start_intermediary(site.port)
    line.drop("/websocket")
    return line


@pytest.fixture
def open_tab(site: AppServer, line: Intermediary) -> Iterator[OpenTab]:
    """Opens a page of the site with a socket."""

    def open_tab(page: Page, transports: list[str] | None, **options: Any) -> Scene:
        return Scene(page, site, {"transports": transports, **options}, through=line).open()

    yield open_tab
    assert site.output() == ""


def seconds_of(action: Callable[[], Any]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def seconds_to_connect(scene: Scene) -> float:
    """From the first attempt on, without the time that the page took to load."""
    [log] = scene.logs
    connected_at = next(at for at, event, *_ in log if event == "connect")
    return float(connected_at - log[0][0]) / 1000


def talk(scene: Scene, message: str = "hello") -> None:
    """Send a message, and wait until it is back."""
    scene.send(message)
    eventually(lambda: scene.messages[0][-1:], [message])


def polls(line: Intermediary, scene: Scene, kind: str) -> int:
    """How many polls of a scene there were, of those that are LONG or SHORT."""
    return len(line.seen(f"GET .*-polling/{scene.ids[0]}{kind}"))


@pytest.mark.engines
@pytest.mark.page_errors(*NETWORK_ERRORS)
@pytest.mark.parametrize("transports", LISTS)
def test_tabs_leave_connections_to_each_other_and_to_the_site(
    browser: Browser, context: Context, open_tab: OpenTab, transports: str
) -> None:
    tabs = TABS[engine_name(browser)]
    scenes = []
    for _ in range(tabs):
        scene = open_tab(context.new_page(), LISTS[transports])
        scene.wait_until_connected()
        scenes.append(scene)
    connected = [seconds_to_connect(scene) for scene in scenes]
    answered = [seconds_of(functools.partial(talk, scene)) for scene in scenes]
    page = context.new_page()
    loaded = [seconds_of(lambda: page.goto(scenes[0].other_url)) for _ in range(3)]
    print(transports, *(scene.types[0] for scene in scenes))
    for what, seconds in {"connected": connected, "there and back": answered, "another page": loaded}.items():
        print(f"{what} in {' '.join(f'{each:.1f}' for each in seconds)} s")
        assert max(seconds) < SOON_SECONDS, what
    [remembered] = [each["value"] for each in scenes[0].page.context.cookies() if each["name"] == "socketio"]
    assert remembered == ("xhr-multipart" if transports == "all" else transports)


@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling"])
def test_a_tab_that_is_closed_leaves_its_place_to_another(
    context: PlaywrightContext, line: Intermediary, open_tab: OpenTab, transport: str
) -> None:
    first, *_, last = [open_tab(context.new_page(), [transport]) for _ in range(5)]
    last.wait_until_connected()
    eventually(lambda: polls(line, last, SHORT) > 1, True)
    assert polls(line, last, LONG) == 0
    first.page.close()
    eventually(lambda: polls(line, last, LONG), 1)
    talk(last)


def test_what_others_keep_under_such_a_name_is_removed(context: PlaywrightContext, open_tab: OpenTab) -> None:
    """Also where it is none of ours, and can't be read."""
    first, second = (open_tab(context.new_page(), ["xhr-polling"]) for _ in range(2))
    first.wait_until_connected()
    second.wait_until_connected()
    second.page.evaluate(
        "{ localStorage[`socketio ${origin} 1`] = 'mine'; localStorage[`socketio ${origin} 2`] = 'null'; }"
    )
    for scene in (first, second):
        talk(scene)
    entries = "Object.keys(localStorage).filter((each) => each.startsWith('socketio')).length"
    eventually(lambda: first.page.evaluate(entries), 2)
    assert [scene.logs[0][-1][1] for scene in (first, second)] == ["message"] * 2


def test_not_each_message_is_a_write_that_the_other_tabs_hear(context: PlaywrightContext, open_tab: OpenTab) -> None:
    streaming, other = (open_tab(context.new_page(), ["xhr-multipart"]) for _ in range(2))
    streaming.wait_until_connected()
    other.wait_until_connected()
    other.page.evaluate("{ window.heard = []; addEventListener('storage', ({ key }) => heard.push(key)); }")
    for number in range(20):
        talk(streaming, f"{number}")
    seconds = seconds_of(lambda: talk(other))
    assert len(other.page.evaluate("heard")) < 10, seconds


@pytest.mark.page_errors
def test_a_tab_that_crashed_leaves_its_place_to_another(context: PlaywrightContext, open_tab: OpenTab) -> None:
    options: dict[str, Any] = {
        "resource": "brisk",
        "timeout": 3000,
    }  # so long an entry lasts after the last sign of life
    page, other, crashing = (context.new_page() for _ in range(3))
    scenes = [open_tab(each, ["xhr-multipart"], **options) for each in (other, other.context.new_page(), crashing)]
    for scene in scenes:
        scene.wait_until_connected()
    assert [scene.types[0] for scene in scenes] == ["xhr-multipart"] * 3
    crash(crashing)

    def transport_of_a_new_tab() -> str:
        scene = open_tab(page, ["xhr-multipart"], **options)
        scene.wait_until_connected()
        return scene.types[0]

    assert transport_of_a_new_tab() == "xhr-polling"
    eventually(transport_of_a_new_tab, "xhr-multipart")


def crash(page: PlaywrightPage) -> None:
    with page.expect_event("crash"), pytest.raises(Error):
        page.goto("chrome://crash")


def test_the_tab_that_is_looked_at_gets_a_place_of_a_hidden_one(
    context: PlaywrightContext, line: Intermediary, open_tab: OpenTab
) -> None:
    context.add_init_script(HIDDEN)
    *others, last = [open_tab(context.new_page(), ["xhr-polling"]) for _ in range(5)]
    for scene in [*others, last]:
        scene.wait_until_connected()
    eventually(lambda: polls(line, last, SHORT) > 0, True)
    talk(last, "hidden")
    last.page.evaluate(SHOW)
    for scene in others:
        talk(scene)  # and polls again, without a place in favour of the one that is shown
    eventually(lambda: polls(line, last, LONG) > 0, True)
    eventually(lambda: sum(polls(line, scene, SHORT) > 0 for scene in others) > 0, True)
    for scene in [*others, last]:
        talk(scene, "again")


def test_tabs_that_connect_at_the_same_moment_agree_on_who_may_stream(
    context: PlaywrightContext, open_tab: OpenTab
) -> None:
    scenes = [open_tab(context.new_page(), ["xhr-multipart"]) for _ in range(10)]
    for scene in scenes:
        scene.wait_until_connected()
        scene.page.evaluate("sockets[0].disconnect()")
    at = time.time() * 1000 + 1000
    for scene in scenes:
        scene.page.evaluate("(at) => { setTimeout(() => sockets[0].connect(), at - Date.now()); }", at)
    for scene in scenes:
        scene.wait_until_connected()
    assert sorted(scene.types[0] for scene in scenes) == ["xhr-multipart"] * 3 + ["xhr-polling"] * 7
    for scene in scenes:
        talk(scene)
