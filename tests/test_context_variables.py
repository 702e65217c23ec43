"""Context variables in handlers: what one of them sets no other one sees, whichever connection carries its client."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, ClassVar

import pytest
import tornado.web

from tests.clients import greeted
from tests.support import FORM, ClientStream, MovedLoop, Recorder, Serve
from tornadio import proto

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


class Setting(Recorder):
    """Notes who the user is in each handler, and says that it is its own."""

    seen: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.is_user("created")

    def is_user(self, where: str) -> None:
        self.seen.append(f"{where}: {user.get()}")
        user.set(where)

    def on_open(self, *args: Any, **kwargs: Any) -> Any:
        self.is_user("open")
        return super().on_open(*args, **kwargs)

    def on_message(self, message: Any) -> Any:
        self.is_user("message")
        return super().on_message(message)

    def on_close(self) -> Any:
        self.is_user("close")
        return super().on_close()


class SettingLater(Setting):
    """The same by coroutines."""

    async def on_open(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return super().on_open(*args, **kwargs)

    async def on_message(self, message: Any) -> Any:
        await asyncio.sleep(0)
        return super().on_message(message)

    async def on_close(self) -> Any:
        await asyncio.sleep(0)
        return super().on_close()


CLASSES = [Setting, SettingLater]
ONE_CLIENT = ["created: nobody", "open: nobody", "message: nobody", "message: nobody", "close: nobody"]


@pytest.fixture(autouse=True)
def seen() -> list[str]:
    Setting.seen.clear()
    return Setting.seen


async def request(wire: ClientStream, method: str, path: str, *messages: str) -> str:
    """The text of a response; the connection is kept."""
    body = b"data=" + "".join(map(proto.encode, messages)).encode() if messages else b""
    await wire.send_request(method, f"/socket.io/xhr-polling/{path}", FORM if body else {}, body)
    answer = await wire.read_response()
    assert answer.status == 200
    return answer.text


@pytest.mark.parametrize("connection_class", CLASSES)
async def test_clients_of_a_proxy_share_its_connection_and_nothing_else(
    serve: Serve, each_http, seen, connection_class
):
    wire = await serve(connection_class).connect()
    clients = [next(iter(proto.decode(await request(wire, "GET", "/1"))))[1] for _ in range(2)]
    for client in [*clients, *clients]:
        await request(wire, "POST", f"{client}/send", "hello")
    for connection in Recorder.opened:
        connection.close()
        await connection.wait_closed()
    assert sorted(seen) == sorted([*ONE_CLIENT, *ONE_CLIENT])


@pytest.mark.parametrize("transport", ["websocket", "xhr-multipart"])
@pytest.mark.parametrize("connection_class", CLASSES)
async def test_a_connection_of_its_own_changes_nothing(serve: Serve, seen, connection_class, transport):
    client = await greeted(serve(connection_class), transport)
    for message in ("hello", "close"):
        await client.send(message)
    await Recorder.opened[0].wait_closed()
    assert seen == ONE_CLIENT


async def test_a_timer_that_a_handler_had_set_ends_the_sessions_of_others(serve: Serve, clock: MovedLoop, seen):
    served = serve(Setting)
    silent = [await served.open() for _ in range(2)]
    await clock.advance(60)
    assert len(silent) == 2
    assert seen[-2:] == ["close: nobody", "close: nobody"]


class Page(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(user.get())
        user.set("a page")


@pytest.mark.parametrize("before", [0, 1])
async def test_pages_begin_with_what_is_set_when_the_server_starts(serve: Serve, each_http, before):
    user.set("the server")
    served = serve(handlers=((r"/page", Page),))
    user.set("a test")
    wire = await served.connect()
    for _ in range(before):
        await request(wire, "GET", "/1")  # the connection has waited for the next request by then
    for _ in range(2):
        await wire.send_request("GET", "/page")
        assert (await wire.read_response()).text == "the server"


async def test_handlers_begin_with_what_is_set_when_the_server_starts(serve: Serve, seen):
    user.set("the server")
    served = serve(Setting)
    user.set("a test")
    await served.open()
    Recorder.opened[0].close()
    await Recorder.opened[0].wait_closed()
    assert seen == ["created: the server", "open: the server", "close: the server"]
