"""Servers in processes of their own, for the tests that start whole programs."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Generous, because the machine may be busy: a test waits for events, and only a broken one ever waits this long.
START_SECONDS = 60
STOP_SECONDS = 30


class Daemon:
    """A program that serves on a port, which it keeps over restarts."""

    def __init__(self, name: str, command: list[str], port: int, output: Path) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it accepts connections; after `kill` or `terminate` start it again."""
        assert self._process is None, f"{self.name} runs already"
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while not accepts_connections(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"{self.name} did not start to serve on port {self.port}:\n{self.output()}", pytrace=False)
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a power cut would. Does nothing when it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self) -> int:
        """Ask the process to end (SIGTERM), wait until it has, and return its exit status."""
        self.send_signal(signal.SIGTERM)
        return self.wait()

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self.name} does not run"
        self._process.send_signal(number)

    def stop(self) -> None:
        """As `terminate`; does nothing when it has ended."""
        if self._process is not None:
            self.terminate()

    def wait(self) -> int:
        """Wait until the process has ended, and return its exit status."""
        assert self._process is not None, f"{self.name} does not run"
        try:
            return self._process.wait(STOP_SECONDS)
        finally:
            self.kill()

    def output(self) -> str:
        """All that the process has written to stdout and stderr, over restarts."""
        return self._output.read_text(encoding="utf-8", errors="replace")


class AppServer(Daemon):
    """A server of ours, or one like it, on a port of its own.

    `program` is what runs the script.
    """

    def __init__(
        self, script: Path, arguments: tuple[str, ...], output: Path, program: tuple[str, ...] = (sys.executable,)
    ) -> None:
        port = free_port()
        super().__init__(script.name, [*program, str(script), f"--port={port}", *arguments], port, output)
        self.url = f"http://localhost:{port}"


def free_port() -> int:
    # Not port 0: that is of the range which outgoing connections take theirs from, and while the server is down for a
    # restart, one of them could take its port.
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=5).close()
    except OSError:
        return False
    return True
