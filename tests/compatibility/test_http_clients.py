"""HTTP clients that nobody here wrote, used as docs/recipes.rst says: httpx holds a session, curl follows streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx
import pytest

from tests.compatibility.frames import encode
from tests.compatibility.messages import HOSTILE, MEGABYTE, NESTED
from tests.documents.pages import Page
from tests.support import SECONDS, Recorder, Served, limit

RECIPES: Final = Page("docs/recipes.rst")
BY_HTTPX: Final = RECIPES.code("A client in Python")
BY_CURL: Final = [RECIPES.code("Watching a server with curl", number, language="bash") for number in range(2)]


# -- httpx -------------------------------------------------------------------------------------------------------------

by_httpx = pytest.mark.compatibility(client="httpx, by the recipe", transport="xhr-polling")


def recipe(port: int = 8001) -> dict[str, Any]:
    """The recipe's names, for a server on this port."""
    assert "localhost:8001" in BY_HTTPX
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(BY_HTTPX.replace("localhost:8001", f"127.0.0.1:{port}"), names)
    return names


class Conversation:
    """The recipe's client, and the iterator over its messages."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._messages = client.messages()

    async def hear(self, count: int) -> list[Any]:
        """The next messages."""
        async with limit():
            return [await anext(self._messages) for _ in range(count)]

    async def ended(self) -> bool:
        """Whether the messages end here."""
        async with limit():
            return [message async for message in self._messages] == []


Connect = Callable[..., Awaitable[Conversation]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`connect(served, **headers)`: a conversation that has had the greeting."""
    async with httpx.AsyncClient(timeout=SECONDS) as http:

        async def connect(served: Served, **headers: str) -> Conversation:
            http.headers.update(headers)
            client = recipe()["Client"](http, f"http://127.0.0.1:{served.port}/socket.io")
            await client.connect()
            conversation = Conversation(client)
            assert await conversation.hear(1) == ["welcome"]
            return conversation

        yield connect


@pytest.fixture
async def conversation(serve: Any, connect: Connect) -> Conversation:
    """With a server that echoes."""
    return await connect(serve(settings={"max_message_size": 4 << 20}))


@by_httpx
async def test_connect(conversation):
    [connection] = Recorder.opened
    assert connection.session_id == conversation.client.session_id
    assert connection.transport == "xhr-polling"


@by_httpx
@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(messages, marks=pytest.mark.compatibility(scenario=scenario), id=scenario)
        for scenario, messages in {
            "echo of ascii": ["hello"],
            "characters of every width and another message in one batch": ["é中😀", "another"],
            "echo of nested json": [NESTED],
            "echo of hostile text": HOSTILE,
            "a megabyte each way": [MEGABYTE],
        }.items()
    ],
)
async def test_echo(conversation, messages):
    await conversation.client.send(*messages)
    assert await conversation.hear(len(messages)) == list(messages)


@by_httpx
async def test_200_rapid_messages_exactly_once_in_order(conversation):
    sent = [f"é{number}" for number in range(200)]
    hearing = asyncio.ensure_future(conversation.hear(200))
    for text in sent:
        await conversation.client.send(text)
    assert await hearing == sent
    await conversation.client.send("the next")
    assert await conversation.hear(1) == ["the next"]


@by_httpx
async def test_the_server_closes(conversation):
    await conversation.client.send("last", "close")
    assert await conversation.hear(1) == ["last"]
    assert await conversation.ended()
    await Recorder.opened[0].wait_closed()
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        await conversation.client.send("too late")


@by_httpx
async def test_an_origin_is_refused(serve, connect):
    served = serve()
    await connect(served, Origin="http://127.0.0.1:8080")
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        await connect(served, Origin="http://elsewhere.example.com")
    assert len(Recorder.opened) == 1


class Refusing(Recorder):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        return False


@by_httpx
async def test_on_open_refuses(serve, connect):
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        await connect(serve(Refusing))


class Abortable(Recorder):
    """Greets, echoes two messages, and closes."""

    def on_message(self, message: Any) -> None:
        super().on_message(message)
        if isinstance(message, dict):
            self.close()


@by_httpx
async def test_the_recipes_program(serve, capsys):
    served = serve(Abortable)
    async with limit():
        await recipe(served.port)["main"]()
    assert capsys.readouterr().out == "welcome\nhello\n{'from': 'Python'}\n"


# -- curl --------------------------------------------------------------------------------------------------------------


class Curl:
    """A curl that runs, started by a recipe's command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.output = ""

    async def read_until(self, pattern: str) -> re.Match[str]:
        """What curl shows while it still runs, up to what the regular expression describes."""
        assert self._process.stdout is not None
        async with limit():
            while (found := re.search(pattern, self.output)) is None:
                data = await self._process.stdout.read(1 << 16)
                assert data, self.output
                self.output += data.decode()
        return found

    async def finish(self) -> str:
        """All that curl has shown, when it has ended well."""
        async with limit():
            rest, _ = await self._process.communicate()
        assert self._process.returncode == 0
        return self.output + rest.decode()

    async def aclose(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()


StartCurl = Callable[..., Awaitable[Curl]]


@pytest.fixture
async def curl(serve: Any, transport: str) -> AsyncIterator[StartCurl]:
    """`curl(number, session_id='', data=None)` starts the curl of a recipe, on a server that echoes."""
    served = serve()
    running: list[Curl] = []

    async def curl(number: int, session_id: str = "", data: str | None = None) -> Curl:
        command = BY_CURL[number]
        command = command.replace("localhost:8001", f"127.0.0.1:{served.port}").replace("xhr-multipart", transport)
        arguments = shlex.split(command.replace("$ID", session_id))
        if data is not None:
            arguments[arguments.index("--data-urlencode") + 1] = f"data={data}"
        process = await asyncio.create_subprocess_exec(
            *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        running.append(Curl(process))
        return running[-1]

    yield curl
    for process in running:
        await process.aclose()


def payloads(transport: str, output: str) -> list[str]:
    """The payloads of a whole stream."""
    if transport == "xhr-multipart":
        delimiter, _, rest = output.partition("\n")
        assert rest.endswith(f"\n{delimiter}\n")
        head = "Content-Type: text/plain; charset=UTF-8\n\n"
        parts = rest.removesuffix(f"\n{delimiter}\n").split(f"\n{delimiter}\n")
        assert all(part.startswith(head) for part in parts)
        return [part.removeprefix(head) for part in parts]
    page, *scripts = output.split("<script>")
    assert (page.strip(), len(page)) == ("<html><body>", 256)
    calls = [re.fullmatch(r"parent\.s\._\((.*), document\);</script>", script) for script in scripts]
    assert None not in calls
    return [json.loads(call[1]) for call in calls if call]


@pytest.mark.compatibility(client="curl")
@pytest.mark.parametrize("transport", ["xhr-multipart", "htmlfile"])
async def test_follows_a_stream_live(curl, transport):
    stream = await curl(0)
    session_id = (await stream.read_until("(?s)~m~([0-9a-z]{20,}).*~m~7~m~welcome"))[1]
    hello = await curl(1, session_id)
    assert await hello.finish() == "ok"
    await stream.read_until("~m~5~m~hello")
    for message in ("é中😀", "close"):
        post = await curl(1, session_id, encode(message))
        assert await post.finish() == "ok"
    assert payloads(transport, await stream.finish()) == [
        encode(message) for message in (session_id, "welcome", "hello", "é中😀")
    ]
