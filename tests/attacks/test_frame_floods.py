"""Floods of frames that hold next to nothing cost time in proportion to their bytes, bounded memory, and nobody's turn.

CVE-2026-48779: each tiny fragment of a message was kept as an object of its own, and looked at again with the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import tornadio
from tests.clients import SocketClient, connect, frame, next_message, open_client, opened, talking
from tests.internals import count_body_chunks
from tests.slow_clients import Roomless, stop_reading
from tests.support import Elsewhere, Recorder, Served, fed, limit
from tests.vitals import watched_memory
from tornadio import proto
from tornadio.transports import forms
from tornadio.websocket import hixie, rfc6455

LIMIT = 1 << 20
MILLION = 1_000_000
CHUNK = 1 << 16
# What is four times as long may take twice that: to look at everything again with each frame would take sixteen times.
NUMBER = 15_000
GROWTH = 4
MAX_COST = 8
# What the server may need for a message of a mebibyte and its answer, and what the allocator keeps.
SLACK = 24 << 20

# Of the processor, for one turn: the middle one, since chance makes some longer.
TURN_SECONDS = 0.01

EMPTY_FRAME = proto.encode("")


# -- In proportion -----------------------------------------------------------------------------------------------------


def in_chunks(framer: rfc6455.Framer | hixie.Framer, data: bytes) -> None:
    for start in range(0, len(data), CHUNK):
        fed(framer, data[start : start + CHUNK])
        framer.data_to_send()
    assert framer.error is None


def hybi(data: bytes) -> None:
    in_chunks(rfc6455.Framer(LIMIT), data)


def draft_76(data: bytes) -> None:
    in_chunks(hixie.Framer(LIMIT), data)


def payload(data: bytes) -> None:
    assert sum(1 for _ in proto.iter_decode(data.decode())) > 0


def form(data: bytes) -> None:
    assert sum(1 for _ in forms.decode_form_frames(data.decode())) > 0


TINY: dict[str, tuple[Callable[[bytes], None], bytes, bytes]] = {
    "fragments": (hybi, frame(1, b"", final=False), frame(0, b"x", final=False)),
    "half characters": (hybi, frame(1, b"", final=False), frame(0, b"\xc4", False) + frame(0, b"\x80", False)),
    "empty fragments": (hybi, frame(2, b"", final=False), frame(0, b"", final=False)),
    "messages": (hybi, b"", frame(1, b"x")),
    "pings": (hybi, b"", frame(9, b"x")),
    "pings in a message": (hybi, frame(1, b"x", final=False), frame(9, b"")),
    "texts of draft-76": (draft_76, b"", b"\x00x\xff"),
    "empty texts of draft-76": (draft_76, b"", b"\x00\xff"),
    "skipped frames of draft-76": (draft_76, b"", b"\x80\x01x"),
    "frames": (payload, b"", b"~m~1~m~x"),
    "empty frames": (payload, b"", b"~m~0~m~"),
    "frames behind an astral one": (payload, "~m~2~m~😀".encode(), b"~m~1~m~x"),
    "frames of a form": (form, b"~m~1~m~\r\n", b"~m~1~m~x"),
    "newlines of a form": (form, b"", b"~m~1~m~\r\n"),
}


def cost(take: Callable[[bytes], object], data: bytes) -> float:
    before = time.process_time()
    take(data)
    return time.process_time() - before


@pytest.mark.parametrize("kind", TINY)
def test_a_flood_costs_time_in_proportion_to_its_bytes(kind):
    take, start, tiny = TINY[kind]
    short, long = (cost(take, start + tiny * number) for number in (NUMBER, GROWTH * NUMBER))
    assert long < MAX_COST * max(short, 0.01)


# -- Turns ------------------------------------------------------------------------------------------------------------


class Counting(tornadio.SocketConnection):
    """Answers nothing but `last`."""

    def on_message(self, message: Any) -> None:
        if message == "last" or message.startswith("number "):
            self.send(message)


class FifoLock:
    """How often everybody had a turn."""

    def __init__(self) -> None:
        self.number = 0

    async def count(self) -> None:
        while True:
            self.number += 1
            await asyncio.sleep(0)


# A flood, the frames of it that reach the session, and so are handled a hundred in a turn, and its version.
FLOODS: dict[str, tuple[str, bytes, int]] = {
    "messages": ("13", frame(1, EMPTY_FRAME.encode()) * 20_000, 20_000),
    "messages without a frame": ("13", frame(1, b"") * 50_000, 50_000),
    "messages of a few frames": ("13", frame(1, EMPTY_FRAME.encode() * 17) * 2000, 34_000),
    "messages of heartbeats": ("13", frame(1, proto.encode_heartbeat(1).encode()) * 20_000, 20_000),
    "texts of draft-76": ("76", b"\x00~m~0~m~\xff" * 20_000, 20_000),
    "empty texts of draft-76": ("76", b"\x00\xff" * 100_000, 100_000),
    "skipped frames of draft-76": ("76", b"\x80\x00" * 300_000, 0),
    "pings": ("13", frame(9, b"x") * 100_000, 0),
    "pongs": ("13", frame(10, b"x") * 100_000, 0),
    "empty fragments": ("13", frame(1, b"", final=False) + frame(0, b"", final=False) * 100_000 + frame(0, b""), 0),
    "fragments": ("13", frame(1, b"~m~99999~m~", final=False) + frame(0, b"x", False) * 99_999 + frame(0, b""), 0),
}  # fmt: skip


@contextlib.asynccontextmanager
async def counted(served: Served) -> AsyncIterator[FifoLock]:
    """FifoLock while a flood goes on, in which another client has its conversation."""
    turns = FifoLock()
    other = await open_client(served, "websocket")
    counting = asyncio.create_task(turns.count())
    try:
        async with talking(other) as heard:
            yield turns
            assert heard
    finally:
        counting.cancel()


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_leaves_the_others_their_turns(serve, kind):
    version, flood, frames = FLOODS[kind]
    served = serve(Counting)
    peer = await connect(served, version)
    await peer.receive()
    async with counted(served) as turns:
        reading = asyncio.create_task(read_up_to(peer.wire.reader, b"~m~4~m~last"))
        await peer.wire.send(flood)
        await peer.send("~m~4~m~last")
        await reading
    assert turns.number >= max(frames // 100, len(flood) // CHUNK)


# Frames that reach no session, so that nobody else counts them.
FRAMES = 50_000
CONTROL: dict[str, tuple[str, bytes]] = {
    "empty pings": ("13", frame(9, b"")),
    "empty pongs": ("13", frame(10, b"")),
    "full pings": ("13", frame(9, 125 * b"x")),
    "empty fragments": ("13", frame(0, b"", final=False)),
    "fragments": ("13", frame(0, b"x", final=False)),
    "skipped frames of draft-76": ("76", b"\x80\x01x"),
    "empty skipped frames of draft-76": ("76", b"\x80\x00"),
    "padded skipped frames of draft-76": ("76", b"\x80\x80\x80\x80\x80\x01x"),
}


@pytest.mark.parametrize("kind", CONTROL)
async def test_frames_that_nobody_handles_leave_the_others_their_turns(serve, kind):
    version, tiny = CONTROL[kind]
    served = serve(Counting)
    peer = await connect(served, version)
    await peer.receive()
    begin = end = b""
    if "fragments" in kind:
        header = proto.encode("x" * FRAMES)[:-FRAMES].encode() if kind == "fragments" else b""
        begin, end = frame(1, header, final=False), frame(0, b"")
    async with counted(served) as turns:
        reading = asyncio.create_task(read_up_to(peer.wire.reader, b"~m~4~m~last"))
        await peer.wire.send(begin + tiny * FRAMES + end)
        await peer.send("~m~4~m~last")
        await reading
    assert turns.number >= FRAMES // 512


@pytest.mark.parametrize("kind", [kind for kind, (take, _, _) in TINY.items() if take in (hybi, draft_76)])
def test_a_chunk_of_tiny_frames_is_looked_at_in_short_turns(kind):
    take, start, tiny = TINY[kind]
    framer: rfc6455.Framer | hixie.Framer = rfc6455.Framer(LIMIT) if take is hybi else hixie.Framer(LIMIT)
    framer.feed(start)
    chunk = tiny * (CHUNK // len(tiny))
    turns = [cost(framer.feed, chunk)]
    while framer.has_more:
        framer.data_to_send()
        turns.append(cost(framer.feed, b""))
    assert len(turns) >= CHUNK // len(tiny) // 512
    assert sorted(turns)[len(turns) // 2] < TURN_SECONDS


@pytest.mark.parametrize("version", ["13", "76"])
@pytest.mark.parametrize("wrong", [True, False], ids=["an error", "a closing frame"])
async def test_what_stands_behind_a_flood_is_told_when_that_was_handled(serve, version, wrong):
    served = serve()
    peer = await opened(served, version)
    hybi = version == "13"
    pings = frame(9, b"") * 3000 if hybi else b"\x80\x00" * 3000
    await peer.wire.send(pings)
    await peer.send(*(3000 * [EMPTY_FRAME]))
    await peer.wire.send(pings)
    await peer.send("~m~4~m~last")
    bad, closing = (b"\x81\x00", frame(8, b"\x03\xe8")) if hybi else (b"\x01", b"\xff\x00")
    await peer.wire.send(bad if wrong else closing)
    await peer.wire.read_to_end()
    [recorder] = Recorder.opened
    await recorder.wait_closed()
    assert recorder.events[1:] == [*(3000 * [("message", "")]), ("message", "last"), ("close",)]


async def read_up_to(reader: asyncio.StreamReader, mark: bytes) -> None:
    """Read, and forget, everything up to `mark`."""
    tail = b""
    async with limit():
        while mark not in tail:
            chunk = await reader.read(CHUNK)
            assert chunk
            tail = (tail + chunk)[-CHUNK - len(mark) :]


@pytest.mark.parametrize("transport", ["xhr-polling", "htmlfile"])
async def test_a_post_of_tiny_frames_leaves_the_others_their_turns(serve, transport):
    served = serve(Counting)
    session_id = await served.start(transport)
    frames = LIMIT // 4 // len(EMPTY_FRAME)
    async with counted(served) as turns:
        assert (await served.post_data(session_id, EMPTY_FRAME * frames, transport)).status == 200
    assert turns.number >= frames // 100


async def test_one_message_of_tiny_frames_leaves_the_others_their_turns(serve):
    served = serve(Counting)
    client = await open_client(served, "websocket")
    assert isinstance(client, SocketClient)
    frames = LIMIT // 4 // len(EMPTY_FRAME)
    async with counted(served) as turns:
        await client.peer.send(EMPTY_FRAME * frames)
        await client.send("last")
        assert await client.receive() == ["last"]
    assert turns.number >= frames // 100


# -- A server in a process of its own ----------------------------------------------------------------------------------


def processor_seconds(process: int) -> float:
    """What a process has taken of the processor so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_million_one_byte_fragments_cost_bounded_time_and_memory(echo):
    async with contextlib.aclosing(Elsewhere.of(echo(LIMIT))) as served:
        process = (await served.read_json("/report"))["process"]
        other = await open_client(served, "websocket")
        client = await open_client(served, "websocket")
        assert isinstance(client, SocketClient)
        before = (await served.read_json("/vitals"))["rss"]
        costs = []
        async with watched_memory(process) as memory, talking(other):
            for number in (MILLION // GROWTH, MILLION):
                start = processor_seconds(process)
                header = f"~m~{number}~m~".encode()
                wire = client.peer.wire
                await wire.send(frame(1, header, final=False) + frame(0, b"x", final=False) * number + frame(0, b""))
                assert await next_message(client) == "x" * number
                costs.append(processor_seconds(process) - start)
        assert max(memory) - before < SLACK
        assert costs[1] < MAX_COST * costs[0]


async def test_pings_whose_answers_are_not_read_cost_bounded_memory(echo):
    server, pings = echo(LIMIT), frame(9, b"x" * 125) * 500
    async with contextlib.aclosing(Elsewhere.of(server)) as served, contextlib.aclosing(Roomless.of(server)) as room:
        process = (await served.read_json("/report"))["process"]
        other = await open_client(served, "websocket")
        peer = await connect(room)
        await peer.receive()
        stop_reading(peer.wire)
        before = (await served.read_json("/vitals"))["rss"]
        async with watched_memory(process) as memory, talking(other):
            for _ in range(400):
                await peer.wire.send(pings)
        assert max(memory) - before < SLACK / 3
        assert (await served.read_json("/vitals"))["connections"] == 2


async def test_a_body_in_chunks_of_one_byte_leaves_the_others_their_turns(serve, monkeypatch):
    chunks = 20_000
    served = serve()
    session_id, _ = await served.open()
    most = 0
    taken = count_body_chunks(monkeypatch)

    async def watch() -> None:
        nonlocal most
        while True:
            before = len(taken)
            await asyncio.sleep(0)
            most = max(most, len(taken) - before)

    data = b"data=" + proto.encode("x" * (chunks - 20)).encode()
    watching = asyncio.create_task(watch())
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n"
    response = await served.request(
        "POST", f"/socket.io/xhr-polling/{session_id}/send", {"Transfer-Encoding": "chunked"}, body
    )
    watching.cancel()
    assert response.status == 200
    assert most <= 512  # Tornado 6.6 gathers small chunks, older ones hand on each
