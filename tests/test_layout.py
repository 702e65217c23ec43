"""The order of the packages: imports point down only, no module imports itself by way of others, and what is pure knows
no I/O.
"""

from __future__ import annotations

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import tornadio

PACKAGE = Path(__file__).resolve().parents[1] / "tornadio"

# Each package, and each module beside them, with those that its modules import; from the bottom up. A new arrow is
# written here too, or finds another way.
LAYOUT = {
    "errors": [],
    "closecodes": ["errors"],
    "stats": [],
    "histograms": ["stats"],
    "logs": [],
    "jsontext": ["errors"],
    "framing": ["errors"],
    "compiled": ["framing"],
    "proto": ["errors", "framing", "jsontext"],
    "settings": ["errors", "proto"],
    "net": ["errors", "histograms", "logs"],
    "websocket": ["closecodes", "errors", "settings"],
    "web": ["errors", "logs", "net"],
    "observability": ["errors", "logs", "net", "stats", "web"],
    "cluster": ["errors", "histograms", "logs", "net", "proto", "stats"],
    "sessions": [
        "closecodes",
        "cluster",
        "errors",
        "framing",
        "histograms",
        "logs",
        "net",
        "proto",
        "settings",
        "stats",
    ],
    "conn": ["closecodes", "logs", "proto", "sessions"],
    "transports": [
        "closecodes",
        "conn",
        "errors",
        "framing",
        "logs",
        "net",
        "observability",
        "proto",
        "sessions",
        "settings",
        "web",
        "websocket",
    ],
    "router": [
        "cluster",
        "conn",
        "errors",
        "logs",
        "net",
        "sessions",
        "settings",
        "stats",
        "transports",
        "web",
    ],
    "monitor": [
        "cluster",
        "conn",
        "errors",
        "histograms",
        "logs",
        "net",
        "observability",
        "proto",
        "router",
        "stats",
        "web",
    ],
    "server": ["errors", "logs", "monitor", "net", "observability", "router", "stats", "web"],
    "client": ["closecodes", "errors", "logs", "net", "proto", "settings", "websocket"],
    "sync": ["client", "errors", "proto"],
    "cli": ["client", "errors", "framing", "logs", "proto"],
    "__main__": ["cli"],
    "testing": [
        "client",
        "closecodes",
        "conn",
        "errors",
        "logs",
        "net",
        "proto",
        "router",
        "server",
        "sessions",
        "settings",
        "sync",
        "transports",
        "web",
        "websocket",
    ],
    "pytest_plugin": ["testing"],
}

# The modules of TornadIO 0.0.5 whose classes live in a package now, and the package's own face.
SHIMS = {"flashserver", "periodic", "persistent", "polling", "pollingsession", "session", "__init__"}

# Sans-I/O: fed bytes, text and times, asked for the same. Each with what it may import that is not Python's own.
PURE = {
    "errors": [],
    "closecodes": [],
    "stats": [],
    "histograms": [],
    "settings": [],
    "jsontext": ["simplejson"],
    "framing": [],
    "proto": [],
    "client.backoff": [],
    "client.streamformats": [],
    "client.url": [],
    "cluster.bus": [],
    "cluster.probe": [],
    "transports.bodies": ["tornado.httputil"],  # the parser of multipart/form-data, which is pure as well
    "transports.forms": [],
    "websocket.deflate": [],
    "websocket.fragments": [],
    "websocket.framer": [],
    "websocket.frames": [],
    "websocket.hixie": [],
    "websocket.masking": ["tornado.speedups", "websockets.speedups"],  # pure functions in C
    "websocket.rfc6455": [],
    "monitor.access": [],
    "monitor.answers": [],
    "monitor.history": [],
    "monitor.sample": [],
    "monitor.table": [],
    "net.addresses": [],
    "observability.families": [],
    "net.heap": [],
    "net.looplag": [],
    "net.throughput": [],
    "net.proxyprotocol": [],
    "net.timers": [],
    "sessions.heartbeat": [],
    "sessions.outbox": [],
    "sessions.state": [],
    "web.fastparse": [],
    "web.hosts": [],
    "web.local": [],
    "web.negotiation": [],
    "web.origins": [],
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
EXTRAS = {
    "cluster.redis": ["redis"],
    "cluster.emitter": ["redis"],
    "observability.metrics": ["prometheus_client"],
    "pytest_plugin": ["pytest"],
    "websocket.masking": ["websockets"],
}

# Below the transports nothing knows Tornado, but for the HTTP of both servers and the sockets.
WITHOUT_TORNADO = {"closecodes", "cluster", "conn", "framing", "jsontext", "logs", "proto", "sessions", "settings"}

# The modules of TornadIO 0.0.5, each with what an application could take from it.
ORIGINAL = {
    "conn": ["SocketConnection"],
    "flashserver": ["FlashPolicyServer"],
    "periodic": ["Periodic"],
    "persistent": ["FlashSocketHandler", "WebSocketHandler"],
    "polling": ["HTMLFileHandler", "JSONPPollingHandler", "XHRMultipartHandler", "XHRPollingHandler"],
    "pollingsession": ["PollingSession"],
    "proto": ["FRAME", "HEARTBEAT", "JSON", "decode", "encode"],
    "router": ["get_router"],
    "server": ["SocketServer"],
    "session": ["Session", "SessionContainer"],
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(module: str) -> Iterator[str]:
    """The dotted names that a module imports when it runs: those for the type checker alone may point anywhere."""
    waiting: list[ast.AST] = [ast.parse(MODULES[module].read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; the others write from tornadio"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name.removeprefix("tornadio.") in MODULES else node.module for name in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def neighbours(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    return {name.removeprefix("tornadio.") for name in imports(module) if name.startswith("tornadio.")}


def foreign(module: str) -> set[str]:
    """What a module imports that is neither this package's nor Python's own."""
    own = {"tornadio", *sys.stdlib_module_names}
    return {name for name in imports(module) if name.split(".")[0] not in own}


def room(module: str) -> str:
    """The package that a module is in, or the module itself where it is in none."""
    return module.split(".")[0]


def modules_of(name: str) -> list[str]:
    return [module for module in MODULES if room(module) == name]


def test_every_package_has_its_row():
    assert set(LAYOUT) == {room(module) for module in MODULES} - SHIMS


def test_the_layout_points_down_only():
    above: set[str] = set()
    for name, imported in LAYOUT.items():
        assert set(imported) <= above, name
        above.add(name)


def test_the_picture_in_the_documents_shows_the_layout():
    # What every package may import has no arrows.
    ground = {"errors", "closecodes", "logs", "settings", "framing", "jsontext", "proto", "stats", "histograms"}
    arrows: dict[str, set[str]] = {}
    for element in ElementTree.parse(PACKAGE.parent / "docs" / "architecture.svg").iter():
        if "data-from" in element.attrib:
            arrows.setdefault(element.attrib["data-from"], set()).add(element.attrib["data-to"])
    reached: dict[str, set[str]] = {}  # also over several arrows
    for package, imported in LAYOUT.items():
        reached[package] = set(imported).union(*(reached[other] for other in imported))
        direct = set(imported) - ground
        by_way_of_others = {lower for other in direct for lower in reached[other]}
        assert arrows.get(package, set()) == (set() if package in ground else direct - by_way_of_others)


@pytest.mark.parametrize("name", LAYOUT)
def test_a_package_imports_what_the_layout_says(name):
    found = {room(other) for module in modules_of(name) for other in neighbours(module)}
    assert found - {name} == set(LAYOUT[name])


def test_no_module_imports_itself_by_way_of_others():
    order = graphlib.TopologicalSorter({module: neighbours(module) - {module} for module in MODULES})
    assert set(order.static_order()) == set(MODULES)  # a circle is an error that names it


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_know_no_io(module):
    assert not {name.split(".")[0] for name in imports(module)} & IO
    assert foreign(module) == set(PURE[module])


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_stand_on_pure_ones(module):
    assert neighbours(module) <= set(PURE)


@pytest.mark.parametrize("name", sorted(WITHOUT_TORNADO))
def test_sessions_and_connections_know_nothing_of_http(name):
    for module in modules_of(name):
        assert not {found for found in foreign(module) if found.startswith("tornado")}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_but_the_dependencies(module):
    allowed = {"tornado", "simplejson", *EXTRAS.get(module, ())}
    assert {name.split(".")[0] for name in foreign(module)} <= allowed


# -- Names that applications import ------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ORIGINAL)
def test_the_modules_of_the_original_have_what_applications_took_from_them(module):
    imported = importlib.import_module(f"tornadio.{module}")
    assert [name for name in ORIGINAL[module] if not hasattr(imported, name)] == []
    assert getattr(tornadio, module) is imported


@pytest.mark.parametrize("module", sorted(SHIMS - {"__init__"}))
def test_a_module_of_the_original_holds_names_alone(module):
    statements = ast.parse(MODULES[module].read_text(encoding="utf-8")).body
    assert {type(statement) for statement in statements} == {ast.Expr, ast.ImportFrom, ast.Assign}


def test_the_public_names_are_there():
    assert [name for name in tornadio.__all__ if not hasattr(tornadio, name)] == []
    assert set(tornadio.__all__) <= set(dir(tornadio))


def test_type_checkers_see_the_names_where_they_are_imported_from():
    tree = ast.parse(MODULES["__init__"].read_text(encoding="utf-8"))
    (seen,) = (node.body for node in tree.body if isinstance(node, ast.If))
    imported = {}
    for node in seen:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "only an alias of the same name is exported to a strict type checker"
            imported[alias.name] = node.module
    tables = vars(tornadio)
    assert imported == tables["_MODULE_OF"] | dict.fromkeys(tables["_MODULES"], "tornadio")


def test_the_version_is_numbers_that_compare_and_a_text():
    assert tornadio.__version__ >= (0, 0, 4)
    assert tornadio.__version__ < (99,)
    assert tornadio.version == ".".join(map(str, tornadio.__version__))


def test_what_an_application_catches_is_exported():
    names = (
        "TornadIOError",
        "CallerError",
        "CloseError",
        "EncodeError",
        "SettingsError",
        "ConnectError",
        "ConnectionClosed",
        "BusError",
    )
    assert {name: getattr(tornadio, name) for name in names} == {name: getattr(tornadio.errors, name) for name in names}
    assert set(names) <= set(tornadio.__all__)
    assert tornadio.Settings is tornadio.settings.Settings


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tornadio' has no attribute 'SocketConection'"):
        _ = tornadio.SocketConection  # type: ignore[attr-defined]


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh Python has loaded after a statement."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(ran.stdout.split())


@pytest.mark.external
@pytest.mark.parametrize("name", ["__version__", "version"])
def test_the_version_is_told_without_an_import(name):
    assert loaded_by(f"import tornadio; tornadio.{name}") == {"tornadio"} | loaded_by("import importlib, typing")


@pytest.mark.external
def test_the_protocol_is_imported_without_the_server():
    loaded = loaded_by("import tornadio.proto")
    modules = {f"tornadio.{name}" for name in ("errors", "framing", "jsontext", "proto")}
    assert {name for name in loaded if name.startswith("tornadio")} == {"tornadio", *modules}
    assert not {"tornado", "asyncio", "ssl", "socket"} & loaded
