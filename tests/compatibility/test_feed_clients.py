"""Market-data clients of today, which speak this framing, unmodified: they log in, receive quotes, answer heartbeats.

They run side by side in a network namespace of their own, whose only names are those of its hosts file and whose only
addresses are the loopback's, so that nothing of what they send can leave.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.appserver import REPOSITORY
from tests.compatibility import feed_programs
from tests.compatibility.feed_server import EMOJI, HOSTS
from tests.compatibility.table import Scenario
from tests.programs import path_of

HERE: Final = Path(__file__).resolve().parent
SECONDS_CONNECTED: Final = 40
HEARTBEATS: Final = 6  # of 8: one is due when nothing else came from a client, a WebSocket ping for instance
SECONDS: Final = 300  # for a broken test
WEBSITE: Final = "https://www.tradingview.com"
SERVER: Final = "https://data.tradingview.com"


@dataclasses.dataclass(frozen=True)
class Client:
    """What a client is known to do: where it comes from, and what it counts as a message's length."""

    registry: str
    name: str
    origin: str = SERVER
    lengths: str = "ASCII alone"
    offers_compression: bool = False
    logs_in: bool = True
    shows_description: bool = True  # else of its quotes' texts only the symbol

    def __str__(self) -> str:
        return f"{self.name} ({self.registry})"


FOLLOWERS: Final = [
    Client("npm", "@mathieuc/tradingview", WEBSITE, "UTF-16 code units", offers_compression=True),
    Client("npm", "tradingview-scraper", SERVER, "UTF-16 code units", offers_compression=True, logs_in=False),
    Client("PyPI", "pytradingview", "https://s.tradingview.com"),
    Client("PyPI", "tradingview-api", WEBSITE, offers_compression=True, logs_in=False),
    Client("PyPI", "tradingview-scraper", logs_in=False),
    Client("PyPI", "tradingview-sdk", WEBSITE, offers_compression=True),
    Client("PyPI", "tradingview-ws", shows_description=False),
    Client("PyPI", "tv-scraper", shows_description=False),
]
SILENT: Final = Client("PyPI", "tv-live", logs_in=False)
TWO_ORIGINS: Final = Client("PyPI", "tradingview-api-python")
CLIENTS: Final = [*FOLLOWERS, SILENT, TWO_ORIGINS]


def in_table(client: Client) -> pytest.MarkDecorator:
    """A client as the parameter of a test, and as a row of the table."""
    return pytest.mark.compatibility(client=str(client), transport="websocket, TLS")


pytestmark = pytest.mark.needs("ip", "namespaces")

Report = dict[str, Any]


@pytest.fixture(scope="module")
def reports(node: str, node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """What each client did."""
    directory = tmp_path_factory.mktemp("feed")
    authority = trustme.CA()
    trusted, certificate, hosts = directory / "authority.pem", directory / "server.pem", directory / "hosts"
    authority.cert_pem.write_to_path(trusted)
    authority.issue_cert(*HOSTS).private_key_and_cert_chain_pem.write_to_path(certificate)
    hosts.write_text(f"127.0.0.1 localhost {' '.join(HOSTS)}\n", encoding="ascii")
    commands = {
        "npm": [node, HERE / "feed_clients.js"],
        "PyPI": [feed_programs.installed(), "-W", "ignore", HERE / "feed_clients.py"],
    }
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": directory,
        "PYTHONUTF8": "1",
        "NODE_PATH": node_modules,
        "NODE_EXTRA_CA_CERTS": trusted,
        "SSL_CERT_FILE": trusted,
        "REQUESTS_CA_BUNDLE": trusted,
    }
    specification = {
        "certificate": certificate,
        "seconds": SECONDS_CONNECTED,
        "environment": environment,
        "clients": {str(client): [*commands[client.registry], client.name] for client in CLIENTS},
    }
    (directory / "specification.json").write_text(json.dumps(specification, default=str), encoding="utf-8")
    reports: dict[str, Report] = json.loads(run_alone(hosts, HERE / "feed_scene.py", directory / "specification.json"))
    return reports


def run_alone(hosts: Path, script: Path, *arguments: Path) -> str:
    """Run a script of ours in namespaces of its own, and return its output. What it starts ends with it."""
    ip = path_of("ip") or "ip"
    commands: list[list[str | Path]] = [
        [ip, "link", "set", "lo", "up"],
        ["mount", "--bind", hosts, "/etc/hosts"],
        ["exec", sys.executable, script, *arguments],
    ]
    inside = "\n".join(shlex.join(map(str, command)) for command in commands)
    ran = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", inside],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("client", [pytest.param(each, marks=in_table(each), id=str(each)) for each in FOLLOWERS])
def test_a_client_follows_the_feed(client: Client, reports: dict[str, Report], scenario: Scenario) -> None:
    report = reports[str(client)]
    assert "connections" in report, report["errors"]
    with scenario("handshake"):
        assert report["origins"] == [client.origin]
        assert report["is_compressed"] == client.offers_compression
    if client.logs_in:
        with scenario("logs in over HTTPS"):
            assert report["has_token"], report["errors"]
    with scenario("sends JSON without a mark"):
        assert (report["json"], report["lengths"]) == ("bare", client.lengths)
    with scenario("quotes with emoji"):
        [text] = report["texts"]
        assert EMOJI in text
        assert text.startswith(EMOJI) == client.shows_description
        assert report["quotes"] >= 10
    with scenario("answers each heartbeat once, for 40 s"):
        assert report["seconds"] >= SECONDS_CONNECTED
        assert len(report["answers"]) >= HEARTBEATS, report["errors"]
        assert report["answers"] == list(range(1, len(report["answers"]) + 1))
    with scenario("still connected, and receives quotes"):
        assert (report["connections"], report["closed"], report["heard_late"]) == (1, None, True), report["errors"]


@in_table(SILENT)
def test_a_client_that_answers_no_heartbeat_and_sends_what_is_no_frame(reports: dict[str, Report]) -> None:
    report = reports[str(SILENT)]
    assert report["quotes"] >= 10, report["errors"]
    assert report["answers"] == []
    code, reason = report["closed"]
    assert (code, "'2'" in reason) == (1007, True), reason  # before the heartbeats' time is over


@in_table(TWO_ORIGINS)
def test_a_client_that_sends_two_origins_is_told_so(reports: dict[str, Report]) -> None:
    report = reports[str(TWO_ORIGINS)]
    assert "connections" not in report
    assert "this request has two different Origin headers: send one" in report["errors"]
