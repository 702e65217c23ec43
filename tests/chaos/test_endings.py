"""However a connection ends, its `on_close` runs exactly once, after everything else, and nobody else notices."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clients import Client, SocketClient, frame, greeted, open_client
from tests.conftest import shut_down
from tests.internals import sessions_of
from tests.support import (
    HTTP_TRANSPORTS,
    PERSISTENT,
    POLLING,
    SOCKETS,
    STREAMING,
    MovedLoop,
    Recorder,
    Served,
    Wire,
    until,
)
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)
broken_by = pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])

SETTINGS = {"max_message_size": 1000, "max_send_buffer": 1_000_000}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


# -- Handlers ----------------------------------------------------------------------------------------------------------

# What a handler does of which a connection may end, or after which it must not end again.
Deed = Callable[[Recorder], Any]


def nothing(recorder: Recorder) -> Any:
    pass


def refuse(recorder: Recorder) -> Any:
    return False


def fail(recorder: Recorder) -> Any:
    raise RuntimeError("as the test asked")


def wait_for_something_cancelled(recorder: Recorder) -> Any:
    raise asyncio.CancelledError  # as that something does: a future, say, whose result is asked for


def close(recorder: Recorder) -> Any:
    recorder.close()


def close_and_fail(recorder: Recorder) -> Any:
    recorder.close()
    fail(recorder)


def close_and_refuse(recorder: Recorder) -> Any:
    recorder.close()
    return False


def send_too_much(recorder: Recorder) -> Any:
    recorder.send(2_000_000 * "x")


def say_good_bye(recorder: Recorder) -> Any:
    recorder.send("good bye")
    recorder.broadcast("somebody left")
    recorder.close()


def close_everybody(recorder: Recorder) -> Any:
    for each in Recorder.opened:
        each.send("good bye")
        each.close()


class Doing(Recorder):
    """Does something in each of its handlers; in `on_message` what the message names."""

    first: Deed = staticmethod(nothing)
    last: Deed = staticmethod(nothing)

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        super().on_open(request, *args, **kwargs)
        return self.first(self)

    def on_message(self, message: Any) -> Any:
        super().on_message(message)
        if message in DEEDS:
            DEEDS[message](self)

    def on_close(self) -> Any:
        super().on_close()
        self.last(self)


class DoingLater(Doing):
    """The same in coroutines, which let others in between."""

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        result = super().on_open(request, *args, **kwargs)
        await asyncio.sleep(0)
        return result

    async def on_message(self, message: Any) -> None:
        await asyncio.sleep(0)
        super().on_message(message)
        await asyncio.sleep(0)

    async def on_close(self) -> None:
        await asyncio.sleep(0)
        super().on_close()
        await asyncio.sleep(0)


# With "close" and "fail" the Recorder knows what to do.
DEEDS: dict[Any, Deed] = {each.__name__: each for each in (wait_for_something_cancelled, close_and_fail, send_too_much)}

FAILING = (fail, wait_for_something_cancelled)

synchronous_or_not = pytest.mark.parametrize("base", [Doing, DoingLater], ids=["def", "async-def"])


def doing(base: type[Doing], *, first: Deed = nothing, last: Deed = nothing) -> type[Doing]:
    return type("Connection", (base,), {"first": staticmethod(first), "last": staticmethod(last)})


def failures(caplog: pytest.LogCaptureFixture, handler: str) -> int:
    """How often a handler's exception was logged, with its traceback."""
    line = f"{handler} failed"
    return sum(line in record.getMessage() and record.exc_info is not None for record in caplog.records)


# -- Endings -----------------------------------------------------------------------------------------------------------

# An ending happens to the connection that was opened first. The clock may be moved to bring it about.
Ending = Callable[[Served, Client, MovedLoop], Awaitable[None]]


def transport_of(client: Client) -> str:
    transport: str
    [transport] = [each.transport for each in Recorder.opened if each.session_id == client.session_id]
    return transport


async def poll(served: Served, client: Client) -> Wire:
    """The connection of a poll that waits."""
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport_of(client)}/{client.session_id}/1290000000000/0")
    await served.barrier()
    return wire


async def say(served: Served, client: Client, message: str, *statuses: int) -> None:
    """Send a message; a POST is answered with one of these, 200 where none is given."""
    if isinstance(client, SocketClient):
        await client.send(message)
    else:
        response = await served.post(client.session_id, message, transport=transport_of(client))
        assert response.status in (statuses or (200,)), response


async def the_client_leaves(served: Served, client: Client, clock: MovedLoop) -> None:
    await client.leave()


async def the_client_is_reset(served: Served, client: Client, clock: MovedLoop) -> None:
    await client.leave(reset=True)


async def the_client_closes(served: Served, client: Client, clock: MovedLoop) -> None:
    assert isinstance(client, SocketClient)
    await client.peer.close()


async def the_client_never_returns(served: Served, client: Client, clock: MovedLoop) -> None:
    await clock.advance(60)


async def the_client_falls_silent(served: Served, client: Client, clock: MovedLoop) -> None:
    await say(served, client, "the last word")
    await clock.advance(60)


async def the_poll_breaks(served: Served, client: Client, clock: MovedLoop) -> None:
    await (await poll(served, client)).aclose()
    await clock.advance(60)


async def the_poll_is_reset(served: Served, client: Client, clock: MovedLoop) -> None:
    (await poll(served, client)).reset()
    await clock.advance(60)


async def the_server_closes_with_a_poll_open(served: Served, client: Client, clock: MovedLoop) -> None:
    waiting = await poll(served, client)
    Recorder.opened[0].close()
    assert (await waiting.read_response()).status == 200


async def another_poll_takes_over_and_the_client_closes(served: Served, client: Client, clock: MovedLoop) -> None:
    first, second = await poll(served, client), await poll(served, client)
    assert (await first.read_response()).status == 409
    await say(served, client, "close")
    assert (await second.read_response()).status == 200


async def another_stream_takes_over_and_leaves(served: Served, client: Client, clock: MovedLoop) -> None:
    another = await served.stream(transport_of(client), client.session_id)
    await client.ended()
    await served.barrier()
    assert Recorder.opened[0].events == [("open", "")]
    await another.aclose()


async def the_client_sends_bad_frames(served: Served, client: Client, clock: MovedLoop) -> None:
    assert isinstance(client, SocketClient)
    await client.peer.send("~m~5~m~four")


async def the_client_sends_binary_frames(served: Served, client: Client, clock: MovedLoop) -> None:
    assert isinstance(client, SocketClient)
    await client.peer.wire.send(frame(2, b"~m~4~m~four"))


async def the_client_sends_unmasked_frames(served: Served, client: Client, clock: MovedLoop) -> None:
    assert isinstance(client, SocketClient)
    await client.peer.wire.send(b"\x81\x0b~m~4~m~four")


async def the_client_sends_too_much(served: Served, client: Client, clock: MovedLoop) -> None:
    await say(served, client, 2000 * "x", 413)


async def the_client_announces_too_much(served: Served, client: Client, clock: MovedLoop) -> None:
    path = f"/socket.io/{transport_of(client)}/{client.session_id}/send"
    assert (await served.request("POST", path, {**FORM, "Content-Length": "1000000"})).status == 413


async def the_client_sends_chunk_after_chunk(served: Served, client: Client, clock: MovedLoop) -> None:
    path = f"/socket.io/{transport_of(client)}/{client.session_id}/send"
    wire = await served.connect()
    await wire.send_request("POST", path, {**FORM, "Transfer-Encoding": "chunked"})
    for _ in range(10):
        await wire.send(b"3e8\r\n" + 1000 * b"x" + b"\r\n")
    assert (await wire.read_response()).status == 413


async def on_message_raises(served: Served, client: Client, clock: MovedLoop) -> None:
    await say(served, client, "fail", 500)


async def on_message_waits_for_something_cancelled(served: Served, client: Client, clock: MovedLoop) -> None:
    await say(served, client, wait_for_something_cancelled.__name__, 500)


async def on_message_closes(served: Served, client: Client, clock: MovedLoop) -> None:
    await say(served, client, "close")


async def on_message_closes_and_raises(served: Served, client: Client, clock: MovedLoop) -> None:
    # A POST is answered as soon as its session closes, or when its handler fails: whichever comes first.
    await say(served, client, close_and_fail.__name__, 200, 401, 500)


async def on_message_sends_too_much(served: Served, client: Client, clock: MovedLoop) -> None:
    await say(served, client, send_too_much.__name__, 200, 401)


async def the_application_closes(served: Served, client: Client, clock: MovedLoop) -> None:
    Recorder.opened[0].close()


async def the_application_sends_too_much(served: Served, client: Client, clock: MovedLoop) -> None:
    for _ in range(3):
        Recorder.opened[0].send(500_000 * "x")


async def the_server_shuts_down(served: Served, client: Client, clock: MovedLoop) -> None:
    await shut_down(served.server)


EVERYWHERE: tuple[Ending, ...] = (
    the_client_never_returns,
    the_client_falls_silent,
    the_client_sends_too_much,
    on_message_raises,
    on_message_waits_for_something_cancelled,
    on_message_closes,
    on_message_closes_and_raises,
    on_message_sends_too_much,
    the_application_closes,
    the_application_sends_too_much,
    the_server_shuts_down,
)
ELSEWHERE: dict[tuple[str, ...], tuple[Ending, ...]] = {
    PERSISTENT: (the_client_leaves, the_client_is_reset),
    SOCKETS: (the_client_closes, the_client_sends_bad_frames),
    ("websocket",): (the_client_sends_binary_frames, the_client_sends_unmasked_frames),
    HTTP_TRANSPORTS: (the_client_announces_too_much, the_client_sends_chunk_after_chunk),
    STREAMING: (another_stream_takes_over_and_leaves,),
    POLLING: (
        the_poll_breaks,
        the_poll_is_reset,
        the_server_closes_with_a_poll_open,
        another_poll_takes_over_and_the_client_closes,
    ),
}
ENDINGS = [
    *itertools.product(PROTOCOLS, EVERYWHERE),
    *(pair for transports, endings in ELSEWHERE.items() for pair in itertools.product(transports, endings)),
]
# Those that move the clock far, or stop the server, end the bystander as well.
FOR_ALL = (
    the_client_never_returns,
    the_client_falls_silent,
    the_poll_breaks,
    the_poll_is_reset,
    the_server_shuts_down,
)


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


@pytest.mark.parametrize("last", [nothing, fail, say_good_bye, close_everybody])
@synchronous_or_not
@pytest.mark.parametrize(("transport", "ending"), ENDINGS, ids=lambda value: getattr(value, "__name__", value))
async def test_on_close_runs_once_when(serve, clock, caplog, base, last, transport, ending):
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
@synchronous_or_not
@pytest.mark.parametrize("last", [nothing, *FAILING])
@pytest.mark.parametrize(
    "first", [refuse, *FAILING, close, close_and_fail, close_and_refuse, close_everybody, send_too_much]
)
async def test_on_close_runs_once_when_on_open_does_this(serve, clock, caplog, transport, base, first, last):
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


class SlowToOpen(Recorder):
    """Its `on_open` takes until the test says so."""

    go_on: asyncio.Event

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        await self.go_on.wait()


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
