"""Requests that take for ever to arrive are given up, and hundreds of them keep nobody else from being served.

Slow loris: Tornado by itself waits an hour for headers, and without limit for a body.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from tests.appserver import free_port
from tests.clients import KEY3, KEYS, UPGRADE, exchange, greeted, request
from tests.support import ClientStream, MovedLoop, Recorder
from tornadio.settings import PROTOCOLS, Settings
from tornadio.transports.bodies import max_body_size
from tornadio.web.flash import POLICY_REQUEST

HEAD = b"POST /socket.io/xhr-polling/0123456789/send HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LENGTH = b"Content-Length: 999\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
# One byte more than the body of a payload may have.
TOO_LONG = max_body_size("", Settings().max_payload_size) + 1
CHANGED = {"header_timeout": 3.0, "body_timeout": 5.0}


class Slow(NamedTuple):
    """What a slow client sends at once, what it sends a byte at a time for ever, and the seconds that it is given."""

    first: bytes
    rest: bytes
    seconds: float
    changed: float  # where the server's limits are CHANGED


SLOW = {
    "a method": Slow(b"G", b"E", 20, 3),
    "a path": Slow(b"GET /", b"x", 20, 3),
    "headers": Slow(HEAD, b"X-Header: x\r\n", 20, 3),
    "a header": Slow(HEAD + b"X-Header: ", b"x", 20, 3),
    "the next request": Slow(request({}, "/elsewhere"), b"G", 20, 3),
    "a body": Slow(HEAD + LENGTH, b"data=~m~1~m~x", 20, 5),
    "small chunks": Slow(HEAD + CHUNKED, b"1\r\nx\r\n", 20, 5),
    "a chunk": Slow(HEAD + CHUNKED + b"ffff\r\n", b"x", 20, 5),
    "the length of a chunk": Slow(HEAD + CHUNKED, b"0", 20, 5),
    "a body for the script": Slow(b"POST /socket.io/socket.io.js HTTP/1.1\r\nHost: x\r\n" + LENGTH, b"x", 20, 5),
    "a body for nobody": Slow(b"POST /elsewhere HTTP/1.1\r\nHost: x\r\n" + LENGTH, b"x", 20, 5),
    "a body that was refused": Slow(HEAD + b"Content-Length: 100000000\r\n\r\n", b"x", 5, 5),
    "a chunk that was refused": Slow(HEAD + CHUNKED + b"fffffff\r\n" + TOO_LONG * b"x", b"x", 5, 5),
    "a policy request": Slow(POLICY_REQUEST[:1], POLICY_REQUEST[1:], 5, 5),
}
HANDSHAKE = request({**UPGRADE, **KEYS}, "/socket.io/flashsocket")


async def trickle(clock: MovedLoop, wire: ClientStream, rest: bytes, seconds: float) -> None:
    """Let time pass, and send a byte twice a second, for as long as the server takes them."""
    following = itertools.cycle(rest)
    for _ in range(round(2 * seconds)):
        if not wire.writer.is_closing():
            wire.writer.write(bytes([next(following)]))
        await clock.advance(0.5)


@pytest.mark.parametrize("changed", [False, True], ids=["default", "changed"])
@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
async def test_what_comes_byte_by_byte_has_no_more_time(serve, clock, slow, changed):
    served = serve(server=CHANGED if changed else {})
    wire = await served.connect()
    await wire.send(slow.first)
    await served.barrier()
    await trickle(clock, wire, slow.rest, (slow.changed if changed else slow.seconds) - 1)
    assert not wire.writer.is_closing()
    await trickle(clock, wire, slow.rest, 3)
    assert wire.writer.is_closing()  # the server has closed: it resets who goes on
    assert Recorder.opened == []


async def test_a_first_byte_at_the_last_moment_gives_no_more_time(site, clock):
    served = site()
    wire = await served.connect()
    await clock.advance(19)
    await trickle(clock, wire, b"GET / HTTP/1.1\r\n", 0.5)
    assert not wire.writer.is_closing()
    await trickle(clock, wire, b"X-Header: x\r\n", 2)
    assert wire.writer.is_closing()


async def test_half_a_request_after_a_whole_one_gives_no_more_time(site, clock):
    served = site()
    wire = await served.connect()
    await wire.send(request({}, "/socket.io/xhr-polling/0123456789/1"))
    assert (await wire.read_response()).status == 401
    await clock.advance(18)
    await trickle(clock, wire, b"GET / HTTP/1.1\r\n", 1.5)
    assert not wire.writer.is_closing()
    await trickle(clock, wire, b"X-Header: x\r\n", 2)
    assert wire.writer.is_closing()


async def test_headers_in_time_leave_the_request_its_own(site, clock):
    served = site()
    wire = await served.connect()
    await clock.advance(10)
    session_id, _ = await served.open()
    head = request({}, f"/socket.io/xhr-polling/{session_id}/1290000000000")
    await wire.send(head[:-2])
    await clock.advance(9)
    await wire.send(head[-2:])
    await clock.advance(19)
    assert not wire.reader.at_eof()
    await clock.advance(1.5)
    assert (await wire.read_response()).status == 200
    await clock.advance(19)  # the next one has its 20 s, too
    await wire.send(head)
    await clock.advance(20.5)
    assert (await wire.read_response()).status == 200


async def test_key3_byte_by_byte_has_no_more_time(serve, clock):
    served = serve()
    wire = await served.connect()
    await wire.send(HANDSHAKE)
    assert (await wire.read_head()).status == 101
    for byte in KEY3[:7]:
        await wire.send(bytes([byte]))
        await clock.advance(1.4)
    assert not wire.reader.at_eof()
    await clock.advance(0.4)
    assert await wire.read_to_end() == b""
    assert Recorder.opened == []


async def test_hundreds_of_slow_requests_keep_nobody_from_being_served(serve, clock):
    served = serve()
    beginnings = [b"", HANDSHAKE, *(slow.first for name, slow in SLOW.items() if name != "a chunk that was refused")]
    slow_ones = [await served.connect() for _ in range(25 * len(beginnings))]
    for wire, beginning in zip(slow_ones, itertools.cycle(beginnings), strict=False):
        await wire.send(beginning)
    await served.barrier()
    clients = [await greeted(served, transport) for transport in PROTOCOLS]
    for client in clients:
        await exchange(client, "among them")
    asking = await served.connect()
    await asking.send(POLICY_REQUEST)
    assert b"<cross-domain-policy>" in await asking.read_to_end()
    await clock.advance(20.5)
    for wire in slow_ones:
        await wire.read_to_end()
    for client in clients:
        await exchange(client, "after them")
    assert len(Recorder.opened) == len(PROTOCOLS)


async def test_slow_requests_that_fill_the_policy_port_leave_the_main_one(serve, clock):
    """Flash Player asks there, too, where the policy port closes."""
    port = free_port()
    served = serve(application={"flash_policy_port": port})
    slow_ones = [await ClientStream.connect(port) for _ in range(300)]
    for wire in slow_ones:
        wire.writer.write(POLICY_REQUEST[:1])
    await served.barrier()
    for _ in range(10):
        asking = await served.connect()
        await asking.send(POLICY_REQUEST)
        assert b"<cross-domain-policy>" in await asking.read_to_end()
    await clock.advance(5.1)
    for wire in slow_ones:
        assert await wire.read_to_end() == b""
        await wire.aclose()
    asking = await ClientStream.connect(port)
    await asking.send(POLICY_REQUEST)
    assert b"<cross-domain-policy>" in await asking.read_to_end()
    await asking.aclose()
