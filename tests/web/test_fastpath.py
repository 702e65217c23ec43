"""The fast path: which requests it serves, what follows them on their connections, what it leaves to Tornado's HTTP.

What holds however a request was read stands in the transports' own tests, which run in each way.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import tornado.web
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.routing import HostMatches, Matcher, PathMatches, Rule

import tornadio
import tornadio.net.wire
import tornadio.web.fastconnection
from tests.clients import ANSWER, KEY3, KEYS, NONCE, UPGRADE, exchange, frame, greeted, request
from tests.internals import (
    change_settings,
    close_fast_path,
    connections_on_fast_path,
    has_fast_path,
    peers_on_fast_path,
    posts_of,
    sessions_of,
    tornados_streams,
    without_watching_sockets,
)
from tests.leaks import left_behind, without_collector
from tests.support import HTTP_TRANSPORTS, LARGE, POLLING, ClientStream, Recorder, Served, payload_of, shut_down, until
from tests.vitals import vitals
from tornadio import proto
from tornadio.net.sockets import peer_has_closed
from tornadio.settings import PROTOCOLS
from tornadio.transports.polling import XHRPollingHandler
from tornadio.web.contextrequest import ContextRequest
from tornadio.web.fastconnection import FastConnection
from tornadio.web.fastpath import missing_interfaces
from tornadio.web.peers import Client

LOOK = 1 << 14
# More than the kernel keeps for a client that does not read, less than max_send_buffer.
UNKNOWN = "/socket.io/xhr-polling/0123456789/1"  # answered at once, and nothing comes of it
ENTERED = {**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13"}


class Page(tornado.web.RequestHandler):
    """A page of the application's."""

    def get(self, *groups: str) -> None:
        self.write("a page")

    post = get


PAGE = (r"/page", Page)


def here(served: Served) -> int:
    """How many connections are at the fast_path: neither Tornado's nor a transport's."""
    return connections_on_fast_path(served.server)


def is_here(served: Served, wire: ClientStream) -> bool:
    """Whether a client's connection is the fast path's."""
    port = wire.writer.get_extra_info("sockname")[1]
    return port in peers_on_fast_path(served.server)


def poll(session_id: str) -> bytes:
    return request({}, f"/socket.io/xhr-polling/{session_id}/1290000000000")


def post(session_id: str, *messages: Any) -> bytes:
    body = b"data=" + "".join(map(proto.encode, messages)).encode()
    head = request({"Content-Length": str(len(body))}, f"/socket.io/xhr-polling/{session_id}/send")
    return head.replace(b"GET", b"POST", 1) + body


async def ask(wire: ClientStream, data: bytes) -> str:
    await wire.send(data)
    return (await wire.read_response()).text


def connection_of(served: Served, session_id: str) -> Any:
    [connection] = [each for each in served.router.connections if each.session_id == session_id]
    return connection


@pytest.fixture
async def serve_rules() -> AsyncIterator[Callable[..., Served]]:
    """`serve_rules(rules, application=tornado.web.Application)`: a server with these rules, the router's where one is
    `None`."""
    running: list[Served] = []
    Recorder.opened.clear()

    def serve_rules(rules: list[Any], kind: type[tornado.web.Application] = tornado.web.Application) -> Served:
        router = tornadio.get_router(Recorder, {"hosts": ["example.com"]})
        rules = [router.route() if rule is None else rule for rule in rules]
        application = kind(rules, socket_io_port=0, socket_io_address="127.0.0.1")
        running.append(Served(tornadio.SocketServer(application, auto_start=False), router))
        return running[-1]

    yield serve_rules
    for served in running:
        for wire in served.wires:
            await wire.aclose()
        await shut_down(served.server)


@pytest.fixture
def count_polls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows whenever the fast path asks whether the client of a request that waits has closed."""
    asked: list[None] = []

    def counted(connection: socket.socket) -> bool:
        asked.append(None)
        return peer_has_closed(connection)

    monkeypatch.setattr(tornadio.web.fastconnection, "peer_has_closed", counted)
    return asked


# -- One request after another -----------------------------------------------------------------------------------------


async def test_a_connection_stays_on_the_fast_path_for_requests_to_transports(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    for message in ("one", "two", "three"):
        assert await ask(wire, post(session_id, message)) == "ok"
        assert await ask(wire, poll(session_id)) == proto.encode(message)
        await until(lambda: here(served) == 1)


@pytest.mark.parametrize("path", ["/page", "/socket.io/socket.io.js", "/nowhere"])
async def test_a_connection_comes_back_when_tornado_has_responded_to_a_request_as_are_served_here(serve, path):
    served = serve(handlers=(PAGE,))
    session_id, _ = await served.open()
    wire = await served.connect()
    for number in range(3):
        assert await ask(wire, post(session_id, number)) == "ok"
        assert is_here(served, wire)
        for _ in range(2):
            await wire.send(request({}, path))
            response = await wire.read_response()
            assert response.status == (404 if path == "/nowhere" else 200)
            assert response.headers["server"].startswith("TornadoServer")
            assert not is_here(served, wire)
        assert await ask(wire, poll(session_id)) == proto.encode(number)
        await until(lambda: is_here(served, wire))


async def test_a_connection_stays_tornados_while_that_has_read_ahead(serve):
    """Until it has responded to all that it has read, in the order of the requests."""
    served = serve(handlers=(PAGE,))
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(request({}, "/page") + post(session_id, "one") + poll(session_id) + b"GET /page ")
    answers = [(await wire.read_response()).text for _ in range(3)]
    assert answers == ["a page", "ok", proto.encode("one")]
    await served.barrier()
    assert not is_here(served, wire)
    assert await ask(wire, b"HTTP/1.1\r\nHost: x\r\n\r\n") == "a page"
    assert "no such session" in await ask(wire, request({}, UNKNOWN))
    await until(lambda: is_here(served, wire))


@pytest.mark.parametrize(
    "headers",
    [{"TE": "trailers"}, {"X": "a\tb"}, {"Content-Length": "0"}, {"Host": "[::1]"}],
    ids=["another kind", "a tab", "a length", "an IPv6 host"],
)
async def test_a_connection_whose_requests_are_never_simple_is_not_passed_to_and_fro(serve, headers):
    served = serve(settings={"hosts": ["*"]})
    wire = await served.connect()
    for _ in range(3):
        assert "no such session" in await ask(wire, request(headers, UNKNOWN))
        await served.barrier()
        assert not is_here(served, wire)


async def test_a_connection_with_large_posts_is_not_passed_to_and_fro(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    for _ in range(3):
        assert await ask(wire, post(session_id, LOOK * "x")) == "ok"
        await served.barrier()
        assert not is_here(served, wire)
    assert len(await ask(wire, poll(session_id))) > 3 * LOOK
    await until(lambda: is_here(served, wire))


async def test_a_connection_that_came_back_has_the_time_between_two_requests(serve, clock):
    served = serve(handlers=(PAGE,))
    wire = await served.connect()
    for _ in range(3):
        await clock.advance(19)
        assert await ask(wire, request({}, "/page")) == "a page"
        await clock.advance(19)
        assert "no such session" in await ask(wire, request({}, UNKNOWN))
        await until(lambda: is_here(served, wire))
    await clock.advance(19.9)
    assert not wire.reader.at_eof()
    await clock.advance(0.2)
    assert await wire.read_to_end() == b""
    assert clock.timers == []


async def test_a_connection_that_came_back_is_still_that_of_a_proxys_client(serve):
    served = serve(handlers=(PAGE,), server={"xheaders": ["127.0.0.1"]})
    wire = await served.connect()
    await wire.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n" + request({}, "/page"))
    assert (await wire.read_response()).text == "a page"
    assert "no such session" in await ask(wire, request({}, UNKNOWN))
    await until(lambda: here(served) == 1)
    await wire.send(request({"X-Real-Ip": "192.0.2.66"}, "/socket.io/xhr-polling//1"))
    assert (await wire.read_response()).status == 200
    assert Recorder.opened[0].request.remote_ip == "192.0.2.7"
    await wire.send(b"PROXY TCP4 192.0.2.8 192.0.2.1 1234 443\r\n" + request({}, UNKNOWN))
    assert (await wire.read_response()).status == 400  # such a line stands before the first request alone


async def test_no_connection_comes_back_while_the_server_closes_them(serve):
    served = serve(handlers=(PAGE,))
    session_id, _ = await served.open()
    wire = await served.connect()
    assert await ask(wire, request({}, "/page")) == "a page"
    close_fast_path(served.server)
    for number in range(2):
        assert await ask(wire, post(session_id, number)) == "ok"
        await served.barrier()
        assert not is_here(served, wire)


async def test_a_connection_that_came_back_is_not_that_of_whoever_has_its_stream(serve):
    served = serve(handlers=(PAGE,))
    wire = await served.connect()
    await ask(wire, request({}, "/page"))
    [stream] = tornados_streams(served.server)
    await ask(wire, request({}, UNKNOWN))
    await until(lambda: is_here(served, wire))
    assert stream.closed()
    stream.close()
    assert await ask(wire, request({}, "/page")) == "a page"


# -- Headers that were accepted before ---------------------------------------------------------------------------------


OWN_PAGES = {"origins": ["127.0.0.1:*"]}


def unnamed_script() -> bytes:
    """A request whose response any page could read, and that names none: with the headers of other requests."""
    return request({}, UNKNOWN).replace(b"xhr", b"jsonp").replace(b"/1 ", b"/1/0 ")


async def status(wire: ClientStream, data: bytes) -> int:
    await wire.send(data)
    return (await wire.read_response()).status


async def test_headers_that_one_transport_has_accepted_are_checked_by_another(serve):
    served = serve(settings=OWN_PAGES)
    session_id = await served.shake_hands()
    wire = await served.connect()
    script = unnamed_script()
    for _ in range(2):
        assert await status(wire, request({}, UNKNOWN)) == 401
        assert await status(wire, script) == 403
        assert await ask(wire, post(session_id, "one")) == "ok"
    assert is_here(served, wire)


async def test_headers_that_were_accepted_with_one_method_are_checked_with_another(serve):
    served = serve(settings=OWN_PAGES)
    wire = await served.connect()
    script = unnamed_script()
    for _ in range(2):
        assert await status(wire, script.replace(b"GET", b"OPTIONS", 1)) == 200
        assert await status(wire, script) == 403
    assert is_here(served, wire)


async def test_headers_that_were_refused_are_refused_again(serve):
    served = serve(settings=OWN_PAGES)
    wire = await served.connect()
    for _ in range(3):
        assert await status(wire, request({"Origin": "http://elsewhere.example"}, UNKNOWN)) == 403
    assert await status(wire, request({}, UNKNOWN)) == 401
    assert is_here(served, wire)


async def test_headers_that_were_accepted_are_checked_against_new_settings(serve):
    served = serve()
    wire = await served.connect()
    for _ in range(2):
        assert await status(wire, request({}, UNKNOWN)) == 401
    change_settings(served.router, {"enabled_protocols": ["websocket"]})
    for _ in range(2):
        assert await status(wire, request({}, UNKNOWN)) == 403


@pytest.mark.parametrize("size", [1, 20, -1 - len(b"data=~m~3~m~one"), -len(b"data=~m~3~m~one"), -3, -1])
async def test_a_request_may_come_in_pieces(serve, size):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    await until(lambda: here(served) == 1)
    for rest in (b"", poll(session_id)):  # alone, and with the beginning of the next one
        whole = post(session_id, "one")
        await wire.send(whole[:size])
        await served.barrier()
        assert is_here(served, wire)
        assert connection_of(served, session_id).events == [("open", "")]
        await wire.send(whole[size:] + rest[:10])
        assert (await wire.read_response()).text == "ok"
        assert connection_of(served, session_id).events.pop() == ("message", "one")
        if rest:
            await wire.send(rest[10:])
            assert (await wire.read_response()).text == proto.encode(["one", "one"])
        await until(lambda: here(served) == 1)


@pytest.fixture
def peeks(monkeypatch: pytest.MonkeyPatch) -> Callable[[ClientStream], int]:
    """How often the fast path has peeked at the connection of a client."""
    ports: list[int] = []
    peek = FastConnection.peek_request

    def counted(connection: FastConnection) -> None:
        ports.append(connection._address[1])
        peek(connection)

    monkeypatch.setattr(FastConnection, "peek_request", counted)
    return lambda wire: ports.count(wire.writer.get_extra_info("sockname")[1])


@pytest.mark.parametrize("size", [3, 40, -5])
async def test_half_a_request_keeps_nobody_busy(serve, peeks, size):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(post(session_id, "one")[:size])
    for _ in range(20):
        await served.barrier()
    assert peeks(wire) <= 2  # when it was accepted, and when that came
    assert await ask(wire, post(session_id, "one")[size:]) == "ok"


async def test_a_body_that_comes_byte_by_byte_is_not_peeked_at_again(serve, peeks):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    whole = post(session_id, 500 * "x")
    await wire.send(whole[:-400])
    for byte in whole[-400:-1]:
        await wire.send(bytes([byte]))
    await served.barrier()
    assert peeks(wire) <= 2
    assert await ask(wire, whole[-1:]) == "ok"
    assert peeks(wire) <= 2
    assert connection_of(served, session_id).events[1:] == [("message", 500 * "x")]


@pytest.mark.parametrize("how", ["reset", "aclose", "eof"])
@pytest.mark.parametrize("size", [3, 40, -5])
async def test_half_a_request_of_a_client_that_leaves_is_dropped(serve, how, size):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(post(session_id, "one")[:size])
    await served.barrier()
    if how == "reset":
        wire.reset()
    elif how == "aclose":
        await wire.aclose()
    else:
        wire.writer.write_eof()
        assert await wire.read_to_end() == b""
    await until(lambda: here(served) == 0)
    assert connection_of(served, session_id).events == [("open", "")]


async def test_a_request_in_pieces_that_is_tornados_is_served_by_that(serve):
    served = serve(handlers=(PAGE,))
    for size in (4, 20, len(request({}, "/page")) - 1):
        whole = request({}, "/page")
        wire = await served.connect()
        await wire.send(whole[:size])
        await served.barrier()
        assert await ask(wire, whole[size:]) == "a page"
    wire = await served.connect()
    body = b"Content-Length: 5\r\nHost: x\r\n\r\n"
    await wire.send(b"POST /page HTTP/1.1\r\n" + body + b"ab")
    await served.barrier()
    assert await ask(wire, b"cde") == "a page"


@pytest.mark.parametrize("headers", [UPGRADE, {"Content-Length": "9999"}], ids=["upgrade", "too large"])
async def test_a_request_that_is_rejected_by_its_head_is_so_before_its_body_comes(serve, headers):
    served = serve(settings={"max_message_size": 100, "max_payload_size": 109})
    session_id, _ = await served.open()
    wire = await served.connect()
    head = request({"Content-Length": "10", **headers}, f"/socket.io/xhr-polling/{session_id}/send")
    await wire.send(head.replace(b"GET", b"POST", 1))
    assert (await wire.read_response()).status in (400, 413)


async def test_a_response_before_the_end_of_the_body_ends_the_connection(serve, monkeypatch):
    """What is left of the body is never read as a request."""

    def respond(self: XHRPollingHandler) -> None:
        self.respond(200, "text/plain", b"early")

    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    monkeypatch.setattr(XHRPollingHandler, "headers_received", respond)
    hidden = request({}, UNKNOWN)
    head = request({"Content-Length": str(len(hidden) + 1)}, f"/socket.io/xhr-polling/{session_id}/send")
    await wire.send(head.replace(b"GET", b"POST", 1))
    assert (await wire.read_response()).text == "early"
    wire.writer.write(hidden)  # which may find nobody there
    assert await wire.read_to_end() == b""


async def test_a_post_whose_body_does_not_come_leaves_room_in_its_session(serve, clock, caplog):
    caplog.set_level(logging.INFO, "tornadio")
    served = serve(settings={"session_expiry": 1000})
    session_id, _ = await served.open()
    session = next(each for each in sessions_of(served.router) if each.session_id == session_id)
    wires = [await served.connect() for _ in range(2)]
    for wire in wires:
        await wire.send(post(session_id, "one")[:-3])
    await until(lambda: posts_of(session) == 2)
    wires[0].reset()
    await until(lambda: posts_of(session) == 1)
    await clock.advance(20.1)
    assert await wires[1].read_to_end() == b""
    assert not session._posts
    assert "the body of its request does not come" in caplog.text


async def test_a_body_has_its_time_from_the_head_on(serve, clock):
    served = serve(server={"header_timeout": 10, "body_timeout": 8})
    wire = await served.connect()
    whole = post("0123456789", "one")
    for _ in range(2):
        await clock.advance(9)
        await wire.send(whole[:-5])
        await clock.advance(4)
        await wire.send(whole[-5:-2])
        await clock.advance(3.9)
        assert "no such session" in await ask(wire, whole[-2:])
        assert here(served) == 1
    await clock.advance(9)
    await wire.send(whole[:-5])
    await clock.advance(4)
    await wire.send(whole[-5:-2])
    await clock.advance(3.9)
    assert not wire.reader.at_eof()
    await clock.advance(0.2)
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize("size", [LOOK - 1, LOOK, LOOK + 1, 10 * LOOK])
async def test_a_request_may_be_larger_than_the_look(serve, size):
    served = serve()
    session_id, _ = await served.open()
    empty = len(post(session_id, 9 * LOOK * "x")) - 9 * LOOK
    message = (size - empty) * "x"
    whole = post(session_id, message)
    message += (size - len(whole)) * "x"  # the lengths have another number of digits
    whole = post(session_id, message)
    assert len(whole) == size
    wire = await served.connect()
    assert await ask(wire, whole) == "ok"
    assert connection_of(served, session_id).events[1:] == [("message", message)]
    assert await ask(wire, poll(session_id)) == proto.encode(message)
    await until(lambda: is_here(served, wire))


# -- One request behind another ----------------------------------------------------------------------------------------


class Slow(Recorder):
    """Handles a message only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Event()

    async def on_message(self, message: Any) -> None:
        self.events.append(("begins", message))
        await self.may_go_on.wait()


@pytest.mark.usefixtures("each_way")
async def test_the_next_request_is_handled_after_the_answer(serve):
    served = serve(Slow)
    (first, _), (second, _) = await served.open(), await served.open()
    wire = await served.connect()
    await wire.send(post(first, "one") + post(second, "two"))
    await until(lambda: ("begins", "one") in connection_of(served, first).events)
    connection_of(served, second).may_go_on.set()
    await served.barrier()
    assert connection_of(served, second).events == [("open", "")]
    connection_of(served, first).may_go_on.set()
    for _ in range(2):
        assert (await wire.read_response()).text == "ok"
    assert connection_of(served, second).events[1:] == [("begins", "two")]


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("together", [True, False])
async def test_a_request_behind_a_poll_that_waits_is_handled_after_its_answer(serve, together):
    served = serve()
    (first, _), (second, _) = await served.open(), await served.open()
    wire = await served.connect()
    await wire.send(poll(first) + (post(second, "two") if together else b""))
    await served.barrier()
    if not together:
        await wire.send(post(second, "two"))
    await served.barrier()
    assert connection_of(served, second).events == [("open", "")]
    connection_of(served, first).send("news")
    assert (await wire.read_response()).text == proto.encode("news")
    assert (await wire.read_response()).text == "ok"
    assert connection_of(served, second).events[1:] == [("message", "two")]


async def test_unread_requests_keep_nobody_busy_while_a_poll_waits(serve, count_polls):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    count_polls.clear()
    await wire.send(poll(session_id) + 10 * post(session_id, "more"))
    for _ in range(20):
        await served.barrier()
    assert len(count_polls) == 1
    served.router.broadcast("news")
    for expected in [proto.encode("news"), *10 * ["ok"]]:
        assert (await wire.read_response()).text == expected


async def test_requests_of_every_kind_follow_one_another_in_one_packet(serve):
    served = serve(handlers=(PAGE,))
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(
        post(session_id, "one") + poll(session_id) + request({}, "/page") + post(session_id, "two") + poll(session_id)
    )
    answers = [(await wire.read_response()).text for _ in range(5)]
    assert answers == ["ok", proto.encode("one"), "a page", "ok", proto.encode("two")]


async def test_a_websocket_may_follow_a_poll_with_its_first_frame_in_the_same_packet(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    upgrade = request(ENTERED, "/socket.io/websocket")
    await wire.send(post(session_id, "one") + upgrade + frame(1, proto.encode("early").encode()))
    assert (await wire.read_response()).text == "ok"
    assert (await wire.read_head()).status == 101
    assert (await wire.read_until(b"early")).endswith(proto.encode("early").encode())
    assert here(served) == 0


@pytest.mark.parametrize("size", [0, 3, 8])
async def test_key3_may_come_with_the_handshake_or_later(serve, size):
    """No byte of it is read as part of the request, nor lost."""
    served = serve()
    wire = await served.connect()
    await wire.send(request({**UPGRADE, **KEYS}, "/socket.io/flashsocket") + KEY3[:size])
    assert (await wire.read_head()).status == 101
    await served.barrier()
    await wire.send(KEY3[size:] + b"\x00" + proto.encode("early").encode() + b"\xff")
    assert await wire.read_exactly(16) == ANSWER
    await wire.read_until(proto.encode("early").encode() + b"\xff")
    assert Recorder.opened[0].events == [("open", ""), ("message", "early")]


async def test_a_client_with_many_requests_at_once_leaves_others_their_turn(serve):
    served = serve()
    (greedy, _), (other, _) = await served.open(), await served.open()
    wire, others = await served.connect(), await served.connect()
    await wire.send(300 * post(greedy, "x"))
    assert await ask(others, post(other, "y")) == "ok"
    assert len(connection_of(served, greedy).events) < 200
    for _ in range(300):
        assert (await wire.read_response()).text == "ok"


# -- Ends --------------------------------------------------------------------------------------------------------------


async def test_a_client_that_has_said_all_gets_its_answers(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(post(session_id, "one") + post(session_id, "two"))
    wire.writer.write_eof()
    answers = await wire.read_to_end()
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"\r\n\r\nok") == 2
    await until(lambda: here(served) == 0)


@pytest.mark.usefixtures("each_way")
async def test_a_poll_of_a_client_that_has_said_all_has_ended_and_loses_nothing(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(poll(session_id))
    wire.writer.write_eof()
    assert await wire.read_to_end() == b""
    served.router.broadcast("news")
    assert (await served.poll(session_id)).text == proto.encode("news")


async def test_a_poll_that_was_reset_with_unread_requests_behind_it_loses_nothing(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(poll(session_id) + poll(session_id))
    await served.barrier()
    wire.reset()
    await served.barrier()
    served.router.broadcast("news")
    await until(lambda: here(served) == 0)
    assert (await served.poll(session_id)).text == proto.encode("news")


async def test_connections_that_end_without_a_word_are_let_go(serve, caplog):
    served = serve()
    wires = [await served.connect() for _ in range(10)]
    await served.barrier()
    await until(lambda: here(served) == 10)
    for number, wire in enumerate(wires):
        if number % 2:
            wire.reset()
        else:
            await wire.aclose()
    await until(lambda: here(served) == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# -- Silence -----------------------------------------------------------------------------------------------------------


async def test_silence_counts_anew_after_each_answer(serve, clock):
    served = serve()
    wire = await served.connect()
    for _ in range(4):
        await clock.advance(19)
        assert "no such session" in await ask(wire, request({}, UNKNOWN))
    await clock.advance(19.9)
    assert not wire.reader.at_eof()
    await clock.advance(0.2)
    assert await wire.read_to_end() == b""
    assert here(served) == 0


async def test_silence_counts_from_a_polls_answer_not_from_the_poll(serve, clock):
    served = serve(settings={"xhr_polling_timeout": 50})
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(poll(session_id))
    await clock.advance(50.1)
    assert (await wire.read_response()).text == ""
    await clock.advance(19.8)
    assert not wire.reader.at_eof()
    await clock.advance(0.2)
    assert await wire.read_to_end() == b""


async def test_a_request_that_comes_too_slowly_after_a_plain_one_is_given_up(serve, clock):
    served = serve()
    wire = await served.connect()
    await ask(wire, request({}, UNKNOWN))
    await clock.advance(10)
    await wire.send(b"GET /")
    await clock.advance(9.9)
    assert not wire.reader.at_eof()
    await clock.advance(0.2)
    assert await wire.read_to_end() == b""


async def test_one_silent_connection_after_the_other_is_closed(serve, clock):
    served = serve()
    wires = []
    for _ in range(5):
        wires.append(await served.connect())
        await clock.advance(1)
    await clock.advance(15.1)
    for open_ones in (4, 3, 2, 1, 0):
        assert here(served) == open_ones
        await clock.advance(1)
    assert clock.timers == []


# -- Answers that the socket does not take at once ---------------------------------------------------------------------


async def test_a_connection_whose_response_was_taken_late_is_tornados_for_one_request(serve):
    served = serve(handlers=(PAGE,))
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(poll(session_id) + post(session_id, "behind"))
    await served.barrier()
    served.router.broadcast(LARGE)
    await wire.read_until(b"\r\n\r\n")
    await served.barrier()
    assert connection_of(served, session_id).events == [("open", "")]
    assert (await wire.read_exactly(len(proto.encode(LARGE)))).decode() == proto.encode(LARGE)
    assert (await wire.read_response()).text == "ok"
    await until(lambda: here(served) == 1)
    assert await ask(wire, poll(session_id)) == proto.encode("behind")
    assert await ask(wire, request({}, "/page")) == "a page"


async def test_shutdown_closes_a_connection_that_does_not_take_its_answer(serve, clock):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()
    await wire.send(poll(session_id))
    await served.barrier()
    served.router.broadcast(LARGE)
    await wire.read_head()
    await clock.wait_for(served.server.shutdown(timeout=3))
    assert len(await wire.read_to_end()) < len(LARGE)
    assert here(served) == 0
    assert clock.timers == []


async def test_shutdown_closes_connections_that_are_silent_or_were_answered(serve, clock):
    served = serve()
    wires = [await served.connect() for _ in range(4)]
    for wire in wires[:2]:
        await ask(wire, request({}, UNKNOWN))
    await wires[1].send(b"GET /soc")
    await served.barrier()
    await until(lambda: here(served) == 4)
    await served.server.shutdown()
    for wire in wires:
        assert await wire.read_to_end() == b""
    assert here(served) == 0
    assert clock.timers == []


# -- Whose a request is ------------------------------------------------------------------------------------------------

TAKEN = r"/socket\.io/xhr-polling/0123456789/.*"


class FromBrowsers(Matcher):
    """A rule of the application's own."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return {} if "User-Agent" in request.headers else None


RULES: dict[str, tuple[list[Any], dict[str, str], bool]] = {
    "a path": ([(TAKEN, Page), None], {}, True),
    "a path with groups": ([(r"/(\w+)\.(\w+)/.*", Page), None], {}, True),
    "a path behind the router": ([None, (TAKEN, Page)], {}, False),
    "another path": ([PAGE, (r"/socket\.io", Page), None], {}, False),
    "nested rules": ([(r"/socket\.io/.*", [(TAKEN, Page)]), None], {}, True),
    "nested rules that don't match": ([(r"/socket\.io/.*", [PAGE]), None], {}, False),
    "its host": ([Rule(HostMatches("example.com"), Page), None], {"Host": "example.com"}, True),
    "another host": ([Rule(HostMatches("example.org"), Page), None], {"Host": "example.com"}, False),
    "its own rule": ([Rule(FromBrowsers(), Page), None], {"User-Agent": "x"}, True),
    "its own rule that doesn't match": ([Rule(FromBrowsers(), Page), None], {}, False),
    "a subclass of a path": ([Rule(type("Mine", (PathMatches,), {})(TAKEN), Page), None], {}, True),
}


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("name", RULES)
async def test_rules_before_the_router_win(serve_rules, name):
    rules, headers, wins = RULES[name]
    served = serve_rules(rules)
    response = await served.request("GET", UNKNOWN, headers)
    assert (response.text == "a page") is wins
    assert (response.status == 401) is not wins


@pytest.mark.usefixtures("each_way")
async def test_rules_for_a_host_win(serve_rules):
    served = serve_rules([None])
    application = served.server.request_callback
    application.add_handlers(r"example\.com", [(TAKEN, Page)])
    assert (await served.request("GET", UNKNOWN, {"Host": "example.com"})).text == "a page"
    assert (await served.request("GET", UNKNOWN)).status == 401


async def test_rules_may_be_added_while_a_connection_is_open(serve_rules):
    served = serve_rules([None])
    wire = await served.connect()
    assert "no such session" in await ask(wire, request({}, UNKNOWN))
    served.server.request_callback.add_handlers(".*", [(TAKEN, Page)])
    assert await ask(wire, request({}, UNKNOWN)) == "a page"


@pytest.mark.parametrize("method", ["find_handler", "start_request"])
async def test_an_application_that_handles_requests_in_its_own_way_sees_them_all(serve_rules, method):
    seen = []

    def handle(self: Any, *arguments: Any, **others: Any) -> Any:
        seen.append(method)
        return getattr(tornado.web.Application, method)(self, *arguments, **others)

    served = serve_rules([None], type("Own", (tornado.web.Application,), {method: handle}))
    wire = await served.connect()
    for _ in range(2):
        await ask(wire, request({}, UNKNOWN))
    assert len(seen) >= 2  # Tornado's HTTP starts the next request before it comes


async def test_without_the_fast_path_tornado_reads_every_request(serve, monkeypatch):
    def fail(data: bytes) -> None:
        raise RuntimeError("as the test asked")

    monkeypatch.setattr(tornadio.web.fastconnection, "parse_simple_request", fail)
    served = serve(server={"fast_path": False, "xheaders": ["127.0.0.1"]})
    wire = await served.connect()
    await wire.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n")
    for _ in range(3):
        assert "no such session" in await ask(wire, request({}, UNKNOWN))
        assert here(served) == 0
    policy = await served.connect()
    await policy.send(b"<policy-file-request/>\0")
    assert b"allow-access-from" in await policy.read_to_end()


def changed_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathMatches, "__init__", lambda self, pattern: setattr(self, "pattern", pattern))


def changed_request(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = HTTPServerRequest.__init__

    def __init__(self: HTTPServerRequest, **arguments: Any) -> None:
        whole(self, **arguments)
        self.remote_ip = "0.0.0.0"  # not that of the connection's context

    monkeypatch.setattr(HTTPServerRequest, "__init__", __init__)


def changed_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IOStream, "_read_buffer_size", property(lambda self: None, lambda self, size: None), False)


CHANGES = {
    "PathMatches.regex": changed_rules,
    "HTTPServerRequest(connection=...)": changed_request,
    "IOStream._read_buffer_size": changed_stream,
}


@pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES)
async def test_a_tornado_that_lacks_what_the_fast_path_needs_serves_all_requests_itself(
    serve, monkeypatch, caplog, name, change
):
    with monkeypatch.context() as patched:
        change(patched)
        served = serve()
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 1
    assert "every request is served by Tornado's HTTP" in lines[0]
    assert name in lines[0]
    wire = await served.connect()
    for _ in range(2):
        assert "no such session" in await ask(wire, request({}, UNKNOWN))
        assert here(served) == 0


async def test_an_application_whose_rules_are_others_than_expected_is_served_by_tornado_alone(caplog):
    class Rules:
        """A rule as a later Tornado might have it."""

        target = None

    application = tornado.web.Application([], socket_io_port=0, socket_io_address="127.0.0.1")
    application.wildcard_router.rules.append(Rules())  # type: ignore[arg-type]
    server = tornadio.SocketServer(application, auto_start=False)
    assert "has no Application.default_router and wildcard_router, with the rules of each" in caplog.text
    assert not has_fast_path(server)
    await shut_down(server)


async def test_this_tornado_has_all_that_the_fast_path_needs(serve, caplog):
    served = serve()
    assert has_fast_path(served.server)
    assert missing_interfaces(served.server.request_callback) == []
    assert "Tornado" not in caplog.text


async def test_a_server_without_keep_alive_closes_after_each_answer(serve):
    served = serve(server={"no_keep_alive": True})
    wire = await served.connect()
    await wire.send(2 * request({}, UNKNOWN))
    response = await wire.read_response()
    assert (response.status, response.headers["connection"]) == (401, "close")
    assert await wire.read_to_end() == b""


# -- What the application sees of it -----------------------------------------------------------------------------------

FIELDS = {
    "Host": "Example.com:8001",
    "User-Agent": "  x  y ",
    "cookie": "a=1; b=two",
    "X-REAL-IP": "192.0.2.1",
    "X-Empty": "",
}
QUERY = "?a=1&b=&a=%C3%A9&c"
REQUESTS = {transport: (FIELDS, f"/socket.io/{transport}//1/0{QUERY}") for transport in HTTP_TRANSPORTS} | {
    "websocket": (FIELDS | ENTERED, f"/socket.io/websocket{QUERY}"),
    "flashsocket": (FIELDS | UPGRADE, f"/socket.io/flashsocket{QUERY}"),
}


def facts(request: Any) -> dict[str, Any]:
    names = (
        *("method", "uri", "path", "query", "version", "host", "host_name", "protocol", "remote_ip", "body"),
        *("arguments", "query_arguments", "body_arguments", "files"),
    )
    return {name: getattr(request, name) for name in names} | {
        "headers": list(request.headers.get_all()),
        "cookies": {name: morsel.value for name, morsel in request.cookies.items()},
        "full_url": request.full_url(),
        "agent": request.headers["USER-agent"],
        "who": request.connection.context.remote_ip,
    }


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_on_open_gets_the_same_request_as_from_tornados_http(serve, transport):
    seen = []
    headers, path = REQUESTS[transport]
    for fast_path in (True, False):
        served = serve(settings={"hosts": ["example.com"]}, server={"fast_path": fast_path})
        wire = await served.connect()
        await wire.send(request(headers, path))
        assert (await wire.read_head()).status in (200, 101)
        opened = Recorder.opened.pop().request
        assert isinstance(opened, HTTPServerRequest)
        assert 0 <= opened.request_time() < 60
        seen.append(facts(opened))
    ours, tornados = seen
    assert ours == tornados
    assert ours["cookies"] == {"a": "1", "b": "two"}
    assert ours["arguments"] == {"a": [b"1", "é".encode()], "b": [b""], "c": [b""]}
    assert (ours["remote_ip"], ours["host_name"], ours["agent"]) == ("127.0.0.1", "example.com", "x  y")


def unread_request(uri: str = "/a?b=c") -> ContextRequest:
    return ContextRequest("GET", uri, {"host": "x", "cookie": "a=1"}, Client("192.0.2.1", "http", ""), 0.0)


async def test_a_request_is_not_parsed_before_an_application_looks_into_it(serve, monkeypatch):
    made: list[None] = []
    whole = HTTPServerRequest.__init__

    def counted(request: HTTPServerRequest, **arguments: Any) -> None:
        made.append(None)
        whole(request, **arguments)

    served = serve()
    monkeypatch.setattr(HTTPServerRequest, "__init__", counted)
    for transport in ("xhr-polling", "websocket"):
        await (await greeted(served, transport)).leave()
    assert made == []
    opened = Recorder.opened[0].request
    assert opened.headers["Host"] == "127.0.0.1"
    assert opened.remote_ip == "127.0.0.1"
    assert made == [None]


def test_a_request_has_what_an_application_sets_before_it_looks_into_it():
    asked = unread_request()
    asked.remote_ip = "192.0.2.2"
    asked.user = "somebody"
    assert (asked.host, asked.path, asked.remote_ip, asked.user) == ("x", "/a", "192.0.2.2", "somebody")


def test_a_request_lacks_what_tornados_lacks():
    for asked in (unread_request(), copy.copy(unread_request())):
        for _ in range(2):
            assert not hasattr(asked, "nothing")
            assert asked.arguments == {"b": [b"c"]}
            assert asked.cookies["a"].value == "1"


async def test_log_function_gets_what_a_request_handler_would_tell(serve):
    logged: list[Any] = []

    def log(handler: Any) -> None:
        told = handler.request
        assert 0 <= told.request_time() < 60
        logged.append((handler.get_status(), told.method, told.uri, told.remote_ip, told.headers["Host"]))

    served = serve(application={"log_function": log})
    session_id = await served.shake_hands()
    wire = await served.connect()
    await ask(wire, post(session_id, "one"))
    await ask(wire, request({}, UNKNOWN))
    assert logged == [
        (200, "GET", "/socket.io/xhr-polling//1290000000000", "127.0.0.1", "127.0.0.1"),
        (200, "POST", f"/socket.io/xhr-polling/{session_id}/send", "127.0.0.1", "127.0.0.1"),
        (401, "GET", UNKNOWN, "127.0.0.1", "127.0.0.1"),
    ]


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("transport", POLLING)
async def test_a_log_function_that_fails_costs_neither_an_answer_nor_a_message(serve, caplog, transport):
    def log(handler: Any) -> None:
        raise RuntimeError("as the test asked")

    served = serve(application={"log_function": log})
    session_id, _ = await served.open(transport)
    wire = await served.start_poll(session_id, transport)
    served.router.broadcast("one")
    served.router.broadcast("two")
    assert payload_of(await wire.read_response(), transport) == proto.encode(["one", "two"])
    await wire.send(request({}, f"/socket.io/{transport}/0123456789/1/0"))
    assert (await wire.read_response()).status == 401
    await wire.send_request("OPTIONS", f"/socket.io/{transport}/")
    assert (await wire.read_response()).status == 200
    await wire.send(request({}, f"/socket.io/{transport}/{session_id}/1/0"))
    served.router.broadcast("three")
    assert payload_of(await wire.read_response(), transport) == proto.encode("three")
    assert "log_function failed" in caplog.text


# -- What must not happen, and what then does --------------------------------------------------------------------------


def fail(self: XHRPollingHandler, body: bytes = b"") -> None:
    raise RuntimeError("as the test asked")


def fail_later(self: XHRPollingHandler) -> Awaitable[None]:
    async def fail_in_task() -> None:
        raise RuntimeError("as the test asked")

    return fail_in_task()


@pytest.mark.parametrize(
    ("name", "method"),
    [("headers_received", fail), ("headers_received", fail_later), ("handle", fail)],
    ids=["headers_received", "headers_received, later", "handle"],
)
async def test_a_handler_that_fails_is_logged_and_its_connection_closed(serve, monkeypatch, caplog, name, method):
    served = serve()
    monkeypatch.setattr(XHRPollingHandler, name, method)
    wire = await served.connect()
    await wire.send(2 * request({}, UNKNOWN))
    assert await wire.read_to_end() == b""
    assert caplog.text.count("failed on a request of 127.0.0.1") == 1
    assert "as the test asked" in caplog.text
    assert here(served) == 0


async def test_nothing_is_left_of_a_connection_however_often_it_was_used(serve, clock):
    served = serve(settings={"xhr_polling_timeout": 10, "session_expiry": 1000}, handlers=(PAGE,))
    session_id, _ = await served.open()
    uses = (
        *(b"", request({}, UNKNOWN), 3 * request({}, UNKNOWN), post(session_id, "x"), b"GET", request({}, "/page")),
        *(poll(session_id), poll(session_id) + b"G", request({"Content-Length": "5"}, UNKNOWN), b"nonsense\r\n\r\n"),
        *(request(ENTERED, "/socket.io/websocket"), request({}, "/socket.io/htmlfile"), request(UPGRADE, UNKNOWN)),
    )
    with without_collector():
        await clock.advance(0.1)
        before = left_behind()
        for number, use in enumerate(2 * uses):
            wire = await served.connect()
            await wire.send(use)
            await served.barrier()
            if number < len(uses):
                wire.reset()
            else:
                await wire.aclose()
            await served.barrier()
        await clock.advance(0.1)
        Recorder.opened.clear()
        assert here(served) == 0
        assert left_behind() == before


async def test_a_connection_that_stays_holds_no_more_after_many_requests(serve):
    served = serve()
    session_id, _ = await served.open()
    wire = await served.connect()

    async def use(times: int) -> dict[str, Any]:
        for number in range(times):
            assert await ask(wire, post(session_id, number)) == "ok"
            assert await ask(wire, poll(session_id)) == proto.encode(number)
        await served.barrier()
        connection_of(served, session_id).events.clear()
        holds = vitals(served.router)
        del holds["objects"]["_Entry"]  # of connections that have gone: a place in the heap, until its time
        return {name: holds[name] for name in ("descriptors", "tasks", "timers", "objects")}

    first = await use(5)
    assert await use(50) == first


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_a_loop_that_cannot_watch_sockets_serves_plain_requests_too(serve, monkeypatch, transport):
    """Windows' default loop: there the connection of a WebSocket or of a stream stays on Tornado's stream."""
    without_watching_sockets(monkeypatch)
    served = serve()
    client = await greeted(served, transport)
    for message in ("one", "two"):
        await exchange(client, message)
    await client.leave()
