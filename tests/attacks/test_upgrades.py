"""Requests to upgrade, at every address and in every combination of headers.

CVE-2020-7693: a server died of an Upgrade on a route that knew none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support import HTTP_TRANSPORTS, Recorder, Response, Served

UPGRADES = (None, "websocket", "WebSocket", "websocket, h2c", "h2c", "")
CONNECTIONS = (None, "Upgrade", "keep-alive, Upgrade", "keep-alive", "close")
METHODS = ("GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE")

SOCKETS = (
    *("websocket", "websocket/", "websocket/SESSION", "websocket//1"),
    *("flashsocket", "flashsocket/", "flashsocket/SESSION/1/0"),
)
ELSEWHERE = (
    *(f"{transport}//1/0" for transport in HTTP_TRANSPORTS),
    *(f"{transport}/SESSION/1/0" for transport in HTTP_TRANSPORTS),
    "unknown/",
    "1/",
    "1/websocket/SESSION",
)

KEY = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}


class Case(NamedTuple):
    method: str
    path: str
    upgrade: str | None
    connection: str | None

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Upgrade": self.upgrade, "Connection": self.connection}
        return KEY | {name: value for name, value in headers.items() if value is not None}

    @property
    def wants_websocket(self) -> bool:
        return self.upgrade is not None and self.upgrade.lower().startswith("websocket")

    @property
    def is_upgrade(self) -> bool:
        """Whether it is a whole request to upgrade (RFC 6455, section 4.1)."""
        return self.wants_websocket and self.connection is not None and "Upgrade" in self.connection


def cases(path: str) -> Iterator[Case]:
    for method, upgrade, connection in itertools.product(METHODS, UPGRADES, CONNECTIONS):
        yield Case(method, f"/socket.io/{path}", upgrade, connection)


async def answer_to(served: Served, case: Case, session_id: str = "0") -> Response:
    """The answer's head; of one that begins a stream or a WebSocket no more is needed."""
    wire = await served.connect()
    await wire.send_request(case.method, case.path.replace("SESSION", session_id), case.headers)
    head = await wire.read_head()
    if head.status >= 400 and head.headers.get("connection") == "close":
        await wire.read_to_end()  # it closes, as it says
    await wire.aclose()
    return head


def expected_at_socket(case: Case) -> int:
    if case.method == "GET":
        return 101 if case.is_upgrade else 400
    return 204 if case.method == "OPTIONS" else 405


@pytest.mark.parametrize("path", SOCKETS)
async def test_at_a_websockets_address_whole_upgrades_alone_are_accepted(serve, path):
    served = serve()
    for case in cases(path):
        status = (await answer_to(served, case)).status
        wanted = expected_at_socket(case)
        assert status == wanted or (status == 200 and wanted == 204), case
    assert len(Recorder.opened) == sum(expected_at_socket(case) == 101 for case in cases(path))


@pytest.mark.parametrize("path", ELSEWHERE)
async def test_elsewhere_a_websocket_is_refused_and_the_connection_closed(serve, path):
    served = serve()
    for case in cases(path):
        if case.wants_websocket:
            head = await answer_to(served, case)
            assert (head.status, head.headers["connection"]) == (400, "close"), case
            assert head.headers["content-type"] == "text/plain; charset=UTF-8"
    assert Recorder.opened == []
    assert (await served.open())[1] == "~m~7~m~welcome"


@pytest.mark.parametrize("path", ELSEWHERE)
async def test_elsewhere_other_upgrades_are_ignored(serve, path):
    """HTTP clients offer h2c with any request, proxies send "Connection: upgrade" with each (RFC 9110, section 7.8)."""
    served = serve()
    for method in METHODS:
        plain = await answer_to(served, Case(method, f"/socket.io/{path}", None, None))
        for case in cases(path):
            if case.method == method and not case.wants_websocket:
                assert (await answer_to(served, case)).status == plain.status, case


@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling"])
async def test_a_refused_upgrade_does_not_touch_the_session_that_it_names(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    waiting = await served.connect()
    index = "/0" if transport == "jsonp-polling" else ""
    await waiting.send_request("GET", f"/socket.io/{transport}/{session_id}/1{index}")
    for method in METHODS:
        case = Case(method, f"/socket.io/{transport}/SESSION/1{index}", "websocket", "Upgrade")
        assert (await answer_to(served, case, session_id)).status == 400
    served.router.broadcast("news")
    assert "news" in (await waiting.read_response()).text


async def test_what_follows_a_refused_upgrade_is_never_taken_for_http(serve):
    """A proxy that believes in the upgrade passes on whatever its client sends: another's requests, for example."""
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    smuggled = (
        f"POST /socket.io/xhr-polling/{session_id}/send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 13\r\n\r\n"
    )
    head = (
        "GET /socket.io/xhr-polling/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    await wire.send((head + smuggled + "data=~m~1~m~x").encode())
    assert (await wire.read_to_end()).count(b"HTTP/1.1") == 1
    assert Recorder.opened[0].events == [("open", "")]


@pytest.mark.parametrize("path", ["unknown/", "xhr-polling/", "1/websocket/5"])
async def test_the_refusal_says_where_the_websocket_is(serve, path):
    response = await serve().request("GET", f"/socket.io/{path}", Case("GET", path, "websocket", "Upgrade").headers)
    expected = {
        "xhr-polling/": "/socket.io/websocket",
        "unknown/": "there are websocket",
        "1/websocket/5": "speaks Socket.IO 0.6",
    }
    assert expected[path] in response.text


async def test_the_client_script_is_served_whatever_is_asked_beside(serve):
    served = serve()
    for upgrade, connection in itertools.product(UPGRADES, CONNECTIONS):
        assert (await answer_to(served, Case("GET", "/socket.io/socket.io.js", upgrade, connection))).status == 200
