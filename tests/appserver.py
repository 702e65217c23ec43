"""Servers in processes of their own, for the tests that start whole programs."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Final

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Generous, because the machine may be busy: a test waits for events, and only a broken one ever waits this long.
START_SECONDS = 60
STOP_SECONDS = 30

# A line that asyncio's debugging writes, in whatever form the program logs.
_SLOW_CALLBACK: Final = re.compile(r"^.*Executing <.*> took [0-9.]+ seconds\n", re.MULTILINE)


def quiet_environment() -> dict[str, str]:
    """The environment of a program that has to write nothing to its standard error. In asyncio's debug mode there is a
    line for each callback that is slow, on a busy machine any."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"}
    return inherited | {"PYTHONPATH": str(REPOSITORY)}


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
        """All that the process has written to stdout and stderr, over restarts, but for what asyncio's debugging says
        of callbacks that were slow: on a busy machine each may be.
        """
        return _SLOW_CALLBACK.sub("", self._output.read_text(encoding="utf-8", errors="replace"))


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


PORTS: Final = range(20_000, 32_000)
_own_ports: set[int] = set()


@functools.cache
def _reservations() -> IO[bytes]:
    """A file of which each process of tests locks the byte at a port's number: suites run side by side, and between the
    choice of a port and the server that listens there, another could choose it, too. Locks end with their process."""
    return Path(tempfile.gettempdir(), f"tornadio-test-ports-{os.getuid()}").open("wb")


def _reserve(port: int) -> bool:
    if port in _own_ports:
        return False
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _own_ports.add(port)
    return True


def free_port() -> int:
    """A port of no other server of tests, for as long as this process runs."""
    # Not port 0: that is of the range which outgoing connections take theirs from, and while the server is down for a
    # restart, one of them could take its port.
    while True:
        port = random.choice(PORTS)
        if not _reserve(port):
            continue
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
