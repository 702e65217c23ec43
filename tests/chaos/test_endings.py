"""However a connection ends, its `on_close` runs exactly once, after everything else, and nobody else notices."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import pytest

from tests.chaos.endings import (
    ENDINGS,
    FAILING,
    FOR_ALL,
    SETTINGS,
    Deed,
    Doing,
    DoingLater,
    Ending,
    SlowToOpen,
    broken_by,
    close,
    close_and_fail,
    close_and_refuse,
    close_everybody,
    doing,
    every_transport,
    fail,
    failures,
    nothing,
    on_message_closes_and_raises,
    on_message_raises,
    on_message_waits_for_something_cancelled,
    refuse,
    say,
    say_good_bye,
    send_too_much,
    the_application_closes,
    the_application_sends_too_much,
    the_client_is_reset,
    the_client_leaves,
    the_client_never_returns,
    the_server_shuts_down,
)
from tests.clients import Client, greeted, open_client
from tests.internals import sessions_of
from tests.support import (
    PERSISTENT,
    MovedLoop,
    Recorder,
    Serve,
    Served,
    until,
)
from tornadio.settings import PROTOCOLS

# -- Handlers ----------------------------------------------------------------------------------------------------------


# -- Endings -----------------------------------------------------------------------------------------------------------


async def assert_that_it_ended_once(served: Served, clock: MovedLoop, recorder: Recorder) -> None:
    """Nothing that comes after its end ends a connection once more."""
    assert recorder.is_closed
    assert recorder not in served.router.connections
    recorder.close()
    recorder.send("too late")
    await clock.advance(60)
    await clock.wait_for(served.server.shutdown(timeout=1))
    assert recorder.events.count(("close",)) == 1
    assert recorder.events[-1] == ("close",)
    assert sessions_of(served.router) == []


async def assert_that_others_go_on(served: Served, other: Client, last: Deed) -> None:
    assert served.router.connections == (Recorder.opened[1],)
    await other.send("still here")
    received = await other.receive()
    while "still here" not in received:
        received += await other.receive()
    assert received == (["somebody left"] if last is say_good_bye else []) + ["still here"]


@pytest.mark.parametrize(("transport", "ending"), ENDINGS, ids=lambda value: getattr(value, "__name__", value))
async def test_on_close_runs_once_when(serve, clock, caplog, log_limit, transport, ending):
    """Whatever on_close does, and whether the handlers are coroutines or not."""
    for last, base in itertools.product([nothing, fail, say_good_bye, close_everybody], [Doing, DoingLater]):
        print(f"on_close: {last.__name__}, {base.__name__}")
        await assert_that_on_close_runs_once(serve, clock, caplog, base, last, transport, ending)
        Recorder.opened.clear()
        caplog.clear()
        log_limit.clear()


async def assert_that_on_close_runs_once(
    serve: Serve,
    clock: MovedLoop,
    caplog: pytest.LogCaptureFixture,
    base: type[Doing],
    last: Deed,
    transport: str,
    ending: Ending,
) -> None:
    served = serve(doing(base, last=last), SETTINGS)
    client, other = await greeted(served, transport), await greeted(served)
    await ending(served, client, clock)
    recorder, bystander = Recorder.opened
    await recorder.wait_closed()
    if last is close_everybody:
        await bystander.wait_closed()
    elif ending not in FOR_ALL:
        await assert_that_others_go_on(served, other, last)
    await assert_that_it_ended_once(served, clock, recorder)
    assert bystander.events.count(("close",)) == 1
    assert failures(caplog, "on_close") == (2 if last is fail else 0)
    assert failures(caplog, "on_message") == (
        ending in (on_message_raises, on_message_waits_for_something_cancelled, on_message_closes_and_raises)
    )


# -- In on_open --------------------------------------------------------------------------------------------------------


@every_transport
@pytest.mark.parametrize(
    "first", [refuse, *FAILING, close, close_and_fail, close_and_refuse, close_everybody, send_too_much]
)
async def test_on_close_runs_once_when_on_open_does_this(serve, clock, caplog, log_limit, transport, first):
    for last, base in itertools.product([nothing, *FAILING], [Doing, DoingLater]):
        print(f"on_close: {last.__name__}, {base.__name__}")
        await assert_that_on_close_runs_after_on_open(serve, clock, caplog, base, first, last, transport)
        Recorder.opened.clear()
        caplog.clear()
        log_limit.clear()


async def assert_that_on_close_runs_after_on_open(
    serve: Serve,
    clock: MovedLoop,
    caplog: pytest.LogCaptureFixture,
    base: type[Doing],
    first: Deed,
    last: Deed,
    transport: str,
) -> None:
    served = serve(doing(base, first=first, last=last), SETTINGS)
    trying = asyncio.gather(open_client(served, transport), return_exceptions=True)
    await until(lambda: Recorder.opened)
    [recorder] = Recorder.opened
    await recorder.wait_closed()
    await trying
    await assert_that_it_ended_once(served, clock, recorder)
    assert recorder.events == [("open", ""), ("close",)]
    assert failures(caplog, "on_open") == (first in (*FAILING, close_and_fail))
    assert failures(caplog, "on_close") == (last in FAILING)
    for wire in served.wires:  # whatever was said to the client, its connection does not stay open
        await wire.read_to_end()


@every_transport
@broken_by
async def test_on_close_runs_once_when_the_client_leaves_during_on_open(serve, clock, transport, reset):
    SlowToOpen.go_on = asyncio.Event()
    served = serve(SlowToOpen)
    trying = asyncio.gather(open_client(served, transport), return_exceptions=True)
    await until(lambda: Recorder.opened)
    for wire in served.wires:
        if reset:
            wire.reset()
        else:
            await wire.aclose()
    await served.barrier()
    assert Recorder.opened[0].events == [("open", "")]
    SlowToOpen.go_on.set()
    await Recorder.opened[0].wait_closed()
    await trying
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    await assert_that_it_ended_once(served, clock, Recorder.opened[0])


@every_transport
async def test_on_close_runs_once_when_the_server_shuts_down_during_on_open(serve, clock, transport):
    SlowToOpen.go_on = asyncio.Event()
    served = serve(SlowToOpen)
    trying = asyncio.gather(open_client(served, transport), return_exceptions=True)
    await until(lambda: Recorder.opened)
    stopping = asyncio.create_task(served.server.shutdown(timeout=5))
    await clock.advance(1)
    assert Recorder.opened[0].events == [("open", "")]
    SlowToOpen.go_on.set()
    await clock.wait_for(stopping)
    await trying
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    await assert_that_it_ended_once(served, clock, Recorder.opened[0])


# -- Several at once ---------------------------------------------------------------------------------------------------

AT_ONCE: tuple[Ending, ...] = (
    the_client_never_returns,
    the_application_closes,
    the_application_sends_too_much,
    the_server_shuts_down,
)
LEAVING: tuple[Ending, ...] = (the_client_leaves, the_client_is_reset)
PAIRS = [
    *((transport, *pair) for transport in PROTOCOLS for pair in itertools.permutations(AT_ONCE, 2)),
    *(
        (transport, *pair)
        for transport in PERSISTENT
        for each in itertools.product(AT_ONCE, LEAVING)
        for pair in itertools.permutations(each)
    ),
]


@pytest.mark.parametrize(("transport", "first", "second"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
async def test_on_close_runs_once_and_last_when_a_handler_is_at_work_and_two_endings_come(
    serve, clock, transport, first, second
):
    """A shutdown cancels the handler when its time is over; every other ending waits for it."""

    class Busy(Recorder):
        async def on_message(self, message: Any) -> None:
            self.events.append(("message", message))
            try:
                await go_on.wait()
            finally:
                self.events.append(("handled", message))

    go_on = asyncio.Event()
    served = serve(Busy, SETTINGS)
    client = await greeted(served, transport)
    [recorder] = Recorder.opened
    sending = asyncio.gather(client.send("work"), return_exceptions=True)
    await until(lambda: len(recorder.events) == 2)
    await first(served, client, clock)
    await second(served, client, clock)
    if the_server_shuts_down not in (first, second):
        assert recorder.events == [("open", ""), ("message", "work")]
    go_on.set()
    await clock.wait_for(served.server.shutdown(timeout=1))
    await sending
    assert recorder.events == [("open", ""), ("message", "work"), ("handled", "work"), ("close",)]
    await assert_that_it_ended_once(served, clock, recorder)


@every_transport
async def test_a_slow_on_close_is_not_entered_again(serve, clock, transport):
    class SlowToClose(Recorder):
        async def on_close(self) -> None:
            super().on_close()
            await go_on.wait()
            self.events.append(("closed",))

    go_on = asyncio.Event()
    served = serve(SlowToClose, SETTINGS)
    client = await greeted(served, transport)
    [recorder] = Recorder.opened
    recorder.close()
    await recorder.wait_closed()
    recorder.close()
    await client.leave(reset=True)
    await clock.advance(60)
    stopping = asyncio.create_task(served.server.shutdown(timeout=5))
    await clock.advance(1)
    assert recorder.events == [("open", ""), ("close",)]
    go_on.set()
    await clock.wait_for(stopping)
    assert recorder.events == [("open", ""), ("close",), ("closed",)]


@pytest.mark.parametrize("transport", PERSISTENT)
@broken_by
async def test_a_client_that_leaves_while_it_is_sent_much_is_missed_by_nobody(serve, caplog, transport, reset):
    served = serve(settings={"max_send_buffer": 100_000_000})
    client = await greeted(served, transport)
    served.wires[0].writer.transport.pause_reading()
    for _ in range(100):
        Recorder.opened[0].send(200_000 * "x")
    await served.barrier()
    await client.leave(reset)
    await Recorder.opened[0].wait_closed()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@every_transport
async def test_a_room_in_which_everybody_closes_everybody_ends_each_once(serve, clock, transport):
    served = serve(doing(Doing, last=close_everybody))
    clients = [await greeted(served, transport) for _ in range(20)]
    await say(served, clients[10], "close")
    for recorder in Recorder.opened:
        await recorder.wait_closed()
    assert served.router.connections == ()
    await clock.wait_for(served.server.shutdown(timeout=1))
    for recorder in Recorder.opened:
        assert recorder.events.count(("close",)) == 1
        assert recorder.events[-1] == ("close",)
