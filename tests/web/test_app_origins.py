"""Who may connect from an app, an extension, a file or a sandboxed frame: pages whose origin no web server has."""

from __future__ import annotations

import re

import pytest

import tornadio
from tests.clients import KEYS, UPGRADE, handshake
from tests.support import FORM, HTTP_TRANSPORTS, Recorder, Served, brief
from tornadio.errors import SettingsError
from tornadio.settings import PROTOCOLS
from tornadio.web.hosts import make_host_rule
from tornadio.web.origins import REFUSED, OriginRule

HOST = "good.com:8001"
APPS = [
    "null",
    "file://",
    "capacitor://localhost",
    "ionic://localhost",
    "app://.",
    "app://-",
    "app://bundle:8080",
    "tauri://localhost",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://11111111-2222-3333-4444-555555555555",
    "safari-web-extension://11111111-2222-3333-4444-555555555555",
]

# -- The rule ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", APPS)
@pytest.mark.parametrize("beside", [[], ["good.com:*"]], ids=["alone", "beside another"])
def test_an_app_is_let_in_by_its_origin_and_no_other(entry, beside):
    rule = OriginRule([entry, *beside])
    assert [origin for origin in APPS if rule.allows(origin, HOST)] == [entry]
    assert rule.allows("http://good.com", HOST) is bool(beside)
    for other in (f"{entry}x", f"x{entry}", f"{entry}.evil", "http://localhost", "https://bundle:8080", ""):
        assert not rule.allows(other, HOST), other
    assert not OriginRule(beside).allows(entry, HOST)
    assert not OriginRule(None).allows(entry, HOST)


@pytest.mark.parametrize("entry", ["localhost:*", "bundle:*", "*:8080", "*.localhost:*", "http://localhost"])
def test_an_entry_for_pages_of_the_web_lets_no_app_in(entry):
    assert [origin for origin in APPS if OriginRule([entry]).allows(origin, "localhost")] == []


def test_an_app_may_be_written_in_any_case_and_with_a_slash():
    rule = OriginRule(["Capacitor://LocalHost/", "file:///"])
    assert rule.allows("capacitor://localhost", HOST)
    assert rule.allows("file://", HOST)


def test_all_of_a_scheme_may_be_let_in():
    rule = OriginRule(["moz-extension://*"])  # each installation of Firefox has another one
    assert [origin for origin in APPS if rule.allows(origin, HOST)] == [APPS[9]]


@pytest.mark.parametrize(
    "entry",
    [
        "Null",
        "capacitor:",
        "capacitor:localhost",
        "capacitor://",
        "capacitor://localhost/index.html",
        "capacitor://localhost?a",
        "capacitor://*.localhost",
        "capacitor://local*",
        "capacitor://user@localhost",
        "capacitor://local host",
        "app://x:*",
        "*://localhost",
        "htps://good.com",
        "http-s://good.com",
        "ftp://good.com",
        "data://good.com",
        "javascript://good.com",
        "https://*",
        "file://*",
    ],
    ids=brief,
)
def test_what_is_no_app_is_an_error_that_says_how_one_is_written(entry):
    text = f"origins: {entry!r} is no origin: write 'host:port' ('*' for any)"
    with pytest.raises(SettingsError, match=re.escape(text)) as raised:
        OriginRule([entry])
    assert "'capacitor://localhost' for an app, 'null' for pages that have no origin" in str(raised.value)


@pytest.mark.parametrize(
    ("origins", "refusal"),
    [
        (["null"], None),
        (["capacitor://localhost"], "a request of another origin must say whose"),
        (["good.com:*"], "a request of another origin must say whose"),
    ],
)
def test_a_page_that_does_not_say_which_counts_as_one_without_an_origin(origins, refusal):
    rule = OriginRule(origins)
    for is_script in (False, True):
        text = rule.refusal({"Sec-Fetch-Site": "cross-site"}, HOST, is_script)
        assert text is None if refusal is None else (text or "").startswith(refusal)
    assert (rule.refusal({}, HOST, is_script=True) is None) is (refusal is None)


@pytest.mark.parametrize("is_script", [False, True])
def test_a_referer_names_an_app_too(is_script):
    rule = OriginRule(["capacitor://localhost"])
    assert rule.refusal({"Referer": "capacitor://localhost/index.html?a=b"}, HOST, is_script) is None
    assert rule.refusal({"Referer": "capacitor://elsewhere/index.html"}, HOST, is_script) == REFUSED
    assert rule.refusal({"Referer": "http://evil.com/capacitor://localhost"}, HOST, is_script) == REFUSED


def test_apps_are_no_hosts():
    """A list of apps alone leaves the names of the server to the default; beside pages these have theirs."""
    assert OriginRule(["capacitor://localhost", "null"]).hosts is None
    assert OriginRule(["capacitor://localhost", "good.com:*"]).hosts == ["good.com"]
    assert OriginRule([]).hosts == []
    rule = make_host_rule(None, OriginRule(["capacitor://localhost"]), "own")
    assert rule.allows_client("203.0.113.5", "192.0.2.1")
    assert not make_host_rule(None, OriginRule(["good.com:*"]), "own").allows_client("203.0.113.5", "192.0.2.1")


# -- Every transport ---------------------------------------------------------------------------------------------------


async def status_of(served: Served, transport: str, headers: dict[str, str]) -> tuple[int, str]:
    """The status of an opening, and the origin whose page may read the response."""
    path, fields = handshake(transport)
    del fields["Sec-Fetch-Site"]
    wire = await served.connect()
    await wire.send_request("GET", path, {**fields, **headers})
    head = await wire.read_head()
    return head.status, head.headers.get("access-control-allow-origin", "")


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize("origin", ["null", "capacitor://localhost", "app://."])
async def test_an_app_connects_over_every_transport(serve, each_http, transport, origin):
    served = serve(settings={"origins": ["null", "capacitor://localhost", "app://."]})
    opened = 200 if transport in HTTP_TRANSPORTS else 101
    status, allowed = await status_of(served, transport, {"Origin": origin})
    assert status == opened
    if transport in HTTP_TRANSPORTS:
        assert allowed == origin
        path = f"/socket.io/{transport}/{Recorder.opened[-1].session_id}/send"
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        response = await served.request("OPTIONS", path, preflight)
        assert (response.status, response.headers["access-control-allow-origin"]) == (200, origin)
        assert response.headers["access-control-allow-credentials"] == "true"
        response = await served.request("POST", path, {**FORM, "Origin": origin}, b"data=~m~5~m~hello")
        assert (response.status, response.text) == (200, "ok")
        assert response.headers["access-control-allow-origin"] == origin
    for other in ("capacitor://elsewhere", "chrome-extension://abc", "http://localhost"):
        assert (await status_of(served, transport, {"Origin": other}))[0] == 403


@pytest.mark.parametrize("version", ["8", "7"])
async def test_an_app_connects_by_the_drafts_header(serve, version):
    served = serve(settings={"origins": ["capacitor://localhost"]})
    headers = {"Sec-WebSocket-Version": version}
    for origin, status in (("capacitor://localhost", 101), ("null", 403)):
        assert (await status_of(served, "websocket", {**headers, "Sec-WebSocket-Origin": origin}))[0] == status


async def test_draft_76_is_told_the_apps_origin(serve):
    served = serve(settings={"origins": ["capacitor://localhost"]})
    wire = await served.connect()
    await wire.send_request("GET", "/socket.io/websocket", {**UPGRADE, **KEYS, "Origin": "capacitor://localhost"})
    assert (await wire.read_head()).headers["sec-websocket-origin"] == "capacitor://localhost"


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_file_that_names_no_page_connects_where_null_may(serve, each_http, transport):
    for origins, status in ((["null"], 200), (["capacitor://localhost"], 403)):
        served = serve(settings={"origins": origins})
        assert (await status_of(served, transport, {"Sec-Fetch-Site": "cross-site"}))[0] == status


def test_a_wrong_app_is_told_by_get_router():
    with pytest.raises(SettingsError, match="'capacitor://localhost' for an app"):
        tornadio.get_router(tornadio.SocketConnection, {"origins": ["capacitor:localhost"]})
