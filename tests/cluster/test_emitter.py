"""Emitters: a program without a server sends to the clients of those that have one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import tornadio
from tests.clients import greeted, received
from tests.redis_fixtures import RedisServer
from tests.support import Recorder, Served, brief
from tornadio.errors import BusError, CallerError, EncodeError, SettingsError, TornadIOError

CHANNEL = "tornadio:socket.io"

# Sends a message to all, or to a group.
Send = Callable[..., Awaitable[None]]


@pytest.fixture(params=["blocking", "asyncio"])
async def emitter(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[Send]:
    """`await emitter(message, group=None)`: either kind of emitter."""
    if request.param == "blocking":
        with tornadio.Emitter(redis_server.url) as blocking:

            async def send(message: Any, group: str | None = None) -> None:
                work = blocking.broadcast if group is None else blocking.group(group).send
                await asyncio.to_thread(work, message)

            yield send
    else:
        async with tornadio.AsyncEmitter(redis_server.url) as with_asyncio:

            async def send(message: Any, group: str | None = None) -> None:
                await (with_asyncio.broadcast if group is None else with_asyncio.group(group).send)(message)

            yield send


async def connected(serve: Any, redis_server: RedisServer, count: int = 2) -> list[Served]:
    routers = [serve(settings={"bus": redis_server.url}) for _ in range(count)]
    await redis_server.wait_for_subscribers(CHANNEL, count)
    return routers


async def test_a_message_reaches_every_connection_of_every_process_once_and_in_order(
    serve, redis_server, emitter, caplog
):
    clients = [await greeted(served) for served in await connected(serve, redis_server, 3)]
    messages: list[Any] = [{"é中😀": [1.5, None]}, "text", ["two", {"in": "one"}], b"bytes", None, [], *range(50)]
    for message in messages:
        await emitter(message)
    await emitter("last")
    expected = [{"é中😀": [1.5, None]}, "text", "two", {"in": "one"}, "bytes", *range(50)]
    assert [await received(client) for client in clients] == 3 * [expected]
    assert "is no message" not in caplog.text


async def test_an_emitter_sends_json_as_it_is_told(serve, redis_server):
    clients = [await greeted(served) for served in await connected(serve, redis_server)]
    with tornadio.Emitter(redis_server.url, json="plain") as blocking:
        await asyncio.to_thread(blocking.broadcast, {"n": 1})
    async with tornadio.AsyncEmitter(redis_server.url, json="plain") as with_asyncio:
        await with_asyncio.broadcast(["text", {"n": 2}])
        await with_asyncio.broadcast("last")
    assert [await received(client) for client in clients] == 2 * [['{"n": 1}', "text", '{"n": 2}']]


@pytest.mark.parametrize("emitter_class", [tornadio.Emitter, tornadio.AsyncEmitter])
def test_a_format_of_json_that_is_none_is_an_error(emitter_class):
    with pytest.raises(SettingsError, match="json must be 'marked' or 'plain', not 'bare'"):
        emitter_class("redis://127.0.0.1", json="bare")


async def test_an_emitters_message_to_a_group_reaches_its_members_and_nobody_else(serve, redis_server, emitter):
    routers = await connected(serve, redis_server)
    members = [await greeted(served) for served in routers]
    for served, connection in zip(routers, Recorder.opened, strict=True):
        served.router.group("tea: ✓").add(connection)
    stranger = await greeted(routers[0])
    await redis_server.wait_for_subscribers(f"{CHANNEL}:group:tea: ✓", 2)
    await emitter("tea", "tea: ✓")
    await emitter("coffee", "coffee")
    await emitter("last")
    assert [await received(client) for client in members] == 2 * [["tea"]]
    assert await received(stranger) == []


async def test_what_an_emitter_can_not_send_is_an_error_and_nobody_gets_it(serve, redis_server, emitter):
    [served] = await connected(serve, redis_server, 1)
    client = await greeted(served)
    for message in (float("nan"), ["half", object()], b"\xff"):
        with pytest.raises(EncodeError):
            await emitter(message)
    with pytest.raises(CallerError, match="a group's name"):
        await emitter("hello", "")
    await emitter("last")
    assert await received(client) == []


async def test_the_bus_down_is_an_error_and_the_bus_back_is_used_again(serve, start_redis):
    redis_server = start_redis()
    [served] = await connected(serve, redis_server, 1)
    client = await greeted(served)
    with tornadio.Emitter(redis_server.url) as blocking:
        async with tornadio.AsyncEmitter(redis_server.url) as with_asyncio:
            await asyncio.to_thread(blocking.broadcast, "before")
            await with_asyncio.broadcast("before")
            await with_asyncio.broadcast("last")
            assert await received(client) == ["before", "before"]
            redis_server.kill()
            for _ in range(2):
                with pytest.raises(BusError, match="Redis took no message: ") as caught:
                    await asyncio.to_thread(blocking.group("tea").send, "lost")
                assert isinstance(caught.value, TornadIOError)
                with pytest.raises(BusError, match="Redis took no message: "):
                    await with_asyncio.group("tea").send("lost")
            redis_server.start()
            await redis_server.wait_for_subscribers(CHANNEL, 1)
            await asyncio.to_thread(blocking.broadcast, "after")
            await with_asyncio.broadcast("last")
    assert await received(client) == ["after"]


async def test_a_redis_that_does_not_answer_is_an_error(start_redis):
    redis_server = start_redis()
    with tornadio.Emitter(redis_server.url, timeout=0.2) as blocking:
        async with tornadio.AsyncEmitter(redis_server.url, timeout=0.2) as with_asyncio:
            blocking.broadcast("before")
            await with_asyncio.broadcast("before")
            redis_server.freeze()
            with pytest.raises(BusError, match=r"[Tt]ime"):
                await asyncio.to_thread(blocking.broadcast, "when?")
            with pytest.raises(BusError, match=r"[Tt]ime"):
                await with_asyncio.broadcast("when?")
            redis_server.thaw()


async def test_what_was_not_answered_is_not_sent_again(serve, redis_server, lose_answers):
    [served] = await connected(serve, redis_server, 1)
    client = await greeted(served)
    url = await lose_answers(redis_server)
    with tornadio.Emitter(url) as blocking, pytest.raises(BusError):
        await asyncio.to_thread(blocking.broadcast, "blocking")
    async with tornadio.AsyncEmitter(url) as with_asyncio:
        with pytest.raises(BusError):
            await with_asyncio.broadcast("asyncio")
    async with tornadio.AsyncEmitter(redis_server.url) as with_asyncio:
        await with_asyncio.broadcast("last")
    assert await received(client) == ["blocking", "asyncio"]


async def test_a_wrong_password_is_an_error_that_does_not_tell_it(start_redis):
    redis_server = start_redis("--requirepass", "right")
    url = f"redis://:secret@127.0.0.1:{redis_server.port}"
    with tornadio.Emitter(url) as blocking, pytest.raises(BusError, match="invalid username-password pair") as caught:
        blocking.broadcast("hello")
    assert "secret" not in str(caught.value)
    async with tornadio.AsyncEmitter(url) as with_asyncio:
        with pytest.raises(BusError, match="invalid username-password pair"):
            await with_asyncio.broadcast("hello")
    with tornadio.Emitter(f"redis://:right@127.0.0.1:{redis_server.port}") as blocking:
        blocking.broadcast("hello")


async def test_resource_and_prefix_are_those_of_the_router(serve, redis_server):
    bus = tornadio.RedisBus(redis_server.url, "staging")
    served = serve(settings={"bus": bus}, resource="chat")
    await redis_server.wait_for_subscribers("staging:chat", 1)
    session_id, _ = await served.open(resource="chat")
    for resource, prefix in (("socket.io", "staging"), ("chat", "tornadio"), ("/chat/", "staging")):
        with tornadio.Emitter(redis_server.url, resource, prefix=prefix) as blocking:
            blocking.broadcast(f"{resource}, {prefix}")
        async with tornadio.AsyncEmitter(redis_server.url, resource, prefix=prefix) as with_asyncio:
            await with_asyncio.broadcast("last")
    text = ""
    while "last" not in text:
        text += (await served.request("GET", f"/chat/xhr-polling/{session_id}/1290000000000")).text
    assert text == "~m~15~m~/chat/, staging~m~4~m~last"


async def test_several_threads_may_share_one(serve, redis_server):
    [served] = await connected(serve, redis_server, 1)
    client = await greeted(served)
    with tornadio.Emitter(redis_server.url) as blocking:

        def talk(name: int) -> None:
            for number in range(50):
                blocking.broadcast({"name": name, "number": number})

        threads = [threading.Thread(target=talk, args=[name]) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        blocking.broadcast("last")
    messages = await received(client)
    for name in range(4):
        assert [message["number"] for message in messages if message["name"] == name] == list(range(50))


@pytest.mark.parametrize("kind", [tornadio.Emitter, tornadio.AsyncEmitter])
@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({"url": "http://localhost"}, "no URL of Redis"),
        ({"url": "redis://localhost", "resource": "/"}, "resource must be the first part of a URL's path"),
        ({"url": "redis://localhost", "resource": None}, "resource must be the first part of a URL's path"),
        ({"url": "redis://localhost", "prefix": ""}, "prefix must be ASCII text"),
        ({"url": None}, "the URL of Redis is a text"),
    ],
    ids=brief,
)
def test_a_wrong_argument_is_an_error(kind, arguments, mistake):
    with pytest.raises(SettingsError, match=mistake):
        kind(**arguments)
