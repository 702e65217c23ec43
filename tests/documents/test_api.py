"""The pages below docs/api: the blocks in docstrings run, and what the pages say beside the docstrings is true.

That every public name is there is the matter of tests/documents/test_site.py.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import pkgutil
import re
import textwrap
from types import ModuleType
from typing import Any

import docutils.core
import docutils.nodes as nodes
import pytest
import tornado.web
from tornado.httpclient import AsyncHTTPClient

import tornadio
from tests.documents.pages import REPOSITORY, parse, section_title
from tests.support import limit
from tests.test_layout import ORIGINAL
from tornadio import errors, proto, sync, testing
from tornadio.cli.arguments import make_parser
from tornadio.cli.program import Status
from tornadio.closecodes import CLOSE_CODES, PRIVATE_CLOSE_CODES

API = REPOSITORY / "docs" / "api"

named: set[str] = set()


def example(name: str) -> str:
    """The block in the docstring of a name."""
    named.add(name)
    [block] = blocks_of(pkgutil.resolve_name(name))
    return block


def blocks_of(value: object) -> list[str]:
    """The blocks in the docstring of a module, class, function, method or property, but not in those of its members."""
    settings = {"report_level": 5, "_disable_config": True}  # roles of Sphinx' are no matter here
    text = inspect.getdoc(value) or ""
    if "::" not in text:
        return []
    document = docutils.core.publish_doctree(text, settings_overrides=settings)
    return [block.astext() for block in document.findall(nodes.literal_block) if not block.get("level")]


async def run(code: str, **names: Any) -> dict[str, Any]:
    """Run lines of a coroutine, and return its local names."""
    body = textwrap.indent(code, "    ")
    exec(f"async def block():\n{body}\n    return locals()", names)
    async with limit():
        result: dict[str, Any] = await names["block"]()
    return result


class Chat(tornadio.SocketConnection):
    def on_message(self, message: Any) -> Any:
        self.send(message)


# -- Blocks in docstrings ----------------------------------------------------------------------------------------------

DRAIN = example("tornadio:SocketConnection.drain")
PARSE = example("tornadio.proto:parse")
SYNC = example("tornadio.sync")
SERVE = example("tornadio.testing:serve")
CLOCK = example("tornadio.testing:clock")
UNTIL = example("tornadio.testing:until")
MANUAL = example("tornadio.testing:manual_server")
METRICS = example("tornadio:MetricsHandler")
TREE = example("tornadio.errors")


async def test_a_producer_drains(serve):
    class Producer(tornadio.SocketConnection):
        async def on_message(self, message: Any) -> None:
            await run(DRAIN, self=self, source=self)

        async def read(self) -> Any:
            number = next(numbers, None)
            if number is None:
                self.close()
            return number

    numbers = iter(range(3))

    async with limit(), tornadio.connect(f"http://127.0.0.1:{serve(Producer).port}/socket.io") as socket:
        await socket.send("go")
        assert [message async for message in socket] == [0, 1, 2]


async def test_the_other_end_of_a_websocket(capsys):
    class Socket:
        def __init__(self) -> None:
            self.sent: list[str] = []
            self.waiting = [proto.encode(["text", {"is": "JSON"}]), proto.encode_heartbeat(7)]

        def __aiter__(self) -> Socket:
            return self

        async def __anext__(self) -> str:
            if not self.waiting:
                raise StopAsyncIteration
            return self.waiting.pop(0)

        async def send(self, data: str) -> None:
            self.sent.append(data)

    socket = Socket()
    await run(PARSE, websocket=socket, proto=proto)
    assert capsys.readouterr().out == "text\n{'is': 'JSON'}\n"
    assert socket.sent == [proto.encode_heartbeat(7)]


async def test_a_client_in_a_thread(serve, capsys):
    class Once(Chat):
        def on_message(self, message: Any) -> Any:
            super().on_message(message)
            self.close()

    code = SYNC.replace("localhost:8001", f"127.0.0.1:{serve(Once).port}")
    async with limit():
        await asyncio.to_thread(exec, code, {"tornadio": tornadio, "sync": sync})
    assert capsys.readouterr().out == "hello\n"


async def test_a_server_in_a_test():
    names = await run(SERVE, testing=testing, Chat=Chat)
    assert names["socket"].is_closed


async def test_time_that_is_moved():
    names = await run(CLOCK, testing=testing, Chat=Chat)
    assert names["clock"].elapsed >= 12


async def test_a_condition_that_is_waited_for():
    async with testing.serve(Chat) as server:
        socket = await server.connect()
        closing = asyncio.create_task(socket.close())
        await run(UNTIL, testing=testing, server=server)
        await closing


async def test_a_server_by_hand():
    async def my_client(url: str) -> None:
        async for socket in tornadio.connect(url.removesuffix("/websocket"), min_delay=0.01, max_delay=0.01):
            try:
                async for _ in socket:
                    pass
            except errors.ConnectionClosed:
                pass

    names = await run(MANUAL + "\n    client.cancel()", testing=testing, asyncio=asyncio, my_client=my_client)
    assert names["peer"].session_id
    await asyncio.gather(names["client"], return_exceptions=True)


async def test_a_prometheus_on_another_host():
    application = tornado.web.Application([eval(METRICS, {"tornadio": tornadio})])
    server = tornadio.SocketServer(application, auto_start=False, port=0, address="127.0.0.1", xheaders=True)
    try:
        for address, status in [("10.0.0.5", 200), ("10.0.0.6", 403)]:
            response = await AsyncHTTPClient().fetch(
                f"http://127.0.0.1:{server.port}/metrics", headers={"X-Real-Ip": address}, raise_error=False
            )
            assert response.code == status
    finally:
        await server.shutdown()


@pytest.mark.pure
def test_the_tree_of_the_errors():
    names = re.findall(r"(?m)^([ |]*(?:\+-- )?)(\w+Error|ConnectionClosed|TornadIOError)\b", TREE)
    above: list[str] = []
    for indent, name in names:
        depth = len(indent) // 4
        assert getattr(errors, name).__bases__[0].__name__ == (above[depth - 1] if depth else "Exception")
        above[depth:] = [name]
    assert sorted(name for _, name in names) == errors.__all__


def public_values() -> dict[str, Any]:
    """The modules that are public, the public names in them, and what the classes among these define."""
    modules = [getattr(tornadio, name) for name in ("errors", "proto", "settings", "stats", "sync", "testing")]
    values = {module.__name__: module for module in modules}
    for module in (tornadio, *modules):
        for name in module.__all__:
            values[f"{module.__name__}:{name}"] = getattr(module, name)
    for name, value in list(values.items()):
        if inspect.isclass(value):
            values |= {f"{name}.{member}": getattr(value, member) for member in vars(value)}
    return values


@pytest.mark.pure
def test_no_other_docstring_has_a_block():
    values = public_values()
    ours = [name for name, value in values.items() if isinstance(value, ModuleType | property) or callable(value)]
    found = {name for name in ours if blocks_of(values[name])}
    by_value = {id(values[name]) for name in named}
    assert {name for name in found if id(values[name]) not in by_value} == set()


@pytest.mark.pure
def test_docstrings_name_the_parameters_that_are_there():
    wrong = []
    for name, value in public_values().items():
        documented = set(re.findall(r":param (\w+):", inspect.getdoc(value) or ""))
        if documented and callable(value):
            made_by = [value.__init__, getattr(value, "initialize", None)] if inspect.isclass(value) else [value]
            known = {each for function in made_by if function for each in inspect.signature(function).parameters}
            wrong += [f"{name}: {each}" for each in documented - known]
    assert wrong == []


# -- Beside the docstrings ---------------------------------------------------------------------------------------------


def rows(page: str, section: str) -> list[list[str]]:
    return [
        [cell.astext() for cell in row.findall(nodes.entry)]
        for row in parse(API / page).findall(nodes.row)
        if section_title(row) == section and isinstance(row.parent, nodes.tbody)
    ]


@pytest.mark.pure
def test_the_codes_to_close_with():
    *codes, own = [code for code, _ in rows("close-codes.rst", "Codes to close with")]
    assert list(map(int, codes)) == sorted(CLOSE_CODES)
    assert own == f"{PRIVATE_CLOSE_CODES[0]} to {PRIVATE_CLOSE_CODES[-1]}"


@pytest.mark.pure
def test_what_errors_of_a_client_end_with():
    table = [(name, int(status), int(code)) for name, status, code, _ in rows("close-codes.rst", "Errors of a client")]
    made = [
        errors.PeerError("why"),
        errors.ProtocolError("why"),
        errors.TooLargeError("why"),
        errors.RefusedError(403, "why"),
        errors.RefusedError(503, "why"),
        errors.HandlerError(),
    ]
    assert table == [(type(error).__name__, error.http_status, error.close_code) for error in made]


def as_documented(action: argparse.Action) -> str:
    """An option with its value, as help shows it."""
    value = action.metavar or (f"{{{','.join(action.choices)}}}" if action.choices else "")
    takes_none = action.nargs == 0
    return ", ".join(action.option_strings) + ("" if takes_none else f" {value}")


@pytest.mark.pure
def test_the_options_of_the_command_line():
    text = (API / "command-line.rst").read_text(encoding="utf-8")
    documented = re.findall(r"(?m)^\.\. option:: (.*)$", text)
    actions = [action for action in make_parser()._actions if action.option_strings]
    assert sorted(documented) == sorted(map(as_documented, actions))
    assert [int(status) for status, _ in rows("command-line.rst", "Exit status")] == sorted(Status)


@pytest.mark.pure
def test_the_modules_of_0_0_5():
    table = rows("modules.rst", "Version, and modules of 0.0.5")
    documented = {module.removeprefix("tornadio."): re.findall(r"\w+", names) for module, names in table}
    assert documented == ORIGINAL
