"""Compares TornadIO with other servers and clients: tables, chart and figures. See README.rst; run.sh starts it."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import chart, compression, emitters, report, scale
from benchmarks.clients import rounds
from benchmarks.contestants import BASELINE, MODES, SERVERS
from benchmarks.measuring import (
    HERE,
    GeneratorError,
    Options,
    Run,
    Track,
    compile_generator,
    raise_descriptor_limit,
)

RESULTS: Final = HERE / "results"
CHART: Final = HERE.parent / "docs" / "benchmarks.svg"
SCALE_CHART: Final = HERE.parent / "docs" / "scale.svg"


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """An argument's type: names of these, separated by commas."""

    def parse(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return given

    return parse


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.sh", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="one round of a second with few connections, to see that all works")
    add(
        "--servers", type=names(list(SERVERS)), default=list(SERVERS), help="separated by commas: " + ", ".join(SERVERS)
    )
    add("--modes", type=names(list(MODES)), help="separated by commas: " + ", ".join(MODES))
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=1.5, help="of each round")
    add("--emitters", action="store_true", help="measure instead how fast programs without a server send")
    add("--clients", action="store_true", help="measure clients instead of servers")
    add("--compression", action="store_true", help="measure broadcasts with permessage-deflate and without it")
    add("--scale", action="store_true", help="measure what connections and processes cost, up to 50,000 and 4")
    add("--server-core", type=int, default=0)
    add("--generator-core", type=int, default=1)
    add("--node", default="node")
    add("--json", type=Path, help="where the figures go")
    add("--chart", type=Path, help=f"where the chart goes, {CHART.relative_to(HERE.parent)} if all was measured")
    arguments = parser.parse_args()
    name = "scale" if arguments.scale else "latest"
    if arguments.json is None:
        arguments.json = RESULTS / f"{name}.json"
    if arguments.chart is None:
        is_all = not arguments.quick and arguments.modes is None and len(arguments.servers) == len(SERVERS)
        arguments.chart = (SCALE_CHART if arguments.scale else CHART) if is_all else RESULTS / f"{name}.svg"
    if arguments.modes is None:
        arguments.modes = [mode.name for mode in MODES.values() if mode.in_default]
    if BASELINE not in arguments.servers:
        arguments.servers.insert(0, BASELINE)
    return arguments


def options_of(arguments: argparse.Namespace, directory: Path) -> Options:
    quick = arguments.quick
    return Options(
        rounds=1 if quick else arguments.rounds,
        seconds=1.0 if quick else arguments.seconds,
        warmup=0.3 if quick else 0.5,
        connections=1000 if quick else None,
        heartbeats=13.0 if quick else 36.0,  # past one of 12 seconds, or three
        server_core=arguments.server_core,
        generator_core=arguments.generator_core,
        node=arguments.node,
        directory=directory,
    )


def measure(arguments: argparse.Namespace) -> tuple[list[Run], dict[str, str]]:
    """All runs, and the servers that did not start with the reason."""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        wsbench = compile_generator(Path(sys.prefix, "wsbench"))
        track = Track(options_of(arguments, Path(directory)), wsbench)
        servers = [SERVERS[name] for name in arguments.servers]
        for name in arguments.modes:
            for run in track.measure(MODES[name], servers):
                runs.append(run)
                print(f"{name}, round {run.round + 1}: {run.server} {run.bad}".strip(), file=sys.stderr)
            if rows := [row for row in report.rows(runs) if row.mode == name]:  # else none of the servers can do it
                print(f"{MODES[name].title}:", report.details(rows), sep="\n\n", end="\n\n", flush=True)
        return runs, track.failures


def measure_clients(arguments: argparse.Namespace) -> int:
    options = options_of(arguments, RESULTS)
    results = rounds.measure(
        options.server_core, options.generator_core, options.rounds, options.seconds, options.warmup
    )
    print(rounds.tables(results))
    figures = {"versions": versions("tornado", "websockets", "websocket-client", "picows"), "runs": results}
    write(RESULTS / "clients.json", json.dumps(figures, indent=1) + "\n")
    wrong = rounds.wrong(results)
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


def measure_compression(arguments: argparse.Namespace) -> int:
    options = options_of(arguments, RESULTS)
    receivers = 100 if arguments.quick else 1000
    cores = options.server_core, options.generator_core
    print(compression.measure(*cores, options.rounds, options.seconds, receivers))
    return 0


def measure_scale(arguments: argparse.Namespace) -> int:
    descriptors = raise_descriptor_limit()
    plan = scale.QUICK if arguments.quick else scale.full(descriptors)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        wsbench = compile_generator(Path(sys.prefix, "wsbench"))
        held, fleets = scale.measure(Track(options_of(arguments, Path(directory)), wsbench), plan)
    print(f"With {descriptors:,} file descriptors a process, up to {max(plan.connections):,} connections are held.\n")
    print(scale.tables(held, fleets))
    known_versions = versions("tornado", "redis")
    figures = {
        "versions": known_versions,
        "descriptors": descriptors,
        "held": [dataclasses.asdict(each) for each in held],
        "fleets": [dataclasses.asdict(each) for each in fleets],
    }
    write(arguments.json, json.dumps(figures, indent=1) + "\n")
    notes = ["One process on one core, by processes all cores", known_versions]
    write(arguments.chart, scale.draw(held, fleets, notes))
    wrong = [f"{each.server}, {each.connections:,} by {each.transport}: {each.bad}" for each in held if each.bad]
    wrong += [f"{each.processes} processes: {each.bad}" for each in fleets if each.bad]
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


def versions(*packages: str) -> str:
    ours = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return ", ".join([f"Python {platform.python_version()}", *ours])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


def main() -> int:
    arguments = parse_arguments()
    if arguments.emitters:
        print(emitters.measure(arguments.server_core, arguments.generator_core))
        return 0
    if arguments.clients:
        return measure_clients(arguments)
    if arguments.compression:
        return measure_compression(arguments)
    try:
        if arguments.scale:
            return measure_scale(arguments)
        runs, failures = measure(arguments)
    except GeneratorError as error:
        print(error, file=sys.stderr)
        return 2
    rows = report.rows(runs)
    if any(MODES[row.mode].baseline == BASELINE for row in rows):
        print("Messages a second, as multiples of bare Tornado:", report.overview(rows), sep="\n\n", end="\n\n")
        print("The same by CPU time a message:", report.overview(rows, by_cpu=True), sep="\n\n", end="\n\n")
    known_versions = versions("tornado", "websockets", "python-socketio", "picows")
    figures = {
        "versions": known_versions,
        "rows": [dataclasses.asdict(row) for row in rows],
        "runs": [dataclasses.asdict(run) for run in runs],
        "failures": failures,
    }
    write(arguments.json, json.dumps(figures, indent=1) + "\n")
    write(
        arguments.chart,
        chart.chart(rows, f"One core each for server and clients; {known_versions}; a logarithmic scale"),
    )
    wrong = [f"{server}: {reason}" for server, reason in failures.items()]
    wrong += [f"{run.server}, {run.mode}: {run.bad}" for run in runs if run.bad]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
