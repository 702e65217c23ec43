"""What an onlooker sees: samples while somebody looks, tables and groups of all processes, which a bus connects."""

from __future__ import annotations

from typing import Any

import pytest

import tornadio
from tests.cluster.test_relay import MemoryBus
from tests.internals import fill_with_sessions, onlookers_of, takes_samples
from tests.monitor.test_door import ask, look, receive, rows
from tests.support import Recorder, Serve, Served, until
from tornadio import proto
from tornadio.cluster.bus import monitor_channel_name, pack, unpack


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tornadio.monitor.monitor.INTERVAL", 0.2)
    monkeypatch.setattr("tornadio.monitor.monitor._STATS_SECONDS", 0.0)


def act(handler: tornadio.MonitorHandler) -> str:
    return "act"


@pytest.fixture
def buses() -> dict[str, MemoryBus]:
    bus = MemoryBus()
    return {node: bus.another() for node in "abc"}


@pytest.fixture
async def processes(serve: Serve, buses: dict[str, MemoryBus]) -> list[Served]:
    """Two servers, as in two processes, and a third whose application has no monitor."""
    route = (r"/monitor/(.*)", tornadio.MonitorHandler, {"authorize": act})
    return [
        serve(Recorder, {"bus": bus, "node": node}, handlers=(route,) if node < "c" else ())
        for node, bus in buses.items()
    ]


async def test_every_process_is_sampled_while_somebody_looks(processes: list[Served]) -> None:
    await processes[1].open()
    async with await look(processes[0]) as looker:
        seen: dict[str, Any] = {}
        while len(seen) < 2:
            sample = (await receive(looker, "sample"))["sample"]
            seen[sample["name"].split()[0]] = sample
        assert seen["b"]["connections"] == {"xhr-polling": 1}
        assert seen["a"]["connections"] == {}
        assert {len(each["lag"][0]) for each in seen.values()} == {15}


async def test_while_nobody_looks_nothing_runs(processes: list[Served]) -> None:
    served = processes[0]
    assert not takes_samples(served.server)
    looker = await look(served)
    other = await look(served)
    await receive(looker, "history")
    assert takes_samples(served.server)
    await other.close()
    await until(lambda: onlookers_of(served.server) == 1)
    assert takes_samples(served.server)
    await looker.close()
    await until(lambda: onlookers_of(served.server) == 0)
    assert not takes_samples(served.server)


async def test_who_comes_later_sees_what_was_collected_in_this_process_and_in_others(processes: list[Served]) -> None:
    async with await look(processes[0]) as looker:
        sample = (await receive(looker, "sample"))["sample"]
        async with await look(processes[0]) as second:
            assert await has_seen(second, sample)
        async with await look(processes[1]) as elsewhere:
            assert await has_seen(elsewhere, sample)
    async with await look(processes[0]) as again:
        assert await has_seen(again, sample)


async def has_seen(looker: tornadio.ClientConnection, sample: dict[str, Any]) -> bool:
    """Whether the history of an onlooker has a process's sample of that time, or an earlier one."""
    samples = (await receive(looker, "history"))["samples"]
    return any(each["process"] == sample["process"] and each["at"] <= sample["at"] for each in samples)


async def seen_both(looker: tornadio.ClientConnection) -> None:
    """Wait until the processes know each other."""
    seen: set[str] = set()
    while len(seen) < 2:
        seen.add((await receive(looker, "sample"))["sample"]["process"])


async def test_the_table_and_the_groups_are_those_of_all_processes(processes: list[Served]) -> None:
    opened = [(await served.open())[0] for served in (*processes[:2], processes[1], processes[2])]
    for number, connection in enumerate(Recorder.opened[:3]):
        group_of = processes[min(number, 1)].router.group
        group_of("all").add(connection)
        group_of(f"Room {number}").add(connection)
    async with await look(processes[0]) as looker:
        await seen_both(looker)
        found = await rows(looker, sort="id")
        assert [row["id"] for row in found] == sorted(session_id[:-24] for session_id in opened[:3])
        answer = await ask(looker, {"type": "page", "sort": "id", "limit": 1, "after": found[0]["key"]})
        assert [row["id"] for row in answer["rows"]] == [found[1]["id"]]
        assert (answer["total"], answer["ahead"], answer["missing"]) == (3, 1, 0)
        [row] = await rows(looker, text="room 2")
        assert row["names"] == ["all", "Room 2"]
        assert len(await rows(looker, process=row["process"])) == 2
        groups = await ask(looker, {"type": "groups", "text": "", "limit": 10})
        assert groups["groups"] == [["all", 3], ["Room 0", 1], ["Room 1", 1], ["Room 2", 1]]
        groups = await ask(looker, {"type": "groups", "text": "room", "limit": 1})
        assert groups["groups"] == [["Room 0", 1]]


async def test_a_connection_of_another_process_is_closed(
    processes: list[Served], caplog: pytest.LogCaptureFixture
) -> None:
    await processes[1].open()
    async with await look(processes[0]) as looker:
        await seen_both(looker)
        [row] = await rows(looker)
        assert (await ask(looker, {"type": "act", "action": "close", **row}))["done"]
        await Recorder.opened[0].wait_closed()
        gone = {**row, "process": "0123456789abcdef"}
        assert "does not answer" in (await ask(looker, {"type": "act", "action": "close", **gone}))["text"]
    assert caplog.text.count("monitor: 127.0.0.1 closed session b") == 1
    caplog.clear()


async def test_a_process_that_is_silent_is_missing_and_then_forgotten(
    processes: list[Served], buses: dict[str, MemoryBus]
) -> None:
    await processes[1].open()
    async with await look(processes[0]) as looker:
        await seen_both(looker)
        buses["b"].gate.clear()  # nothing that it publishes arrives
        answer = await ask(looker, {"type": "page", "sort": "age"})
        assert (answer["total"], answer["missing"]) == (0, 1)
        while answer["missing"]:
            await receive(looker, "sample")
            answer = await ask(looker, {"type": "page", "sort": "age"})
        buses["b"].gate.set()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"samples": [{"at": 1, "process": "x"}], "rows": [["a", "b"]], "total": 9, "ahead": 9, "groups": [["all"]]},
        {"samples": [{"at": "now"}], "rows": [[[], "b", {}]], "total": "9", "ahead": None, "groups": [[{}, 1]]},
    ],
)
async def test_a_process_that_answers_wrongly_is_not_shown(
    wrong: dict[str, Any], processes: list[Served], buses: dict[str, MemoryBus], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(data: bytes) -> None:
        [(_, question)] = proto.decode(unpack(data))
        content = {"answer": question["number"], "process": "rogue", "content": wrong}
        buses["c"].say(pack("rogue", proto.encode(content)), monitor_channel_name("socket.io", question["process"]))

    await buses["c"].subscribe(monitor_channel_name("socket.io"), answer)
    await processes[0].open()
    async with await look(processes[0]) as looker:
        await receive(looker, "history")
        assert (await receive(looker, "sample"))["sample"]["process"] != "rogue"
        assert len(await rows(looker, sort="id")) == 1
        assert (await ask(looker, {"type": "groups", "text": "", "limit": 10}))["groups"] == []
    assert "is no answer" in caplog.text
    caplog.clear()


async def test_ten_thousand_connections_have_a_table(serve: Serve) -> None:
    """Without sockets: sessions are made, and nobody carries them."""
    served = serve(handlers=((r"/monitor/(.*)", tornadio.MonitorHandler),))
    fill_with_sessions(served.router, 10_000)
    async with await look(served) as looker:
        answer = await ask(looker, {"type": "page", "sort": "address", "limit": 200, "last": True})
        assert (answer["total"], answer["ahead"]) == (10_000, 9_800)
        assert answer["rows"][-1]["address"] == "10.0.99.99"
        answer = await ask(looker, {"type": "page", "sort": "id", "text": "10.0.7.77"})
        assert [row["address"] for row in answer["rows"]] == ["10.0.7.77"]
    assert served.router.stats().connections == 10_000
