"""Has the clients run in turn against one server, and makes a table of what they say."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.clients.contestants import CONTESTANTS
from benchmarks.clients.load import MODES
from benchmarks.measuring import HERE, on_core, served
from benchmarks.report import table

_MAX_SECONDS: Final = 60  # beyond those that are measured

Figures = dict[str, Any]
Results = dict[str, dict[str, list[Figures]]]  # by mode and client, for each round


def run(client: str, mode: str, port: int, server: int, core: int, seconds: float, warmup: float) -> Figures:
    """One client in one round, in a process of its own; `bad` says what was wrong."""
    command = [sys.executable, "-m", "benchmarks.clients", client, mode, "--port", str(port), "--server", str(server)]
    command += ["--seconds", str(seconds), "--warmup", str(warmup)]
    try:
        result = subprocess.run(
            on_core(core, command),
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + warmup + _MAX_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"bad": "it has not come to an end"}
    if result.returncode != 0:
        return {"bad": (result.stderr.strip().splitlines() or ["it failed"])[-1]}
    figures: Figures = json.loads(result.stdout)
    return figures


def measure(server_core: int, client_core: int, rounds: int, seconds: float, warmup: float) -> Results:
    """All clients in all modes; in a round each has its turn, so that noise hits all alike."""
    results: Results = {mode: {client: [] for client in CONTESTANTS} for mode in MODES}
    with served(server_core, "feed_app.py") as (port, server):
        for mode, by_client in results.items():
            for round_ in range(rounds):
                names = list(by_client)
                first = round_ % len(names)
                for client in names[first:] + names[:first]:
                    figures = run(client, mode, port, server, client_core, seconds, warmup)
                    by_client[client].append(figures)
                    print(f"{mode}, round {round_ + 1}: {client} {figures.get('bad', '')}".strip(), file=sys.stderr)
    return results


def tables(results: Results) -> str:
    """A table for each mode: medians over the rounds, ratios to the client's baseline of the same round."""
    return "\n\n".join(f"{MODES[mode].title}:\n\n{_table(by_client)}" for mode, by_client in results.items())


def _table(by_client: dict[str, list[Figures]]) -> str:
    lines = []
    for name, mine in by_client.items():
        contestant = CONTESTANTS[name]
        if any("bad" in figures for figures in mine):
            lines.append([contestant.title, "bad", "", "", "", "", ""])
            continue
        pairs = [
            pair for pair in zip(mine, by_client[contestant.baseline], strict=True) if all("bad" not in p for p in pair)
        ]
        lines.append(
            [
                contestant.title,
                f"{_median(mine, 'rate'):,.0f}",
                _ratio([own["rate"] / base["rate"] for own, base in pairs]),
                f"{_median(mine, 'client_us'):,.1f}",
                _ratio([base["client_us"] / own["client_us"] for own, base in pairs]),
                f"{_median(mine, 'client_cpu'):.0%}",
                f"{_median(mine, 'server_cpu'):.0%}",
            ]
        )
    return table(["client", "messages/s", "ratio", "CPU us", "ratio", "CPU", "server's"], lines)


def _median(rounds: Sequence[Figures], name: str) -> float:
    return statistics.median(float(figures[name]) for figures in rounds)


def _ratio(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f}" if ratios else ""


def wrong(results: Results) -> list[str]:
    """What was wrong, a line for each round of a client."""
    return [
        f"{client}, {mode}: {figures['bad']}"
        for mode, by_client in results.items()
        for client, mine in by_client.items()
        for figures in mine
        if "bad" in figures
    ]
