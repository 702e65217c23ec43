"""docs/guide/authentication.rst: pages that send a token as their first message, with our client and the official one.

The server is that of the page, whose own test is tests/documents/test_guide_authentication.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.appserver import AppServer
from tests.browser_fixtures import NETWORK_ERRORS
from tests.compatibility.official_client import CLIENT
from tests.documents.pages import Page, on_given_port
from tests.documents.programs import SO_FAR
from tests.engines import Page as BrowserPage
from tests.support import OF_BROWSERS

PAGE = Page("docs/guide/authentication.rst")
SECTION = "A token as the first message"
SERVER = PAGE.code(SECTION)
OWN = PAGE.code(SECTION, 0, language="javascript")
OFFICIAL = PAGE.code(SECTION, 1, language="javascript")
TOKEN = "correct horse battery staple"

EMULATION = Path(__file__).parents[1] / "compatibility" / "official_emulation.js"

# What a page logs is in `logged`, and what each of its sockets was sent in `messages`.
HTML = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script>
  window.pageErrors = [];
  window.logged = [];
  console.log = (message) => logged.push(message);
  localStorage.setItem('token', TOKEN);
</script>
<script src="/emulation.js"></script>
<script src="CLIENT"></script>
<body>
<script>
SCRIPT
</script>
"""

REST = """
class Index(tornado.web.RequestHandler):
    def get(self):
        self.write(HTML)


class File(tornado.web.RequestHandler):
    def initialize(self, path):
        self.path = path

    def get(self):
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        with open(self.path, "rb") as file:
            self.write(file.read())


application = tornado.web.Application(
    [
        ("/", Index),
        ("/emulation.js", File, {"path": EMULATION}),
        ("/client.js", File, {"path": OFFICIAL}),
        MembersRouter.route(),
    ],
    socket_io_port=8001,
)
tornadio.SocketServer(application)
"""

Serve = Callable[..., AppServer]

pytestmark = pytest.mark.page_errors(*NETWORK_ERRORS)
over_each_transport = pytest.mark.parametrize("transport", OF_BROWSERS)


@pytest.fixture
def serve(app_server: Callable[..., AppServer], node_modules: Path) -> Serve:
    """Serves a page with a script of the documentation, over this transport."""

    def serve(script: str, client: str, transport: str, token: str = TOKEN) -> AppServer:
        options = f"transports: ['{transport}'], rememberTransport: false, reconnectionDelay: 50"
        head = "new io.Socket(location.hostname"
        assert script.count(head) == 1
        script = script.replace(f"{head}, {{", f"{head}, {{ {options},").replace(
            f"{head})", f"{head}, {{ {options} }})"
        )
        script = script.replace("const socket", "window.socket")
        html = HTML.replace("TOKEN", repr(token)).replace("CLIENT", client).replace("SCRIPT", script)
        constants = {"HTML": html, "EMULATION": str(EMULATION), "OFFICIAL": str(node_modules / CLIENT)}
        values = "".join(f"{name} = {value!r}\n" for name, value in constants.items())
        return app_server(on_given_port(f"{SO_FAR.partition('MyRouter')[0]}{SERVER}{values}{REST}"))

    return serve


def wait_for_messages(page: BrowserPage, *messages: str) -> None:
    page.wait_for_function("(count) => logged.length >= count", arg=len(messages))
    assert page.evaluate("logged") == list(messages)


@pytest.mark.engines
@over_each_transport
def test_the_token_goes_before_what_was_sent_before_the_connection_and_while_there_was_none(
    page: BrowserPage, serve: Serve, transport: str
) -> None:
    server = serve(OWN, "/socket.io/socket.io.js", transport)
    page.goto(server.url)
    wait_for_messages(page, "Come in!", "hello")
    server.kill()
    page.wait_for_function("socket.reconnecting")
    page.evaluate("() => { socket.send('while offline'); }")
    server.start()
    wait_for_messages(page, "Come in!", "hello", "Come in!", "while offline")


@pytest.mark.engines("chromium", because="what the official client does, its own tests show in each engine")
@pytest.mark.parametrize("transport", [each for each in OF_BROWSERS if each != "htmlfile"])  # emulated: it never loads
def test_with_the_official_client_the_page_waits_until_it_is_let_in(
    page: BrowserPage, serve: Serve, transport: str
) -> None:
    server = serve(OFFICIAL, "/client.js", transport)
    page.goto(server.url)
    wait_for_messages(page, "hello")
    page.evaluate("() => { say('later'); }")
    wait_for_messages(page, "hello", "later")
    if transport == "websocket":  # of the others it notices an end after 15 seconds
        server.kill()
        page.wait_for_function("!isMember")
        page.evaluate("() => { say('while offline'); }")
        server.start()
        wait_for_messages(page, "hello", "later", "while offline")


@pytest.mark.engines("chromium", because="what a browser does with it, the tests above show")
@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
@pytest.mark.parametrize(("script", "client"), [(OWN, "/socket.io/socket.io.js"), (OFFICIAL, "/client.js")])
def test_a_page_with_a_wrong_token_does_not_come_back_with_it(
    page: BrowserPage, serve: Serve, script: str, client: str, transport: str
) -> None:
    server = serve(script, client, transport, "outdated")
    page.goto(server.url)
    page.wait_for_function("logged.length > 0")
    page.evaluate("""async () => {
        const started = performance.now();  // ten times as long as it takes to be back
        while (performance.now() < started + 500) await new Promise((resolve) => setTimeout(resolve, 50));
    }""")
    assert page.evaluate("logged") == [{"refused": "This is not the token."}]
    assert page.evaluate("[socket.connected, socket.connecting]") == [False, False]


@pytest.mark.engines("chromium", because="what a browser does with it, the tests above show")
def test_a_token_that_comes_once_more_is_not_passed_on(page: BrowserPage, serve: Serve) -> None:
    server = serve(OWN, "/socket.io/socket.io.js", "websocket")
    page.goto(server.url)
    wait_for_messages(page, "Come in!", "hello")
    page.evaluate("(token) => { socket.send(token).send('end'); }", TOKEN)
    wait_for_messages(page, "Come in!", "hello", "Come in!", "end")
