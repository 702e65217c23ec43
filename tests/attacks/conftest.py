"""Servers for attacks: in a process of its own, and inside the test on every way that a request may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.appserver import AppServer
from tests.internals import serve_by
from tests.support import Serve
from tests.tls import Certificate, OverTls

APP = Path(__file__).with_name("echo_app.py")

Echo = Callable[[int], AppServer]


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    """`echo(max_message_size)` starts a server that echoes."""
    servers: list[AppServer] = []

    def start(max_message_size: int) -> AppServer:
        server = AppServer(APP, (f"--max_message_size={max_message_size}",), tmp_path / "output.txt")
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(params=["plain", "tornado", "stream", "tls"])
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, serve: Serve) -> Serve:
    """`serve` for tests to run with plain requests, with Tornado's HTTP, on its streams alone, and over TLS."""
    serve_by(request.param, monkeypatch)
    if request.param != "tls":
        return serve

    def serve_over_tls(*args: Any, **kwargs: Any) -> OverTls:
        certificate = Certificate()
        server = {"ssl_options": certificate.server, **kwargs.pop("server", {})}
        served = serve(*args, server=server, **kwargs)
        return OverTls(served.server, served.router, served.wires, certificate)

    return serve_over_tls
