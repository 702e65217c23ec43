"""A page of another site whose name points here by now can't use this server, from inside a firewall or as the server's
own origin: every request says by which name it was asked for, and that of the page is none of this server's.

To the browser such a page is of the server's own origin: it may read everything, sends `Sec-Fetch-Site: same-origin`,
and what it asks for has an `Origin` and a `Host` that agree.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tornado.netutil

from tests.clients import HIXIE, HYBI, KEYS, NONCE, UPGRADE
from tests.support import HTTP_TRANSPORTS, SOCKETS, ClientStream, Recorder, Response, Served

REBOUND = {"Host": "evil.example:8001", "Sec-Fetch-Site": "same-origin", "Referer": "http://evil.example:8001/"}
ORIGIN = {"Origin": "http://evil.example:8001"}
REFUSED = "this server is not asked for by that name: add it to the setting 'hosts'"

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "origins": {"origins": ["good.example:*"]},
    "no origins": {"origins": []},
    "hosts": {"hosts": ["good.example", "*.good.example"]},
    "hosts and any origin": {"hosts": ["good.example"], "origins": ["*:*"]},
}

every_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
every_transport = pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
pytestmark = pytest.mark.usefixtures("each_http")


async def ask(served: Served, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Response:
    """The head of an answer, or all of it where it has an end."""
    wire = await served.connect()
    await wire.send_request(method, path, headers, body)
    head = await wire.read_head()
    if "content-length" not in head.headers or method == "HEAD":
        return head
    return Response(
        head.status, head.reason, head.headers, await wire.read_exactly(int(head.headers["content-length"]))
    )


def assert_refused(response: Response) -> None:
    assert (response.status, response.text) == (403, REFUSED)


@every_transport
async def test_a_rebound_page_opens_no_session(serve, transport):
    for settings in SETTINGS.values():
        served = serve(settings=settings)
        for origin in ({}, ORIGIN):
            assert_refused(await ask(served, "GET", f"/socket.io/{transport}//1/0", {**REBOUND, **origin}))
    assert Recorder.opened == []


# The rule that all of these ask has tests/web/test_hosts.py for itself.
@every_transport
@pytest.mark.parametrize("settings", [{}, SETTINGS["hosts and any origin"]], ids=["default", "hosts"])
async def test_a_rebound_page_uses_no_session(serve, transport, settings):
    served = serve(settings=settings)
    session_id = await served.start(transport)
    path = f"/socket.io/{transport}/{session_id}"
    served.router.broadcast("secret")
    assert_refused(await ask(served, "GET", f"{path}/1/0", REBOUND))
    assert_refused(await ask(served, "POST", f"{path}/send", {**REBOUND, **ORIGIN}, b"data=~m~5~m~hello"))
    assert_refused(await ask(served, "OPTIONS", f"{path}/send", {**REBOUND, **ORIGIN}))
    assert (await ask(served, "HEAD", f"{path}/send", REBOUND)).status == 403
    assert Recorder.opened[0].events == [("open", "")]


@pytest.mark.parametrize("transport", SOCKETS)
@pytest.mark.parametrize("version", [*HYBI, *HIXIE])
async def test_a_rebound_page_opens_no_websocket(serve, transport, version):
    more = {"76": KEYS, "75": {}}.get(version, NONCE | {"Sec-WebSocket-Version": version})
    headers = {**REBOUND, **ORIGIN, **UPGRADE, **more}
    for settings in SETTINGS.values():
        served = serve(settings=settings)
        wire = await served.connect()
        await wire.send_request("GET", f"/socket.io/{transport}", headers)
        answer = await wire.read_to_end()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert answer.endswith(REFUSED.encode())
    assert Recorder.opened == []


@every_setting
async def test_a_rebound_page_learns_nothing_of_other_paths(serve, settings):
    served = serve(settings=settings)
    for path in ("/socket.io/1/", "/socket.io/nonsense", "/socket.io/?EIO=4", "/socket.io/" + 5000 * "x"):
        assert_refused(await ask(served, "GET", path, REBOUND))


@pytest.mark.parametrize("settings", [{}, {"origins": ["good.example:*"]}, {"hosts": ["good.example"]}])
@pytest.mark.parametrize("host", ["127.0.0.1:1", "[::1]:1", "localhost:1", "app.localhost"])
async def test_addresses_and_localhost_are_no_rebound_pages(serve, host, settings):
    served = serve(settings=settings)
    assert (await ask(served, "GET", "/socket.io/xhr-polling//1", {"Host": host})).status == 200


@pytest.mark.parametrize("settings", [{"origins": ["good.example:*"]}, {"hosts": ["good.example"]}, {"hosts": ["*"]}])
async def test_what_is_listed_is_served(serve, settings):
    served = serve(settings=settings)
    headers = {"Host": "good.example:8001", "Origin": "http://good.example"}
    assert (await ask(served, "GET", "/socket.io/xhr-polling//1", headers)).status == 200


@every_setting
async def test_a_request_without_host_is_refused(serve, settings):
    wire = await serve(settings=settings).connect()
    await wire.send(b"GET /socket.io/xhr-polling//1 HTTP/1.0\r\n\r\n")
    response = await wire.read_response()
    assert_refused(response)


@pytest.mark.parametrize("host", ["", ":8001", "[", "a..b", 300 * "a", "evil.example."])
async def test_a_host_that_is_none_is_refused(serve, host):
    served = serve(settings={"hosts": ["good.example"]})
    response = await ask(served, "GET", "/socket.io/xhr-polling//1", {"Host": host})
    assert response.status in (400, 403)
    assert Recorder.opened == []


@pytest.mark.parametrize(("client", "allowed"), [("8.8.8.8", True), ("192.168.1.7", False), ("nonsense", False)])
@pytest.mark.parametrize("header", ["X-Real-Ip", "X-Forwarded-For"])
async def test_behind_a_proxy_that_is_believed_its_clients_count(serve, header, client, allowed):
    served = serve(server={"xheaders": True})
    headers = {"Host": "www.example.com", header: client}
    response = await ask(served, "GET", "/socket.io/xhr-polling//1", headers)
    assert response.status == (200 if allowed else 403)


@pytest.mark.parametrize(("settings", "allowed"), [({}, False), ({"origins": ["www.example.com:*"]}, True)])
async def test_behind_a_proxy_that_is_not_believed_a_name_has_to_be_listed(serve, settings, allowed):
    """The proxy is all that is seen of its clients, on this machine: so does a rebound page's visitor look."""
    served = serve(settings=settings)
    headers = {"Host": "www.example.com", "X-Real-Ip": "8.8.8.8"}
    response = await ask(served, "GET", "/socket.io/xhr-polling//1", headers)
    assert response.status == (200 if allowed else 403)


@pytest.fixture
def directory() -> Iterator[Path]:
    """With a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="tornadio") as directory:
        yield Path(directory)


async def test_the_peers_of_a_unix_socket_may_ask_for_any_name(serve, directory):
    served = serve()
    listener = tornado.netutil.bind_unix_socket(str(directory / "socket"))
    served.server.add_socket(listener)
    wire = ClientStream(*await asyncio.open_unix_connection(str(directory / "socket")))
    served.wires.append(wire)
    await wire.send_request("GET", "/socket.io/xhr-polling//1", {"Host": "www.example.com"})
    assert (await wire.read_head()).status == 200


async def test_a_refusal_is_logged_with_the_name_and_the_setting(serve, caplog):
    caplog.set_level(logging.WARNING, "tornadio")
    await ask(serve(), "GET", "/socket.io/xhr-polling//1", REBOUND)
    [record] = [record for record in caplog.records if record.name.startswith("tornadio.")]
    assert record.getMessage() == (
        "403 GET /socket.io/xhr-polling//1 (127.0.0.1): this server is not asked for by that name: add it to the "
        "setting 'hosts' (host 'evil.example:8001')"
    )


async def test_the_clients_script_needs_no_name(serve):
    assert (await serve().request("HEAD", "/socket.io/socket.io.js", REBOUND)).status == 200
