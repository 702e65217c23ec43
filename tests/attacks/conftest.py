"""Servers for attacks, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer

APP = Path(__file__).with_name("echo_app.py")

Echo = Callable[..., AppServer]


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    """`echo(max_payload_size, context_takeover=False)` starts a server that echoes. A message may be as large, but for
    its frame's header.
    """
    servers: list[AppServer] = []

    def start(max_payload_size: int, context_takeover: bool = False) -> AppServer:
        arguments = (f"--max_payload_size={max_payload_size}", f"--context_takeover={context_takeover}")
        server = AppServer(APP, arguments, tmp_path / "output.txt")
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()
