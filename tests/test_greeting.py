"""The first frame of a connection: the session id, or what the application's `greeting` returns."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

import tornadio
from tests.clients import HIXIE, HYBI, connect, greeted
from tests.internals import sessions_of
from tests.support import HTTP_TRANSPORTS, SOCKETS, Recorder, until
from tests.texts import frame, json_frame
from tornadio import proto
from tornadio.errors import SettingsError
from tornadio.settings import PROTOCOLS

every_version = pytest.mark.parametrize("version", [*HYBI, *HIXIE])


class Greeter(Recorder):
    """Greets with `first`."""

    first: Any = None

    def greeting(self) -> Any:
        self.events.append(("greeting",))
        return self.first


class Silent(Greeter):
    """Sends nothing by itself."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        Recorder.opened.append(self)


def greeter(first: Any) -> type[Greeter]:
    return type("Greeter", (Greeter,), {"first": first})


# -- The first frame ---------------------------------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("a text, é😀", frame("a text, é😀")),
        ("", frame("")),
        (b"bytes", frame("bytes")),
        ("~h~1", json_frame('"~h~1"')),
        ({"session": [1, None]}, json_frame('{"session": [1, null]}')),
        (["one", ["frame"]], json_frame('["one", ["frame"]]')),
        ([], json_frame("[]")),
        (0, json_frame("0")),
    ],
)
async def test_the_application_chooses_the_first_frame(serve, version, first, expected):
    peer = await connect(serve(greeter(first)), version)
    assert [await peer.receive(), await peer.receive()] == [expected, frame("welcome")]
    await peer.send(frame("more"))
    assert await peer.receive() == frame("more")
    assert Recorder.opened[0].events == [("open", ""), ("greeting",), ("message", "more")]


@pytest.mark.parametrize("settings", [{}, {"one_frame_per_message": True}], ids=["together", "one by one"])
async def test_a_first_frame_is_json_as_the_setting_has_it(serve, settings):
    peer = await connect(serve(greeter({"n": 1}), {"json": "plain", **settings}))
    assert [await peer.receive(), await peer.receive()] == [frame('{"n": 1}'), frame("welcome")]


@every_version
async def test_without_a_first_frame_the_first_message_comes_first(serve, version):
    served = serve(greeter(None))
    peer = await connect(served, version)
    assert await peer.receive() == frame("welcome")
    served.router.broadcast("news")
    assert await peer.receive() == frame("news")


@every_version
async def test_the_handshake_is_answered_although_there_is_nothing_to_send(site, clock, version):
    peer = await connect(site(Silent), version)  # waits for the 101
    await until(lambda: Recorder.opened)
    await clock.advance(12.1)
    assert await peer.receive() == proto.encode_heartbeat(1)
    await peer.send(frame("more"))
    assert await peer.receive() == frame("more")


@every_version
async def test_what_on_open_keeps_can_be_used_and_what_it_sends_comes_behind(serve, version):
    class Slow(Recorder):
        async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            self.send("sent by on_open")
            await asyncio.sleep(0)
            self.name = "Ann"

        def greeting(self) -> Any:
            self.send("sent by greeting")
            return f"hello {self.name} from {len(sessions_of(served.router))}"

    served = serve(Slow)
    peer = await connect(served, version)
    assert await peer.receive() == frame("hello Ann from 1")
    assert await peer.receive() == proto.encode(["sent by on_open", "sent by greeting"])


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize("words", [None, "extra"], ids=["inherited", "calls the inherited one"])
async def test_by_default_the_first_frame_is_the_session_id(serve, transport, words):
    class Same(Recorder):
        def greeting(self) -> Any:
            return super().greeting()

    client = await greeted(serve(Same if words else Recorder), transport)
    assert client.session_id == Recorder.opened[0].session_id


@every_version
@pytest.mark.parametrize("first", ["bye", None])
async def test_a_connection_that_on_open_has_closed_is_greeted_and_ends(serve, version, first):
    class Closing(Greeter):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            Recorder.opened.append(self)
            self.close(4000, "enough")

    peer = await connect(serve(type("Closing", (Closing,), {"first": first})), version)
    if first is not None:
        assert await peer.receive() == frame(first)
    assert await peer.ended() == (4000 if version in HYBI else None)
    await Recorder.opened[0].wait_closed()


async def test_a_greeting_that_was_never_asked_for_is_not_called(serve):
    class Refusing(Greeter):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            super().on_open(request, *args, **kwargs)
            return False

    peer = await connect(serve(Refusing))
    assert await peer.ended() == 1008
    await Recorder.opened[0].wait_closed()
    assert ("greeting",) not in Recorder.opened[0].events


# -- Greetings that fail -----------------------------------------------------------------------------------------------


class Failing(Recorder):
    def greeting(self) -> Any:
        raise LookupError("as the test asked")


class Cancelled(Recorder):
    def greeting(self) -> Any:
        raise asyncio.CancelledError


class Unsendable(Recorder):
    def greeting(self) -> Any:
        return {"n": float("nan")}


class Awaitable(Recorder):
    def greeting(self) -> Any:
        return asyncio.sleep(0)


REASONS = {
    Failing: "as the test asked",
    Cancelled: "CancelledError",
    Unsendable: "can't send dict as JSON",
    Awaitable: "greeting can't be async: await in on_open, and keep in self what it is to return",
}


@pytest.mark.parametrize(
    ("failing", "transport"),
    [
        *((failing, transport) for failing in REASONS for transport in SOCKETS),
        *((failing, transport) for failing in (Failing, Awaitable) for transport in HTTP_TRANSPORTS),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain on_open", "on_open is a coroutine"])
async def test_a_greeting_that_fails_refuses_the_client(serve, caplog, failing, asynchronous, transport):
    class Asynchronous(failing):  # type: ignore[misc, valid-type]
        async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)

    served = serve(Asynchronous if asynchronous else failing)
    await assert_refused(served, transport)
    assert f"session {Recorder.opened[0].session_id[:8]} ({transport}): greeting failed" in caplog.text
    assert REASONS[failing] in caplog.text


async def assert_refused(served: Any, transport: str) -> None:
    if transport in SOCKETS:
        peer = await connect(served, "13" if transport == "websocket" else "76", f"/socket.io/{transport}")
        assert await peer.ended() == (1011 if transport == "websocket" else None)
    else:
        response = await served.request("GET", f"/socket.io/{transport}//1290000000000/0")
        assert (response.status, response.text) == (500, "the application failed on this connection")
    [connection] = Recorder.opened
    await connection.wait_closed()
    assert (connection.close_code, connection.close_reason) == (1011, "greeting failed")
    assert served.router.connections == ()
    assert sessions_of(served.router) == []


@pytest.mark.parametrize("first", ["another", None, {"n": 1}], ids=str)
@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_another_greeting_than_the_session_id_is_an_error_where_clients_need_that(
    serve, caplog, transport, first
):
    await assert_refused(serve(greeter(first)), transport)
    assert (
        f"greeting must return self.session_id over {transport}, whose clients name it in their requests; to greet "
        "with something else, set enabled_protocols to websocket and flashsocket, or one of them"
    ) in caplog.text


class Flooding(Recorder):
    def greeting(self) -> Any:
        self.send("x" * 2000)
        return self.session_id if self.transport == "htmlfile" else "small"


@pytest.mark.parametrize("connection_class", [greeter("x" * 2000), Flooding], ids=["the frame", "sent by greeting"])
async def test_a_greeting_that_is_larger_than_what_may_wait_closes_the_connection_as_too_slow(serve, connection_class):
    peer = await connect(serve(connection_class, {"max_send_buffer": 1000}))
    assert await peer.ended() == 1008
    await Recorder.opened[0].wait_closed()
    assert (Recorder.opened[0].close_code, Recorder.opened[0].close_reason) == (1008, "too slow")


async def test_a_client_whose_greeting_sends_too_much_is_told_so_on_other_transports_too(serve):
    response = await serve(Flooding, {"max_send_buffer": 1000}).request("GET", "/socket.io/htmlfile/")
    assert (response.status, response.text) == (401, "the session ended before it was open")


async def test_a_greeting_that_blocks_the_event_loop_is_logged(serve, caplog):
    class Blocking(Recorder):
        def greeting(self) -> Any:
            time.sleep(1.01)
            return "late"

    assert await (await connect(serve(Blocking))).receive() == frame("late")
    assert re.search(r"Blocking\.greeting blocked the event loop for [1-9]\d*\.\d s", caplog.text)


# -- At get_router -----------------------------------------------------------------------------------------------------


class Async(tornadio.SocketConnection):
    async def greeting(self) -> str:
        return "late"


class WithArguments(tornadio.SocketConnection):
    def greeting(self, name: str) -> str:  # type: ignore[override]
        return f"hello {name}"


class Attribute(tornadio.SocketConnection):
    greeting = "hello"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("connection_class", "message"),
    [
        (Async, "Async.greeting can't be async: await in on_open, and keep in self what it is to return"),
        (WithArguments, r"WithArguments.greeting must be greeting\(self\), which returns the first frame .*'name'"),
        (Attribute, r"Attribute.greeting must be greeting\(self\), which returns the first frame .*is not a callable"),
    ],
)
def test_what_can_be_no_greeting_is_an_error_when_the_router_is_made(connection_class, message):
    with pytest.raises(SettingsError, match=message):
        tornadio.get_router(connection_class)
