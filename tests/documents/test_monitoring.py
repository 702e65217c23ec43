"""docs/monitoring.rst: its programs run, and its tables are those of the code."""

from __future__ import annotations

import asyncio
from typing import Any

import tornadio
from tests.clients import greeted
from tests.documents.pages import Page, table_rows
from tests.documents.programs import SO_FAR, status_of
from tornadio.closecodes import CLOSED_REASONS
from tornadio.observability.families import OF_ROUTERS, OF_SERVERS
from tornadio.observability.metrics import PROCESS_FAMILIES
from tornadio.sessions.counters import REFUSED_REASONS
from tornadio.web import fastconnection

PAGE = Page("docs/monitoring.rst")


@PAGE.runs("From the program")
async def test_figures_are_logged_once_a_minute(serve, clock, caplog, code):
    names: dict[str, Any] = {}
    exec(code, names)
    served = serve()
    with caplog.at_level("INFO"):
        logging = asyncio.ensure_future(names["log_once_a_minute"](served.server))
        await clock.advance(45)
        await greeted(served)
        await clock.advance(15)
        logging.cancel()
    assert "1 connections, 0 bytes wait for the slowest, heartbeats come back after 0.000 s" in caplog.messages


@PAGE.runs("With Prometheus", 0)
async def test_the_figures_are_at_metrics(serve_program, code):
    server = serve_program(SO_FAR + code)
    assert await status_of(server, "/metrics") == 200


@PAGE.runs("With Prometheus", 1)
async def test_a_prometheus_on_another_host_is_let_in(serve, code):
    names: dict[str, Any] = {"tornadio": tornadio}
    exec(code, names)
    served = serve(handlers=[names["metrics"]], server={"xheaders": True})
    assert (await served.request("GET", "/metrics", {"X-Real-Ip": "10.0.0.5"})).status == 200
    assert (await served.request("GET", "/metrics", {"X-Real-Ip": "10.0.0.6"})).status == 403
    assert (await served.request("GET", "/metrics")).status == 403


@PAGE.runs("The live page")
async def test_the_live_page_is_for_whom_authorize_lets_in(serve_program, code):
    server = serve_program(SO_FAR + code)
    assert await status_of(server, "/monitor/") == 403


def test_the_page_has_every_metric():
    families = (*dict(OF_ROUTERS), *dict(OF_SERVERS), *PROCESS_FAMILIES)
    labels = {family: [name for name in family.labels if name != "router"] for family in families}
    rows = [[" ".join(cell.split()) for cell in row] for row in table_rows("The metrics", PAGE.path)]
    assert rows == [[family.exposed_name, family.kind, ", ".join(labels[family]), family.help] for family in families]


def test_the_page_has_every_reason():
    kept = {"kept", "tls"}
    of_tornado = {value for name, value in vars(fastconnection).items() if name.isupper() and isinstance(value, str)}
    rows = [name for name, _meaning in table_rows("Reasons", PAGE.path)]
    assert rows == sorted(REFUSED_REASONS) + sorted(CLOSED_REASONS) + sorted(of_tornado | kept)
