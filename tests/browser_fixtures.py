"""Fixtures for tests in a real browser: Debian's Chromium, driven by Playwright's synchronous API.

`page`
    A fresh page in a fresh context; `context` is that context.
`new_context(**options)`
    One more context, that is one more person with cookies of their own. Options are those of Playwright's
    `browser.new_context` (`viewport`, `color_scheme`, ...). `new_context().new_page()` is a second window.
`page_errors`
    What went wrong in any page of the test, one line each: uncaught exceptions and console errors. A test whose list is
    not empty at the end fails. A test that provokes errors says which with
    `@pytest.mark.page_errors("ERR_CONNECTION_REFUSED")` (regular expressions; none at all allows every error), or looks
    at them itself and calls `page_errors.clear()`.
`app_server(script, *args)`
    Starts a Python script, a `Path` or the source itself, as `python script --port=N ARGS` on a free port and gives an
    `AppServer` back as soon as it accepts connections.

All these tests are plain functions, never `async def`: the synchronous API keeps an event loop of its own running in
this thread, so from its start on no other loop can run here. For that reason they are sorted behind all other tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.appserver import AppServer
from tests.programs import path_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, WebError

# Generous, because the machine may be busy: a test waits for events, and only a broken one ever waits this long.
ACTION_MILLISECONDS = 30_000

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.example 127.0.0.1",  # other sites
)

app_servers_key = pytest.StashKey[list[AppServer]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in item.stash.get(app_servers_key, []):
            report.sections.append((f"Output of {server.name} on port {server.port}", server.output()))
    return report


# The browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # Here, since these fixtures are known to all tests, of which few drive a browser.
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=ACTION_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path_of("chromium"), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page_errors(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    errors: list[str] = []
    yield errors
    marker = request.node.get_closest_marker("page_errors")
    if marker is not None:
        allowed = marker.args or (".*",)
        errors = [error for error in errors if not any(re.search(pattern, error) for pattern in allowed)]
    if errors:
        pytest.fail("\n".join(["Errors in the page:", *errors]), pytrace=False)


@pytest.fixture
def new_context(
    browser: Browser,
    page_errors: list[str],
    app_server: object,  # the servers outlive the pages: a page must not lose its server while it closes
) -> Iterator[Callable[..., BrowserContext]]:
    contexts: list[BrowserContext] = []

    def note_exception(event: WebError) -> None:
        page_errors.append(f"exception: {event.error}")

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            page_errors.append(f"console: {message.text} ({message.location['url']})")

    def new_context(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.set_default_timeout(ACTION_MILLISECONDS)
        context.on("weberror", note_exception)
        context.on("console", note_console)
        contexts.append(context)
        return context

    yield new_context
    for context in contexts:
        context.close()


@pytest.fixture
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    return new_context()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


# The server


@pytest.fixture
def app_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., AppServer]]:
    servers: list[AppServer] = []
    request.node.stash[app_servers_key] = servers

    def app_server(script: Path | str, *arguments: str) -> AppServer:
        number = len(servers) + 1
        if isinstance(script, str):
            source, script = script, tmp_path / f"app{number}.py"
            script.write_text(source, encoding="utf-8")
        server = AppServer(script, arguments, tmp_path / f"output{number}.txt")
        servers.append(server)
        server.start()
        return server

    yield app_server
    for server in servers:
        server.kill()
