"""docs/client.rst: every program on the page runs and does what the text says, and its tables are true."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import docutils.nodes as nodes
import pytest

import tornadio
from tests.appserver import quiet_environment
from tests.documents.pages import Page, parse, section_title
from tests.support import Recorder, Served, limit
from tests.tls import Certificate
from tornadio.cli.arguments import make_parser
from tornadio.cli.program import Status

PAGE = Page("docs/client.rst")


class Program:
    """A program of the page that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read_line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        async with limit():
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def finish(self) -> list[str]:
        """The lines that it has still printed, when it has ended by itself and well."""
        async with limit():
            output, errors = await self._process.communicate()
        assert (self._process.returncode, errors.decode()) == (0, "")
        return output.decode().splitlines()

    async def aclose(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(code, served)`: the program, with this server in the place of that on the page."""
    running: list[Program] = []

    async def start(code: str, served: Served) -> Program:
        assert "localhost:8001" in code
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-W", "error", "-c", code.replace("localhost:8001", f"localhost:{served.port}")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=quiet_environment(),
            cwd=tmp_path,
        )
        running.append(Program(process))
        return running[-1]

    yield start
    for program in running:
        await program.aclose()


class Once(Recorder):
    """Answers one message, and closes."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        Recorder.opened.append(self)

    def on_message(self, message: Any) -> Any:
        self.send(message)
        self.close()


@PAGE.runs("A client in Python", 0)
async def test_the_shortest_client(serve, start, code):
    program = await start(code, serve(Once))
    assert await program.finish() == ["{'hello': 'there'}"]


@PAGE.runs("A client in Python", language="bash")
async def test_a_client_in_a_terminal(serve, code):
    served = serve(Once)
    command = code.replace("localhost:8001", f"localhost:{served.port}").replace("python", sys.executable, 1)
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=quiet_environment()
    )
    async with limit():
        output, _ = await process.communicate(b'{"hello": "there"}\n')
    assert process.returncode == 0
    assert output.decode().splitlines()[-1].endswith('< ~j~{"hello": "there"}')


@PAGE.runs("A client in Python", 1)
async def test_the_same_without_asyncio(serve, start, code):
    program = await start(code, serve(Once))
    assert await program.finish() == ["{'hello': 'there'}"]


@PAGE.runs("Transports", 0)
async def test_each_transport(serve, start, code):
    program = await start(code, serve(Once))
    names = ["websocket", "xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile"]
    assert await program.finish() == [f"{name}: hello" for name in names]


class Ending(Recorder):
    """The first connection ends by an error, the second normally, and the third stays."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        Recorder.opened.append(self)

    def on_message(self, message: Any) -> Any:
        self.send(message)
        if len(Recorder.opened) < 3:
            self.close(*([(1011, "failed"), (1001, "")][len(Recorder.opened) - 1]))


@PAGE.runs("Connecting again", 0)
async def test_connecting_again(serve, start, code):
    await connects_again(await start(code, serve(Ending)))


@PAGE.runs("Threads", 1)
async def test_connecting_again_without_asyncio(serve, start, code):
    await connects_again(await start(code, serve(Ending)))


async def connects_again(program: Program) -> None:
    lines = [await program.read_line() for _ in range(4)]
    assert lines == ["{'subscribe': 'tea'}", "1011: connecting again", *["{'subscribe': 'tea'}"] * 2]


class Mute(Once):
    def on_message(self, message: Any) -> Any:
        pass


@PAGE.runs("Threads", 0)
async def test_a_timeout(serve, start, code):
    assert await (await start(code, serve(Once))).finish() == ["ping"]
    assert "timeout=10" in code
    assert await (await start(code.replace("timeout=10", "timeout=0.1"), serve(Mute))).finish() == ["no answer"]


class Feed(Once):
    def greeting(self) -> Any:
        return {"feed": "of the test"}


@PAGE.runs("Feeds", 0)
async def test_a_feed(serve, start, code):
    served = serve(Feed, {"json": "plain", "enabled_protocols": ["websocket"]})
    lines = await (await start(code, served)).finish()
    assert lines == ["server: {'feed': 'of the test'}", "{'m': 'subscribe', 'p': ['ACME', 'OTTER']}"]


@PAGE.runs("Feeds", language="bash")
async def test_a_feed_in_a_terminal(serve, code):
    served = serve(Feed, {"json": "plain"})
    command = code.replace("localhost:8001", f"localhost:{served.port}")
    process = await asyncio.create_subprocess_shell(
        command.replace("tornadio", f"{sys.executable} -W error -m tornadio", 1),
        stdout=asyncio.subprocess.PIPE,
        env=quiet_environment(),
    )
    async with limit():
        output, _ = await process.communicate()
    assert process.returncode == 0
    lines = [line.partition(" ")[2] for line in output.decode().splitlines()]
    asked = '{"m": "subscribe", "p": ["ACME", "OTTER"]}'
    assert lines == ['< {"feed": "of the test"}', f"> {asked}", f"< {asked}"]


@PAGE.runs("Certificates and proxies", 0)
async def test_a_certificate_of_ones_own(serve, start, code, tmp_path):
    certificate = Certificate()
    certificate.write_authority(tmp_path / "server.pem")
    program = await start(code, serve(Once, server={"ssl_options": certificate.server}))
    assert await program.finish() == ["hello"]


class Beating(Once):
    """Answers when a heartbeat was sent whose echo ought to have come, and ends before the next one."""

    async def on_message(self, message: Any) -> Any:
        self.send("wait")
        await asyncio.sleep(3)
        self.send(message)
        self.close()


@PAGE.runs("With a WebSocket of your own", 0)
async def test_another_websocket(serve, start, code):
    served = serve(Beating, {"heartbeat_interval": 1.7, "heartbeat_timeout": 1.2})
    lines = await (await start(code, served)).finish()
    assert lines == [f"text: {Recorder.opened[0].session_id}", "text: wait", "JSON: {'hello': 'there'}"]


# -- Tables ------------------------------------------------------------------------------------------------------------


def table_rows(section: str) -> list[list[nodes.entry]]:
    rows = [row for row in parse(PAGE.path).findall(nodes.row) if isinstance(row.parent, nodes.tbody)]
    return [list(row.findall(nodes.entry)) for row in rows if section_title(row) == section]


def test_the_table_of_options_is_true():
    table = {name.astext(): default.astext() for name, default, _ in table_rows("Options")}
    (_url, *parameters) = inspect.signature(tornadio.connect).parameters.values()
    defaults = {parameter.name: repr(parameter.default).replace("'", '"') for parameter in parameters}
    assert table == defaults


def test_the_table_of_the_connection_is_true():
    names = {
        node.astext().removeprefix("await ").partition("(")[0]
        for row in table_rows("Connections")
        for node in row[0].findall(nodes.literal)
    }
    names = {name for text in names for name in text.split(", ")} - {"async for message in socket"}
    public = {name for name in dir(tornadio.ClientConnection) if not name.startswith("_")}
    assert names == public
    assert names == {name for name in dir(tornadio.sync.Connection) if not name.startswith("_")}


def test_the_tables_of_the_command_line_are_true():
    options, statuses = [], []
    for row in table_rows("On the command line"):
        if len(row) == 2 and row[0].astext()[0].isdigit():
            statuses.append(int(row[0].astext()))
        else:
            options += [node.astext().split()[0] for cell in row for node in cell.findall(nodes.literal)]
    assert statuses == sorted(Status)
    all_options = {name for name in make_parser()._option_string_actions if name.startswith("--")}
    assert {name for name in options if name.startswith("--")} == all_options - {"--help", "--version"}
