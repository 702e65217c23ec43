"""The server of posts_app.py in a process of its own, over plain HTTP or TLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.appserver import AppServer
from tests.support import Elsewhere
from tests.tls import Certificate, ElsewhereOverTls

APP = Path(__file__).with_name("posts_app.py")


@contextlib.asynccontextmanager
async def running(directory: Path, http: str, **options: Any) -> AsyncIterator[Elsewhere]:
    """The server in a process of its own, over "plain" HTTP or "TLS"."""
    certificate = Certificate()
    if http == "TLS":
        options["certificate"] = directory / "certificate.pem"
        certificate.write(options["certificate"])
    server = AppServer(APP, tuple(f"--{name}={value}" for name, value in options.items()), directory / "output.txt")
    try:
        server.start()
        served = ElsewhereOverTls.at(server, certificate) if http == "TLS" else Elsewhere.of(server)
        async with contextlib.aclosing(served):
            yield served
    finally:
        server.kill()


each_server = pytest.mark.parametrize("http", ["plain", "TLS"])
