"""One refused request is one line in the log: what was asked, by whom, and why it was refused. Its response says
what it means for other transports.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import tornado.web

from tests.clients import KEYS, NONCE, UPGRADE, connect
from tests.internals import start_draining
from tests.support import FORM, HTTP_TRANSPORTS, SOCKETS, Recorder, Served

pytestmark = pytest.mark.usefixtures("each_http")

EVIL = {"Origin": "http://evil.example"}
VERSION_13 = {**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13"}
SESSION = "0123456789" * 4


class Refused(NamedTuple):
    """A kind of refusal: the request, the response's status, and what the line says."""

    request: tuple[str, Mapping[str, str | None], bytes]  # method, headers, body
    status: int
    reason: str
    tail: str = "//1/0"
    settings: dict[str, Any] = {}


HTTP = {
    "origin": Refused(("GET", EVIL, b""), 403, "see the setting 'origins' (origin 'http://evil.example')"),
    "two origins": Refused(
        ("GET", {"Origin": "http://a\r\nOrigin: http://b"}, b""),
        403,
        "two different Origin headers: send one (origin 'http://a,http://b')",
    ),
    "origin of a POST": Refused(("POST", {**FORM, **EVIL}, b"data="), 403, "the setting 'origins'", f"/{SESSION}/1"),
    "origin of a preflight": Refused(("OPTIONS", EVIL, b""), 403, "(origin 'http://evil.example')"),
    "referer": Refused(("GET", {"Referer": "http://evil.example/x"}, b""), 403, "(referer 'http://evil.example/x')"),
    "site": Refused(("GET", {"Sec-Fetch-Site": "cross-site"}, b""), 403, "(sec-fetch-site 'cross-site')"),
    "host": Refused(
        ("GET", {"Host": "evil.example"}, b""), 403, "add it to the setting 'hosts' (host 'evil.example')"
    ),
    "method": Refused(("PUT", {}, b""), 405, "this method is not for {transport}: use GET, POST, OPTIONS"),
    "not enabled": Refused(
        ("GET", {}, b""), 403, "{transport} is not enabled here", settings={"enabled_protocols": ["flashsocket"]}
    ),
    "too many sessions": Refused(
        ("GET", {}, b""), 503, "try again later (there are max_sessions (1) already)", settings={"max_sessions": 1}
    ),
    "too many of one address": Refused(
        ("GET", {}, b""), 429, "max_sessions_per_address (1) already)", settings={"max_sessions_per_address": 1}
    ),
    "unknown session": Refused(("GET", {}, b""), 401, "there is no such session", f"/{SESSION}/1/0"),
    "unknown session of a POST": Refused(("POST", FORM, b"data="), 401, "there is no such session", f"/{SESSION}/1/0"),
    "no session": Refused(("POST", FORM, b"data="), 400, "a POST needs a session"),
    "too large": Refused(
        ("POST", {**FORM, "Content-Length": "1000000000"}, b""), 413, "larger than", f"/{SESSION}/1/0"
    ),
    "an upgrade": Refused(("GET", dict(VERSION_13), b""), 400, "there is no WebSocket here"),
}  # fmt: skip
WEBSOCKET = {
    "origin": HTTP["origin"],
    "two origins": HTTP["two origins"],
    "host": HTTP["host"],
    "method": Refused(("POST", FORM, b"data="), 405, "this method is not for {transport}: use GET, OPTIONS"),
    "not enabled": Refused(
        ("GET", {}, b""), 403, "{transport} is not enabled here", settings={"enabled_protocols": ["htmlfile"]}
    ),
    "too many sessions": HTTP["too many sessions"],
    "too many of one address": HTTP["too many of one address"],
    "no upgrade": Refused(("GET", {"Upgrade": None}, b""), 400, '"Upgrade: websocket" is missing'),
    "version": Refused(("GET", {"Sec-WebSocket-Version": "99"}, b""), 426, "not a WebSocket version"),
}


async def lines_of(
    served: Served, log: pytest.LogCaptureFixture, path: str, kind: Refused, headers: dict[str, str | None]
) -> list[str]:
    """The lines of all loggers about one request, which is refused."""
    if "max_sessions" in str(kind.settings):
        await served.start("htmlfile")
    await served.barrier()
    log.clear()
    method, more, body = kind.request
    response = await served.request(method, path, {**headers, **more}, body)
    assert response.status == kind.status
    await served.barrier()
    return [record.getMessage() for record in log.records if "HEAD /socket.io/" not in record.getMessage()]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def assert_told(lines: list[str], kind: Refused, path: str, transport: str) -> None:
    shown = path.replace(SESSION, f"{SESSION[:8]}...")
    [line] = lines
    assert line.startswith(f"{kind.status} {kind.request[0]} {shown} (127.0.0.1): ")
    assert kind.reason.format(transport=transport) in line


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize("kind", HTTP)
async def test_a_refused_request_is_one_line(serve, log, transport, kind):
    refused = HTTP[kind]
    served = serve(settings={"hosts": [], **refused.settings})
    path = f"/socket.io/{transport}{refused.tail}"
    assert_told(await lines_of(served, log, path, refused, {}), refused, path, transport)


@pytest.mark.parametrize("transport", SOCKETS)
@pytest.mark.parametrize("version", ["13", "76"])
@pytest.mark.parametrize("kind", WEBSOCKET)
async def test_a_refused_websocket_is_one_line(serve, log, transport, version, kind):
    refused = WEBSOCKET[kind]
    served = serve(settings={"hosts": [], **refused.settings})
    path = f"/socket.io/{transport}"
    handshake = VERSION_13 if version == "13" else {**UPGRADE, **KEYS}
    assert_told(await lines_of(served, log, path, refused, dict(handshake)), refused, path, transport)


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/socket.io/nonsense/", 404, "not a transport of this resource: there are websocket, "),
        ("/socket.io/1/", 404, "this server speaks Socket.IO 0.6, not 0.7 or newer"),
        ("/socket.io/?EIO=4&transport=polling", 404, "this server speaks Socket.IO 0.6, not 0.7 or newer"),
        ("/socket.io/xhr-polling/%ff/1", 400, "the path is not UTF-8, percent-encoded"),
        (f"/nowhere/{SESSION}", 404, ""),
    ],
)
async def test_a_request_for_an_unknown_path_is_one_line(serve, log, path, status, reason):
    kind = Refused(("GET", {}, b""), status, reason)
    [line] = await lines_of(serve(), log, path, kind, {})
    assert line.startswith(f"{status} GET {path.replace(SESSION, SESSION[:8] + '...')} (127.0.0.1)")
    assert reason in line


class Refusing(Recorder):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return False


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_what_on_open_refuses_is_one_line(serve, log, transport):
    kind = Refused(("GET", {}, b""), 403, "the application refused this connection (session ")
    path = f"/socket.io/{transport}//1/0"
    assert_told(await lines_of(serve(Refusing), log, path, kind, {}), kind, path, transport)


@pytest.mark.parametrize("transport", SOCKETS)
@pytest.mark.parametrize("version", ["13", "76"])
async def test_a_websocket_that_on_open_refuses_is_one_line(serve, log, transport, version):
    served = serve(Refusing)
    peer = await connect(served, version, f"/socket.io/{transport}")
    await peer.ended()
    await served.barrier()
    [line] = [record.getMessage() for record in log.records if record.name.startswith("tornadio.transports")]
    reason = "the application refused this connection (session "
    assert line.startswith(f"1008 GET /socket.io/{transport} (127.0.0.1): {reason}")
    assert "on_open returned False" in line


async def test_bad_frames_of_a_post_are_one_line(serve, log):
    served = serve()
    session_id, _ = await served.open()
    log.clear()
    assert (await served.post_data(session_id, "nonsense")).status == 400
    await served.barrier()
    [line] = [record.getMessage() for record in log.records if record.levelno > logging.INFO]
    assert line.startswith(f"400 POST /socket.io/xhr-polling/{session_id[:8]}.../send (127.0.0.1): ")


async def test_a_log_function_of_the_application_gets_refused_requests_and_the_line_stays(serve, log):
    logged: list[tornado.web.RequestHandler] = []
    served = serve(application={"log_function": logged.append})
    log.clear()
    assert (await served.request("GET", "/socket.io/xhr-polling//1", EVIL)).status == 403
    assert [handler.get_status() for handler in logged] == [403]
    [record] = log.records
    assert record.name == "tornadio.transports.responses"


# -- A refusal that would be the same over every transport -------------------------------------------------------------

PAGE = {"Origin": "http://127.0.0.1:8080"}  # which may connect, and reads of other headers only what is exposed to it
SAME_EVERYWHERE = {
    "socket-io-refusal": "every-transport",
    "access-control-expose-headers": "Socket-IO-Refusal",
}


class RefusingLater(Recorder):
    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return False


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize("connection_class", [Refusing, RefusingLater])
async def test_what_on_open_refuses_is_refused_over_every_transport(serve, transport, connection_class):
    response = await serve(connection_class).request("GET", f"/socket.io/{transport}//1/0", PAGE)
    assert (response.status, response.text) == (403, "the application refused this connection")
    assert response.headers["access-control-allow-origin"] == PAGE["Origin"]
    assert SAME_EVERYWHERE.items() <= response.headers.items()


@pytest.mark.parametrize("transport", [*HTTP_TRANSPORTS, *SOCKETS])
@pytest.mark.parametrize("headers", [EVIL, {"Referer": "http://evil.example/"}, {"Host": "evil.example"}])
async def test_an_origin_or_a_host_is_refused_over_every_transport(serve, transport, headers):
    upgrade = VERSION_13 if transport in SOCKETS else {}
    response = await serve(settings={"hosts": []}).request(
        "GET", f"/socket.io/{transport}//1/0", {**upgrade, **headers}
    )
    assert response.status == 403
    assert SAME_EVERYWHERE.items() <= response.headers.items()


@pytest.mark.parametrize("transport", [*HTTP_TRANSPORTS, *SOCKETS])
async def test_an_extra_is_refused_over_every_transport(serve, transport):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep="/")
    response = await served.request("GET", f"/chat/one/{transport}//1/0", PAGE)
    assert response.status == 404
    assert SAME_EVERYWHERE.items() <= response.headers.items()


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize(
    "kind", ["site", "not enabled", "too many sessions", "too many of one address", "unknown session", "no session"]
)
async def test_of_others_that_is_not_said(serve, transport, kind):
    refused = HTTP[kind]
    served = serve(settings=refused.settings)
    if "max_sessions" in str(refused.settings):
        await served.start("htmlfile")
    method, headers, body = refused.request
    response = await served.request(method, f"/socket.io/{transport}{refused.tail}", headers, body)
    assert response.status == refused.status
    assert SAME_EVERYWHERE.keys().isdisjoint(response.headers)


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_nor_while_the_server_shuts_down_nor_of_an_opaque_origin(serve, transport):
    served = serve()
    response = await served.request("GET", f"/socket.io/{transport}//1/0", {"Origin": "null"})
    assert response.status == 403
    assert SAME_EVERYWHERE.keys().isdisjoint(response.headers)
    start_draining(served.router)
    response = await served.request("GET", f"/socket.io/{transport}//1/0", PAGE)
    assert response.status == 503
    assert SAME_EVERYWHERE.keys().isdisjoint(response.headers)
