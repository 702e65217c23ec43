"""The engines of browsers that tests run in: one interface, Playwright's, whatever drives the engine.

======== ======================= =============================================================================
engine   program                 driver
======== ======================= =============================================================================
chromium Debian's chromium       Playwright, by the DevTools protocol
firefox  Debian's firefox-esr    Playwright, by WebDriver BiDi
webkit   MiniBrowser, WebKitGTK  Selenium, by WebDriver; webkit.py has what tests use of Playwright's interface
======== ======================= =============================================================================

A test says with the marker `engines` where it runs (tests/browser_fixtures.py). What it may use follows from the types
of its pages: `Page` is what all drivers can, Playwright's own `Page` is Chromium's and Firefox' alone.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from playwright.sync_api import Browser as PlaywrightBrowser
from playwright.sync_api import BrowserContext as PlaywrightContext
from playwright.sync_api import JSHandle as PlaywrightHandle
from playwright.sync_api import Locator as PlaywrightLocator
from playwright.sync_api import Page as PlaywrightPage

from tests.engines import webkit

# What no test can do in an engine, as its driver can't.
CANNOT: Final = {
    "chromium": (),
    "firefox": (
        "fill in a line break (it is typed, as Enter)",
        "see the frames of a WebSocket (WebDriver BiDi has no event for them)",
        "answer a request in the server's place while it is a script's of another origin",
        "keep a tab that is closed by answering its dialog of beforeunload",
    ),
    "webkit": (
        "see the console, or what goes over the network",
        "answer a request in the server's place",
        "have a window narrower than 447 px: there the page is in a frame of that width",
        "answer the dialog of beforeunload",
    ),
}

Browser: TypeAlias = PlaywrightBrowser | webkit.Browser
Context: TypeAlias = PlaywrightContext | webkit.Context
Page: TypeAlias = PlaywrightPage | webkit.Page
Locator: TypeAlias = PlaywrightLocator | webkit.Locator
Handle: TypeAlias = PlaywrightHandle | webkit.Handle


def engine_name(browser: Browser) -> str:
    """The engine of a browser, as the marker `engines` names it."""
    return "webkit" if isinstance(browser, webkit.Browser) else browser.browser_type.name
