"""WebSocket clients that nobody here wrote, in every version that they can be told to speak, on both transports."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, Final

import pytest

from tests.compatibility import autobahn_testsuite, websocket_clients
from tests.compatibility.frames import decode, encode
from tests.compatibility.messages import HOSTILE, MEGABYTE, NESTED
from tests.compatibility.websocket_clients import Aiohttp, Client, Refused, Websockets, Wsproto
from tests.documents.pages import Page
from tests.internals import is_compressing
from tests.support import Recorder, Served, limit
from tests.texts import frame

RECIPE: Final = Page("docs/recipes.rst").code("A WebSocket of one's own")

VERSIONS: Final = {
    "websockets": ("13", "8", "7"),
    "aiohttp": ("13", "8", "7"),
    "wsproto": ("13", "8", "7"),
    "Node's ws": ("13", "8"),
    "Autobahn 0.10.9": ("76",),
}
PROGRAMS = {"Node's ws": ("node", "npm")}


def speakers(among: Collection[str] = ("13", "8", "7", "76")) -> list[Any]:
    """Each client in each of its versions that is among these, as parameters that say so to the table."""
    return [
        pytest.param(
            (name, version),
            marks=[
                pytest.mark.compatibility(client=f"{name}, {'draft' if version == '76' else 'version'} {version}"),
                pytest.mark.needs(*PROGRAMS.get(name, ())),
            ],
            id=f"{name} {version}",
        )
        for name, versions in VERSIONS.items()
        for version in versions
        if version in among
    ]


@pytest.fixture(params=speakers())
def speaker(request: pytest.FixtureRequest) -> tuple[Callable[[], Client], str]:
    """What makes a client, and the version that it is to speak."""
    name, version = request.param
    if name == "Node's ws":
        program = request.getfixturevalue("node"), request.getfixturevalue("node_modules")
        return lambda: websocket_clients.node_ws(*program), version
    if name == "Autobahn 0.10.9":
        installed = autobahn_testsuite.installed()
        return lambda: websocket_clients.autobahn(installed), version
    libraries: dict[str, Callable[[], Client]] = {"websockets": Websockets, "aiohttp": Aiohttp, "wsproto": Wsproto}
    return libraries[name], version


@pytest.mark.compatibility(client="websockets, by the recipe", transport="websocket")
async def test_the_recipes_program(serve, clock, capsys):
    class Closing(Recorder):
        def on_message(self, message: Any) -> None:
            super().on_message(message)
            if isinstance(message, dict):
                clock.call_later(100, self.close)  # it lives as long as it answers heartbeats

    # Shorter than the time between two pings of the library, which would do as well.
    served = serve(Closing, {"heartbeat_interval": 2.0, "heartbeat_timeout": 10.0})
    assert "localhost:8001" in RECIPE
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(RECIPE.replace("localhost:8001", f"127.0.0.1:{served.port}"), names)
    await clock.wait_for(names["main"]())
    assert capsys.readouterr().out == "text: welcome\ntext: hello\nJSON: {'from': 'Python'}\n"
    [connection] = Recorder.opened
    assert (connection.close_code, connection.close_reason) == (1000, "")


@pytest.fixture(params=["websocket", "flashsocket"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Conversation:
    """What a 0.6 client makes of a connection: messages one by one, however they were batched."""

    def __init__(self, client: Client, version: str) -> None:
        self.client = client
        self._version = version
        self._received: list[Any] = []

    async def say(self, *messages: Any) -> None:
        """Send messages, in one batch."""
        await self.client.send(encode(*messages))

    async def hear(self, count: int) -> list[Any]:
        """The next messages."""
        async with limit():
            while len(self._received) < count:
                self._received += decode(await self.client.receive())
        heard, self._received = self._received[:count], self._received[count:]
        return heard

    async def closed_with(self, code: int) -> bool:
        """Wait until the server has closed the connection: was it with this code, where the version has codes?"""
        async with limit():
            return await self.client.ended() == (None if self._version == "76" else code)


Connect = Callable[..., Awaitable[Conversation]]


@pytest.fixture
async def connect(speaker: tuple[Callable[[], Client], str], transport: str) -> AsyncIterator[Connect]:
    """`connect(served, origin=None)`: a conversation, its handshake done."""
    make, version = speaker
    clients: list[Client] = []

    async def connect(served: Served, origin: str | None = None) -> Conversation:
        clients.append(make())
        async with limit():
            await clients[-1].connect(f"ws://127.0.0.1:{served.port}/socket.io/{transport}", version, origin)
        return Conversation(clients[-1], version)

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
async def conversation(serve: Any, connect: Connect) -> Conversation:
    """With a server that echoes, past the greeting."""
    conversation = await connect(serve(settings={"max_message_size": 4 << 20}))
    await conversation.hear(2)
    return conversation


async def test_connect(serve, connect, speaker, transport):
    conversation = await connect(serve())
    session_id, welcome = await conversation.hear(2)
    [connection] = Recorder.opened
    assert (session_id, welcome) == (connection.session_id, "welcome")
    assert re.fullmatch("[0-9a-z]{20,}", session_id)
    assert connection.transport == transport
    assert connection.request.headers.get("Sec-WebSocket-Version", "76") == speaker[1]


async def test_echo_of_ascii(conversation):
    await conversation.say("hello")
    assert await conversation.hear(1) == ["hello"]


async def test_characters_of_every_width_and_another_message_in_one_batch(conversation):
    await conversation.say("é中😀", "another")
    assert await conversation.hear(2) == ["é中😀", "another"]


async def test_echo_of_nested_json(conversation):
    await conversation.say(NESTED)
    assert await conversation.hear(1) == [NESTED]


async def test_echo_of_hostile_text(conversation):
    for text in HOSTILE:
        await conversation.say(text)
    assert await conversation.hear(len(HOSTILE)) == list(HOSTILE)
    await conversation.say(*HOSTILE)
    assert await conversation.hear(len(HOSTILE)) == list(HOSTILE)


class Bursting(Recorder):
    def on_message(self, message: Any) -> None:
        for number in range(message):
            self.send(f"é{number} of {message}")


async def test_a_burst_in_order(serve, connect):
    conversation = await connect(serve(Bursting))
    await conversation.hear(2)
    await conversation.say(500)
    assert await conversation.hear(500) == [f"é{number} of 500" for number in range(500)]
    await conversation.say(1)
    assert await conversation.hear(1) == ["é0 of 1"]


async def test_200_rapid_messages_exactly_once_in_order(conversation):
    sent = [f"{number} " + number * "é" for number in range(200)]
    for text in sent:
        await conversation.say(text)
    assert await conversation.hear(200) == sent
    await conversation.say("the next")
    assert await conversation.hear(1) == ["the next"]


async def test_a_heartbeat_echo_and_a_message_in_one_batch(serve, connect):
    conversation = await connect(serve(settings={"heartbeat_interval": 0.1}))
    await conversation.hear(2)
    assert await conversation.hear(1) == ["~h~1"]
    await conversation.client.send(frame("~h~1") + encode("é", "2"))
    heard = [message for message in await conversation.hear(4) if not str(message).startswith("~h~")]
    assert heard[:2] == ["é", "2"]


async def test_the_server_closes(conversation):
    await conversation.say("close")
    assert await conversation.closed_with(1000)
    await Recorder.opened[0].wait_closed()


async def test_the_client_closes(conversation):
    async with limit():
        await conversation.client.close()
    assert await conversation.closed_with(1000)
    await Recorder.opened[0].wait_closed()


async def test_a_megabyte_each_way(conversation):
    await conversation.say(MEGABYTE)
    assert await conversation.hear(1) == [MEGABYTE]


@pytest.mark.parametrize("context_takeover", [False, True], ids=["compressed", "compressed with context takeover"])
async def test_compressed_messages_each_way(serve, connect, speaker, context_takeover):
    """Version 13 alone has that; whoever speaks another one notices nothing."""
    settings = {"max_message_size": 4 << 20, "compression": {"threshold": 0, "context_takeover": context_takeover}}
    conversation = await connect(serve(settings=settings))
    await conversation.hear(2)
    [connection] = Recorder.opened
    assert is_compressing(connection) == (speaker[1] == "13")
    sent = [*(f"{number} " + number * "é" for number in range(100)), MEGABYTE, *HOSTILE, NESTED, MEGABYTE]
    for message in sent:
        await conversation.say(message)
    assert await conversation.hear(len(sent)) == sent


async def test_an_origin_is_refused(serve, connect):
    served = serve()
    with pytest.raises(Refused) as refusal:
        await connect(served, "http://elsewhere.example.com")
    assert refusal.value.status == 403
    assert Recorder.opened == []
    conversation = await connect(served, "http://127.0.0.1:8080")
    await conversation.hear(2)


class Refusing(Recorder):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        super().on_open(request, *args, **kwargs)
        return False


async def test_on_open_refuses(serve, connect):
    conversation = await connect(serve(Refusing))
    assert await conversation.closed_with(1008)
    await Recorder.opened[0].wait_closed()


async def test_bad_frames(conversation):
    await conversation.client.send(encode("before") + "~m~9~m~short")
    assert await conversation.closed_with(1007)
    [connection] = Recorder.opened
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("message", "before"), ("close",)]


@pytest.mark.parametrize("speaker", speakers(["13", "8", "7"]), indirect=True)  # draft-76 has none
async def test_a_binary_message(conversation):
    await conversation.client.send(b"\x00\xff")
    assert await conversation.closed_with(1003)
    await Recorder.opened[0].wait_closed()
