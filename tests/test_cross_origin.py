"""Who may connect over HTTP: one rule for sessions, polls, POSTs and preflights. What is refused dispatches nothing."""

import logging

import pytest
import tornado.web

from tests.support import HTTP_TRANSPORTS, STREAMING, Recorder, Response, Served

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
REFUSED = "this origin may not connect: see the setting 'origins'"

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
    ("good.com", False),
    ("//good.com", False),
    ("file://", False),
    ("null", False),
    ("", False),
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
    ("null", False),
]

RULES = [
    *((None, origin, allowed) for origin, allowed in SAME_HOSTNAME),
    *((("listed.com:80", "any.com:*", "*:9999", "https://full.com"), origin, allowed) for origin, allowed in LISTED),
    *((("*:*",), origin, True) for origin in ["http://evil.com", "https://x:1", "null", "file://"]),
    *(((), origin, False) for origin in ["http://good.com:8001", "null"]),
]


async def ask(served: Served, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Response:
    """A request to good.com:8001, of which only the head is awaited where the body never ends."""
    wire = await served.connect()
    await wire.send_request(method, path, {"Host": "good.com:8001", **headers}, body)
    if method == "GET" and any(transport in path for transport in STREAMING):
        return await wire.read_head()
    return await wire.read_response()


def assert_readable_by(response: Response, origin: str) -> None:
    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["vary"] == "Origin"


def assert_refused(response: Response) -> None:
    assert response.status == 403
    assert "access-control-allow-origin" not in response.headers
    assert "access-control-allow-credentials" not in response.headers
    assert response.headers["vary"] == "Origin"


@every_transport
@pytest.mark.parametrize(("origins", "origin", "allowed"), RULES)
async def test_a_new_session(serve, transport, origins, origin, allowed):
    served = serve(settings={"origins": origins})
    response = await ask(served, "GET", f"/socket.io/{transport}//1290000000000/0", {"Origin": origin})
    assert len(Recorder.opened) == (1 if allowed else 0)
    if allowed:
        assert response.status == 200
        assert_readable_by(response, origin)
    else:
        assert_refused(response)


@every_transport
@pytest.mark.parametrize(("origins", "origin", "allowed"), RULES)
async def test_a_post(serve, transport, origins, origin, allowed):
    served = serve(settings={"origins": origins})
    session_id = await served.start(transport)
    path = f"/socket.io/{transport}/{session_id}/send"
    response = await ask(served, "POST", path, {**FORM, "Origin": origin}, b"data=~m~5~m~hello")
    if allowed:
        assert (response.status, response.text) == (200, "ok")
        assert_readable_by(response, origin)
        assert Recorder.opened[0].events == [("open", ""), ("message", "hello")]
    else:
        assert_refused(response)
        assert response.text == REFUSED
        assert Recorder.opened[0].events == [("open", "")]


@every_transport
@pytest.mark.parametrize(("origins", "origin", "allowed"), RULES)
async def test_a_preflight(serve, transport, origins, origin, allowed):
    served = serve(settings={"origins": origins})
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    response = await ask(served, "OPTIONS", f"/socket.io/{transport}/0123/send", headers)
    if allowed:
        assert (response.status, response.body) == (200, b"")
        assert_readable_by(response, origin)
        assert response.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
        assert response.headers["access-control-allow-headers"] == "Content-Type"
        assert int(response.headers["access-control-max-age"]) > 0
    else:
        assert_refused(response)
        assert "access-control-allow-methods" not in response.headers


@every_transport
async def test_a_refused_get_leaves_a_session_alone(serve, transport):
    served = serve()
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
    served = serve(settings={"origins": ["listed.com:80"]})
    headers = {"Sec-Fetch-Mode": "cors", "Cookie": "a=b"}
    response = await ask(served, "GET", f"/socket.io/{transport}//1290000000000/0", headers)
    assert response.status == 200
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["vary"] == "Origin"


@every_transport
async def test_the_hostname_counts_and_not_the_port(serve, transport):
    served = serve()
    for host, origin in [
        ("good.com", "http://good.com:8080"),
        ("[::1]:8001", "http://[::1]"),
        ("GOOD.com", "http://good.com"),
    ]:
        response = await ask(served, "GET", f"/socket.io/{transport}//1/0", {"Host": host, "Origin": origin})
        assert_readable_by(response, origin)


@every_transport
async def test_an_http_1_0_request_without_host_is_of_no_page(serve, transport):
    wire = await serve().connect()
    await wire.send(f"GET /socket.io/{transport}//1/0 HTTP/1.0\r\nOrigin: http://good.com\r\n\r\n".encode())
    assert_refused(await wire.read_head())


async def test_a_refusal_is_logged_with_the_origin(serve, caplog):
    caplog.set_level(logging.WARNING, "tornadio")
    await ask(serve(), "GET", "/socket.io/xhr-polling/", {"Origin": "http://evil.com"})
    [record] = [record for record in caplog.records if record.name.startswith("tornadio")]
    assert record.getMessage() == "refused xhr-polling: origin 'http://evil.com'"


# -- JSONP: scripts carry no Origin ------------------------------------------------------------------------------------

SITES = [
    ({}, True),
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


@pytest.mark.parametrize(("headers", "allowed"), SITES)
async def test_a_jsonp_session(serve, headers, allowed):
    served = serve()
    response = await ask(served, "GET", "/socket.io/jsonp-polling//1290000000000/0", headers)
    assert response.status == (200 if allowed else 403)
    assert len(Recorder.opened) == (1 if allowed else 0)


@pytest.mark.parametrize(("headers", "allowed"), SITES)
async def test_a_jsonp_poll(serve, headers, allowed):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    served.router.broadcast("secret")
    response = await ask(served, "GET", f"/socket.io/jsonp-polling/{session_id}/1/0", headers)
    assert (response.status, "secret" in response.text) == ((200, True) if allowed else (403, False))


@pytest.mark.parametrize(("headers", "allowed"), SITES)
async def test_a_jsonp_post(serve, headers, allowed):
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    body = b"data=~m~5~m~hello"
    response = await ask(served, "POST", f"/socket.io/jsonp-polling/{session_id}/1/0", {**FORM, **headers}, body)
    assert response.status == (200 if allowed else 403)
    assert (("message", "hello") in Recorder.opened[0].events) == allowed


async def test_with_any_origin_allowed_jsonp_is_free_for_all(serve):
    served = serve(settings={"origins": ["*:*"]})
    for headers in [{"Sec-Fetch-Site": "cross-site"}, {"Referer": "http://evil.com/"}, {"Referer": "about:blank"}]:
        assert (await ask(served, "GET", "/socket.io/jsonp-polling//1/0", headers)).status == 200


@pytest.mark.parametrize("transport", ["xhr-polling", *STREAMING])
async def test_the_other_transports_need_no_more_than_origin(serve, transport):
    headers = {"Sec-Fetch-Site": "cross-site", "Referer": "http://evil.com/"}
    assert (await ask(serve(), "GET", f"/socket.io/{transport}//1/0", headers)).status == 200


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
    served = serve(application={setting: True})
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
