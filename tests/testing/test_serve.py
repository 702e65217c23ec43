"""An application that is served inside a test: `testing.serve`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import tornado.web
import trustme
import websockets
from tornado.httpclient import AsyncHTTPClient

import tornadio
from tests.support import ClientStream
from tornadio import testing
from tornadio.websocket import rfc6455

# Errors that are written to the log at most within a minute: those beyond are none the less noted.
MANY = 25


class Chat(tornadio.SocketConnection):
    ends: list[tuple[int | None, str]] = []

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        if request.arguments:
            raise KeyError("on_open")

    async def on_message(self, message: Any) -> None:
        match message:
            case "fail":
                raise ValueError("on_message")
            case "sleep":
                await asyncio.sleep(3600)
            case "task":
                self.task = asyncio.create_task(self.failing())
                await asyncio.sleep(0)
                del self.task
            case "callback":
                asyncio.get_running_loop().call_soon(self.divide)
            case "thread":
                await asyncio.to_thread(self.send, "from a thread")
        self.send(message)

    def on_close(self) -> None:
        self.ends.append((self.close_code, self.close_reason))
        if self.close_code == 4000:
            raise LookupError("on_close")

    async def failing(self) -> None:
        raise OSError("a task")

    def divide(self) -> None:
        raise ZeroDivisionError("a callback")


class Page(tornado.web.RequestHandler):
    def get(self) -> None:
        if self.get_argument("fail", None):
            raise AttributeError("a page")
        self.write("a page")


@pytest.fixture(autouse=True)
def ends() -> list[tuple[int | None, str]]:
    Chat.ends.clear()
    return Chat.ends


def an_application() -> tornado.web.Application:
    routers = [tornadio.get_router(Chat, resource=name) for name in ("chat", "other")]
    return tornado.web.Application([*(router.route() for router in routers), ("/page", Page)], socket_io_port=1)


async def fetch(server: testing.Server, path: str) -> bytes:
    url = f"http://127.0.0.1:{server.port}{path}"
    return (await AsyncHTTPClient().fetch(url, raise_error=False)).body


async def test_a_connection_class_with_settings():
    async with testing.serve(Chat, max_message_size=5) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/socket.io"
        async with server.connect() as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
            [connection] = server.connections
            assert isinstance(connection, Chat)
            assert connection.session_id == socket.session_id
            await socket.send("longer")
            with pytest.raises(tornadio.ConnectionClosed, match="max_message_size"):
                await socket.recv()


async def test_an_application_with_its_routers_and_pages():
    async with testing.serve(an_application()) as server:
        assert await fetch(server, "/page") == b"a page"
        assert server.url.endswith("/chat")
        async with server.connect() as chat, server.connect("other", transports=["websocket"]) as other:
            assert [type(each) for each in server.connections] == [Chat, Chat]
            server.routers[1].broadcast("to the others")
            await chat.send("to the chat")
            assert (await chat.recv(), await other.recv()) == ("to the chat", "to the others")
        with pytest.raises(
            tornadio.CallerError, match="there is no router of the resource 'chta': there are chat, other"
        ):
            server.connect("chta")


async def test_over_tls():
    authority = trustme.CA()
    context, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(trusting)
    async with testing.serve(Chat, ssl_context=context) as server:
        assert server.url.startswith("https://")
        async with server.connect(ssl=trusting) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
        async with websockets.connect(server.websocket_url, ssl=trusting):
            pass


async def test_at_the_end_every_connection_is_closed_without_a_wait(ends):
    """Not for a client that does not answer the close frame either, nor for a handler that sleeps."""
    async with testing.clock() as clock:
        async with testing.serve(Chat) as server:
            socket = await server.connect()
            await websockets.connect(server.websocket_url)
            silent = await ClientStream.connect(server.port)
            await silent.send_request("GET", "/socket.io/websocket", rfc6455.client_request_headers(rfc6455.new_key()))
            await testing.until(lambda: len(server.connections) == 3)
        assert clock.elapsed < 0.2
        assert ends == [(1001, "the server is shutting down")] * 3
        with pytest.raises(tornadio.ConnectionClosed, match="1001: the server is shutting down"):
            await socket.recv()
        async with testing.serve(Chat) as server:
            socket = await server.connect()
            await socket.send("sleep")
            await clock.advance(1)
        assert clock.elapsed < 3
        await silent.aclose()


def test_a_router_can_be_served_again_on_another_event_loop():
    """With all that it has: groups, calls of other threads, and a bus, which is made anew from a URL alone."""
    bus = Bus()
    router = tornadio.get_router(Chat, {"bus": bus})
    application = tornado.web.Application([router.route()])

    async def test() -> None:
        async with testing.serve(application) as server, server.connect() as socket:
            router.group("all").add(server.connections[0])
            router.group("all").send("to the group")
            await socket.send("thread")
            assert [await socket.recv() for _ in range(3)] == ["to the group", "from a thread", "thread"]
            await testing.until(lambda: len(bus.channels) == 2)
            assert bus.published == ["socket.io:group:all"]
            bus.published.clear()

    for _ in range(3):
        asyncio.run(test())
        assert bus.channels == {}


class Bus:
    """A bus that reaches nobody."""

    def __init__(self) -> None:
        self.channels: dict[str, Callable[[bytes], None]] = {}
        self.published: list[str] = []

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        self.published += [channel for channel, _ in messages]

    async def subscribe(self, channel: str, callback: Callable[[bytes], None]) -> None:
        self.channels[channel] = callback

    async def unsubscribe(self, channel: str) -> None:
        del self.channels[channel]

    async def close(self) -> None:
        self.channels.clear()


# -- Errors of the application -----------------------------------------------------------------------------------------


async def fail_in_on_open(server: testing.Server) -> None:
    with pytest.raises(tornadio.ConnectError):
        await tornadio.connect(f"{server.url}?fail=1", transports=["websocket"])


async def fail_in_on_message(server: testing.Server) -> None:
    async with server.connect() as socket:
        await socket.send("fail")
        with pytest.raises(tornadio.ConnectionClosed, match="1011"):
            await socket.recv()


async def fail_in_on_close(server: testing.Server) -> None:
    async with server.connect() as socket:
        await socket.close(4000)


async def fail_in_a_page(server: testing.Server) -> None:
    assert b"500" in await fetch(server, "/page?fail=1")


async def fail_in_a_task(server: testing.Server) -> None:
    async with server.connect() as socket:
        await socket.send("task")
        await socket.recv()


async def fail_in_a_callback(server: testing.Server) -> None:
    async with server.connect() as socket:
        await socket.send("callback")
        await socket.recv()


FAILURES = {
    KeyError: (fail_in_on_open, "on_open failed"),
    ValueError: (fail_in_on_message, "on_message failed"),
    LookupError: (fail_in_on_close, "on_close failed"),
    AttributeError: (fail_in_a_page, "Uncaught exception GET /page"),
    OSError: (fail_in_a_task, "Task exception was never retrieved"),
    ZeroDivisionError: (fail_in_a_callback, "Exception in callback"),
}


@pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: kind.__name__)
async def test_an_error_of_the_application_fails_the_test(kind):
    fail, note = FAILURES[kind]
    with pytest.raises(ExceptionGroup, match="the application under test has failed") as raised:
        async with testing.serve(an_application()) as server:
            await fail(server)
    [error] = raised.value.exceptions
    assert type(error) is kind
    assert any(note in each for each in error.__notes__)
    async with testing.serve(an_application()) as server:
        await fail(server)
        assert [type(each) for each in server.errors] == [kind]
        server.errors.clear()  # the test expects it


async def test_all_errors_are_noted_however_many_the_log_has():
    async with testing.serve(Chat) as server:
        for _ in range(MANY):
            await fail_in_on_message(server)
        assert [str(error) for error in server.errors] == ["on_message"] * MANY
        server.errors.clear()


async def test_the_error_of_a_test_that_fails_itself_has_those_of_the_application_as_notes():
    async def test() -> None:
        async with testing.serve(Chat) as server, server.connect() as socket:
            await socket.send("fail")
            await socket.recv()

    with pytest.raises(tornadio.ConnectionClosed) as raised:
        await test()
    [note] = raised.value.__notes__
    assert note.startswith("In the application under test:\nTraceback")
    assert 'raise ValueError("on_message")' in note


async def test_a_client_in_a_task_that_nobody_awaits_is_no_application(caplog):
    async with testing.serve(Chat) as server:

        async def client() -> None:
            async with server.connect() as socket:
                await socket.recv()

        asyncio.get_running_loop().create_task(client())
        await testing.until(lambda: server.connections)
    assert "Task exception was never retrieved" in caplog.text


async def test_of_two_servers_each_has_its_own_errors():
    async with testing.serve(Chat) as one, testing.serve(Chat) as two:
        await fail_in_on_message(one)
        assert (len(one.errors), two.errors) == (1, [])
        await fail_in_on_message(two)
        assert (len(one.errors), len(two.errors)) == (1, 1)
        one.errors.clear()
        two.errors.clear()


async def test_nothing_is_noted_after_the_end(caplog):
    async with testing.serve(Chat) as server:
        pass
    asyncio.get_running_loop().call_exception_handler({"message": "later", "exception": OSError()})
    assert "later" in caplog.text
    assert server.errors == []


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (lambda: testing.serve(Chat, heartbeat_intervall=3), "did you mean 'heartbeat_interval'"),
        (lambda: testing.serve(tornadio.get_router(Chat), heartbeat_interval=3), r"\(heartbeat_interval\) belong to"),
        (
            lambda: testing.serve(cast(Any, int)),
            "serve takes a tornado.web.Application, a tornadio.Router, or a subclass of",
        ),
        (lambda: testing.serve(Chat).url, "the server does not run: use 'async with"),
    ],
)
def test_mistakes_are_told(serve, why):
    with pytest.raises(tornadio.CallerError, match=why):
        serve()


async def test_an_application_without_routers_has_no_url():
    async with testing.serve(tornado.web.Application([("/page", Page)])) as server:
        assert await fetch(server, "/page") == b"a page"
        with pytest.raises(tornadio.CallerError, match="no router"):
            server.connect()


async def test_until_waits_for_a_condition_and_not_for_ever():
    found: list[int] = []
    asyncio.get_running_loop().call_later(0.01, found.append, 7)
    assert await testing.until(lambda: found) == [7]
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        await testing.until(lambda: len(found) == 2, timeout=0.05)
    async with testing.clock():
        with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
            await testing.until(lambda: len(found) == 2, timeout=0.05)
