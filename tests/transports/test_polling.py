"""xhr-polling, and what both polling transports share: delivery, order, takeover and the ends."""

import asyncio
import socket
from typing import Any
from urllib.parse import quote

import pytest

from tests.internals import replaced_polls_of, sessions_of
from tests.support import FORM, HTTP_TRANSPORTS, LARGE, POLLING, Recorder, Served, payload_of, until
from tornadio import proto

pytestmark = pytest.mark.usefixtures("each_http")

OWN_PAGE = "Host: 127.0.0.1\r\nReferer: http://127.0.0.1/\r\n"


def connection_of(served: Served, session_id: str) -> Any:
    [connection] = [each for each in served.router.connections if each.session_id == session_id]
    return connection


# -- xhr-polling, byte for byte ----------------------------------------------------------------------------------------


async def test_the_handshake_is_the_session_id_alone_and_the_next_poll_brings_what_on_open_sent(serve):
    served = serve()
    wire = await served.connect()
    await wire.send(b"GET /socket.io/xhr-polling//1290000000000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = (await wire.read_until(b"\r\n\r\n")).split(b"\r\n")
    session_id = served.router.connections[0].session_id
    assert head[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Type: text/plain; charset=UTF-8" in head
    assert b"Content-Length: 40" in head
    assert await wire.read_exactly(40) == f"~m~32~m~{session_id}".encode()
    assert (await served.poll(session_id)).text == "~m~7~m~welcome"
    assert set(session_id) <= set("0123456789abcdefghijklmnopqrstuvwxyz")


async def test_the_handshake_is_answered_at_once_also_with_nothing_else_to_say(serve):
    class Silent(Recorder):
        def on_open(self, request, *args, **kwargs):
            pass

    served = serve(Silent)
    session_id, more = await served.open()
    assert more == ""
    assert served.router.connections[0].session_id == session_id


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ("abc", b"~m~3~m~abc"),
        ("é中😀", "~m~4~m~é中😀".encode()),
        ({"a": ["é", None]}, b'~m~26~m~~j~{"a": ["\\u00e9", null]}'),
        (["a", 1], b"~m~1~m~a~m~4~m~~j~1"),
        ("  blanks \n", b"~m~10~m~  blanks \n"),
    ],
)
async def test_a_poll_carries_frames_and_their_exact_length_in_bytes(serve, message, body):
    served = serve()
    session_id, _ = await served.open()
    served.router.broadcast(message)
    response = await served.poll(session_id)
    assert response.status == 200
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert response.headers["content-length"] == str(len(body))
    assert response.body == body


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_post_is_answered_ok(serve, transport):
    served = serve()
    response = await served.post(await served.start(transport), "hello", transport=transport)
    assert (response.status, response.body) == (200, b"ok")
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert response.headers["content-length"] == "2"


@pytest.mark.parametrize("transport", POLLING)
async def test_responses_are_neither_cached_nor_sniffed_nor_buffered(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    for response in [await served.post(session_id, "x", transport=transport), await served.poll(session_id, transport)]:
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-accel-buffering"] == "no"
        assert "etag" not in response.headers


# -- Polls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", POLLING)
async def test_a_waiting_poll_is_answered_with_the_news(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    poll = await served.start_poll(session_id, transport)
    served.router.broadcast("news")
    assert payload_of(await poll.read_response(), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
async def test_everything_sent_in_one_turn_of_the_loop_travels_in_one_response(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    poll = await served.start_poll(session_id, transport)
    messages = [str(number) for number in range(100)]
    for message in messages:
        served.router.broadcast(message)
    assert payload_of(await poll.read_response(), transport) == proto.encode(messages)


@pytest.mark.parametrize("transport", POLLING)
async def test_what_is_sent_between_two_polls_waits_for_the_next(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    for message in "abc":
        served.router.broadcast(message)
        await served.barrier()
    assert payload_of(await served.poll(session_id, transport), transport) == proto.encode(["a", "b", "c"])


@pytest.mark.parametrize("transport", POLLING)
async def test_nothing_arrives_twice(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    served.router.broadcast("first")
    assert payload_of(await served.poll(session_id, transport), transport) == proto.encode("first")
    served.router.broadcast("second")
    assert payload_of(await served.poll(session_id, transport), transport) == proto.encode("second")


@pytest.mark.parametrize(("transport", "body"), [("xhr-polling", b""), ("jsonp-polling", b'io.JSONP[0]._("");')])
async def test_a_poll_without_news_ends_empty_and_the_session_goes_on(serve, transport, body):
    served = serve(settings={"xhr_polling_timeout": 0.01})
    session_id, _ = await served.open(transport)
    for _ in range(2):
        response = await served.poll(session_id, transport)
        assert (response.status, response.body) == (200, body)
        assert response.headers["content-length"] == str(len(body))
    served.router.broadcast("news")
    assert payload_of(await served.poll(session_id, transport), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_without_news_lasts_xhr_polling_timeout(serve, clock, transport):
    served = serve(settings={"xhr_polling_timeout": 7})
    session_id, _ = await served.open(transport)
    poll = asyncio.create_task(served.poll(session_id, transport))
    await clock.advance(6.9)
    assert not poll.done()
    await clock.advance(0.2)
    assert payload_of(await poll, transport) == ""


@pytest.mark.parametrize("transport", POLLING)
async def test_a_waiting_poll_keeps_its_session_alive_and_a_dead_one_does_not(serve, clock, transport):
    served = serve(settings={"xhr_polling_timeout": 10_000, "session_expiry": 10, "session_check_interval": 1})
    session_id, _ = await served.open(transport)
    connection = connection_of(served, session_id)
    poll = await served.start_poll(session_id, transport)
    await clock.advance(1000)
    assert not connection.is_closed
    poll.reset()
    await clock.advance(9)
    assert not connection.is_closed
    await clock.advance(3)
    assert connection.is_closed


@pytest.mark.parametrize("transport", POLLING)
async def test_a_second_get_takes_over_and_the_first_is_answered_without_a_payload(serve, transport):
    """With 200, and as a script: the official client takes anything else for a disconnect."""
    served = serve()
    session_id, _ = await served.open(transport)
    first = await served.start_poll(session_id, transport)
    second = await served.start_poll(session_id, transport)
    assert payload_of(await first.read_response(), transport) == ""
    served.router.broadcast("news")
    assert payload_of(await second.read_response(), transport) == "~m~4~m~news"


class Loop:
    """A client that polls again as soon as it is answered with 200."""

    def __init__(self, served: Served, session_id: str, transport: str) -> None:
        self.polls = 0
        self.payloads: list[str] = []
        self.task = asyncio.ensure_future(self._run(served, session_id, transport))

    async def _run(self, served: Served, session_id: str, transport: str) -> int:
        while True:
            self.polls += 1
            response = await served.poll(session_id, transport)
            if response.status != 200:
                return response.status
            self.payloads.append(payload_of(response, transport))


@pytest.fixture
async def loops():
    """Clients that poll without end, until the test ends."""
    running: list[Loop] = []
    yield running
    for loop in running:
        loop.task.cancel()
    await asyncio.gather(*(loop.task for loop in running), return_exceptions=True)


async def start_loops(served, loops, count, transport):
    session_id, _ = await served.open(transport)
    for _ in range(count):
        loops.append(Loop(served, session_id, transport))
        await until(lambda: loops[-1].polls > 0)
        await served.barrier()
    return connection_of(served, session_id)


@pytest.mark.parametrize("transport", POLLING)
async def test_two_clients_that_poll_one_session_do_not_keep_answering_each_other(serve, clock, loops, transport):
    served = serve()
    connection = await start_loops(served, loops, 2, transport)
    for _ in range(20):
        await served.barrier()
    assert sum(loop.polls for loop in loops) == 3  # the first is answered at once, and has replaced the second
    for _ in range(6):
        await clock.advance(10)
        await served.barrier()
    assert 6 <= sum(loop.polls for loop in loops) < 20  # 60 seconds, each poll has 20
    connection.send("news")
    await until(lambda: any(loop.payloads[-1:] == ["~m~4~m~news"] for loop in loops))
    connection.close()
    assert [await loop.task for loop in loops] == [401, 401]


async def test_of_many_clients_that_poll_one_session_the_oldest_are_refused(serve, clock, loops):
    served = serve()
    connection = await start_loops(served, loops, 9, "xhr-polling")
    await until(lambda: sum(loop.task.done() for loop in loops) == 4)
    for _ in range(20):
        await served.barrier()
    refused = [loop for loop in loops if loop.task.done()]
    assert [loop.task.result() for loop in refused] == [409] * 4  # four wait, and one is the session's
    assert sum(loop.polls for loop in loops) == 10
    connection.close()
    assert [await loop.task for loop in loops if loop not in refused] == [401] * 5


async def test_a_replaced_poll_whose_client_leaves_is_forgotten(serve, clock):
    served = serve()
    session_id, _ = await served.open()
    first, second, third = [await served.start_poll(session_id) for _ in range(3)]
    assert (await first.read_response()).body == b""
    [session] = sessions_of(served.router)
    assert replaced_polls_of(session) == 1
    await second.aclose()
    await until(lambda: replaced_polls_of(session) == 0)
    await clock.advance(21)
    assert (await third.read_response()).body == b""
    assert not connection_of(served, session_id).is_closed


# -- Polls that don't wait: ;wait=0 behind the timestamp ---------------------------------------------------------------


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_that_is_not_to_wait_is_answered_at_once(serve, transport):
    served = serve(settings={"xhr_polling_timeout": 10_000})
    session_id, _ = await served.open(transport)
    for _ in range(3):
        assert payload_of(await served.poll(session_id, transport, ";wait=0"), transport) == ""
    served.router.broadcast("news")
    assert payload_of(await served.poll(session_id, transport, ";wait=0"), transport) == "~m~4~m~news"
    assert payload_of(await served.poll(session_id, transport, ";wait=0"), transport) == ""


@pytest.mark.parametrize("parameter", [";", ";wait", ";wait=", ";wait=1", ";wait=00", ";wait=no", ";await=0", "wait=0"])
@pytest.mark.parametrize("transport", POLLING)
async def test_anything_else_behind_the_timestamp_means_nothing(serve, transport, parameter):
    served = serve()
    session_id, _ = await served.open(transport)
    poll = await served.start_poll(session_id, transport, parameter=parameter)
    served.router.broadcast("news")
    assert payload_of(await poll.read_response(), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
async def test_polls_that_do_not_wait_keep_their_session_alive(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1})
    session_id, _ = await served.open(transport)
    connection = connection_of(served, session_id)
    for _ in range(10):
        await clock.advance(8)
        await served.poll(session_id, transport, ";wait=0")
    assert not connection.is_closed
    await clock.advance(12)
    assert connection.is_closed


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_that_is_not_to_wait_takes_over_from_one_that_waits(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    first = await served.start_poll(session_id, transport)
    assert payload_of(await served.poll(session_id, transport, ";wait=0"), transport) == ""
    await first.read_response()
    served.router.broadcast("news")
    assert payload_of(await served.poll(session_id, transport, ";wait=0"), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
async def test_the_handshake_never_waits_anyhow(serve, transport):
    served = serve()
    response = await served.poll("", transport, ";wait=0")
    session_id = served.router.connections[0].session_id
    assert payload_of(response, transport) == f"~m~32~m~{session_id}"


# -- A POST's body -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("application/x-www-form-urlencoded; charset=utf-8", b"data=~m~5~m~a%2Bb%20c", "a+b c"),
        ("application/x-www-form-urlencoded", b"data=~m~3~m~a+b", "a b"),
        ("application/x-www-form-urlencoded", b"data=%7Em%7E4%7Em%7E%C3%A9%E4%B8%AD%F0%9F%98%80", "é中😀"),
        ("application/x-www-form-urlencoded", "data=~m~4~m~é中😀".encode(), "é中😀"),
        ("application/x-www-form-urlencoded", b"t=1&data=~m~1~m~x&u=2", "x"),
        ("application/x-www-form-urlencoded", b"data=~m~4~m~%26d%3D%25", "&d=%"),
        ("application/x-www-form-urlencoded", b"data=~m~7~m~  a  %0A%0A", "  a  \n\n"),
        ("application/x-www-form-urlencoded", b"data=~m~4~m~%0D%0A%0D%0A", "\r\n\r\n"),
        ("application/x-www-form-urlencoded", b'data=~m~13~m~~j~{"a": "b"}', {"a": "b"}),
        # Internet Explorer's XDomainRequest sends no content type, and encodes nothing by itself.
        (None, b"data=~m~5~m~a%2Bb%20c", "a+b c"),
        (None, b"data=~m~3~m~a+b", "a+b"),
        (None, b"data=~m~7~m~  a    ", "  a    "),
        ("text/plain", b"data=~m~3~m~a+b", "a+b"),
        ("text/plain;charset=UTF-8", b"data=~m~3~m~a%20b", "a b"),
        (
            "multipart/form-data; boundary=XX",
            b'--XX\r\nContent-Disposition: form-data; name="data"\r\n\r\n~m~6~m~a+%20 \r\n--XX--\r\n',
            "a+%20 ",
        ),
        (
            'multipart/form-data; boundary="XX"',
            (
                b'--XX\r\nContent-Disposition: form-data; name="t"\r\n\r\n1\r\n'
                b'--XX\r\nContent-Disposition: form-data; name="data"\r\n\r\n~m~2~m~\xc3\xa9!\r\n--XX--\r\n'
            ),
            "é!",
        ),
    ],
)
async def test_the_field_data_holds_the_frames(serve, content_type, body, message):
    served = serve()
    session_id, _ = await served.open()
    connection = connection_of(served, session_id)
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await served.request("POST", f"/socket.io/xhr-polling/{session_id}/send", headers, body)
    assert (response.status, response.text) == (200, "ok")
    assert connection.events[1:] == [("message", message)]


async def test_a_body_may_hold_many_frames(serve):
    served = serve()
    session_id, _ = await served.open()
    await served.post(session_id, "one", {"two": 2}, "three", "é中😀", "five")
    messages = ["one", {"two": 2}, "three", "é中😀", "five"]
    assert connection_of(served, session_id).events[1:] == [("message", message) for message in messages]
    assert (await served.poll(session_id)).text == proto.encode(messages)


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_heartbeat_echoes_and_messages_in_one_body_all_count(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    connection = connection_of(served, session_id)
    response = await served.post_data(session_id, "~m~4~m~~h~1~m~1~m~a~m~4~m~~h~2~m~1~m~b", transport)
    assert response.text == "ok"
    assert connection.events[1:] == [("message", "a"), ("message", "b")]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_body_without_frames_is_fine(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    response = await served.post_data(session_id, "", transport)
    assert (response.status, response.text) == (200, "ok")


async def test_a_body_may_come_in_pieces(serve):
    served = serve()
    session_id, _ = await served.open()
    body = b"data=~m~4~m~%C3%A9%E4%B8%AD%F0%9F%98%80"
    wire = await served.connect()
    headers = {**FORM, "Content-Length": str(len(body))}
    await wire.send_request("POST", f"/socket.io/xhr-polling/{session_id}/send", headers)
    for position in range(len(body)):
        await wire.send(body[position : position + 1])
        await asyncio.sleep(0)
    assert (await wire.read_response()).text == "ok"
    assert connection_of(served, session_id).events[1:] == [("message", "é中😀")]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_body_may_be_chunked(serve, size):
    served = serve()
    session_id, _ = await served.open()
    body = b"data=~m~4~m~%C3%A9%E4%B8%AD%F0%9F%98%80"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    wire = await served.connect()
    headers = {**FORM, "Transfer-Encoding": "chunked"}
    await wire.send_request("POST", f"/socket.io/xhr-polling/{session_id}/send", headers, chunked)
    assert (await wire.read_response()).text == "ok"
    assert connection_of(served, session_id).events[1:] == [("message", "é中😀")]


async def test_a_client_that_waits_for_100_continue_gets_it(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    headers = {**FORM, "Content-Length": "15", "Expect": "100-continue"}
    await wire.send_request("POST", f"/socket.io/xhr-polling/{session_id}/send", headers)
    assert (await wire.read_head()).status == 100
    await wire.send(b"data=~m~3~m~abc")
    assert (await wire.read_response()).text == "ok"


# -- Connections -------------------------------------------------------------------------------------------------------


async def test_one_connection_carries_many_requests(serve):
    served = serve()
    wire = await served.connect()
    await wire.send_request("GET", "/socket.io/xhr-polling//1290000000000")
    [(_, session_id)] = proto.decode((await wire.read_response()).text)
    await wire.send_request("GET", f"/socket.io/xhr-polling/{session_id}/1290000000000")
    assert (await wire.read_response()).text == "~m~7~m~welcome"
    for message in ["one", "two", "three"]:
        body = b"data=" + proto.encode(message).encode()
        await wire.send_request("POST", f"/socket.io/xhr-polling/{session_id}/send", FORM, body)
        assert (await wire.read_response()).text == "ok"
        await wire.send_request("GET", f"/socket.io/xhr-polling/{session_id}/1290000000000")
        assert (await wire.read_response()).text == proto.encode(message)


async def test_pipelined_requests_are_answered_in_order(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    post = (
        f"POST /socket.io/xhr-polling/{session_id}/send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 15\r\n\r\n"
        "data=~m~3~m~abc"
    )
    get = f"GET /socket.io/xhr-polling/{session_id}/1290000000000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    await wire.send((post + get + get + post).encode())
    assert (await wire.read_response()).text == "ok"
    assert (await wire.read_response()).text == "~m~3~m~abc"
    served.router.broadcast("news")
    assert (await wire.read_response()).text == "~m~4~m~news"
    assert (await wire.read_response()).text == "ok"
    assert (await served.poll(session_id)).text == "~m~3~m~abc"


@pytest.mark.parametrize("transport", POLLING)
async def test_http_1_0_clients_are_served_and_their_connection_closed(serve, transport):
    served = serve()
    wire = await served.connect()
    await wire.send(f"GET /socket.io/{transport}//1290000000000/0 HTTP/1.0\r\n{OWN_PAGE}\r\n".encode())
    response = await wire.read_response()
    payload = payload_of(response, transport)
    [(_, session_id)] = proto.decode(payload)
    assert response.headers["content-length"] == str(len(response.body))
    assert "transfer-encoding" not in response.headers
    assert await wire.read_to_end() == b""

    await served.poll(session_id, transport)
    wire = await served.connect()
    await wire.send(f"GET /socket.io/{transport}/{session_id}/1290000000000/0 HTTP/1.0\r\n{OWN_PAGE}\r\n".encode())
    served.router.broadcast(LARGE)
    assert payload_of(await wire.read_response(), transport) == proto.encode(LARGE)
    assert await wire.read_to_end() == b""


async def test_http_1_0_clients_may_keep_the_connection(serve):
    served = serve()
    wire = await served.connect()
    for _ in range(2):
        await wire.send(b"GET /socket.io/xhr-polling/ HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n")
        response = await wire.read_response()
        assert response.status == 200
        assert response.headers["connection"] == "Keep-Alive"


@pytest.mark.parametrize("message", ["news", LARGE], ids=["small", "large"])
async def test_a_client_may_ask_to_close_the_connection(serve, message):
    served = serve()
    session_id, _ = await served.open()
    for _ in range(2):
        served.router.broadcast(message)
        wire = await served.connect()
        await wire.send_request("GET", f"/socket.io/xhr-polling/{session_id}/1", {"Connection": "close"})
        response = await wire.read_response()
        assert response.headers["connection"] == "close"
        assert response.text == proto.encode(message)
        assert await wire.read_to_end() == b""


async def test_a_server_without_keep_alive_polls_too(serve):
    served = serve(server={"no_keep_alive": True})
    session_id, _ = await served.open()
    for message in ["one", "two"]:
        poll = await served.start_poll(session_id)
        await served.post(session_id, message)
        assert (await poll.read_response()).text == proto.encode(message)


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize("transport", POLLING)
async def test_an_answered_poll_leaves_no_task_behind(serve, transport, connection):
    served = serve()
    session_id, _ = await served.open(transport)
    await served.barrier()
    before = len(asyncio.all_tasks())
    for _ in range(10):
        served.router.broadcast("news")
        wire = await served.connect()
        path = f"/socket.io/{transport}/{session_id}/1290000000000/0"
        await wire.send_request("GET", path, {"Connection": connection})
        assert (await wire.read_response()).status == 200
        await wire.aclose()
    await until(lambda: len(asyncio.all_tasks()) <= before)


# -- Nothing is lost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_a_poll_whose_connection_died_before_the_news_loses_nothing(serve, transport, end):
    served = serve()
    session_id, _ = await served.open(transport)
    poll = await served.start_poll(session_id, transport)
    if end == "RST":
        poll.reset()
    else:
        await poll.aclose()
    await served.barrier()
    served.router.broadcast("news")
    assert payload_of(await served.poll(session_id, transport), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_that_was_reset_without_the_server_knowing_loses_nothing(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    poll = await served.start_poll(session_id, transport)
    poll.reset()  # closes the socket in the loop's next turn; the server can look at its own only in the one after
    asyncio.get_running_loop().call_soon(served.router.broadcast, "news")
    await served.barrier()
    assert payload_of(await served.poll(session_id, transport), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_an_answer_that_was_cut_off_is_given_again_whole(serve, transport, connection):
    served = serve()
    session_id, _ = await served.open(transport)
    wire = await served.connect()
    path = f"/socket.io/{transport}/{session_id}/1290000000000/0"
    await wire.send_request("GET", path, {"Connection": connection})
    served.router.broadcast(LARGE)
    await wire.read_head()
    served.router.broadcast("after")
    wire.reset()
    await served.barrier()
    assert payload_of(await served.poll(session_id, transport), transport) == proto.encode(LARGE)
    assert payload_of(await served.poll(session_id, transport), transport) == proto.encode("after")


@pytest.mark.parametrize("transport", POLLING)
async def test_a_poll_takes_over_from_an_answer_under_way_and_gets_it_whole(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    stuck = await served.start_poll(session_id, transport)
    served.router.broadcast(LARGE)
    await stuck.read_head()
    second = await served.poll(session_id, transport)
    assert payload_of(second, transport) == proto.encode(LARGE)
    assert len(await stuck.read_to_end()) < len(LARGE)
    served.router.broadcast("news")
    assert payload_of(await served.poll(session_id, transport), transport) == "~m~4~m~news"


async def test_a_poll_that_waits_gets_what_a_dying_one_did_not(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    poll = f"GET /socket.io/xhr-polling/{session_id}/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    await wire.send((poll + poll).encode())  # the second waits behind the first, on the same connection
    served.router.broadcast(LARGE)
    await wire.read_head()
    wire.reset()
    assert (await served.poll(session_id)).text == proto.encode(LARGE)


async def test_a_slow_reader_gets_all_of_a_large_answer(serve):
    served = serve()
    session_id, _ = await served.open()
    poll = await served.start_poll(session_id)
    served.router.broadcast(LARGE)
    head = await poll.read_head()
    for number in range(10):
        served.router.broadcast(str(number))
        await served.barrier()
    assert await poll.read_exactly(int(head.headers["content-length"])) == proto.encode(LARGE).encode()
    assert (await served.poll(session_id)).text == proto.encode([str(number) for number in range(10)])


# -- Order -------------------------------------------------------------------------------------------------------------


class Slow(Recorder):
    """Handles a message only when it may; notes when it begins and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Semaphore(0)

    async def on_message(self, message):
        self.events.append(("begins", message))
        await self.may_go_on.acquire()
        if message == "fail":
            raise RuntimeError("as the test asked")
        self.send(message)
        self.events.append(("ends", message))


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_two_posts_at_once_are_handled_one_after_the_other(serve, transport):
    served = serve(Slow)
    session_id = await served.start(transport)
    connection = connection_of(served, session_id)
    first = asyncio.create_task(served.post(session_id, "a", "b", transport=transport))
    await until(lambda: ("begins", "a") in connection.events)
    second = asyncio.create_task(served.post(session_id, "c", transport=transport))
    await served.barrier()
    assert connection.events[1:] == [("begins", "a")]
    for _ in range(3):
        connection.may_go_on.release()
    assert [(await first).text, (await second).text] == ["ok", "ok"]
    assert connection.events[1:] == [(what, message) for message in "abc" for what in ("begins", "ends")]


async def test_a_post_is_answered_when_its_messages_were_handled(serve):
    served = serve(Slow)
    session_id, _ = await served.open()
    post = asyncio.create_task(served.post(session_id, "a"))
    await served.barrier()
    assert not post.done()
    connection_of(served, session_id).may_go_on.release()
    assert (await post).text == "ok"


async def test_the_messages_of_a_post_whose_connection_dies_are_handled(serve):
    served = serve(Slow)
    session_id, _ = await served.open()
    connection = connection_of(served, session_id)
    wire = await served.connect()
    body = b"data=" + proto.encode(["a", "b"]).encode()
    await wire.send_request("POST", f"/socket.io/xhr-polling/{session_id}/send", FORM, body)
    await until(lambda: ("begins", "a") in connection.events)
    wire.reset()
    await served.barrier()
    connection.may_go_on.release()
    assert (await served.poll(session_id)).text == proto.encode("a")
    connection.may_go_on.release()
    assert (await served.poll(session_id)).text == proto.encode("b")


async def test_one_connection_does_not_wait_for_another(serve):
    served = serve(Slow)
    slow, _ = await served.open()
    quick, _ = await served.open()
    post = asyncio.create_task(served.post(slow, "a"))
    await served.barrier()
    connection_of(served, quick).may_go_on.release()
    assert (await served.post(quick, "b")).text == "ok"
    connection_of(served, slow).may_go_on.release()
    assert (await post).text == "ok"


# -- Handlers as coroutines --------------------------------------------------------------------------------------------


class Patient(Recorder):
    """Opens and closes only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_open = asyncio.Event()
        self.may_close = asyncio.Event()
        Recorder.opened.append(self)

    async def on_open(self, request, *args, **kwargs):
        self.send("early")
        await self.may_open.wait()
        self.send("late")

    async def on_close(self):
        self.events.append(("closing",))
        await self.may_close.wait()
        super().on_close()


@pytest.mark.parametrize("transport", POLLING)
async def test_nothing_reaches_the_client_before_on_open_has_returned(serve, transport):
    served = serve(Patient)
    opening = asyncio.create_task(served.open(transport))
    await served.barrier()
    connection = Recorder.opened[-1]
    assert not opening.done()
    assert served.router.connections == ()
    connection.may_open.set()
    assert (await opening)[1] == proto.encode(["early", "late"])
    connection.may_close.set()


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_client_that_leaves_during_on_open_is_closed_after_it(serve, transport):
    served = serve(Patient)
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}//1290000000000/0")
    await served.barrier()
    connection = Recorder.opened[-1]
    wire.reset()
    await served.barrier()
    assert connection.events == []
    connection.may_open.set()
    connection.may_close.set()
    await connection.wait_closed()
    assert connection.events == [("closing",), ("close",)]
    assert connection.is_closed
    assert served.router.connections == ()


async def test_close_answers_the_post_whose_handler_is_at_work(serve):
    served = serve(Slow)
    session_id, _ = await served.open()
    connection = connection_of(served, session_id)
    post = asyncio.create_task(served.post(session_id, "a"))
    await served.barrier()
    connection.close()
    assert (await post).text == "ok"
    assert connection.events[1:] == [("begins", "a")]
    connection.may_go_on.release()
    await connection.wait_closed()
    assert connection.events[1:] == [("begins", "a"), ("ends", "a"), ("close",)]


# -- The server closes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", POLLING)
async def test_close_ends_a_waiting_poll_with_what_was_queued(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    connection = connection_of(served, session_id)
    poll = await served.start_poll(session_id, transport)
    connection.send("bye")
    connection.close()
    assert connection.is_closed
    assert payload_of(await poll.read_response(), transport) == "~m~3~m~bye"
    await connection.wait_closed()
    assert (await served.poll(session_id, transport)).status == 401
    assert (await served.post(session_id, "x", transport=transport)).status == 401


@pytest.mark.parametrize("transport", POLLING)
async def test_close_ends_a_waiting_poll_at_once_also_with_nothing_queued(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    poll = await served.start_poll(session_id, transport)
    connection_of(served, session_id).close()
    assert payload_of(await poll.read_response(), transport) == ""
    assert (await served.poll(session_id, transport)).status == 401


@pytest.mark.parametrize("transport", POLLING)
async def test_without_a_waiting_poll_the_next_one_fetches_what_was_queued(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    connection = connection_of(served, session_id)
    connection.send("bye")
    connection.close()
    await connection.wait_closed()
    assert (await served.post(session_id, "x", transport=transport)).status == 401
    assert payload_of(await served.poll(session_id, transport), transport) == "~m~3~m~bye"
    assert (await served.poll(session_id, transport)).status == 401
    assert connection.events == [("open", ""), ("close",)]


@pytest.mark.parametrize("transport", POLLING)
async def test_without_anything_queued_the_next_poll_is_401(serve, transport):
    served = serve()
    session_id, _ = await served.open(transport)
    connection_of(served, session_id).close()
    assert (await served.poll(session_id, transport)).status == 401


async def test_the_last_answer_is_given_again_when_it_was_cut_off(serve):
    served = serve()
    session_id, _ = await served.open()
    connection = connection_of(served, session_id)
    poll = await served.start_poll(session_id)
    connection.send(LARGE)
    connection.close()
    await poll.read_head()
    poll.reset()
    await served.barrier()
    assert (await served.poll(session_id)).text == proto.encode(LARGE)
    assert (await served.poll(session_id)).status == 401


@pytest.mark.parametrize("transport", POLLING)
async def test_on_open_may_send_and_close(serve, transport):
    class Goodbye(Recorder):
        def on_open(self, request, *args, **kwargs):
            super().on_open(request, *args, **kwargs)
            self.close()

    served = serve(Goodbye)
    session_id, more = await served.open(transport)
    assert more == "~m~7~m~welcome"
    assert (await served.poll(session_id, transport)).status == 401
    connection = Recorder.opened[-1]
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("close",)]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_post_is_answered_before_its_session_is_closed(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    connection = connection_of(served, session_id)
    reading = await served.start_poll(session_id, transport) if transport in POLLING else served.wires[0]
    with socket.create_connection(("127.0.0.1", served.port)) as posting:
        body = b"data=" + quote(proto.encode("close")).encode()
        posting.sendall(
            f"POST /socket.io/{transport}/{session_id}/send HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        if transport in POLLING:
            assert (await reading.read_response()).status == 200
        else:
            assert len([chunk async for chunk in reading.chunks()]) == 1  # the welcome
        # What ends the session has come: the answer, which was sent before it, is here already.
        assert posting.recv(1 << 16, socket.MSG_DONTWAIT).endswith(b"\r\n\r\nok")
    await connection.wait_closed()


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_frames_behind_one_that_closes_are_not_handled(serve, transport):
    served = serve()
    session_id = await served.start(transport)
    connection = connection_of(served, session_id)
    response = await served.post(session_id, "a", "close", "b", transport=transport)
    assert (response.status, response.text) == (401, "the session has ended, and not all of this was handled")
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("message", "a"), ("message", "close"), ("close",)]
