"""The server of posts_app.py in a process of its own, over plain HTTP or TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.appserver import AppServer
from tests.support import Elsewhere, Wire

APP = Path(__file__).with_name("posts_app.py")


class Encrypted(Elsewhere):
    """A server in a process of its own, over TLS."""

    async def connect(self) -> Wire:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20, ssl=context))
        self.wires.append(wire)
        return wire

    async def aclose(self) -> None:
        for wire in self.wires:
            wire.reset()


@contextlib.asynccontextmanager
async def running(directory: Path, http: str, **options: Any) -> AsyncIterator[Elsewhere]:
    """The server in a process of its own, over "plain" HTTP or "TLS"."""
    kind: type[Elsewhere] = Elsewhere
    if http == "TLS":
        kind = Encrypted
        certificate = directory / "certificate.pem"
        trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        options["certificate"] = certificate
    server = AppServer(APP, tuple(f"--{name}={value}" for name, value in options.items()), directory / "output.txt")
    try:
        server.start()
        async with contextlib.aclosing(kind.of(server)) as served:
            yield served
    finally:
        server.kill()


each_server = pytest.mark.parametrize("http", ["plain", "TLS"])
