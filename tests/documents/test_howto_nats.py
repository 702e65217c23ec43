"""docs/howto/nats.rst: two processes of its program are one server, by a real nats-server with its configuration."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tornadio
from tests.appserver import AppServer, Daemon, free_port
from tests.documents.pages import Page, on_given_port
from tests.programs import path_of
from tests.redis_fixtures import eventually
from tests.support import Elsewhere, limit, until
from tornadio.errors import BusError

PAGE = Page("docs/howto/nats.rst")
MODULE = PAGE.file("docs/howto/nats_bus.py")
PROGRAM = PAGE.code("NATS as the bus", 1)
CONFIGURATION = PAGE.code("NATS as the bus", language="text")
DOCUMENTED = "localhost:4222"
GROUP = "tea.* > ☕"  # each of its characters means something in a subject, or can't be there

pytestmark = pytest.mark.needs("nats-server")


class NatsServer(Daemon):
    """nats-server with the page's account, on a port of its own, which it keeps over restarts."""

    def __init__(self, directory: Path) -> None:
        port, self.monitor = free_port(), free_port()
        configuration = directory / "nats.conf"
        configuration.write_text(CONFIGURATION, encoding="utf-8")
        command = [path_of("nats-server") or "", "-c", str(configuration), "-a", "127.0.0.1", "-p", str(port)]
        super().__init__("nats-server", [*command, "-m", str(self.monitor)], port, directory / "nats.txt")

    def in_place_of_documented(self, text: str) -> str:
        assert DOCUMENTED in text
        return text.replace(DOCUMENTED, f"127.0.0.1:{self.port}")

    async def wait_for_subscriptions(self, count: int) -> None:
        """Wait until the clients are subscribed to so many subjects, all together."""
        async with contextlib.aclosing(Elsewhere(SimpleNamespace(port=self.monitor), None)) as monitor:  # type: ignore[arg-type]

            async def ask() -> Any:
                return sum(each["subscriptions"] for each in (await monitor.read_json("/connz"))["connections"])

            await eventually(ask, count)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def processes(app_server: Callable[..., AppServer], nats_server: NatsServer, tmp_path: Path) -> list[AppServer]:
    module = MODULE.read_text(encoding="utf-8")
    assert "timeout: float = 10.0" in module
    # On a busy machine a restart of NATS may take longer than that.
    (tmp_path / MODULE.name).write_text(
        module.replace("timeout: float = 10.0", "timeout: float = 60.0"), encoding="utf-8"
    )
    program = on_given_port(nats_server.in_place_of_documented(PROGRAM))
    return [app_server(program.replace('"node": "a"', f'"node": "{node}"')) for node in "ab"]


@pytest.fixture
async def clients(processes: list[AppServer]) -> AsyncIterator[list[tornadio.ClientConnection]]:
    clients = [await tornadio.connect(f"{server.url}/socket.io") for server in processes]
    yield clients
    for client in clients:
        await client.close()


async def heard_by(clients: list[tornadio.ClientConnection]) -> list[Any]:
    async with limit():
        return [await client.recv() for client in clients]


async def test_two_processes_are_one_server_also_after_a_restart_of_nats(
    nats_server: NatsServer, processes: list[AppServer], clients: list[tornadio.ClientConnection]
) -> None:
    await nats_server.wait_for_subscriptions(2)
    for client in clients:
        await client.send({"join": GROUP})
    await nats_server.wait_for_subscriptions(4)
    await talk(clients, "first")

    nats_server.kill()
    await until(lambda: all("no connection to NATS" in server.output() for server in processes))
    await clients[0].send("within the process")
    assert await heard_by(clients[:1]) == ["within the process"]
    nats_server.start()
    await nats_server.wait_for_subscriptions(4)
    assert await heard_by(clients[1:]) == ["within the process"]  # which has waited, less than the timeout
    await talk(clients, "again")
    for server in processes:
        assert server.terminate() == 0
        assert server.output().count("no connection to NATS") == 1
        assert "Traceback" not in server.output()


async def talk(clients: list[tornadio.ClientConnection], word: str) -> None:
    """What anybody says everybody hears, as the next thing, once: broadcasts, and what is for the group."""
    for number, client in enumerate(clients):
        await client.send(f"{word} {number}")
        assert await heard_by(clients) == [f"{word} {number}"] * 2
        await client.send({"to": GROUP, "say": f"{word} {number} to all"})
        assert await heard_by(clients) == [f"{word} {number} to all"] * 2


@pytest.fixture
async def make_bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., tornadio.Bus]]:
    spec = importlib.util.spec_from_file_location("nats_bus", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "nats_bus", module)
    spec.loader.exec_module(module)
    buses: list[tornadio.Bus] = []

    def make_bus(url: str, **options: Any) -> tornadio.Bus:
        buses.append(module.NatsBus([url], **options))
        return buses[-1]

    yield make_bus
    for bus in buses:
        await bus.close()


async def test_what_can_not_be_published_is_an_error_and_does_not_come_later(
    nats_server: NatsServer, make_bus: Callable[..., tornadio.Bus], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bus = make_bus(f"nats://chat:PASSWORD@127.0.0.1:{nats_server.port}", timeout=0.5)
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await bus.subscribe("tea", heard.put_nowait)
    nats_server.kill()
    for _ in range(2):
        with pytest.raises(BusError, match=r"no answer from NATS in 0.5 s|NATS took no message"):
            await bus.publish([("tea", b"while it is away")])
    nats_server.start()
    async with limit():
        while True:
            try:
                await bus.publish([("tea", b"one"), ("tea", b"two")])
                break
            except BusError:
                continue
        assert [await heard.get() for _ in range(2)] == [b"one", b"two"]
    with pytest.raises(BusError, match="MaxPayload"):
        await bus.publish([("tea", bytes(1 << 20) + b"too large")])
    await bus.unsubscribe("tea")
    await bus.publish([("tea", b"unheard")])
    assert heard.empty()


async def test_who_may_not_is_told_in_the_log(
    nats_server: NatsServer, make_bus: Callable[..., tornadio.Bus], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bus = make_bus(f"nats://chat:PASSWORD@127.0.0.1:{nats_server.port}", prefix="other")
    await bus.publish([("tea", b"not allowed")])
    await until(lambda: "Permissions Violation" in caplog.text.title())  # the client's callback may come later
    stranger = make_bus(f"nats://127.0.0.1:{nats_server.port}", timeout=0.5)
    with pytest.raises(BusError):
        await stranger.publish([("tea", b"who am I")])
    assert "no connection to NATS: " in caplog.text
    assert "Authorization Violation" in caplog.text
