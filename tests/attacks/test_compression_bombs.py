"""Compressed messages that inflate to a thousandfold cost the server no more memory than a message may have, whatever
their client has sent of them, and leave the others their turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib

import pytest

from tests.clients import connect_compressing, deflated, frame, open_client, talking
from tests.support import ClientStream, Elsewhere, limit
from tests.vitals import watched_memory
from tornadio import proto
from tornadio.websocket.frames import RSV1, TEXT

MEBIBYTE = 1 << 20
LIMIT = 4 << 20
CONNECTIONS = 200
# What is read from a socket at once, a connection with its session, and with context takeover what zlib has for it.
OVERHEAD = 160 << 10
# What the server may need for a message of the limit: inflated, as text, and what zlib has at hand; its answers and its
# log; and what the allocator keeps.
SLACK = 3 * LIMIT + (12 << 20)

takeover = pytest.mark.parametrize("context_takeover", [False, True], ids=["no context takeover", "context takeover"])


def bomb(size: int) -> bytes:
    """A message that inflates to so many zeros, or a few more."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = min(size, 16 * MEBIBYTE)
    data = stream.compress(bytes(block)) + stream.flush(zlib.Z_FULL_FLUSH)
    return (data * -(-size // block))[:-4]


def in_fragments(data: bytes, number: int) -> bytes:
    size = -(-len(data) // number)
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(
        frame(0 if index else RSV1 | TEXT, part, final=index == len(parts) - 1) for index, part in enumerate(parts)
    )


async def close_code(wire: ClientStream) -> int:
    """Read to the end of the connection: the code of the last frame, a close frame."""
    data = await wire.read_to_end()
    close = data.rindex(b"\x88")
    return int.from_bytes(data[close + 2 : close + 4], "big")


@takeover
@pytest.mark.parametrize("fragments", [1, 50], ids=["whole", "in fragments"])
async def test_bombs_of_any_size_end_with_1009_and_bounded_memory(echo, context_takeover, fragments):
    async with contextlib.aclosing(Elsewhere.of(echo(LIMIT, context_takeover))) as served:
        process = (await served.read_json("/report"))["process"]
        other = await open_client(served, "websocket")
        before = (await served.read_json("/vitals"))["rss"]
        async with watched_memory(process) as memory, talking(other):
            for size in (LIMIT + MEBIBYTE, 100 * MEBIBYTE, 1024 * MEBIBYTE):
                wire = await connect_compressing(served)
                await wire.send(in_fragments(bomb(size), fragments))
                async with limit():
                    assert await close_code(wire) == 1009
        assert max(memory) - before < SLACK


@takeover
async def test_bombs_that_are_never_finished_take_the_memory_of_their_bytes(echo, context_takeover):
    async with contextlib.aclosing(Elsewhere.of(echo(LIMIT, context_takeover))) as served:
        process = (await served.read_json("/report"))["process"]
        other = await open_client(served, "websocket")
        before = (await served.read_json("/vitals"))["rss"]
        unfinished = frame(RSV1 | TEXT, bomb(LIMIT - MEBIBYTE))[:-1]
        async with watched_memory(process) as memory, talking(other):
            wires = [await connect_compressing(served) for _ in range(CONNECTIONS)]
            for wire in wires:
                await wire.send(unfinished)
            await served.barrier()
        assert (await served.read_json("/vitals"))["connections"] == CONNECTIONS + 1
        assert max(memory) - before < SLACK + CONNECTIONS * OVERHEAD


@takeover
async def test_many_small_bombs_on_one_connection_are_handled_one_after_another(echo, context_takeover):
    number, size = 60, MEBIBYTE
    async with contextlib.aclosing(Elsewhere.of(echo(LIMIT, context_takeover))) as served:
        process = (await served.read_json("/report"))["process"]
        other, wire = await open_client(served, "websocket"), await connect_compressing(served)
        before = (await served.read_json("/vitals"))["rss"]
        async with watched_memory(process) as memory, talking(other) as heard:
            reading = asyncio.create_task(wire.read_to_end())
            await wire.send(frame(RSV1 | TEXT, deflated(proto.encode("x" * size).encode())) * number)
            await wire.send(frame(8, b"\x03\xe8"))
            async with limit():
                answers = await reading
        assert len(answers) < number * size // 100
        assert len(heard) > number // 4  # in the turns between them
        assert max(memory) - before < SLACK
