"""Fixtures for the tests of pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer
from tests.documents.pages import on_given_port
from tests.documents.programs import ServeProgram
from tests.documents.tutorial import Reader


@pytest.fixture
def serve_program(tmp_path: Path) -> Iterator[ServeProgram]:
    """Starts a program in a process of its own and waits until it serves."""
    script = tmp_path / "server.py"
    servers: list[AppServer] = []

    def serve_program(program: str) -> AppServer:
        script.write_text(on_given_port(program), encoding="utf-8")
        server = AppServer(script, (), tmp_path / "output.txt")
        servers.append(server)
        server.start()
        return server

    yield serve_program
    for server in servers:
        server.kill()
        print(server.output())


@pytest.fixture
def reader_at(tmp_path: Path) -> Iterator[Callable[[int], Reader]]:
    """`reader_at(3)`: somebody who has read two pages of the tutorial."""
    readers: list[Reader] = []

    def reader_at(page: int) -> Reader:
        readers.append(Reader(tmp_path, page))
        return readers[-1]

    yield reader_at
    for reader in readers:
        reader.close()
