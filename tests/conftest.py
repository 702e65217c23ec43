"""Fixtures for the tests that run a server inside the test: real sockets on 127.0.0.1, one loop for both sides."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import tornado.web

import tornadio
from tests.internals import serve_by, without_watching_sockets
from tests.support import MovedLoop, Recorder, Serve, Served, shut_down
from tornadio.logs import RATE_LIMITER, RateLimiter

pytest_plugins = (
    "tests.kinds",
    "tests.browser_fixtures",
    "tests.node_fixtures",
    "tests.redis_fixtures",
    "tests.table_fixtures",
)


# On a busy machine an example may take its time.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# Traced by coverage, an example takes several times as long; other suites try as many as ever.
hypothesis.settings.register_profile("traced", hypothesis.settings.get_profile("patient"), max_examples=20)
IS_TRACED = sys.gettrace() is not None
hypothesis.settings.load_profile("traced" if IS_TRACED else "patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", type=float, default=60, metavar="SECONDS", help="how long the soak takes (60)")
    parser.addoption(
        "--fuzz", type=float, default=30, metavar="SECONDS", help="how long whole requests are made up (30)"
    )
    parser.addoption(
        "--each-value",
        action="store_true",
        help="run each value of a test's parameters, in each engine of a browser, not every combination, where no "
        "other process is started",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.each_value:
        shown: Shown = collections.defaultdict(set)
        kept: list[pytest.Item] = []
        repeated: list[pytest.Item] = []
        for item in items:
            (kept if shows_a_new_value(item, shown) else repeated).append(item)
        config.hook.pytest_deselected(items=repeated)
        items[:] = kept


# What values of its parameters each test function has had, in each engine of a browser.
Shown = dict[tuple[Path, str, str], set[tuple[str, int]]]


def shows_a_new_value(item: pytest.Item, shown: Shown) -> bool:
    """Whether a test has a parameter's value that none before it has had."""
    from tests.browser_fixtures import engine_of  # here: it is a plugin, which pytest has to load first

    callspec, engine = getattr(item, "callspec", None), engine_of(item)
    if callspec is None or (item.get_closest_marker("external") and not engine):
        return True
    values = {(name, id(value)) for name, value in callspec.params.items()}
    before = shown[item.path, item.nodeid.partition("[")[0], engine]
    is_new = not values <= before
    before |= values
    return is_new


def pytest_runtest_setup(item: pytest.Item) -> None:
    if IS_TRACED and item.get_closest_marker("bulk"):
        pytest.skip("traced by coverage this takes minutes, and covers nothing more: the suites without tracing run it")


def pytest_configure() -> None:
    """Have programs that tests start end at SIGINT: they inherit that it is ignored, as by what a shell starts in
    the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A test that asks for `clock` runs on a loop whose time it moves, the others on asyncio's own."""
    return {"moved": MovedLoop} if "clock" in item.fixturenames else {"asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def log_limit() -> RateLimiter:
    """The limit of log lines; each test begins with none counted."""
    RATE_LIMITER.clear()
    return RATE_LIMITER


@pytest.fixture(params=["socket", "stream"])
def each_wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """For tests to run twice: over sockets that left Tornado's streams, and as on a loop that can't watch sockets."""
    if request.param == "stream":
        without_watching_sockets(monkeypatch)
    return str(request.param)


@pytest.fixture(params=["plain", "tornado"])
def each_http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """For tests to run twice: on the fast path, and with all requests read by Tornado's HTTP."""
    serve_by(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture(params=["plain", "tornado", "stream"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """For tests to run three times: with plain requests read on the fast path, with all of them read by Tornado's HTTP,
    and so on a loop that can't watch sockets, where connections stay on Tornado's streams."""
    serve_by(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture
async def clock() -> MovedLoop:
    """The test's event loop; its time stands still until the test says `await clock.advance(seconds)`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MovedLoop)
    return loop


@pytest.fixture
def dice() -> random.Random:
    """Chance, another in each run. A test that fails shows its SEED, which repeats it when set in the environment."""
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")
    return random.Random(seed)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`serve(connection_class=Recorder, settings=None, *, resource=..., application=..., server=..., **router)`.

    Starts a SocketServer on a free port of 127.0.0.1 with one router and gives a `Served`. All are shut down at the
    end of the test. `application` are further settings of the application, `handlers` further rules behind the router,
    `server` further arguments of SocketServer, anything else goes to `get_router`.
    """
    running: list[Served] = []
    Recorder.opened.clear()

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
        await shut_down(served.server)


@pytest.fixture(params=["plain", "tornado", "stream", "tls"])
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, serve: Serve) -> Serve:
    """`serve` for tests to run with plain requests, with Tornado's HTTP, on its streams alone, and over TLS."""
    serve_by(request.param, monkeypatch)
    if request.param != "tls":
        return serve
    from tests.tls import Certificate, OverTls  # here: it loads cryptography, which most tests need not wait for

    def serve_over_tls(*args: Any, **kwargs: Any) -> Served:
        certificate = Certificate()
        server = {"ssl_options": certificate.server, **kwargs.pop("server", {})}
        served = serve(*args, server=server, **kwargs)
        return OverTls(served.server, served.router, served.wires, certificate)

    return serve_over_tls
