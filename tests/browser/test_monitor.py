"""The live page: what an operator sees of 120 connections, and does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page as PlaywrightPage
from playwright.sync_api import expect as playwright_expect

from tests.appserver import AppServer
from tests.browser.monitor_app import COUNT
from tests.engines import Context, Page
from tests.engines.expecting import expect

NewContext = Callable[..., Context]
StartServer = Callable[..., AppServer]

APP = Path(__file__).with_name("monitor_app.py")
in_each_engine = pytest.mark.engines


IS_SORTED_BY_ID = """() => {
  const ids = [...document.querySelectorAll('#table td.id')].map((cell) => cell.textContent);
  return ids.length === 50 && ids.join() === [...ids].sort().join();
}"""


def open_page(page: Page, server: AppServer) -> Page:
    page.goto(f"{server.url}/below/monitor/")
    expect(page.locator("#state")).to_have_text(re.compile("Live over websocket"))
    expect(page.locator("#position")).to_have_text(f"1 to 50 of {COUNT}")
    return page


def column(page: Page, name: str) -> list[str]:
    """The texts of a column, from the top."""
    texts: list[str] = page.evaluate(
        "(name) => [...document.querySelectorAll(`#table td[data-column=${name}]`)].map((cell) => cell.textContent)",
        name,
    )
    return texts


@in_each_engine
def test_an_operator_sees_all_and_acts(app_server: StartServer, page: Page) -> None:
    server = app_server(APP)
    open_page(page, server)
    page.evaluate(
        "() => { window.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e)); }"
    )

    # Live numbers: of connections by transport, of messages, which five clients send all the time.
    expect(page.locator(".plot .now").first).to_have_text(str(COUNT))
    expect(page.locator(".plot .legend").first).to_have_text(re.compile("websocket108"))
    expect(page.locator(".plot").nth(1)).to_have_text(re.compile(r"Messages a second[1-9]"))
    expect(page.locator("#processes tbody tr")).to_have_count(1)
    expect(page.locator("#groups-count")).to_have_text("7")

    # From page to page, and back. Sorted by its queue, a row is in another place each time.
    page.get_by_role("button", name="Id").click()
    expect(page.locator("th[data-column=id]")).to_have_attribute("aria-sort", "ascending")
    page.wait_for_function(IS_SORTED_BY_ID)
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#position")).to_have_text(f"51 to 100 of {COUNT}")
    page.get_by_role("button", name="Last page").click()
    expect(page.locator("#position")).to_have_text(f"71 to 120 of {COUNT}")
    page.get_by_role("button", name="Previous").click()
    expect(page.locator("#position")).to_have_text(f"21 to 70 of {COUNT}")
    page.get_by_role("button", name="First page").click()
    expect(page.locator("#position")).to_have_text(f"1 to 50 of {COUNT}")

    # Sorted on the server.
    page.get_by_role("button", name="Received").click()
    expect(page.locator("th[data-column=received]")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#table tbody tr").first).not_to_have_text(re.compile("xhr-polling"))
    page.wait_for_function("() => Number(document.querySelector('#table td[data-column=received]').textContent) > 0")
    page.get_by_role("button", name="Id").click()
    page.wait_for_function(IS_SORTED_BY_ID)

    # Filtered by a group, whose button fills the filter.
    page.locator("#groups-list button").first.click()
    expect(page.locator("#position")).to_have_text(re.compile("of 1[78]$"))
    assert set(column(page, "groups")) == {"room 0"}
    page.locator("#filter").fill("xhr-polling")
    expect(page.locator("#position")).to_have_text("1 to 12 of 12")
    assert set(column(page, "transport")) == {"xhr-polling"}

    # One is sent a message, and closed.
    page.get_by_role("button", name="Send a message").first.click()
    page.get_by_label("Message", exact=True).fill('{"hello": "<b>you</b>"')
    page.get_by_label("Send it as JSON").click()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#dialog-problem")).to_have_text(re.compile("^This is no JSON"))
    page.get_by_label("Message", exact=True).fill('{"hello": "<b>you</b>"}')
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#toast")).to_have_text(re.compile("was sent the message"))
    page.get_by_role("button", name="Close").first.click()
    page.get_by_role("button", name="Close it").click()
    expect(page.locator("#toast")).to_have_text(re.compile("is being closed"))
    expect(page.locator("#position")).to_have_text("1 to 11 of 11")
    assert "got {'hello': '<b>you</b>'}" in server.output()
    assert (
        len(re.findall(r"monitor: \S+ (closed|sent a message to) session \w{8} \(xhr-polling\)", server.output())) == 2
    )

    assert page.evaluate("() => violations.length") == 0


@in_each_engine
def test_who_may_only_read_finds_no_buttons(app_server: StartServer, page: Page) -> None:
    open_page(page, app_server(APP, "--rights=read"))
    expect(page.locator("#rights")).to_have_text("Read only")
    expect(page.locator(".acts button")).to_have_count(0)


@pytest.mark.page_errors("WebSocket connection", "ERR_", "Failed to load", "can.t establish", "interrupted")
def test_a_page_that_lost_its_server_says_so_and_comes_back(app_server: StartServer, page: Page) -> None:
    server = app_server(APP)
    open_page(page, server)
    server.kill()
    expect(page.locator("#state")).to_have_text(re.compile("Trying again|Connecting"))
    expect(page.locator("body")).to_have_attribute("data-stale", "")
    server.start()
    expect(page.locator("#state")).to_have_text(re.compile("Live"))
    expect(page.locator("#position")).to_have_text(f"1 to 50 of {COUNT}")


CUT = """() => [...document.querySelectorAll('html, .scroll, .legend')].filter(
  (each) => each.scrollWidth > each.clientWidth || (each.matches('.legend') && each.scrollHeight > each.clientHeight)
).map((each) => each.outerHTML.slice(0, 100))"""


def test_nothing_is_wider_than_the_screen(app_server: StartServer, new_context: NewContext) -> None:
    page = open_page(new_context(viewport={"width": 1440, "height": 700}).new_page(), app_server(APP))
    for width in (1440, 1100, 1080, 780, 375, 320):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate(CUT) == [], width


def test_a_connection_that_is_closing_is_marked_and_the_longest_queue_is_on_top(
    app_server: StartServer, page: Page
) -> None:
    open_page(page, app_server(APP, "--slow"))
    top = page.locator("#table tbody tr").first
    expect(top.locator("td.warn")).to_have_text(re.compile("MB$"))
    top.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Close it").click()
    expect(top.locator(".tag")).to_have_text("closing")
    expect(top.locator("td.warn")).to_have_text(re.compile("MB$"))
    expect(top.get_by_role("button", name="Close")).to_be_disabled()


def test_the_page_is_used_by_keyboard(app_server: StartServer, page: PlaywrightPage) -> None:
    open_page(page, app_server(APP))
    page.keyboard.press("Tab")
    playwright_expect(page.get_by_text("To the connections")).to_be_focused()
    plot = page.locator(".plot .canvas").first
    plot.focus()
    page.keyboard.press("ArrowLeft")
    playwright_expect(plot).to_have_attribute(
        "aria-valuetext", re.compile("seconds ago: websocket 108, xhr-polling 12")
    )
    page.keyboard.press("Escape")
    head = page.get_by_role("button", name="Id")
    head.focus()
    page.keyboard.press("Enter")
    playwright_expect(page.locator("th[data-column=id]")).to_have_attribute("aria-sort", "ascending")
    page.wait_for_function(IS_SORTED_BY_ID)  # from here on each row stays where it is
    close = page.get_by_role("button", name="Close").first
    close.focus()
    page.keyboard.press("Enter")
    playwright_expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    playwright_expect(page.locator("#dialog")).not_to_be_visible()
    playwright_expect(close).to_be_focused()
