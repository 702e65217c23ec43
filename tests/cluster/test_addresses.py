"""Who a client is, behind each proxy with its file as it stands: what it says about itself counts nowhere."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.clients import KEYS, NONCE, UPGRADE, request
from tests.cluster.fleet import Fleet, Proxy, Visit, open_at
from tests.support import Wire, limit
from tornadio.settings import PROTOCOLS

REAL = "127.0.0.7"
FORGED = {"X-Real-Ip": "192.0.2.66", "X-Forwarded-For": "192.0.2.66", "X-Scheme": "https"}
POLICY_REQUEST = b"<policy-file-request/>\0"
VERSION_13 = {**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13"}


async def told(port: int, *pieces: bytes) -> bytes:
    """All that is answered to these bytes, until the connection is closed."""
    async with contextlib.aclosing(await Wire.connect_from(REAL, port)) as wire:
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0.05)  # so that they don't travel together
        return await wire.read_to_end()


@pytest.fixture
def from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have another address than the proxies, and say that it is a third one."""

    async def connect(port: int) -> Wire:
        return await Wire.connect_from(REAL, port)

    send_request = Wire.send_request

    async def forge(self: Wire, method: str, path: str, headers: Any = None, body: bytes = b"") -> None:
        await send_request(self, method, path, {**FORGED, **(headers or {})}, body)

    monkeypatch.setattr(Wire, "connect", connect)
    monkeypatch.setattr(Wire, "send_request", forge)


@pytest.mark.usefixtures("from_elsewhere")
@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_nobody_forges_an_address(visit: Visit, proxy: Proxy, transport: str) -> None:
    client = await visit.open(proxy, transport)
    await client.send("about")
    [about] = await client.receive()
    assert about["ip"] == REAL
    await client.leave()


async def test_nobody_forges_an_address_with_flashsocket(visit: Visit, proxy: Proxy) -> None:
    wire = await Wire.connect_from(REAL, proxy.flash_port)
    async with contextlib.aclosing(wire):
        forged = {**UPGRADE, **KEYS, "Origin": "http://127.0.0.1", **FORGED}
        await wire.send(request(forged, "/socket.io/flashsocket"))
        assert (await wire.read_head()).status == 101
        await wire.send(b"^n:ds[4U")
        await wire.read_exactly(16)
        await wire.read_until(b"\xff")
        await wire.send(b"\x00~m~5~m~about\xff")
        assert f'"ip": "{REAL}"'.encode() in await wire.read_until(b"\xff")


@pytest.mark.parametrize(
    "pieces",
    [
        (request({}, "/health"),),
        (request(FORGED, "/health"),),
        (request(UPGRADE, "/health?/flashsocket"),),
        (request({}, "/flashsocket/health"),),
        (request({}, "/x/flashsocket") + request({}, "/health"),),
        (request({}, "/socket.io/flashsocket") + request({}, "/health"),),
        (b"GET /socket.io/flash", b"socket HTTP/1.1\r\nHost: x\r\n\r\n" + request({}, "/health")),
        (b"PROXY TCP4 192.0.2.66 192.0.2.1 1 2\r\n" + request({}, "/health"),),
        (b"\r\n" + request({}, "/health"),),
    ],
)
async def test_nobody_asks_for_the_health_over_the_flash_port(visit: Visit, fleet: Fleet, pieces: Any) -> None:
    answer = asyncio.create_task(told(fleet.proxies["haproxy"].flash_port, *pieces))
    await asyncio.wait((answer,), timeout=7)  # a page may keep its connection
    if not answer.done():
        answer.cancel()
    assert not answer.done() or (b"200 OK" not in answer.result() and b"\r\n\r\nok" not in answer.result())


async def test_the_flash_port_serves_the_policy_and_flashsocket_alone(visit: Visit, fleet: Fleet) -> None:
    port = fleet.proxies["haproxy"].flash_port
    for pieces in ((POLICY_REQUEST,), (POLICY_REQUEST[:5], POLICY_REQUEST[5:])):
        assert (await told(port, *pieces)).startswith(b'<?xml version="1.0"?><cross-domain-policy>')
    async with limit():
        for other in (request({}, "/socket.io/xhr-polling//1"), request({}, "/own"), b"GET /", b"\x16\x03\x01", b""):
            assert await told(port, other) == b""
    client = await open_at(visit.at(port), "flashsocket")
    await client.send("about")
    assert (await client.receive())[0]["transport"] == "flashsocket"
    await client.leave()


async def test_the_flash_port_sends_nobody_to_a_process_that_drains(visit: Visit, fleet: Fleet) -> None:
    assert "track nodes/" in (fleet._directory / "haproxy.cfg").read_text(encoding="utf-8")
    await asyncio.to_thread(fleet.nodes["b"].terminate)
    try:
        clients = [await open_at(visit.at(fleet.proxies["haproxy"].flash_port), "flashsocket") for _ in range(6)]
        assert {client.session_id[0] for client in clients} == {"a", "c"}
        for client in clients:
            await client.leave()
    finally:
        await asyncio.to_thread(fleet.nodes["b"].start)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("chat.example.com:8080", 200),
        ("under_score.example", 200),
        ("[::1]", 200),
        ("[2001:db8::1]:443", 200),
        ("x:", 400),
        ("x:" + "1" * 4301, 400),
        ("x:-1", 400),
        ("x:1:2", 400),
        ("x y", 400),
        ("x@y", 400),
        ("x" * 4000, 400),
        ("x<script>", 400),
        ("[::1", 400),
    ],
)
async def test_a_host_that_is_none_goes_no_further(visit: Visit, proxy: Proxy, host: str, status: int) -> None:
    response = await visit.at(proxy.web_port).request("GET", "/own", {"Host": host})
    assert response.status == status
    assert "<title>400: Bad Request" not in response.text  # a process would say it so


async def test_a_websocket_with_a_host_that_is_none_goes_no_further(visit: Visit, proxy: Proxy) -> None:
    fields = {**VERSION_13, "Host": "x:" + "1" * 4301}
    assert (await visit.at(proxy.web_port).request("GET", "/socket.io/websocket", fields)).status == 400
