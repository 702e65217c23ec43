"""A POST without a body ends its session: so a client says that it has left."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.internals import has_channel, sessions_of
from tests.support import (
    BARE_FORM,
    FORM,
    HTTP_TRANSPORTS,
    LARGE,
    POLLING,
    STREAMING,
    Recorder,
    Response,
    Serve,
    Served,
    until,
)
from tornadio import proto

pytestmark = [pytest.mark.usefixtures("each_way")]

every_transport = pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
LEFT = (1005, "the client closed the connection")


def post_path(transport: str, session_id: str) -> str:
    return f"/socket.io/{transport}/{session_id}/" + ("1290000000000/0" if transport == "jsonp-polling" else "send")


async def leave(
    served: Served, transport: str, session_id: str, headers: dict[str, str | None] | None = None
) -> Response:
    headers = {"Content-Length": "0"} if headers is None else headers
    return await served.request("POST", post_path(transport, session_id), headers)


def assert_left(connection: Recorder) -> None:
    assert connection.events[-1] == ("close",)
    assert connection.events.count(("close",)) == 1
    assert (connection.close_code, connection.close_reason) == LEFT


@every_transport
@pytest.mark.parametrize(
    "headers",
    [
        {},
        FORM,
        BARE_FORM,
        {"Content-Type": "text/plain;charset=UTF-8"},  # that of navigator.sendBeacon
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Origin": "http://127.0.0.1:8080"},
    ],
)
async def test_it_ends_the_session(serve, caplog, transport, headers):
    served = serve()
    session_id = await served.start(transport)
    [connection] = served.router.connections
    response = await leave(served, transport, session_id, {**headers, "Content-Length": "0"})
    assert (response.status, response.text) == (200, "ok")
    await connection.wait_closed()
    assert_left(connection)
    await until(lambda: not sessions_of(served.router))
    assert (await leave(served, transport, session_id)).status == 401
    assert (await served.post(session_id, "late", transport=transport)).status == 401
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@every_transport
async def test_so_does_one_in_chunks_that_has_none(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    [connection] = served.router.connections
    response = await served.request(
        "POST", post_path(transport, session_id), {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"
    )
    assert (response.status, response.text) == (200, "ok")
    await connection.wait_closed()
    assert_left(connection)


@every_transport
@pytest.mark.parametrize("body", [b"data=", b"&", b"other=1", b" "])
async def test_a_body_that_holds_no_frames_does_not(serve, transport, body):
    served = serve()
    session_id = await served.start(transport)
    response = await served.request("POST", post_path(transport, session_id), BARE_FORM, body)
    assert response.status == (200 if body == b"data=" else 400)
    assert (await served.post(session_id, "still here", transport=transport)).status == 200
    assert Recorder.opened[0].events == [("open", ""), ("message", "still here")]


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_that_waits_is_answered(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    [connection] = served.router.connections
    poll = await served.start_poll(session_id, transport)
    assert (await leave(served, transport, session_id)).status == 200
    response = await poll.read_response()
    assert response.status == 200
    assert response.text in ("", 'io.JSONP[0]._("");')
    await connection.wait_closed()
    assert (await served.poll(session_id, transport)).status == 401


@pytest.mark.parametrize("transport", POLLING)
async def test_what_waits_for_a_poll_is_kept_for_a_client_that_returns(serve, transport):
    """As a browser's does that changes to another transport."""
    served = serve()
    session_id, _ = await served.open(transport)
    [connection] = served.router.connections
    connection.send("the last")
    assert (await leave(served, transport, session_id)).status == 200
    await connection.wait_closed()
    assert_left(connection)
    assert list(served.router.connections) == []
    assert "the last" in (await served.poll(session_id, transport)).text
    assert sessions_of(served.router) == []


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_under_way_still_gets_what_is_queued(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    [connection] = served.router.connections
    poll = await served.start_poll(session_id, transport)
    connection.send(LARGE)
    assert (await leave(served, transport, session_id)).status == 200
    await connection.wait_closed()
    assert LARGE in (await poll.read_response()).text
    await until(lambda: not sessions_of(served.router))


@pytest.mark.parametrize("transport", STREAMING)
async def test_a_stream_ends_with_what_is_queued(serve, transport):
    served = serve()
    stream, session_id = await served.open_stream(transport)
    [connection] = served.router.connections
    assert await stream.read_payload() == "~m~7~m~welcome"
    connection.send(LARGE)
    connection.send("last")
    assert (await leave(served, transport, session_id)).status == 200
    await connection.wait_closed()
    assert_left(connection)
    received = ""
    while payload := await stream.read_payload():
        received += payload
    assert received == proto.encode([LARGE, "last"])


class Slow(Recorder):
    """Handles a message when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Event()

    async def on_message(self, message: Any) -> None:
        self.events.append(("begin", message))
        await self.may_go_on.wait()
        self.events.append(("message", message))


async def at_work(serve: Serve, transport: str) -> tuple[Served, str, Slow, asyncio.Future[Any]]:
    """A server, a session's id, its connection, which handles a message, and the POST of that."""
    served = serve(Slow)
    session_id = await served.start(transport)
    [connection] = served.router.connections
    assert isinstance(connection, Slow)
    before = asyncio.ensure_future(served.post(session_id, "a", transport=transport))
    await until(lambda: ("begin", "a") in connection.events)
    return served, session_id, connection, before


@every_transport
async def test_what_came_before_is_handled_first_and_what_comes_behind_is_not(serve, transport):
    served = serve(Slow)
    session_id = await served.start(transport)
    [connection] = served.router.connections
    before = [asyncio.ensure_future(served.post(session_id, text, transport=transport)) for text in ("a", "b")]
    await until(lambda: ("begin", "a") in connection.events or ("begin", "b") in connection.events)
    await served.barrier()
    assert (await leave(served, transport, session_id)).status == 200  # and waits for nothing
    behind = asyncio.ensure_future(served.post(session_id, "c", transport=transport))
    await served.barrier()
    assert connection.is_closed
    connection.may_go_on.set()
    await connection.wait_closed()
    assert [response.status for response in await asyncio.gather(*before)] == [200, 200]
    assert (await behind).status == 401
    handled = [message for name, *message in connection.events if name == "message"]
    assert sorted(handled) == [["a"], ["b"]]
    assert_left(connection)


@every_transport
async def test_a_handler_that_asks_ends_at_once(serve, transport):
    class Asking(Recorder):
        async def on_message(self, message: Any) -> None:
            while not self.is_closed:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self.events.append((message, self.close_code, self.close_reason))

    served = serve(Asking)
    session_id = await served.start(transport)
    [connection] = Recorder.opened
    posting = [asyncio.ensure_future(served.post(session_id, text, transport=transport)) for text in ("a", "a")]
    await served.barrier()
    assert (await leave(served, transport, session_id)).status == 200
    assert [response.status for response in await asyncio.gather(*posting)] == [200, 200]
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("a", *LEFT), ("a", *LEFT), ("close",)]


@every_transport
async def test_an_application_that_closes_before_its_turn_has_the_last_word(serve, transport):
    served, session_id, connection, before = await at_work(serve, transport)
    assert (await leave(served, transport, session_id)).status == 200
    connection.close(3000, "of its own")
    assert (await before).status == 200
    connection.may_go_on.set()
    await connection.wait_closed()
    assert (connection.close_code, connection.close_reason) == (3000, "of its own")


@pytest.mark.parametrize("transport", POLLING)
async def test_one_behind_a_handler_that_never_ends_does_not_keep_the_session(serve, clock, transport):
    served = serve(Slow, {"session_expiry": 30})
    session_id, _ = await served.open(transport)
    [connection] = served.router.connections
    wire, beacon = await served.connect(), await served.connect()
    await wire.send_request("POST", post_path(transport, session_id), BARE_FORM, b"data=~m~1~m~x")
    await until(lambda: ("begin", "x") in connection.events)
    await beacon.send_request("POST", post_path(transport, session_id), {"Content-Length": "0"})
    assert (await beacon.read_response()).status == 200  # and its connection is kept alive
    await wire.aclose()
    await served.barrier()
    await clock.advance(60)
    assert connection.is_closed
    connection.may_go_on.set()
    await connection.wait_closed()


@every_transport
async def test_so_many_behind_a_handler_are_refused(serve, transport):
    served, session_id, connection, before = await at_work(serve, transport)
    statuses = [(await leave(served, transport, session_id)).status for _ in range(20)]
    assert statuses == 15 * [200] + 5 * [503]
    connection.may_go_on.set()
    assert (await before).status == 200
    await connection.wait_closed()
    await until(lambda: not sessions_of(served.router))
    assert_left(connection)


@every_transport
async def test_of_two_at_once_one_ends_it(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    [connection] = served.router.connections
    responses = await asyncio.gather(*[leave(served, transport, session_id) for _ in range(2)])
    assert {response.status for response in responses} <= {200, 401}
    assert 200 in {response.status for response in responses}
    await connection.wait_closed()
    assert_left(connection)


@every_transport
async def test_another_sites_page_cannot_end_it(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    headers: dict[str, str | None] = {"Content-Length": "0"}
    for page in ({"Origin": "http://evil.example"}, {"Referer": "http://evil.example/"}, {"Origin": "null"}):
        assert (await leave(served, transport, session_id, {**headers, **page})).status == 403
    [session] = sessions_of(served.router)
    assert not session.is_closed
    assert has_channel(session) == (transport in STREAMING)


@every_transport
async def test_under_another_transport_it_ends_nothing(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    for other in set(HTTP_TRANSPORTS) - {transport}:
        assert (await leave(served, other, session_id)).status == 401
    assert len(served.router.connections) == 1
    assert (await leave(served, transport, "")).status == 400
