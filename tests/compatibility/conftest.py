"""Fixtures for the tests with programs that nobody here wrote, and the table of what they showed.

`@pytest.mark.compatibility(client="curl", transport="htmlfile", scenario="follows a stream")`
    Puts a test's result into the table. The transport is the test's parameter `transport` where the marker names none,
    the scenario the test's own name. Keywords of a marker on the module or class count too.
`scenario(name, transport=None)`
    For a test that shows several things at once: `with scenario("echo"):` is a row of its own.
`browser`, `page`, `node_modules` and so on
    See tests/browser_fixtures.py and tests/node_fixtures.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator

import pytest

from tests.compatibility.table import Scenario, Table

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
