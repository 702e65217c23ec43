"""What both streaming transports share: one long GET carries all payloads, and the session lasts as long as it."""

import asyncio

import pytest

from tests.support import FORM, LARGE, STREAMING, Recorder, Served, Stream, until
from tornadio import proto

pytestmark = [pytest.mark.parametrize("transport", STREAMING), pytest.mark.usefixtures("each_way")]


async def greeted_stream(served: Served, transport: str) -> tuple[Stream, str]:
    """A session whose greeting has been read."""
    stream, session_id = await served.open_stream(transport)
    assert await stream.read_payload() == "~m~7~m~welcome"
    return stream, session_id


# -- The response ------------------------------------------------------------------------------------------------------


async def test_the_session_id_comes_first_and_alone(serve, transport):
    served = serve()
    stream = await served.stream(transport)
    session_id = served.router.connections[0].session_id
    assert await stream.read_payload() == proto.encode(session_id)
    assert await stream.read_payload() == "~m~7~m~welcome"
    assert set(session_id) <= set("0123456789abcdefghijklmnopqrstuvwxyz")


async def test_the_response_is_chunked(serve, transport):
    head = (await serve().stream(transport)).head
    assert head.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in head.headers


async def test_nothing_on_the_way_may_keep_it_back(serve, transport):
    headers = (await serve().stream(transport)).head.headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert "etag" not in headers


async def test_messages_arrive_as_they_are_sent(serve, transport):
    served = serve()
    stream, session_id = await greeted_stream(served, transport)
    for message in ["hello", "é中😀", {"a": [1, None]}, "</script><b>\u2028'\"\\&", "--socketio\n~m~3~m~abc", " \n"]:
        assert (await served.post(session_id, message, transport=transport)).text == "ok"
        assert await stream.read_payload() == proto.encode(message)


async def test_everything_sent_in_one_turn_of_the_loop_travels_together(serve, transport):
    served = serve()
    stream, _ = await greeted_stream(served, transport)
    messages = [str(number) for number in range(100)]
    for message in messages:
        served.router.broadcast(message)
    assert await stream.read_payload() == proto.encode(messages)


async def test_a_large_message_arrives_whole(serve, transport):
    served = serve()
    stream, _ = await greeted_stream(served, transport)
    served.router.broadcast(LARGE)
    served.router.broadcast("after")
    assert await stream.read_payload() == proto.encode(LARGE)
    assert await stream.read_payload() == proto.encode("after")


async def test_http_1_0_clients_get_it_unchunked_until_the_connection_ends(serve, clock, transport):
    # Time stands still: no timeout ends the connection, although it was to be kept alive.
    served = serve()
    wire = await served.connect()
    await wire.send(
        f"GET /socket.io/{transport}/ HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n".encode()
    )
    head = await wire.read_head()
    assert head.status == 200
    assert "transfer-encoding" not in head.headers
    connection = served.router.connections[0]
    connection.send("bye")
    connection.close()
    body = (await wire.read_to_end()).decode()
    for text in ["~m~32~m~" + connection.session_id, "~m~7~m~welcome", "~m~3~m~bye"]:
        assert text in body
    assert "\r\n" not in body


async def test_an_application_that_compresses_its_responses_leaves_streams_alone(serve, transport):
    served = serve(application={"compress_response": True})
    stream = await served.stream(transport, headers={"Accept-Encoding": "gzip"})
    assert stream.head.headers.get("content-encoding", "identity") == "identity"
    session_id = served.router.connections[0].session_id
    assert await stream.read_payload() == proto.encode(session_id)
    assert await stream.read_payload() == "~m~7~m~welcome"


async def test_a_connection_is_closed_after_a_stream(serve, transport):
    served = serve()
    stream, session_id = await greeted_stream(served, transport)
    assert stream.head.headers["connection"] == "close"
    await stream.wire.send_request("GET", "/socket.io/socket.io.js")  # which nobody reads as a request
    await served.post(session_id, "close", transport=transport)
    assert await stream.read_payload() == ""
    assert await stream.wire.read_to_end() == b""


# -- Ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_the_session_ends_with_its_connection(serve, clock, transport, end):
    # Time stands still: no heartbeat finds out.
    served = serve()
    stream, session_id = await greeted_stream(served, transport)
    connection = served.router.connections[0]
    if end == "RST":
        stream.wire.reset()
    else:
        await stream.aclose()
    await connection.wait_closed()
    assert connection.is_closed
    assert served.router.connections == ()
    assert (await served.post(session_id, "x", transport=transport)).status == 401
    assert connection.events == [("open", ""), ("close",)]


async def test_the_session_ends_with_its_connection_also_in_the_middle_of_a_payload(serve, clock, transport):
    served = serve()
    stream, _ = await greeted_stream(served, transport)
    connection = served.router.connections[0]
    connection.send(LARGE)
    await stream.wire.read_until(b"\r\n")
    stream.wire.reset()
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("close",)]


async def test_close_ends_the_stream_with_what_was_queued(serve, transport):
    served = serve()
    stream, session_id = await greeted_stream(served, transport)
    connection = served.router.connections[0]
    connection.send("bye")
    connection.close()
    assert connection.is_closed
    connection.send("too late")
    assert await stream.read_payload() == "~m~3~m~bye"
    assert await stream.read_payload() == ""
    await connection.wait_closed()
    assert (await served.post(session_id, "x", transport=transport)).status == 401
    assert (await served.request("GET", f"/socket.io/{transport}/{session_id}/1")).status == 401
    assert connection.events == [("open", ""), ("close",)]


async def test_close_waits_for_a_slow_reader(serve, transport):
    served = serve()
    stream, _ = await greeted_stream(served, transport)
    connection = served.router.connections[0]
    connection.send(LARGE)
    connection.send("bye")
    connection.close()
    await connection.wait_closed()
    await served.barrier()
    assert await stream.read_payload() == proto.encode(LARGE)
    assert await stream.read_payload() == "~m~3~m~bye"
    assert await stream.read_payload() == ""


async def test_on_open_may_send_and_close(serve, transport):
    class Goodbye(Recorder):
        def on_open(self, request, *args, **kwargs):
            super().on_open(request, *args, **kwargs)
            self.close()

    served = serve(Goodbye)
    stream, _ = await served.open_stream(transport)
    assert await stream.read_payload() == "~m~7~m~welcome"
    assert await stream.read_payload() == ""
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]


async def test_an_ended_stream_leaves_no_task_behind(serve, transport):
    served = serve()
    await served.barrier()
    before = len(asyncio.all_tasks())
    for _ in range(5):
        stream, _ = await greeted_stream(served, transport)
        await stream.aclose()
        stream, session_id = await greeted_stream(served, transport)
        await served.post(session_id, "close", transport=transport)
        assert await stream.read_payload() == ""
        await stream.aclose()
    await until(lambda: len(asyncio.all_tasks()) <= before)


# -- Takeover ----------------------------------------------------------------------------------------------------------


async def test_a_second_get_takes_over_and_the_first_is_ended(serve, transport):
    served = serve()
    first, session_id = await greeted_stream(served, transport)
    second = await served.stream(transport, session_id)
    assert await first.read_payload() == ""
    served.router.broadcast("news")
    assert await second.read_payload() == "~m~4~m~news"
    assert Recorder.opened[0].events == [("open", "")]


async def test_after_a_takeover_the_end_of_the_first_connection_means_nothing(serve, transport):
    served = serve()
    first, session_id = await greeted_stream(served, transport)
    second = await served.stream(transport, session_id)
    first.wire.reset()
    await served.barrier()
    served.router.broadcast("news")
    assert await second.read_payload() == "~m~4~m~news"


async def test_after_a_takeover_the_end_of_the_second_connection_ends_the_session(serve, clock, transport):
    served = serve()
    _, session_id = await greeted_stream(served, transport)
    await (await served.stream(transport, session_id)).aclose()
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]


async def test_what_the_first_stream_did_not_take_comes_on_the_second(serve, transport):
    served = serve()
    first, session_id = await greeted_stream(served, transport)
    served.router.broadcast(LARGE)
    await first.wire.read_until(b"\r\n")
    served.router.broadcast("after")
    second = await served.stream(transport, session_id)
    assert await second.read_payload() == proto.encode(LARGE)
    assert await second.read_payload() == proto.encode("after")
    assert len(await first.wire.read_to_end()) < len(LARGE)


async def test_streams_that_take_over_from_each_other_lose_nothing(serve, transport):
    served = serve()
    stream, session_id = await greeted_stream(served, transport)
    received = ""
    for number in range(20):
        served.router.broadcast(str(number))
        following = await served.stream(transport, session_id)
        while payload := await stream.read_payload():
            received += payload
        stream = following
    served.router.broadcast("end")
    while not received.endswith("~m~3~m~end"):
        received += await stream.read_payload()
    assert received == proto.encode([*map(str, range(20)), "end"])


async def test_a_client_whose_post_comes_slowly_is_alive(serve, clock, transport):
    """It sends one POST after the other: no echo of a heartbeat before the end of this one."""
    served = serve(server={"body_timeout": 300})
    _, session_id = await served.open_stream(transport)
    body = b"data=" + proto.encode("x" * 1000).encode()
    wire = await served.connect()
    path = f"/socket.io/{transport}/{session_id}/send"
    await wire.send_request("POST", path, {**FORM, "Content-Length": str(len(body))})
    for position in range(0, len(body), 100):
        await clock.advance(7)
        await wire.send(body[position : position + 100])
        await served.barrier()
    assert (await wire.read_response()).status == 200
    [connection] = Recorder.opened
    assert connection.events == [("open", ""), ("message", "x" * 1000)]
