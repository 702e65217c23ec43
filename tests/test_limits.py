"""What happens past max_message_size, max_payload_size, max_send_buffer and max_sessions over HTTP."""

import asyncio
import logging
from typing import Any
from urllib.parse import quote

import pytest
import simplejson

from tests.support import FORM, HTTP_TRANSPORTS, POLLING, STREAMING, ClientStream, Recorder, Served, jsonp_payload
from tests.texts import json_frame
from tornadio import proto

pytestmark = pytest.mark.usefixtures("each_way")

PAGE = {"Origin": "http://127.0.0.1:8080"}
# A body may have 3 bytes for each byte of the payload, and 4096 of other fields.
SMALL = {"max_message_size": 1000, "max_payload_size": 2000}
SMALL_BODY = 3 * 2000 + 4096
MESSAGE_TOO_LARGE = "a message of more than 1000 bytes (max_message_size): send it in parts"
PAYLOAD_TOO_LARGE = "the field data has more than 2000 bytes (max_payload_size): send fewer messages at once"
BODY_TOO_LARGE = (
    f"the body is larger than {SMALL_BODY} bytes, as a payload of 2000 (max_payload_size) may be encoded: "
    "send fewer messages at once"
)
# Texts of 1000 bytes; as JSON with its mark.
OF_THE_LIMIT = {
    "ASCII": 1000 * "x",
    "two bytes each": 500 * "é",
    "three bytes each": 333 * "中" + "x",
    "emoji": 250 * "😀",
    "newlines": 500 * "\n" + 500 * "x",
    "JSON": ["x" * (1000 - len('~j~["", 1]')), 1],
}

# So many messages of 10,000 bytes are more than the sockets of a client that does not read hold, and the limit.
MORE_THAN_SOCKETS_TAKE = 3000

every_transport = pytest.mark.parametrize("transport", HTTP_TRANSPORTS)


class Coroutines(Recorder):
    """The same with a handler that is a coroutine."""

    async def on_message(self, message: Any) -> None:
        super().on_message(message)


def payload_of_size(size: int) -> str:
    """A payload of frames that has so many bytes, at least 20, of which none is near the limit of a message."""
    frames, rest = divmod(size - 20, 10)
    return frames * proto.encode("abc") + proto.encode((12 + rest) * "x")


def frame(message: object) -> str:
    """The frame of a message, a list as JSON."""
    return proto.encode(message) if isinstance(message, str) else json_frame(simplejson.dumps(message))


def one_byte_more(message: object) -> object:
    return message + "x" if isinstance(message, str) else [message[0] + "x", 1]  # type: ignore[index]


async def start_post(served: Served, transport: str, session_id: str, headers: dict[str, str]) -> ClientStream:
    """The headers of a POST, without its body."""
    wire = await served.connect()
    await wire.send_request("POST", f"/socket.io/{transport}/{session_id}/send", {**PAGE, **FORM, **headers})
    return wire


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("tornadio") and record.levelno >= logging.WARNING
    ]


# -- max_message_size --------------------------------------------------------------------------------------------------


@every_transport
@pytest.mark.parametrize("kind", OF_THE_LIMIT)
@pytest.mark.parametrize("connection_class", [Recorder, Coroutines])
async def test_a_message_of_the_limit_is_taken_and_a_larger_one_is_413_and_ends_the_session(
    serve, transport, kind, connection_class
):
    served = serve(connection_class, settings=SMALL | {"max_payload_size": 4000})
    session_id = await served.start(transport)
    message = OF_THE_LIMIT[kind]
    data = frame(message)
    if transport == "jsonp-polling":  # as a form sends it
        data = data.replace("\n", "\r\n")
    assert (await served.post_data(session_id, data, transport)).text == "ok"
    data = frame("good") + frame(one_byte_more(message)) + frame("behind it")
    response = await served.post_data(session_id, data, transport)
    assert (response.status, response.text) == (413, f"frame 2: {MESSAGE_TOO_LARGE}")
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("message", message), ("message", "good"), ("close",)]
    assert (await served.post(session_id, "x", transport=transport)).status == 401


async def test_a_message_may_have_1_mib_and_a_payload_8_mib_by_default(serve):
    served = serve()
    session_id, _ = await served.open()
    mebibyte = proto.encode((1 << 20) * "x")
    assert (await served.post_data(session_id, 7 * mebibyte)).text == "ok"
    assert [event[0] for event in Recorder.opened[0].events] == ["open", *(7 * ["message"])]
    assert (await served.post_data(session_id, 8 * mebibyte)).status == 413
    session_id, _ = await served.open()
    assert (await served.post_data(session_id, proto.encode(((1 << 20) + 1) * "x"))).status == 413


# -- max_payload_size --------------------------------------------------------------------------------------------------


@every_transport
async def test_a_payload_of_the_limit_is_taken(serve, transport):
    served = serve(settings=SMALL)
    session_id = await served.start(transport)
    data = payload_of_size(2000)
    assert len(data) == 2000
    assert (await served.post_data(session_id, data, transport)).text == "ok"
    assert [name for name, *_ in Recorder.opened[0].events] == ["open", *(199 * ["message"])]


@every_transport
@pytest.mark.parametrize("data", [payload_of_size(2001), 3 * proto.encode(340 * "é")], ids=["ASCII", "é"])
async def test_a_payload_past_the_limit_is_413_and_ends_the_session(serve, transport, data):
    served = serve(settings=SMALL)
    session_id = await served.start(transport)
    response = await served.post_data(session_id, data, transport)
    assert (response.status, response.text) == (413, PAYLOAD_TOO_LARGE)
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    assert (await served.post(session_id, "x", transport=transport)).status == 401


@every_transport
@pytest.mark.parametrize("pieces", [1, 7, 100])
async def test_the_limit_counts_the_decoded_payload_however_it_comes(serve, transport, pieces):
    served = serve(settings=SMALL)
    session_id = await served.start(transport)
    data = payload_of_size(2000)
    body = b"data=" + "".join(f"%{byte:02x}" for byte in data.encode()).encode()
    wire = await start_post(served, transport, session_id, {"Content-Length": str(len(body))})
    for start in range(0, len(body), len(body) // pieces):
        await wire.send(body[start : start + len(body) // pieces])
        if pieces <= 7:
            await served.barrier()
    assert (await wire.read_response()).text == "ok"
    assert len(Recorder.opened[0].events) == 200


async def test_a_multipart_payload_has_the_same_limit(serve):
    served = serve(settings=SMALL)
    session_id, _ = await served.open()
    field = '--XX\r\nContent-Disposition: form-data; name="data"\r\n\r\n{}\r\n--XX--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=XX"}
    for payload, status in [
        (proto.encode(1000 * "x"), 200),
        (payload_of_size(2000), 200),
        (payload_of_size(2001), 413),
    ]:
        body = field.format(payload).encode()
        response = await served.request("POST", f"/socket.io/xhr-polling/{session_id}/send", headers, body)
        assert response.status == status


async def test_a_body_of_three_times_the_limit_and_other_fields_is_read(serve):
    served = serve(settings=SMALL)
    session_id, _ = await served.open()
    body = b"data=~m~1~m~x&other=".ljust(SMALL_BODY, b"y")
    response = await served.request("POST", f"/socket.io/xhr-polling/{session_id}/send", FORM, body)
    assert response.text == "ok"


@every_transport
@pytest.mark.parametrize("framing", ["Content-Length", "chunks"])
async def test_a_payload_is_refused_as_soon_as_it_is_too_large_although_its_body_has_not_ended(
    serve, transport, framing
):
    served = serve(settings=SMALL)
    session_id = await served.start(transport)
    length = {"Content-Length": str(SMALL_BODY)} if framing == "Content-Length" else {"Transfer-Encoding": "chunked"}
    wire = await start_post(served, transport, session_id, length)
    pieces = [b"data=", quote(payload_of_size(2000)).encode(), b"x"]
    for piece in pieces:
        await served.barrier()
        await wire.send(piece if framing == "Content-Length" else b"%x\r\n%b\r\n" % (len(piece), piece))
    response = await wire.read_response()
    assert (response.status, response.text) == (413, PAYLOAD_TOO_LARGE)
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"
    assert response.headers["connection"] == "close"
    assert await wire.read_to_end() == b""
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]


@every_transport
@pytest.mark.parametrize("length", [SMALL_BODY + 1, 10**12, 10**18])
async def test_a_longer_body_is_refused_unread(serve, transport, length):
    served = serve(settings=SMALL)
    session_id = await served.start(transport)
    wire = await start_post(served, transport, session_id, {"Content-Length": str(length)})
    response = await wire.read_response()
    assert response.status == 413
    assert response.text == BODY_TOO_LARGE
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"
    assert response.headers["connection"] == "close"
    assert await wire.read_to_end() == b""
    await wire.aclose()
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]


async def test_a_client_that_asks_before_it_sends_is_told_at_once(serve):
    served = serve(settings=SMALL)
    session_id, _ = await served.open()
    headers = {"Content-Length": str(SMALL_BODY + 1), "Expect": "100-continue"}
    wire = await start_post(served, "xhr-polling", session_id, headers)
    assert (await wire.read_head()).status == 413


@every_transport
async def test_the_refusal_arrives_although_the_client_is_still_sending(serve, transport):
    served = serve(settings=SMALL)
    session_id = await served.start(transport)
    size = 8 << 20
    wire = await start_post(served, transport, session_id, {"Content-Length": str(size)})
    await wire.send(b"x" * size)  # waits until all but the last of it has left
    assert (await wire.read_response()).status == 413
    await wire.aclose()
    await Recorder.opened[0].wait_closed()


@every_transport
async def test_a_chunked_body_is_refused_as_soon_as_it_is_too_long(serve, transport):
    served = serve(settings=SMALL)
    session_id = await served.start(transport)
    wire = await start_post(served, transport, session_id, {"Transfer-Encoding": "chunked"})
    await wire.send(b"%x\r\n" % SMALL_BODY + b"x" * SMALL_BODY)  # no field data
    await served.barrier()
    await wire.send(b"\r\n1\r\nx\r\n")  # and no end
    response = await wire.read_response()
    assert response.status == 413
    assert response.text == BODY_TOO_LARGE
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"
    assert response.headers["connection"] == "close"
    assert await wire.read_to_end() == b""
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]


@pytest.mark.parametrize("chunk", [100, 1 << 16, 1 << 21])
async def test_the_refusal_of_a_chunked_body_arrives_although_the_client_is_still_sending(serve, chunk):
    served = serve(settings=SMALL)
    session_id, _ = await served.open()
    wire = await start_post(served, "xhr-polling", session_id, {"Transfer-Encoding": "chunked"})
    for _ in range((4 << 20) // chunk if chunk > 100 else 1000):
        await wire.send(b"%x\r\n" % chunk + b"x" * chunk + b"\r\n")
    await wire.send(b"0\r\n\r\n")
    assert (await wire.read_response()).status == 413
    assert await wire.read_to_end() == b""


async def test_a_chunk_that_says_to_be_endless_is_refused(serve):
    served = serve(settings=SMALL)
    session_id, _ = await served.open()
    wire = await start_post(served, "xhr-polling", session_id, {"Transfer-Encoding": "chunked"})
    await wire.send(b"fffffffff\r\n" + b"x" * (SMALL_BODY + 1))
    assert (await wire.read_response()).status == 413


async def test_a_client_that_never_stops_is_cut_off(serve):
    served = serve(settings=SMALL)
    session_id, _ = await served.open()
    wire = await start_post(served, "xhr-polling", session_id, {"Transfer-Encoding": "chunked"})
    with pytest.raises(ConnectionError):
        await wire.send((b"100000\r\n" + b"x" * (1 << 20) + b"\r\n") * 256)


@every_transport
@pytest.mark.parametrize("headers", [{"Content-Length": str(SMALL_BODY + 1)}, {"Transfer-Encoding": "chunked"}])
async def test_an_origin_that_is_refused_hears_only_that(serve, transport, headers):
    served = serve(settings=SMALL)
    session_id = await served.start(transport)
    wire = await start_post(served, transport, session_id, {**headers, "Origin": "http://evil.com"})
    if "Transfer-Encoding" in headers:
        await wire.send(b"%x\r\n" % (SMALL_BODY + 1) + b"x" * (SMALL_BODY + 1) + b"\r\n")
    response = await wire.read_response()
    assert response.status == 403
    assert "access-control-allow-origin" not in response.headers
    await served.barrier()
    assert Recorder.opened[0].events == [("open", "")]


# -- max_send_buffer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", STREAMING)
async def test_a_stream_that_is_not_read_is_closed_as_too_slow(serve, transport, caplog):
    served = serve(settings={"max_send_buffer": 100_000})
    slow, slow_id = await served.open_stream(transport)
    connection = served.router.connections[0]
    for _ in range(MORE_THAN_SOCKETS_TAKE):
        connection.send("x" * 10_000)
        await asyncio.sleep(0)
    await connection.wait_closed()
    told = f"session {slow_id[:8]} ({transport}): closed, too slow: more than max_send_buffer (100000 bytes) unsent"
    assert warnings_of(caplog) == [f"{told}, of 127.0.0.1"]
    assert connection.events == [("open", ""), ("close",)]
    await slow.wire.read_to_end()


@pytest.mark.parametrize("transport", STREAMING)
async def test_the_others_get_everything_in_order(serve, transport):
    served = serve(settings={"max_send_buffer": 100_000})
    await served.open_stream(transport)  # is not read
    quick, _ = await served.open_stream(transport)
    assert await quick.read_payload() == "~m~7~m~welcome"
    connection = served.router.connections[0]
    for number in range(MORE_THAN_SOCKETS_TAKE):
        message = f"{number} {'x' * 10_000}"
        served.router.broadcast(message)
        assert await quick.read_payload() == proto.encode(message)
    await connection.wait_closed()
    assert len(served.router.connections) == 1


@pytest.mark.parametrize("transport", STREAMING)
async def test_as_much_as_the_limit_may_be_sent_at_once(serve, transport):
    served = serve(settings={"max_send_buffer": 100_000})
    stream, _ = await served.open_stream(transport)
    assert await stream.read_payload() == "~m~7~m~welcome"
    message = "x" * (100_000 - len("~m~99990~m~"))
    for _ in range(100):
        served.router.broadcast(message)
        assert await stream.read_payload() == proto.encode(message)


@pytest.mark.parametrize("transport", POLLING)
async def test_a_session_that_nobody_polls_is_closed_as_too_slow(serve, transport, caplog):
    served = serve(settings={"max_send_buffer": 1000})
    session_id, _ = await served.open(transport)
    connection = served.router.connections[0]
    connection.send("x" * (1000 - len("~m~990~m~")))
    assert not connection.is_closed
    connection.send("x")
    assert connection.is_closed
    connection.send("x")
    await connection.wait_closed()
    told = f"session {session_id[:8]} ({transport}): closed, too slow: more than max_send_buffer (1000 bytes) unsent"
    assert warnings_of(caplog) == [f"{told}, of 127.0.0.1"]
    assert (await served.poll(session_id, transport)).status == 401


@pytest.mark.parametrize("transport", POLLING)
async def test_what_was_polled_counts_no_more(serve, transport):
    served = serve(settings={"max_send_buffer": 1000})
    session_id, _ = await served.open(transport)
    message = "é" * 490
    for _ in range(5):
        served.router.broadcast(message)
        payload = (await served.poll(session_id, transport)).text
        assert (payload if transport == "xhr-polling" else jsonp_payload(payload)) == proto.encode(message)


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_that_is_not_read_counts(serve, transport, caplog):
    served = serve(settings={"max_send_buffer": 20 << 20})
    session_id, _ = await served.open(transport)
    connection = served.router.connections[0]
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}/{session_id}/1/0")
    connection.send("x" * (15 << 20))
    await wire.read_head()
    connection.send("x" * (6 << 20))
    await connection.wait_closed()
    assert len(warnings_of(caplog)) == 1
    assert len(await wire.read_to_end()) < 15 << 20


@every_transport
async def test_on_open_that_sends_too_much_ends_the_connection(serve, transport, caplog):
    class Talkative(Recorder):
        def on_open(self, request, *args, **kwargs):
            super().on_open(request, *args, **kwargs)
            for _ in range(10):
                self.send("x" * 500)

    served = serve(Talkative, settings={"max_send_buffer": 1000})
    response = await served.request("GET", f"/socket.io/{transport}//1290000000000/0", PAGE)
    assert (response.status, response.text) == (401, "the session ended before it was open")
    await Recorder.opened[0].wait_closed()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    assert len(warnings_of(caplog)) == 1


# -- max_sessions ------------------------------------------------------------------------------------------------------


@every_transport
async def test_past_max_sessions_a_client_is_answered_503(serve, transport, caplog):
    served = serve(settings={"max_sessions": 2})
    first = await served.start(transport)
    await served.start(transport)
    path = f"/socket.io/{transport}//1290000000000/0"
    response = await served.request("GET", path, PAGE)
    assert (response.status, response.text) == (503, "too many sessions: try again later")
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"
    assert response.headers["cache-control"] == "no-store"
    assert len(Recorder.opened) == 2
    reason = "too many sessions: try again later (there are max_sessions (2) already)"
    assert warnings_of(caplog) == [f"503 GET {path} (127.0.0.1): {reason}"]
    assert (await served.post(first, "x", transport=transport)).text == "ok"


@every_transport
async def test_when_a_session_ends_there_is_room_again(serve, transport):
    served = serve(settings={"max_sessions": 1})
    session_id = await served.start(transport)
    assert (await served.request("GET", f"/socket.io/{transport}//1290000000000/0")).status == 503
    await served.post(session_id, "close", transport=transport)
    await Recorder.opened[0].wait_closed()
    await served.start(transport)
    assert len(served.router.connections) == 1


@every_transport
async def test_a_refused_client_takes_no_room(serve, transport):
    class Refusing(Recorder):
        def on_open(self, request, *args, **kwargs):
            return "wanted" in request.arguments

    served = serve(Refusing, settings={"max_sessions": 1})
    for _ in range(3):
        assert (await served.request("GET", f"/socket.io/{transport}//1/0")).status == 403
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}//1/0?wanted=yes")
    assert (await wire.read_head()).status == 200


async def test_each_router_counts_its_own_sessions(serve):
    for served in [serve(settings={"max_sessions": 1}), serve(settings={"max_sessions": 1})]:
        await served.open()
