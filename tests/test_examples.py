"""The examples as programs: their option for the Flash policy; the tests beside them; and the client of the feed. Their
pages: tests/browser.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.appserver import AppServer, free_port, quiet_environment
from tests.pytestruns import STRICT, run_pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
REQUEST = b"<policy-file-request/>\0"
every_example = pytest.mark.parametrize("name", ["chatroom", "ping", "transports"])

StartServer = Callable[..., AppServer]


def script(name: str) -> Path:
    return EXAMPLES / name / f"{name}.py"


def answer(port: int, request: bytes) -> bytes:
    """All that a server says to a request, until it closes the connection."""
    with socket.create_connection(("localhost", port), timeout=30) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as received:
            return received.read()


def assert_serves(server: AppServer) -> None:
    """Pages, and the Flash policy on the main port."""
    page = answer(server.port, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert page.startswith(b"HTTP/1.1 200 OK")
    assert b"<!DOCTYPE html>" in page or b"<!doctype html>" in page
    assert b"<cross-domain-policy>" in answer(server.port, REQUEST)


@every_example
def test_the_flash_policy_is_served_on_the_port_that_is_asked_for(name: str, app_server: StartServer) -> None:
    port = free_port()
    server = app_server(script(name), f"--flash-policy-port={port}")
    assert_serves(server)  # first: it listens there a moment before it does on the other port
    policy = answer(port, REQUEST)
    assert f'<allow-access-from domain="*" to-ports="{server.port}"/>'.encode() in policy
    assert "WARNING" not in server.output().upper()


@every_example
def test_a_policy_port_that_can_not_be_bound_is_told_and_the_example_runs_on(
    name: str, app_server: StartServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = app_server(script(name), f"--flash-policy-port={port}")
        assert_serves(server)
    assert f"no Flash policy server on port {port}" in server.output()
    assert server.terminate() == 0


def test_the_transports_example_asks_for_the_port_of_flash_and_runs_on_without_it(app_server: StartServer) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # it is taken, or not for us: nor is it for the example, then
            stack.enter_context(socket.create_server(("127.0.0.1", 843)))
        server = app_server(script("transports"))
        assert_serves(server)
    output = server.output()
    assert "no Flash policy server on port 843" in output
    assert "start as root" in output


@pytest.mark.parametrize("name", ["chatroom", "ping"])
def test_the_others_serve_the_policy_on_their_own_port_alone(name: str, app_server: StartServer) -> None:
    server = app_server(script(name))
    assert_serves(server)
    assert "Flash" not in server.output()


@pytest.mark.parametrize("name", ["chatroom", "feed", "ping", "transports"])
def test_the_tests_beside_an_example_pass(name: str, tmp_path: Path) -> None:
    output = run_pytest(tmp_path, EXAMPLES / name, settings=STRICT).stdout
    assert re.search("^[0-9]+ passed in", output, re.MULTILINE), output


# The feed's client

ENVIRONMENT = quiet_environment() | {"TERM": "xterm", "NO_COLOR": "1"}


@pytest.fixture
def feed(app_server: StartServer) -> AppServer:
    return app_server(script("feed"))


def watch_command(server: AppServer, *arguments: str) -> list[str]:
    watch = EXAMPLES / "feed" / "watch.py"
    return [sys.executable, str(watch), f"--url=ws://localhost:{server.port}/socket.io", *arguments]


def run_watch(server: AppServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = watch_command(server, *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)


def test_watch_writes_a_line_for_each_quote_into_a_pipe(feed: AppServer) -> None:
    result = run_watch(feed, "OTTER", "COMET", "--seconds=3")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) > 3
    for line in lines:
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} (OTTER \d+\.\d\d|COMET \d+\.\d) [+-]\d+\.\d\d %", line
        )


def test_watch_draws_sparklines_on_a_terminal(feed: AppServer) -> None:
    ours, theirs = pty.openpty()
    command = watch_command(feed, "OTTER", "COMET")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=ENVIRONMENT) as process:
        os.close(theirs)
        drawn = ""
        decoder = codecs.getincrementaldecoder("utf-8")()
        while "\x1b[2A" not in drawn:  # back to the first of two lines
            drawn += decoder.decode(os.read(ours, 4096))
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # its end
            while data := os.read(ours, 4096):
                drawn += decoder.decode(data)
    os.close(ours)
    assert process.returncode == 130
    assert re.search("OTTER .*[▁▂▃▄▅▆▇█]{8}.*Otter River Ferries 🛶", drawn)
    assert drawn.endswith("\x1b[?25h\x1b[?7h")
    assert "Traceback" not in drawn


def test_watch_measures_many_subscribers(feed: AppServer) -> None:
    result = run_watch(feed, "--load=50", "--seconds=2")
    assert (result.returncode, result.stderr) == (0, "")
    first, rate, latency, errors = result.stdout.splitlines()
    assert first.startswith("50 of 50 subscribers after ")
    assert (match := re.match(r"([\d,]+) messages/s, ", rate))
    assert int(match[1].replace(",", "")) > 20
    assert re.fullmatch(r"latency median [\d.]+ ms, 95 % [\d.]+ ms, 99 % [\d.]+ ms, slowest [\d.]+ ms", latency)
    assert errors == "no errors"


def test_watch_says_what_went_wrong(feed: AppServer) -> None:
    unknown = run_watch(feed, "NO")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("watch.py: There is no instrument 'NO': there are ACME,")
    feed.kill()
    nobody = run_watch(feed, "--load=2")
    assert nobody.returncode == 1
    assert nobody.stdout.startswith("0 of 2 subscribers after ")
    assert "2 times ConnectError: " in nobody.stdout
