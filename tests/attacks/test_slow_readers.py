"""Clients that do not read: they are cut off, the server's memory stays bounded, and nobody else notices.

A server that only ever appends to a connection's write buffer, as Tornado's WebSockets do, is filled up by anybody who
stops reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer
from tests.clients import Client, greeted, open_client
from tests.internals import has_queued, queue_length, sessions_of
from tests.slow_clients import Roomless, connect_without_room, resume_reading, stop_reading
from tests.support import PERSISTENT, POLLING, ClientStream, Elsewhere, Recorder, Served, jsonp_payload, payload_of
from tests.vitals import watched_memory
from tornadio import proto
from tornadio.settings import PROTOCOLS

APP = Path(__file__).with_name("broadcast_app.py")
POSTS_APP = Path(__file__).with_name("posts_app.py")

BROADCASTS = 10_000
MESSAGE_BYTES = 4096
BATCH = 200
BOUND = 1 << 20
SLOW = 10
READERS = 3
# What the server may need for its readers and its log, and what the allocator keeps. Together with ten times the bound
# it is well below what 10,000 broadcasts are, which is what it would cost to keep them even once.
SLACK = 12 << 20


@pytest.fixture
def broadcasting(tmp_path: Path) -> Iterator[AppServer]:
    arguments = {
        "readers": READERS,
        "broadcasts": BROADCASTS,
        "batch": BATCH,
        "size": MESSAGE_BYTES,
        "max_send_buffer": BOUND,
    }
    server = AppServer(APP, tuple(f"--{name}={value}" for name, value in arguments.items()), tmp_path / "output.txt")
    server.start()
    yield server
    server.kill()


@contextlib.asynccontextmanager
async def open_slow(server: AppServer, transport: str) -> AsyncIterator[list[str]]:
    """Clients that stop reading as soon as they are in: their session ids."""
    async with contextlib.aclosing(Roomless.of(server)) as served:
        clients = [await open_client(served, transport) for _ in range(SLOW)]
        if transport in POLLING:
            for number, client in enumerate(clients):
                await stop_polling(served, client, transport, with_a_poll_open=number % 2 == 0)
        for wire in served.wires:
            stop_reading(wire)
        yield [client.session_id for client in clients]


async def stop_polling(served: Elsewhere, client: Client, transport: str, with_a_poll_open: bool) -> None:
    """Leave with a poll whose answer is never read, or with none."""
    await client.send("here I am")
    if with_a_poll_open:
        wire = await served.connect()
        await wire.send_request("GET", f"/socket.io/{transport}/{client.session_id}/1290000000000/0")


async def read_all(client: Client) -> list[int]:
    """Read all broadcasts, in the server's pace: their numbers."""
    numbers: list[int] = []
    while len(numbers) < BROADCASTS:
        await client.send("ready")
        batch_ends = len(numbers) + BATCH
        while len(numbers) < batch_ends:
            numbers += [number_of(message) for message in await client.receive() if not message.startswith("~h~")]
    return numbers


def number_of(message: str) -> int:
    assert len(message) == MESSAGE_BYTES
    return int(message.split(" ")[0])


# -- Broadcasts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_clients_that_never_read_cost_a_bounded_buffer_and_the_others_nothing(broadcasting, transport):
    async with contextlib.aclosing(Elsewhere.of(broadcasting)) as served, open_slow(broadcasting, transport) as slow:
        process = (await served.read_json("/report"))["process"]
        readers = [await open_client(served, transport) for _ in range(READERS)]
        before = (await served.read_json("/vitals"))["rss"]
        async with watched_memory(process) as memory:
            received = await asyncio.gather(*map(read_all, readers))
        assert max(memory) - before < SLOW * BOUND + SLACK
        assert received == [list(range(BROADCASTS))] * READERS
        assert (await served.read_json("/report"))["closed"] == dict.fromkeys(slow, 1)
        assert (await served.read_json("/vitals"))["connections"] == READERS
    warnings = [line for line in broadcasting.output().splitlines() if "too slow" in line]
    assert len(warnings) == SLOW
    for session_id in slow:
        told = f"session {session_id[:8]} ({transport}): closed, too slow: more than max_send_buffer ({BOUND} bytes)"
        assert len([line for line in warnings if told in line]) == 1


# -- A poll's answer ---------------------------------------------------------------------------------------------------

ANSWER = "x" * (16 << 20)
PATIENCE = {"heartbeat_timeout": 5, "session_expiry": 7, "session_check_interval": 1, "max_send_buffer": 32 << 20}
# heartbeat_timeout, and the time that the answer needs at 4096 bytes a second.
ANSWER_SECONDS = 5 + len(ANSWER) / 4096


async def leave_answer_unread(served: Served, transport: str) -> tuple[str, ClientStream]:
    """A session whose client has asked for ANSWER, and does not read it: its id, and the connection with the poll."""
    session_id, _ = await served.open(transport)
    wire = await connect_without_room(served.port)
    served.wires.append(wire)
    stop_reading(wire)
    await wire.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000/0")
    await served.barrier()
    served.router.broadcast(ANSWER)
    await served.barrier()
    return session_id, wire


async def rest_of(wire: ClientStream) -> int:
    """How many bytes are still to be had from a connection that the server has ended."""
    resume_reading(wire)
    return len(await wire.read_to_end())


def lines_of(caplog: pytest.LogCaptureFixture, session_id: str) -> list[str]:
    records = [record for record in caplog.records if record.name.startswith("tornadio.")]
    return [line for line in map(logging.LogRecord.getMessage, records) if session_id[:8] in line]


@pytest.mark.parametrize("transport", POLLING)
async def test_an_answer_that_is_not_taken_is_cut_off_and_offered_to_the_next_poll(serve, clock, transport, caplog):
    caplog.set_level(logging.INFO)
    served = serve(settings=PATIENCE)
    session_id, wire = await leave_answer_unread(served, transport)
    await clock.advance(ANSWER_SECONDS - 1)
    assert lines_of(caplog, session_id) == []
    await clock.advance(2)
    told = f"session {session_id[:8]} ({transport}): cut off an answer that the client does not take"
    assert lines_of(caplog, session_id) == [told]
    assert await rest_of(wire) < len(ANSWER)
    payload = (await served.poll(session_id, transport)).text
    assert proto.decode(payload if transport == "xhr-polling" else jsonp_payload(payload)) == [(proto.FRAME, ANSWER)]
    assert Recorder.opened[0].events == [("open", "")]


@pytest.mark.parametrize("transport", POLLING)
async def test_a_session_whose_client_takes_no_answer_and_polls_no_more_expires(serve, clock, transport, caplog):
    caplog.set_level(logging.INFO)
    served = serve(settings=PATIENCE)
    session_id, _ = await leave_answer_unread(served, transport)
    await clock.advance(ANSWER_SECONDS + 1 + PATIENCE["session_expiry"] - 2)
    assert Recorder.opened[0].events == [("open", "")]
    await clock.advance(2 + PATIENCE["session_check_interval"])
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    assert len(lines_of(caplog, session_id)) == 2  # the answer was cut off, the session has expired
    assert (await served.poll(session_id, transport)).status == 401


@pytest.mark.parametrize("transport", POLLING)
async def test_an_answer_that_is_taken_slowly_but_in_time_arrives(serve, clock, transport):
    served = serve(settings=PATIENCE)
    session_id, wire = await leave_answer_unread(served, transport)
    await clock.advance(ANSWER_SECONDS - 1)
    resume_reading(wire)
    payload = (await wire.read_response()).text
    assert proto.decode(payload if transport == "xhr-polling" else jsonp_payload(payload)) == [(proto.FRAME, ANSWER)]
    await clock.advance(1)
    await served.post(session_id, "still here", transport=transport)
    assert Recorder.opened[0].events == [("open", ""), ("message", "still here")]


@pytest.mark.parametrize("transport", POLLING)
async def test_a_new_poll_gets_at_once_what_the_old_one_has_not_taken(serve, clock, transport):
    served = serve(settings=PATIENCE)
    session_id, wire = await leave_answer_unread(served, transport)
    payload = (await served.poll(session_id, transport)).text
    assert proto.decode(payload if transport == "xhr-polling" else jsonp_payload(payload)) == [(proto.FRAME, ANSWER)]
    assert await rest_of(wire) < len(ANSWER)
    assert Recorder.opened[0].events == [("open", "")]


# -- What is queued for a poll -----------------------------------------------------------------------------------------

QUEUED = 15 << 20
ANSWER_LIMIT = 1 << 20
# Texts that take six bytes for each of theirs in a script, and four for each in a str.
TEXTS = {"a script's": "<" * 65_000, "an emoji": "😀" + "x" * 65_000}


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Elsewhere]:
    server = AppServer(POSTS_APP, (), tmp_path / "output.txt")
    try:
        server.start()
        async with contextlib.aclosing(Elsewhere.of(server)) as served:
            yield served
    finally:
        server.kill()


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("text", TEXTS)
async def test_a_poll_that_is_not_read_costs_little_more_than_what_is_queued(filled, transport, text):
    session_id, _ = await filled.open(transport)
    process = (await filled.read_json("/report"))["process"]
    count = QUEUED // len(TEXTS[text].encode())
    before = (await filled.read_json("/vitals"))["rss"]
    task = {"messages": count, "text": TEXTS[text]}
    assert (await filled.post(session_id, task, transport=transport)).text == "ok"
    wire = await connect_without_room(filled.port)
    filled.wires.append(wire)
    stop_reading(wire)
    async with watched_memory(process) as memory:
        await wire.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000/0")
        await filled.barrier()
        held = (await filled.read_json("/vitals"))["rss"]
    assert held - before < QUEUED + 8 * ANSWER_LIMIT
    assert max(memory) - before < QUEUED + 24 * ANSWER_LIMIT
    resume_reading(wire)
    payload = payload_of(await wire.read_response(), transport)
    messages = [message for _, message in proto.decode(payload)]
    while len(messages) < count:
        payload = payload_of(await filled.poll(session_id, transport), transport)
        assert len(payload.encode()) <= ANSWER_LIMIT
        messages += [message for _, message in proto.decode(payload)]
    assert messages == [f"{number} {TEXTS[text]}" for number in range(count)]


@pytest.mark.parametrize("transport", POLLING)
async def test_what_is_too_much_for_one_poll_comes_with_the_next_ones_also_from_a_session_that_closes(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    [connection] = Recorder.opened
    sent = [*(f"{number} ".ljust(100_000, "x") for number in range(25)), 3 * ANSWER_LIMIT * "y", "last"]
    connection.send(sent[:5])
    for message in sent[5:]:
        connection.send(message)
    connection.close()
    assert (await served.post(session_id, "late", transport=transport)).status == 401
    received: list[str] = []
    counts = []
    while len(received) < len(sent):
        payload = payload_of(await served.poll(session_id, transport), transport)
        messages = [message for _, message in proto.decode(payload)]
        received += messages
        counts.append(len(messages))
    assert received == sent
    assert counts == [10, 10, 5, 1, 1]
    assert (await served.poll(session_id, transport)).status == 401
    assert connection.events == [("open", ""), ("close",)]


# -- Small messages, and large ones that are never taken ---------------------------------------------------------------


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_very_small_messages_that_nobody_takes_end_the_connection_before_they_fill_the_memory(serve, transport):
    limit_of_bytes = 1 << 18
    served = serve(settings={"max_send_buffer": limit_of_bytes})
    client = await greeted(served, transport)
    if transport not in POLLING:
        stop_reading(served.wires[0])
    [session] = sessions_of(served.router)
    for _ in range(1000):
        for _ in range(100):
            Recorder.opened[0].send("x")
        assert queue_length(session) <= limit_of_bytes // 128 + 1001
        if session.is_closed:
            break
    else:
        assert transport not in POLLING  # the others' went out, together
    assert client


@pytest.mark.parametrize("transport", PERSISTENT)
async def test_who_answers_heartbeats_and_takes_nothing_is_closed(serve, clock, each_wire, transport):
    served = serve(settings={"heartbeat_timeout": 20})
    client = await greeted(served, transport)
    stop_reading(served.wires[0])
    recorder = Recorder.opened[0]
    recorder.send("x" * (15 << 20))
    for second in range(200):
        await clock.advance(20)
        if recorder.is_closed:
            break
        await client.send(f"{second}: here I am")
    assert recorder.is_closed
    # 15 MiB at 4 KiB a second, and 20 seconds.
    assert 3860 // 20 <= second <= 3860 // 20 + 2


async def test_one_client_that_reads_much_at_last_leaves_others_their_turns(serve):
    served = serve(settings={"max_send_buffer": 64 << 20})
    await greeted(served)
    [session] = sessions_of(served.router)
    stop_reading(served.wires[0])
    turns_between = 0

    async def take_turns() -> None:
        nonlocal turns_between
        while has_queued(session):
            turns_between += 1
            await asyncio.sleep(0)

    for _ in range(400):
        Recorder.opened[0].send("x" * 60_000)  # some megabytes fit into the sockets, each a batch of its own
    await asyncio.sleep(0)
    resume_reading(served.wires[0])
    reading = asyncio.create_task(served.wires[0].read_exactly(400 * 60_000))
    await take_turns()
    await reading
    assert turns_between > 400 // 16
