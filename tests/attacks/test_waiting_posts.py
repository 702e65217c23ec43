"""POSTs that wait for their turn: they are bounded, they keep nobody's session, and only what was handled is called so.

A client may post faster than its messages are handled, and needs no connection for what it has sent: what waits has to
be counted where it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.posts_server import each_server, running
from tests.internals import sessions_of
from tests.support import FORM, HTTP_TRANSPORTS, POLLING, STREAMING, Elsewhere, Recorder, Served, limit, until
from tests.vitals import watched_memory
from tornadio import proto

POSTS = 150
MEBIBYTE = 1 << 20
# Two payloads for each session, two on their way through the parser, what is read at once from each socket, and what
# the allocator keeps. Without bounds it would be each of the posts: 150 MiB and more.
SLACK = 32 << 20

FULL = "too many POSTs of this session wait: send the next one when they are answered"
SHUTTING_DOWN = "shutting down, not all of this was handled"
ENDED = "the session has ended, and not all of this was handled"

PAYLOADS = {
    "ASCII": proto.encode((MEBIBYTE - 100) * "x"),
    "an emoji": proto.encode((MEBIBYTE - 100) * "x" + "😀"),
}


async def resident(served: Served) -> int:
    assert isinstance(served, Elsewhere)
    rss: int = (await served.read_json("/vitals"))["rss"]
    return rss


async def vitals_when(served: Elsewhere, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The server's vitals, as soon as they are so."""
    async with limit():
        while not condition(vitals := await served.read_json("/vitals")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return dict(vitals)


async def post_and_leave(served: Served, transport: str, session_id: str, body: bytes) -> None:
    """A POST whose client closes as soon as it has sent it."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):  # it may be refused, or answered, while it leaves
        async with contextlib.aclosing(await served.connect()) as wire:
            await wire.send_request("POST", f"/socket.io/{transport}/{session_id}/send", FORM, body)


def body_of(payload: str) -> bytes:
    return b"data=" + payload.encode()


# -- What waits is bounded ---------------------------------------------------------------------------------------------


@pytest.mark.external
@each_server
@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("transport", ["xhr-polling", "htmlfile"])
async def test_posts_whose_clients_leave_cost_no_more_than_two_payloads(tmp_path, http, transport, payload):
    async with running(tmp_path, http) as served:
        session_id = await served.start(transport)
        process = (await served.read_json("/report"))["process"]
        for _ in range(3):  # a parser and an allocator need once what they need
            await post_and_leave(served, transport, session_id, body_of(PAYLOADS[payload]))
        await post_and_leave(served, transport, session_id, body_of(proto.encode("stay")))
        before = await resident(served)
        async with watched_memory(process) as memory:
            for _ in range(POSTS):
                await post_and_leave(served, transport, session_id, body_of(PAYLOADS[payload]))
        assert max(memory) - before < SLACK


@pytest.mark.external
@each_server
async def test_sessions_whose_clients_have_gone_end_with_all_that_waits_in_them(tmp_path, http):
    async with running(tmp_path, http, session_expiry=2) as served:
        before = await resident(served)
        for _ in range(20):
            session_id, _ = await served.open()
            await post_and_leave(served, "xhr-polling", session_id, body_of(proto.encode("stay")))
            for _ in range(3):
                await post_and_leave(served, "xhr-polling", session_id, body_of(PAYLOADS["an emoji"]))
        vitals = await vitals_when(served, lambda vitals: not {"PollingSession", "Post"} & vitals["objects"].keys())
        assert vitals["connections"] == 0
        assert vitals["rss"] - before < SLACK


@pytest.mark.external
@each_server
@pytest.mark.parametrize("transport", STREAMING)
async def test_what_waits_in_an_ended_session_is_let_go_while_its_handler_goes_on(tmp_path, http, transport):
    sessions = 20
    async with running(tmp_path, http) as served:
        before = await resident(served)
        streams = [await served.open_stream(transport) for _ in range(sessions)]
        for _, session_id in streams:
            await post_and_leave(served, transport, session_id, body_of(proto.encode("hang")))
            for _ in range(2):
                await post_and_leave(served, transport, session_id, body_of(PAYLOADS["ASCII"]))
        await vitals_when(served, lambda vitals: vitals["objects"].get("Post") == 3 * sessions)
        assert await resident(served) - before > sessions * MEBIBYTE
        for stream, _ in streams:
            stream.wire.reset()
        vitals = await vitals_when(served, lambda vitals: "Post" not in vitals["objects"])
        assert vitals["sessions"] == 0
        assert vitals["tasks"] >= sessions
        assert vitals["rss"] - before < SLACK


class Slow(Recorder):
    """Each message waits until it may be handled."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Semaphore(0)

    async def on_message(self, message: Any) -> None:
        self.events.append(("begins", message))
        await self.may_go_on.acquire()
        self.events.append(("ends", message))


def handled(connection: Recorder) -> list[Any]:
    return [event[1] for event in connection.events if event[0] == "ends"]


async def start_post(
    served: Served, session_id: str, message: Any, transport: str = "xhr-polling"
) -> asyncio.Task[Any]:
    """A POST that the server has taken, or refused, when this returns."""
    post = asyncio.create_task(served.post(session_id, message, transport=transport))
    await served.barrier()
    return post


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_the_seventeenth_post_is_refused_and_sixteen_are_handled_in_order(serve, transport, each_http):
    served = serve(Slow)
    session_id = await served.start(transport)
    [connection] = Recorder.opened
    posts = [await start_post(served, session_id, number, transport) for number in range(16)]
    response = await served.post(session_id, 16, transport=transport)
    assert (response.status, response.text) == (503, FULL)
    other = await served.start(transport)
    Recorder.opened[1].may_go_on.release()
    assert (await served.post(other, "another session's", transport=transport)).text == "ok"
    connection.may_go_on.release()
    assert (await posts[0]).text == "ok"
    last = await start_post(served, session_id, 17, transport)
    for _ in range(16):
        connection.may_go_on.release()
    assert [(await post).text for post in [*posts, last]] == 17 * ["ok"]
    assert handled(connection) == [*range(16), 17]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize("length", ["Content-Length", "chunks"])
async def test_more_bytes_than_two_payloads_have_are_refused_before_their_end(serve, transport, length, each_http):
    served = serve(Slow, {"max_message_size": 19_989, "max_payload_size": 20_000})
    session_id = await served.start(transport)
    [connection] = Recorder.opened
    posts = [await start_post(served, session_id, 15_000 * letter, transport) for letter in "ab"]
    wire = await served.connect()
    framing = {"Content-Length": "45000"} if length == "Content-Length" else {"Transfer-Encoding": "chunked"}
    await wire.send_request("POST", f"/socket.io/{transport}/{session_id}/send", FORM | framing)
    if length == "chunks":
        await wire.send(b"ffff\r\n")
    await wire.send(b"data=" + 10_100 * b"%78")  # and no end
    response = await wire.read_response()
    assert (response.status, response.text) == (503, FULL)
    small = await start_post(served, session_id, "small", transport)
    for _ in range(3):
        connection.may_go_on.release()
    assert [(await post).text for post in [*posts, small]] == 3 * ["ok"]
    assert handled(connection) == [15_000 * "a", 15_000 * "b", "small"]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_what_waits_is_counted_decoded(serve, transport, each_http):
    served = serve(Slow, {"max_message_size": 19_989, "max_payload_size": 20_000})
    session_id = await served.start(transport)
    [connection] = Recorder.opened
    message = 6_000 * "中"  # 18,000 bytes, which are 54,000 percent-encoded
    posts = [await start_post(served, session_id, message, transport) for _ in range(2)]
    for _ in range(2):
        connection.may_go_on.release()
    assert [(await post).text for post in posts] == 2 * ["ok"]
    assert handled(connection) == 2 * [message]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_one_post_has_all_the_room_that_its_encoding_takes(serve, transport):
    served = serve(settings={"max_message_size": 29_980, "max_payload_size": 30_000})
    session_id = await served.start(transport)
    assert (await served.post(session_id, 9990 * "中", transport=transport)).text == "ok"


@pytest.mark.parametrize("broken", ["closed", "reset"])
async def test_a_body_that_never_comes_as_a_whole_takes_no_room(serve, broken):
    served = serve(settings={"max_message_size": 19_989, "max_payload_size": 20_000})
    session_id, _ = await served.open()
    for _ in range(20):
        wire = await served.connect()
        head = FORM | {"Content-Length": "50000"}
        await wire.send_request("POST", f"/socket.io/xhr-polling/{session_id}/send", head, b"data=" + 9000 * b"x")
        await served.barrier()
        if broken == "reset":
            wire.reset()
        else:
            await wire.aclose()
        await served.barrier()
        assert (await served.post(session_id, "hello")).text == "ok"


# -- Whose client has gone ---------------------------------------------------------------------------------------------


class Staying(Recorder):
    """Its handler stays as long as the connection."""

    async def on_message(self, message: Any) -> None:
        self.events.append(("message", message))
        while not self.is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        self.events.append(("ends", message))


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_session_whose_client_has_gone_expires_during_its_post(serve, clock, transport, how, each_http):
    served = serve(Staying, {"session_expiry": 10, "session_check_interval": 1, "xhr_polling_timeout": 600})
    session_id, _ = await served.open(transport)
    await served.start_poll(session_id, transport)
    path = f"/socket.io/{transport}/{session_id}/send"
    for message in ("first", "second"):
        posting = await served.connect()
        await posting.send_request("POST", path, FORM, body_of(proto.encode(message)))
        await served.barrier()
    [connection] = Recorder.opened
    await clock.advance(60)
    assert not connection.is_closed  # its client is there
    for wire in served.wires:
        if how == "reset":
            wire.reset()
        else:
            await wire.aclose()
    await served.barrier()
    await clock.advance(8)
    assert not connection.is_closed
    await clock.advance(4)
    assert connection.is_closed
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("message", "first"), ("ends", "first"), ("close",)]
    assert sessions_of(served.router) == []


@pytest.mark.parametrize("transport", STREAMING)
async def test_a_stream_that_ends_during_its_post_ends_the_handler_that_asks(serve, transport, each_http):
    served = serve(Staying)
    stream, session_id = await served.open_stream(transport)
    for message in ("first", "second"):
        wire = await served.connect()
        path = f"/socket.io/{transport}/{session_id}/send"
        await wire.send_request("POST", path, FORM, body_of(proto.encode(message)))
        await served.barrier()
        wire.reset()
    stream.wire.reset()
    [connection] = Recorder.opened
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("message", "first"), ("ends", "first"), ("close",)]


@pytest.mark.parametrize("transport", POLLING)
async def test_what_was_taken_from_a_session_that_lives_is_handled_although_the_post_is_gone(serve, transport):
    served = serve(Slow)
    session_id, _ = await served.open(transport)
    [connection] = Recorder.opened
    for number in range(10):
        await post_and_leave(served, transport, session_id, body_of(proto.encode([number, f"and {number}"])))
        await served.barrier()
    for _ in range(20):
        connection.may_go_on.release()
    await until(lambda: len(handled(connection)) == 20)
    assert handled(connection) == [message for number in range(10) for message in (number, f"and {number}")]


# -- What was not handled is not called handled ------------------------------------------------------------------------


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_at_a_shutdown_a_post_is_answered_200_if_it_was_handled_and_503_else(serve, transport, each_http):
    served = serve(Slow)
    session_id = await served.start(transport)
    posts = [await start_post(served, session_id, number, transport) for number in range(16)]
    [connection] = Recorder.opened
    stopping = asyncio.create_task(served.server.shutdown(timeout=30))
    async with limit():
        responses = await asyncio.gather(*posts[1:])
    assert [(response.status, response.text) for response in responses] == 15 * [(503, SHUTTING_DOWN)]
    assert not posts[0].done()
    connection.may_go_on.release()
    assert (await posts[0]).text == "ok"
    async with limit():
        await stopping
    assert connection.events == [("open", ""), ("begins", 0), ("ends", 0), ("close",)]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_post_that_is_not_handled_until_the_deadline_of_a_shutdown_is_answered_503(serve, transport, each_http):
    served = serve(Slow)
    session_id = await served.start(transport)
    posts = [await start_post(served, session_id, number, transport) for number in range(3)]
    async with limit():
        await served.server.shutdown(timeout=0.2)
        responses = await asyncio.gather(*posts)
    assert [(response.status, response.text) for response in responses] == 3 * [(503, SHUTTING_DOWN)]
    assert handled(Recorder.opened[0]) == []


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_posts_of_a_session_that_the_application_closes_are_answered_401_if_not_handled(
    serve, transport, each_http
):
    served = serve(Slow)
    session_id = await served.start(transport)
    first = await start_post(served, session_id, ["one", "two"], transport)
    posts = [first, *[await start_post(served, session_id, number, transport) for number in range(3)]]
    [connection] = Recorder.opened
    connection.close()
    async with limit():
        responses = await asyncio.gather(*posts)
    assert [(response.status, response.text) for response in responses] == 4 * [(401, ENDED)]
    connection.may_go_on.release()
    await connection.wait_closed()
    assert handled(connection) == ["one"]
