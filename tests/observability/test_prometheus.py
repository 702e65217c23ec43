"""A real Prometheus scrapes three processes over a real Redis: its figures, the dashboard and the alerts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tornadio
from tests.appserver import REPOSITORY, AppServer, Daemon, free_port
from tests.programs import path_of
from tests.redis_fixtures import RedisServer
from tests.support import limit
from tornadio.observability.families import OF_ROUTERS, OF_SERVERS

HERE = Path(__file__).resolve().parent
CLUSTER = REPOSITORY / "examples" / "cluster"
NODES = "abc"

pytestmark = pytest.mark.external


class Prometheus(Daemon):
    """A Prometheus with the documented configuration, but that it asks these processes, and each second."""

    def __init__(self, directory: Path, ports: list[int]) -> None:
        port = free_port()
        text = (CLUSTER / "prometheus.yml").read_text("utf-8").replace(" 15s", " 1s")
        for documented, own in zip((8001, 8002, 8003), ports, strict=True):
            assert f"127.0.0.1:{documented}" in text
            text = text.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{own}")
        (directory / "prometheus.yml").write_text(text, "utf-8")
        (directory / "alerts.yml").write_text((CLUSTER / "alerts.yml").read_text("utf-8"), "utf-8")
        command = [
            path_of("prometheus") or "prometheus",
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        super().__init__("prometheus", command, port, directory / "prometheus.txt")

    async def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers: https://prometheus.io/docs/prometheus/latest/querying/api/."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"

        def read() -> Any:
            with urllib.request.urlopen(url) as response:
                return json.load(response)

        answer = await asyncio.to_thread(read)
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The values of an expression, by the values of their labels in the order of the labels' names."""
        data = await self.ask("query", query=expression)
        return {
            tuple(value for _, value in sorted(each["metric"].items())): float(each["value"][1])
            for each in data["result"]
        }

    async def wait_for(self, expression: str, expected: dict[tuple[str, ...], float]) -> None:
        found: object = None
        try:
            async with limit():
                while (found := await self.query(expression)) != expected:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{expression} is {found}, not {expected}") from None


class Fleet:
    def __init__(self, directory: Path, redis_server: RedisServer) -> None:
        bus = f"--bus={redis_server.url}"
        self.nodes = [
            AppServer(HERE / "node_app.py", (bus, f"--node={node}"), directory / f"{node}.txt") for node in NODES
        ]
        self.instances = [f"127.0.0.1:{node.port}" for node in self.nodes]
        self.prometheus = Prometheus(directory, [node.port for node in self.nodes])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("prometheus"), redis_server)
    daemons = [*fleet.nodes, fleet.prometheus]
    try:
        for daemon in daemons:
            daemon.start()
        yield fleet
    finally:
        for daemon in daemons:
            daemon.kill()
            print(daemon.output())


def expressions_of_dashboard() -> list[tuple[str, str]]:
    """The expressions of the dashboard's panels, as Grafana asks them, with the panels' titles."""
    dashboard = json.loads((CLUSTER / "grafana-dashboard.json").read_text("utf-8"))
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*"))
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.needs("prometheus")
async def test_prometheus_has_the_figures_of_three_processes(fleet):
    prometheus, instances = fleet.prometheus, fleet.instances
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for node in fleet.nodes:
            for transport in ("websocket", "websocket", "xhr-polling"):
                connector = tornadio.connect(f"{node.url}/socket.io", transports=[transport])
                clients.append(await stack.enter_async_context(connector))
                await clients[-1].send("hello")
                assert await clients[-1].recv() == "hello"
        with pytest.raises(tornadio.ConnectError):
            await tornadio.connect(f"{fleet.nodes[0].url}/socket.io", origin="http://elsewhere.example")
        # When its own message has come back, each process hears the others, too.
        await prometheus.wait_for("sum by (instance) (tornadio_bus_up)", {(each,): 1 for each in instances})
        await clients[0].send("all:over Redis")
        for client in clients:
            assert await client.recv() == "all:over Redis"
        first, second, third = instances
        for expression, expected in {
            "sum by (transport, version) (tornadio_connections)": {("websocket", "13"): 6, ("xhr-polling",): 3},
            "sum by (instance) (tornadio_received_messages_total)": {(first,): 4, (second,): 3, (third,): 3},
            "sum by (instance) (tornadio_sent_messages_total)": {(first,): 6, (second,): 6, (third,): 6},
            "sum by (instance) (tornadio_bus_published_messages_total)": {(first,): 1, (second,): 0, (third,): 0},
            "sum by (instance) (tornadio_bus_received_messages_total)": {(first,): 0, (second,): 1, (third,): 1},
            "sum by (instance, reason) (tornadio_requests_refused_total) > 0": {(first, "origin"): 2},
            "sum by (handler) (tornadio_handler_seconds_count{handler='on_message'})": {("on_message",): 10},
            "sum (tornadio_polls_waiting)": {(): 3},
            "min (tornadio_heartbeats_answered_total > bool 0)": {(): 1},
            "sum (tornadio_bus_delay_seconds_count > bool 0)": {(): 3},
            "min (tornadio_event_loop_lag_seconds_count > bool 1)": {(): 1},
            "min (tornadio_descriptors_left > bool 100)": {(): 1},
            "max (tornadio_draining)": {(): 0},
        }.items():
            await prometheus.wait_for(expression, expected)
        await every_panel_shows_something(prometheus)
        await the_alerts_are_well(prometheus)
        fleet.nodes[2].kill()
        await prometheus.wait_for("count (ALERTS{alertname='TornadIOProcessDown'})", {(): 1})


async def every_panel_shows_something(prometheus: Prometheus) -> None:
    """Ask what the dashboard asks: each panel has a curve, but for what there is none of while all is well."""
    dashboard = json.loads((CLUSTER / "grafana-dashboard.json").read_text("utf-8"))
    names = {family.exposed_name for family in (*dict(OF_ROUTERS), *dict(OF_SERVERS))}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")
            used = {re.sub("_bucket$", "", name) for name in re.findall(r"tornadio_\w+", expression)}
            assert used <= names
            found = await prometheus.query(expression)
            assert found or "> 0" in expression, (panel["title"], expression)


# Alerts for which a busy machine is a reason, though not for as long as it takes until they fire.
OF_BUSY_MACHINES = {
    *("TornadIOBusDown", "TornadIOBusSlow", "TornadIOEventLoopLags", "TornadIOHandlersSlow"),
    *("TornadIOHeartbeatsSlow", "TornadIOProcessBusy"),
}


async def the_alerts_are_well(prometheus: Prometheus) -> None:
    """Each rule was evaluated without an error, over metrics that are there, and none has a reason to fire."""
    data = await prometheus.ask("rules", type="alert")
    for rule in data["groups"][0]["rules"]:
        assert rule["health"] == "ok", rule
        assert rule["state"] in ("inactive", "pending" if rule["name"] in OF_BUSY_MACHINES else "inactive"), rule
        for name in re.findall(r"(?:tornadio|process)_\w+", rule["query"]):
            assert await prometheus.query(f"count({name})"), (rule["name"], name)


# -- Rules and page --------------------------------------------------------------------------------------------------


def alerts() -> set[str]:
    return set(re.findall(r"- alert: (\w+)", (CLUSTER / "alerts.yml").read_text("utf-8")))


def test_the_page_names_each_alert():
    page = (REPOSITORY / "docs" / "going-big.rst").read_text("utf-8")
    section = page[page.index("What to watch\n-----") :]
    assert set(re.findall(r"``(TornadIO\w+)``", section)) == alerts()


@pytest.mark.needs("promtool")
def test_alerts_fire_when_they_should_and_not_before():
    promtool = path_of("promtool") or "promtool"
    subprocess.run([promtool, "check", "config", CLUSTER / "prometheus.yml"], check=True, capture_output=True)
    ran = subprocess.run([promtool, "test", "rules", HERE / "alerts_test.yml"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    tested = set(re.findall(r"alertname: (\w+)", (HERE / "alerts_test.yml").read_text("utf-8")))
    assert tested == alerts()
