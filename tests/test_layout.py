"""The modules' order: imports point down only, and what is pure knows no I/O."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "tornadio"

# Each module with those that it imports, from the bottom up. A new arrow is written here too, or finds another way.
LAYOUT = {
    "errors": [],
    "settings": ["errors"],
    "proto": ["errors"],
    "forms": ["errors", "proto"],
    "bus": ["errors", "proto"],
    "hixie": ["errors"],
    "masking": [],
    "rfc6455": ["errors", "masking"],
    "patience": [],
    "periodic": [],
    "heartbeat": [],
    "outbox": [],
    "logs": [],
    "addresses": [],
    "proxyprotocol": ["errors"],
    "peers": ["addresses", "errors"],
    "accesslog": ["addresses", "logs"],
    "tasks": [],
    "turns": [],
    "hangups": [],
    "wire": ["hangups"],
    "departures": ["wire"],
    "origins": ["errors"],
    "hosts": ["addresses", "errors", "origins"],
    "container": ["addresses", "departures", "errors", "logs", "outbox", "periodic", "proto", "settings", "tasks"],
    "session": ["container", "errors", "heartbeat", "logs", "outbox", "patience", "proto", "tasks", "turns"],
    "conn": ["logs", "outbox", "proto"],
    "relay": ["bus", "errors", "logs", "outbox", "tasks"],
    "redisbus": ["errors", "logs"],
    "emitter": ["bus", "errors", "proto", "redisbus"],
    "groups": ["bus", "conn", "container", "errors", "outbox", "proto"],
    "pollingsession": ["container", "logs", "patience", "session"],
    "exchange": ["hangups", "logs", "patience", "wire"],
    "transport": [
        "accesslog",
        "conn",
        "container",
        "departures",
        "errors",
        "exchange",
        "forms",
        "hosts",
        "logs",
        "origins",
        "proto",
        "session",
        "settings",
    ],
    "opening": ["errors", "logs", "peers", "session", "transport"],
    "polling": ["container", "errors", "forms", "opening", "outbox", "pollingsession", "transport", "wire"],
    "persistent": ["departures", "errors", "opening", "outbox", "polling", "session", "transport", "wire"],
    "websocket": [
        "departures",
        "errors",
        "hixie",
        "logs",
        "opening",
        "origins",
        "outbox",
        "peers",
        "proto",
        "rfc6455",
        "session",
        "transport",
        "wire",
    ],
    "bodiless": [],
    "descriptors": ["logs"],
    "client": ["bodiless"],
    "flashserver": ["descriptors", "logs"],
    "health": ["bodiless", "peers"],
    "router": [
        "bus",
        "client",
        "conn",
        "container",
        "errors",
        "exchange",
        "groups",
        "hosts",
        "logs",
        "origins",
        "persistent",
        "polling",
        "redisbus",
        "relay",
        "settings",
        "transport",
        "websocket",
    ],
    "plainhttp": [],
    "entrance": [
        "errors",
        "exchange",
        "hangups",
        "logs",
        "patience",
        "peers",
        "periodic",
        "plainhttp",
        "proxyprotocol",
        "router",
        "tasks",
        "transport",
        "wire",
    ],
    "tornadohttp": ["logs", "patience", "peers", "periodic"],
    "server": [
        "accesslog",
        "descriptors",
        "entrance",
        "errors",
        "flashserver",
        "health",
        "logs",
        "origins",
        "peers",
        "router",
        "tasks",
        "tornadohttp",
    ],
    "__init__": ["bus", "conn", "emitter", "groups", "health", "redisbus", "router", "server"],
}

# Sans-I/O: fed bytes, text and times, asked for the same. Each with what it may import that is not Python's own.
PURE = {
    "errors": [],
    "settings": [],
    "proto": ["simplejson"],
    "bus": [],
    "forms": ["tornado.httputil"],  # the parser of multipart/form-data, which is pure as well
    "hixie": [],
    "masking": ["tornado.speedups"],  # a pure function in C
    "rfc6455": [],
    "patience": [],
    "periodic": [],
    "heartbeat": [],
    "outbox": [],
    "origins": [],
    "hosts": [],
    "plainhttp": [],
    "addresses": [],
    "proxyprotocol": [],
}
IO = {
    "asyncio",
    "concurrent",
    "datetime",
    "os",
    "pathlib",
    "select",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}

# What an extra of setup.py brings is imported when it is asked for.
EXTRAS = {"redisbus": ["redis"], "emitter": ["redis"]}

# Below the handlers, sessions and users' connections know an event loop, yet not what carries them.
WITHOUT_TORNADO = {"session", "conn", "pollingsession"}


def imports(module: str) -> Iterator[str]:
    """The dotted names that a module imports when it runs: those for the type checker alone may point anywhere."""
    waiting: list[ast.AST] = [ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; the others write from tornadio"
            assert node.module is not None
            yield from (
                [f"tornadio.{alias.name}" for alias in node.names] if node.module == "tornadio" else [node.module]
            )
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def neighbours(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    return {name.split(".")[1] for name in imports(module) if name.startswith("tornadio.")}


def foreign(module: str) -> set[str]:
    """What a module imports that is neither this package's nor Python's own."""
    own = {"tornadio", *sys.stdlib_module_names}
    return {name for name in imports(module) if name.split(".")[0] not in own}


def test_every_module_has_its_place():
    assert set(LAYOUT) == {path.stem for path in PACKAGE.glob("*.py")}


def test_the_layout_points_down_only():
    above: set[str] = set()
    for module, imported in LAYOUT.items():
        assert set(imported) <= above, module
        above.add(module)


@pytest.mark.parametrize("module", LAYOUT)
def test_a_module_imports_what_the_layout_says(module):
    assert neighbours(module) == set(LAYOUT[module])


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_know_no_io(module):
    assert not {name.split(".")[0] for name in imports(module)} & IO
    assert foreign(module) == set(PURE[module])


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_stand_on_pure_ones(module):
    assert set(LAYOUT[module]) <= set(PURE)


@pytest.mark.parametrize("module", sorted(WITHOUT_TORNADO))
def test_sessions_and_connections_know_nothing_of_http(module):
    assert foreign(module) == set()


@pytest.mark.parametrize("module", LAYOUT)
def test_nothing_is_imported_but_the_dependencies(module):
    allowed = {"tornado", "simplejson", *EXTRAS.get(module, ())}
    assert {name.split(".")[0] for name in foreign(module)} <= allowed
