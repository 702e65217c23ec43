"""`expect`, as Playwright has it, for pages and locators of each engine."""

from __future__ import annotations

from typing import overload

from playwright.sync_api import expect as playwright_expect
from playwright.sync_api._generated import LocatorAssertions, PageAssertions

from tests.engines import Locator, Page, webkit


@overload
def expect(actual: Locator) -> LocatorAssertions | webkit.Assertions: ...
@overload
def expect(actual: Page) -> PageAssertions | webkit.Assertions: ...
def expect(actual: Locator | Page) -> LocatorAssertions | PageAssertions | webkit.Assertions:
    """What is asserted waits until it holds, 30 seconds long."""
    if isinstance(actual, (webkit.Page, webkit.Locator)):
        return webkit.Assertions(actual)
    return playwright_expect(actual)
