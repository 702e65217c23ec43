"""`send_buffer_size` and `drain()`: a producer that goes no faster than its client, on every transport."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from typing import Any

import pytest

from tests.chaos.endings import poll
from tests.clients import Client, greeted, open_client
from tests.internals import is_waiting, is_writing, session_of
from tests.slow_clients import resume_reading, stop_reading
from tests.support import LARGE, PERSISTENT, POLLING, SECONDS, Recorder, Served, limit, until
from tornadio.errors import CallerError
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)
every_persistent = pytest.mark.parametrize("transport", PERSISTENT)
every_polling = pytest.mark.parametrize("transport", POLLING)

CHUNK = 1000 * "0123456789"
MANY = [LARGE[:50_000]] * (len(LARGE) // 50_000)
HIGH_WATER, LOW_WATER = 1 << 16, 1 << 14


class Producer(Recorder):
    """Sends chunks as fast as the client reads them, in a task of its own."""

    chunks = 0
    is_done = False
    largest = 0
    task: asyncio.Task[None]

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        super().on_open(request, *args, **kwargs)
        self.task = asyncio.create_task(self.produce())

    async def produce(self) -> None:
        while not self.is_closed and not self.is_done:
            self.send(f"{self.chunks} {CHUNK}")
            self.chunks += 1
            self.largest = max(self.largest, self.send_buffer_size)
            await self.drain()


async def fill(served: Served) -> Recorder:
    """Send more to the first client, which does not read, than fits on the way to it: the connection."""
    stop_reading(served.wires[0])
    connection: Recorder = Recorder.opened[0]
    for text in MANY:
        connection.send(text)
    await until(lambda: is_writing(connection))
    return connection


async def read_on(client: Client, received: list[Any], last: Any) -> None:
    async with limit():
        while last not in received:
            received += await client.receive()


# -- send_buffer_size --------------------------------------------------------------------------------------------------


@every_transport
async def test_the_size_is_of_what_no_client_has_had(serve, transport):
    client = await greeted(serve(), transport)
    [recorder] = Recorder.opened
    assert recorder.send_buffer_size == 0
    recorder.send("é")
    recorder.send(["ab", {"a": 1}])
    assert recorder.send_buffer_size == len('~m~1~m~é~m~2~m~ab~m~11~m~~j~{"a": 1}'.encode())
    assert await client.receive() == ["é", "ab", {"a": 1}]
    await until(lambda: recorder.send_buffer_size == 0)
    recorder.close()
    recorder.send("too late")
    assert recorder.send_buffer_size == 0


async def test_the_size_counts_what_is_in_flight_too(serve, each_wire):
    served = serve()
    await greeted(served)
    connection = await fill(served)
    size = connection.send_buffer_size
    assert size > 1_000_000
    connection.send("x")
    assert connection.send_buffer_size == size + len("~m~1~m~x")
    session_of(connection).abort(1011, "")
    assert connection.send_buffer_size == 0


# -- Producers ---------------------------------------------------------------------------------------------------------


@every_transport
async def test_a_producer_is_as_fast_as_its_client(site, transport):
    """Nothing is lost, and no more waits than drain() allows and one chunk."""
    served = site(Producer, {"max_send_buffer": 2 * HIGH_WATER})
    client = await open_client(served, transport)
    [producer] = Recorder.opened
    received = await client.receive()
    async with limit():
        while len(received) < 300:
            received += await client.receive()
    producer.is_done = True
    producer.send("last")
    await read_on(client, received, "last")
    await asyncio.wait_for(producer.task, 30)
    assert received == ["welcome", *(f"{number} {CHUNK}" for number in range(producer.chunks)), "last"]
    assert producer.largest <= (2 * HIGH_WATER >> 5) + len(CHUNK) + 100
    assert not producer.is_closed


@every_persistent
async def test_a_producer_waits_for_a_client_that_pauses(site, transport):
    served = site(Producer)
    client = await open_client(served, transport)
    stop_reading(served.wires[0])
    [producer] = Recorder.opened
    await until(lambda: is_waiting(producer) and is_writing(producer))
    for _ in range(5):
        await served.barrier()
    assert is_waiting(producer)
    assert producer.largest <= HIGH_WATER + len(CHUNK) + 100
    chunks = producer.chunks
    resume_reading(served.wires[0])
    received = await client.receive()
    while producer.chunks == chunks:
        received += await client.receive()
    producer.is_done = True
    producer.send("last")
    await read_on(client, received, "last")
    assert received[1:] == [f"{number} {CHUNK}" for number in range(producer.chunks)] + ["last"]


@every_polling
async def test_a_producer_waits_for_the_next_poll(site, transport):
    client = await open_client(site(Producer), transport)
    [producer] = Recorder.opened
    received = await client.receive()
    for _ in range(20):
        await until(lambda: is_waiting(producer))
        assert HIGH_WATER < producer.send_buffer_size <= HIGH_WATER + len(CHUNK) + 100
        received += await client.receive()
    assert received[1:] == [f"{number} {CHUNK}" for number in range(len(received) - 1)]


@every_transport
async def test_a_handler_may_produce_too(site, transport):
    class Answering(Recorder):
        async def on_message(self, message: Any) -> None:
            for number in range(200):
                self.send(f"{number} {CHUNK}")
                await self.drain()
            self.send("last")

    client = await greeted(site(Answering, {"max_send_buffer": 200_000}), transport)
    received: list[Any] = []
    sending = asyncio.create_task(client.send("go"))
    await read_on(client, received, "last")
    await sending
    assert received == [*(f"{number} {CHUNK}" for number in range(200)), "last"]


@every_transport
async def test_threads_are_as_fast_as_their_client(serve, transport):
    client = await greeted(serve(settings={"max_send_buffer": 200_000}), transport)
    [recorder] = Recorder.opened
    loop = asyncio.get_running_loop()

    def produce(name: str) -> None:
        for number in range(100):
            recorder.send(f"{name} {number} {CHUNK}")
            asyncio.run_coroutine_threadsafe(recorder.drain(), loop).result()

    producing = asyncio.gather(*(asyncio.to_thread(produce, name) for name in "abcd"))
    received: list[Any] = []
    async with limit():
        while len(received) < 400:
            received += await client.receive()
        await producing
    assert not recorder.is_closed
    for name in "abcd":
        own = [message for message in received if message.startswith(name)]
        assert own == [f"{name} {number} {CHUNK}" for number in range(100)]


async def test_on_another_event_loop_than_the_connections_it_says_how_a_thread_waits(serve):
    client = await greeted(serve(), "xhr-polling")
    [recorder] = Recorder.opened

    async def produce() -> None:
        recorder.send("sent")
        with pytest.raises(CallerError, match="run_coroutine_threadsafe"):
            await recorder.drain()

    producing = threading.Thread(target=lambda: results.append(asyncio.run(produce())))
    results: list[None] = []
    producing.start()
    producing.join(SECONDS)  # which blocks the loop: nothing is carried out meanwhile
    assert results == [None]
    assert recorder.send_buffer_size == 0
    assert await client.receive() == ["sent"]


# -- When drain() returns ----------------------------------------------------------------------------------------------


@every_transport
async def test_below_the_high_water_mark_it_returns_at_once(serve, transport):
    await greeted(serve(), transport)
    [recorder] = Recorder.opened
    recorder.send((HIGH_WATER - 100) * "x")
    draining = recorder.drain()
    with pytest.raises(StopIteration):  # the coroutine has returned, without a turn of the event loop
        draining.send(None)


async def test_a_small_send_buffer_lowers_the_mark(serve):
    await greeted(serve(settings={"max_send_buffer": 32_000}), "xhr-polling")
    [recorder] = Recorder.opened
    recorder.send(2000 * "x")
    draining = asyncio.ensure_future(recorder.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    recorder.close()
    await draining


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
async def test_it_waits_down_to_the_low_water_mark(serve, transport):
    """Also over several batches: a WebSocket's have 64 KiB, a poll's 1 MiB."""
    served = serve()
    client = await greeted(served, transport)
    [recorder] = Recorder.opened
    sizes: list[int] = []

    async def wait() -> None:
        await recorder.drain()
        sizes.append(recorder.send_buffer_size)

    for _ in range(40):
        recorder.send(50_000 * "x")
    waiting = asyncio.create_task(wait())
    received: list[Any] = []
    while len(received) < 40:
        received += await client.receive()
    await waiting
    assert sizes[0] <= LOW_WATER


@every_transport
async def test_every_waiter_is_woken_and_one_that_is_cancelled_takes_no_other_along(serve, transport):
    served = serve()
    client = await greeted(served, transport)
    [recorder] = Recorder.opened
    if transport in POLLING:
        for text in MANY:
            recorder.send(text)
    else:
        await fill(served)
    waiting = [asyncio.create_task(recorder.drain()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]
    assert waiting[0].cancelled()
    resume_reading(served.wires[0])
    received: list[Any] = []
    while len(received) < len(MANY):
        received += await client.receive()
    assert received == MANY
    async with limit():
        await asyncio.gather(*waiting[1:])
    assert not is_waiting(recorder)


async def test_after_the_only_waiter_was_cancelled_nobody_waits(serve):
    await greeted(serve(), "xhr-polling")
    [recorder] = Recorder.opened
    recorder.send(100_000 * "x")
    waiting = asyncio.create_task(recorder.drain())
    await asyncio.sleep(0)
    assert is_waiting(recorder)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert not is_waiting(recorder)


@pytest.mark.parametrize("ending", ["close", "abort", "shutdown", "leave"])
@every_persistent
async def test_it_returns_when_the_connection_ends(serve, each_wire, transport, ending):
    served = serve()
    client = await greeted(served, transport)
    connection = await fill(served)
    waiting = [asyncio.create_task(connection.drain()) for _ in range(2)]
    await asyncio.sleep(0)
    assert is_waiting(connection)
    if ending == "close":
        connection.close()
    elif ending == "abort":
        session_of(connection).abort(1011, "")
    elif ending == "leave":
        await client.leave(reset=True)
    else:
        await served.server.shutdown(timeout=0.01)
    async with limit():
        await asyncio.gather(*waiting)
    assert connection.is_closed


@every_transport
async def test_after_the_end_it_gives_others_a_turn(serve, transport):
    """A producer that never looks at is_closed must not block the event loop."""
    await greeted(serve(), transport)
    [recorder] = Recorder.opened
    recorder.close()

    async def produce() -> None:
        while True:
            recorder.send("more")
            await recorder.drain()

    producing = asyncio.create_task(produce())
    await asyncio.sleep(0)
    await recorder.wait_closed()
    producing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await producing
    assert recorder.events[-1] == ("close",)


@every_transport
async def test_on_open_does_not_wait_for_what_is_sent_after_it(serve, transport):
    class Greeting(Recorder):
        async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)
            for _ in range(10):
                self.send(50_000 * "x")
                await self.drain()
            self.send("last")

    received: list[Any] = []
    await read_on(await open_client(serve(Greeting), transport), received, "last")
    assert received == ["welcome", *(10 * [50_000 * "x"]), "last"]


@every_transport
async def test_a_task_that_produces_during_on_open_waits_for_its_end(serve, transport):
    class Opening(Producer):
        async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)
            await until(lambda: is_waiting(self))
            for _ in range(100):
                await asyncio.sleep(0)

    served = serve(Opening)
    client = await open_client(served, transport)
    [producer] = Recorder.opened
    received = await client.receive()
    while producer.chunks < 30:
        received += await client.receive()
    assert not producer.is_closed
    assert producer.largest <= HIGH_WATER + len(CHUNK) + 100


# -- Clients that do not read ------------------------------------------------------------------------------------------


@every_persistent
async def test_a_client_that_does_not_read_ends_the_wait(serve, clock, transport):
    served = serve(Producer)
    await open_client(served, transport)
    stop_reading(served.wires[0])
    [producer] = Recorder.opened
    await clock.advance(120)
    await producer.wait_closed()
    await producer.task
    assert producer.close_reason in ("too slow", "no answer to heartbeats")


@every_persistent
async def test_a_client_that_does_not_read_is_named_in_the_log(serve, clock, transport, caplog):
    caplog.set_level(logging.INFO, "tornadio")
    served = serve(Producer, {"heartbeat_interval": 100})  # no heartbeat that is not answered, before a write ends
    await open_client(served, transport)
    stop_reading(served.wires[0])
    [producer] = Recorder.opened
    await clock.advance(120)
    await producer.wait_closed()
    await producer.task
    session = f"session {producer.session_id[:8]} ({transport})"
    assert f"{session}: closed, the client does not take what it is sent, of 127.0.0.1" in caplog.messages


@every_transport
async def test_a_handler_that_waits_for_a_client_that_does_not_read_ends_with_it(serve, clock, transport):
    """Its POST is not answered, which would else keep a polling session alive."""

    class Answering(Producer):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return Recorder.on_open(self, request, *args, **kwargs)

        async def on_message(self, message: Any) -> None:
            self.events.append(("message", message))
            await self.produce()
            self.events.append(("handled", message))

    served = serve(Answering)
    client = await greeted(served, transport)
    stop_reading(served.wires[0])
    sending = asyncio.gather(client.send("go"), return_exceptions=True)
    [producer] = Recorder.opened
    await until(lambda: is_waiting(producer))
    await clock.advance(200)
    await producer.wait_closed()
    await sending
    assert producer.events[1:] == [("message", "go"), ("handled", "go"), ("close",)]
    expected = "no request for session_expiry" if transport in POLLING else "too slow"
    assert producer.close_reason == expected


@every_polling
async def test_a_poll_that_takes_over_wakes_nobody_too_early(serve, transport):
    """What a poll did not get is still queued, and counted."""
    served = serve()
    client = await greeted(served, transport)
    [recorder] = Recorder.opened
    first = await poll(served, client)
    second = await poll(served, client)
    assert (await first.read_response()).status == 200
    await second.aclose()
    await served.barrier()
    recorder.send(100_000 * "x")
    waiting = asyncio.create_task(recorder.drain())
    await served.barrier()
    assert not waiting.done()
    assert await client.receive() == [100_000 * "x"]
    await waiting


# -- References --------------------------------------------------------------------------------------------------------


async def test_a_wait_leaves_no_circle_behind(serve):
    served = serve(Producer)
    client = await open_client(served, "websocket")
    stop_reading(served.wires[0])
    await until(lambda: is_waiting(Recorder.opened[0]))
    session = weakref.ref(session_of(Recorder.opened[0]))
    gc.collect()
    gc.disable()
    try:
        await client.leave(reset=True)
        await Recorder.opened[0].wait_closed()
        await Recorder.opened[0].task
        Recorder.opened.clear()
        await served.barrier()
        assert session() is None
    finally:
        gc.enable()
