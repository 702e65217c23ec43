"""What Tornado refuses in a request is refused before there is a session: nothing is left of it, whatever it was.

Tornado reads the port in `Host` as a number, and Python reads none of more than 4,300 digits. Where that came to light
only after a session was made, for its `on_open`, the session stayed for ever, and 3,010 requests a second over one
connection were as many sessions.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
import tornado.httputil
import tornado.web

from tests.clients import exchange, greeted, handshake
from tests.internals import callbacks_at_work, sessions_of
from tests.support import HTTP_TRANSPORTS, SOCKETS, ClientStream, Elsewhere, Recorder, Served, until
from tornadio.sessions.state import State
from tornadio.settings import PROTOCOLS

MANY = 5000
DIGITS = MANY * "9"
ZEROS = MANY * "0"

# Fields that make no request, for whatever handler.
NO_REQUEST = {
    "a port of many digits": {"Host": f"x:{DIGITS}"},
    "a port of many zeros": {"Host": f"x:{ZEROS}"},
    "a port of many digits of an address": {"Host": f"[::1]:{DIGITS}"},
}
# Fields with as many characters as there may be in them, whether they are refused or not.
LONG = {
    "Host": [
        *(fields["Host"] for fields in NO_REQUEST.values()),
        MANY * "a",
        MANY * "a.",
        MANY * "1.",
        f"[{MANY * 'f:'}]",
    ],
    "Cookie": [MANY * "a", MANY // 4 * "a=b;", MANY * "=", MANY * ";", f'a="{MANY // 4 * chr(92)}101"'],
    "Content-Length": [DIGITS, ZEROS, MANY // 2 * "0,"],
    "Transfer-Encoding": [MANY * "a", "chunked" + MANY * ","],
    "Referer": [MANY * "a", f"http://127.0.0.1:{DIGITS}/", f"http://[{MANY * ':'}]/"],
    "Origin": [MANY * "a", f"http://127.0.0.1:{DIGITS}", f"http://{MANY * '1.'}"],
    "X-Forwarded-For": [MANY * "1", MANY // 2 * "1,", MANY // 2 * "1.", MANY // 2 * "f:", f"::1%{DIGITS}"],
    "X-Real-Ip": [MANY * "1", MANY * "é", f"fe80::1%{MANY * 'a'}"],
    "X-Forwarded-Proto": [MANY * "https,"],
    "Authorization": [f"Basic {MANY * 'a'}", MANY * "="],
    "Accept-Language": [MANY // 2 * "a,", f"de;q={DIGITS}"],
    "Connection": [MANY // 2 * "a,"],
    "Upgrade": [MANY // 2 * "a,"],
    "Expect": [MANY * "a"],
    "Sec-WebSocket-Key": [MANY * "a", MANY * "="],
    "Sec-WebSocket-Key1": [DIGITS, MANY * " ", DIGITS + " "],
    "Sec-WebSocket-Version": [DIGITS, ZEROS + "13"],
    "Sec-WebSocket-Protocol": [MANY * "a", MANY // 2 * "a,"],
    "Sec-WebSocket-Extensions": [MANY // 2 * "a;", f"permessage-deflate; server_max_window_bits={DIGITS}"],
    "Sec-WebSocket-Origin": [MANY * "a"],
}
QUERIES = [101 * "&a=b", MANY * "&", MANY * "&a", f"a={DIGITS}", MANY * "%", MANY * "=", MANY * ";"]


@pytest.fixture(autouse=True)
def nobody_was_made() -> None:
    Counted.made = 0


class Counted(Recorder):
    """Knows how many were made."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Counted.made += 1


async def status_of(served: Served, path: str, fields: dict[str, str]) -> int:
    """Ask, see the beginning of the answer, and leave."""
    wire = await served.connect()
    await wire.send_request("GET", path, fields)
    status = int((await wire.read_until(b"\r\n")).split(b" ")[1])
    wire.reset()
    return status


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_fields_that_make_no_request_make_no_connection(site, transport, caplog):
    caplog.set_level(logging.INFO)
    served = site(Counted)
    path, given = handshake(transport)
    for fields in NO_REQUEST.values():
        assert await status_of(served, path, {**given, **fields}) == 400
    assert (Counted.made, sessions_of(served.router)) == (0, [])
    assert tracebacks(caplog) == []
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert all(len(line) < 500 for line in lines)
    assert sum("Malformed HTTP message" in line for line in lines) == len(NO_REQUEST)


@pytest.mark.parametrize("path", ["/socket.io/socket.io.js", "/elsewhere", "/nowhere", "/socket.io/nothing/at/all"])
async def test_fields_that_make_no_request_are_400_for_every_handler(site, path, caplog):
    served = site(handlers=((r"/elsewhere", tornado.web.RequestHandler),))
    for fields in NO_REQUEST.values():
        wire = await served.connect()
        await wire.send_request("GET", path, fields)
        assert (await wire.read_to_end()).startswith(b"HTTP/1.1 400 ")
    assert tracebacks(caplog) == []


async def test_an_error_of_the_application_is_none_of_the_request(site, caplog):
    class Failing(tornado.web.Application):
        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            raise RuntimeError("as the test asked")

    served = site()
    served.server.request_callback = Failing()
    wire = await served.connect()
    await wire.send_request("GET", "/elsewhere")
    assert await wire.read_to_end() == b""
    assert "as the test asked" in caplog.text


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize("xheaders", [False, True], ids=["direct", "proxied"])
async def test_long_fields_leave_nothing_behind(site, clock, transport, xheaders, caplog):
    served = site(Counted, server={"xheaders": xheaders})
    path, given = handshake(transport)
    for name, values in LONG.items():
        for value in values:
            await status_of(served, path, {**given, name: value})
            assert [each for each in sessions_of(served.router) if each.state is State.OPENING] == []
    await nothing_is_left(served, clock, caplog)
    client = await greeted(served, transport)
    await exchange(client, "still here")


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_long_queries_leave_nothing_behind(site, clock, transport, caplog):
    served = site(Counted)
    for query in QUERIES:
        await status_of(served, *handshake(transport, "?" + query))
        assert [each for each in sessions_of(served.router) if each.state is State.OPENING] == []
    await nothing_is_left(served, clock, caplog)


async def nothing_is_left(served: Served, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A while later no session, no task and no object is there any more of those that have left."""
    await clock.advance(120)
    await until(lambda: not sessions_of(served.router) and not callbacks_at_work(served.router))
    assert [each.events for each in Recorder.opened if each.events[-1:] != [("close",)]] == []
    assert len(Recorder.opened) == Counted.made
    assert tracebacks(caplog) == []
    Recorder.opened.clear()
    gc.collect()
    assert [each for each in gc.get_objects() if isinstance(each, Counted)] == []


@pytest.fixture
def few_arguments() -> Iterator[None]:
    if not hasattr(tornado.httputil, "ParseUrlEncodedConfig"):
        pytest.skip("this Tornado knows no such limit")
    usual = tornado.httputil._DEFAULT_PARSE_BODY_CONFIG
    tornado.httputil.set_parse_body_config(
        tornado.httputil.ParseBodyConfig(urlencoded=tornado.httputil.ParseUrlEncodedConfig(max_arguments=3))
    )
    yield
    tornado.httputil.set_parse_body_config(usual)


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_more_arguments_than_tornados_own_limit_make_no_connection(site, transport, few_arguments, caplog):
    served = site(Counted)
    assert await status_of(served, *handshake(transport, "?a&b&c&d")) == 400
    assert await status_of(served, "/socket.io/xhr-polling/0123456789/1?a&b&c&d", {}) == 400
    assert (Counted.made, sessions_of(served.router)) == (0, [])
    assert tracebacks(caplog) == []
    assert await status_of(served, *handshake(transport, "?a&b&c")) in (101, 200)


# -- Between a session's making and the outcome of its on_open ---------------------------------------------------------


class Unreadable:
    """Fails whoever asks what it is."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("as the test asked")

    @__class__.setter
    def __class__(self, value: Any) -> None:
        """Never."""


class Unmade(Recorder):
    def __init__(self) -> None:
        raise RuntimeError("as the test asked")


class AnswersStrangely(Counted):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        super().on_open(request, *args, **kwargs)
        return Unreadable()


class AsksForItsEnd(Counted):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        super().on_open(request, *args, **kwargs)
        raise asyncio.CancelledError


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize("connection_class", [Unmade, AnswersStrangely, AsksForItsEnd])
async def test_an_error_on_the_way_to_the_outcome_ends_the_session(site, transport, connection_class):
    served = site(connection_class)
    path, given = handshake(transport)
    wire = await served.connect()
    await wire.send_request("GET", path, given)
    if transport == "flashsocket":
        await wire.send(b"^n:ds[4U")
    if transport in SOCKETS:
        assert (await wire.read_head()).status == 101
        await wire.read_until(b"failed on this" if transport == "websocket" else b"\xff\x00")
    else:
        assert (await wire.read_response()).status == 500
    await until(lambda: not sessions_of(served.router) and not callbacks_at_work(served.router))
    assert [each.events[-1] for each in Recorder.opened] == len(Recorder.opened) * [("close",)]


# -- A whole server ----------------------------------------------------------------------------------------------------

REQUESTS = 3010
AT_ONCE_SECONDS = 9  # less than the 10 that a server gives sessions which do not end


async def test_a_server_stops_at_once_after_thousands_of_them(echo):
    server = echo(1 << 20)
    served = Elsewhere.of(server)
    for number in range(REQUESTS):
        path, given = handshake(HTTP_TRANSPORTS[number % len(HTTP_TRANSPORTS)])
        async with asyncio.timeout(30):
            wire = await ClientStream.connect(served.port)
            await wire.send_request("GET", path, {**given, **NO_REQUEST["a port of many digits"]})
            assert (await wire.read_until(b"\r\n")).startswith(b"HTTP/1.1 400 ")
            await wire.aclose()
    began = time.monotonic()
    assert await asyncio.to_thread(server.terminate) == 0
    assert time.monotonic() - began < AT_ONCE_SECONDS
