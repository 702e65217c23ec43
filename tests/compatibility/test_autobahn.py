"""The Autobahn testsuite against the library's WebSocket layer, as server and as client: its cases 1 to 7, 246 of them,
and of the 216 of permessage-deflate, 12 and 13, which send a thousand messages each, those of two sizes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.appserver import REPOSITORY, AppServer, Daemon, free_port
from tests.compatibility import autobahn_testsuite

# What a part of the suite is about, and how many cases it has.
PARTS: Final = {
    "1": ("framing", 16),
    "2": ("pings and pongs", 11),
    "3": ("reserved bits", 7),
    "4": ("opcodes", 10),
    "5": ("fragmentation", 20),
    "6": ("UTF-8", 145),
    "7": ("closing", 37),
}
# And of how many kinds of data, or of offers, there are 18 cases each in the parts about compression.
COMPRESSION: Final = {"12": ("compression", 5), "13": ("compression with context takeover", 7)}
# Of the 18 these: messages of 1 KiB, and of 8 KiB in fragments of 256 bytes. The largest of the others, of 128 KiB,
# take a minute each, nearly all of it the testsuite's own.
SIZES: Final = ("4", "11")
SECONDS: Final = 240

# The agents, which are the server's paths and the client's names, and the cases of each.
PLAIN, COMPRESSED, TAKEOVER = "TornadIO", "compressed", "takeover"
CASES: Final = {
    PLAIN: [f"{part}.*" for part in PARTS],
    COMPRESSED: [f"12.{kind}.{size}" for kind in range(1, 6) for size in SIZES],
    TAKEOVER: [f"13.{kind}.{size}" for kind in range(1, 8) for size in SIZES],
}

SCENARIOS: Final = {
    **{part: f"{title}, {count} cases" for part, (title, count) in PARTS.items()},
    **{part: f"{title}, {kinds * len(SIZES)} of {kinds * 18} cases" for part, (title, kinds) in COMPRESSION.items()},
}

every_part = pytest.mark.parametrize(
    "part",
    [
        pytest.param(part, marks=pytest.mark.compatibility(scenario=f"{part} {scenario}"), id=scenario.split(",")[0])
        for part, scenario in SCENARIOS.items()
    ],
)


def check(results: dict[str, Any], part: str) -> None:
    cases = {number: result for number, result in results.items() if number.partition(".")[0] == part}
    assert len(cases) == (PARTS[part][1] if part in PARTS else COMPRESSION[part][1] * len(SIZES))
    # Informational are cases on which RFC 6455 leaves the choice.
    fine = {"OK", "INFORMATIONAL"}
    assert {
        number: result for number, result in cases.items() if not {result["behavior"], result["behaviorClose"]} <= fine
    } == {}


def specify(directory: Path, specification: dict[str, Any]) -> None:
    specification |= {"outdir": str(directory), "exclude-cases": [], "exclude-agent-cases": {}}
    (directory / "specification.json").write_text(json.dumps(specification), encoding="utf-8")


def results_in(directory: Path, agent: str, output: str) -> dict[str, Any]:
    """What the testsuite says of each case, by its number."""
    index = directory / "index.json"
    assert index.exists(), output
    return dict(json.loads(index.read_text(encoding="utf-8"))[agent])


def run(directory: Path, *command: str | Path, **environment: str) -> str:
    """Run a program to its end: what it has written."""
    return subprocess.run(
        command,
        cwd=directory,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    ).stdout


# -- The server --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def echo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    script = Path(__file__).with_name("echo_server.py")
    server = AppServer(script, (), tmp_path_factory.mktemp("echo") / "output.txt")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def server_results(echo_server: AppServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    autobahn = autobahn_testsuite.installed()
    results: dict[str, Any] = {}
    for agent, cases in CASES.items():
        directory = tmp_path_factory.mktemp("autobahn")
        specify(
            directory,
            {"servers": [{"agent": agent, "url": f"ws://127.0.0.1:{echo_server.port}/{agent}"}], "cases": cases},
        )
        mode = ("--mode=fuzzingclient", "--spec=specification.json")
        output = run(directory, autobahn.python, autobahn.wstest, *mode, **autobahn.environment)
        results |= results_in(directory, agent, output)
    return results


@every_part
@pytest.mark.compatibility(client="Autobahn testsuite 25.10.1", transport="websocket")
def test_the_autobahn_testsuite(server_results, part):
    check(server_results, part)


# -- The client --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    autobahn = autobahn_testsuite.installed()
    script = Path(__file__).with_name("echo_client.py")
    results: dict[str, Any] = {}
    for agent, cases in CASES.items():
        directory = tmp_path_factory.mktemp("autobahn")
        port = free_port()
        specify(directory, {"url": f"ws://127.0.0.1:{port}", "cases": cases})
        command = ["env", *(f"{name}={value}" for name, value in autobahn.environment.items()), autobahn.python]
        command += [str(autobahn.wstest), "--mode=fuzzingserver", f"--spec={directory / 'specification.json'}"]
        server = Daemon("the Autobahn testsuite", [*command, "--webport=0"], port, directory / "output.txt")
        server.start()
        try:
            output = run(directory, sys.executable, script, str(port), agent, PYTHONPATH=str(REPOSITORY))
        finally:
            server.kill()
        results |= results_in(directory, agent, output + server.output())
    return results


@every_part
@pytest.mark.compatibility(client="Autobahn testsuite 25.10.1, for clients", transport="websocket")
def test_the_autobahn_testsuite_for_clients(client_results, part):
    check(client_results, part)
