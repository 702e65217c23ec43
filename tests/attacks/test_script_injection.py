"""Nothing that a peer sends becomes a script in somebody's page: not a message, not a part of a URL, not an error.

JSONP and htmlfile are scripts themselves, so what they quote must not be able to leave its string. What is no script
must not be taken for one, nor for a page, nor for a Flash movie (CVE-2014-4671, "Rosetta Flash": with the callback's
name the attacker chose the first bytes of a JSONP response, and so made it a movie of the server's own origin).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from tests.appserver import AppServer
from tests.attacks.bad_requests import REQUESTS
from tests.attacks.injection_app import HOSTILE, MESSAGES
from tests.support import HTTP_TRANSPORTS, Response, Served
from tornadio import proto

APP = Path(__file__).with_name("injection_app.py")

# Scripts of the page's own and of its server, nothing inline, nothing evaluated.
POLICY = "default-src 'none'; script-src 'self' 'nonce-page'; frame-src 'self'; connect-src 'self'; img-src data:"
policies = pytest.mark.parametrize("policy", ["", POLICY], ids=["no policy", "policy"])

# What a browser notes about a request that failed, or about a script that it refuses. Exceptions are never allowed for.
notes_of_the_browser = pytest.mark.page_errors(r"^console: (Failed to load resource|Refused to execute script)")


# -- In a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    server = AppServer(APP, (), tmp_path_factory.mktemp("server") / "output.txt")
    server.start()
    yield server
    server.kill()


class Victim:
    """A page that must stay as it is, whatever it receives or is sent to."""

    def __init__(self, page: Page, server: AppServer) -> None:
        self.page = page
        self.server = server
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        page.on("dialog", self._note_dialog)
        page.on("request", lambda request: self.requests.append(request.url))

    def _note_dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def visit(self, path: str, policy: str = "") -> None:
        self.page.goto(f"{self.server.url}{path}?policy={quote(policy)}")

    def load(self, element: str, path: str) -> str:
        """Add a script or frame to the page; `load` or `error`."""
        return str(self.page.evaluate("([element, path]) => add(element, path)", [element, path]))

    def payloads(self) -> str:
        """All that `io.JSONP[0]._` and `parent.s._` were called with."""
        return "".join(self.page.evaluate("payloads"))

    def assert_untouched(self) -> None:
        assert self.dialogs == []
        assert [url for url in self.requests if "hacked" in url.removeprefix(self.server.url).split("?")[0][:8]] == []
        for frame in self.page.frames:
            assert frame.evaluate("typeof window.hacked") == "undefined"
            assert frame.evaluate("document.querySelectorAll('img, svg').length") == 0


@pytest.fixture
def victim(page: Page, server: AppServer) -> Victim:
    return Victim(page, server)


@notes_of_the_browser
def test_a_victim_that_is_hit_shows_it(victim):
    """The tests' own eyes: each of the ways in which a page shows that something ran."""
    for damage in [
        "window.hacked = 1",
        "document.body.innerHTML = '<img src=/hacked>'",
        "alert(1)",
        "void add('iframe', '/').then(() => { frames[0].hacked = 1; })",
    ]:
        victim.visit("/")
        victim.dialogs.clear()
        victim.requests.clear()
        victim.page.evaluate(damage)
        victim.page.wait_for_load_state("networkidle")
        with pytest.raises(AssertionError):
            victim.assert_untouched()


@policies
def test_hostile_messages_over_jsonp_are_texts(victim, policy):
    victim.visit("/", policy)
    assert victim.load("script", "/socket.io/jsonp-polling//1290000000000/0") == "load"
    [(_, session_id)] = proto.decode(victim.payloads())
    assert victim.load("script", f"/socket.io/jsonp-polling/{session_id}/1290000000000/0") == "load"
    [_, *messages] = proto.decode(victim.payloads())
    assert [message for _, message in messages] == MESSAGES
    victim.assert_untouched()
    assert victim.page.title() == "untouched"


@policies
def test_hostile_messages_over_htmlfile_are_texts(victim, policy):
    victim.visit("/", policy)
    victim.page.evaluate("void add('iframe', '/socket.io/htmlfile//1290000000000')")
    victim.page.evaluate("all")
    [_, *messages] = proto.decode(victim.payloads())
    assert [message for _, message in messages] == MESSAGES
    [frame] = victim.page.frames[1:]
    # Each payload is one script and nothing else is in the page.
    scripts = len(victim.page.evaluate("payloads"))
    assert frame.evaluate("[...document.querySelectorAll('*')].map((element) => element.localName)") == [
        *("html", "head", "body"),
        *["script"] * scripts,
    ]
    victim.assert_untouched()
    assert victim.page.title() == "untouched"


def received(page: Page, count: int) -> Any:
    """The next messages of the client in the page; as JSON, since Playwright's own ways lose a `__proto__`."""
    return json.loads(page.evaluate("(count) => receive(count)", count))


@pytest.mark.parametrize(
    ("transport", "policy"),
    [
        pytest.param("jsonp-polling", "", id="jsonp-polling"),
        pytest.param("jsonp-polling", POLICY, id="jsonp-polling, policy"),
        pytest.param(
            "htmlfile", "", id="htmlfile"
        ),  # its scripts stand in a page, no policy against those lets it work
    ],
)
def test_the_client_receives_and_returns_hostile_messages_as_texts(victim, transport, policy):
    victim.visit("/client", policy)
    page = victim.page
    page.evaluate("(transport) => connect(transport)", transport)
    assert received(page, len(MESSAGES)) == MESSAGES
    page.evaluate("(texts) => texts.forEach((text) => socket.send(text))", list(HOSTILE))
    assert received(page, len(HOSTILE)) == list(HOSTILE)
    victim.assert_untouched()
    assert page.title() == "untouched"


IMAGE = "<img src=/hacked onerror='window.hacked=1'>"
SCRIPT = "<script>window.hacked=1</script>"
HOSTILE_PATHS = (
    f"/socket.io/{IMAGE}/",
    f"/socket.io/{SCRIPT}",
    f"/socket.io/1/{SCRIPT}",
    f"/socket.io/?EIO=4&{SCRIPT}",
    f"/socket.io/xhr-polling/{SCRIPT}/1",
    f"/socket.io/jsonp-polling/{SCRIPT}/1/0",
    f"/socket.io/htmlfile/{SCRIPT}/1",
    f"/socket.io/xhr-multipart/{IMAGE}/{IMAGE}",
    "/socket.io/jsonp-polling//1/alert(1)",
    f"/socket.io/jsonp-polling//1/{SCRIPT}",
    f"/socket.io/jsonp-polling//1/0];alert(1);io.JSONP[0?{SCRIPT}",
    f"/socket.io/websocket?{SCRIPT}",
    f"/socket.io/xhr-polling//1?{SCRIPT}#{SCRIPT}",  # a session: its payload, as text
    f"/socket.io/jsonp-polling//<img src=hacked onerror=alert(1)>/0?{SCRIPT}",  # the same in a script, as its text
)


@pytest.mark.parametrize("encoded", [False, True], ids=["raw", "percent-encoded"])
@pytest.mark.parametrize("path", HOSTILE_PATHS)
@notes_of_the_browser
def test_an_answer_to_a_hostile_address_shows_as_text(victim, path, encoded):
    address = victim.server.url + (quote(path, safe="/?&=#") if encoded else path)
    # As a frame of a page, and as the page itself.
    victim.visit("/")
    victim.load("iframe", address)
    victim.assert_untouched()
    response = victim.page.goto(address)
    assert response.header_value("x-content-type-options") == "nosniff"
    kind = "text/javascript" if path.startswith("/socket.io/jsonp-polling//<img") else "text/plain"
    assert victim.page.evaluate("document.contentType") == kind
    if response.status >= 400:
        assert SCRIPT not in response.text()
        assert IMAGE not in response.text()
    assert victim.page.evaluate("document.body.innerText").strip() != ""
    victim.assert_untouched()


FORMS = {
    "no frames": ("/socket.io/jsonp-polling/{session_id}/1/0", SCRIPT),
    "JSON that is none": ("/socket.io/jsonp-polling/{session_id}/1/0", f"~m~40~m~~j~{SCRIPT}"),
    "an unknown session": (f"/socket.io/jsonp-polling/{SCRIPT}/1/0", SCRIPT),
    "frames": ("/socket.io/jsonp-polling/{session_id}/1/0", proto.encode(SCRIPT)),
    "no session": ("/socket.io/xhr-polling//send", SCRIPT),
}


@pytest.mark.parametrize("kind", FORMS)
@notes_of_the_browser
def test_the_answer_to_a_form_shows_as_text(victim, kind):
    victim.visit("/")
    victim.load("script", "/socket.io/jsonp-polling//1290000000000/0")
    [(_, session_id), *_] = proto.decode(victim.payloads())
    path, data = FORMS[kind]
    victim.page.evaluate(
        """([path, data]) => {
            const form = document.createElement('form');
            form.method = 'POST';
            form.action = path;
            form.target = 'answer';
            form.append(document.createElement('textarea'));
            form.firstChild.name = 'data';
            form.firstChild.value = data;
            const frame = document.createElement('iframe');
            frame.name = 'answer';
            document.body.append(frame, form);
            frame.onload = () => { window.answered = true; };
            form.submit();
        }""",
        [path.format(session_id=session_id), data],
    )
    victim.page.wait_for_function("window.answered && frames[0].document.body.innerText !== ''")
    assert victim.page.evaluate("frames[0].document.contentType") == "text/plain"
    victim.assert_untouched()


def test_a_browser_runs_text_as_a_script_where_sniffing_is_not_forbidden(victim):
    """Why the next test has something to show."""
    victim.visit("/")
    assert victim.load("script", "/plain") == "load"
    assert victim.page.evaluate("window.hacked") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/socket.io/xhr-polling//1290000000000",
        "/socket.io/xhr-polling/x/1290000000000",
        "/short/htmlfile//1290000000000",
        "/short/xhr-multipart//1290000000000",
        "/socket.io/jsonp-polling//1290000000000",
        "/socket.io/websocket",
        "/socket.io/nonsense",
        "/socket.io/1/",
    ],
)
@notes_of_the_browser
def test_what_is_no_script_does_not_run_as_one(victim, page_errors, path):
    victim.visit("/")
    assert victim.load("script", path) == "error"
    assert victim.page.evaluate("payloads") == []
    victim.assert_untouched()
    assert [error for error in page_errors if path in error] != []


# -- On the wire -------------------------------------------------------------------------------------------------------

# How movies begin, uncompressed and compressed; the second is a whole one of letters and digits.
MOVIES = ("FWS", "CWSMIKI0hCD0Up0IZUnnnnnnnnnnnnnnnnnnnUU5nnnnnn3Snn7iiudIbEAt333swW0ssG03", "ZWS")

# Answers of Tornado itself: to what is no HTTP, and outside of the resource.
NOT_OURS = {
    "a long path outside of the resource",
    "a header that is none",
    "a long header that is none",
    "a length that is none",
    "two lengths",
    "a path that is none",
}


@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if kind not in NOT_OURS])
async def test_an_error_is_text_that_nobody_sniffs_at(serve, kind):
    served = serve(settings={"max_message_size": 990, "max_payload_size": 1000})
    session_id = await served.start("htmlfile")
    method, path, headers, body = REQUESTS[kind]
    response = await served.request(method, path.format(session_id=session_id), headers, body)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert len(response.body) < 500


async def start_of_answer(served: Served, method: str, path: str, body: bytes = b"") -> tuple[Response, bytes]:
    """An answer's head, and its body; of a stream's body what comes before, and with, its first payload."""
    async with contextlib.aclosing(await served.connect()) as wire:
        await wire.send_request(method, path, {}, body)
        head = await wire.read_head()
        if head.headers.get("transfer-encoding") == "chunked":
            return head, await wire.read_chunk() + await wire.read_chunk()
        return head, await wire.read_exactly(int(head.headers["content-length"]))


@pytest.mark.parametrize("movie", MOVIES)
@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_no_answer_begins_with_what_a_peer_chose(serve, transport, movie):
    """A movie is recognised by its first bytes, whatever the content type says."""
    served = serve()
    session_id = await served.start(transport)
    requests = [
        ("GET", f"/socket.io/{movie}/"),
        ("GET", f"/socket.io/{transport}/{movie}"),
        ("GET", f"/socket.io/{transport}/{movie}/{movie}/{movie}"),
        ("GET", f"/socket.io/{transport}//{movie}/{movie}?{movie}"),
        ("GET", f"/socket.io/{transport}//1/{movie}?callback={movie}&jsonp={movie}"),
        ("POST", f"/socket.io/{transport}/{session_id}/{movie}"),
        ("POST", f"/socket.io/{transport}/{movie}/{movie}"),
        (movie, f"/socket.io/{transport}/{session_id}/send"),
    ]
    for method, path in requests:
        head, body = await start_of_answer(served, method, path, b"" if method == "GET" else movie.encode())
        assert head.headers["x-content-type-options"] == "nosniff"
        assert body[:3].decode() not in ("FWS", "CWS", "ZWS")
        if head.headers["content-type"].startswith("text/javascript"):
            assert body.startswith(b"io.JSONP[")


@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling"])
@pytest.mark.parametrize("movie", MOVIES)
async def test_no_payload_begins_with_what_a_peer_chose(serve, transport, movie):
    served = serve()
    session_id, _ = await served.open(transport)
    assert (await served.post(session_id, movie, transport=transport)).text == "ok"
    body = (await served.poll(session_id, transport)).body
    assert body.startswith(b"io.JSONP[0]._(" if transport == "jsonp-polling" else b"~m~")


@pytest.mark.parametrize("hostile", [SCRIPT, "\"'()`;//", "\u2028\u2029", "]]>"])
@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_nothing_of_an_address_is_repeated(serve, transport, hostile):
    """Neither as it stands there, nor decoded."""
    served = serve()
    for text in (hostile.encode().decode("latin-1").replace(" ", ""), quote(hostile)):
        for path in (
            f"/socket.io/{text}/{transport}//1/0",
            f"/socket.io/{transport}/{text}/1/0",
            f"/socket.io/{transport}//{text}/{text}",
            f"/socket.io/{transport}//{text}/0",
            f"/socket.io/1/{text}",
        ):
            head, body = await start_of_answer(served, "GET", f"{path}?{text}")
            for repeated in (hostile, text):
                assert repeated.encode() not in body
                assert repeated.encode("latin-1", "replace") not in body
                assert repeated not in "".join(head.headers.values())
