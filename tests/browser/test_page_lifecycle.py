"""Pages that are closed, reloaded, left and come back to, as people do it, in real engines: what becomes of sockets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser.client_pages import shows
from tests.browser.intermediary import Intermediary
from tests.browser.scenes import APP, Scene, eventually, report_of
from tests.browser_fixtures import engine_of
from tests.engines import Context, Page, webkit
from tests.support import OF_BROWSERS

# Within a second where the machine is idle. Without a page's own word, polls take 30 seconds to be missed.
LEFT_SECONDS = 20

pytestmark = pytest.mark.page_errors()  # requests that were under way, in some engines

StartServer = Callable[..., AppServer]


def close(page: Page) -> None:
    """Close the tab as a person does: the page hears of it."""
    if isinstance(page, webkit.Page):
        page.close()
    else:
        page.close(run_before_unload=True)


@shows("a page that is left ends its session at once", transports=OF_BROWSERS)
@pytest.mark.engines
def test_a_page_that_is_left_ends_its_sessions_at_once(
    request: pytest.FixtureRequest, context: Context, app_server: StartServer
) -> None:
    """Firefox does not always send the POST of a tab that is closed: about one in forty never leaves it."""
    server, other = app_server(APP, "--logging=warning"), app_server(APP, "--logging=warning")
    ways: dict[str, Callable[[Scene], object]] = {
        "closed": lambda scene: close(scene.page),
        "reloaded": lambda scene: scene.page.reload(),
        "left for another page of the site": lambda scene: scene.page.goto(scene.other_url),
        "left for another site, or none": lambda scene: scene.page.goto("about:blank"),
    }
    late: list[str] = []
    for way, leave in ways.items():
        for origin in (server, other):
            scene = Scene(context.new_page(), server, origin=origin).open()
            scene.wait_until_connected()
            ids = set(scene.ids)
            left_at = time.time()
            leave(scene)
            closed, opened = scene.wait_until_closed(ids), report_of(server)["opened"]
            for each in ids:
                seconds = closed[each] - left_at
                measured = f"{way}, {'own' if origin is server else 'other'} origin, {opened[each]}: {seconds:.2f} s"
                print(measured)
                if seconds > LEFT_SECONDS:
                    late.append(measured)
            if way != "closed":
                close(scene.page)
    assert len(late) <= (engine_of(request.node) == "firefox"), late
    scene.wait_for_connections(0)


@shows("a page that one comes back to talks again", transports=OF_BROWSERS)
@pytest.mark.engines(
    "chromium", "firefox", because="WebKit's driver waits for a load where a page comes out of the cache"
)
def test_a_page_that_one_comes_back_to_talks_again(page: Page, app_server: StartServer) -> None:
    """By the back button. Chromium and WebKit have the page in their back/forward cache, with its messages; Firefox
    keeps none that had connections, and loads it anew."""
    server = app_server(APP, "--logging=warning")
    scene = Scene(page, server, reconnectionDelay=50).open()
    scene.wait_until_connected()
    scene.send("before")
    scene.wait_for_messages("before")
    ids = scene.ids
    page.evaluate("(url) => { location.href = url; }", scene.other_url)
    page.wait_for_url(scene.other_url)
    go_back_to(scene)
    scene.wait_until_connected()
    scene.send("after")
    if page.evaluate("shown.kept"):
        scene.wait_for_messages("before", "after")
    else:
        scene.wait_for_messages("after")
    assert not set(scene.ids) & set(ids)
    assert scene.types == list(OF_BROWSERS)
    received = [(session_id, message) for session_id, message in report_of(server)["received"]]
    assert sorted(received) == sorted([*((each, "before") for each in ids), *((each, "after") for each in scene.ids)])
    scene.wait_for_connections(len(ids))
    assert server.output() == ""


@shows("a page that one comes back to talks again", transports=OF_BROWSERS)
@pytest.mark.engines("webkit", because="in the other engines the driver goes on when a page comes out of the cache")
def test_a_page_that_comes_out_of_the_cache_talks_again(page: Page, app_server: StartServer) -> None:
    """Nobody can ask the page once it is back, until it loads another: it talks by itself."""
    server = app_server(APP, "--logging=warning")
    scene = Scene(page, server, reconnectionDelay=50).open()
    scene.wait_until_connected()
    ids = scene.ids
    page.evaluate(
        """(url) => {
          let echoes = 0;
          const onMessage = () => {
            echoes += 1;
            if (echoes === sockets.length) {
              location.href = url;
            }
          };
          addEventListener('pageshow', ({ persisted }) => sockets.forEach((each) => {
            each.on('message', onMessage).on('connect', () => each.send(persisted));
          }));
          setTimeout(() => { location.href = url; });
        }""",
        scene.other_url,
    )
    page.wait_for_url(scene.other_url)
    page.evaluate("setTimeout(() => history.back())")
    eventually(lambda: len(report_of(server)["received"]), len(ids))
    received = report_of(server)["received"]
    assert [kept for _, kept in received] == [True] * len(ids)
    assert not {session_id for session_id, _ in received} & set(ids)
    page.wait_for_url(scene.other_url)
    scene.wait_for_connections(0)
    assert server.output() == ""


@pytest.mark.engines("chromium", because="Firefox keeps no page with connections, WebKit's driver can't wait for one")
def test_a_page_that_is_kept_begins_nothing_even_if_it_connects_when_it_is_disconnected(
    page: Page, app_server: StartServer
) -> None:
    server = app_server(APP, "--logging=warning")
    with Intermediary(server.port) as line:
        scene = Scene(page, server, {"transports": ["xhr-polling"]}, through=line).open()
        scene.wait_until_connected()
        page.evaluate("{ sockets[0].on('disconnect', () => sockets[0].connect()); }")
        page.evaluate("(url) => { location.href = url; }", scene.other_url)
        page.wait_for_url(scene.other_url)
        scene.wait_for_connections(0)
        assert page.evaluate("Object.keys(localStorage)") == []
        assert len(line.seen("^GET .*/xhr-polling//")) == 1
        go_back_to(scene)
        scene.wait_until_connected()
        scene.send("after")
        scene.wait_for_messages("after")
        assert page.evaluate("shown.kept") == 1
    assert server.output() == ""


def go_back_to(scene: Scene) -> None:
    """Go back one page. Playwright's own `go_back` waits for a load, and there is none out of the cache."""
    scene.page.evaluate("setTimeout(() => history.back())")

    def place() -> Any:
        try:
            return scene.page.evaluate("[location.pathname, document.readyState]")
        except PlaywrightError:  # between both pages
            return None

    eventually(place, ["/", "complete"])


@shows("who stays on a page that asks stays connected", transports=OF_BROWSERS)
@pytest.mark.engines("chromium", "firefox", because="WebKit's driver can't answer the dialog of beforeunload")
def test_who_stays_on_a_page_that_asks_keeps_the_connections(page: PlaywrightPage, app_server: StartServer) -> None:
    scene = Scene(page, app_server(APP, "--logging=warning")).open()
    scene.wait_until_connected()
    ids = scene.ids
    page.evaluate("addEventListener('beforeunload', (event) => event.preventDefault())")
    page.click("p")  # a page that nobody has touched may not ask
    ways = [lambda: page.evaluate("(url) => { setTimeout(() => { location.href = url; }); }", scene.other_url)]
    assert page.context.browser is not None
    if page.context.browser.browser_type.name == "chromium":  # Firefox' driver closes the tab whatever is answered
        ways.append(lambda: page.close(run_before_unload=True))
    for leave in ways:
        with page.expect_event("dialog") as dialog:
            page.once("dialog", lambda dialog: dialog.dismiss())
            leave()
        assert dialog.value.type == "beforeunload"
    scene.send("still here")
    scene.wait_for_messages("still here")
    assert scene.ids == ids
    page.once("dialog", lambda dialog: dialog.accept())
    page.goto(scene.other_url)


@shows("a download leaves the page connected", transports=OF_BROWSERS)
@pytest.mark.engines
def test_a_download_leaves_the_page_connected(page: Page, app_server: StartServer) -> None:
    """Where a page goes to what turns out to be a download, or no content at all, Firefox cuts its connections, WebKit
    those over HTTP, and both stay on the page. A link with `download` cuts none."""
    server = app_server(APP, "--logging=warning")
    scene = Scene(page, server, reconnectionDelay=50).open()
    scene.wait_until_connected()
    ids = scene.ids
    page.evaluate(
        """() => {
          const link = document.createElement('a');
          link.href = '/download';
          link.download = 'numbers.bin';
          document.body.append(link);
          setTimeout(() => link.click());
        }"""
    )
    scene.wait_until_asked("download")
    scene.send("while it loads")
    scene.wait_for_messages("while it loads")
    assert scene.ids == ids
    page.evaluate("() => { setTimeout(() => { location.href = '/nothing'; }); }")
    scene.wait_until_asked("nothing")
    page.wait_for_timeout(1000)  # no event says that a browser would have cut the connections by now
    scene.wait_until_connected()
    scene.send("after that")
    scene.wait_for_messages("while it loads", "after that")
    assert page.evaluate("shown.times") == 1


@shows("ten quick reloads leave no session", transports=OF_BROWSERS)
@pytest.mark.engines
def test_ten_quick_reloads_leave_no_session_and_no_line_in_the_log(page: Page, app_server: StartServer) -> None:
    """A session whose id a page was sent but has not read when it was left is one that nobody can end. The server lets
    it expire."""
    server, other = app_server(APP, "--logging=warning"), app_server(APP, "--logging=warning")
    for origin in (server, other):
        scene = Scene(page, server, origin=origin, resource="brisk", reloads=10).open()
        page.wait_for_function("window.isLast")
        scene.wait_until_connected()
        ids = scene.ids
        scene.wait_for_connections(len(ids))
        scene.send("still here")
        scene.wait_for_messages("still here")
        assert scene.ids == ids
        page.goto("about:blank")
    scene.wait_for_connections(0)
    report = report_of(server)
    assert report["opened"].keys() == report["closed"].keys()
    assert (server.output(), other.output()) == ("", "")
