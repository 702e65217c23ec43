"""Three processes behind each proxy: what one client says, all clients of all processes hear, once and in order."""

from __future__ import annotations

import asyncio
import collections

import pytest

from tests.clients import ANSWER, KEY3, KEYS, UPGRADE, Client, connect, request
from tests.deployment.fleet import NODES, Proxied, Proxy, Visit, hear_to_the_end, node_of
from tests.support import POLLING, limit
from tornadio import proto
from tornadio.settings import PROTOCOLS

MESSAGES = 10
HOSTILE = "é中😀 </script> \u2028 \" ' \\ ~m~3~m~abc"

HANDSHAKE = request({**UPGRADE, "Upgrade": "WebSocket", "Origin": "http://127.0.0.1", **KEYS}, "/socket.io/flashsocket")


async def talk(client: Client, name: str) -> None:
    for number in range(MESSAGES):
        await client.send({"by": name, "number": number, "text": HOSTILE})


async def test_a_message_reaches_all_clients_of_all_processes_once_and_in_order(visit: Visit, proxy: Proxy) -> None:
    await visit.wait_for_bus()
    clients: dict[str, Client] = {}
    for transport in PROTOCOLS:
        for node, client in (await visit.one_of_each(proxy, transport)).items():
            clients[f"{transport} at {node}"] = client
    hearing = [asyncio.create_task(hear_to_the_end(client, len(NODES))) for client in clients.values()]
    # A streaming client posts; a polling client's posts find their process only by the session's id.
    await asyncio.gather(*(talk(client, name) for name, client in clients.items()))
    for node in NODES:  # behind all that its process has published
        await clients[f"websocket at {node}"].send("end")
    for heard in await asyncio.gather(*hearing):
        numbers = collections.defaultdict(list)
        for message in heard:
            if message != "end":
                assert message["text"] == HOSTILE
                numbers[message["by"]].append(message["number"])
        assert numbers == {name: list(range(MESSAGES)) for name in clients}


@pytest.mark.parametrize("transport", [name for name in PROTOCOLS if name != "flashsocket"])
async def test_the_process_is_told_who_the_client_is(visit: Visit, proxy: Proxy, transport: str) -> None:
    client = await visit.open(proxy, transport)
    await client.send("about")
    assert await client.receive() == [{"node": node_of(client), "transport": transport, "ip": "127.0.0.1"}]


async def test_a_client_can_not_say_who_it_is(visit: Visit, proxy: Proxy) -> None:
    lie = {"X-Real-Ip": "192.0.2.1", "X-Forwarded-For": "192.0.2.1"}
    for port, ip in ((visit.fleet.nodes["a"].port, "192.0.2.1"), (proxy.web_port, "127.0.0.1")):
        peer = await connect(visit.at(port), headers=lie)
        await peer.receive()
        await peer.send(proto.encode("about"))
        [(_, about)] = proto.decode(await peer.receive())
        assert about["ip"] == ip


async def test_the_health_check_is_not_for_everybody(visit: Visit, proxy: Proxy) -> None:
    assert (await visit.at(proxy.web_port).request("GET", "/health")).status == 404
    assert (await visit.at_node("a").request("GET", "/health")).status == 200


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_that_broke_off_takes_no_message_along(visit: Visit, proxy: Proxy, transport: str) -> None:
    client = await visit.open(proxy, transport)
    broken = await visit.at(proxy.web_port).connect()
    await broken.send_request("GET", f"/socket.io/{transport}/{client.session_id}/1290000000000/0")
    about = visit.at_node(node_of(client))
    await waits(about, client.session_id, True)
    await broken.aclose()
    await waits(about, client.session_id, False)
    await client.send("about")
    assert (await client.receive())[0]["transport"] == transport


async def waits(served: Proxied, session_id: str, expected: bool) -> None:
    """Until a session has a poll that waits, or none."""
    async with limit():
        while await served.read_json(f"/waits/{session_id}") is not expected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# flashsocket's draft-76 has eight bytes behind its headers, which no header announces. What haproxy.cfg, nginx.conf and
# docs/going-big.rst say of it is what is seen here.


async def test_draft_76_in_http_mode(visit: Visit, proxy: Proxy) -> None:
    served = visit.at(proxy.web_port)
    for pieces in ((HANDSHAKE + KEY3,), (HANDSHAKE, KEY3)):
        wire = await served.connect()
        await wire.send(pieces[0])
        head = await wire.read_head()
        assert head.status == {"haproxy": 400, "nginx": 101}[proxy.name]
        if proxy.name == "nginx":
            await wire.send(b"".join(pieces[1:]))
            assert await wire.read_exactly(16) == ANSWER


async def test_the_flash_policy_where_flashsocket_is_served(visit: Visit, proxy: Proxy) -> None:
    wire = await visit.at(proxy.flash_port).connect()
    await wire.send(b"<policy-file-request/>\0")
    assert {"haproxy": b"to-ports=", "nginx": b"400 Bad Request"}[proxy.name] in await wire.read_to_end()
