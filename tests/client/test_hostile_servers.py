"""`tornadio.connect` and servers that send what none should: each gets a clear end, and costs no more than limits say.

The servers here write bytes, whatever the client asks for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import itertools
import resource
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

import tornadio
from tests.peers import tcp_peer
from tests.support import LARGE, PROCESSOR_SECONDS, MovedLoop, is_failure, limit, until
from tornadio import proto

GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
ID: Final = proto.encode("0123456789abcdef")
GROWTH: Final = 24 << 20  # bytes that a client with default limits may grow by
MEGABYTE: Final = b"x" * (1 << 20)

Script = Callable[["Visitor"], Awaitable[None]]


@dataclasses.dataclass
class Visitor:
    """A client's connection to a hostile server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """The head of the client's next request."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def respond(self, body: bytes | str = b"", *headers: str, status: str = "200 OK") -> None:
        data = body.encode() if isinstance(body, str) else body
        length = (
            []
            if any(header.lower().startswith(("content-length", "transfer")) for header in headers)
            else [f"Content-Length: {len(data)}"]
        )
        await self.write("\r\n".join([f"HTTP/1.1 {status}", *headers, *length, "", ""]).encode() + data)

    async def upgrade(self, *payloads: str) -> None:
        """Take the client's WebSocket, and send text frames."""
        head = (await self.request()).decode()
        [key] = [line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key:")]
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        await self.write("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())
        for payload in payloads:
            await self.write(frame(1, payload.encode()))


def frame(opcode: int, data: bytes, final: bool = True, size: int | None = None) -> bytes:
    """A server's frame; `size` is what its header says."""
    length = len(data) if size is None else size
    first = bytes([0x80 * final | opcode])
    if length < 126:
        return first + bytes([length]) + data
    if length < 1 << 16:
        return first + b"\x7e" + length.to_bytes(2, "big") + data
    return first + b"\x7f" + length.to_bytes(8, "big") + data


@contextlib.asynccontextmanager
async def hostile(*scripts: Script) -> AsyncIterator[str]:
    """The URL of a server that plays a script to each connection, the last one to all that follow."""
    order = itertools.chain(scripts, itertools.repeat(scripts[-1]))

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(order)(Visitor(reader, writer))

    async with tcp_peer(visit) as peer:
        yield peer.url.replace("ws:", "http:")


async def connect_error(url: str, transport: str, **options: Any) -> tornadio.ConnectError:
    with pytest.raises(tornadio.ConnectError) as raised:
        async with limit():
            await tornadio.connect(url, transports=[transport], **options)
    return raised.value


async def end_of(url: str, transport: str, **options: Any) -> tuple[list[Any], tornadio.ConnectionClosed]:
    """The messages that come before the end, and the end."""
    messages: list[Any] = []

    async def receive(client: Any) -> None:
        while True:
            messages.append(await client.recv())

    options = {"close_timeout": 0.2, **options}
    async with limit(), tornadio.connect(url, transports=[transport], **options) as client:
        with pytest.raises(tornadio.ConnectionClosed) as raised:
            await receive(client)
        assert client.is_closed
    return messages, raised.value


@pytest.fixture(autouse=True)
def nothing_fails(caplog: pytest.LogCaptureFixture) -> Any:
    """What a server sends is never a traceback in the log."""
    yield
    assert [record for record in caplog.records if is_failure(record)] == []


# -- Instead of a response ---------------------------------------------------------------------------------------------


async def garbage(visitor: Visitor) -> None:
    await visitor.request()
    await visitor.write(b"220 mail.example.com ESMTP\r\n" + bytes(range(256)) + b"\r\n\r\n")


async def nothing(visitor: Visitor) -> None:
    await visitor.request()


async def half_a_head(visitor: Visitor) -> None:
    await visitor.request()
    await visitor.write(b"HTTP/1.1 200 OK\r\nContent-")


async def endless_head(visitor: Visitor) -> None:
    await visitor.request()
    await visitor.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await visitor.write(b"X-Header: " + b"x" * 1000 + b"\r\n")


async def endless_informational(visitor: Visitor) -> None:
    await visitor.request()
    while True:
        await visitor.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


async def redirect(visitor: Visitor) -> None:
    await visitor.request()
    await visitor.respond("", "Location: http://example.com/", status="302 Found")


async def other_page(visitor: Visitor) -> None:
    await visitor.request()
    await visitor.respond("<!DOCTYPE html><title>Welcome to nginx</title>", "Content-Type: text/html")


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile"])
@pytest.mark.parametrize("script", [garbage, nothing, half_a_head, endless_head, redirect, other_page])
async def test_what_is_no_session_is_an_error_that_says_so(transport, script):
    async with hostile(script) as url:
        error = await connect_error(url, transport)
        assert error.status in {redirect: (302,), other_page: (None, 200)}.get(script, (None,))
        assert len(str(error)) > 20


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
async def test_interim_responses_without_end_are_given_up(transport):
    async with hostile(endless_informational) as url:
        await connect_error(url, transport, open_timeout=1)


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling", "xhr-multipart"])
async def test_a_response_that_drips_is_given_up_after_open_timeout(clock: MovedLoop, transport):
    async def drip(visitor: Visitor) -> None:
        await visitor.request()
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
            await visitor.write(bytes([byte]))
            await asyncio.sleep(1)

    async with hostile(drip) as url:
        start = clock.time()
        error = await clock.wait_for(connect_error(url, transport, open_timeout=20))
        assert clock.time() - start < 21
        assert "20" in str(error)


async def test_a_websocket_that_is_not_ours_is_refused():
    async def wrong_accept(visitor: Visitor) -> None:
        await visitor.request()
        await visitor.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )

    async with hostile(wrong_accept) as url:
        error = await connect_error(url, "websocket")
        assert "Accept" in str(error)


# -- WebSocket frames --------------------------------------------------------------------------------------------------

BAD_FRAMES: Final = {
    "bad UTF-8": (frame(1, b"~m~3~m~\xff\xfe\xfd"), 1007, "UTF-8"),
    "cut UTF-8": (frame(1, "~m~1~m~é".encode()[:-1]), 1007, "UTF-8"),
    "binary": (frame(2, b"\x00\x01"), 1003, "binary"),
    "masked": (b"\x81\x81\x00\x00\x00\x00x", 1002, "mask"),
    "a reserved bit": (b"\xc1\x01x", 1002, "reserved"),
    "an unknown opcode": (frame(3, b"x"), 1002, "opcode"),
    "a continuation of nothing": (frame(0, b"x"), 1002, "continu"),
    "a large ping": (frame(9, b"x" * 126), 1002, "control"),
    "a gigabyte": (frame(1, b"~m~", size=1 << 30), 1009, "max_payload_size"),
    "2 to the 63rd": (frame(1, b"~m~", size=1 << 63), 1002, ""),
    "no frame": (frame(1, b"hello"), 1007, "~m~"),
    "no length": (frame(1, b"~m~x~m~abc"), 1007, "~m~"),
    "a length too long": (frame(1, b"~m~4~m~abc"), 1007, "4"),
    "a length in characters": (frame(1, "~m~3~m~é中😀".encode()), 1007, "characters"),
    "a length in bytes": (frame(1, "~m~9~m~é中😀".encode()), 1007, "bytes"),
    "a gigantic length": (frame(1, b"~m~9999999999~m~abc"), 1007, ""),
    "a length of a megabyte of digits": (frame(1, b"~m~" + b"9" * (1 << 20) + b"~m~"), 1007, ""),
    "bad JSON": (frame(1, b"~m~6~m~~j~{a}"), 1007, "JSON"),
    "deep JSON": (frame(1, b"~m~100003~m~~j~" + b"[" * 100_000), 1007, "JSON"),
    "a large message": (frame(1, b"~m~2000000~m~" + b"x" * 2_000_000), 1009, "max_message_size"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_ends_the_connection_behind_what_came_before(name):
    data, code, text = BAD_FRAMES[name]
    told: list[bytes] = []

    async def play(visitor: Visitor) -> None:
        await visitor.upgrade(ID)
        await visitor.write(frame(1, b"~m~6~m~before") + data)
        told.append(await visitor.reader.read())

    spent = time.process_time()
    async with hostile(play) as url:
        messages, end = await end_of(url, "websocket")
        await until(lambda: told)
    assert time.process_time() - spent < PROCESSOR_SECONDS
    assert messages == ["before"]
    assert end.code == code
    assert text in end.reason
    # The server is told the same code: a closing frame, masked.
    [closing] = told
    assert closing[0] == 0x88
    mask = closing[2:6]
    assert int.from_bytes(bytes(a ^ b for a, b in zip(closing[6:8], mask, strict=False)), "big") == code


async def test_fragments_without_end_are_bounded():
    sent = 0

    async def play(visitor: Visitor) -> None:
        nonlocal sent
        await visitor.upgrade(ID)
        await visitor.write(frame(1, b"x", final=False))
        while True:
            await visitor.write(frame(0, MEGABYTE, final=False))
            sent += 1

    async with hostile(play) as url, tornadio.connect(url, transports=["websocket"], close_timeout=0.1) as client:
        async with limit():
            with pytest.raises(tornadio.ConnectionClosed) as raised:
                await client.recv()
        assert sent < 30
    assert raised.value.code == 1009


async def test_empty_fragments_without_end_do_not_stop_the_others():
    async def play(visitor: Visitor) -> None:
        await visitor.upgrade(ID)
        await visitor.write(frame(1, b"", final=False))
        while True:
            await visitor.write(frame(0, b"", final=False) * 1000)
            await asyncio.sleep(0)

    async with hostile(play) as url, tornadio.connect(url, transports=["websocket"], close_timeout=0.1), limit():
        for _ in range(100):
            await asyncio.sleep(0)


async def test_messages_behind_a_close_frame_do_not_hold_up_the_close(clock: MovedLoop):
    """More than may wait to be received: close() reads on to the server's close frame."""

    async def script(visitor: Visitor) -> None:
        await visitor.upgrade(ID)
        await visitor.reader.readexactly(8)  # the client's close frame
        for _ in range(4):
            await visitor.write(frame(1, proto.encode("x" * (1 << 20)).encode()))
        await visitor.write(frame(8, b"\x03\xe8"))
        visitor.writer.close()

    async with hostile(script) as url, limit():
        client = await tornadio.connect(url, transports=["websocket"], max_message_size=1 << 20)
        await client.close()  # the clock stands: without an end it would last for ever
        assert client.close_code == 1000


async def test_heartbeats_without_end_to_a_client_that_can_not_answer_cost_no_memory():
    """The server reads nothing, and a large message is on its way: the echoes can't leave."""
    is_blocked = asyncio.Event()

    async def flood(visitor: Visitor) -> None:
        await visitor.upgrade(ID)
        visitor.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await is_blocked.wait()
        for _ in range(40):
            await visitor.write(frame(1, b"~m~7~m~~h~1234") * 1000)
        await visitor.write(frame(1, b"~m~4~m~done"))
        await asyncio.Event().wait()

    async with hostile(flood) as url, tornadio.connect(url, transports=["websocket"], close_timeout=0.1) as client:
        await client.send(LARGE)
        assert client.unsent == (LARGE,)
        tracemalloc.start()
        try:
            is_blocked.set()
            async with limit():
                assert await client.recv() == "done"
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size < 40_000 * 20


# -- Responses ---------------------------------------------------------------------------------------------------------


def answering(body: bytes | str, *headers: str, status: str = "200 OK") -> Script:
    """A server that opens a session by polls, and answers every poll with this."""
    is_first = True

    async def play(visitor: Visitor) -> None:
        nonlocal is_first
        while True:
            await visitor.request()
            if is_first:
                is_first = False
                await visitor.respond(ID + "~m~6~m~before")
            else:
                await visitor.respond(body, *headers, status=status)
                await asyncio.sleep(0.01)

    return play


BAD_POLLS: Final[dict[str, tuple[bytes | str, tuple[str, ...], str, str]]] = {
    "no frame": ("<html>", (), "200 OK", "~m~"),
    "bad UTF-8": (b"~m~1~m~\xff", (), "200 OK", "UTF-8"),
    "a length in characters": ("~m~3~m~é中😀", (), "200 OK", "characters"),
    "an unknown session": ("unknown session", (), "401 Unauthorized", "ended"),
    "a failure": ("<h1>It broke</h1>", ("Content-Type: text/html",), "500 Internal Server Error", "500"),
    "nothing": (b"", (), "204 No Content", "204"),
    "a redirect": (b"", ("Location: /elsewhere",), "302 Found", "302"),
    "a short body": ("~m~3~m~abc", ("Content-Length: 11",), "200 OK", ""),
    "a negative length": ("", ("Content-Length: -1",), "200 OK", ""),
    "two lengths": ("", ("Content-Length: 1", "Content-Length: 2"), "200 OK", ""),
    "a bad chunk": ("zz\r\n", ("Transfer-Encoding: chunked",), "200 OK", ""),
}


@pytest.mark.parametrize("name", BAD_POLLS)
async def test_a_bad_poll_ends_the_connection_behind_what_came_before(name):
    body, headers, status, text = BAD_POLLS[name]
    play = answering(body, *headers, status=status)

    async def once(visitor: Visitor) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(1 if name == "a short body" else None):
                await play(visitor)

    async with hostile(once) as url:
        messages, end = await end_of(url, "xhr-polling", close_timeout=1)
    assert messages == ["before"]
    assert end.code != 1000
    assert end.reason
    assert text in end.reason


def gigabyte(kind: str) -> Script:
    """A body of a gigabyte, that is sent as far as the client takes it."""
    header = "Content-Length: 1073741824" if kind == "length" else "Transfer-Encoding: chunked"

    async def play(visitor: Visitor) -> None:
        await visitor.request()
        await visitor.respond(ID)
        await visitor.request()
        await visitor.respond(b"", header)
        for _ in range(1024):
            await visitor.write(MEGABYTE if kind == "length" else b"100000\r\n" + MEGABYTE + b"\r\n")

    return play


@pytest.mark.parametrize("kind", ["length", "chunks"])
async def test_a_gigabyte_is_not_read(kind):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with hostile(gigabyte(kind)) as url:
        messages, end = await end_of(url, "xhr-polling")
    assert messages == []
    assert end.code == 1009
    assert "max_payload_size" in end.reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH >> 10 << 1


STREAMS: Final = {
    "xhr-multipart": ('multipart/x-mixed-replace;boundary="B"', b"--B\n"),
    "htmlfile": ("text/html", b"<html><body>" + b" " * 300),
}


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_payload_without_end_in_a_stream_is_bounded(transport):
    content_type, start = STREAMS[transport]
    sent = 0

    async def play(visitor: Visitor) -> None:
        nonlocal sent
        await visitor.request()
        headers = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode()
        part = (
            f"Content-Type: text/plain\n\n{ID}\n--B\n"
            if transport == "xhr-multipart"
            else f'<script>parent.s._("{ID}", document);</script>'
        )
        await visitor.write(headers + start + part.encode())
        await visitor.write(
            b"Content-Type: text/plain\n\n" if transport == "xhr-multipart" else b'<script>parent.s._("'
        )
        while True:
            await visitor.write(MEGABYTE)
            sent += 1

    async with hostile(play) as url:
        _, end = await end_of(url, transport)
    assert end.code == 1009
    assert "max_payload_size" in end.reason
    assert sent < {"xhr-multipart": 40, "htmlfile": 80}[transport]  # a character may be escaped by six


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_stream_of_something_else_is_an_error(transport):
    async def play(visitor: Visitor) -> None:
        await visitor.request()
        await visitor.respond(b"<html>" * 10_000, "Content-Type: text/html; charset=utf-8")

    async with hostile(play) as url:
        error = await connect_error(url, transport)
    assert len(str(error)) > 20


async def test_a_script_that_is_no_jsonp_is_an_error():
    for body in ("alert(1)", 'io.JSONP[0]._("unfinished', "io.JSONP[0]._({});", "io.JSONP[0]._(" + "[" * 100_000):
        async with hostile(answering(body), answering(body)) as url:
            error = await connect_error(url, "jsonp-polling")
        assert len(str(error)) > 20


async def test_cookies_without_end_are_not_kept():
    heads: list[bytes] = []

    async def play(visitor: Visitor) -> None:
        for number in range(20):
            heads.append(await visitor.request())
            names = range(number * 10, number * 10 + 10)
            cookies = [f"Set-Cookie: c{name}={name}; Path=/" for name in names]
            await visitor.respond("" if number else ID, *cookies, "Set-Cookie: large=" + "x" * 20_000)
        await visitor.request()
        await visitor.respond(b"", status="401 Unauthorized")

    async with hostile(play) as url:
        await end_of(url, "xhr-polling", cookies={"mine": "1"})
    assert b"\r\nCookie: mine=1\r\n" in heads[0]
    assert b"mine=1; c0=0; " in heads[1]
    assert b"mine=1; " in heads[-1]
    assert b"large" not in heads[-1]
    assert heads[-1].count(b"=") < 60
    assert b"c189=189" in heads[-1]
