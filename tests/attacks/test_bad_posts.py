"""Every POST is answered, or its connection closed, however bad it is; and polls that wait meanwhile wait on.

CVE-2026-59725: invalid POSTs left their own responses, and the session's poll, open for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import Any, NamedTuple

import pytest
import tornado

from tests.clients import NONCE, UPGRADE
from tests.support import (
    FORM,
    HTTP_TRANSPORTS,
    POLLING,
    STREAMING,
    ClientStream,
    Recorder,
    Served,
    Stream,
    jsonp_payload,
    limit,
    until,
)
from tests.vitals import vitals
from tornadio import proto

POSTS = 1000
AT_ONCE = 20
SESSIONS = 5

LIMIT = 1000
BODY_LIMIT = 3 * LIMIT + 4096  # each byte may be percent-encoded, and there may be other fields

MULTIPART = {"Content-Type": "multipart/form-data; boundary=XX"}
CHUNKED = {**FORM, "Transfer-Encoding": "chunked"}
UNKNOWN = "0123456789abcdef0123456789abcdef"

# Ends of a request that is not whole.
FIN, RST = "FIN", "RST"


class Bad(NamedTuple):
    """A bad POST. `answer` is a status, or how its client breaks it off."""

    answer: int | str
    body: bytes = b""
    headers: dict[str, str] = FORM
    session_id: str | None = None


def body_of(payload: str) -> bytes:
    return b"data=" + payload.encode()


# To sessions that live, and go on to.
BAD_POSTS = {
    "no frames": Bad(400, body_of("nonsense")),
    "a frame without its end": Bad(400, body_of("~m~5~m~four")),
    "a frame without its length": Bad(400, body_of("~m~~m~x")),
    "a length of many digits": Bad(400, body_of("~m~" + 900 * "9")),
    "something before the frame": Bad(400, body_of(" ~m~1~m~x")),
    "JSON that is none": Bad(400, body_of("~m~5~m~~j~{x")),
    "JSON that is deep": Bad(400, body_of("~m~903~m~~j~" + 900 * "[")),
    "no number": Bad(400, body_of("~m~6~m~~j~NaN")),
    "bytes that are not UTF-8": Bad(400, b"data=~m~1~m~\xff"),
    "escapes that are not UTF-8": Bad(400, b"data=~m~1~m~%FF"),
    "half a character": Bad(400, b"data=~m~1~m~%ED%A0%80"),
    "no field": Bad(400, b"~m~1~m~x"),
    "two fields": Bad(400, b"data=~m~1~m~x&data=~m~1~m~y"),
    "JSON for a form": Bad(400, b'{"data": "x"}', {"Content-Type": "application/json"}),
    "a form of a browser": Bad(400, b"--XX\r\nx", MULTIPART),
    "a form without boundary": Bad(400, b"--XX\r\nx", {"Content-Type": "multipart/form-data"}),
    "a content type that is none": Bad(400, b"\x00", {"Content-Type": "\xff/;;="}),
    "a compressed body": Bad(400, b"\x1f\x8b\x08\x00", {**FORM, "Content-Encoding": "gzip"}),
    "a WebSocket": Bad(400, body_of("~m~1~m~x"), {**FORM, **UPGRADE, **NONCE, "Sec-WebSocket-Version": "13"}),
    "another site": Bad(403, body_of("~m~1~m~x"), {**FORM, "Origin": "http://evil.example"}),
    "an unknown session": Bad(401, body_of("~m~1~m~x"), FORM, UNKNOWN),
    "no session": Bad(400, body_of("~m~1~m~x"), FORM, ""),
    "too much for nobody": Bad(413, BODY_LIMIT * b"x" + b"x", FORM, UNKNOWN),
    "an exabyte for nobody": Bad(413, b"", {**FORM, "Content-Length": str(10**18)}, UNKNOWN),
    "chunks without end for nobody": Bad(413, b"ffffff\r\n" + BODY_LIMIT * b"x" + b"x", CHUNKED, UNKNOWN),
    "a length that is none": Bad(400, b"data=", {**FORM, "Content-Length": "five"}),
    "a length below zero": Bad(400, b"data=", {**FORM, "Content-Length": "-5"}),
    "two lengths": Bad(400, b"data=", {**FORM, "Content-Length": "5, 6"}),
    "a length and chunks": Bad(400, b"0\r\n\r\n", {**CHUNKED, "Content-Length": "5"}),
    "a chunk that is none": Bad(400, b"nonsense\r\n", CHUNKED),
    "a chunk that is longer than it says": Bad(400, b"1\r\nxyz\r\n0\r\n\r\n", CHUNKED),
    "half a body": Bad(FIN, b"data=", {**FORM, "Content-Length": "10"}),
    "half a body, and a reset": Bad(RST, b"data=", {**FORM, "Content-Length": "10"}),
    "half a chunk": Bad(FIN, b"8\r\nda", CHUNKED),
    "half a chunk, and a reset": Bad(RST, b"8\r\nda", CHUNKED),
    "no last chunk": Bad(FIN, b"8\r\ndata=~m~\r\n", CHUNKED),
    "a whole one, and a reset": Bad(RST, body_of("nonsense")),
}
if tornado.version_info < (6, 6):  # which fails on it itself, with a traceback
    del BAD_POSTS["a chunk that is longer than it says"]

# These end their sessions.
ENDING_POSTS = {
    "a message that is too large": Bad(413, body_of(f"~m~{LIMIT - 49}~m~" + (LIMIT - 49) * "x")),
    "a payload that is too large": Bad(413, body_of((LIMIT + 1) * "x")),
    "a body that is too large": Bad(413, b"", {**FORM, "Content-Length": str(BODY_LIMIT + 1)}),
    "an exabyte": Bad(413, b"", {**FORM, "Content-Length": str(10**18)}),
    "chunks without end": Bad(413, b"ffffff\r\n" + BODY_LIMIT * b"x" + b"x", CHUNKED),
    "a message on which the application fails": Bad(500, body_of("~m~4~m~fail")),
    "no body": Bad(200),
    "no chunk": Bad(200, b"0\r\n\r\n", CHUNKED),
}


async def commit(served: Served, transport: str, session_id: str, bad: Bad) -> None:
    """Send a bad POST, and see it answered or its connection closed."""
    named = session_id if bad.session_id is None else bad.session_id
    async with contextlib.aclosing(await ClientStream.connect(served.port)) as wire:
        await wire.send_request("POST", f"/socket.io/{transport}/{named}/1290000000000/0", bad.headers, bad.body)
        if bad.answer == RST:
            wire.reset()
        elif bad.answer == FIN:
            wire.writer.write_eof()
            assert await wire.read_to_end() == b""
        else:
            assert (await wire.read_response()).status == bad.answer


class Waiting(NamedTuple):
    """A session whose GET waits for news."""

    transport: str
    session_id: str
    wire: ClientStream
    stream: Stream | None

    async def read(self) -> str:
        """The payload that the GET brings."""
        if self.stream is not None:
            return await self.stream.read_payload()
        response = await self.wire.read_response()
        assert response.status == 200
        return response.text if self.transport == "xhr-polling" else jsonp_payload(response.text)


async def wait_for_news(served: Served, transport: str) -> Waiting:
    if transport in STREAMING:
        stream, session_id = await served.open_stream(transport)
        assert await stream.read_payload() == proto.encode("welcome")
        return Waiting(transport, session_id, stream.wire, stream)
    session_id, _ = await served.open(transport)
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000/0")
    await served.barrier()
    return Waiting(transport, session_id, wire, None)


def held(served: Served) -> dict[str, Any]:
    """What the server holds of its clients."""
    now = vitals(served.router)
    objects = {name: number for name, number in now["objects"].items() if name.endswith("Handler")}
    return objects | {name: now[name] for name in ("descriptors", "tasks", "sessions", "connections")}


async def hold_no_more(served: Served, before: dict[str, Any]) -> None:
    """Wait until the server has let go of all that it did not hold before."""
    await until(lambda: all(number <= before.get(name, 0) for name, number in held(served).items()))


@pytest.fixture
async def served(serve: Any) -> Served:
    served: Served = serve(
        settings={"max_message_size": LIMIT - 50, "max_payload_size": LIMIT, "xhr_polling_timeout": 600}
    )
    await served.barrier()
    return served


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_thousand_bad_posts_leave_no_response_open(served, transport):
    waiting = [await wait_for_news(served, transport) for _ in range(SESSIONS)]
    before = held(served)
    sessions = itertools.cycle(waiting)
    faults = itertools.islice(itertools.cycle(BAD_POSTS.items()), POSTS)

    async def commit_next() -> None:
        for name, bad in faults:
            try:
                await commit(served, transport, next(sessions).session_id, bad)
            except (AssertionError, OSError, EOFError, TimeoutError) as error:
                raise AssertionError(f"{name}: {error!r}") from error

    await asyncio.gather(*(commit_next() for _ in range(AT_ONCE)))
    await hold_no_more(served, before)
    served.router.broadcast("news")
    for client in waiting:
        assert await client.read() == proto.encode("news")
        assert (await served.post(client.session_id, "still here", transport=transport)).text == "ok"
    events = [("open", ""), ("message", "still here")]
    assert [recorder.events for recorder in Recorder.opened] == SESSIONS * [events]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_post_that_ends_its_session_ends_the_get_that_waits(served, transport, caplog):
    caplog.set_level(logging.CRITICAL + 1, "tornadio")  # a traceback in a record holds what was at work
    before = held(served)
    for bad in 5 * [*ENDING_POSTS.values()]:
        client = await wait_for_news(served, transport)
        await commit(served, transport, client.session_id, bad)
        assert await client.read() == ""
        await client.wire.aclose()
        await Recorder.opened[-1].wait_closed()
    await hold_no_more(served, before)
    assert len(Recorder.opened) == 5 * len(ENDING_POSTS)
    assert all(recorder.events.count(("close",)) == 1 for recorder in Recorder.opened)


@pytest.mark.parametrize("transport", POLLING)
async def test_bad_posts_in_one_breath_are_answered_one_by_one(served, transport):
    client = await wait_for_news(served, transport)
    path = f"/socket.io/{transport}/{client.session_id}/1290000000000/0"
    wire = await served.connect()
    for _ in range(100):
        await wire.send_request("POST", path, FORM, body_of("nonsense"))
    for _ in range(100):
        assert (await wire.read_response()).status == 400
    await wire.send_request("POST", path, FORM, body_of("~m~5~m~hello"))
    assert (await wire.read_response()).text == "ok"
    assert await client.read() == proto.encode("hello")


@pytest.mark.parametrize("transport", POLLING)
async def test_a_bad_post_during_a_slow_one_is_answered_at_once(serve, transport):
    class Slow(Recorder):
        async def on_message(self, message: Any) -> None:
            super().on_message(message)
            await go_on.wait()

    go_on = asyncio.Event()
    served = serve(Slow)
    client = await wait_for_news(served, transport)
    slow = asyncio.create_task(served.post(client.session_id, "slow", transport=transport))
    async with limit():
        assert await client.read() == proto.encode("slow")
    for bad in BAD_POSTS.values():
        if bad.answer == 401 or bad.answer == 403:
            await commit(served, transport, client.session_id, bad)
    assert not slow.done()
    go_on.set()
    assert (await slow).text == "ok"
