"""Tests of the chatroom, with what TornadIO has for that: see docs/testing.rst. `python3 -m pytest` runs them."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from chatroom import TEXT_LIMIT, ChatConnection
from room import Room
from tornado.httpclient import AsyncHTTPClient

import tornadio
from tornadio import proto
from tornadio.testing import Server

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server(tornadio_serve: Any) -> Server:
    """An empty chatroom."""
    router = tornadio.get_router(ChatConnection, {"session_expiry": 10, "session_check_interval": 2})
    ChatConnection.room, ChatConnection.joined = Room(), router.group("joined")
    served: Server = await tornadio_serve(router)
    return served


async def join(socket: tornadio.ClientConnection, name: str, tab: str = "") -> Any:
    """Join by a name, and return the welcome."""
    await socket.send({"type": "join", "name": name, "tab": tab or name})
    while (message := await socket.recv())["type"] != "welcome":
        assert message["type"] == "joined"
    return message


async def test_people_talk_to_each_other(server: Server) -> None:
    async with server.connect() as ann, server.connect(transports=["xhr-polling"]) as bob:
        assert (await join(ann, "Ann"))["people"] == ["Ann"]
        assert (await join(bob, "Bob"))["people"] == ["Ann", "Bob"]
        assert await ann.recv() == {"type": "joined", "name": "Bob"}
        await bob.send({"type": "say", "id": "1", "text": "hello"})
        for socket in (ann, bob):
            said = await socket.recv()
            assert (said["type"], said["name"], said["text"]) == ("said", "Bob", "hello")
        await bob.close()
        assert await ann.recv() == {"type": "left", "name": "Bob"}


async def test_a_newcomer_reads_what_was_said_before_and_gets_a_name_of_their_own(server: Server) -> None:
    async with server.connect() as ann, server.connect() as other_ann:
        await join(ann, "Ann")
        await ann.send({"type": "say", "id": "1", "text": "is anybody here?"})
        await ann.recv()
        welcome = await join(other_ann, "ann", tab="another one")
        assert welcome["name"] == "ann 2"
        assert [said["text"] for said in welcome["history"]] == ["is anybody here?"]


async def test_a_page_that_comes_back_is_the_same_person(server: Server) -> None:
    async with server.connect() as bob:
        await join(bob, "Bob")
        async with server.connect() as ann:
            await join(ann, "Ann", tab="secret")
            async with server.connect() as reloaded:
                assert (await join(reloaded, "Ann", tab="secret"))["name"] == "Ann"
                await ann.close()
                await reloaded.send({"type": "say", "id": "1", "text": "me again"})
                # Nobody was told that Ann left, or joined again.
                assert [(await bob.recv())["type"] for _ in range(2)] == ["joined", "said"]


async def test_a_message_that_is_sent_again_is_said_once(server: Server) -> None:
    async with server.connect() as ann, server.connect() as bob:
        await join(ann, "Ann")
        await join(bob, "Bob")
        for text in ("hello", "hello", "good bye"):
            await ann.send({"type": "say", "id": text, "text": text})
        assert [(await bob.recv())["text"] for _ in range(2)] == ["hello", "good bye"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "say", "id": "1", "text": " "}, "There is nothing in this message."),
        ({"type": "say", "id": "1", "text": "x" * (TEXT_LIMIT + 1)}, "A message has at most 2000 characters"),
        ({"type": "say", "id": "x" * 65, "text": "hello"}, "This is no message that the server knows"),
        ({"type": "join", "name": "Ann", "tab": ""}, "This is no message that the server knows"),
        ("hello", "This is no message that the server knows"),
    ],
)
async def test_what_can_not_be_done_is_refused_with_a_reason(server: Server, message: Any, reason: str) -> None:
    async with server.connect() as ann:
        await join(ann, "Ann")
        await ann.send(message)
        refused = await ann.recv()
        assert refused["type"] == "refused"
        assert refused["reason"].startswith(reason)


async def test_who_polls_no_more_has_left_after_ten_seconds(server: Server, tornadio_clock: Any) -> None:
    async with server.connect() as ann:
        await join(ann, "Ann")
        polling, browser = f"{server.url}/xhr-polling", AsyncHTTPClient()
        [(_, session_id)] = proto.decode((await browser.fetch(f"{polling}//")).body)
        data = urlencode({"data": proto.encode({"type": "join", "name": "Bob", "tab": "Bob"})})
        await browser.fetch(f"{polling}/{session_id}/send", method="POST", body=data)
        assert await ann.recv() == {"type": "joined", "name": "Bob"}
        leaving = asyncio.create_task(ann.recv())
        await tornadio_clock.advance(9.9)
        assert not leaving.done()
        await tornadio_clock.advance(2.1)  # the room looks every two seconds
        assert await leaving == {"type": "left", "name": "Bob"}
