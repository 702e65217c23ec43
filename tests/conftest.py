"""Fixtures for the tests that run a server inside the test: real sockets on 127.0.0.1, one loop for both sides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import tornado.web

import tornadio
from tests.support import Recorder, Served

Serve = Callable[..., Served]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`serve(connection_class=Recorder, settings=None, *, resource=..., application=..., server=..., **router)`.

    Starts a SocketServer on a free port of 127.0.0.1 with one router and gives a `Served`. All are shut down at the
    end of the test. `application` are further settings of the application, `handlers` further rules behind the router,
    `server` further arguments of SocketServer, anything else goes to `get_router`.
    """
    running: list[Served] = []

    def serve(
        connection_class: type[tornadio.SocketConnection] = Recorder,
        settings: dict[str, Any] | None = None,
        *,
        application: dict[str, Any] | None = None,
        handlers: tuple[Any, ...] = (),
        server: dict[str, Any] | None = None,
        **router_arguments: Any,
    ) -> Served:
        router = tornadio.get_router(connection_class, settings, **router_arguments)
        app = tornado.web.Application(
            [router.route(), *handlers],
            **{"socket_io_port": 0, "socket_io_address": "127.0.0.1", **(application or {})},
        )
        served = Served(tornadio.SocketServer(app, auto_start=False, **(server or {})), router)
        running.append(served)
        return served

    yield serve
    for served in running:
        for wire in served.wires:
            await wire.aclose()
        await served.server.shutdown(timeout=5)
