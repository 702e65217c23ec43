"""What ends: Redis, and the processes one after the other, while everybody talks."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests.clients import Client
from tests.deployment.fleet import NODES, Fleet, Proxy, Visit, hear_to_the_end, leave, open_at
from tests.support import limit, until
from tornadio.settings import PROTOCOLS

OUTAGE_SECONDS = 10


class Talker:
    """A client that says numbered messages until it is told to end."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.said = 0
        self.is_over = False

    async def talk(self, pause: float) -> None:
        while not self.is_over:
            await self.client.send({"by": self.name, "number": self.said})
            self.said += 1
            await asyncio.sleep(pause)
        await self.client.send("end")


def numbers(heard: list[Any]) -> dict[str, list[int]]:
    """What was heard of each talker."""
    numbers: dict[str, list[int]] = collections.defaultdict(list)
    for message in heard:
        if message != "end":
            numbers[message["by"]].append(message["number"])
    return numbers


# -- Redis -------------------------------------------------------------------------------------------------------------


async def test_redis_is_gone_for_ten_seconds(visit: Visit) -> None:
    fleet = visit.fleet
    await visit.wait_for_bus()
    here, neighbour, elsewhere = [await open_at(visit.at_node(node), "websocket") for node in "aab"]
    hearing = [asyncio.create_task(hear_to_the_end(client, 1)) for client in (here, neighbour, elsewhere)]
    talker = Talker("here", here)
    talking = asyncio.create_task(talker.talk(0.01))
    await until(lambda: talker.said > 10)
    before = fleet.nodes["a"].output()
    await asyncio.to_thread(fleet.redis.stop)
    try:
        stopped_at = talker.said
        await asyncio.sleep(OUTAGE_SECONDS)
        assert talker.said > stopped_at + 100  # Redis holds up nobody
    finally:
        await asyncio.to_thread(fleet.redis.start)
    await visit.wait_for_bus()
    resumed_at = talker.said
    await until(lambda: talker.said > resumed_at + 10)
    talker.is_over = True
    await talking
    at_home, next_door, far_away = [numbers(heard)["here"] for heard in await asyncio.gather(*hearing)]
    everything = list(range(talker.said))
    assert at_home == next_door == everything
    assert far_away == sorted(set(far_away))  # at most once, in order
    assert far_away[0] == 0
    assert set(everything[resumed_at:]) <= set(far_away)
    log = fleet.nodes["a"].output().removeprefix(before)
    assert log.count("no connection to Redis") == log.count("connected to Redis") == 1
    # What waited for Redis is published when it is back, if it has not waited for too long. That is said once, too.
    assert log.count("messages for other processes are dropped") <= 1


# -- The processes -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def newcomers(visit: Visit, proxy: Proxy) -> AsyncIterator[None]:
    """Meanwhile clients come and go, each of whom is let in at once."""
    came = 0
    is_over = False

    async def come_and_go() -> None:
        nonlocal came
        while not is_over:
            for transport in ("websocket", "xhr-polling", "htmlfile"):
                client = await visit.open(proxy, transport)
                await leave(client)
                came += 1
            await asyncio.sleep(0.1)

    coming = asyncio.create_task(come_and_go())
    await until(lambda: came > 10 or coming.done())
    yield
    before = came
    await until(lambda: came > before + 10 or coming.done())
    is_over = True
    await coming


async def restart(fleet: Fleet, node: str) -> None:
    assert await asyncio.to_thread(fleet.nodes[node].terminate) == 0
    await asyncio.to_thread(fleet.nodes[node].start)


async def test_a_rolling_restart_under_load(visit: Visit, proxy: Proxy) -> None:
    await visit.wait_for_bus()
    for restarted in NODES:
        stay = [node for node in NODES if node != restarted]
        clients = {transport: await visit.one_of_each(proxy, transport) for transport in PROTOCOLS}
        staying = [clients[transport][node] for transport in PROTOCOLS for node in stay]
        hearing = [asyncio.create_task(hear_to_the_end(client, len(stay))) for client in staying]
        talkers = [Talker(node, clients["websocket"][node]) for node in stay]
        talking = [asyncio.create_task(talker.talk(0.05)) for talker in talkers]
        leaving = [asyncio.create_task(clients[transport][restarted].ended()) for transport in PROTOCOLS]
        async with newcomers(visit, proxy):
            await restart(visit.fleet, restarted)
        async with limit():
            await asyncio.gather(*leaving)
        for talker in talkers:
            talker.is_over = True
        await asyncio.gather(*talking)
        said = {talker.name: list(range(talker.said)) for talker in talkers}
        assert min(map(len, said.values())) > 20
        for heard in await asyncio.gather(*hearing):
            assert numbers(heard) == said
        for client in staying:
            await leave(client)
        await visit.wait_for_bus()
        await visit.one_of_each(proxy, "websocket")  # the proxy has it back
