"""Servers for attacks, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer

APP = Path(__file__).with_name("echo_app.py")

Echo = Callable[[int], AppServer]


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    """`echo(max_payload_size)` starts a server that echoes; a message may be as large but for its frame's header."""
    servers: list[AppServer] = []

    def start(max_payload_size: int) -> AppServer:
        server = AppServer(APP, (f"--max_payload_size={max_payload_size}",), tmp_path / "output.txt")
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()
