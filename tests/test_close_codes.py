"""Why a connection has ended: the codes that an application gives, and what `on_close` is told, on every transport."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import pytest
import websockets

import tornadio
from tests.chaos.endings import (
    SETTINGS,
    Doing,
    Ending,
    close,
    close_and_fail,
    close_and_refuse,
    fail,
    on_message_closes,
    on_message_closes_and_raises,
    on_message_raises,
    on_message_sends_too_much,
    on_message_waits_for_something_cancelled,
    refuse,
    say,
    send_too_much,
    the_application_closes,
    the_application_sends_too_much,
    the_client_announces_too_much,
    the_client_closes,
    the_client_falls_silent,
    the_client_leaves,
    the_client_never_returns,
    the_client_posts_nothing,
    the_client_sends_bad_frames,
    the_client_sends_binary_frames,
    the_client_sends_chunk_after_chunk,
    the_client_sends_too_much,
    the_client_sends_unmasked_frames,
    the_poll_breaks,
    the_server_closes_with_a_poll_open,
    the_server_shuts_down,
)
from tests.clients import Client, HybiPeer, SocketClient, frame, greeted, open_client
from tests.slow_clients import stop_reading
from tests.support import (
    HTTP_TRANSPORTS,
    LARGE,
    PERSISTENT,
    POLLING,
    SOCKETS,
    STREAMING,
    MovedLoop,
    Recorder,
    Served,
    brief,
    until,
)
from tornadio.closecodes import (
    CLIENT_CLOSED,
    CLOSE_CODES,
    CONNECTION_BROKE,
    MESSAGE_FAILED,
    NO_CLOSE_FRAME,
    NO_HEARTBEAT,
    NO_REQUEST,
    NO_RETURN,
    NO_STATUS,
    OPEN_FAILED,
    REFUSED,
    SERVER_FAILED,
    SHUTDOWN,
    TOO_SLOW,
)
from tornadio.errors import CallerError, CloseError
from tornadio.sessions.outbox import Payload
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)
every_persistent = pytest.mark.parametrize("transport", PERSISTENT)
broken_by = pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])

NORMAL = (1000, "")
OWN = (4001, "come back later")
OPEN_TIMED_OUT = (1013, "on_open took longer than open_timeout")


class Telling(Doing):
    """Notes why it has ended, in `on_close`."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int | None, str]] = []

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        assert (self.close_code, self.close_reason) == (None, "")
        return super().on_open(request, *args, **kwargs)

    def on_message(self, message: Any) -> Any:
        if not self.is_closed:  # else its client has gone since it has sent this
            assert (self.close_code, self.close_reason) == (None, "")
        return super().on_message(message)

    def on_close(self) -> Any:
        self.told.append((self.close_code, self.close_reason))
        super().on_close()


def lost_by(transport: str, reset: bool) -> tuple[int, str]:
    if reset:
        return CONNECTION_BROKE
    return NO_CLOSE_FRAME if transport in SOCKETS else CLIENT_CLOSED


# -- What ends an open connection --------------------------------------------------------------------------------------


async def the_client_closes_with_a_code(served: Served, client: Client, clock: MovedLoop) -> None:
    assert isinstance(client, SocketClient)
    await client.peer.wire.send(frame(8, b"\x10\x68bye"))


async def the_client_closes_without_a_code(served: Served, client: Client, clock: MovedLoop) -> None:
    assert isinstance(client, SocketClient)
    await client.peer.wire.send(frame(8, b""))


async def the_client_sends_a_frame_of_no_type(served: Served, client: Client, clock: MovedLoop) -> None:
    assert isinstance(client, SocketClient)
    await client.peer.wire.send(b"\x01\x02")


async def the_application_closes_with_its_code(served: Served, client: Client, clock: MovedLoop) -> None:
    Recorder.opened[0].close(*OWN)
    Recorder.opened[0].close(1000, "too late")


async def the_server_shuts_down_behind_that(served: Served, client: Client, clock: MovedLoop) -> None:
    """Also behind a queue that nobody fetches."""
    Recorder.opened[0].send("more")
    Recorder.opened[0].close(*OWN)
    await the_server_shuts_down(served, client, clock)


CAUSES: list[tuple[tuple[str, ...], Ending, tuple[int, str]]] = [
    (("websocket",), the_client_closes, NORMAL),
    (("websocket",), the_client_closes_with_a_code, (4200, "bye")),
    (("websocket",), the_client_closes_without_a_code, NO_STATUS),
    (("flashsocket",), the_client_closes, NO_STATUS),
    (SOCKETS, the_client_leaves, NO_CLOSE_FRAME),
    (STREAMING, the_client_leaves, CLIENT_CLOSED),
    (HTTP_TRANSPORTS, the_client_posts_nothing, CLIENT_CLOSED),
    (PERSISTENT, the_client_never_returns, NO_HEARTBEAT),
    (PERSISTENT, the_client_falls_silent, NO_HEARTBEAT),
    (POLLING, the_client_falls_silent, NO_REQUEST),
    (POLLING, the_poll_breaks, NO_REQUEST),
    (PROTOCOLS, the_application_sends_too_much, TOO_SLOW),
    (PROTOCOLS, on_message_sends_too_much, TOO_SLOW),
    (("websocket",), the_client_sends_binary_frames, (1003, "binary messages are not part of Socket.IO 0.6")),
    (("websocket",), the_client_sends_unmasked_frames, (1002, "a frame from a client must be masked")),
    (("flashsocket",), the_client_sends_a_frame_of_no_type, (1002, "a frame of the unknown type 0x01")),
    (PROTOCOLS, on_message_raises, MESSAGE_FAILED),
    (PROTOCOLS, on_message_waits_for_something_cancelled, MESSAGE_FAILED),
    (PROTOCOLS, on_message_closes_and_raises, NORMAL),
    (PROTOCOLS, on_message_closes, NORMAL),
    (PROTOCOLS, the_application_closes, NORMAL),
    (PROTOCOLS, the_application_closes_with_its_code, OWN),
    (POLLING, the_server_closes_with_a_poll_open, NORMAL),
    (PROTOCOLS, the_server_shuts_down, SHUTDOWN),
    (PROTOCOLS, the_server_shuts_down_behind_that, OWN),
]
TABLE = [(transport, ending, cause) for transports, ending, cause in CAUSES for transport in transports]


@pytest.mark.parametrize(
    ("transport", "ending", "cause"), TABLE, ids=[f"{transport}-{ending.__name__}" for transport, ending, _ in TABLE]
)
async def test_on_close_is_told_what_has_ended_the_connection(site, clock, transport, ending, cause):
    served = site(Telling, SETTINGS)
    # A poll for the greeting would be a return.
    client = await (open_client if ending is the_client_never_returns else greeted)(served, transport)
    [recorder] = Recorder.opened
    assert (recorder.close_code, recorder.close_reason) == (None, "")
    await ending(served, client, clock)
    await recorder.wait_closed()
    assert recorder.told == [cause]
    recorder.close(4999, "nothing changes any more")
    assert (recorder.close_code, recorder.close_reason) == cause


@every_persistent
async def test_a_reset_is_told_from_a_client_that_leaves(serve, each_way, transport):
    """Not over TLS: CPython's SSLSocket shows a reset as an EOF."""
    client = await greeted(serve(Telling), transport)
    await client.leave(reset=True)
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].told == [CONNECTION_BROKE]


@pytest.mark.parametrize("transport", POLLING)
async def test_a_client_that_never_polls_has_not_returned(serve, clock, transport):
    await serve(Telling).shake_hands(transport)
    await clock.advance(11)
    assert Recorder.opened[0].told == [NO_RETURN]


@every_persistent
async def test_a_client_that_does_not_read_is_too_slow_although_it_sends(serve, clock, transport):
    served = serve(Telling, {"max_send_buffer": 100_000_000})
    client = await greeted(served, transport)
    [recorder] = Recorder.opened
    stop_reading(served.wires[0])
    recorder.send(LARGE)
    await served.barrier()
    while not recorder.is_closed:
        with contextlib.suppress(ConnectionError):
            await client.send("still here")
        await clock.advance(25)
    await recorder.wait_closed()
    assert recorder.told == [TOO_SLOW]


# -- What a client is told, too ----------------------------------------------------------------------------------------


async def told_on_websocket(client: Client) -> tuple[int, str]:
    """Code and reason of the close frame that the client gets."""
    assert isinstance(client, SocketClient)
    assert isinstance(client.peer, HybiPeer)
    while (close_frame := client.peer.protocol.close_rcvd) is None:
        await client.peer.next_frame()
    return close_frame.code, close_frame.reason


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (the_client_sends_bad_frames, 1007),
        (the_client_sends_too_much, 1009),
        (the_client_sends_binary_frames, 1003),
        (the_application_closes_with_its_code, 4001),
        (on_message_raises, 1011),
        (the_application_sends_too_much, 1008),
        (the_server_shuts_down, 1001),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_websocket_client_is_told_the_same(serve, clock, each_way, act, code):
    served = serve(Telling, SETTINGS)
    client = await greeted(served)
    await act(served, client, clock)
    told = await told_on_websocket(client)
    assert told[0] == code
    assert told[1]
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].told == [told]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_the_response_to_a_post_that_is_too_large_says_the_same(site, transport):
    served = site(Telling, SETTINGS)
    client = await greeted(served, transport)
    response = await served.post(client.session_id, 2000 * "x", transport=transport)
    assert response.status == 413
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].told == [(1009, response.text)]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize("ending", [the_client_announces_too_much, the_client_sends_chunk_after_chunk])
async def test_a_post_whose_body_is_too_large_ends_with_1009(site, clock, transport, ending):
    served = site(Telling, SETTINGS)
    await ending(served, await greeted(served, transport), clock)
    await Recorder.opened[0].wait_closed()
    [(code, reason)] = Recorder.opened[0].told
    assert code == 1009
    assert reason


@pytest.mark.parametrize("transport", SOCKETS)
async def test_bad_frames_behind_good_ones_end_with_their_code(site, transport):
    served = site(Telling, SETTINGS)
    client = await greeted(served, transport)
    assert isinstance(client, SocketClient)
    await client.peer.send("~m~4~m~good~m~5~m~four")
    assert await client.receive() == ["good"]
    await Recorder.opened[0].wait_closed()
    [(code, reason)] = Recorder.opened[0].told
    assert code == 1007
    assert reason


async def test_a_real_client_sees_the_code_and_the_reason(serve):
    class Closing(tornadio.SocketConnection):
        def on_message(self, message: Any) -> None:
            self.send("bye")
            self.close(4001, "über 😀")

    served = serve(Closing)
    async with websockets.connect(f"ws://127.0.0.1:{served.port}/socket.io/websocket") as socket:
        await socket.recv()
        await socket.send("~m~2~m~go")
        assert await socket.recv() == "~m~3~m~bye"
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4001, "über 😀")


# -- During on_open ----------------------------------------------------------------------------------------------------


@every_transport
@pytest.mark.parametrize("is_coroutine", [False, True], ids=["def", "async-def"])
@pytest.mark.parametrize(
    ("deed", "cause"),
    [
        (refuse, REFUSED),
        (fail, OPEN_FAILED),
        (close, NORMAL),
        (close_and_fail, NORMAL),
        (close_and_refuse, NORMAL),
        (send_too_much, TOO_SLOW),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_on_close_is_told_what_on_open_has_done(site, clock, transport, is_coroutine, deed, cause):
    class Connection(Telling):
        first = staticmethod(deed)

    class Later(Connection):
        async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return super().on_open(request, *args, **kwargs)

    served = site(Later if is_coroutine else Connection, SETTINGS)
    trying = asyncio.gather(open_client(served, transport), return_exceptions=True)
    await until(lambda: Recorder.opened)
    await Recorder.opened[0].wait_closed()
    await trying
    assert Recorder.opened[0].told == [cause]


class SlowToOpen(Telling):
    """Its `on_open` takes until the test says so."""

    go_on: asyncio.Event

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        await self.go_on.wait()


async def started_opening(served: Served, transport: str) -> asyncio.Future[Any]:
    SlowToOpen.go_on = asyncio.Event()
    trying = asyncio.gather(open_client(served, transport), return_exceptions=True)
    await until(lambda: Recorder.opened)
    await served.barrier()
    return trying


@every_transport
async def test_an_on_open_that_takes_too_long_is_told_so(site, clock, transport):
    trying = await started_opening(site(SlowToOpen, {"open_timeout": 3}), transport)
    await clock.advance(4)
    await trying
    assert Recorder.opened[0].told == [OPEN_TIMED_OUT]


@every_transport
@broken_by
async def test_a_client_that_leaves_during_on_open_is_told_from_one_that_breaks(serve, each_way, transport, reset):
    served = serve(SlowToOpen)
    trying = await started_opening(served, transport)
    if reset:
        served.wires[0].reset()
    else:
        await served.wires[0].aclose()
    await until(lambda: Recorder.opened[0].is_closed)
    cause = (Recorder.opened[0].close_code, Recorder.opened[0].close_reason)
    assert Recorder.opened[0].told == []
    SlowToOpen.go_on.set()
    await Recorder.opened[0].wait_closed()
    await trying
    assert Recorder.opened[0].told == [cause] == [lost_by(transport, reset)]


@every_transport
async def test_a_server_that_shuts_down_during_on_open_says_so(site, clock, transport):
    served = site(SlowToOpen)
    trying = await started_opening(served, transport)
    await clock.wait_for(served.server.shutdown(timeout=1))
    await trying
    assert Recorder.opened[0].told == [SHUTDOWN]


# -- While a handler is at work ----------------------------------------------------------------------------------------


class Busy(Telling):
    """Its `on_message` takes until the test says so."""

    go_on: asyncio.Event

    async def on_message(self, message: Any) -> None:
        super().on_message(message)
        await self.go_on.wait()


async def started_working(served: Served, transport: str) -> tuple[Client, asyncio.Future[Any]]:
    Busy.go_on = asyncio.Event()
    client = await greeted(served, transport)
    sending = asyncio.gather(client.send("work"), return_exceptions=True)
    await until(lambda: len(Recorder.opened[0].events) == 2)
    return client, sending


@every_persistent
@broken_by
async def test_a_handler_at_work_does_not_hide_why_its_client_has_gone(serve, each_way, transport, reset):
    served = serve(Busy)
    client, sending = await started_working(served, transport)
    assert await client.receive() == ["work"]  # what is unread when a client closes makes its FIN a RST
    await client.leave(reset)
    await until(lambda: Recorder.opened[0].is_closed)
    assert Recorder.opened[0].told == []
    Busy.go_on.set()
    await Recorder.opened[0].wait_closed()
    await sending
    assert Recorder.opened[0].told == [lost_by(transport, reset)]


@pytest.mark.parametrize("more", ["", "~m~4~m~more"], ids=["at-the-end", "behind-a-message"])
@pytest.mark.parametrize(
    ("last", "cause"),
    [
        (frame(8, b"\x10\x68bye"), (4200, "bye")),
        (b"\x81\x0b~m~4~m~four", (1002, "a frame from a client must be masked")),
        (frame(2, b"~m~4~m~four"), (1003, "binary messages are not part of Socket.IO 0.6")),
    ],
    ids=["close", "unmasked", "binary"],
)
async def test_what_a_client_sent_before_it_left_counts_more_than_that(site, more, last, cause):
    """Its last frame was behind a message whose handler is at work."""
    served = site(Busy)
    client, sending = await started_working(served, "websocket")
    assert await client.receive() == ["work"]
    assert isinstance(client, SocketClient)
    await client.peer.wire.send((frame(1, more) if more else b"") + last)
    await client.leave()
    await served.barrier()
    Busy.go_on.set()
    await Recorder.opened[0].wait_closed()
    await sending
    assert Recorder.opened[0].told == [cause]


@every_transport
async def test_a_handler_that_is_cancelled_at_the_end_of_a_shutdown_knows_of_the_shutdown(site, clock, transport):
    served = site(Busy)
    _, sending = await started_working(served, transport)
    await clock.wait_for(served.server.shutdown(timeout=1))
    await sending
    assert Recorder.opened[0].told == [SHUTDOWN]


FIRST: dict[Ending, tuple[int, str]] = {
    the_application_closes_with_its_code: OWN,
    the_application_sends_too_much: TOO_SLOW,
    the_server_shuts_down: SHUTDOWN,
}


@every_transport
@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(FIRST, 2)), ids=lambda value: value.__name__)
async def test_what_came_first_stays(serve, clock, transport, first, second):
    served = serve(Busy, SETTINGS)
    client, sending = await started_working(served, transport)
    await first(served, client, clock)
    await second(served, client, clock)
    Busy.go_on.set()
    await Recorder.opened[0].wait_closed()
    await sending
    assert Recorder.opened[0].told == [FIRST[first]]


async def test_a_client_that_answers_a_close_frame_with_another_code_changes_nothing(site):
    served = site(Telling)
    client = await greeted(served)
    assert isinstance(client, SocketClient)
    assert isinstance(client.peer, HybiPeer)
    Recorder.opened[0].close(*OWN)
    assert (await client.peer.next_frame()).data[:2] == b"\x0f\xa1"
    await client.peer.wire.send(frame(8, b"\x10\x68bye"))
    await Recorder.opened[0].wait_closed()
    await served.barrier()
    assert Recorder.opened[0].told == [OWN]
    assert (Recorder.opened[0].close_code, Recorder.opened[0].close_reason) == OWN


async def test_a_session_that_cannot_be_written_to_says_that_the_server_failed(serve, monkeypatch):
    served = serve(Telling)
    await greeted(served)

    def fail_to_encode(payload: Payload, encode: Any) -> None:
        raise RuntimeError("as the test asked")

    monkeypatch.setattr(Payload, "encoded", fail_to_encode)
    Recorder.opened[0].send("more")
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].told == [SERVER_FAILED]


# -- What can't be sent ------------------------------------------------------------------------------------------------

BAD = [
    *((code, "") for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, -1, True, 1000.0, "1000", None)),
    (1000, 124 * "x"),
    (1000, 31 * "😀"),
    (1000, "\ud83d"),
    (1000, b"bye"),
    (1000, None),
]


@pytest.mark.parametrize(("code", "reason"), BAD, ids=brief)
async def test_a_code_or_reason_that_cannot_be_sent_is_an_error_and_the_connection_goes_on(serve, code, reason):
    client = await greeted(serve())
    with pytest.raises(CloseError, match=r"close (code|reason)") as caught:
        Recorder.opened[0].close(code, reason)
    assert isinstance(caught.value, CallerError)
    assert isinstance(caught.value, ValueError)
    assert not Recorder.opened[0].is_closed
    await client.send("still here")
    assert await client.receive() == ["still here"]


@every_transport
async def test_the_error_is_raised_into_the_handler(serve, transport, caplog):
    class Closing(Telling):
        def on_message(self, message: Any) -> None:
            self.close(1006)

    served = serve(Closing)
    await say(served, await greeted(served, transport), "go", 500)
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].told == [MESSAGE_FAILED]
    assert "CloseError: 1006 is no close code that may be sent" in caplog.text


@every_transport
async def test_another_thread_closes_with_a_code_too(serve, transport):
    client = await greeted(serve(Telling), transport)
    [recorder] = Recorder.opened
    with pytest.raises(CloseError):
        await asyncio.to_thread(recorder.close, 1006)
    await asyncio.to_thread(recorder.close, 4001, "come back later")
    await recorder.wait_closed()
    assert recorder.told == [OWN]
    if transport == "websocket":
        assert await told_on_websocket(client) == OWN


@pytest.mark.parametrize("code", [*sorted(CLOSE_CODES), 3000, 4999])
async def test_every_code_that_may_be_sent_arrives(serve, code):
    client = await greeted(serve(Telling))
    reason = 123 * "x"
    Recorder.opened[0].close(code, reason)
    assert await told_on_websocket(client) == (code, reason)
    assert Recorder.opened[0].told == [(code, reason)]


# -- As a text ---------------------------------------------------------------------------------------------------------


@every_transport
async def test_repr_names_class_session_transport_and_state(serve, transport):
    shown: list[str] = []

    class ChatConnection(Busy):
        def __init__(self) -> None:
            shown.append(repr(self))
            super().__init__()

        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            shown.append(repr(self))
            return super().on_open(request, *args, **kwargs)

        def on_close(self) -> Any:
            shown.append(repr(self))
            super().on_close()

    served = serve(ChatConnection)
    client, sending = await started_working(served, transport)
    [recorder] = Recorder.opened
    shown.append(repr(recorder))
    recorder.close()
    shown.append(repr(recorder))
    Busy.go_on.set()
    await sending
    await client.ended()
    await recorder.wait_closed()
    identity = f"{recorder.session_id[:8]} {transport}"
    assert shown[0] == "<ChatConnection without a session>"
    assert shown[1:3] == [f"<ChatConnection {identity} {state}>" for state in ("opening", "open")]
    assert repr(recorder) == f"<ChatConnection {identity} closed>"
    assert set(shown[3:]) <= {f"<ChatConnection {identity} {state}>" for state in ("closing", "closed")}
    assert not [text for text in shown if recorder.session_id in text]
