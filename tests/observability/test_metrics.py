"""`MetricsHandler`: what a scraper reads, and who may."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import prometheus_client
import prometheus_client.openmetrics.parser
import prometheus_client.parser
import pytest
import tornado.web

import tornadio
from tests.clients import exchange, greeted, open_client
from tests.support import ClientStream, Response, Served, shut_down
from tornadio.observability.families import COUNTER, OF_ROUTERS, OF_SERVERS
from tornadio.observability.metrics import PROCESS_FAMILIES

FAMILIES = {family.exposed_name: family for family in (*dict(OF_ROUTERS), *dict(OF_SERVERS), *PROCESS_FAMILIES)}
OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.rst"


def everybody(handler: tornado.web.RequestHandler) -> bool:
    return True


def metrics(**arguments: Any) -> tuple[Any, ...]:
    return (r"/metrics", tornadio.MetricsHandler, arguments)


async def scrape(served: Served, **headers: str | None) -> Response:
    return await served.request("GET", "/metrics", {name.replace("_", "-"): value for name, value in headers.items()})


def samples_of(response: Response) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    is_open = response.headers["content-type"].startswith("application/openmetrics-text")
    parser: Any = prometheus_client.openmetrics.parser if is_open else prometheus_client.parser
    assert response.status == 200, response
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value_of(response: Response, name: str, **labels: str) -> float:
    return samples_of(response)[name, frozenset(labels.items())]


@pytest.mark.parametrize("accept", [OPEN_METRICS, "text/plain;version=0.0.4", None])
async def test_the_figures_are_read_in_the_format_that_is_asked_for(serve, accept):
    served = serve(handlers=[metrics()], settings={"bus": Bus()}, resource="chat/room")
    client = await greeted(Served(served.server, served.router), "websocket") if False else None
    assert client is None
    response = await scrape(served, Accept=accept)
    text = "application/openmetrics-text; version=1.0.0" if accept == OPEN_METRICS else "text/plain; version=0.0.4"
    assert response.headers["content-type"].startswith(text)
    assert response.headers["cache-control"] == "no-store"
    named = set(re.findall(r"^# HELP (\S+)", response.text, re.MULTILINE))
    assert named == {
        family.name if family.kind == COUNTER and accept == OPEN_METRICS else name for name, family in FAMILIES.items()
    }
    assert value_of(response, "tornadio_groups", router="chat/room") == 0
    assert value_of(response, "tornadio_connections_closed_total", router="chat/room", reason="too_slow") == 0
    assert value_of(response, "tornadio_bus_queue_messages", router="chat/room") == 0


class Bus:
    """One that connects nothing."""

    async def publish(self, messages: Any) -> None: ...

    async def subscribe(self, channel: str, receive: Any) -> None: ...

    async def unsubscribe(self, channel: str) -> None: ...

    async def close(self) -> None: ...


async def test_what_has_happened_is_in_the_next_scrape(serve, clock):
    served = serve(handlers=[metrics()])
    client = await greeted(served)
    waiting = await served.start_poll((await greeted(served, "xhr-polling")).session_id)
    await exchange(client, "hello")
    await clock.advance(12)
    await client.echo(1)
    await served.barrier()
    response = await scrape(served)
    labels = {"router": "socket.io", "transport": "websocket", "version": "13"}
    assert value_of(response, "tornadio_connections", **labels) == 1
    assert value_of(response, "tornadio_received_messages_total", **labels) == 1
    assert value_of(response, "tornadio_sent_frames_total", **labels) == 4
    assert value_of(response, "tornadio_heartbeat_round_trip_seconds_bucket", router="socket.io", le="0.001") == 1
    assert value_of(response, "tornadio_polls_waiting", router="socket.io", transport="xhr-polling") == 1
    assert value_of(response, "tornadio_handler_seconds_count", router="socket.io", handler="on_message") == 1
    assert value_of(response, "tornadio_event_loop_lag_seconds_count") == 12
    assert value_of(response, "tornadio_event_loop_lag_seconds_bucket", le="+Inf") == 12
    assert value_of(response, "tornadio_http_requests_total", read_by="tornado", reason="other_handler") >= 1
    assert value_of(response, "process_open_fds") > 5
    assert value_of(response, "process_cpu_seconds_total") > 0
    assert value_of(response, "process_resident_memory_bytes") > 1 << 20
    await waiting.aclose()


async def test_what_the_application_counts_is_read_with_it(serve):
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("rooms_opened", "Rooms", registry=registry).inc(3)
    prometheus_client.Gauge("tornadio_groups", "Another one of that name", registry=registry).set(7)
    served = serve(handlers=[metrics(registry=registry)])
    response = await scrape(served)
    assert value_of(response, "rooms_opened_total") == 3
    assert value_of(response, "tornadio_groups", router="socket.io") == 0
    assert response.text.count("# HELP tornadio_groups") == 1


async def test_two_servers_of_an_application_are_read_together(serve):
    served = serve(handlers=[metrics()])
    [application] = [served.server.request_callback]
    other = tornadio.SocketServer(application, auto_start=False, port=0, address="127.0.0.1")
    both = (served, Served(other, served.router))
    for each in both:
        await open_client(each, "websocket")
    for each in both:
        response = await scrape(each)
        labels = {"router": "socket.io", "transport": "websocket", "version": "13"}
        assert value_of(response, "tornadio_connections", **labels) == 2
        assert value_of(response, "tornadio_http_requests_total", read_by="fast_path", reason="") == 2
    for wire in both[1].wires:
        await wire.aclose()
    await shut_down(other)


# -- Who may read it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:9000"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"X-Forwarded-For": "127.0.0.1"}, 403),
        ({"X-Real-Ip": "192.0.2.1"}, 403),
        ({"Via": "1.1 proxy"}, 403),
    ],
)
@pytest.mark.parametrize("xheaders", [False, True])
async def test_without_authorize_this_machine_alone_may_read(serve, headers, status, xheaders):
    served = serve(handlers=[metrics()], server={"xheaders": xheaders})
    response = await served.request("GET", "/metrics", headers)
    assert response.status == status
    if status == 403:
        assert "tornadio_" not in response.text
        assert "authorize" in response.text


async def test_behind_a_proxy_line_nobody_is_of_this_machine(serve):
    served = serve(handlers=[metrics()], server={"xheaders": ["127.0.0.1"]})
    for who in (b"TCP4 192.0.2.1 192.0.2.2 1 2", b"TCP4 127.0.0.1 127.0.0.1 1 2", b"UNKNOWN"):
        async with asyncio.timeout(30):
            wire: ClientStream = await served.connect()
            await wire.send(b"PROXY " + who + b"\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await wire.read_response()).status == 403


async def test_whom_authorize_lets_in_may_read(serve):
    def by_address(handler: tornado.web.RequestHandler) -> bool:
        return handler.request.remote_ip == "192.0.2.1"

    async def by_password(handler: tornado.web.RequestHandler) -> bool:
        await asyncio.sleep(0)
        return handler.request.headers.get("Authorization") == "Basic secret"

    served = serve(
        handlers=[metrics(authorize=by_address), ("/other", tornadio.MetricsHandler, {"authorize": by_password})],
        server={"xheaders": True},
    )
    assert (await scrape(served)).status == 403
    assert (await scrape(served, X_Real_Ip="192.0.2.1")).status == 200
    assert (await served.request("GET", "/other")).status == 403
    assert (await served.request("GET", "/other", {"Authorization": "Basic secret"})).status == 200
    assert (await served.request("POST", "/other", {"Authorization": "Basic secret"})).status == 405


async def test_scrapes_are_not_in_the_access_log_but_refusals_are(serve, caplog):
    served = serve(handlers=[metrics()])
    with caplog.at_level("INFO", "tornado.access"):
        await scrape(served)
        assert caplog.records == []
        await scrape(served, Host="rebound.example")
    [record] = caplog.records
    assert record.getMessage().startswith("403 GET /metrics")


# -- What is wrong is said when the server starts ----------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{"authorise": everybody}, {"authorize": True}, {"registry": []}])
def test_a_wrong_argument_is_an_error_at_the_start(arguments):
    with pytest.raises(tornadio.SettingsError, match=r"MetricsHandler takes|registry must be"):
        tornadio.SocketServer(tornado.web.Application([metrics(**arguments)]), auto_start=False, port=0)


def test_a_missing_library_is_an_error_at_the_start(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client.exposition", None)
    with pytest.raises(tornadio.SettingsError, match="pip install prometheus_client"):
        tornadio.SocketServer(tornado.web.Application([metrics()]), auto_start=False, port=0)


# -- The page --------------------------------------------------------------------------------------------------------


def test_names_are_as_prometheus_wants_them():
    for name, family in FAMILIES.items():
        assert re.fullmatch(r"(tornadio|process)(_[a-z]+)+", name)
        assert not family.name.endswith("_total")
        assert not family.help.endswith(".")
