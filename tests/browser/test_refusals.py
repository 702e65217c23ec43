"""A page of another origin, which may connect, reads why its connection was refused: status, text, and whether each
other transport would be refused, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.appserver import AppServer
from tests.engines import Page

APP = """
import tornadio
from tests.app import options_of, serve

class Refusing(tornadio.SocketConnection):
    def on_open(self, *args, **kwargs):
        return False

serve(
    tornadio.get_router(Refusing).route(),
    tornadio.get_router(Refusing, {"enabled_protocols": ["jsonp-polling"]}, "never").route(),
    port=options_of().port,
)
"""

READ = """async (url) => {
  const response = await fetch(url, { credentials: 'include', headers: { Accept: 'multipart/mixed, */*;q=0.5' } });
  return [response.status, response.headers.get('Socket-IO-Refusal'), await response.text()];
}"""


@pytest.mark.engines
@pytest.mark.page_errors("Failed to load resource")
def test_a_page_of_another_origin_reads_a_refusal(page: Page, app_server: Callable[..., AppServer]):
    server, other = app_server(APP), app_server(APP)
    page.goto(f"{other.url}/socket.io/socket.io.js")
    for transport in ("xhr-polling", "xhr-multipart", "htmlfile"):
        url = f"{server.url}/socket.io/{transport}//1"
        assert page.evaluate(READ, url) == [403, "every-transport", "the application refused this connection"]
        assert page.evaluate(READ, url.replace("socket.io", "never")) == [403, None, f"{transport} is not enabled here"]
