"""Fixtures for tests in real browsers, of three engines: tests/engines.

`@pytest.mark.engines()`
    The test runs in each engine; `engines("chromium", because="...")` in those alone, with the reason. Without this
    marker a test runs in Chromium. Why a test runs in some engines alone is printed at the end.
`page`
    A fresh page in a fresh context; `context` is that context.
`new_context(**options)`
    One more context, that is one more person with cookies of their own. Options are those of Playwright's
    `browser.new_context` (`viewport`, `color_scheme`, ...). `new_context().new_page()` is a second window.
`contexts`
    A fresh context in each engine, by its name, for a test that runs in all at once: of minutes that a test has to wait
    it waits one for all. Errors in their pages are not noted.
`page_errors`
    What went wrong in any page of the test, one line each: uncaught exceptions and console errors. A test whose list is
    not empty at the end fails. A test that provokes errors says which with
    `@pytest.mark.page_errors("ERR_CONNECTION_REFUSED")` (regular expressions; none at all allows every error), or looks
    at them itself and calls `page_errors.clear()`.
`app_server(script, *args)`
    Starts a Python script, a `Path` or the source itself, as `python script --port=N ARGS` on a free port and gives an
    `AppServer` back as soon as it accepts connections.
`start_intermediary(port)`
    Puts an `Intermediary` (tests/browser/intermediary.py) before the server at that port.

All these tests are plain functions, never `async def`: the synchronous API keeps an event loop of its own running in
this thread, so from its start on no other loop can run here. For that reason they are sorted behind all other tests.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import re
import sysconfig
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.appserver import AppServer
from tests.programs import path_of

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Playwright, WebError

    from tests.browser.intermediary import Intermediary
    from tests.engines import Browser, Context, Page

# Generous, because the machine may be busy: a test waits for events, and only a broken one ever waits this long.
ACTION_MILLISECONDS = 30_000

# What a browser notes by itself on the console about requests that failed: patterns for the marker `page_errors`.
NETWORK_ERRORS = (
    "^console: (Failed to load resource|Refused to execute script|WebSocket connection to)",
    "^console: (Firefox can.t establish a connection|The Same Origin Policy disallows|nosniff)",
)

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

# Beside Playwright's own, which turn off what asks for updates and the like: what is not for localhost goes to a proxy
# that is none.
FIREFOX_PREFERENCES: dict[str, str | float | bool] = {
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.no_proxies_on": "localhost, 127.0.0.1, [::1]",
}

ENGINES = ("chromium", "firefox", "webkit")  # see tests/engines, which imports drivers that not every test needs
TITLES = {"chromium": "Chromium", "firefox": "Firefox", "webkit": "WebKit"}
MINI_BROWSER = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/webkit2gtk-4.1/MiniBrowser"

app_servers_key = pytest.StashKey[list[AppServer]]()
run_key = pytest.StashKey["Run"]()


class Run:
    """What the run tells of the engines at its end."""

    def __init__(self) -> None:
        self.tests: collections.Counter[str] = collections.Counter()  # by engine
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self.reasons: collections.Counter[tuple[str, str]] = collections.Counter()  # by engines, and why in them alone
        self.versions: dict[str, str] = {}


_is_interrupted = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        type=lambda names: names.split(","),
        metavar="NAMES",
        help="run the tests in these engines alone; several: those in several at once, none: those in no browser",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[run_key] = Run()
    unknown = {*(config.option.engines or ())} - {*ENGINES, "several", "none"}
    if unknown:
        raise pytest.UsageError(f"--engines knows no {', '.join(unknown)}")


def pytest_keyboard_interrupt() -> None:
    global _is_interrupted
    _is_interrupted = True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "browsers" in getattr(item, "fixturenames", ()))
    if config.option.engines:
        others = [item for item in items if place_of(item) not in config.option.engines]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if place_of(item) in config.option.engines]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in item.stash.get(app_servers_key, []):
            report.sections.append((f"Output of {server.name} on port {server.port}", server.output()))
    if "browsers" in getattr(item, "fixturenames", ()):
        run = item.config.stash[run_key]
        engine = engine_of(item) or "in several at once"
        run.seconds[engine] += report.duration
        if report.when == "call":
            run.tests[engine] += 1
            marker = item.get_closest_marker("engines")
            if marker is not None and marker.args:
                run.reasons[", ".join(TITLES[each] for each in marker.args), marker.kwargs["because"]] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash[run_key]
    if not run.seconds:
        return
    terminalreporter.section("engines of browsers")
    for engine in sorted(run.seconds, key=[*ENGINES, "in several at once"].index):
        name = f"{TITLES.get(engine, engine.capitalize())} {run.versions.get(engine, '')}".rstrip()
        terminalreporter.write_line(f"{name}: {run.tests[engine]} tests in {run.seconds[engine]:.0f} s")
    if run.tests.keys() & {"firefox", "webkit"}:
        from tests.engines import CANNOT

        for engine in ENGINES:
            for what in CANNOT[engine]:
                terminalreporter.write_line(f"No test in {TITLES[engine]} can {what}.")
    for (engines, because), count in run.reasons.most_common():
        terminalreporter.write_line(f"In {engines} alone, {count} tests: {because}")


# The browser


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = next(metafunc.definition.iter_markers("engines"), None)  # the nearest
    if marker is not None and "browser" in metafunc.fixturenames:
        if marker.args and not marker.kwargs.get("because"):
            pytest.fail(f"{metafunc.definition.nodeid}: @pytest.mark.engines({marker.args}) does not say because=...")
        metafunc.parametrize("browser", marker.args or ENGINES, indirect=True, scope="module")


def engine_of(item: pytest.Item) -> str:
    """The engine that a test runs in, `""` for a test that runs in none, or in several at once."""
    if "browser" not in getattr(item, "fixturenames", ()):
        return ""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("browser", "chromium")) if callspec else "chromium"


def place_of(item: pytest.Item) -> str:
    """As `--engines` has it."""
    return engine_of(item) or ("several" if "browsers" in getattr(item, "fixturenames", ()) else "none")


@pytest.fixture(scope="session")
def browsers(request: pytest.FixtureRequest) -> Iterator[Browsers]:
    """Each engine's browser, started when it is asked for: `browsers["webkit"]`."""
    with Browsers(request.config.stash[run_key].versions) as browsers:
        yield browsers


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest, browsers: Browsers) -> Browser:
    """The browser of the test's engine. Of a module's tests those of one engine follow each other."""
    return browsers[getattr(request, "param", "chromium")]


class Browsers:
    """The engines' browsers. All that they keep is in a directory of theirs, which goes with them."""

    def __init__(self, versions: dict[str, str]) -> None:
        self._versions = versions
        self._exits = contextlib.ExitStack()
        self._exits_of_playwright = contextlib.ExitStack()
        self._started: dict[str, Browser] = {}
        self._dark_firefox: Browser | None = None

    def __enter__(self) -> Browsers:
        return self

    def __exit__(self, *error: object) -> None:
        """Playwright's driver ends at Ctrl-C, with its browsers, and would never answer; so it does when the tests have
        ended."""
        if _is_interrupted:
            self._exits_of_playwright.pop_all()
        self._exits_of_playwright.close()
        self._exits.close()

    def __getitem__(self, engine: str) -> Browser:
        """The browser of an engine; a new one where the one that there was has crashed."""
        browser = self._started.get(engine)
        if browser is None or not browser.is_connected():
            browser = self._start_webkit() if engine == "webkit" else self._start_by_playwright(engine)
            self._started[engine] = browser
            self._versions[engine] = browser.version
        return browser

    @functools.cached_property
    def _environment(self) -> dict[str, str]:
        """That of the tests, but for the directories where programs of a user keep things."""
        home = self._exits.enter_context(tempfile.TemporaryDirectory(prefix="home-", ignore_cleanup_errors=True))
        inherited = {name: value for name, value in os.environ.items() if not re.match(r"XDG_\w+_HOME$", name)}
        return inherited | {"HOME": home}

    def new_context(self, browser: Browser, **options: Any) -> Context:
        """A context of this browser, or of a second Firefox with dark pages, where `color_scheme` asks for them: the
        driver of Firefox sets no colour scheme."""
        if options.get("color_scheme") == "dark" and browser is self._started.get("firefox"):
            if self._dark_firefox is None or not self._dark_firefox.is_connected():
                self._dark_firefox = self._start_firefox(is_dark=True)
            browser = self._dark_firefox
        return browser.new_context(**options)

    # Imported here, since these fixtures are known to all tests, of which few drive a browser.

    def _start_webkit(self) -> Browser:
        from tests.engines import webkit

        driver, xvfb = path_of("webkit"), path_of("xvfb")
        assert driver
        assert xvfb
        return self._exits.enter_context(webkit.launch(driver, MINI_BROWSER, xvfb, self._environment))

    def _start_by_playwright(self, engine: str) -> Browser:
        if engine == "firefox":
            return self._start_firefox(is_dark=False)
        browser = self._playwright.chromium.launch(
            executable_path=path_of("chromium"),
            args=CHROMIUM_ARGUMENTS,
            ignore_default_args=["--disable-back-forward-cache"],  # as people have it; the other engines do, too
            env={**self._environment},
        )
        self._exits_of_playwright.callback(browser.close)
        return browser

    def _start_firefox(self, *, is_dark: bool) -> Browser:
        scheme = {"layout.css.prefers-color-scheme.content-override": 0 if is_dark else 1}
        browser = self._playwright.firefox.launch(
            channel="moz-firefox",
            executable_path=path_of("firefox"),
            firefox_user_prefs={**FIREFOX_PREFERENCES, **scheme},
            env={**self._environment},
        )
        self._exits_of_playwright.callback(browser.close)
        return browser

    @functools.cached_property
    def _playwright(self) -> Playwright:
        from playwright.sync_api import expect, sync_playwright

        expect.set_options(timeout=ACTION_MILLISECONDS)
        return self._exits_of_playwright.enter_context(sync_playwright())


# What Firefox notes of requests that failed looks like exceptions in WebDriver BiDi; of some, Playwright keeps the end.
# That a page which is left had a WebSocket is no error.
_NOTE = re.compile(r"^(Firefox can.t establish a connection|The Same Origin Policy disallows|nosniff\)\.$)")
_LEAVES = re.compile("^The connection to ws.* was interrupted while the page was loading")


def note_exception(page_errors: list[str], text: str) -> None:
    """Add what Playwright calls an exception to the errors of a page."""
    if not _LEAVES.search(text):
        page_errors.append(f"{'console' if _NOTE.search(text) else 'exception'}: {text}")


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
    browsers: Browsers,
    page_errors: list[str],
    app_server: object,  # the servers outlive the pages: a page must not lose its server while it closes
    start_intermediary: object,
) -> Iterator[Callable[..., Context]]:
    from tests.engines import webkit

    contexts: list[Context] = []

    def note_error(event: WebError) -> None:
        note_exception(page_errors, str(event.error))

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            page_errors.append(f"console: {message.text} ({message.location['url']})")

    def new_context(**options: Any) -> Context:
        context = browsers.new_context(browser, **options)
        contexts.append(context)
        if isinstance(context, webkit.Context):
            context.note_errors = page_errors.extend
        else:
            context.set_default_timeout(ACTION_MILLISECONDS)
            context.on("weberror", note_error)
            context.on("console", note_console)
        return context

    yield new_context
    for context in contexts:
        if not _is_interrupted:
            context.close()


@pytest.fixture
def context(new_context: Callable[..., Context]) -> Context:
    return new_context()


@pytest.fixture
def page(context: Context) -> Page:
    return context.new_page()


@pytest.fixture
def contexts(browsers: Browsers, app_server: object) -> Iterator[dict[str, Context]]:
    contexts = {engine: browsers[engine].new_context() for engine in ENGINES}
    yield contexts
    for context in contexts.values():
        context.close()


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


@pytest.fixture
def start_intermediary() -> Iterator[Callable[[int], Intermediary]]:
    from tests.browser.intermediary import Intermediary

    with contextlib.ExitStack() as exits:
        yield lambda port: exits.enter_context(Intermediary(port))
