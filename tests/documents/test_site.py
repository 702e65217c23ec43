"""The site as a whole: it builds without a warning, its reference has every public name, and no page has a block of
code that no test names.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import tornado.web

import tornadio
from tests.documents.pages import REPOSITORY, Page
from tests.test_types import exported
from tornadio import errors, proto, settings, stats, sync, testing

DOCS = REPOSITORY / "docs"
BUILT = DOCS / "_build" / "html"
PAGES = sorted([*(path for path in DOCS.rglob("*.rst") if "_build" not in path.parts), REPOSITORY / "README.rst"])

# What public names return, and what has no place among them.
BESIDE = {
    "tornadio.client.connect.Connector",
    "tornadio.cluster.emitter.AsyncEmitterGroup",
    "tornadio.cluster.emitter.EmitterGroup",
    "tornadio.pytest_plugin.tornadio_clock",
    "tornadio.pytest_plugin.tornadio_manual_server",
    "tornadio.pytest_plugin.tornadio_serve",
}
# Methods with public names that others than applications call: Tornado, the library's wires, the fixture.
CALLED_BY_OTHERS = {
    "tornadio.RedisBus": {"connection_lost", "connection_made"},
    "tornadio.SocketServer": {"handle_socket", "handle_stream", "on_close", "start_request"},
    "tornadio.MonitorHandler": {"send_text"},
    "tornadio.testing.Clock": {"install", "uninstall"},
    "tornadio.testing.Peer": {"connection_lost", "data_received"},
}


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


# -- Blocks ------------------------------------------------------------------------------------------------------------


@functools.cache
def texts_of_tests() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "tests").rglob("test_*.py"))}


def modules_that_test(name: str) -> list[str]:
    """The test modules that make a Page of this one."""
    made = f'("{name}")'
    found = [path.relative_to(REPOSITORY) for path, text in texts_of_tests().items() if made in text]
    return [".".join(path.with_suffix("").parts) for path in found]


@pytest.mark.pure
@pytest.mark.parametrize("name", [name_of(path) for path in PAGES])
def test_every_block_is_named_by_a_test(name):
    for module in modules_that_test(name):
        importlib.import_module(module)
    assert Page(name).untested() == []


# -- The build ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Path:
    """The directory of the site, built just now."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [str(DOCS / "build.sh")]
    built = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path})
    assert built.returncode == 0, built.stdout + built.stderr
    assert built.stderr == ""
    return BUILT


def test_each_page_is_reached_from_the_start(site):
    navigation = (site / "index.html").read_text(encoding="utf-8").partition('class="sidebar-tree"')[2]
    linked = set(re.findall(r'class="reference internal" href="([^"#]+)\.html"', navigation))
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES if path.is_relative_to(DOCS)}
    assert pages - linked == {"index"}


def test_a_link_to_nothing_is_found(site, tmp_path):
    text = '<a href="#here" id="here"></a><a href="https://x.example/"></a>'
    (tmp_path / "good.html").write_text(text)
    (tmp_path / "bad.html").write_text('<a href="good.html#nowhere"></a><a href="nothing.html"></a><img src="no.png">')
    command = [sys.executable, str(DOCS / "links.py"), str(tmp_path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr.splitlines()) == (
        1,
        [
            "bad.html: good.html#nowhere has no such anchor",
            "bad.html: nothing.html is not there",
            "bad.html: no.png is not there",
        ],
    )


# -- The reference -----------------------------------------------------------------------------------------------------


def documented(site: Path) -> dict[str, str]:
    """The names that the reference has, with what they are to Sphinx, as its inventory for other sites lists them."""
    *_, data = (site / "objects.inv").read_bytes().split(b"\n", 4)
    found = re.findall(r"(?m)^(\S+) py:(\w+) (-?\d+) ", zlib.decompress(data).decode())
    return {name: kind for name, kind, priority in found if priority != "-1"}  # of an alias


def test_the_reference_has_every_public_name_once(site):
    kinds = documented(site)
    top = {name for name, kind in kinds.items() if kind in ("class", "data", "exception", "function")}
    assert top >= BESIDE
    names = {f"tornadio.{name}" for name in tornadio.__all__} | {"tornadio.__version__", "tornadio.version"}
    for module in (errors, proto, settings, stats, sync, testing):
        names |= {f"{module.__name__}.{name}" for name in exported(module)}

    def values(of: set[str]) -> list[object]:
        resolved = [pkgutil.resolve_name(name) for name in of]
        # Classes and functions are the same under each of their names; a constant has one.
        return [value if callable(value) else name for value, name in zip(resolved, of, strict=True)]

    in_reference = values(top - BESIDE)
    assert len(in_reference) == len(set(map(id, in_reference)))
    missing = [name for name in names if name not in top and values({name})[0] not in in_reference]
    assert missing == []
    assert set(map(str, in_reference)) <= set(map(str, values(names)))


def test_the_reference_has_every_method_and_property(site):
    kinds = documented(site)
    missing = set()
    for name in [name for name, kind in kinds.items() if kind == "class"]:
        value = pkgutil.resolve_name(name)
        if not inspect.isclass(value):
            continue
        members = {
            member
            for member, of in vars(value).items()
            if not member.startswith("_") and (inspect.isfunction(of) or isinstance(of, property))
        }
        if issubclass(value, tornado.web.RequestHandler):
            members -= set(dir(tornado.web.RequestHandler))
        missing |= {f"{name}.{each}" for each in members - CALLED_BY_OTHERS.get(name, set())} - kinds.keys()
    assert missing == set()
