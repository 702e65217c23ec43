"""A connection that has ended leaves nothing behind for the garbage collector: the last reference frees all of it.

The collector is off here, and what existed before does not count. One circle is Tornado's: the handler of a request
whose body breaks off waits for the collector, since the future of the body knows an error, the error the frame that
waited, and the frame the handler. There we see to it that nothing of size hangs on the handler.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from tests.chaos.endings import (
    ENDINGS,
    SETTINGS,
    Doing,
    DoingLater,
    Ending,
    SlowToOpen,
    broken_by,
    close,
    close_and_fail,
    doing,
    every_transport,
    fail,
    refuse,
    send_too_much,
    the_client_sends_chunk_after_chunk,
    wait_for_something_cancelled,
)
from tests.clients import KEYS, UPGRADE, Client, greeted, open_client
from tests.leaks import Watched, hang_up, left_behind, tornados_circles, without_collector
from tests.support import BARE_FORM, HTTP_TRANSPORTS, MovedLoop, Recorder, Served, until

EXPECTED = {
    "websocket": {"Connection", "PersistentSession", "WebSocketChannel"},
    "flashsocket": {"Connection", "PersistentSession", "WebSocketChannel"},
    "xhr-multipart": {"Connection", "PersistentSession", "StreamChannel"},
    "htmlfile": {"Connection", "PersistentSession", "StreamChannel"},
    "xhr-polling": {"Connection", "PollingSession"},
    "jsonp-polling": {"Connection", "PollingSession"},
}


class DoingInFutures(DoingLater):
    """The same in tasks: futures which fail where the handler does."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return asyncio.ensure_future(super().on_open(request, *args, **kwargs))

    def on_message(self, message: Any) -> Any:
        return asyncio.ensure_future(super().on_message(message))

    def on_close(self) -> Any:
        return asyncio.ensure_future(super().on_close())


async def end(served: Served, clock: MovedLoop, transport: str, ending: Ending) -> Watched:
    client: Client = await greeted(served, transport)
    watched = Watched()
    await ending(served, client, clock)
    await Recorder.opened[0].wait_closed()
    return watched


@pytest.mark.parametrize(("transport", "ending"), ENDINGS, ids=lambda value: getattr(value, "__name__", value))
async def test_nothing_is_left_of_a_connection_when(serve, clock, transport, ending):
    for base in (Doing, DoingLater, DoingInFutures):
        served = serve(doing(base, last=fail), SETTINGS)
        with without_collector():
            watched = await end(served, clock, transport, ending)
            assert watched.names >= EXPECTED[transport]
            Recorder.opened.clear()
            await hang_up(served, clock)
            assert watched.alive == [], base
            if ending is the_client_sends_chunk_after_chunk:
                assert len(tornados_circles()) <= 1
                gc.collect()
            assert left_behind() == {}, base


@every_transport
@pytest.mark.parametrize("first", [refuse, fail, wait_for_something_cancelled, close, close_and_fail, send_too_much])
async def test_nothing_is_left_of_a_connection_whose_on_open_does_this(serve, clock, transport, first):
    for base in (Doing, DoingLater, DoingInFutures):
        served = serve(doing(base, first=first), SETTINGS)
        with without_collector():
            await asyncio.gather(open_client(served, transport), return_exceptions=True)
            await Recorder.opened[0].wait_closed()
            Recorder.opened.clear()
            await hang_up(served, clock)
            assert left_behind() == {}, base


@every_transport
@broken_by
async def test_nothing_is_left_of_a_connection_whose_client_leaves_during_on_open(serve, clock, transport, reset):
    SlowToOpen.go_on = asyncio.Event()
    served = serve(SlowToOpen)
    with without_collector():
        trying = asyncio.gather(open_client(served, transport), return_exceptions=True)
        await until(lambda: Recorder.opened)
        for wire in served.wires:
            if reset:
                wire.reset()
            else:
                await wire.aclose()
        await served.barrier()
        SlowToOpen.go_on.set()
        await Recorder.opened[0].wait_closed()
        await trying
        Recorder.opened.clear()
        await hang_up(served, clock)
        assert left_behind() == {}


# -- Requests without a connection -------------------------------------------------------------------------------------

ORIGIN = {"Origin": "http://evil.example"}

REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "an unknown session": ("GET", "/socket.io/{transport}/0123456789/1/0", {}, b""),
    "another origin": ("GET", "/socket.io/{transport}//1/0", ORIGIN, b""),
    "another method": ("PUT", "/socket.io/{transport}//1/0", {}, b""),
    "a preflight": ("OPTIONS", "/socket.io/{transport}//1/0", {}, b""),
    "a refused preflight": ("OPTIONS", "/socket.io/{transport}//1/0", ORIGIN, b""),
    "an upgrade": ("GET", "/socket.io/{transport}//1/0", UPGRADE, b""),
    "a POST without a session": ("POST", "/socket.io/{transport}//send", BARE_FORM, b"data="),
    "a POST to an unknown session": ("POST", "/socket.io/{transport}/0123456789/send", BARE_FORM, b"data="),
    "a POST of frames that are none": ("POST", "/socket.io/{transport}/{session_id}/send", BARE_FORM, b"data=nonsense"),
    "a POST that is no form": ("POST", "/socket.io/{transport}/{session_id}/send", BARE_FORM, b"x"),
    "a body too large": ("POST", "/socket.io/{transport}/0123456789/send", {"Content-Length": "99999999"}, b""),
    "half a body": (
        "POST",
        "/socket.io/{transport}/{session_id}/send",
        {**BARE_FORM, "Content-Length": "100"},
        b"data=",
    ),
}
HANDSHAKES: dict[str, dict[str, str]] = {
    "no upgrade": {},
    "draft-75": UPGRADE,
    "an unknown version": {**UPGRADE, "Sec-WebSocket-Version": "99"},
    "another origin": {**UPGRADE, **ORIGIN},
    "no key3": {**UPGRADE, **KEYS},
}


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
@pytest.mark.parametrize("name", REQUESTS)
async def test_nothing_is_left_of_a_request_that_is_answered_or_broken_off(serve, clock, transport, name):
    method, path, headers, body = REQUESTS[name]
    served = serve(settings=SETTINGS)
    with without_collector():
        session_id = await served.start(transport)
        await served.barrier()  # the connection of that has gone
        before = left_behind()
        wire = await served.connect()
        await wire.send_request(method, path.format(transport=transport, session_id=session_id), headers, body)
        if name != "half a body":
            assert (await wire.read_response()).status in (200, 400, 401, 403, 405, 413)
        await served.barrier()
        await wire.aclose()
        await served.barrier()
        assert left_behind() == before


@pytest.mark.parametrize("path", ["websocket", "flashsocket"])
@pytest.mark.parametrize("name", HANDSHAKES)
async def test_nothing_is_left_of_a_handshake_that_is_refused_or_broken_off(serve, clock, path, name):
    served = serve()
    with without_collector():
        wire = await served.connect()
        await wire.send_request("GET", f"/socket.io/{path}", HANDSHAKES[name])
        assert (await wire.read_head()).status in (101, 400, 403, 426)
        Recorder.opened.clear()
        await hang_up(served, clock)
        assert left_behind() == {}
