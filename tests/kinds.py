"""pytest plugin: each test's kind, and what it needs that pip doesn't install.

The kinds, of which each test gets one as its marker:

`pure`
    Opens no socket and starts no process.
`local`
    Sockets on 127.0.0.1 and pipes, all within this process.
`external`
    Starts processes: servers of ours, or programs of others.

The kind follows from the directory or file (`EXTERNAL`, `PURE`; anything else is local), from what the test needs, or
from a marker at the test itself. A pure test that connects or listens, and a pure or local one that starts a process,
fails.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from tests import programs

HERE: Final = Path(__file__).resolve().parent
KINDS: Final = ("pure", "local", "external")

EXTERNAL: Final = (
    "attacks/test_descriptors.py",
    "attacks/test_oversize_bodies.py",
    "attacks/test_script_injection.py",
    "browser",
    "chaos/test_shutdown.py",
    "chaos/test_soak.py",
    "chaos/test_vanished_peers.py",
    "chaos/test_vanished_servers.py",
    "cli/test_program.py",
    "compatibility",
    "deployment",
    "documents",
    "old_programs",
    "sync/test_processes.py",
    "test_benchmarks.py",
    "test_engines.py",
    "test_examples.py",
    "test_packaging.py",
    "test_reloading.py",
    "test_types.py",
    "testing/test_plugin.py",
)
PURE: Final = (
    "cli/test_arguments.py",
    "cli/test_printer.py",
    "client/test_backoff.py",
    "client/test_options.py",
    "client/test_streamformats.py",
    "client/test_url.py",
    "fuzz",
    "net/test_fifolock.py",
    "net/test_proxyprotocol.py",
    "net/test_timers.py",
    "sessions/test_dispatch.py",
    "sessions/test_heartbeat.py",
    "sessions/test_outbox.py",
    "sessions/test_state.py",
    "test_documents.py",
    "test_layout.py",
    "test_proto.py",
    "test_settings.py",
    "transports/test_forms.py",
    "web/test_fastparse.py",
    "web/test_origins.py",
    "websocket",
)
# Fixtures that start processes, besides those of programs.OF_FIXTURES.
STARTING: Final = {"app_server", "broadcasting", "echo", "filled", "run"}

FORBIDDEN: Final = {
    "pure": frozenset({"socket.bind", "socket.connect", "subprocess.Popen", "os.fork"}),
    "local": frozenset({"subprocess.Popen", "os.fork"}),
    "external": frozenset[str](),
}

_forbidden: frozenset[str] = frozenset()


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _forbidden:
        raise RuntimeError(f"{event}({arguments[0]!r}, ...) in a test whose kind forbids it: see tests/kinds.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--missing-packages",
        type=Path,
        metavar="FILE",
        help="run nothing, write into FILE the Debian packages that the selected tests lack, one a line",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.missing_packages:
        config.option.collectonly = True
    sys.addaudithook(_watch)


def needs_of(item: pytest.Item) -> tuple[str, ...]:
    """The programs without which a test can't run, as tests/programs.py calls them."""
    fixtures = getattr(item, "fixturenames", ())
    asked = [name for fixture in fixtures for name in programs.OF_FIXTURES.get(fixture, ())]
    if "browser" in fixtures:
        callspec = getattr(item, "callspec", None)
        asked += programs.OF_ENGINES[callspec.params.get("browser", "chromium") if callspec else "chromium"]
    return tuple(dict.fromkeys([*asked, *(name for marker in item.iter_markers("needs") for name in marker.args)]))


def kind_of(item: pytest.Item) -> str:
    for marker in item.iter_markers():  # the nearest first
        if marker.name in KINDS:
            return marker.name
    path = item.path.relative_to(HERE) if item.path.is_relative_to(HERE) else item.path
    places = {path.as_posix(), *(parent.as_posix() for parent in path.parents)}
    if places.intersection(EXTERNAL) or needs_of(item) or STARTING.intersection(getattr(item, "fixturenames", ())):
        return "external"
    return "pure" if places.intersection(PURE) else "local"


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = kind_of(item)
        if item.get_closest_marker(kind) is None:
            item.add_marker(kind)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell what is missing for the tests that are left after the selection."""
    target: Path | None = session.config.option.missing_packages
    if target:
        packages = programs.missing_packages(name for item in session.items for name in needs_of(item))
        target.write_text("".join(f"{package}\n" for package in packages), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)  # before the fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = {name: why for name in needs_of(item) if (why := programs.why_missing(name))}
    if missing:
        why = "; ".join(missing.values())
        if os.environ.get("REQUIRE_PROGRAMS") and missing.keys() != {programs.NAMESPACES}:
            pytest.fail(why, pytrace=False)
        pytest.skip(why)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    global _forbidden
    _forbidden = FORBIDDEN[kind_of(item)]
    try:
        return (yield)
    finally:
        _forbidden = frozenset()
