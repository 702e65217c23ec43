"""Who a client is, behind each proxy with its file as it stands: what it says about itself counts nowhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from examples.cluster import cluster
from tests.appserver import AppServer, free_port
from tests.clients import KEYS, NONCE, UPGRADE, request
from tests.deployment.fleet import NODES, Fleet, Proxy, Visit, daemon_of, open_at, with_own_places
from tests.support import ClientStream, limit
from tornadio.settings import PROTOCOLS

NODE_APP = Path(__file__).with_name("node_app.py")
REAL = "127.0.0.7"
SHARE = 20
FORGED = {"X-Real-Ip": "192.0.2.66", "X-Forwarded-For": "192.0.2.66", "X-Scheme": "https"}
POLICY_REQUEST = b"<policy-file-request/>\0"
VERSION_13 = {**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13"}


async def told(port: int, *pieces: bytes) -> bytes:
    """All that is answered to these bytes, until the connection is closed."""
    async with contextlib.aclosing(await ClientStream.connect_from(REAL, port)) as wire:
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0.05)  # so that they don't travel together
        return await wire.read_to_end()


@pytest.fixture
def from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have another address than the proxies, and say that it is a third one."""

    async def connect(port: int) -> ClientStream:
        return await ClientStream.connect_from(REAL, port)

    send_request = ClientStream.send_request

    async def forge(self: ClientStream, method: str, path: str, headers: Any = None, body: bytes = b"") -> None:
        await send_request(self, method, path, {**FORGED, **(headers or {})}, body)

    monkeypatch.setattr(ClientStream, "connect", connect)
    monkeypatch.setattr(ClientStream, "send_request", forge)


@pytest.mark.usefixtures("from_elsewhere")
@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_nobody_forges_an_address(visit: Visit, proxy: Proxy, transport: str) -> None:
    client = await visit.open(proxy, transport)
    await client.send("about")
    [about] = await client.receive()
    assert about["ip"] == REAL
    await client.leave()


async def test_nobody_forges_an_address_with_flashsocket(visit: Visit, proxy: Proxy) -> None:
    wire = await ClientStream.connect_from(REAL, proxy.flash_port)
    async with contextlib.aclosing(wire):
        forged = {**UPGRADE, **KEYS, "Origin": "http://127.0.0.1", **FORGED}
        await wire.send(request(forged, "/socket.io/flashsocket"))
        assert (await wire.read_head()).status == 101
        await wire.send(b"^n:ds[4U")
        await wire.read_exactly(16)
        await wire.read_until(b"\xff")
        await wire.send(b"\x00~m~5~m~about\xff")
        assert f'"ip": "{REAL}"'.encode() in await wire.read_until(b"\xff")


SMUGGLED: Final = (
    (request({}, "/health"),),
    (request(FORGED, "/health"),),
    (request(UPGRADE, "/health?/flashsocket"),),
    (request({}, "/flashsocket/health"),),
    (request({}, "/x/flashsocket") + request({}, "/health"),),
    (request({}, "/x/flashsocket") + request({}, "/own"),),
    (request({}, "/socket.io/flashsocket/x") + request({}, "/own"),),
    (request({}, "/socket.io/flashsocket") + request({}, "/health"),),
    (b"GET /socket.io/flash", b"socket HTTP/1.1\r\nHost: x\r\n\r\n" + request({}, "/health")),
    (b"PROXY TCP4 192.0.2.66 192.0.2.1 1 2\r\n" + request({}, "/health"),),
    (b"\r\n" + request({}, "/health"),),
)


async def test_nobody_asks_for_the_health_over_the_flash_port(visit: Visit, fleet: Fleet) -> None:
    """Who is no flashsocket is let go after 5 seconds. A page keeps its connection: what it says until then counts."""
    port = fleet.proxies["haproxy"].flash_port

    async def ask(pieces: tuple[bytes, ...]) -> bytes:
        answer = b""
        async with contextlib.aclosing(await ClientStream.connect_from(REAL, port)) as wire:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(7):
                    for piece in pieces:
                        await wire.send(piece)
                        await asyncio.sleep(0.05)  # so that they don't travel together
                    while data := await wire.reader.read(1 << 16):
                        answer += data
        return answer

    answers = dict(zip(SMUGGLED, await asyncio.gather(*map(ask, SMUGGLED)), strict=True))
    assert [pieces for pieces, answer in answers.items() if b"200 OK" in answer] == []
    assert [pieces for pieces, answer in answers.items() if answer.endswith(b"\r\n\r\nok")] == []


async def test_the_flash_port_serves_the_policy_and_flashsocket_alone(visit: Visit, fleet: Fleet) -> None:
    port = fleet.proxies["haproxy"].flash_port
    for pieces in ((POLICY_REQUEST,), (POLICY_REQUEST[:5], POLICY_REQUEST[5:])):
        assert (await told(port, *pieces)).startswith(b'<?xml version="1.0"?><cross-domain-policy>')
    async with limit():
        others = (request({}, "/socket.io/xhr-polling//1"), request({}, "/own"), b"GET /", b"\x16\x03\x01", b"")
        assert await asyncio.gather(*(told(port, other) for other in others)) == [b""] * len(others)
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
    await visit.one_of_each(fleet.proxies["haproxy"], "websocket")  # the proxy has it back


# -- One client's share ------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def running_with(
    nodes: dict[str, AppServer], proxy: Proxy, directory: Path, many: str = "", few: str = ""
) -> AsyncIterator[int]:
    """A proxy with its documented file, but for one number at most: its port."""
    name = "haproxy.cfg" if proxy.name == "haproxy" else "nginx.conf"
    port = free_port()
    ports = {node: server.port for node, server in nodes.items()} | {"web": port, "flash": free_port()}
    text = with_own_places(cluster.adapted(cluster.HERE / name, ports))
    assert many in text
    path = directory / name
    path.write_text(text.replace(many, few), encoding="utf-8")
    arguments = ["-f", str(path)]
    if proxy.name == "nginx":
        arguments = ["-p", str(directory), "-c", str(path), "-e", "stderr", "-g", "daemon off; pid nginx.pid;"]
    daemon = daemon_of(proxy.name, *arguments, port=port, directory=directory)
    await asyncio.to_thread(daemon.start)
    try:
        yield port
    finally:
        await asyncio.to_thread(daemon.stop)


@pytest.fixture
async def small(fleet: Fleet, tmp_path: Path) -> AsyncIterator[AppServer]:
    """A process in which one address may have a few sessions."""
    bus = f"--bus=redis://127.0.0.1:{fleet.redis.port}/0"
    server = AppServer(NODE_APP, (bus, "--node=a", f"--max_sessions_per_address={SHARE}"), tmp_path / "a.txt")
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.kill)


async def test_one_address_fills_its_share_and_others_come_in(
    visit: Visit, small: AppServer, proxy: Proxy, tmp_path: Path
) -> None:
    async with running_with(dict.fromkeys(NODES, small), proxy, tmp_path) as port, contextlib.AsyncExitStack() as stack:
        for source in ("127.0.3.1", "127.0.3.2"):
            wire = await stack.enter_async_context(contextlib.aclosing(await ClientStream.connect_from(source, port)))
            statuses = []
            for number in range(SHARE + 5):
                await wire.send_request("GET", "/socket.io/xhr-polling//1", {"X-Real-Ip": f"192.0.2.{number}"})
                statuses.append((await wire.read_response()).status)
            assert statuses == [200] * SHARE + [429] * 5
        for transport in PROTOCOLS[:1] + PROTOCOLS[2:]:  # flashsocket has a port of its own
            client = await open_at(visit.at(port), transport)
            await client.send("about")
            assert (await client.receive())[0]["ip"] == "127.0.0.1"
            await client.leave()


async def test_a_proxy_keeps_one_address_to_its_connections(
    visit: Visit, fleet: Fleet, proxy: Proxy, tmp_path: Path
) -> None:
    async with running_with(fleet.nodes, proxy, tmp_path, " 5000", " 20") as port, contextlib.AsyncExitStack() as stack:
        for source, number in [("127.0.3.1", 30), ("127.0.3.2", 1)]:
            heads = []
            for _ in range(number):
                try:
                    wire = await stack.enter_async_context(
                        contextlib.aclosing(await ClientStream.connect_from(source, port))
                    )
                    await wire.send_request("GET", "/socket.io/htmlfile//1")
                    heads.append(await wire.reader.readline())
                except ConnectionError:
                    heads.append(b"")
            assert [head.partition(b" ")[2][:3] for head in heads[:20]] == [b"200"] * min(number, 20)
            assert {head.partition(b" ")[2][:3] for head in heads[20:]} <= {b"429", b""}


async def test_haproxy_keeps_one_address_to_its_requests(visit: Visit, fleet: Fleet, tmp_path: Path) -> None:
    async with running_with(fleet.nodes, fleet.proxies["haproxy"], tmp_path, " 10000", " 20") as port:
        for source, expected in [("127.0.3.1", [200] * 20 + [429] * 10), ("127.0.3.2", [200])]:
            statuses = []
            for _ in expected:
                async with contextlib.aclosing(await ClientStream.connect_from(source, port)) as wire:
                    await wire.send_request("GET", "/own")
                    statuses.append((await wire.read_response()).status)
            assert statuses == expected


async def test_nginx_counts_an_ipv6_network_as_one_address(visit: Visit, fleet: Fleet, tmp_path: Path) -> None:
    """The machine has one IPv6 address at most, so nginx is told of others, as by a proxy before it."""
    believing = " 1;\n    real_ip_header X-Test;\n    set_real_ip_from 127.0.0.1;\n"
    nginx = fleet.proxies["nginx"]
    async with (
        running_with(fleet.nodes, nginx, tmp_path, " 5000;", believing) as port,
        contextlib.AsyncExitStack() as stack,
    ):
        statuses = []
        for address in ("2001:db8:a:a::1", "2001:db8:a:a:f::2", "2001:db8:a:b::1", "10.0.10.10", "10.0.10.11"):
            wire = await stack.enter_async_context(contextlib.aclosing(await ClientStream.connect(port)))
            await wire.send_request("GET", "/socket.io/htmlfile//1", {"X-Test": address})
            statuses.append((await wire.read_head()).status)
        assert statuses == [200, 429, 200, 200, 200]


# -- Hosts -------------------------------------------------------------------------------------------------------------


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
