"""The room of docs/guide/limits.rst, its page in a browser with either client, and pages that don't keep its rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext
from playwright.sync_api import Page as PlaywrightPage
from tornado.web import create_signed_value

from tests.appserver import AppServer
from tests.browser_fixtures import NETWORK_ERRORS
from tests.compatibility.official_client import CLIENT
from tests.documents.pages import Page, on_given_port
from tests.engines.expecting import expect

PAGE: Final = Page("docs/guide/limits.rst")
ROOM: Final = PAGE.code("The server")
HTML: Final = PAGE.code("The page", language="html")

SECRET: Final = "of the test"
MESSAGES: Final = 60
ELSEWHERE: Final = "You have opened this page elsewhere."
TOO_MANY: Final = "Too many messages. Come back in a minute."

# Sent by a page that floods, 40 in a second: they take longer than a client that was closed stays away.
FLOOD: Final = 400
FLOOD_SCRIPT: Final = """(count) => {
    window.sent = 0;
    const timer = setInterval(() => {
        socket.send(`${sent}`);
        sent += 1;
        if (sent === count) clearInterval(timer);
    }, 25);
}"""

pytestmark = [
    pytest.mark.engines("chromium", because="what becomes of connections that are closed is the same in each engine"),
    # The official client goes on sending on a WebSocket that the server has closed.
    pytest.mark.page_errors("favicon.ico", "already in CLOSING or CLOSED state", *NETWORK_ERRORS),
]
with_each_client = pytest.mark.parametrize("client", ["own", "official"])
over_each_transport = pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])


class Member:
    """Somebody with a browser, who opens the room's page with one client, over one transport."""

    def __init__(self, context: BrowserContext, server: AppServer, name: str, client: str, transport: str) -> None:
        self._context = context
        self._server = server
        self._client = client
        self._transport = transport
        cookie = create_signed_value(SECRET, "member", name).decode()
        context.add_cookies([{"name": "member", "value": cookie, "url": server.url}])

    def open(self, *, obeys: bool = True, options: str = "") -> PlaywrightPage:
        """A new tab with the page; `obeys` is False for one whose author has left out what is inconvenient."""
        settings = f"{{transports: ['{self._transport}'], port: location.port, rememberTransport: false, {options}}}"
        html = HTML.replace("new io.Socket()", f"new io.Socket(location.hostname, {settings})")
        html = html.replace("/socket.io/socket.io.js", SCRIPTS[self._client])
        if not obeys:
            html = html.replace("setTimeout(() => socket.disconnect());", "").replace("socket.connect();", LOGGING)
        page = self._context.new_page()
        page.goto(f"{self._server.url}/variant?{urlencode({'html': html})}")
        return page


SCRIPTS: Final = {"own": "/socket.io/socket.io.js", "official": "/official.js"}

# Beside the room, its variants. They come from the server: Chromium lets no page connect to this machine that a test
# has answered in its place.
BESIDE: Final = """
class Variant(tornado.web.RequestHandler):
    def get(self):
        self.write(self.get_query_argument("html"))


class Official(tornado.web.RequestHandler):
    def get(self):
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        with open(os.environ["OFFICIAL_CLIENT"], "rb") as file:
            self.write(file.read())


application.add_handlers(".*", [("/variant", Variant), ("/official.js", Official)])
"""

# What a page that doesn't obey keeps, for the test.
LOGGING: Final = """
socket.log = [];
for (const event of ['connect', 'reconnecting', 'reconnect_failed']) {
    socket.on(event, (...details) => socket.log.push([event, ...details]));
}
socket.connect();
"""

NewMember = Callable[..., Member]


@pytest.fixture
def server(
    app_server: Callable[..., AppServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node_modules: Path
) -> AppServer:
    monkeypatch.setenv("COOKIE_SECRET", SECRET)
    monkeypatch.setenv("OFFICIAL_CLIENT", str(node_modules / CLIENT))
    (tmp_path / "page.html").write_text(HTML, encoding="utf-8")
    first, _, last = ROOM.rpartition("if __name__")
    return app_server(on_given_port(f"{first}{BESIDE}\nif __name__{last}"))


@pytest.fixture
def new_member(new_context: Callable[..., BrowserContext], server: AppServer) -> NewMember:
    def new_member(name: str, client: str = "own", transport: str = "websocket") -> Member:
        return Member(new_context(), server, name, client, transport)

    return new_member


def state(page: PlaywrightPage) -> Any:
    return expect(page.locator("#state"))


def say(page: PlaywrightPage, text: str) -> None:
    page.fill("input", text)
    page.press("input", "Enter")


def test_the_page_as_printed_is_served_and_talks(page: PlaywrightPage, server: AppServer) -> None:
    cookie = create_signed_value(SECRET, "member", "Ann").decode()
    page.context.add_cookies([{"name": "member", "value": cookie, "url": server.url}])
    page.goto(server.url)
    state(page).to_have_text("connected")
    say(page, "<b>hello</b> 中😀")
    expect(page.locator("li")).to_have_text(["Ann: <b>hello</b> 中😀"])
    page.context.clear_cookies()
    page.reload()
    state(page).to_have_text("no connection")


@with_each_client
@over_each_transport
def test_a_page_is_let_in_however_often_it_is_reloaded(new_member: NewMember, client: str, transport: str) -> None:
    page = new_member("Ann", client, transport).open()
    for visit in range(8):
        state(page).to_have_text("connected")
        say(page, f"visit {visit}")
        expect(page.locator("li")).to_have_text([f"Ann: visit {visit}"])
        page.reload()
    state(page).to_have_text("connected")


@with_each_client
@over_each_transport
def test_of_four_tabs_the_oldest_gives_way_and_stays_away(new_member: NewMember, client: str, transport: str) -> None:
    member = new_member("Ann", client, transport)
    tabs = []
    for _ in range(4):
        tabs.append(member.open(options="reconnectionDelay: 10"))
        state(tabs[-1]).to_have_text("connected")
    oldest, *others = tabs
    state(oldest).to_have_text(ELSEWHERE)
    for number in range(10):  # which takes longer than to reconnect
        for page in others:
            say(page, f"{number}")
        for page in others:
            expect(page.locator("li")).to_have_count(len(others) * (number + 1))
    state(oldest).to_have_text(ELSEWHERE)
    assert oldest.locator("li").count() == 0
    assert all(page.locator("#state").inner_text() == "connected" for page in others)


def test_who_floods_the_room_and_comes_back_at_once_gets_no_more_than_their_share_through(
    new_member: NewMember,
) -> None:
    """Of a count that each connection begins anew nearly all got through."""
    listener = new_member("Bob").open()
    state(listener).to_have_text("connected")
    floods: dict[str, PlaywrightPage] = {}
    for client in ("own", "official"):
        for transport in ("websocket", "xhr-polling"):
            name = f"{client} over {transport}"
            floods[name] = new_member(name, client, transport).open(obeys=False)
            state(floods[name]).to_have_text("connected")
    for page in floods.values():
        page.evaluate(FLOOD_SCRIPT, FLOOD)
    for page in floods.values():
        page.wait_for_function("(count) => sent === count", arg=FLOOD)
    say(listener, "the end")
    expect(listener.locator("li").last).to_have_text("Bob: the end")
    said = listener.locator("li").all_inner_texts()
    for name, page in floods.items():
        through = sum(text.startswith(name) for text in said)
        print(name, through, page.evaluate("socket.log"))
        assert MESSAGES / 2 < through <= 2 * MESSAGES  # the minute may be over, and another begin


@over_each_transport
def test_a_refusal_ends_our_client_and_slows_the_official_one_down(new_member: NewMember, transport: str) -> None:
    """Over websocket a page can't see it: ours tries the next transport, over which it can."""
    options = {"own": f"transports: ['{transport}', 'xhr-polling']", "official": ""}
    for client in options:
        member = new_member(client, client, transport)
        page = member.open(obeys=False, options=f"reconnectionDelay: 50, {options[client]}")
        state(page).to_have_text("connected")
        page.evaluate("(count) => { for (let i = 0; i < count; i++) socket.send('flood'); }", 2 * MESSAGES)
        if client == "own":
            page.wait_for_function("socket.log.some(([event]) => event === 'reconnect_failed')")
            assert sum(event == "reconnecting" for event, *_ in page.evaluate("socket.log")) <= 3
        else:
            page.wait_for_function("socket.log.at(-1)[0] === 'reconnecting' && socket.log.at(-1)[2] >= 5")
            delays = [delay for event, delay, *_ in page.evaluate("socket.log.slice(-4)")]
            assert delays == [delays[0] * 2**number for number in range(4)]
