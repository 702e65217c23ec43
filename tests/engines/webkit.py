"""WebKit, the engine of Safari: WebKitGTK's MiniBrowser, driven by Selenium through WebDriver, with what tests use of
Playwright's interface. The names, and what they do, are Playwright's; each waits up to `ACTION_MILLISECONDS`.

A context is a process with cookies of its own; one that was closed is cleared and used again. A page is a window.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self, cast
from urllib.parse import urlencode

from selenium.common.exceptions import (
    InvalidSessionIdException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver import WebKitGTK, WebKitGTKOptions
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.webkitgtk.service import Service
from urllib3.exceptions import HTTPError

ACTION_MILLISECONDS: Final = 30_000
# For each command. WebKitWebDriver ends those of a page by itself after ACTION_MILLISECONDS; sometimes it hangs.
_COMMAND_SECONDS: Final = 3 * ACTION_MILLISECONDS / 1000
NARROWEST_WINDOW: Final = 447  # pixels: a page narrower than that is in a frame
_SCREEN: Final = ("-screen", "0", "1400x1100x24", "-nolisten", "tcp")
_SETPRIV: Final = "/usr/bin/setpriv"  # of util-linux
_ENDS_WITH_PARENT: Final = ("--pdeathsig", "KILL")
_POLL_SECONDS: Final = 0.03
_HELPERS: Final = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
_FRAME: Final = Path(__file__).with_name("frame.html")
_KEYS: Final = {"Enter": Keys.ENTER, "ArrowLeft": Keys.ARROW_LEFT, "ArrowRight": Keys.ARROW_RIGHT, "Tab": Keys.TAB}
_MODIFIERS: Final = {"Shift": Keys.SHIFT, "Control": Keys.CONTROL}


class TimeoutError(AssertionError):
    """What was waited for has not happened."""


def wait_until(is_so: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + ACTION_MILLISECONDS / 1000
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {ACTION_MILLISECONDS} ms: {what()}")
        time.sleep(_POLL_SECONDS)


class CrashError(WebDriverException):
    """A process of WebKit has ended while a test used it. Contexts that are made from then on have new ones."""


class DriverService(Service):
    """The process of WebKitWebDriver; it ends with that of the tests, whatever ends this."""

    def __init__(self, driver: str, environment: dict[str, str]) -> None:
        super().__init__(_SETPRIV, env=environment)
        self._driver = driver

    def command_line_args(self) -> list[str]:
        return [*_ENDS_WITH_PARENT, self._driver, *super().command_line_args()]


class Driver(WebKitGTK):
    """Selenium's driver of one process of MiniBrowser, with a process of WebKitWebDriver between them."""

    def __init__(self, driver: str, program: str, environment: dict[str, str]) -> None:
        options = WebKitGTKOptions()
        options.binary_location = program
        options.add_argument("--automation")
        self._processes: list[int] = []  # descriptors, which never mean another process
        service = DriverService(driver, environment)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Selenium calls itself in a way that it warns of
                super().__init__(options=options, service=service)
        except BaseException:
            service.stop()
            raise
        pid = service.process.pid
        self._processes = [os.pidfd_open(int(each)) for each in _children(pid)]
        self.set_script_timeout(ACTION_MILLISECONDS / 1000)
        cast(RemoteConnection, self.command_executor).client_config.timeout = _COMMAND_SECONDS

    def execute(self, driver_command: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return dict(super().execute(driver_command, params))
        except (InvalidSessionIdException, HTTPError) as error:
            self._kill()  # so that no other command waits
            raise CrashError(f"WebKit, or its driver, has crashed before {driver_command!r}: {error}") from None

    def quit(self) -> None:
        """End the browser, by its process where it doesn't listen any more."""
        with contextlib.suppress(CrashError):
            super().quit()
        self._kill()
        for process in self._processes:
            os.close(process)
        self._processes.clear()

    def _kill(self) -> None:
        self.service.process.kill()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()


class _BlankPage(http.server.BaseHTTPRequestHandler):
    """A page of localhost: only from one of those can its cookies be cleared."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Browser:
    """Starts processes of MiniBrowser, one for each context, on a screen of their own."""

    def __init__(self, driver: str, program: str, xvfb: str, environment: dict[str, str]) -> None:
        self._driver = driver
        self._program = program
        self._environment = environment
        self._idle: list[tuple[str, Driver]] = []  # with their colour schemes
        self._all: list[Driver] = []
        read, write = os.pipe()
        # The end of the screen is that of all programs on it.
        self._screen = subprocess.Popen(
            [_SETPRIV, *_ENDS_WITH_PARENT, xvfb, "-displayfd", str(write), *_SCREEN],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        os.close(write)
        with open(read, encoding="ascii") as display:
            number = display.readline().strip()
        if not number:
            raise RuntimeError(f"{xvfb} has not started, its exit status is {self._screen.wait()}")
        self._display = f":{number}"
        self._blank = http.server.ThreadingHTTPServer(("localhost", 0), _BlankPage)
        self._blank_thread = threading.Thread(target=self._blank.serve_forever, name="blank page", daemon=True)
        self._blank_thread.start()

    def is_connected(self) -> bool:
        return self._screen.poll() is None

    @property
    def version(self) -> str:
        command, environment = [self._program, "--version"], {**self._environment, "DISPLAY": self._display}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return output.split()[-1]

    def new_context(self, *, viewport: Any = None, color_scheme: str = "light", **options: Any) -> Context:
        """A context; Playwright's other options, touch for example, have no effect here."""
        idle = next((each for each in self._idle if each[0] == color_scheme), None)
        if idle is None:
            driver = self._start(color_scheme)
        else:
            self._idle.remove(idle)
            _, driver = idle
        return Context(self, driver, color_scheme, viewport)

    def new_page(self, **options: Any) -> Page:
        return self.new_context(**options).new_page()

    def _start(self, color_scheme: str) -> Driver:
        environment = {
            **self._environment,
            "DISPLAY": self._display,
            "GTK_THEME": "Adwaita:dark" if color_scheme == "dark" else "Adwaita",
            "NO_AT_BRIDGE": "1",
        }
        driver = Driver(self._driver, self._program, environment)
        self._all.append(driver)
        return driver

    def take_back(self, driver: Driver, color_scheme: str) -> None:
        """Clear what a context leaves behind, so that the next one finds nothing of it."""
        try:
            first, *others = driver.window_handles
            for handle in others:
                driver.switch_to.window(handle)
                driver.close()
            driver.switch_to.window(first)
            driver.get(f"http://localhost:{self._blank.server_port}/")
            driver.delete_all_cookies()
        except (WebDriverException, ValueError):
            self._all.remove(driver)
            driver.quit()
        else:
            self._idle.append((color_scheme, driver))

    def close(self) -> None:
        for driver in self._all:
            with contextlib.suppress(WebDriverException):
                driver.quit()
        self._screen.terminate()
        self._screen.wait()
        self._blank.shutdown()
        self._blank_thread.join()
        self._blank.server_close()


class Context:
    """A process of MiniBrowser."""

    def __init__(self, browser: Browser, driver: Driver, color_scheme: str, viewport: Any) -> None:
        self.browser = browser
        self.driver = driver
        self.current: Page | None = None  # the page that commands go to
        self.pages: list[Page] = []
        self.note_errors: Callable[[list[str]], object] = lambda errors: None
        self._color_scheme = color_scheme
        self._viewport = viewport or {"width": 1280, "height": 720}

    def new_page(self) -> Page:
        if self.pages or len(self.driver.window_handles) > 1:
            self.driver.switch_to.new_window("window")
        else:
            self.driver.switch_to.window(self.driver.window_handles[0])
        page = Page(self, self.driver.current_window_handle)
        self.current = page
        self.pages.append(page)
        page.set_viewport_size(self._viewport)
        return page

    def cookies(self) -> list[dict[str, Any]]:
        return list(self.driver.get_cookies())

    def close(self) -> None:
        """Close all pages. What a page has put into its list `pageErrors` is noted first, as no driver sees
        exceptions here; what it has stored goes with it."""
        for page in self.pages:
            with contextlib.suppress(WebDriverException):
                self.note_errors([f"exception: {each}" for each in page.evaluate(_LEAVING)])
        self.browser.take_back(self.driver, self._color_scheme)


# A page of data: has no storage, and may not even ask.
_LEAVING: Final = """() => {
    try { localStorage.clear(); sessionStorage.clear(); } catch {}
    return window.pageErrors ?? [];
}"""


class Handle:
    """A value that stays in the page."""

    def __init__(self, page: Page, number: int) -> None:
        self.page = page
        self.number = number

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        return self.page.evaluate(f"([handle, argument]) => ({expression})(handle, argument)", [self, arg])


def _jsonable(value: Any) -> Any:
    if isinstance(value, Handle):
        return {"handle": value.number}
    if isinstance(value, (list, tuple)):
        return [_jsonable(each) for each in value]
    if isinstance(value, dict):
        return {key: _jsonable(each) for key, each in value.items()}
    return value


class Keyboard:
    def __init__(self, page: Page) -> None:
        self._page = page

    def type(self, text: str) -> None:
        self._page.driver().switch_to.active_element.send_keys(text)

    def press(self, key: str) -> None:
        """Press a key, or several together: "Enter", "Shift+Enter", "a"."""
        *modifiers, key = key.split("+") if len(key) > 1 else [key]
        chain = ActionChains(self._page.driver())
        for modifier in modifiers:
            chain.key_down(_MODIFIERS[modifier])
        chain.send_keys(_KEYS.get(key, key))
        for modifier in modifiers:
            chain.key_up(_MODIFIERS[modifier])
        chain.perform()


class Page:
    """A window, or, for widths that a window can't have, a frame in one."""

    def __init__(self, context: Context, window: str) -> None:
        self.context = context
        self.keyboard = Keyboard(self)
        self._window = window
        self._frame: tuple[int, int] | None = None  # its width and height
        self._is_framed = False

    def driver(self) -> Driver:
        """The driver, whose commands go to this page."""
        driver = self.context.driver
        if self.context.current is not self:
            driver.switch_to.window(self._window)
            self.context.current = self
            if self._is_framed:
                driver.switch_to.frame(0)
        return driver

    def set_viewport_size(self, viewport_size: Any) -> None:
        """Sizes in CSS pixels. A page that is narrower than a window can be has to be loaded after this; one that is in
        a frame already is resized with its frame, to any width."""
        width, height = viewport_size["width"], viewport_size["height"]
        driver = self.driver()
        self._frame = (width, height) if width < NARROWEST_WINDOW else None
        driver.set_window_size(max(width, NARROWEST_WINDOW), height)
        if self._is_framed:
            driver.switch_to.default_content()
        missing = height - int(driver.execute_script("return innerHeight"))
        driver.set_window_size(max(width, NARROWEST_WINDOW), height + missing)
        if self._is_framed:
            driver.execute_script("resize(...arguments)", width, height)
            driver.switch_to.frame(0)

    def goto(self, url: str) -> None:
        driver = self.driver()
        if self._is_framed:
            driver.switch_to.default_content()
        if self._frame is None:
            self._is_framed = False
            driver.get(url)
            return
        # No "data:" URL, since that inherits the Content-Security-Policy of the page before it.
        width, height = self._frame
        driver.get(f"{_FRAME.as_uri()}?{urlencode({'width': width, 'height': height, 'url': url})}")
        driver.switch_to.frame(0)
        self._is_framed = True

    def reload(self) -> None:
        driver = self.driver()
        driver.refresh()
        if self._is_framed:
            driver.switch_to.frame(0)

    def go_back(self) -> None:
        self.driver().back()

    def close(self) -> None:
        """Close the window. The context stays, with an empty window if this was its last."""
        driver = self.driver()
        if len(driver.window_handles) == 1:
            driver.switch_to.new_window("window")
            driver.switch_to.window(self._window)
        driver.close()
        self.context.current = None
        self.context.pages.remove(self)

    def title(self) -> str:
        return str(self.driver().title)

    @property
    def url(self) -> str:
        return str(self.evaluate("() => location.href"))

    def wait_for_url(self, url: str) -> None:
        wait_until(lambda: self.url == url, lambda: f"the URL is {self.url}")

    def wait_for_timeout(self, timeout: float) -> None:
        time.sleep(timeout / 1000)

    def screenshot(self, *, path: str | Path) -> None:
        self.driver().get_screenshot_as_file(str(path))

    # -- Scripts

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        return self._run(
            f"""const value = ({expression});
            return typeof value === 'function' ? value(revived(args[0])) : value;""",
            _jsonable(arg),
        )

    def evaluate_handle(self, expression: str, arg: Any = None) -> Handle:
        number = self._run(
            f"""const value = ({expression});
            return handles.push(typeof value === 'function' ? value(revived(args[0])) : value) - 1;""",
            _jsonable(arg),
        )
        return Handle(self, number)

    def wait_for_function(self, expression: str, *, arg: Any = None) -> None:
        wait_until(lambda: bool(self.evaluate(expression, arg)), lambda: expression)

    def find(self, steps: list[dict[str, Any]], script: str, *arguments: Any) -> Any:
        """Run a function body that knows `found`, the elements of a locator, and `args`."""
        return self._run(f"const found = find(args.shift()); {script}", steps, *arguments)

    def _run(self, body: str, *arguments: Any) -> Any:
        script = f"""const done = arguments[arguments.length - 1];
        const args = [...arguments].slice(0, -1);
        {_HELPERS}
        (async () => {{ {body} }})().then(
            (value) => done([value ?? null]), (error) => done([null, `${{error}}`]));"""
        value, *errors = self.driver().execute_async_script(script, *arguments)
        if errors:
            raise AssertionError(errors[0])
        return value

    # -- Elements

    def locator(self, selector: str, *, has_text: str | None = None, has: Locator | None = None) -> Locator:
        return Locator(self, []).locator(selector, has_text=has_text, has=has)

    def get_by_label(self, text: str, *, exact: bool = False) -> Locator:
        return Locator(self, [{"label": text, "exact": exact}])

    def get_by_role(self, role: str, *, name: str, exact: bool = False) -> Locator:
        return Locator(self, [{"role": role, "name": name, "exact": exact}])

    def get_by_text(self, text: str, *, exact: bool = False) -> Locator:
        return Locator(self, [{"text": text, "exact": exact}])

    def fill(self, selector: str, value: str) -> None:
        self.locator(selector).fill(value)

    def press(self, selector: str, key: str) -> None:
        self.locator(selector).press(key)

    def click(self, selector: str) -> None:
        self.locator(selector).click()


class Locator:
    """Elements of a page, found anew at each use. What acts on one element waits until there is exactly one."""

    def __init__(self, page: Page, steps: list[dict[str, Any]]) -> None:
        self.page = page
        self.steps = steps

    def _with(self, *steps: dict[str, Any]) -> Locator:
        return Locator(self.page, [*self.steps, *steps])

    def locator(self, selector: str, *, has_text: str | None = None, has: Locator | None = None) -> Locator:
        css, is_visible_alone = selector.replace(":visible", ""), ":visible" in selector
        found = self._with({"css": css})
        if is_visible_alone:
            found = found._with({"visible": True})
        if has_text is not None:
            found = found._with({"has_text": has_text})
        if has is not None:
            found = found._with({"has": has.steps})
        return found

    def get_by_role(self, role: str, *, name: str, exact: bool = False) -> Locator:
        return self._with({"role": role, "name": name, "exact": exact})

    def get_by_text(self, text: str, *, exact: bool = False) -> Locator:
        return self._with({"text": text, "exact": exact})

    @property
    def first(self) -> Locator:
        return self.nth(0)

    @property
    def last(self) -> Locator:
        return self.nth(-1)

    def nth(self, index: int) -> Locator:
        return self._with({"nth": index})

    def all(self) -> list[Self]:
        return [type(self)(self.page, [*self.steps, {"nth": index}]) for index in range(self.count())]

    def count(self) -> int:
        return int(self.page.find(self.steps, "return found.length"))

    def all_text_contents(self) -> list[str]:
        return list(self.page.find(self.steps, "return found.map((each) => each.textContent)"))

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        self._wait_for_one("return found.length === 1")
        return self.page.find(self.steps, f"return ({expression})(found[0], args[0])", arg)

    def text_content(self) -> str | None:
        return str(self.evaluate("(element) => element.textContent"))

    def inner_text(self) -> str:
        return str(self.evaluate("(element) => element.innerText"))

    def input_value(self) -> str:
        return str(self.evaluate("(element) => element.value"))

    def get_attribute(self, name: str) -> str | None:
        value = self.evaluate("(element, name) => element.getAttribute(name)", name)
        return None if value is None else str(value)

    def bounding_box(self) -> Any:
        return self.evaluate(
            "(element) => { const { x, y, width, height } = element.getBoundingClientRect();"
            " return { x, y, width, height }; }"
        )

    def click(self) -> None:
        self._act(WebElement.click)

    tap = click

    def press(self, key: str) -> None:
        self.focus()
        self.page.keyboard.press(key)

    def focus(self) -> None:
        self.evaluate("(element) => element.focus()")

    def fill(self, value: str) -> None:
        self._set(
            """element.focus();
            const type = element instanceof HTMLTextAreaElement ? HTMLTextAreaElement : HTMLInputElement;
            Object.getOwnPropertyDescriptor(type.prototype, 'value').set.call(element, args[0]);""",
            value,
            "input",
        )

    def select_option(self, value: str) -> None:
        self._set("element.value = args[0];", value, "input", "change")

    def check(self) -> None:
        if not self.evaluate("(element) => element.checked"):
            self._set("element.checked = true;", None, "input", "change")

    def _set(self, script: str, value: Any, *events: str) -> None:
        self._wait_for_one("return found.length === 1 && isVisible(found[0]) && !found[0].disabled")
        dispatching = "".join(f"element.dispatchEvent(new Event('{event}', {{ bubbles: true }}));" for event in events)
        self.page.find(self.steps, f"const element = found[0]; {script} {dispatching}", value)

    def _wait_for_one(self, script: str) -> None:
        wait_until(
            lambda: bool(self.page.find(self.steps, script)), lambda: f"{self.count()} elements for {self.steps}"
        )

    def _act(self, action: Callable[[WebElement], None]) -> None:
        deadline = time.monotonic() + ACTION_MILLISECONDS / 1000
        while True:
            self._wait_for_one("return found.length === 1 && isVisible(found[0]) && !found[0].disabled")
            script = f"{_HELPERS} return find(arguments[0])[0] ?? null"
            element = self.page.driver().execute_script(script, self.steps)
            try:
                action(element)
            except (StaleElementReferenceException, AttributeError):
                if time.monotonic() > deadline:
                    raise
            else:
                return


class Assertions:
    """What `expect` gives for a page or a locator: assertions that wait."""

    def __init__(self, actual: Page | Locator) -> None:
        self._actual = actual

    def to_have_title(self, title: str | re.Pattern[str]) -> None:
        assert isinstance(self._actual, Page)
        self._wait(self._actual.title, title)

    def to_have_text(self, text: str | re.Pattern[str] | list[str]) -> None:
        if isinstance(text, list):
            self._wait(lambda: list(map(_normalized, self._locator.all_text_contents())), list(map(_normalized, text)))
        else:
            self._wait(self._one("element.textContent"), text)

    def not_to_have_text(self, text: str | re.Pattern[str]) -> None:
        self._wait(self._one("element.textContent"), text, False)

    def to_have_value(self, value: str) -> None:
        self._wait(self._one("element.value"), value)

    def to_have_attribute(self, name: str, value: str | re.Pattern[str]) -> None:
        self._wait(self._one("element.getAttribute(args[0])", name), value)

    def not_to_have_attribute(self, name: str, value: str | re.Pattern[str]) -> None:
        self._wait(self._one("element.getAttribute(args[0])", name), value, False)

    def to_have_count(self, count: int) -> None:
        wait_until(
            lambda: self._locator.count() == count, lambda: f"{self._locator.count()} of {count}: {self._locator.steps}"
        )

    def to_be_visible(self) -> None:
        self._locator._wait_for_one("return found.length === 1 && isVisible(found[0])")

    def to_be_hidden(self) -> None:
        self._locator._wait_for_one("return !found.some(isVisible)")

    def to_be_disabled(self) -> None:
        self._locator._wait_for_one("return found.length === 1 && found[0].disabled")

    def to_be_in_viewport(self) -> None:
        self._locator._wait_for_one(
            """return found.length === 1 && await new Promise((resolve) => {
                new IntersectionObserver(([entry]) => resolve(entry.isIntersecting)).observe(found[0]);
            });"""
        )

    @property
    def _locator(self) -> Locator:
        assert isinstance(self._actual, Locator)
        return self._actual

    def _one(self, value: str, *arguments: Any) -> Callable[[], Any]:
        """What reads a value of the one element; of none, or of several, it is a text that says so."""
        script = f"const [element, ...others] = found; return element && !others.length ? [{value}] : []"

        def read() -> Any:
            values = self._locator.page.find(self._locator.steps, script, *arguments)
            return values[0] if values else _NOT_ONE

        return read

    def _wait(self, read: Callable[[], Any], wanted: Any, is_wanted: bool = True) -> None:
        wait_until(
            lambda: (found := read()) is not _NOT_ONE and _matches(found, wanted) is is_wanted,
            lambda: f"{read()!r} {'is not' if is_wanted else 'is'} {wanted!r}: {self._actual}",
        )


_NOT_ONE: Final = "not exactly one element"


def _normalized(text: str) -> str:
    return " ".join(text.split())


def _matches(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, re.Pattern):
        return found is not None and wanted.search(_normalized(found)) is not None
    if isinstance(wanted, str) and isinstance(found, str):
        return _normalized(found) == _normalized(wanted)
    return bool(found == wanted)


@contextlib.contextmanager
def launch(driver: str, program: str, xvfb: str, environment: dict[str, str]) -> Iterator[Browser]:
    browser = Browser(driver, program, xvfb, environment)
    try:
        yield browser
    finally:
        browser.close()
