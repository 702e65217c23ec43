"""The scripts of docs/guide/pages.rst and docs/guide/routing.rst, in a browser."""

from __future__ import annotations

import pytest

from tests.documents.pages import Page, on_given_port
from tests.documents.programs import SO_FAR
from tests.engines.expecting import expect

PAGES = Page("docs/guide/pages.rst")
PAGE = PAGES.code("Pages", language="html")
RETRY = PAGES.code("When there is no connection", language="javascript")
ROUTING = Page("docs/guide/routing.rst")
RESOURCES = ROUTING.code("Resources")
OF_RESOURCES = ROUTING.code("Resources", language="javascript")
EXTRA = ROUTING.code("Extra parameters")
OF_EXTRA = ROUTING.code("Extra parameters", language="javascript")

# The page, and an echo that lets nobody in while a file is there.
ECHO = f"""
import pathlib

import tornado.web
import tornadio


class Index(tornado.web.RequestHandler):
    def get(self):
        self.write({PAGE!r})


class Echo(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        return not pathlib.Path(__file__).with_name("closed").exists()

    def on_message(self, message):
        self.send(message)


router = tornadio.get_router(Echo)
application = tornado.web.Application([("/", Index), router.route()], socket_io_port=8001)
tornadio.SocketServer(application)
"""

CONNECT = "socket.on('connect', () => {{ document.body.append('connected to {} '); }});"

# The servers have no icon, and are killed, or refuse.
pytestmark = [
    pytest.mark.engines("chromium", because="what the scripts use of the client, its own tests use in each engine"),
    pytest.mark.page_errors("favicon.ico", "ERR_CONNECTION_REFUSED", "status of 403", "WebSocket connection to"),
]


def test_the_page_shows_what_comes_and_how_it_stands(app_server, page, tmp_path):
    server = app_server(on_given_port(ECHO))
    page.goto(server.url)
    expect(page.locator("#state")).to_have_text("connected")
    page.fill("input", "<b>Hello</b> 中😀")
    page.press("input", "Enter")
    expect(page.locator("li")).to_have_text(["<b>Hello</b> 中😀"])
    server.kill()
    expect(page.locator("#state")).to_contain_text("again in ")
    server.start()
    expect(page.locator("#state")).to_have_text("connected")
    [script] = tmp_path.rglob("*.py")
    script.with_name("closed").touch()
    page.reload()
    expect(page.locator("#state")).to_contain_text("refused")


def test_a_page_that_was_loaded_while_the_server_was_down_connects_when_it_is_up(app_server, page, tmp_path):
    """The script's own timers run a hundred times as fast."""
    server, pages = app_server(on_given_port(ECHO)), app_server(on_given_port(ECHO))
    server.kill()
    page.goto(f"{pages.url}/socket.io/socket.io.js")
    page.add_script_tag(url=f"{pages.url}/socket.io/socket.io.js")
    script = f"""{{
      window.delays = [];
      const setTimeout = (action, delay) => {{
        delays.push(delay);
        window.setTimeout(action, delay / 100);
      }};
      window.socket = new io.Socket('localhost', {{ port: {server.port}, rememberTransport: false }});
      socket.on('connect_failed', (status) => {{
        window.failure = status;
      }});
      {RETRY}
      socket.connect();
    }}"""
    page.evaluate(f"() => {script}")
    longest = [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
    page.wait_for_function("(count) => delays.length >= count", arg=len(longest))
    server.start()
    page.wait_for_function("socket.connected")
    delays = page.evaluate("delays")
    assert all(most / 2 <= delay <= most for delay, most in zip(delays, longest, strict=False))
    [folder] = [path.parent for path in tmp_path.rglob("app1.py")]
    (folder / "closed").touch()
    page.evaluate("() => { window.failure = null; socket.disconnect().connect(); }")
    page.wait_for_function("window.failure === 403")
    assert page.evaluate("delays.length") == len(delays)
    (folder / "closed").unlink()
    page.evaluate("() => { socket.connect(); }")
    page.wait_for_function("socket.connected")
    server.kill()
    page.evaluate("() => { socket.disconnect().connect(); }")
    page.wait_for_function("(count) => delays.length > count", arg=len(delays))
    assert 500 <= page.evaluate("(count) => delays[count]", len(delays)) <= 1000


def test_a_page_names_a_resource_and_an_extra(app_server, page):
    extra = app_server(on_given_port(EXTRA))
    chat = OF_RESOURCES.replace("8001", "PORT") + CONNECT.format("chat") + "socket.connect();"
    room = OF_EXTRA.replace("8001", str(extra.port)) + CONNECT.format("room")
    scripts = f"<script>{{ {chat} }}</script><script>{{ {room} }}</script>"
    index = f"""
class Index(tornado.web.RequestHandler):
    def get(self):
        scripts = {scripts!r}.replace("PORT", str(server.port))
        self.write('<!doctype html><body></body><script src="/chat/socket.io.js"></script>' + scripts)

application.add_handlers(".*", [("/", Index)])
server = tornadio.SocketServer(application, auto_start=False)
tornado.ioloop.IOLoop.current().start()
"""
    classes = "".join(f"class {name}Connection(MyConnection): pass\n" for name in ("Chat", "Ping", "Map"))
    page.goto(app_server(on_given_port(SO_FAR + classes + RESOURCES + "import tornado.ioloop\n" + index)).url)
    for resource in ("chat", "room"):
        expect(page.locator("body")).to_contain_text(f"connected to {resource}")
    assert "Extra: 123\n" in extra.output()
