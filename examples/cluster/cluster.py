"""The chatroom on three processes: Redis between them, HAProxy in front, all on this machine.

Start it with `python3 cluster.py` and open http://localhost:8000/ in two windows. Who is served by which process stands
in the terminal, as does the address of the monitor, which shows all three side by side. Kill one of them, `kill -9` and
its number, and its people are back over another in a moment. Ctrl-C ends it all.

HAProxy runs with the haproxy.cfg that stands here, but for the addresses in it.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from tornado.options import define, options, parse_command_line

HERE = Path(__file__).resolve().parent
CHATROOM = HERE.parent / "chatroom" / "chatroom.py"
NODES = "abc"
START_SECONDS = 30
STOP_SECONDS = 20

# The addresses that haproxy.cfg and nginx.conf listen on and connect to, by what they are for.
DOCUMENTED = {"web": 80, "flash": 8843, "a": 8001, "b": 8002, "c": 8003}
PACKAGES = {"redis-server": "redis-server", "haproxy": "haproxy", "nginx": "nginx"}
NOISE = ("GET /health", "[WARNING]")  # HAProxy asks often, and says everything twice

define("port", 8000, int, "the one address to open is on this port, 0 means any that is free")
define("browser", True, bool, "open it")


class Failed(Exception):
    """The cluster can't go on; the text tells people why."""


def program(name: str) -> str:
    """The path of a program that has to be there."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise Failed(f"{name} is missing. Install it with: sudo apt-get install {PACKAGES[name]}")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def adapted(configuration: Path, ports: Mapping[str, int]) -> str:
    """A configuration of this directory with other ports, and listening on loopback alone."""
    of = {DOCUMENTED[name]: port for name, port in ports.items()}

    def listening(match: re.Match[str]) -> str:
        return f"{match[1]}127.0.0.1:{of[int(match[2])]}"

    text = re.sub(r"^( *bind |  *listen ):?(\d+)(?=;?$)", listening, configuration.read_text("utf-8"), flags=re.M)
    return re.sub(r"(?<= 127\.0\.0\.1:)(\d+)\b", lambda match: str(of.get(int(match[1]), int(match[1]))), text)


class Cluster:
    """Programs that end together, and what they say, with their names before it."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.stopping = threading.Event()

    def start(self, name: str, *command: str, port: int) -> None:
        """Start a program and wait until it listens."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for this program, which stops the others in their order
        )
        self.processes[name] = process
        print(f"{name} is process {process.pid}", flush=True)
        assert process.stdout is not None
        threading.Thread(target=self._show, args=(name, process.stdout), daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{name} did not start: see above")
            if self.stopping.wait(0.1):
                raise Failed("stopped while starting")

    def _show(self, name: str, output: IO[str]) -> None:
        for line in output:
            if not any(noise in line for noise in NOISE):
                print(f"{name:>8} | {line}", end="", flush=True)

    def wait(self) -> None:
        """Wait until somebody stops the cluster, and say so when one of its processes ends."""
        told: set[str] = set()
        while not self.stopping.wait(0.5):
            ended = {name for name, process in self.processes.items() if process.poll() is not None} - told
            for name in sorted(ended):
                print(f"{name} has ended with status {self.processes[name].returncode}", flush=True)
            told |= ended
            if {"redis", "haproxy"} & ended:
                raise Failed("nothing works without it")

    def stop(self) -> None:
        """Stop all: the chatrooms first, which say goodbye, then what they need."""
        names = list(self.processes)
        for group in ([name for name in names if name not in ("redis", "haproxy")], ["haproxy"], ["redis"]):
            processes = [self.processes[name] for name in group if name in self.processes]
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def running(port: int) -> Iterator[Cluster]:
    """The whole cluster, behind one port."""
    redis_server, haproxy = program("redis-server"), program("haproxy")
    cluster = Cluster()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: cluster.stopping.set())
    ports = {name: free_port() for name in ("flash", *NODES)} | {"web": port}
    redis_port = free_port()
    os.environ["OPERATOR_KEY"] = secrets.token_urlsafe(16)  # not on the command lines, which everybody here can read
    bus = f"redis://127.0.0.1:{redis_port}/0"
    with tempfile.TemporaryDirectory() as directory:
        try:
            configuration = Path(directory, "haproxy.cfg")
            configuration.write_text(adapted(HERE / "haproxy.cfg", ports), "utf-8")
            options_of_redis = ("--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", directory)
            cluster.start("redis", redis_server, *options_of_redis, port=redis_port)
            for node in NODES:
                chatroom = (sys.executable, str(CHATROOM), f"--port={ports[node]}", "--address=127.0.0.1")
                settings = (f"--bus={bus}", f"--node={node}", "--xheaders=127.0.0.1", "--drain_delay=2")
                cluster.start(f"chat {node}", *chatroom, *settings, port=ports[node])
            cluster.start("haproxy", haproxy, "-f", str(configuration), port=port)
            yield cluster
        finally:
            cluster.stop()


def main() -> None:
    parse_command_line()
    port = options.port or free_port()
    try:
        if listens(port):
            raise Failed(f"something listens on port {port} already: choose another with --port")
        with running(port) as cluster:
            url = f"http://localhost:{port}/"
            print(f"Chatroom: open {url}", flush=True)
            print(f"Monitor: open {url}operator/{os.environ['OPERATOR_KEY']}", flush=True)
            if options.browser:
                webbrowser.open(url)
            cluster.wait()
    except Failed as failed:
        sys.exit(f"cluster.py: {failed}")


if __name__ == "__main__":
    main()
