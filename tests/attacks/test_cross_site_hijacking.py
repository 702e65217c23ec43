"""Pages of other sites can't use a visitor's cookies here: one rule for all six transports, for new sessions and old
ones, POSTs, preflights and the Flash policy. What is refused dispatches nothing.

CVE-2020-28481: cross-site WebSocket hijacking, since every origin was let in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

import pytest
import tornado.web

from tests.clients import HIXIE, HYBI, KEY3, KEYS, NONCE, UPGRADE, frame
from tests.support import (
    FORM,
    HTTP_TRANSPORTS,
    POLLING,
    SOCKETS,
    STREAMING,
    ClientStream,
    Recorder,
    Response,
    Served,
    until,
)
from tornadio.web.flash import POLICY_REQUEST
from tornadio.web.origins import OriginRule, parse_origin

REFUSED = "this origin may not connect: see the setting 'origins'"
TWO_ORIGINS = "this request has two different Origin headers: send one"

every_transport = pytest.mark.parametrize("transport", HTTP_TRANSPORTS)

# With the default setting, for requests with "Host: good.com:8001".
SAME_HOSTNAME = [
    ("http://good.com:8001", True),
    ("http://good.com", True),
    ("http://good.com:8080", True),
    ("https://good.com", True),
    ("HTTP://GOOD.COM:80", True),
    ("http://evil.com", False),
    ("http://evil.com:8001", False),
    ("http://www.good.com", False),
    ("http://good.com.evil.com", False),
    ("http://evilgood.com", False),
    ("http://good.com@evil.com", False),
    ("http://evil.com@good.com", False),
    ("http://good.com:8001@evil.com", False),
    ("http://good.com:80:80", False),
    ("http://good.com:port", False),
    ("http://[good.com]", False),
    ("http://good.com\\.evil.com", False),
    ("http://good.com.", False),
    ("http://good.com,http://evil.com", False),  # what two headers make together
    ("http://evil.com,http://good.com", False),
    ("good.com", False),
    ("//good.com", False),
    ("file://", False),
    ("null", False),
    ("", False),
    (None, True),  # no browser's cross-site call
]

# With origins=["listed.com:80", "any.com:*", "*:9999", "https://full.com"], for the same requests.
LISTED = [
    ("http://listed.com", True),
    ("http://listed.com:80", True),
    ("http://LISTED.com", True),
    ("https://listed.com", False),
    ("http://listed.com:8080", False),
    ("http://any.com:1234", True),
    ("https://any.com", True),
    ("http://else.where:9999", True),
    ("https://full.com", True),
    ("https://full.com:443", True),
    ("http://full.com", False),
    ("http://good.com", False),
    ("http://good.com:8001", False),
    ("http://sub.any.com", False),
    ("http://listed.com.evil.com", False),
    ("http://listed.com@evil.com", False),
    ("null", False),
    (None, True),
]

# For each value of the setting: origins, and whether they may connect.
MATRIX: dict[tuple[str, ...] | None, list[tuple[str | None, bool]]] = {
    None: SAME_HOSTNAME,
    ("listed.com:80", "any.com:*", "*:9999", "https://full.com"): LISTED,
    ("*:*",): [("http://evil.com", True), ("https://x:1", True), ("null", True), ("file://", True), (None, True)],
    (): [("http://good.com:8001", False), ("null", False), (None, True)],
}
RULES = [(origins, origin, allowed) for origins, cases in MATRIX.items() for origin, allowed in cases]

# The rows with which each request of each transport shows that it asks the rule, with its own settings and headers: of
# each setting one that may connect and one that may not, where there is one, and a header that is none or two.
ROWS: list[tuple[tuple[str, ...] | None, list[tuple[str | None, bool]]]] = [
    (
        None,
        [
            ("http://good.com:8080", True),
            ("http://evil.com:8001", False),
            ("http://good.com,http://evil.com", False),
            ("null", False),
            ("", False),
            (None, True),
        ],
    ),
    (
        ("listed.com:80", "any.com:*", "*:9999", "https://full.com"),
        [("http://listed.com", True), ("http://good.com:8001", False), (None, True)],
    ),
    (("*:*",), [("http://evil.com", True), ("null", True)]),
    ((), [("http://good.com:8001", False), (None, True)]),
]


def here(origins: Iterable[str] | None = None) -> dict[str, Any]:
    """The settings of a server that is asked for as good.com."""
    return {"origins": origins, "hosts": ["good.com"]}


async def send(
    served: Served, method: str, path: str, headers: Mapping[str, str | None], body: bytes = b""
) -> ClientStream:
    """A request to good.com:8001; a header that is `None` is absent. A script's GET without `Origin` is one of the
    server's own pages, unless `Sec-Fetch-Site` is given or `None`.
    """
    wire = await served.connect()
    given = {name: value for name, value in headers.items() if value is not None or name == "Sec-Fetch-Site"}
    await wire.send_request(method, path, {"Host": "good.com:8001"} | given, body)
    return wire


async def ask(served: Served, method: str, path: str, headers: Mapping[str, str | None], body: bytes = b"") -> Response:
    """The answer to such a request, of which only the head is awaited where the body never ends."""
    wire = await send(served, method, path, headers, body)
    if method == "GET" and any(transport in path for transport in STREAMING):
        return await wire.read_head()
    return await wire.read_response()


def assert_readable_by(response: Response, origin: str | None) -> None:
    assert response.headers.get("access-control-allow-origin") == origin
    assert response.headers.get("access-control-allow-credentials") == (None if origin is None else "true")
    assert response.headers["vary"] == "Origin"


def assert_refused(response: Response) -> None:
    assert response.status == 403
    assert "access-control-allow-origin" not in response.headers
    assert "access-control-allow-credentials" not in response.headers
    assert response.headers["vary"] == "Origin"


# -- The rule ----------------------------------------------------------------------------------------------------------


@pytest.mark.pure
@pytest.mark.parametrize(("origins", "origin", "allowed"), RULES)
def test_the_rule_for_an_origin(origins, origin, allowed):
    headers = {} if origin is None else {"Origin": origin}
    refusal = OriginRule(origins).refusal(headers, "good.com:8001", is_script=False)
    assert refusal == (None if allowed else reason(origin))


def reason(origin: str | None) -> str:
    """Why an origin that may not connect is refused."""
    return TWO_ORIGINS if origin is not None and "," in origin else REFUSED


# -- Each request asks it ----------------------------------------------------------------------------------------------


@every_transport
async def test_a_page_opens_a_session(serve, transport):
    for origins, rows in ROWS:
        served = serve(settings=here(origins))
        for origin, allowed in rows:
            Recorder.opened.clear()
            response = await ask(served, "GET", f"/socket.io/{transport}//1290000000000/0", {"Origin": origin})
            assert len(Recorder.opened) == (1 if allowed else 0), (origins, origin)
            if allowed:
                assert response.status == 200
                assert_readable_by(response, origin)
            else:
                assert_refused(response)


@every_transport
async def test_a_page_posts(serve, transport):
    for origins, rows in ROWS:
        served = serve(settings=here(origins))
        for origin, allowed in rows:
            Recorder.opened.clear()
            session_id = await served.start(transport)
            path = f"/socket.io/{transport}/{session_id}/send"
            response = await ask(served, "POST", path, {**FORM, "Origin": origin}, b"data=~m~5~m~hello")
            if allowed:
                assert (response.status, response.text) == (200, "ok"), (origins, origin)
                assert_readable_by(response, origin)
                assert Recorder.opened[0].events == [("open", ""), ("message", "hello")]
            else:
                assert_refused(response)
                assert response.text == reason(origin)
                assert Recorder.opened[0].events == [("open", "")]


@every_transport
async def test_a_page_asks_before_it_posts(serve, transport):
    for origins, rows in ROWS:
        served = serve(settings=here(origins))
        for origin, allowed in rows:
            headers = {
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            }
            response = await ask(served, "OPTIONS", f"/socket.io/{transport}/0123/send", headers)
            if allowed:
                assert (response.status, response.body) == (200, b""), (origins, origin)
                assert_readable_by(response, origin)
                assert response.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
                assert response.headers["access-control-allow-headers"] == "Content-Type"
                assert int(response.headers["access-control-max-age"]) > 0
            else:
                assert_refused(response)
                assert "access-control-allow-methods" not in response.headers


async def wait_for_news(served: Served, transport: str) -> tuple[str, ClientStream]:
    """A visitor's session, and the connection on which its GET waits."""
    if transport in STREAMING:
        stream, session_id = await served.open_stream(transport)
        assert await stream.read_payload() == "~m~7~m~welcome"
        return session_id, stream.wire
    session_id, _ = await served.open(transport)
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000/0")
    await served.barrier()
    return session_id, wire


async def read_news(wire: ClientStream, transport: str) -> bytes:
    """What the waiting GET brings."""
    if transport in STREAMING:
        return await wire.read_chunk()
    response = await wire.read_response()
    return response.body if response.status == 200 else b""


@every_transport
async def test_a_get_of_a_visitors_session(serve, transport):
    for origins, rows in ROWS:
        await visit(serve(settings=here(origins)), transport, rows)


async def visit(served: Served, transport: str, rows: list[tuple[str | None, bool]]) -> None:
    """Pages ask for what a visitor's session waits for."""
    for origin, allowed in rows:
        session_id, visitor = await wait_for_news(served, transport)
        other = await send(served, "GET", f"/socket.io/{transport}/{session_id}/1290000000001/0", {"Origin": origin})
        if allowed:  # it takes over
            assert await read_news(visitor, transport) in (b"", b'io.JSONP[0]._("");'), origin
            Recorder.opened[-1].send("news")
            head = await other.read_head()
            assert head.status == 200, origin
            assert_readable_by(head, origin)
        else:
            assert_refused(await other.read_response())
            Recorder.opened[-1].send("news")
            assert b"news" in await read_news(visitor, transport), origin
        assert Recorder.opened[-1].events == [("open", "")], origin


@every_transport
async def test_a_refused_get_leaves_a_session_alone(serve, transport):
    served = serve(settings=here())
    session_id = await served.start(transport)
    if transport in STREAMING:
        await served.barrier()
    else:
        served.router.broadcast("news")
    path = f"/socket.io/{transport}/{session_id}/1290000000000/0"
    assert_refused(await ask(served, "GET", path, {"Origin": "http://evil.com"}))
    assert Recorder.opened[0].events == [("open", "")]
    if transport not in STREAMING:
        assert "~m~4~m~news" in (await served.poll(session_id, transport)).text


@every_transport
async def test_a_request_without_origin_is_no_page_of_another_site(serve, transport):
    served = serve(settings=here(["listed.com:80"]))
    headers = {"Sec-Fetch-Mode": "cors", "Cookie": "a=b"}
    response = await ask(served, "GET", f"/socket.io/{transport}//1290000000000/0", headers)
    assert response.status == 200
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["vary"] == "Origin"


@every_transport
async def test_the_hostname_counts_and_not_the_port(serve, transport):
    served = serve(settings=here())
    for host, origin in [
        ("good.com", "http://good.com:8080"),
        ("[::1]:8001", "http://[::1]"),
        ("GOOD.com", "http://good.com"),
    ]:
        response = await ask(served, "GET", f"/socket.io/{transport}//1/0", {"Host": host, "Origin": origin})
        assert_readable_by(response, origin)


@every_transport
async def test_an_http_1_0_request_without_host_is_of_no_page(serve, transport):
    wire = await serve(settings={"hosts": ["*"]}).connect()
    await wire.send(f"GET /socket.io/{transport}//1/0 HTTP/1.0\r\nOrigin: http://good.com\r\n\r\n".encode())
    assert_refused(await wire.read_head())


@pytest.mark.parametrize(
    ("transport", "headers", "logged"),
    [
        ("xhr-polling", {"Origin": "http://evil.com"}, f"{REFUSED} (origin 'http://evil.com')"),
        ("xhr-polling", {"Referer": "http://evil.com/page"}, f"{REFUSED} (referer 'http://evil.com/page')"),
        ("htmlfile", {"Sec-Fetch-Site": "cross-site"}, "(sec-fetch-site 'cross-site')"),
        ("jsonp-polling", {"Sec-Fetch-Site": None}, "a script's request must carry a Referer"),
        ("websocket", {"Sec-WebSocket-Origin": "http://evil.com"}, "(sec-websocket-origin 'http://evil.com')"),
    ],
)
async def test_a_refusal_is_logged_with_what_it_was_for(serve, caplog, transport, headers, logged):
    caplog.set_level(logging.WARNING, "tornadio")
    path = f"/socket.io/{transport}" + ("" if transport in SOCKETS else "//1/0")
    await ask(serve(settings=here()), "GET", path, headers)
    [record] = [record for record in caplog.records if record.name.startswith("tornadio.") and record.levelno > 20]
    status, _, reason = record.getMessage().partition(f" GET {path} (127.0.0.1): ")
    assert status == "403"
    assert logged in reason


# -- Images, frames and scripts carry no Origin ------------------------------------------------------------------------

SITES: list[tuple[dict[str, str | None], bool]] = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "something-new"}, False),
    ({"Referer": "http://good.com/page?a=b"}, True),
    ({"Referer": "https://good.com:8443/"}, True),
    ({"Referer": "http://evil.com/"}, False),
    ({"Referer": "http://evil.com/http://good.com/"}, False),
    ({"Referer": "http://good.com@evil.com/"}, False),
    ({"Referer": "http://good.com.evil.com/"}, False),
    ({"Referer": "about:blank"}, False),
    ({"Referer": ""}, False),
    ({"Sec-Fetch-Site": "same-site", "Referer": "http://good.com/"}, True),
    ({"Sec-Fetch-Site": "cross-site", "Referer": "http://good.com/"}, True),
    ({"Sec-Fetch-Site": "cross-site", "Referer": "http://evil.com/"}, False),
    ({"Sec-Fetch-Site": "same-site", "Referer": "http://evil.com/"}, False),
    ({"Sec-Fetch-Site": "same-origin", "Referer": "http://evil.com/"}, True),
    ({"Origin": "http://evil.com", "Sec-Fetch-Site": "same-origin"}, False),
    ({"Origin": "http://evil.com", "Referer": "http://good.com/"}, False),
    ({"Origin": "http://good.com", "Sec-Fetch-Site": "same-site"}, True),
]
NOTHING: dict[str, str | None] = {"Sec-Fetch-Site": None}

# Of these each transport shows that it asks for each header: what lets in and what doesn't, alone and with another.
SITE_ROWS: list[tuple[dict[str, str | None], bool]] = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Referer": "https://good.com:8443/"}, True),
    ({"Referer": "http://evil.com/http://good.com/"}, False),
    ({"Referer": ""}, False),
    ({"Sec-Fetch-Site": "same-site", "Referer": "http://good.com/"}, True),
    ({"Sec-Fetch-Site": "same-origin", "Referer": "http://evil.com/"}, True),
    ({"Origin": "http://evil.com", "Sec-Fetch-Site": "same-origin"}, False),
    ({"Origin": "http://good.com", "Sec-Fetch-Site": "same-site"}, True),
]


@pytest.mark.pure
@pytest.mark.parametrize("is_script", [False, True], ids=["", "script"])
@pytest.mark.parametrize(("headers", "allowed"), SITES)
def test_the_rule_for_an_image_frame_or_script(headers, allowed, is_script):
    assert (OriginRule(None).refusal(headers, "good.com:8001", is_script) is None) == allowed


@every_transport
async def test_a_session_of_an_image_frame_or_script(serve, transport):
    served = serve(settings=here())
    for headers, allowed in SITE_ROWS:
        Recorder.opened.clear()
        response = await ask(served, "GET", f"/socket.io/{transport}//1290000000000/0", headers)
        assert response.status == (200 if allowed else 403), headers
        assert len(Recorder.opened) == (1 if allowed else 0)


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_of_an_image_frame_or_script(serve, transport):
    served = serve(settings=here())
    for headers, allowed in SITE_ROWS:
        session_id, _ = await served.open(transport)
        served.router.broadcast("secret")
        response = await ask(served, "GET", f"/socket.io/{transport}/{session_id}/1/0", headers)
        assert (response.status, "secret" in response.text) == ((200, True) if allowed else (403, False)), headers


@every_transport
async def test_a_post_without_origin(serve, transport):
    served = serve(settings=here())
    for headers, allowed in SITE_ROWS:
        Recorder.opened.clear()
        session_id = await served.start(transport)
        body = b"data=~m~5~m~hello"
        response = await ask(served, "POST", f"/socket.io/{transport}/{session_id}/1/0", {**FORM, **headers}, body)
        assert response.status == (200 if allowed else 403), headers
        assert (("message", "hello") in Recorder.opened[0].events) == allowed


@every_transport
@pytest.mark.parametrize("origins", [None, ["good.com:*"], []])
async def test_what_says_nothing_is_a_program_and_no_script(serve, transport, origins):
    """Over plain HTTP that is how a script's request looks whose page has the `Referrer-Policy: no-referrer`."""
    served = serve(settings=here(origins))
    session_id = await served.start(transport)
    response = await ask(served, "GET", f"/socket.io/{transport}//1290000000000/0", NOTHING)
    posted = await ask(
        served, "POST", f"/socket.io/{transport}/{session_id}/1/0", {**FORM, **NOTHING}, b"data=~m~5~m~hello"
    )
    assert posted.text == "ok"
    if transport == "jsonp-polling":
        assert_refused(response)
        assert response.text.startswith("a script's request must carry a Referer: ")
        assert response.text.endswith(", or use xhr-polling")
        assert_refused(await ask(served, "GET", f"/socket.io/{transport}/{session_id}/1/0", NOTHING))
        assert len(Recorder.opened) == 1
    else:
        assert response.status == 200
        assert len(Recorder.opened) == 2


async def test_a_refused_jsonp_poll_leaves_the_one_that_waits_alone(serve):
    served = serve(settings=here())
    session_id, visitor = await wait_for_news(served, "jsonp-polling")
    for headers in [NOTHING, *(headers for headers, allowed in SITES if not allowed)]:
        assert_refused(await ask(served, "GET", f"/socket.io/jsonp-polling/{session_id}/1290000000001/0", headers))
    Recorder.opened[0].send("news")
    assert b"news" in await read_news(visitor, "jsonp-polling")
    assert Recorder.opened[0].events == [("open", "")]


@every_transport
async def test_with_any_origin_allowed_all_are_free_for_all(serve, transport):
    served = serve(settings=here(["*:*"]))
    for headers in [NOTHING, *(headers for headers, _ in SITES)]:
        assert (await ask(served, "GET", f"/socket.io/{transport}//1/0", headers)).status == 200


# -- WebSockets --------------------------------------------------------------------------------------------------------

# How the versions call the header.
ORIGIN_HEADERS = {
    "13": "Origin",
    "8": "Sec-WebSocket-Origin",
    "7": "Sec-WebSocket-Origin",
    "76": "Origin",
    "75": "Origin",
}
VERSION_HEADERS = {"76": KEYS, "75": {}} | {version: NONCE | {"Sec-WebSocket-Version": version} for version in HYBI}

every_socket = pytest.mark.parametrize("transport", SOCKETS)


def first_message(version: str) -> bytes:
    """What a client may send in the same breath as its handshake."""
    if version in HYBI:
        return frame(1, b"~m~5~m~hello")
    return (KEY3 if version == "76" else b"") + b"\x00~m~5~m~hello\xff"


@every_socket
@pytest.mark.parametrize("version", [*HYBI, *HIXIE])
async def test_a_page_opens_a_websocket(serve, transport, version):
    for origins, rows in ROWS:
        await shake_hands(serve(settings=here(origins)), transport, version, rows)


async def shake_hands(served: Served, transport: str, version: str, rows: list[tuple[str | None, bool]]) -> None:
    """Pages open a WebSocket, with a first message."""
    for origin, allowed in rows:
        Recorder.opened.clear()
        headers = {**UPGRADE, **VERSION_HEADERS[version], ORIGIN_HEADERS[version]: origin}
        wire = await send(served, "GET", f"/socket.io/{transport}", headers)
        await wire.send(first_message(version))
        if allowed:
            assert (await wire.read_head()).status == 101, origin
            await until(lambda: Recorder.opened and len(Recorder.opened[0].events) == 2)
            assert Recorder.opened[0].events == [("open", ""), ("message", "hello")]
        else:
            answer = await wire.read_to_end()
            assert answer.startswith(b"HTTP/1.1 403 "), origin
            assert answer.count(b"HTTP/1.1") == 1
            assert b"access-control-allow-origin" not in answer.lower()
            assert Recorder.opened == []
        await wire.aclose()


@every_socket
@pytest.mark.parametrize("version", [*HYBI, *HIXIE])
async def test_a_handshake_without_origin(serve, transport, version):
    served = serve(settings=here())
    for headers, allowed in SITE_ROWS:
        given = {**UPGRADE, **VERSION_HEADERS[version], **headers}
        response = await (await send(served, "GET", f"/socket.io/{transport}", given)).read_head()
        assert response.status == (101 if allowed else 403), headers


@every_socket
async def test_other_methods_at_a_websockets_address(serve, transport):
    for origins, rows in ROWS:
        served = serve(settings=here(origins))
        for origin, allowed in rows:
            preflight = await ask(served, "OPTIONS", f"/socket.io/{transport}", {"Origin": origin})
            body = b"data=~m~5~m~hello"
            post = await ask(served, "POST", f"/socket.io/{transport}", {**FORM, "Origin": origin}, body)
            assert (preflight.status, post.status) == (200 if allowed else 403, 405), (origins, origin)
            for response in (preflight, post):
                assert_readable_by(response, origin if allowed else None)
    assert Recorder.opened == []


# -- Flash movies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origins", [*MATRIX, ("listed.com:80", "any.com:*", "https://full.com")])
async def test_the_policy_file(serve, origins):
    """A policy knows neither ports of pages nor the host that was asked. So it may let in more movies than the rule,
    whose handshakes are refused; but never fewer, and no host that no entry is for.
    """
    served = serve(settings=here(origins))
    wire = await served.connect()
    await wire.send(POLICY_REQUEST)
    policy = ElementTree.fromstring((await wire.read_to_end()).removesuffix(b"\0"))
    assert {element.attrib["to-ports"] for element in policy} <= {str(served.port)}
    domains = {element.attrib["domain"] for element in policy}
    for origin, allowed in MATRIX.get(origins, LISTED):
        page = parse_origin(origin or "")
        if allowed and page is not None and page.port != 9999:
            assert domains & {"*", page.host}, origin
    hosts = ["good.com"] if origins is None else origins  # see here
    for_any_host = any(entry.startswith("*") for entry in hosts)
    assert ("*" in domains) == for_any_host
    assert for_any_host or domains == {entry.split("//")[-1].split(":")[0] for entry in hosts}


# -- Tornado's own protections -----------------------------------------------------------------------------------------


@every_transport
@pytest.mark.parametrize(
    "setting",
    [
        "xsrf_cookies",
        pytest.param(
            "cross_origin_protection",
            marks=pytest.mark.skipif(
                not hasattr(tornado.web.RequestHandler, "check_trusted_origin"), reason="newer than this Tornado"
            ),
        ),
    ],
)
@pytest.mark.parametrize("site", ["same-origin", "same-site", None])
async def test_tornados_own_protection_breaks_nothing_that_is_allowed(serve, transport, setting, site):
    served = serve(settings=here(), application={setting: True})
    headers = {**FORM, "Origin": "http://good.com:8080"}
    if site is not None:
        headers["Sec-Fetch-Site"] = site
    response = await ask(served, "GET", f"/socket.io/{transport}//1/0", headers)
    assert response.status == 200
    assert "set-cookie" not in response.headers
    session_id = served.router.connections[0].session_id
    path = f"/socket.io/{transport}/{session_id}/send"
    response = await ask(served, "POST", path, headers, b"data=~m~1~m~x")
    assert (response.status, response.text) == (200, "ok")
    assert (await ask(served, "OPTIONS", path, headers)).status == 200
    assert_refused(await ask(served, "POST", path, {**headers, "Origin": "http://evil.com"}, b"data=~m~1~m~x"))
