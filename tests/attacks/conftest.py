"""Servers for attacks: in a process of its own, and inside the test on every way that a request may take."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.appserver import AppServer
from tests.internals import without_fast_path, without_watching_sockets
from tests.support import Served, Wire

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


@dataclasses.dataclass(frozen=True)
class Secure(Served):
    """A server that is reached over TLS."""

    context: ssl.SSLContext | None = None

    async def connect(self) -> Wire:
        streams = await asyncio.open_connection(
            "127.0.0.1", self.port, limit=1 << 20, ssl=self.context, server_hostname="localhost"
        )
        self.wires.append(Wire(*streams))
        return self.wires[-1]


@pytest.fixture(params=["plain", "tornado", "stream", "tls"])
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, serve: Any) -> Any:
    """`serve` for tests to run with plain requests, with Tornado's HTTP, on its streams alone, and over TLS."""

    def start(*args: Any, **kwargs: Any) -> Served:
        served: Served
        if request.param != "tls":
            served = serve(*args, **kwargs)
            return served
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        server = {"ssl_options": context, **kwargs.pop("server", {})}
        served = serve(*args, server=server, **kwargs)
        return Secure(served.server, served.router, served.wires, trusting)

    if request.param in ("tornado", "stream"):
        without_fast_path(monkeypatch)
    if request.param == "stream":
        without_watching_sockets(monkeypatch)
    return start
