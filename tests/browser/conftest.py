"""Fixtures for the tests of the browser client; tests/browser_fixtures.py has those of browsers and their pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer
from tests.browser.client_pages import APP


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """The server of client_app.py, for all tests that leave it running."""
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """One more on another port, to get pages from."""
    with running(tmp_path_factory.mktemp("other")) as server:
        yield server


@contextlib.contextmanager
def running(folder: Path) -> Iterator[AppServer]:
    server = AppServer(APP, (), folder / "output.txt")
    server.start()
    yield server
    server.kill()
