"""SocketConnection, what applications see of a client: its handlers and its methods."""

from __future__ import annotations

import asyncio
import logging
import threading
from decimal import Decimal
from typing import Any

import pytest
import tornado.web
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop

import tornadio
from tests.clients import Client, SocketClient, connect, greeted, open_client
from tests.support import PERSISTENT, POLLING, SOCKETS, Recorder, Served, until
from tornadio import proto
from tornadio.errors import CallerError, EncodeError, SettingsError
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)


async def receive_until(client: Client, last: Any) -> list[Any]:
    """All messages up to this one."""
    received: list[Any] = []
    while last not in received:
        received += await client.receive()
    return received


# -- What a connection tells -------------------------------------------------------------------------------------------


@every_transport
async def test_a_connection_knows_its_session_id_and_its_transport(serve, transport):
    client = await greeted(serve(), transport)
    [recorder] = Recorder.opened
    assert (recorder.session_id, recorder.transport) == (client.session_id, transport)
    assert recorder.is_closed is False


@every_transport
async def test_what_a_connection_tells_can_be_asked_in_every_handler(serve, transport):
    told: list[Any] = []

    class Telling(tornadio.SocketConnection):
        def tell(self) -> None:
            told.append((self.session_id, self.transport, self.is_closed))

        def on_open(self, *args: Any, **kwargs: Any) -> None:
            self.tell()

        def on_message(self, message: Any) -> None:
            self.tell()
            self.close()
            self.tell()

        def on_close(self) -> None:
            self.tell()

    client = await open_client(serve(Telling), transport)
    await client.send("go")
    await until(lambda: len(told) == 4)
    identity = (client.session_id, transport)
    assert told == [(*identity, False), (*identity, False), (*identity, True), (*identity, True)]


@every_transport
async def test_on_open_gets_the_request(serve, transport):
    requests: list[HTTPServerRequest] = []

    class Asking(tornadio.SocketConnection):
        def on_open(self, request: HTTPServerRequest, *args: Any, **kwargs: Any) -> None:
            requests.append(request)

    await open_client(serve(Asking), transport)
    assert isinstance(requests[0], HTTPServerRequest)
    assert requests[0].path.startswith(f"/socket.io/{transport}")
    assert requests[0].remote_ip == "127.0.0.1"
    assert requests[0].headers["Host"] == "127.0.0.1"


@pytest.mark.parametrize("version", ["13", "76"])
async def test_on_open_sees_cookies_of_websockets_too(serve, version):
    await connect(serve(), version, headers={"Cookie": "name=Ann; colour=blue"})
    await until(lambda: Recorder.opened)
    cookies = Recorder.opened[0].request.cookies
    assert (cookies["name"].value, cookies["colour"].value) == ("Ann", "blue")


@every_transport
async def test_router_connections_are_the_open_ones_oldest_first(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1})
    assert served.router.connections == ()
    clients = [await greeted(served, transport) for _ in range(3)]
    assert served.router.connections == tuple(Recorder.opened)
    await clients[1].send("close")
    first, second, third = Recorder.opened
    await second.closed.wait()
    assert served.router.connections == (first, third)
    await clients[0].leave()
    await clients[2].leave()
    await clock.advance(12)
    assert served.router.connections == ()


async def test_a_connection_is_among_the_routers_once_on_open_has_returned(serve):
    inside: list[Any] = []

    class Counting(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)
            inside.append(served.router.connections)
            self.broadcast("somebody comes")

    served = serve(Counting)
    await greeted(served)
    await greeted(served)
    assert inside == [(), (Recorder.opened[0],)]


# -- What classes may look like ----------------------------------------------------------------------------------------


async def test_the_original_readmes_on_open_takes_anything(serve):
    extras: list[str] = []

    class MyConnection(tornadio.SocketConnection):
        def on_open(self, *args: Any, **kwargs: Any) -> None:
            extras.append(kwargs["extra"])

        def on_message(self, message: Any) -> None:
            pass

    served = serve(MyConnection, resource="chat", extra_re=r"\d+", extra_sep="/")
    await connect(served, path="/chat/123/websocket")
    await until(lambda: extras)
    assert extras == ["123"]


@pytest.mark.parametrize("calls_super", [False, True])
async def test_init_may_leave_super_out(serve, calls_super):
    class MyConnection(tornadio.SocketConnection):
        def __init__(self) -> None:
            if calls_super:
                super().__init__()
            self.name = "Ann"

        def on_message(self, message: Any) -> None:
            self.send(f"{self.name}: {message}")

    client = await open_client(serve(MyConnection), "websocket")
    await client.send("hello")
    assert await client.receive() == ["Ann: hello"]


@every_transport
async def test_names_of_the_application_are_its_own(serve, transport):
    class MyConnection(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)
            self._session = self.session = self._channel = self.state = self.container = "of a database, say"

    client = await greeted(serve(MyConnection), transport)
    await client.send("hello")
    assert await client.receive() == ["hello"]
    await client.send("close")
    await Recorder.opened[0].closed.wait()


@every_transport
async def test_a_constructor_that_raises_is_logged_and_the_client_is_told(serve, transport, caplog):
    class Failing(Recorder):
        def __init__(self) -> None:
            raise RuntimeError("as the test asked")

    served = serve(Failing)
    if transport in SOCKETS:
        peer = await connect(served, "13" if transport == "websocket" else "76", f"/socket.io/{transport}")
        assert await peer.ended() == (1011 if transport == "websocket" else None)
    else:
        assert (await served.request("GET", f"/socket.io/{transport}//1290000000000/0")).status == 500
    assert "RuntimeError: as the test asked" in caplog.text


async def test_on_open_and_on_close_are_optional_on_message_is_not(serve, caplog):
    client = await open_client(serve(tornadio.SocketConnection), "websocket")
    await client.send("hello")
    await client.ended()
    assert "SocketConnection must override on_message" in caplog.text


# -- send --------------------------------------------------------------------------------------------------------------


def sending(*messages: Any) -> type[Recorder]:
    """A connection class that answers everything with these, and then with the end."""

    class Sending(Recorder):
        def on_message(self, message: Any) -> None:
            for each in messages:
                self.send(each)
            self.send("end")

    return Sending


@pytest.mark.parametrize("transport", ["websocket", "flashsocket", "xhr-polling"])
@pytest.mark.parametrize(
    ("message", "frames"),
    [
        ("abc", "~m~3~m~abc"),
        ("", "~m~0~m~"),
        ("é中😀", "~m~4~m~é中😀"),
        ({"a": "b"}, '~m~13~m~~j~{"a": "b"}'),
        ({"é": "😀"}, '~m~29~m~~j~{"\\u00e9": "\\ud83d\\ude00"}'),
        (["a", "b"], "~m~1~m~a~m~1~m~b"),
        (["a", ["b", [{"c": 1}]], []], '~m~1~m~a~m~1~m~b~m~11~m~~j~{"c": 1}'),
        (None, ""),
        ([], ""),
        ([None, []], ""),
        (3, "~m~4~m~~j~3"),
        (1.5, "~m~6~m~~j~1.5"),
        (True, "~m~7~m~~j~true"),
        ((1, "a"), '~m~11~m~~j~[1, "a"]'),
        (Decimal("1.10"), "~m~7~m~~j~1.10"),
        (b"abc", "~m~3~m~abc"),
        ("é".encode(), "~m~1~m~é"),
        ("a\ud83d", "~m~2~m~a\ufffd"),
        ("\ude00\ud83d", "~m~2~m~\ufffd\ufffd"),
        ("\0\n\r\u2028</script>", "~m~13~m~\0\n\r\u2028</script>"),
    ],
    ids=repr,
)
async def test_messages_on_the_wire(serve, transport, message, frames):
    served = serve(sending(message))
    client = await greeted(served, transport)
    await client.send("go")
    if isinstance(client, SocketClient):
        assert await client.peer.receive() == frames + "~m~3~m~end"
    else:
        assert (await served.poll(client.session_id)).text == frames + "~m~3~m~end"


NOTHING: list[Any] = [None, [], [None, []]]


class SayingNothing(Recorder):
    def on_message(self, message: Any) -> None:
        if message == "end":
            self.send("end")
        for nothing in NOTHING:
            self.send(nothing)
            self.broadcast(nothing)


@pytest.mark.parametrize("transport", PERSISTENT)
async def test_nothing_is_not_sent_over_a_stream(serve, transport):
    client = await greeted(serve(SayingNothing), transport)
    for message in ("nothing", "nothing", "end"):
        await client.send(message)
    assert await client.receive() == ["end"]


@pytest.mark.parametrize("transport", POLLING)
async def test_nothing_does_not_answer_a_poll(serve, transport):
    served = serve(SayingNothing)
    client, _ = await greeted(served, transport), await greeted(served, transport)
    poll = asyncio.ensure_future(served.poll(client.session_id, transport))
    await served.barrier()
    await client.send("nothing")
    await served.barrier()
    assert not poll.done()
    await client.send("end")
    assert "~m~3~m~end" in (await poll).text


CANNOT_BE_SENT = [
    float("nan"),
    float("inf"),
    {"a": [1, -float("inf")]},
    Decimal("NaN"),
    b"\xff",
    object(),
    {"a": object()},
    {(1, 2): 3},
    ["fine", float("nan")],
    ["fine", [b"\xff"]],
]


@pytest.mark.parametrize("message", CANNOT_BE_SENT, ids=repr)
async def test_what_cannot_be_sent_is_an_error_and_nothing_of_it_is_sent(serve, message):
    class Trying(Recorder):
        def on_message(self, _: Any) -> None:
            for send in (self.send, self.broadcast, served.router.broadcast):
                try:
                    send(message)
                except EncodeError as error:
                    self.events.append(("error", error))
            self.send("end")
            self.broadcast("end")

    served = serve(Trying)
    client, other = await greeted(served), await greeted(served)
    await client.send("go")
    assert await client.receive() == ["end"]
    assert await other.receive() == ["end"]
    errors = [error for name, *error in Recorder.opened[0].events if name == "error"]
    assert len(errors) == 3
    assert all(isinstance(error, ValueError) and isinstance(error, CallerError) and str(error) for [error] in errors)


def test_a_list_that_holds_itself_cannot_be_sent():
    message: list[Any] = ["fine"]
    message.append([message])
    with pytest.raises(EncodeError, match="contains itself"):
        proto.encode(message)


@every_transport
async def test_send_after_close_is_a_debug_line_and_nothing_else(serve, caplog, transport):
    class Chatty(Recorder):
        def on_message(self, message: Any) -> None:
            self.close()
            self.send("too late")
            self.close()

        def on_close(self) -> None:
            self.send("too late")
            super().on_close()

    caplog.set_level(logging.DEBUG, "tornadio")
    served = serve(Chatty)
    client = await greeted(served, transport)
    await client.send("go")
    [recorder] = Recorder.opened
    await recorder.closed.wait()
    recorder.send("too late")
    served.router.broadcast("too late")
    await client.ended()
    lines = [(record.levelno, record.getMessage()) for record in caplog.records if record.name.startswith("tornadio")]
    assert [level for level, line in lines if recorder.session_id[:8] in line and "send" in line] == 3 * [logging.DEBUG]
    assert max(level for level, _ in lines) <= logging.INFO


async def test_send_to_many_does_not_break_on_one_dead_peer(serve):
    served = serve()
    clients = [await greeted(served) for _ in range(3)]
    participants = list(Recorder.opened)
    await clients[1].leave(reset=True)
    for word in ("one", "two"):
        for participant in participants:
            participant.send(word)
        await participants[1].closed.wait()
    for client in (clients[0], clients[2]):
        assert await receive_until(client, "two") == ["one", "two"]


# -- broadcast and close -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_broadcast_reaches_every_other_connection_of_the_router(serve, transport):
    class Calling(Recorder):
        def on_message(self, message: Any) -> None:
            self.broadcast({"news": message})
            self.send("end")

    served = serve(Calling)
    clients = [await greeted(served, transport), *[await greeted(served, other) for other in PROTOCOLS]]
    stranger = await greeted(serve(Calling), transport)
    await clients[0].send("hello")
    assert await clients[0].receive() == ["end"]
    for client in clients[1:]:
        assert await client.receive() == [{"news": "hello"}]
    await stranger.send("go")
    assert await stranger.receive() == ["end"]


async def test_router_broadcast_leaves_out_whom_it_is_told_to(serve):
    served = serve()
    clients = [await greeted(served) for _ in range(4)]
    first, second, third, fourth = Recorder.opened
    served.router.broadcast("to all")
    served.router.broadcast("to the first two", exclude=[third, fourth])
    served.router.broadcast("to the last", exclude={first, second, third})
    served.router.broadcast(None)
    served.router.broadcast("end", exclude=())
    received = [await receive_until(client, "end") for client in clients]
    assert received == [
        ["to all", "to the first two", "end"],
        ["to all", "to the first two", "end"],
        ["to all", "end"],
        ["to all", "to the last", "end"],
    ]


@every_transport
async def test_a_handler_may_send_to_and_close_other_connections(serve, transport):
    class Police(Recorder):
        def on_message(self, message: Any) -> None:
            for other in served.router.connections:
                if other is not self:
                    other.send("out")
                    other.close()
            self.send("done")

    served = serve(Police)
    police, *others = [await greeted(served, transport) for _ in range(4)]
    await police.send("go")
    assert await police.receive() == ["done"]
    for other in others:
        assert await other.receive() == ["out"]
        await other.ended()
    assert served.router.connections == (Recorder.opened[0],)
    assert [recorder.events for recorder in Recorder.opened[1:]] == 3 * [[("open", ""), ("close",)]]


@every_transport
async def test_on_close_may_tell_the_others(serve, transport):
    class Abortable(Recorder):
        def on_close(self) -> None:
            self.broadcast("somebody left")
            super().on_close()

    served = serve(Abortable)
    leaving, staying = await greeted(served, transport), await greeted(served, transport)
    await leaving.send("close")
    assert await staying.receive() == ["somebody left"]


# -- The order of handlers ---------------------------------------------------------------------------------------------


class OneAtATime(Recorder):
    """Gives everybody else a chance to come in between."""

    busy = False

    async def work(self, *event: Any) -> None:
        assert not self.busy
        self.busy = True
        for _ in range(10):
            await asyncio.sleep(0)
        self.events.append(event)
        self.busy = False

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        Recorder.opened.append(self)
        await self.work("open")

    async def on_message(self, message: Any) -> None:
        await self.work("message", message)
        if message == "close":
            self.close()

    async def on_close(self) -> None:
        await self.work("close")
        self.closed.set()


@every_transport
async def test_handlers_run_one_at_a_time_and_in_order(serve, transport):
    client = await open_client(serve(OneAtATime), transport)
    for number in range(0, 100, 10):
        await client.send(*range(number, number + 5))
        await client.send(*range(number + 5, number + 10))
    await client.send("close")
    await Recorder.opened[0].closed.wait()
    messages = [("message", number) for number in range(100)]
    assert Recorder.opened[0].events == [("open",), *messages, ("message", "close"), ("close",)]


@every_transport
async def test_connections_do_not_wait_for_each_other(serve, transport):
    class Waiting(Recorder):
        async def on_message(self, message: Any) -> None:
            self.events.append(("message", message))
            await until(lambda: all(len(recorder.events) == 2 for recorder in Recorder.opened))
            self.send("done")

    served = serve(Waiting)
    clients = [await greeted(served, transport) for _ in range(3)]
    await asyncio.gather(*(client.send("go") for client in clients))
    for client in clients:
        assert await client.receive() == ["done"]


@pytest.mark.parametrize("version", ["13", "76"])
async def test_messages_that_come_during_on_open_wait_for_it(serve, version):
    class Slow(Recorder):
        async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)
            await go_on.wait()
            self.events.append(("opened",))

    go_on = asyncio.Event()
    served = serve(Slow)
    peer = await connect(served, version)
    await peer.send("~m~2~m~hi")
    await served.barrier()
    assert Recorder.opened[0].events == [("open", "")]
    go_on.set()
    await peer.receive()
    assert [await peer.receive(), await peer.receive()] == ["~m~7~m~welcome", "~m~2~m~hi"]
    assert Recorder.opened[0].events == [("open", ""), ("opened",), ("message", "hi")]


@every_transport
async def test_on_close_waits_for_the_handler_at_work(serve, transport):
    class Slow(Recorder):
        async def on_message(self, message: Any) -> None:
            self.close()
            await go_on.wait()
            self.events.append(("handled", message))

    go_on = asyncio.Event()
    served = serve(Slow)
    client = await greeted(served, transport)
    await client.send("go")
    await served.barrier()
    assert Recorder.opened[0].events == [("open", "")]
    go_on.set()
    await Recorder.opened[0].closed.wait()
    assert Recorder.opened[0].events == [("open", ""), ("handled", "go"), ("close",)]


@every_transport
async def test_a_handler_may_return_a_future_too(serve, transport):
    class Returning(Recorder):
        def on_message(self, message: Any) -> Any:
            future = asyncio.get_running_loop().create_future()

            def finish() -> None:
                self.send(message)
                future.set_result(None)

            asyncio.get_running_loop().call_soon(finish)
            return future

    client = await greeted(serve(Returning), transport)
    await client.send("one", "two")
    assert await receive_until(client, "two") == ["one", "two"]


# -- get_router --------------------------------------------------------------------------------------------------------


class NoRequest(tornadio.SocketConnection):
    def on_open(self) -> None:  # type: ignore[override]
        pass


class NoExtra(tornadio.SocketConnection):
    def on_open(self, request: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"handler": Recorder()}, "subclass of tornadio.SocketConnection, not <"),
        ({"handler": dict}, "subclass of tornadio.SocketConnection, not <class 'dict'>"),
        ({"handler": None}, "subclass of tornadio.SocketConnection, not None"),
        ({"handler": NoRequest}, r"NoRequest.on_open must be on_open\(self, request, \*args, \*\*kwargs\)"),
        ({"handler": NoExtra}, r"NoExtra.on_open must be on_open\(self, request, \*args, \*\*kwargs\)"),
        ({"resource": ""}, "resource must be .* not ''"),
        ({"resource": "/"}, "resource must be .* not '/'"),
        ({"resource": None}, "resource must be .* not None"),
        ({"extra_re": "("}, "extra_re '\\(' is no regular expression"),
        ({"extra_re": "(?P<name>x)"}, "extra_re .* must have no named groups"),
        ({"extra_sep": "/"}, "give extra_re, too"),
        ({"settings": ["websocket"]}, "settings must be a dict or tornadio.Settings, not list"),
        ({"settings": {"sesion_expiry": 3}}, "unknown setting 'sesion_expiry': did you mean 'session_expiry'?"),
        ({"settings": {"origins": ["nonsense"]}}, "origins: 'nonsense' is no origin"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_argument_of_get_router_is_an_error_that_says_what_is_right(arguments, message):
    with pytest.raises(SettingsError, match=message):
        tornadio.get_router(**{"handler": Recorder, **arguments})


def test_get_router_touches_no_event_loop():
    """In a thread that has no loop, none is missed and none is made."""
    seen: list[Any] = []

    def make() -> None:
        route = tornadio.get_router(Recorder, {"session_expiry": 5}, extra_re=".", extra_sep="/").route()
        tornado.web.Application([route])
        seen.append(IOLoop.current(instance=False))
        with pytest.raises(RuntimeError):
            asyncio.get_event_loop()
        seen.append("no loop")

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert seen == [None, "no loop"]


def test_a_router_serves_on_the_loop_that_runs_when_clients_come():
    router = tornadio.get_router(Recorder)
    application = tornado.web.Application([router.route()], socket_io_port=0, socket_io_address="127.0.0.1")

    async def one_client() -> None:
        server = tornadio.SocketServer(application, auto_start=False)
        client = await greeted(Served(server, router))
        await client.send("close")
        await client.ended()
        server.stop()
        await server.close_all_connections()

    for _ in range(2):  # one after the other
        asyncio.run(one_client())


async def test_io_loop_is_the_loop_of_the_sessions(serve):
    client = await greeted(serve(io_loop=IOLoop.current()))
    await client.send("hello")
    assert await client.receive() == ["hello"]
