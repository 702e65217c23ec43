"""Fixtures for the tests with programs that nobody here wrote, and the table of what they showed.

`@pytest.mark.compatibility(client="curl", transport="htmlfile", scenario="follows a stream")`
    Puts a test's result into the table. The transport is the test's parameter `transport` where the marker names none,
    the scenario the test's own name. Keywords of a marker on the module or class count too.
`scenario(name, transport=None)`
    For a test that shows several things at once: `with scenario("echo"):` is a row of its own.
`node_modules`
    The directory with the npm packages of package.json.
`browser`, `page`, `app_server` and so on
    See tests/browser_fixtures.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.programs import path_of

Scenario = Callable[..., contextlib.AbstractContextManager[None]]

HERE: Final = Path(__file__).resolve().parent
VENVS: Final = HERE.parents[1] / ".venvs"
NPM_SECONDS: Final = 300


# The table


class Table:
    """What each client showed, transport by transport."""

    WORDS: Final = {"passed": "ok", "skipped": "skipped", "failed": "FAILED"}  # the better before the worse

    def __init__(self) -> None:
        self._clients: dict[str, dict[str, dict[str, str]]] = {}  # client, scenario, transport, outcome
        self._reasons: dict[str, None] = {}

    def add(self, client: str, transport: str, scenario: str, outcome: str, reason: str = "") -> None:
        """Where there are several results for one cell, the worst stands."""
        cells = self._clients.setdefault(client, {}).setdefault(scenario, {})
        ranks = list(self.WORDS)
        cells[transport] = max(cells.get(transport, outcome), outcome, key=ranks.index)
        if reason:
            self._reasons[f"{client}, {transport}, {scenario}: {reason}"] = None

    def lines(self) -> Iterator[str]:
        for client, scenarios in self._clients.items():
            transports = list(dict.fromkeys(transport for cells in scenarios.values() for transport in cells))
            width = max(map(len, scenarios))
            columns = [max(len(transport), len("skipped")) for transport in transports]
            yield ""
            yield client
            yield "  ".join([" " * width, *map(str.ljust, transports, columns)]).rstrip()
            for scenario, cells in scenarios.items():
                words = (self.WORDS.get(cells.get(transport, ""), "") for transport in transports)
                yield "  ".join([scenario.ljust(width), *map(str.ljust, words, columns)]).rstrip()
        if self._reasons:
            yield ""
            yield from self._reasons


table_key = pytest.StashKey[Table]()
shown_key = pytest.StashKey[str]()  # what the rows of a test that uses `scenario` say already


def pytest_configure(config: pytest.Config) -> None:
    config.stash[table_key] = Table()


def place_of(item: pytest.Item) -> dict[str, str] | None:
    """Client, transport and scenario of a test that has the marker."""
    markers = list(item.iter_markers("compatibility"))
    place = {name: str(value) for marker in reversed(markers) for name, value in marker.kwargs.items()}
    if not place:
        return None
    callspec = getattr(item, "callspec", None)
    transport = callspec.params.get("transport", "-") if callspec else "-"
    name = getattr(item, "originalname", item.name).removeprefix("test_").replace("_", " ")
    return {"transport": str(transport), "scenario": name, **place}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    place = place_of(item)
    if place is None or (report.passed and report.when != "call"):
        return report
    if report.outcome != item.stash.get(shown_key, None):
        reason = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
        item.config.stash[table_key].add(**place, outcome=report.outcome, reason=reason.removeprefix("Skipped: "))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = list(config.stash[table_key].lines())
    if lines:
        terminalreporter.section("compatibility: client, transport, scenario")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """`with scenario(name, transport=None):` puts what it holds into the table, as a row of its own."""
    place = place_of(request.node)
    assert place is not None, "mark the test with @pytest.mark.compatibility(client=...)"
    table = request.config.stash[table_key]

    @contextlib.contextmanager
    def scenario(name: str, transport: str | None = None) -> Iterator[None]:
        outcome = "failed"
        try:
            yield
            outcome = "passed"
        except pytest.skip.Exception:
            outcome = "skipped"
            raise
        finally:
            if request.node.stash.get(shown_key, "") != "failed":
                request.node.stash[shown_key] = outcome
            table.add(place["client"], transport or place["transport"], name, outcome)

    return scenario


# Programs from npm


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node."""
    path = path_of("node")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def node_modules(node: str) -> Path:
    """The directory with the npm packages of package.json. They stay as long as package-lock.json does."""
    target = VENVS / "npm"
    stamp = target / "stamp"
    wanted = (HERE / "package-lock.json").read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        npm = path_of("npm")
        assert npm is not None
        VENVS.mkdir(exist_ok=True)
        # Aside, and into place when it is whole: another run may look for it.
        with tempfile.TemporaryDirectory(dir=VENVS, prefix="npm-") as aside:
            fresh = Path(aside, "npm")
            install(npm, fresh)
            (fresh / "stamp").write_text(wanted, encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    return target / "node_modules"


def install(npm: str, directory: Path) -> None:
    directory.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, directory)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier"]
    environment = os.environ | {"NO_COLOR": "1"}
    npm_run = subprocess.run(
        command, cwd=directory, env=environment, text=True, capture_output=True, timeout=NPM_SECONDS, check=False
    )
    if npm_run.returncode != 0:
        pytest.fail(f"{' '.join(command)} failed:\n{npm_run.stdout}{npm_run.stderr}", pytrace=False)
