"""Starts servers, has wsbench load them, and collects what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.contestants import Mode, Server

HERE: Final = Path(__file__).resolve().parent
_START_SECONDS: Final = 20
_GENERATOR_SECONDS: Final = 180  # beyond those that it measures
_REST_SECONDS: Final = 0.15
# After so long the memory of new connections has come to rest; after so long each has had a heartbeat of 12 seconds.
SETTLING_SECONDS: Final = 1.2
_FRESH_ROUNDS: Final = 3

# Below the range that outgoing connections take theirs from.
_PORTS: Final = range(10_000, 20_000)

Figures = dict[str, Any]
Place = tuple[int, int]  # port and process id


class GeneratorError(Exception):
    """wsbench can't be compiled, or says nothing that can be understood."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure; the cores are numbers, times are seconds."""

    rounds: int
    seconds: float
    warmup: float
    connections: int | None  # in place of as many as a mode has, if it has more
    heartbeats: float  # seconds of that mode
    server_core: int
    generator_core: int
    node: str
    directory: Path  # for the compiled generator and the servers' output


@dataclasses.dataclass(frozen=True)
class Run:
    """One server in one round of a mode, and what wsbench said of it."""

    server: str
    mode: str
    round: int
    figures: Figures

    @property
    def bad(self) -> str:
        """What was wrong, `''` for nothing."""
        bad, errors, error = (self.figures.get(name) for name in ("bad", "errors", "error"))
        return f"{bad} bad answers, {errors} errors {error}".strip() if bad or errors else ""


def compile_generator(target: Path) -> Path:
    """Compile wsbench to `target`, unless that is newer than its sources."""
    sources = sorted((HERE / "wsbench").glob("*.c"))
    newest = max(path.stat().st_mtime for path in (HERE / "wsbench").iterdir())
    if target.exists() and target.stat().st_mtime > newest:
        return target
    command = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target), *map(str, sources)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        raise GeneratorError(f"{' '.join(command)} failed:\n{result.stdout}")
    return target


def compile_package(target: Path) -> Path:
    """Install TornadIO compiled to `target`, unless that is newer than its sources."""
    newest = max(path.stat().st_mtime for path in [HERE.parent / "compiling.py", *HERE.parent.glob("tornadio/**/*.py")])
    if target.exists() and target.stat().st_mtime > newest:
        return target
    shutil.rmtree(target, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(target),
        str(HERE.parent),
    ]
    subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"TORNADIO_COMPILE": "1"})
    return target


def on_core(core: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


class Track:
    """The servers of one mode, and the rounds that visit them in turn, so that noise hits all alike."""

    def __init__(self, options: Options, wsbench: Path) -> None:
        self._options = options
        self._wsbench = str(wsbench)
        self.failures: dict[str, str] = {}

    def measure(self, mode: Mode, servers: Sequence[Server]) -> Iterator[Run]:
        """All rounds of a mode."""
        taking_part = [server for server in servers if mode.name in server.modes]
        yield from (self._measure_fresh if mode.fresh else self._measure_warm)(mode, taking_part)

    def _measure_warm(self, mode: Mode, servers: Sequence[Server]) -> Iterator[Run]:
        with contextlib.ExitStack() as stack:
            running = []
            for server in servers:
                place = stack.enter_context(self._started(server, mode))
                if place is not None:
                    running.append((server, place))
            for round_ in range(self._options.rounds):
                first = round_ % max(len(running), 1)
                for server, place in running[first:] + running[:first]:
                    yield Run(server.name, mode.name, round_, self._load(server, mode, place))
                    time.sleep(_REST_SECONDS)

    def _measure_fresh(self, mode: Mode, servers: Sequence[Server]) -> Iterator[Run]:
        rounds = 1 if mode.name == "heartbeats" else min(self._options.rounds, _FRESH_ROUNDS)
        for round_ in range(rounds):
            for server in servers:
                with self._started(server, mode) as place:
                    if place is not None:
                        self.break_in(server, place, mode.arguments, mode.path)
                        yield Run(server.name, mode.name, round_, self._load(server, mode, place))

    def _started(self, server: Server, mode: Mode) -> contextlib.AbstractContextManager[Place | None]:
        return self.started(server, *(server.heartbeats if mode.name == "heartbeats" else ()))

    @contextlib.contextmanager
    def started(self, server: Server, *arguments: str, is_pinned: bool = True) -> Iterator[Place | None]:
        """A server that accepts connections, `None` if it doesn't.

        :param is_pinned: to the servers' core; else it has all there are.
        """
        port = free_port()
        programs = {"python": sys.executable, "node": self._options.node, "wsbench": self._wsbench}
        command = [part.format(**programs) for part in server.command]
        command += ["--port", str(port), *arguments]
        path = [HERE.parent]
        if server.is_compiled:
            path.insert(0, compile_package(Path(sys.prefix, "compiled")))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
        output = self._options.directory / f"{server.name}.log"
        with output.open("ab") as file:
            process = subprocess.Popen(
                on_core(self._options.server_core, command) if is_pinned else command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                cwd=HERE / "servers",
            )
        try:
            if wait_for(process, port):
                yield port, process.pid
            else:
                lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                self.failures[server.name] = f"did not start: {lines[-1] if lines else 'it said nothing'}"
                yield None
        finally:
            process.kill()
            process.wait()

    def _load(self, server: Server, mode: Mode, place: Place) -> Figures:
        options = self._options
        seconds, warmup = options.seconds, options.warmup
        if mode.fresh:
            warmup = SETTLING_SECONDS
        if mode.name == "heartbeats":
            seconds = options.heartbeats
        arguments = [*mode.arguments, *self._fewer_connections(mode), "-t", str(seconds), "--warmup", str(warmup)]
        figures = self.generate(server, place, arguments, mode.path)
        return with_heartbeats(figures) if mode.name == "heartbeats" else figures

    def break_in(self, server: Server, place: Place, arguments: Sequence[str], path: str = "") -> None:
        """Have a server serve some clients: what the first ones alone cost is no connection's."""
        self.generate(server, place, [*arguments, "-c", "50", "-t", "0.2", "--warmup", "0.2"], path)

    def generate(self, server: Server, place: Place, arguments: Sequence[str], path: str = "") -> Figures:
        """Load a server: what wsbench says.

        :param path: that of a transport where it isn't the server's own.
        """
        limit = float(arguments[arguments.index("-t") + 1]) + _GENERATOR_SECONDS
        try:
            result = subprocess.run(
                self._generator(server, place, arguments, path),
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return _failed(error)
        return _figures_of(result.stdout)

    @contextlib.contextmanager
    def holding(self, server: Server, place: Place, arguments: Sequence[str], path: str = "") -> Iterator[Figures]:
        """Load a server as `generate` does, and keep the connections while the context lasts.

        What wsbench has said is given to the context. When that is over, it is what wsbench says then: what was wrong
        meanwhile is in it, and what was measured before is as it was.
        """
        command = self._generator(server, place, [*arguments, "--hold"], path)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                figures = _figures_of(process.stdout.readline())
                yield figures
                output, _ = process.communicate(timeout=_GENERATOR_SECONDS)  # which ends stdin
                figures.update(_figures_of(output))
            except subprocess.TimeoutExpired as error:
                figures.update(_failed(error))
            finally:
                process.kill()

    def _generator(self, server: Server, place: Place, arguments: Sequence[str], path: str) -> list[str]:
        port, process = place
        command = [self._wsbench, "--profile", server.profile, "--path", path or server.path]
        command += [*(() if path else server.generator), "--port", str(port), "--server", str(process), *arguments]
        return on_core(self._options.generator_core, command)

    def _fewer_connections(self, mode: Mode) -> list[str]:
        connections = int(mode.arguments[mode.arguments.index("-c") + 1])
        most = self._options.connections
        return [] if most is None or connections <= most else ["-c", str(most)]


def _figures_of(line: str) -> Figures:
    try:
        figures: Figures = json.loads(line)
    except ValueError as error:
        return _failed(error)
    return figures


def _failed(error: Exception) -> Figures:
    return {"bad": 0, "errors": 1, "error": f"the generator has failed: {error}"}


def with_heartbeats(figures: Figures) -> Figures:
    """The figures; they are bad if a connection had no heartbeat."""
    if figures.get("heartbeats") or figures["errors"]:
        return figures
    return figures | {"bad": figures["bad"] + 1, "error": "there are connections without a heartbeat"}


def raise_descriptor_limit() -> int:
    """Allow this process, and those that it starts, as many file descriptors as it may: how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def wait_for(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether a server accepts connections: soon, or it has ended."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process.poll() is None
    return False


@contextlib.contextmanager
def served(core: int, program: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """Port and process id of a server of servers/, which is given the port as `--port`."""
    port = free_port()
    command = [sys.executable, str(HERE / "servers" / program), "--port", str(port), *arguments]
    process = subprocess.Popen(
        on_core(core, command), stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(HERE.parent)}
    )
    try:
        if not wait_for(process, port):
            raise RuntimeError(f"{program} did not start")
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, nor those behind it as a rule."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
