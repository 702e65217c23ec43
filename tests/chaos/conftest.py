"""Fixtures of the tests that break what is between peers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.hosts import Hosts


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Two hosts with a cable between them that can be pulled."""
    hosts = Hosts()
    yield hosts
    hosts.close()
