"""Answers that nobody reads: the connection is closed, whatever was asked and whoever answers. Slow readers stay.

A client can send requests by the thousand and read none of the answers. Those fill the buffers of the system, some
megabytes for each connection, and neither silence nor a heartbeat ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any

import pytest
import tornado.iostream
import tornado.web

from tests.clients import request
from tests.internals import http_streams, listeners, posts_of, sessions_of, without_unsent_sizes
from tests.slow_clients import stop_reading
from tests.support import HTTP_TRANSPORTS, ClientStream, MovedLoop, Recorder, Served, until
from tests.tls import OverTls

PIPELINED = 1 << 18  # bytes of requests, for whose answers there is no room
LITTLE = 1 << 16  # bytes that the client's system has room for
# And the server's: less than the answers to what one segment asks for. The client's system throws away what it has no
# room for, and then what acknowledges its own requests, so that the server may see none for a long time.
LESS = 1 << 12
ROOM = 1 << 18  # where a client does read
DOWNLOAD_BYTES = 40 << 20


class LargeHandler(tornado.web.RequestHandler):
    """An application's large file."""

    async def get(self) -> None:
        with contextlib.suppress(tornado.iostream.StreamClosedError):
            for _ in range(DOWNLOAD_BYTES >> 16):
                self.write(bytes(1 << 16))
                await self.flush()


class RefusedHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        raise tornado.web.HTTPError(401)


HANDLERS = ((r"/large", LargeHandler), (r"/refused", RefusedHandler))
POLL = "/socket.io/xhr-polling/0123456789/1"
ASKED = {
    "a session that is none": request({}, POLL),
    "a preflight": request({"Origin": "http://127.0.0.1"}, POLL).replace(b"GET", b"OPTIONS", 1),
    "a transport that is none": request({}, "/socket.io/nothing/at/all"),
    "the script": request({}, "/socket.io/socket.io.js"),
    "a page that is none": request({}, "/nowhere"),
    "a page of the application": request({}, "/refused"),
}


async def connect(served: Served, room: int = ROOM) -> ClientStream:
    """A client whose system has so much room for what comes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", served.port))
    context = served.certificate.client if isinstance(served, OverTls) else None
    name = None if context is None else "localhost"
    wire = ClientStream(*await asyncio.open_connection(sock=connection, limit=4096, ssl=context, server_hostname=name))
    served.wires.append(wire)
    return wire


def streams_of(served: Served) -> list[Any]:
    """Those of the server's connections that are HTTP's."""
    return http_streams(served.server)


def listeners_of(served: Served) -> list[socket.socket]:
    return listeners(served.server)


async def leave_answers_unread(served: Served, asked: bytes, size: int = PIPELINED) -> ClientStream:
    """Ask again and again, and read nothing: the server has answers that it can't send when this returns."""
    for listener in listeners_of(served):  # else the system grows its buffers, to some megabytes
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LESS)
    wire = await connect(served, LITTLE)
    stop_reading(wire)
    wire.writer.write(asked * (size // len(asked)))
    await until(lambda: any(stream.writing() for stream in streams_of(served)))
    return wire


async def give_up(served: Served, clock: MovedLoop) -> None:
    """Let time pass until the server closes its connections. How long that takes depends on when room comes free."""
    while not all(stream.closed() for stream in streams_of(served)):
        await clock.advance(10)
    await until(lambda: streams_of(served) == [])  # Tornado still serves what it has read


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in map(logging.LogRecord.getMessage, caplog.records) if "does not take" in line]


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_answers_that_nobody_reads_end_the_connection(site, clock, asked, caplog):
    caplog.set_level(logging.INFO, "tornadio")
    served = site(handlers=HANDLERS)
    wire = await leave_answers_unread(served, asked)
    await clock.advance(29)
    assert len(streams_of(served)) == 1
    assert told(caplog) == []
    await give_up(served, clock)
    assert len(told(caplog)) == 1
    wire.reset()


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_posts_whose_answers_nobody_reads_end_the_connection_and_leave_the_session_free(site, clock, transport):
    served = site(Recorder)
    session_id = await served.start(transport)
    body = b"data=~m~2~m~hi"
    fields = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
    post = request(fields, f"/socket.io/{transport}/{session_id}/send").replace(b"GET", b"POST", 1) + body
    [session] = sessions_of(served.router)
    wire = await leave_answers_unread(served, post, 2 * PIPELINED)  # these answers are shorter than what asks for them
    assert posts_of(session)
    await give_up(served, clock)
    await until(lambda: not posts_of(session))
    wire.reset()


async def read_slowly(clock: MovedLoop, wire: ClientStream, rate: int, seconds: int) -> None:
    for _ in range(seconds):
        await wire.read_exactly(rate)
        await clock.advance(1)


async def test_a_slow_but_real_download_goes_on(site, clock, caplog):
    caplog.set_level(logging.INFO, "tornadio")
    served = site(handlers=HANDLERS)
    wire = await connect(served)
    await wire.send(request({}, "/large"))
    await read_slowly(clock, wire, 50_000, 240)
    assert len(streams_of(served)) == 1
    assert told(caplog) == []
    await wire.read_exactly(10_000_000)


async def test_a_download_that_is_hardly_read_is_ended(site, clock, caplog):
    caplog.set_level(logging.INFO, "tornadio")
    served = site(handlers=HANDLERS)
    wire = await connect(served)
    await wire.send(request({}, "/large"))
    await read_slowly(clock, wire, 1000, 90)
    await until(lambda: streams_of(served) == [])
    assert len(told(caplog)) == 1


async def test_where_nobody_knows_what_was_taken_there_is_more_time(site, clock, monkeypatch, caplog):
    without_unsent_sizes(monkeypatch)
    served = site(handlers=HANDLERS)
    wire = await connect(served)
    await wire.send(request({}, "/large"))
    await until(lambda: any(stream.writing() for stream in streams_of(served)))
    await clock.advance(299)
    assert len(streams_of(served)) == 1
    await clock.advance(22)
    await until(lambda: streams_of(served) == [])


async def test_nobody_looks_at_a_server_without_connections(site, clock):
    served = site(handlers=HANDLERS)
    before = len(clock.timers)
    wire = await served.connect()
    await wire.send(request({}, "/refused"))
    assert (await wire.read_response()).status == 401
    wire.reset()
    await until(lambda: streams_of(served) == [])
    await clock.advance(1)
    assert len(clock.timers) == before
