"""The table of what each client showed, over each transport and in each engine, printed at the end; and what fills it.

`@pytest.mark.compatibility(client="curl", transport="htmlfile", scenario="follows a stream")`
    Puts a test's result into the table. The transport is the test's parameter `transport` where the marker names none,
    the scenario the test's own name, the engine that of the test's browser. Keywords of a marker on the module or class
    count too, and:

    `scenarios=(...)`
        The test shows these, by the fixture `scenario`, in the place of one that has its name.
    `transports=(...)`, `engines=(...)`
        It shows what it shows over several transports, or in several engines, at once.
    `cannot={("webkit", "htmlfile"): "because ..."}`
        What can't be, by engine and transport: such tests are skipped, and the table says why.
`scenario(name, transport=None, engine=None)`
    For a test that shows several things at once: `with scenario("echo"):` is a row of its own.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser_fixtures import engine_of
from tests.compatibility.table import Scenario, Table

table_key = pytest.StashKey[Table]()
shown_key = pytest.StashKey[str]()  # what the rows of a test that uses `scenario` say already


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--table",
        type=Path,
        metavar="FILE",
        help="write the table into it, to be joined with others",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[table_key] = Table()


def keywords_of(item: pytest.Item) -> dict[str, Any]:
    """The keywords of all markers `compatibility` of a test, the nearest last."""
    markers = list(item.iter_markers("compatibility"))
    return {name: value for marker in reversed(markers) for name, value in marker.kwargs.items()}


def place_of(item: pytest.Item) -> dict[str, str] | None:
    """Client, transport, scenario and engine of a test that has the marker."""
    keywords = keywords_of(item)
    if not keywords:
        return None
    callspec = getattr(item, "callspec", None)
    transport = callspec.params.get("transport", "-") if callspec else "-"
    name = getattr(item, "originalname", item.name).removeprefix("test_").replace("_", " ")
    place = {"transport": str(transport), "scenario": name, "engine": engine_of(item), **keywords}
    return {key: str(place[key]) for key in ("client", "scenario", "transport", "engine")}


def rows_of(keywords: dict[str, Any], place: dict[str, str]) -> Iterable[tuple[str, str, str]]:
    """Scenario, transport and engine of all that a test shows."""
    return itertools.product(
        keywords.get("scenarios", [place["scenario"]]),
        keywords.get("transports", [place["transport"]]),
        keywords.get("engines", [place["engine"]]),
    )


def collected_table(items: Iterable[pytest.Item]) -> Table:
    """The table as it is when all these tests pass, of those that run in browsers."""
    table = Table()
    for item in items:
        place, keywords = place_of(item), keywords_of(item)
        if place is None or "browsers" not in getattr(item, "fixturenames", ()):
            continue
        for scenario, transport, engine in rows_of(keywords, place):
            reason = keywords.get("cannot", {}).get((engine, transport), "")
            table.add(place["client"], transport, scenario, "skipped" if reason else "passed", reason, engine)
    return table


@pytest.hookimpl(tryfirst=True)  # before the fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    place = place_of(item)
    if place is not None:
        reason = keywords_of(item).get("cannot", {}).get((place["engine"], place["transport"]))
        if reason:
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    place = place_of(item)
    if place is None or (report.passed and report.when != "call"):
        return report
    if report.passed and "scenarios" in keywords_of(item):
        add_what_cannot_be(item, place)
    keywords = keywords_of(item)
    if report.outcome != item.stash.get(shown_key, None):
        reason = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
        own = (place["scenario"], place["transport"], place["engine"])
        is_all_of_it = report.skipped or "scenarios" not in keywords
        for scenario, transport, engine in rows_of(keywords, place) if is_all_of_it else [own]:
            row = {"client": place["client"], "scenario": scenario, "transport": transport, "engine": engine}
            item.config.stash[table_key].add(**row, outcome=report.outcome, reason=reason.removeprefix("Skipped: "))
    return report


def add_what_cannot_be(item: pytest.Item, place: dict[str, str]) -> None:
    """Of a test that shows several transports or engines at once: it has left these out by itself."""
    keywords = keywords_of(item)
    transports, engines = keywords.get("transports", ()), keywords.get("engines", [place["engine"]])
    for (engine, transport), reason in keywords.get("cannot", {}).items():
        if transport in transports and engine in engines:
            for scenario in keywords["scenarios"]:
                row = place | {"scenario": scenario, "transport": transport, "engine": engine}
                item.config.stash[table_key].add(**row, outcome="skipped", reason=reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.table:
        config.stash[table_key].write(config.option.table)
    lines = list(config.stash[table_key].lines())
    if lines:
        terminalreporter.section("compatibility: client, transport, scenario")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """`with scenario(name, transport=None, engine=None):` puts what it holds into the table, as a row of its own."""
    place = place_of(request.node)
    assert place is not None, "mark the test with @pytest.mark.compatibility(client=...)"
    declared = keywords_of(request.node).get("scenarios")
    table = request.config.stash[table_key]

    @contextlib.contextmanager
    def scenario(name: str, transport: str = "", engine: str = "") -> Iterator[None]:
        assert declared is None or name in declared, f"{name!r} is none of the marker's scenarios"
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
            row = place | {"scenario": name, "outcome": outcome}
            table.add(**(row | {key: value for key, value in (("transport", transport), ("engine", engine)) if value}))

    return scenario
