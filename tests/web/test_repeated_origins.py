"""Headers that say where a request comes from, sent twice: some Python clients send two `Origin`s."""

from __future__ import annotations

import pytest

from tests.clients import HYBI, KEYS, NONCE, UPGRADE
from tests.support import FORM, HTTP_TRANSPORTS, SOCKETS, STREAMING, Recorder, Response, Served

PAGE, OTHER = "http://good.com", "http://evil.com"
SETTINGS = {"hosts": ["good.com"]}
HYBI_HEADERS = {version: {**UPGRADE, **NONCE, "Sec-WebSocket-Version": version} for version in HYBI}
HIXIE_HEADERS = {"76": {**UPGRADE, **KEYS}, "75": UPGRADE}

pytestmark = pytest.mark.usefixtures("each_http")

every_transport = pytest.mark.parametrize("transport", HTTP_TRANSPORTS)


def twice(name: str, first: str, second: str | None = None) -> dict[str, str]:
    """Two header lines of one name."""
    return {name: f"{first}\r\n{name}: {first if second is None else second}"}


SAME = pytest.mark.parametrize(
    "headers",
    [twice("Origin", PAGE), {"Origin": f"{PAGE},{PAGE}"}, {"Origin": f"{PAGE}, {PAGE}"}],
    ids=["two lines", "joined", "joined with a blank"],
)
DIFFERENT = pytest.mark.parametrize(
    "headers",
    [twice("Origin", PAGE, OTHER), twice("Origin", OTHER, PAGE), twice("Origin", "null", PAGE)],
    ids=["its own first", "its own last", "null"],
)


async def ask(
    served: Served, method: str, path: str, headers: dict[str, str], body: bytes = b"", head_only: bool = False
) -> Response:
    wire = await served.connect()
    await wire.send_request(method, path, {"Host": "good.com:8001", **headers}, body)
    return await (wire.read_head() if head_only else wire.read_response())


@every_transport
@SAME
async def test_two_identical_origins_count_as_one(serve, transport, headers):
    served = serve(settings=SETTINGS)
    is_stream = transport in STREAMING
    opened = await ask(served, "GET", f"/socket.io/{transport}//1/0", headers, head_only=is_stream)
    assert opened.status == 200
    session_id = Recorder.opened[0].session_id
    path = f"/socket.io/{transport}/{session_id}/send"
    posted = await ask(served, "POST", path, {**FORM, **headers}, b"data=~m~5~m~hello")
    assert (posted.status, posted.text) == (200, "ok")
    preflight = await ask(served, "OPTIONS", path, headers)
    for response in (opened, posted, preflight):
        assert response.headers["access-control-allow-origin"] == PAGE


@every_transport
@DIFFERENT
@pytest.mark.parametrize("origins", [None, ["good.com:*"], ["*:*"]], ids=["default", "list", "anyone"])
async def test_two_different_origins_are_refused_with_that_reason(serve, transport, headers, origins):
    served = serve(settings={**SETTINGS, "origins": origins})
    for method, body in [("GET", b""), ("POST", b"data=~m~5~m~hello"), ("OPTIONS", b"")]:
        response = await ask(served, method, f"/socket.io/{transport}//1/0", {**FORM, **headers}, body)
        assert response.status == 403
        assert response.text == "this request has two different Origin headers: send one"
    assert Recorder.opened == []


@pytest.mark.parametrize("transport", SOCKETS)
@pytest.mark.parametrize("version", HYBI_HEADERS)
@pytest.mark.parametrize("name", ["Origin", "Sec-WebSocket-Origin"])
async def test_a_websocket_with_its_origin_twice(serve, transport, version, name):
    served = serve(settings=SETTINGS)
    path, handshake = f"/socket.io/{transport}", HYBI_HEADERS[version]
    accepted = await ask(served, "GET", path, {**handshake, **twice(name, PAGE)}, head_only=True)
    assert accepted.status == 101
    refused = await ask(served, "GET", path, {**handshake, **twice(name, PAGE, OTHER)})
    assert refused.status == 403
    assert refused.text == f"this request has two different {name} headers: send one"


@pytest.mark.parametrize("transport", SOCKETS)
@pytest.mark.parametrize("draft", HIXIE_HEADERS)
@SAME
async def test_the_drafts_response_names_the_origin_once(serve, transport, draft, headers):
    served = serve(settings=SETTINGS)
    response = await ask(served, "GET", f"/socket.io/{transport}", {**HIXIE_HEADERS[draft], **headers}, head_only=True)
    assert response.status == 101
    prefix = "sec-" if draft == "76" else ""
    assert response.headers[f"{prefix}websocket-origin"] == PAGE


@every_transport
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (twice("Referer", f"{PAGE}/a"), 200),
        (twice("Referer", PAGE), 200),
        (twice("Referer", f"{PAGE}/a,b", f"{PAGE}/c"), 200),
        (twice("Referer", f"{OTHER}/a", f"{PAGE}/"), 403),
        (twice("Referer", OTHER, PAGE), 403),
        (twice("Sec-Fetch-Site", "same-origin"), 200),
        (twice("Sec-Fetch-Site", "cross-site"), 403),
        (twice("Sec-Fetch-Site", "same-origin", "cross-site"), 403),
    ],
    ids=["page", "site", "two pages", "other page", "other site", "own", "not own", "both"],
)
async def test_a_repeated_header_of_a_request_without_origin(serve, transport, headers, status):
    served = serve(settings=SETTINGS)
    if "Sec-Fetch-Site" not in headers:
        headers = {"Sec-Fetch-Site": "cross-site", **headers}
    is_stream = transport in STREAMING and status == 200
    response = await ask(served, "GET", f"/socket.io/{transport}//1/0", headers, head_only=is_stream)
    assert response.status == status
