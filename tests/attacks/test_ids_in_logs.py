"""Who knows a live session's id has the session, so no line of the log holds one, whatever goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import tornado.web

from tests.clients import frame, open_client, opened
from tests.internals import fail_on_bodies
from tests.slow_clients import connect_without_room, stop_reading
from tests.support import BARE_FORM, HTTP_TRANSPORTS, POLLING, SOCKETS, Recorder, Served, until
from tornadio.settings import PROTOCOLS


class Quoting(Recorder):
    """Fails with its own id in the error."""

    def on_message(self, message: Any) -> Any:
        if message == "quote":
            raise KeyError(self.session_id)
        return super().on_message(message)


class Lines(logging.Handler):
    """Every line, as it is written out, with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "asyncio":
            self.lines.append(f"{self.format(record)} {getattr(record, 'taskName', '')}")


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    for name in ("tornadio", "tornado"):
        caplog.set_level(logging.DEBUG, name)
    caplog.set_level(logging.INFO)
    handler = Lines()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def assert_nothing_is_told(log: Lines) -> None:
    """No line holds a whole id, plain or percent-encoded, nor much of one; some line holds the beginning of one."""
    ids = [recorder.session_id for recorder in Recorder.opened]
    assert ids
    lines = [unquote(line) for line in log.lines]
    for session_id in ids:
        for line in lines:
            assert session_id[:16] not in line, line
    assert any(session_id[:8] in line for session_id in ids for line in lines)


def path_of(transport: str, session_id: str, tail: str = "send") -> str:
    return f"/socket.io/{transport}/{session_id}/{tail}"


Fault = Callable[[Served, str, str], Awaitable[Any]]


async def bad_frames(served: Served, transport: str, session_id: str) -> int:
    data = b"data=nonsense" + session_id.encode()
    return (await served.request("POST", path_of(transport, session_id), BARE_FORM, data)).status


async def bad_form(served: Served, transport: str, session_id: str) -> int:
    fields = {"Content-Type": "multipart/form-data"}
    return (await served.request("POST", path_of(transport, session_id), fields, b"x")).status


async def bad_origin(served: Served, transport: str, session_id: str) -> int:
    fields = {**BARE_FORM, "Origin": f"http://{session_id}.example"}
    return (await served.request("POST", path_of(transport, session_id), fields, b"data=")).status


async def of_another_transport(served: Served, transport: str, session_id: str) -> int:
    other = "xhr-polling" if transport == "htmlfile" else "htmlfile"
    return (await served.request("GET", path_of(other, session_id, "1"))).status


async def below_nothing(served: Served, transport: str, session_id: str) -> int:
    return (await served.request("GET", f"/socket.io/nonsense/{session_id}/send?{session_id}")).status


async def outside(served: Served, transport: str, session_id: str) -> int:
    return (await served.request("GET", f"/elsewhere/{session_id}")).status


async def of_newer_clients(served: Served, transport: str, session_id: str) -> int:
    return (await served.request("GET", f"/socket.io/1/{session_id}?EIO=4&sid={session_id}")).status


async def percent_encoded(served: Served, transport: str, session_id: str) -> int:
    encoded = "".join(f"%{ord(digit):x}" for digit in session_id)
    return (await served.request("POST", path_of(transport, encoded), BARE_FORM, b"data=nonsense")).status


async def bad_method(served: Served, transport: str, session_id: str) -> int:
    return (await served.request("PUT", path_of(transport, session_id), BARE_FORM, b"data=")).status


async def too_large(served: Served, transport: str, session_id: str) -> int:
    return (
        await served.request("POST", path_of(transport, session_id), {**BARE_FORM, "Content-Length": "1" * 12})
    ).status


async def chunks_too_large(served: Served, transport: str, session_id: str) -> int:
    fields = {**BARE_FORM, "Transfer-Encoding": "chunked"}
    body = b"4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n"
    return (await served.request("POST", path_of(transport, session_id), fields, body)).status


async def message_too_large(served: Served, transport: str, session_id: str) -> int:
    return (await served.post(session_id, "x" * 1500, transport=transport)).status


async def failing_handler(served: Served, transport: str, session_id: str) -> int:
    return (await served.post(session_id, "fail", transport=transport)).status


async def failing_handler_that_quotes(served: Served, transport: str, session_id: str) -> int:
    return (await served.post(session_id, "quote", transport=transport)).status


async def no_index(served: Served, transport: str, session_id: str) -> int:
    return (await served.request("GET", path_of("jsonp-polling", session_id, "1"))).status


async def upgrade(served: Served, transport: str, session_id: str) -> int:
    fields = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return (await served.request("GET", path_of(transport, session_id, "1"), fields)).status


async def bad_header(served: Served, transport: str, session_id: str) -> int:
    return (await served.request("GET", path_of(transport, session_id, "1"), {f"X-{session_id}\x01": "x"})).status


async def ended(served: Served, transport: str, session_id: str) -> int:
    assert (await served.post(session_id, "close", transport=transport)).status == 200
    for _ in range(2):
        status = (await served.post(session_id, "x", transport=transport)).status
    return status


FAULTS: dict[Fault, int] = {
    bad_frames: 400,
    bad_form: 400,
    bad_origin: 403,
    of_another_transport: 401,
    below_nothing: 404,
    outside: 404,
    of_newer_clients: 404,
    percent_encoded: 400,
    bad_method: 405,
    too_large: 413,
    chunks_too_large: 413,
    message_too_large: 413,
    failing_handler: 500,
    failing_handler_that_quotes: 500,
    no_index: 400,
    upgrade: 400,
    bad_header: 400,
    ended: 401,
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_no_refusal_tells_an_id(serve, each_http, log, fault):
    served = serve(Quoting, settings={"max_message_size": 990, "max_payload_size": 1000})
    for transport in HTTP_TRANSPORTS:
        log.lines.clear()
        Recorder.opened.clear()
        session_id = await served.start(transport)
        assert await fault(served, transport, session_id) == FAULTS[fault]
        if fault is not bad_header:  # which nobody has read as far as the id
            assert_nothing_is_told(log)
        else:
            assert session_id[:16] not in "".join(log.lines)


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_no_failure_of_ours_tells_an_id(serve, log, monkeypatch, transport):
    served = serve()
    session_id = await served.start(transport)

    def fail(*args: Any) -> None:
        raise RuntimeError(session_id)

    fail_on_bodies(monkeypatch, fail)
    assert (await served.post(session_id, "x", transport=transport)).status == 500
    assert_nothing_is_told(log)


async def test_no_page_that_fails_tells_an_id(serve, log):
    class Page(tornado.web.RequestHandler):
        def get(self, session_id: str) -> None:
            if self.get_argument("how") == "http":
                raise tornado.web.HTTPError(400, f"nothing for {session_id}")
            raise RuntimeError(session_id)

    served = serve(handlers=[("/page/(.*)", Page)])
    session_id, _ = await served.open()
    for how in ("http", "other", "%ff"):
        assert (await served.request("GET", f"/page/{session_id}?how={how}")).status in (400, 500)
    assert_nothing_is_told(log)


@pytest.mark.parametrize("transport", SOCKETS)
@pytest.mark.parametrize("message", ["nonsense", "fail", "quote", "close", "x" * 2000])
async def test_no_end_of_a_websocket_tells_an_id(serve, log, transport, message):
    served = serve(Quoting, settings={"max_message_size": 990, "max_payload_size": 1000})
    client = await open_client(served, transport)
    if message == "nonsense":
        await client.peer.send(message + client.session_id)  # type: ignore[attr-defined]
    else:
        await client.send(message)
    with contextlib.suppress(EOFError, asyncio.IncompleteReadError):
        await client.ended()
    Recorder.opened[0].send("too late")
    assert_nothing_is_told(log)


async def test_no_frame_that_is_refused_tells_an_id(serve, log):
    served = serve()
    for data in (frame(2, b"x"), frame(1, b"\xff"), b"\x81\x01x", frame(8, b"\x03\xe8" + b"0" * 32)):
        peer = await opened(served)
        await peer.wire.send(data)
        await peer.wire.read_to_end()
    await until(lambda: all(recorder.is_closed for recorder in Recorder.opened))
    assert_nothing_is_told(log)


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_no_client_that_is_too_slow_or_gone_tells_an_id(serve, clock, log, transport):
    served = serve(settings={"max_send_buffer": 1000, "heartbeat_timeout": 1})
    for _ in range(2):
        await open_client(served, transport)
    Recorder.opened[0].send("x" * 2000)
    Recorder.opened[0].send("too late")
    await clock.advance(60)
    assert all(recorder.is_closed for recorder in Recorder.opened)
    assert_nothing_is_told(log)


@pytest.mark.parametrize("transport", POLLING)
async def test_no_session_that_expires_tells_an_id(serve, clock, log, transport):
    served = serve()
    await served.open(transport)
    session_id, _ = await served.open(transport)
    await served.start_poll(session_id, transport)
    await served.start_poll(session_id, transport)  # takes over
    await clock.advance(100)
    assert all(recorder.is_closed for recorder in Recorder.opened)
    assert_nothing_is_told(log)


async def test_no_answer_that_is_not_taken_tells_an_id(serve, clock, log):
    served = serve(settings={"heartbeat_timeout": 1, "session_expiry": 1, "session_check_interval": 1})
    session_id, _ = await served.open()
    wire = await connect_without_room(served.port)
    served.wires.append(wire)
    stop_reading(wire)
    await wire.send_request("GET", f"/socket.io/xhr-polling/{session_id}/1290000000000")
    await served.barrier()
    served.router.broadcast("x" * (8 << 20))
    await clock.advance(1 + (8 << 20) / 4096 + 1)
    await clock.advance(5)
    assert_nothing_is_told(log)


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize("moment", ["on_open", "on_close"])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_no_failing_handler_tells_an_id(serve, log, transport, moment, is_async):
    class Failing(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            super().on_open(request, *args, **kwargs)
            return self.fail("on_open")

        def on_close(self) -> Any:
            super().on_close()
            return self.fail("on_close")

        def fail(self, now: str) -> Any:
            async def fail() -> None:
                raise LookupError(self.session_id)

            if moment != now:
                return None
            if is_async:
                return fail()
            raise LookupError(self.session_id)

    served = serve(Failing)
    if moment == "on_open":
        with contextlib.suppress(AssertionError, EOFError, asyncio.IncompleteReadError):
            await open_client(served, transport)
    else:
        client = await open_client(served, transport)
        await client.send("close")
        await until(lambda: any(f"{moment} failed" in line for line in log.lines))
    assert_nothing_is_told(log)
