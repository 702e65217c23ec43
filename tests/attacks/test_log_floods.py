"""What one bad client makes of the log: a few short lines, printable ones, whatever it does, however often."""

from __future__ import annotations

import contextlib
import logging
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import tornado.web

from tests.attacks.bad_requests import REQUESTS, VERSION_13
from tests.clients import connect, frame, opened
from tests.internals import later
from tests.slow_clients import connect_without_room, stop_reading
from tests.support import POLLING, ClientStream, Recorder, Served
from tornadio import logs, proto

REPETITIONS = 150
# Two kinds of line for a failure: its traceback, and the line of the access log.
MAX_LINES = 2 * logs.MAX_LINES
MAX_BYTES = 8000
MAX_LENGTH = 500

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
ABOUT_A_SESSION = re.compile(r"session [0-9a-f]{8} \([a-z-]+\): ")

PAGE = {"Origin": "http://127.0.0.1:8080"}

Commit = Callable[[Served], Awaitable[None]]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def is_told(record: logging.LogRecord) -> bool:
    """Whether a record counts here: neither the access log's of what went well, nor what asyncio's debug mode notes."""
    if record.name == "asyncio":
        return record.levelno >= logging.ERROR
    return record.name != "tornado.access" or record.levelno > logging.INFO


def told(log: pytest.LogCaptureFixture) -> list[str]:
    """The lines so far, each held to what is true of every line."""
    records = [record for record in log.records if is_told(record)]
    lines = [record.message for record in records]  # as it was when it was written
    for record, line in zip(records, lines, strict=True):
        assert len(line) <= MAX_LENGTH
        assert not UNPRINTABLE.search(line)
        if "session" in record.name:
            assert ABOUT_A_SESSION.match(line), line
    return lines


async def flood(served: Served, log: pytest.LogCaptureFixture, commit: Commit, times: int = REPETITIONS) -> list[str]:
    """Commit a fault again and again: the lines that it makes."""
    log.clear()
    for _ in range(times):
        await commit(served)
    await served.barrier()
    lines = told(log)
    assert len(lines) <= MAX_LINES
    assert sum(map(len, lines)) <= MAX_BYTES
    assert [record.exc_info for record in log.records if record.exc_info] == []
    return lines


async def assert_that_others_are_heard(served: Served, log: pytest.LogCaptureFixture, session_id: str) -> None:
    """A line of another kind gets through, with its traceback: the application's own failure."""
    await served.post(session_id, "fail", transport="htmlfile")
    failures = [record for record in log.records if record.exc_info]
    assert [record.message for record in failures] == [f"session {session_id[:8]} (htmlfile): on_message failed"]


async def assert_that_it_is_told_later(
    served: Served, log: pytest.LogCaptureFixture, log_limit: logs.RateLimiter, commit: Commit, times: int = REPETITIONS
) -> None:
    """When the time is over, the next line of the kind says how many there were."""
    with later(log_limit):
        log.clear()
        await commit(served)
        await served.barrier()
    assert told(log)
    for line in told(log):
        assert line.endswith(f" ({times - logs.MAX_LINES} more like it were left out)")


# -- Requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_flood_of_bad_requests_makes_a_few_lines(serve, log, log_limit, kind):
    served = serve(settings={"max_message_size": 990, "max_payload_size": 1000})
    session_id = await served.start("htmlfile")
    method, path, headers, body = REQUESTS[kind]

    async def commit(served: Served) -> None:
        response = await served.request(method, path.format(session_id=session_id), headers, body)
        assert 400 <= response.status < 500

    lines = await flood(served, log, commit)
    assert any(line.endswith(" (more like it are left out for 60 s)") for line in lines)
    await assert_that_others_are_heard(served, log, await served.start("htmlfile"))
    await assert_that_it_is_told_later(served, log, log_limit, commit)


BYTES = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no HTTP": b"\x00" * 100 + b"\r\n\r\n",
    "HTTP of another version": b"GET / HTTP/9.9\r\n\r\n",
    "half a request": b"POST /socket.io/xhr-polling/x/send HTTP/1.1\r\nContent-Length: 100\r\n\r\nx",
    "headers too large": b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    "another policy": b"<policy-file-request/>x",
    "nothing": b"",
}


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("kind", BYTES)
async def test_a_flood_of_connections_that_come_to_nothing_makes_a_few_lines(serve, log, kind, reset):
    served = serve()
    session_id = await served.start("htmlfile")

    async def commit(served: Served) -> None:
        wire = await served.connect()
        await wire.send(BYTES[kind])
        if reset:
            wire.reset()
        else:
            wire.writer.write_eof()
            await wire.read_to_end()
            await wire.aclose()
        served.wires.remove(wire)

    await flood(served, log, commit)
    await assert_that_others_are_heard(served, log, session_id)


async def test_many_bodies_that_do_not_come_make_a_few_lines(serve, clock, log):
    served = serve()
    log.clear()
    for _ in range(100):  # all at once, and each needs two descriptors of this process
        wire = await served.connect()
        await wire.send_request("POST", "/socket.io/xhr-polling/x/send", {"Content-Length": "10"})
    await clock.advance(60)
    for wire in served.wires:
        assert await wire.read_to_end() == b""
    assert len(told(log)) == logs.MAX_LINES


async def test_a_flood_of_clients_without_tls_makes_a_few_lines(serve, log):
    served = serve(server={"ssl_options": ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)})
    log.clear()
    for _ in range(REPETITIONS):
        wire = await served.connect()
        await wire.send(b"GET / HTTP/1.1\r\n\r\n")
        await wire.read_to_end()
        await wire.aclose()
    lines = told(log)
    assert 0 < len(lines) <= MAX_LINES
    assert sum(map(len, lines)) <= MAX_BYTES
    assert [record.exc_info for record in log.records if record.exc_info] == []


# -- WebSockets --------------------------------------------------------------------------------------------------------

FRAMES = {
    "no frames": frame(1, b"nonsense"),
    "long frames that are none": frame(1, b"x" * 900),
    "JSON that is none": frame(1, b"~m~5~m~~j~{x"),
    "a binary message": frame(2, b"x"),
    "no UTF-8": frame(1, b"\xff"),
    "a message too large": frame(1, b"x" * 1001),
    "a frame without a mask": b"\x81\x01x",
    "reserved bits": b"\xf1\x81\x00\x00\x00\x00x",
    "a close frame with an illegal code": frame(8, b"\x00\x01"),
}
HIXIE_FRAMES = {
    "no frames": b"\x00nonsense\xff",
    "no UTF-8": b"\x00\xfe\xff",
    "a message too large": b"\x00" + b"x" * 1001 + b"\xff",
    "an unknown type": b"\x01",
    "a length without end": b"\x80" + b"\x80" * 9,
}


@pytest.mark.parametrize(
    ("version", "data"),
    [pytest.param("13", data, id=kind) for kind, data in FRAMES.items()]
    + [pytest.param("76", data, id=f"{kind}, draft-76") for kind, data in HIXIE_FRAMES.items()],
)
async def test_a_flood_of_bad_websocket_frames_makes_a_few_lines(serve, log, log_limit, version, data):
    served = serve(settings={"max_message_size": 990, "max_payload_size": 1000})
    session_id = await served.start("htmlfile")

    async def commit(served: Served) -> None:
        peer = await opened(served, version)
        await peer.wire.send(data)
        await peer.wire.read_to_end()
        await peer.wire.aclose()
        served.wires.remove(peer.wire)

    lines = await flood(served, log, commit)
    assert len(lines) == logs.MAX_LINES
    assert all(ABOUT_A_SESSION.match(line) for line in lines)
    await assert_that_others_are_heard(served, log, session_id)
    await assert_that_it_is_told_later(served, log, log_limit, commit)


# -- Sessions ----------------------------------------------------------------------------------------------------------


async def test_a_flood_of_clients_past_max_sessions_makes_a_few_lines(serve, log, log_limit):
    served = serve(settings={"max_sessions": 1})
    session_id = await served.start("htmlfile")

    async def commit(served: Served) -> None:
        assert (await served.request("GET", "/socket.io/xhr-polling//1")).status == 503

    await flood(served, log, commit)
    await assert_that_it_is_told_later(served, log, log_limit, commit)
    await assert_that_others_are_heard(served, log, session_id)


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
async def test_a_flood_of_clients_that_on_open_refuses_makes_a_few_lines(serve, log, log_limit, transport):
    class Refusing(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return False

    served = serve(Refusing)

    async def commit(served: Served) -> None:
        Recorder.opened.clear()
        if transport == "xhr-polling":
            assert (await served.request("GET", "/socket.io/xhr-polling//1")).status == 403
        else:
            peer = await connect(served)
            assert await peer.ended() == 1008
            served.wires.remove(peer.wire)

    lines = await flood(served, log, commit)
    assert len([line for line in lines if "on_open returned False" in line]) == len(lines) == logs.MAX_LINES
    await assert_that_it_is_told_later(served, log, log_limit, commit)


async def test_a_flood_of_clients_that_are_too_slow_makes_a_few_lines(serve, log, log_limit):
    served = serve(settings={"max_send_buffer": 1000})
    session_id = await served.start("htmlfile")

    async def commit(served: Served) -> None:
        peer = await opened(served)
        await peer.send(proto.encode("x" * 1000))  # and the echo is too much
        assert await peer.ended() == 1008
        served.wires.remove(peer.wire)

    lines = await flood(served, log, commit)
    assert len(lines) == logs.MAX_LINES
    assert all(ABOUT_A_SESSION.match(line) and "too slow" in line for line in lines)
    await assert_that_others_are_heard(served, log, session_id)
    await assert_that_it_is_told_later(served, log, log_limit, commit)


@pytest.mark.parametrize("transport", POLLING)
async def test_a_flood_of_sessions_that_nobody_comes_back_for_makes_a_few_lines(serve, clock, log, transport):
    served = serve()

    async def commit(served: Served) -> None:
        await served.open(transport)

    await flood(served, log, commit)
    await clock.advance(60)
    assert served.router.connections == ()
    assert len(told(log)) == logs.MAX_LINES


@pytest.mark.parametrize("transport", POLLING)
async def test_a_flood_of_sessions_that_expire_makes_a_few_lines(serve, clock, log, transport):
    served = serve()

    async def commit(served: Served) -> None:
        session_id, _ = await served.open(transport)
        await served.post(session_id, "hello", transport=transport)

    await flood(served, log, commit)
    await clock.advance(60)
    assert served.router.connections == ()
    lines = told(log)
    assert len(lines) == logs.MAX_LINES
    assert all("expired" in line for line in lines)


@pytest.mark.parametrize("version", ["13", "76"])
async def test_many_clients_that_answer_no_heartbeat_make_a_few_lines(serve, clock, log, version):
    served = serve()
    for _ in range(100):  # all at once, and each needs two descriptors of this process
        await opened(served, version)
    log.clear()
    await clock.advance(60)
    assert served.router.connections == ()
    lines = told(log)
    assert len(lines) == logs.MAX_LINES
    assert all("heartbeats" in line for line in lines)


async def test_many_answers_that_are_not_taken_make_a_few_lines(serve, clock, log):
    served = serve(settings={"heartbeat_timeout": 1, "session_expiry": 1, "session_check_interval": 1})
    log.clear()
    for _ in range(logs.MAX_LINES + 2):
        session_id, _ = await served.open()
        wire = await connect_without_room(served.port)
        served.wires.append(wire)
        stop_reading(wire)
        await wire.send_request("GET", f"/socket.io/xhr-polling/{session_id}/1290000000000")
        await served.barrier()
        served.router.broadcast("x" * (8 << 20))
        await clock.advance(1 + (8 << 20) / 4096 + 1)
        await clock.advance(5)
        assert served.router.connections == ()
    lines = told(log)
    assert len([line for line in lines if "does not take" in line]) == logs.MAX_LINES
    assert len(lines) == 2 * logs.MAX_LINES  # they expire, too


# -- The application's own failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
async def test_a_flood_of_messages_that_the_application_fails_on_makes_a_few_tracebacks(serve, log, transport):
    served = serve()
    log.clear()
    for _ in range(REPETITIONS):
        if transport == "xhr-polling":
            session_id, _ = await served.open()
            assert (await served.post(session_id, "fail")).status == 500
        else:
            peer = await opened(served)
            await peer.send(proto.encode("fail"))
            assert await peer.ended() == 1011
    failures = [record for record in log.records if record.exc_info]
    assert len(failures) == logs.MAX_LINES
    for record in failures:
        assert ABOUT_A_SESSION.match(record.message)
        assert "RuntimeError: as the test asked" in logging.Formatter().format(record)
    assert len(told(log)) <= MAX_LINES


class FailingPage(tornado.web.RequestHandler):
    """Fails in one of two ways, as the request asks."""

    def get(self, way: str) -> None:
        if way == "one":
            raise RuntimeError(self.request.uri)
        raise RuntimeError("as the test asked")


async def test_a_flood_of_requests_that_a_page_fails_on_makes_a_few_tracebacks_of_each_failure(serve, log, log_limit):
    served = serve(handlers=[("/fail/(.*)", FailingPage)])
    log.clear()
    for _ in range(REPETITIONS):
        assert (await served.request("GET", "/fail/one?" + "x" * 1000)).status == 500
    assert len(told(log)) == MAX_LINES
    assert (await served.request("GET", "/fail/another")).status == 500
    failures = [record for record in log.records if record.exc_info]
    assert len(failures) == logs.MAX_LINES + 1
    assert "as the test asked" in logging.Formatter().format(failures[-1])


async def test_after_a_flood_of_one_failure_of_on_message_the_first_of_another_is_told(serve, log):
    class Failing(Recorder):
        def on_message(self, message: Any) -> Any:
            if message == "another":
                raise LookupError("a bug that nobody has seen yet")
            super().on_message(message)

    served = serve(Failing)
    for _ in range(2 * logs.MAX_LINES):
        session_id, _ = await served.open()
        assert (await served.post(session_id, "fail")).status == 500
    session_id, _ = await served.open()
    assert (await served.post(session_id, "another")).status == 500
    failures = [record for record in log.records if record.exc_info]
    assert len(failures) == logs.MAX_LINES + 1
    assert "a bug that nobody has seen yet" in logging.Formatter().format(failures[-1])


# -- Many addresses ----------------------------------------------------------------------------------------------------


def refusals(log: pytest.LogCaptureFixture) -> list[str]:
    names = ("tornado.access", "tornadio.transports.responses")
    return [record.message for record in log.records if record.name in names]


async def test_what_many_forged_addresses_are_refused_makes_a_hundred_lines(serve, log, log_limit):
    served = serve(server={"xheaders": True})
    session_id = await served.start("htmlfile")
    log.clear()
    wire = await served.connect()
    for number in range(2000):
        address = f"192.0.{number >> 8}.{number & 255}" if number % 2 else f"2001:db8:{number:x}::1"
        await wire.send_request("GET", "/socket.io/xhr-polling/0123456789/1", {"X-Real-Ip": address})
        assert (await wire.read_response()).status == 401
    assert len(refusals(log)) == logs.MAX_TOTAL_LINES == len(told(log))
    assert sum(map(len, told(log))) < 200 * logs.MAX_TOTAL_LINES
    await assert_that_others_are_heard(served, log, session_id)
    with later(log_limit):
        log.clear()
        assert (await served.post("0123456789", "again")).status == 401
    assert refusals(log)[0].endswith(" (1900 more of all clients were left out)")


async def test_what_scanners_are_refused_does_not_hide_why_a_page_is(serve, log):
    served = serve(server={"xheaders": True})
    wire = await served.connect()
    for number in range(2 * logs.MAX_TOTAL_LINES):
        await wire.send_request("GET", "/wp-login.php", {"X-Real-Ip": f"192.0.2.{number}"})
        assert (await wire.read_response()).status == 404
    log.clear()
    assert (await served.request("GET", "/socket.io/xhr-polling//1", {"Origin": "http://evil.com"})).status == 403
    assert "(origin 'http://evil.com')" in refusals(log)[0]


async def test_what_many_real_addresses_are_refused_makes_a_hundred_lines(serve, log):
    served = serve()
    session_id = await served.start("htmlfile")
    log.clear()
    for number in range(1500):
        async with contextlib.aclosing(
            await ClientStream.connect_from(f"127.0.{1 + number // 250}.{1 + number % 250}", served.port)
        ) as wire:
            await wire.send_request("GET", "/socket.io/xhr-polling/0123456789/1")
            assert (await wire.read_response()).status == 401
    assert len(refusals(log)) == logs.MAX_TOTAL_LINES == len(told(log))
    await assert_that_others_are_heard(served, log, session_id)


async def test_what_one_network_is_refused_makes_the_lines_of_one_client(serve, log):
    served = serve(server={"xheaders": True})
    wire = await served.connect()
    for number in range(500):
        for address in (
            f"2001:db8:0:1::{number:x}",
            f"2001:db8:0:2:{number:x}:1:2:3",
            "192.0.2.7",
            "::ffff:192.0.2.7",
        ):
            await wire.send_request("GET", "/nowhere", {"X-Real-Ip": address})
            assert (await wire.read_response()).status == 404
    assert len(refusals(log)) == 3 * logs.MAX_LINES


async def test_a_client_that_floods_does_not_have_another_ones_line_left_out(serve, log):
    served = serve()
    for _ in range(2 * logs.MAX_TOTAL_LINES):
        assert (await served.request("GET", "/nowhere")).status == 404
    async with contextlib.aclosing(await ClientStream.connect_from("127.0.0.9", served.port)) as wire:
        await wire.send_request("GET", "/nowhere")
        assert (await wire.read_response()).status == 404
    assert "(127.0.0.9)" in refusals(log)[-1]


# -- Control characters ------------------------------------------------------------------------------------------------

# ESC and CSI begin commands to a terminal, CR, LF, NEL and U+2028 lines of their own, U+202E turns a line around.
HOSTILE = "\r\n\x0b\x85\u2028FORGED\x1b[31m\x9b31m\x00\x7f\t\u202e"
ENCODED = "%0D%0A%0B%C2%85%E2%80%A8FORGED%1B[31m%C2%9B31m%00%7F%09%E2%80%AE"
RAW = "\x85FORGED\x9b31m\xa0"  # what an HTTP header, or a request line, can hold

HOSTILE_REQUESTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "path": ("GET", f"/socket.io/1/{RAW}", {}),
    "path of nothing else": ("GET", "/socket.io/1/" + "\x9b" * 1000, {}),
    "query": ("GET", f"/socket.io/?EIO=4&{RAW * 1000}", {}),
    "path of nothing else, outside": ("GET", "/" + "\x9b" * 1000, {}),
    "percent-encoded path": ("GET", f"/socket.io/1/{ENCODED}", {}),
    "resource": ("GET", f"/{RAW}/xhr-polling//1", {}),
    "extra": ("GET", f"/socket.io/{RAW}/xhr-polling//1", {}),
    "session id": ("GET", f"/socket.io/xhr-polling/{RAW}/1", {}),
    "percent-encoded session id": ("GET", f"/socket.io/xhr-polling/{ENCODED}/1", {}),
    "session id that is not UTF-8": ("GET", f"/socket.io/xhr-polling/%FF{ENCODED}/1", {}),
    "origin": ("GET", "/socket.io/xhr-polling//1", {"Origin": f"http://evil.example{RAW}"}),
    "long origin": ("GET", "/socket.io/xhr-polling//1", {"Origin": f"http://evil.example{RAW * 1000}"}),
    "origin of a WebSocket": ("GET", "/socket.io/websocket", {**VERSION_13, "Origin": f"http://x{RAW}"}),
    "origin of an old WebSocket": ("GET", "/socket.io/websocket", {**VERSION_13, "Sec-WebSocket-Origin": f"http://x{RAW}"}),
    "version": ("GET", "/socket.io/websocket", {**VERSION_13, "Sec-WebSocket-Version": f"99{RAW}"}),
    "version of nothing else": ("GET", "/socket.io/websocket", {**VERSION_13, "Sec-WebSocket-Version": "\x9b" * 1000}),
    "host": ("GET", "/socket.io/1/", {"Host": f"x{RAW}"}),
    "path with ESC": ("GET", "/socket.io/1/\x1b[31mFORGED", {}),
    "method": ("GET\x1b[31mFORGED", "/socket.io/1/", {}),
    "header": ("GET", "/socket.io/1/", {"X": "\x1b[31mFORGED"}),
    "long header": ("GET", "/socket.io/1/", {"X": "\x1b[31mFORGED" * 1000}),
    "folded header": ("GET", "/socket.io/1/", {"Origin": f"http://x\r\n FORGED{RAW}"}),
    "address behind a proxy": ("GET", "/socket.io/1/", {"X-Real-Ip": f"127.0.0.1{RAW}"}),
}  # fmt: skip


@pytest.mark.parametrize("place", HOSTILE_REQUESTS)
async def test_control_characters_of_a_request_do_not_reach_the_log(serve, log, place):
    served = serve(server={"xheaders": True})
    method, path, headers = HOSTILE_REQUESTS[place]
    assert 400 <= (await served.request(method, path, headers)).status < 500
    await served.barrier()
    assert told(log)


@pytest.mark.parametrize("version", ["13", "76"])
@pytest.mark.parametrize(
    "payload",
    [HOSTILE, HOSTILE * 1000, f"~m~5~m~~j~{HOSTILE}", f"~m~40~m~~j~{HOSTILE}", f'~m~30~m~~j~"{HOSTILE}"'],
    ids=["no frame", "long", "JSON", "a frame cut short", "a JSON string"],
)
async def test_control_characters_of_frames_do_not_reach_the_log(serve, log, version, payload):
    peer = await opened(serve(), version)
    log.clear()
    await peer.send(payload)
    await peer.ended()
    [line] = told(log)
    assert ABOUT_A_SESSION.match(line)


async def test_control_characters_of_a_close_reason_do_not_reach_the_log(serve, log):
    peer = await opened(serve())
    await peer.wire.send(frame(8, b"\x03\xe8" + HOSTILE.encode()))
    await peer.ended()
    told(log)


async def test_a_message_that_a_traceback_quotes_neither_forges_lines_nor_fills_the_log(serve, log):
    class Quoting(Recorder):
        def on_message(self, message: Any) -> Any:
            raise ValueError(f"unknown command {message}")

    served = serve(Quoting)
    session_id, _ = await served.open()
    log.clear()
    assert (await served.post(session_id, HOSTILE.replace("\t", "") + "x" * 500_000)).status == 500
    [record] = [record for record in log.records if record.exc_info]
    text = logging.Formatter().format(record)
    assert "unknown command" in text
    assert len(text) < 10_000
    for line in text.split("\n"):
        assert not UNPRINTABLE.search(line)
        assert not line.startswith("FORGED")
