"""Frames that never end are refused while they are read, and cost the server no more than the largest message may.

CVE-2026-54466: a length of draft-75 or -76 whose bytes all say that another one follows, and a text without its last
byte, grew in the server's memory for as long as their client liked.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.clients import Peer, connect, frame, greeted, open_client, opened, talking
from tests.support import ClientStream, Elsewhere, Recorder, Served
from tests.vitals import watched_memory

LIMIT = 64 << 10
CONNECTIONS = 200
ENDLESS = 20
ENDLESS_BYTES = 4 << 20
# What is read from a socket at once, and a connection with its session.
OVERHEAD = (64 + 32) << 10
# What the server may need for its answers and its log, and what the allocator keeps.
SLACK = 12 << 20

# How a frame begins that has no end, what it goes on with, and the code that ends it, where there are codes.
FRAMES: dict[str, tuple[str, bytes, bytes, int | None]] = {
    "a text of draft-76": ("76", b"\x00", b"x", None),
    "a text of draft-75": ("75", b"\x00", b"x", None),
    "a text of zeros": ("76", b"\x00", b"\x00", None),
    "a text of half characters": ("76", b"\x00", b"\xf0", None),
    "a length of draft-76": ("76", b"\x80", b"\x80", None),
    "a length of draft-75": ("75", b"\x80", b"\x80", None),
    "a length of large digits": ("76", b"\x80", b"\xff", None),
    "a length of the closing frame": ("76", b"\xff", b"\x80", None),
    "fragments of text": ("13", frame(1, b"", final=False), frame(0, b"x" * 1000, final=False), 1009),
    "fragments of bytes": ("13", frame(2, b"", final=False), frame(0, b"x" * 1000, final=False), 1009),
    "a frame of 2^62 bytes": ("13", b"\x81\xff" + (1 << 62).to_bytes(8, "big"), b"\x00", 1009),
}


# -- One connection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FRAMES)
async def test_a_frame_without_end_ends_its_connection_and_no_other(serve, kind):
    version, start, more, code = FRAMES[kind]
    served = serve(settings={"max_message_size": 990, "max_payload_size": 1000})
    peer, other = await opened(served, version), await greeted(served)
    await peer.wire.send(start + more * 5000)
    assert await peer.ended() == code
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    await other.send("still here")
    assert await other.receive() == ["still here"]


@pytest.mark.parametrize("version", ["75", "76"])
@pytest.mark.parametrize(
    ("start", "more", "size"),
    [(b"\x00", b"x", 1000), (b"\x00", b"\x00", 1000), (b"\x80", b"\x80", 4), (b"\xff", b"\xff", 4)],
)
async def test_it_is_refused_at_its_first_byte_too_many(serve, version, start, more, size):
    served = serve(settings={"max_message_size": 990, "max_payload_size": 1000})
    peer = await opened(served, version)
    await peer.wire.send(start + more * size)
    await served.barrier()
    assert Recorder.opened[0].events == [("open", "")]
    await peer.wire.send(more)
    await peer.ended()
    await Recorder.opened[0].wait_closed()


@pytest.mark.parametrize("version", ["75", "76"])
async def test_a_frame_that_says_to_be_too_long_is_refused_unread(serve, version):
    served = serve(settings={"max_message_size": 990, "max_payload_size": 1000})
    peer = await opened(served, version)
    await peer.wire.send(b"\x80\x87\x68")  # 1000, which is skipped
    await served.barrier()
    assert Recorder.opened[0].events == [("open", "")]
    await peer.wire.send(b"x" * 1000 + b"\x80\x87\x69")
    await peer.ended()


# -- Many connections, and a server in a process of its own ------------------------------------------------------------


async def pump(wire: ClientStream, start: bytes, more: bytes) -> None:
    """Send a frame without end until the server has had enough, or it has been ENDLESS_BYTES."""
    chunk = more * ((64 << 10) // len(more))
    with contextlib.suppress(ConnectionError):
        await wire.send(start)
        for _ in range(ENDLESS_BYTES // len(chunk)):
            await wire.send(chunk)


async def start_clients(served: Served, version: str, number: int) -> list[Peer]:
    peers = [await connect(served, version) for _ in range(number)]
    for peer in peers:
        await peer.receive()
    return peers


@pytest.mark.parametrize("kind", ["a text of draft-76", "a length of draft-76", "fragments of text"])
async def test_frames_without_end_cost_bounded_memory(echo, kind):
    server = echo(LIMIT)
    version, start, more, _ = FRAMES[kind]
    async with contextlib.aclosing(Elsewhere.of(server)) as served:
        process = (await served.read_json("/report"))["process"]
        other = await open_client(served, "websocket")
        peers = await start_clients(served, version, ENDLESS)
        before = (await served.read_json("/vitals"))["rss"]
        async with watched_memory(process) as memory, talking(other):
            await asyncio.gather(*(pump(peer.wire, start, more) for peer in peers))
            for peer in peers:
                await peer.wire.read_to_end()
        assert max(memory) - before < ENDLESS * (LIMIT + OVERHEAD) + SLACK < ENDLESS * ENDLESS_BYTES / 5
        report = await served.read_json("/report")
        assert list(report["closed"].values()) == [1] * ENDLESS
        assert (await served.read_json("/vitals"))["connections"] == 1
    assert "Traceback" not in server.output()


# Two bytes each, which as a str of its own would take 88.
TINY = "Ā".encode()

HELD = {
    "texts of draft-76": ("76", b"\x00", b"x" * LIMIT, CONNECTIONS),
    "whole frames of bytes": ("13", frame(2, b"x" * (LIMIT // 2), final=False), b"", CONNECTIONS),
    "tiny fragments of text": (
        "13",
        frame(1, b"", final=False),
        frame(0, TINY, final=False) * (LIMIT // len(TINY)),
        CONNECTIONS // 20,
    ),
    "tiny fragments of bytes": (
        "13",
        frame(2, b"", final=False),
        frame(0, b"xy", final=False) * (LIMIT // 2),
        CONNECTIONS // 20,
    ),
}


@pytest.mark.parametrize("kind", HELD)
async def test_many_messages_under_way_cost_what_they_are_long(echo, kind):
    version, start, rest, number = HELD[kind]
    async with contextlib.aclosing(Elsewhere.of(echo(LIMIT))) as served:
        peers = await start_clients(served, version, number)
        before = (await served.read_json("/vitals"))["rss"]
        for peer in peers:
            await peer.wire.send(start + rest)
            if version == "13":
                await peer.wire.send(frame(9, b"all of it is here"))
                assert await peer.wire.read_exactly(2 + 17) == b"\x8a\x11all of it is here"
        vitals = await served.read_json("/vitals")
        assert vitals["connections"] == number
        assert vitals["rss"] - before < number * 2 * LIMIT + SLACK / 2
