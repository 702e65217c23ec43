"""One address takes its share of the sessions and no more: others are let in, whatever it does, however long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest
import tornado.netutil

from tests.clients import ANSWER, KEY3, handshake, open_client, request
from tests.internals import sessions_by_address, sessions_of
from tests.support import PERSISTENT, POLLING, SOCKETS, ClientStream, Recorder, Response, Served, limit, until
from tornadio.logs import MAX_LINES
from tornadio.settings import PROTOCOLS

LIMIT = 3
SETTINGS = {"max_sessions_per_address": LIMIT}
PUBLIC = "192.0.2.1"
TEXT = "too many sessions from your address: close some, or try again later"


async def connect_from(served: Served, source: str) -> ClientStream:
    wire = await ClientStream.connect_from(source, served.port)
    served.wires.append(wire)
    return wire


async def come(served: Served, transport: str, source: str, headers: dict[str, str] | None = None) -> int:
    """Ask for a session, on a connection that stays: the answer's status."""
    path, fields = handshake(transport)
    wire = await connect_from(served, source)
    await wire.send(request({**fields, **(headers or {})}, path))
    status = (await wire.read_head()).status
    if status == 101 and transport == "flashsocket":
        await wire.send(KEY3)
        assert await wire.read_exactly(len(ANSWER)) == ANSWER
        await wire.read_until(b"\xff")
    return status


async def refused(served: Served, transport: str, source: str) -> Response:
    path, fields = handshake(transport)
    async with contextlib.aclosing(await ClientStream.connect_from(source, served.port)) as wire:
        await wire.send(request(fields, path))
        return await wire.read_response()


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_past_its_share_an_address_is_answered_429_and_others_come_in(serve, each_http, transport):
    served = serve(settings=SETTINGS)
    for _ in range(LIMIT):
        assert await come(served, transport, "127.0.0.2") in (101, 200)
    for other in PROTOCOLS:
        response = await refused(served, other, "127.0.0.2")
        assert (response.status, response.text) == (429, TEXT)
    assert len(Recorder.opened) == LIMIT
    assert await come(served, transport, "127.0.0.3") in (101, 200)
    assert await come(served, transport, "127.0.0.1") in (101, 200)


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_who_leaves_makes_room(serve, clock, transport):
    served = serve(settings=SETTINGS)
    for _ in range(3):
        clients = [await open_client(served, transport) for _ in range(LIMIT)]
        assert (await refused(served, transport, "127.0.0.1")).status == 429
        for client in clients:
            await client.leave()
        if transport in POLLING:
            await clock.advance(40)
        await until(lambda: len(sessions_of(served.router)) == 0 and sessions_by_address(served.router) == {})


class Busy(Recorder):
    """Its handler is at work until the test ends it."""

    going_on: list[asyncio.Event] = []

    async def on_message(self, message):
        self.going_on.append(asyncio.Event())
        await self.going_on[-1].wait()


@pytest.mark.parametrize("setting", ["max_sessions", "max_sessions_per_address"])
@pytest.mark.parametrize("transport", PERSISTENT)
async def test_who_leaves_a_handler_behind_makes_room_when_that_ends(serve, transport, setting):
    served = serve(Busy, {setting: LIMIT})
    Busy.going_on.clear()
    status = 503 if setting == "max_sessions" else 429
    for _ in range(LIMIT):
        client = await open_client(served, transport)
        sending = asyncio.ensure_future(client.send("hello"))
        await until(lambda: len(Busy.going_on) == len(Recorder.opened))
        await client.leave(reset=True)
        sending.cancel()
        await until(lambda: Recorder.opened[-1].is_closed)
    assert len(sessions_of(served.router)) == 0
    assert (await refused(served, transport, "127.0.0.1")).status == status
    Busy.going_on[0].set()
    await Recorder.opened[0].wait_closed()
    assert await open_client(served, transport)
    assert (await refused(served, transport, "127.0.0.1")).status == status
    for going_on in Busy.going_on:
        going_on.set()


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_whom_on_open_refuses_or_fails_takes_no_room(serve, transport):
    class Refusing(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            super().on_open(request, *args, **kwargs)
            if len(Recorder.opened) % 2:
                raise RuntimeError("as the test asked")
            return False

    served = serve(Refusing, settings=SETTINGS)
    for _ in range(3 * LIMIT):
        with contextlib.suppress(asyncio.IncompleteReadError):
            assert await come(served, transport, "127.0.0.2") in (101, 403, 500)
    await until(lambda: len(sessions_of(served.router)) == 0)
    assert sessions_by_address(served.router) == {}


async def test_handshakes_that_end_together_get_no_more_than_the_share(serve):
    served = serve(settings=SETTINGS)
    path, fields = handshake("flashsocket")
    wires = [await connect_from(served, "127.0.0.2") for _ in range(2 * LIMIT)]
    for wire in wires:
        await wire.send(request(fields, path))
        assert (await wire.read_head()).status == 101
    for wire in wires:
        await wire.send(KEY3)
        assert await wire.read_exactly(len(ANSWER)) == ANSWER
    beginnings = [await wire.read_exactly(1) for wire in wires]
    assert sorted(beginnings) == [b"\x00"] * LIMIT + [b"\xff"] * LIMIT


# -- Whose address it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "same", "another"),
    [
        (PUBLIC, f"::ffff:{PUBLIC}", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:2::1"),
        ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
        ("fe80::1", "fe80::2", "fd00::1"),
    ],
)
async def test_an_ipv6_network_of_64_bits_counts_as_one_address(serve, each_http, one, same, another):
    served = serve(settings=SETTINGS, server={"xheaders": ["127.0.0.1"]})
    for _ in range(LIMIT):
        assert await come(served, "xhr-polling", "127.0.0.1", {"X-Real-Ip": one}) == 200
    assert await come(served, "xhr-polling", "127.0.0.1", {"X-Real-Ip": same}) == 429
    assert await come(served, "xhr-polling", "127.0.0.1", {"X-Real-Ip": another}) == 200


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_a_listed_proxy_is_not_limited_itself_but_everybody_else_is(serve, each_http, transport):
    served = serve(settings=SETTINGS, server={"xheaders": ["127.0.0.2"]})
    for _ in range(2 * LIMIT):
        assert await come(served, transport, "127.0.0.2") in (101, 200)
    for source in ("127.0.0.1", "127.0.0.3"):
        forged = [await come(served, transport, source, {"X-Real-Ip": f"192.0.2.{n}"}) for n in range(LIMIT + 1)]
        assert forged[-1] == 429
        assert 429 not in forged[:-1]


async def test_clients_that_a_proxy_announces_are_counted(serve):
    served = serve(settings=SETTINGS, server={"xheaders": ["127.0.0.1"]})
    for line, most in [(b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\r\n", LIMIT), (b"PROXY UNKNOWN\r\n", 2 * LIMIT)]:
        statuses = []
        for _ in range(2 * LIMIT):
            wire = await connect_from(served, "127.0.0.1")
            await wire.send(line + request({"X-Real-Ip": "192.0.2.77"}, "/socket.io/xhr-polling//1"))
            statuses.append((await wire.read_head()).status)
        assert statuses == [200] * most + [429] * (2 * LIMIT - most)


async def test_a_unix_socket_has_no_address(serve, tmp_path):
    served = serve(settings=SETTINGS)
    path = str(tmp_path / "socket")
    served.server.add_socket(tornado.netutil.bind_unix_socket(path))
    for _ in range(2 * LIMIT):
        async with contextlib.aclosing(await ClientStream.connect_unix(path)) as wire:
            await wire.send(request({}, "/socket.io/xhr-polling//1"))
            assert (await wire.read_response()).status == 200


# -- The default -------------------------------------------------------------------------------------------------------


async def open_many(wire: ClientStream, number: int, headers: dict[str, str]) -> list[int]:
    """Ask for so many sessions on one connection."""
    statuses = []
    for _ in range(number):
        await wire.send(request(headers, "/socket.io/xhr-polling//1"))
        statuses.append((await wire.read_response()).status)
    return statuses


@pytest.mark.parametrize(("max_sessions", "share"), [(3000, 300), (400, 100), (100, 100)])
async def test_by_default_an_address_of_the_internet_has_a_tenth(serve, max_sessions, share):
    served = serve(settings={"max_sessions": max_sessions}, server={"xheaders": True})
    wire = await served.connect()
    statuses = await open_many(wire, share + 1, {"X-Real-Ip": PUBLIC})
    assert statuses == [200] * share + [503 if share == max_sessions else 429]
    if share < max_sessions:
        assert await open_many(wire, 1, {"X-Real-Ip": "192.0.2.2"}) == [200]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "::1", "fd00::1", "fe80::1"],
)
async def test_by_default_an_address_that_is_not_of_the_internet_is_not_limited(serve, address):
    served = serve(settings={"max_sessions": 400}, server={"xheaders": True})
    assert await open_many(await served.connect(), 150, {"X-Real-Ip": address}) == [200] * 150


# -- An attack ---------------------------------------------------------------------------------------------------------


async def test_visitors_are_let_in_while_one_address_keeps_its_share_full(serve):
    """Without the limit 0 of 25 visitors came in."""
    served = serve(settings={"max_sessions": 100, "max_sessions_per_address": 50})
    refusals = 0

    async def keep_full() -> None:
        nonlocal refusals
        wire = await connect_from(served, "127.0.0.66")
        while True:
            refusals += (await open_many(wire, 1, {})).count(429)

    attackers = [asyncio.create_task(keep_full()) for _ in range(4)]
    async with limit():
        await until(lambda: refusals > 10)
        statuses = [await come(served, "htmlfile", f"127.0.0.{100 + number}") for number in range(25)]
    for attacker in attackers:
        attacker.cancel()
    await asyncio.gather(*attackers, return_exceptions=True)
    assert statuses == [200] * 25
    assert len(sessions_of(served.router)) == 75


@pytest.mark.parametrize("transport", [*SOCKETS, "xhr-polling"])
async def test_what_an_address_is_refused_makes_a_few_lines(serve, caplog, transport):
    caplog.set_level(logging.INFO)
    served = serve(settings=SETTINGS)
    for _ in range(LIMIT):
        await come(served, transport, "127.0.0.2")
    caplog.clear()
    for _ in range(100):
        assert (await refused(served, transport, "127.0.0.2")).status == 429
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == MAX_LINES
    assert lines[0].startswith(f"429 GET /socket.io/{transport}")
    assert lines[0].endswith(f"(127.0.0.2 has max_sessions_per_address ({LIMIT}) already)")
