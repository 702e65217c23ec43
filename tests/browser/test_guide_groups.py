"""docs/guide/groups.rst: a page that is in its room again after its connection was lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page as PlaywrightPage

from tests.appserver import AppServer
from tests.browser_fixtures import NETWORK_ERRORS
from tests.documents.pages import Page, on_given_port

PAGE = Page("docs/guide/groups.rst")
SERVER = PAGE.code("Rooms that clients choose")
SCRIPT = PAGE.code("Rooms that clients choose", language="javascript")

HTML = f"""<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script src="/socket.io/socket.io.js"></script>
<script>
window.logged = [];
console.log = (text) => logged.push(text);
{SCRIPT}
</script>
"""

REST = f"""
import tornado.web

class Index(tornado.web.RequestHandler):
    def get(self):
        self.write({HTML!r})


application = tornado.web.Application([("/", Index), RoomsRouter.route()], socket_io_port=8001)
tornadio.SocketServer(application)
"""


@pytest.mark.engines("chromium", because="the client's script decides it by itself")
@pytest.mark.page_errors(*NETWORK_ERRORS)
def test_a_page_is_in_its_room_before_what_waited_is_said(
    page: PlaywrightPage, app_server: Callable[..., AppServer]
) -> None:
    server = app_server(on_given_port(SERVER + REST))
    page.goto(server.url)
    first = ['{"room":"tea","people":1}', '{"said":"hello"}']
    page.wait_for_function("logged.length >= 2")
    assert page.evaluate("logged") == first
    server.kill()
    page.wait_for_function("!socket.connected")
    page.evaluate("() => { socket.send({ say: 'while offline' }); }")
    server.start()
    page.wait_for_function("logged.length >= 4")
    assert page.evaluate("logged") == [*first, '{"room":"tea","people":1}', '{"said":"while offline"}']
