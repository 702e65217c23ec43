"""Pages whose origin is `null`: a file, and a page in a sandboxed frame. They connect where the setting `origins` has
`null`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import simplejson

from tests.appserver import AppServer
from tests.browser_fixtures import NETWORK_ERRORS
from tests.engines import Page

APP = Path(__file__).with_name("apps_app.py")
FILE = Path(__file__).with_name("apps_page.html")
# htmlfile is for pages of the server's own origin alone; jsonp-polling needs frames within the page, which in a sandbox
# are strangers to it.
PLACES = [(place, name) for place in ("file", "frame") for name in ("websocket", "xhr-multipart", "xhr-polling")]

pytestmark = [pytest.mark.engines, pytest.mark.page_errors("^console: ", *NETWORK_ERRORS)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    server = AppServer(APP, (), tmp_path_factory.mktemp("apps") / "output.txt")
    server.start()
    yield server
    server.kill()


def open_page(page: Page, server: AppServer, place: str, **given: str) -> Callable[[int], list[list[object]]]:
    """Open the page as a file or in a frame: what it has noted, once that are so many events."""
    query = urlencode({"port": server.port, **given})
    page.goto(f"{FILE.as_uri()}?{query}" if place == "file" else f"http://localhost:{server.port}/framed?{query}")

    def events(count: int) -> list[list[object]]:
        length = f"(JSON.parse(document.getElementById('log').textContent || '[]')).length >= {count}"
        page.wait_for_function(length)
        noted: list[list[object]] = simplejson.loads(page.locator("#log").inner_text())
        return noted

    return events


@pytest.mark.parametrize(("place", "transport"), [*PLACES, ("file", "jsonp-polling")])
def test_a_page_without_an_origin_connects_where_null_may(
    page: Page, server: AppServer, place: str, transport: str
) -> None:
    connected, (greeted, greeting), echoed = open_page(page, server, place, resource="null", transport=transport)(3)
    assert connected == ["connect"]
    assert greeted == "message"
    assert greeting == {"origin": "" if transport == "jsonp-polling" else "null"}
    assert echoed == ["message", "é中😀"]


@pytest.mark.parametrize("place", ["file", "frame"])
@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
def test_a_page_without_an_origin_is_refused_elsewhere(
    page: Page, server: AppServer, place: str, transport: str
) -> None:
    assert open_page(page, server, place, resource="listed", transport=transport)(1)[0][0] == "connect_failed"
    assert "origin 'null'" in server.output()
