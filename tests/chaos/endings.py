"""The ways in which a connection ends, and what handlers do meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clients import Client, SocketClient, frame
from tests.support import (
    BARE_FORM,
    HTTP_TRANSPORTS,
    PERSISTENT,
    POLLING,
    SOCKETS,
    STREAMING,
    ClientStream,
    MovedLoop,
    Recorder,
    Served,
    shut_down,
)
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)


broken_by = pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])

SETTINGS = {"max_message_size": 1000, "max_payload_size": 1010, "max_send_buffer": 1_000_000}


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


# An ending happens to the connection that was opened first. The clock may be moved to bring it about.
Ending = Callable[[Served, Client, MovedLoop], Awaitable[None]]


def transport_of(client: Client) -> str:
    transport: str
    [transport] = [each.transport for each in Recorder.opened if each.session_id == client.session_id]
    return transport


async def poll(served: Served, client: Client) -> ClientStream:
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
    assert (await first.read_response()).status == 200
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
    assert (await served.request("POST", path, {**BARE_FORM, "Content-Length": "1000000"})).status == 413


async def the_client_sends_chunk_after_chunk(served: Served, client: Client, clock: MovedLoop) -> None:
    path = f"/socket.io/{transport_of(client)}/{client.session_id}/send"
    wire = await served.connect()
    await wire.send_request("POST", path, {**BARE_FORM, "Transfer-Encoding": "chunked"})
    for _ in range(10):
        await wire.send(b"3e8\r\n" + 1000 * b"x" + b"\r\n")
    assert (await wire.read_response()).status == 413


async def the_client_posts_nothing(served: Served, client: Client, clock: MovedLoop) -> None:
    path = f"/socket.io/{transport_of(client)}/{client.session_id}/send"
    assert (await served.request("POST", path, {"Content-Length": "0"})).status == 200


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
    HTTP_TRANSPORTS: (
        the_client_posts_nothing,
        the_client_announces_too_much,
        the_client_sends_chunk_after_chunk,
    ),
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


class SlowToOpen(Recorder):
    """Its `on_open` takes until the test says so."""

    go_on: asyncio.Event

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        await self.go_on.wait()
