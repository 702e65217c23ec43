"""Fixtures: the fleet, which runs for all tests here, and the proxy that a test goes through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.compatibility.official_client import CLIENT
from tests.deployment.fleet import Fleet, Proxy, Visit


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, node_modules: Path) -> Iterator[Fleet]:
    """Redis, three processes, both proxies. A test that stops one of them starts it again."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), node_modules / CLIENT)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.stop()
        print(fleet.output())


@pytest.fixture(params=["haproxy", "nginx"])
def proxy(request: pytest.FixtureRequest, fleet: Fleet) -> Proxy:
    return fleet.proxies[str(request.param)]


@pytest.fixture
async def visit(fleet: Fleet) -> AsyncIterator[Visit]:
    visit = Visit(fleet)
    yield visit
    await visit.aclose()
