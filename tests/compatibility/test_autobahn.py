"""The Autobahn testsuite against the library's WebSocket layer: its cases 1 to 7, 246 of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.appserver import AppServer
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
SECONDS: Final = 240


@pytest.fixture(scope="module")
def echo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    script = Path(__file__).with_name("echo_server.py")
    server = AppServer(script, (), tmp_path_factory.mktemp("echo") / "output.txt")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def results(echo_server: AppServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the testsuite says of each case, by its number."""
    autobahn = autobahn_testsuite.installed()
    directory = tmp_path_factory.mktemp("autobahn")
    specification = {
        "outdir": str(directory),
        "servers": [{"agent": "TornadIO", "url": f"ws://127.0.0.1:{echo_server.port}/"}],
        "cases": [f"{part}.*" for part in PARTS],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (directory / "specification.json").write_text(json.dumps(specification), encoding="utf-8")
    command: list[str | Path] = [autobahn.python, autobahn.wstest, "--mode=fuzzingclient", "--spec=specification.json"]
    wstest = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | autobahn.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    index = directory / "index.json"
    assert index.exists(), wstest.stdout
    return dict(json.loads(index.read_text(encoding="utf-8"))["TornadIO"])


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(part, marks=pytest.mark.compatibility(scenario=f"{part} {title}, {count} cases"), id=title)
        for part, (title, count) in PARTS.items()
    ],
)
@pytest.mark.compatibility(client="Autobahn testsuite 25.10.1", transport="websocket")
def test_the_autobahn_testsuite(results, part):
    cases = {number: result for number, result in results.items() if number.partition(".")[0] == part}
    assert len(cases) == PARTS[part][1]
    # Informational are cases on which RFC 6455 leaves the choice.
    fine = {"OK", "INFORMATIONAL"}
    assert {
        number: result for number, result in cases.items() if not {result["behavior"], result["behaviorClose"]} <= fine
    } == {}
