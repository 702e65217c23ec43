"""What connections and processes cost: servers hold ever more of the former, fleets have ever more of the latter.

One server after the other, so that all is counted as CPU time. See README.rst.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from benchmarks import chart
from benchmarks.contestants import BASELINE, SERVERS
from benchmarks.measuring import SETTLING_SECONDS, Figures, Place, Track, with_heartbeats
from benchmarks.report import table

OWN: Final = "tornadio"
_FLEET: Final = SERVERS["tornadio-bus"]
_SIZES: Final = (1_000, 5_000, 10_000, 20_000, 50_000)
_OTHER_DESCRIPTORS: Final = 200  # of a server or of wsbench, beside those of the connections that are held
_WEBSOCKET: Final = "websocket"
_POLLING: Final = "xhr-polling"
_ECHO: Final = ("--mode", "echo", "-c", "50")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured, and for how long; times are seconds.

    WebSockets are opened evenly over the time of a heartbeat, so that heartbeats come evenly, too: in the `window` in
    which their share is measured, and while others send.
    """

    connections: Sequence[int]
    polls: int
    heartbeat: float  # between two
    window: float
    poll: float  # that one waits
    processes: Sequence[int]
    receivers: int  # of a fan-out, all processes together
    rounds: int
    seconds: float  # of a round
    settling: float = SETTLING_SECONDS


QUICK: Final = Plan(
    connections=(100,),
    polls=50,
    heartbeat=0.5,
    window=0.5,
    poll=0.5,
    processes=(2,),
    receivers=40,
    rounds=1,
    seconds=0.3,
    settling=0.2,
)


def full(descriptors: int) -> Plan:
    """The plan of a whole run, with as many connections as there are descriptors for."""
    most = min(_SIZES[-1], descriptors - _OTHER_DESCRIPTORS)
    sizes = [size for size in _SIZES if size <= most]
    if not sizes or most > 1.2 * sizes[-1]:
        sizes.append(most)
    return Plan(
        connections=sizes,
        polls=min(10_000, most),
        heartbeat=12.0,
        window=9.0,
        poll=20.0,
        processes=(1, 2, 3, 4),
        receivers=900,
        rounds=3,
        seconds=1.0,
    )


# -- Measuring ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """A server that holds connections; `None` is what was not measured.

    :ivar share: of a core, for heartbeats or polls alone.
    :ivar echo_us: CPU time of an echo beside them, without that share, in microseconds.
    """

    server: str
    transport: str
    connections: int
    bytes: float | None = None  # a connection
    share: float | None = None
    echo_us: float | None = None
    bad: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fleet:
    """A fleet: CPU time of all of its processes, and of Redis, in microseconds, a message echoed or delivered."""

    processes: int
    echo_us: float | None = None
    delivery_us: float | None = None
    bad: str = ""


def measure_held(track: Track, plan: Plan) -> Iterator[Held]:
    """Bare Tornado and TornadIO with ever more WebSockets, then with polls that wait."""
    for connections in plan.connections:
        for server in (BASELINE, OWN):
            yield _hold(track, plan, server, _WEBSOCKET, connections)
    for server in (BASELINE, OWN):
        yield _hold(track, plan, server, _POLLING, plan.polls)


def _hold(track: Track, plan: Plan, name: str, transport: str, connections: int) -> Held:
    """Start a server, have it hold connections, and then echo beside them."""
    server = SERVERS[name]
    is_polling = transport == _POLLING
    mode = ("--mode", "pollidle" if is_polling else "idle")
    path = f"/socket.io/{_POLLING}" if is_polling else ""
    times = ["-t", str(plan.poll)] if is_polling else ["-t", str(plan.window), "--over", str(plan.heartbeat)]
    load = [*mode, "-c", str(connections), "--warmup", str(plan.settling), *times]
    with track.started(server, *_arguments(name, plan)) as place:
        if place is None:
            return Held(server=name, transport=transport, connections=connections, bad=track.failures[name])
        track.break_in(server, place, mode, path)
        with track.holding(server, place, load, path) as figures:
            share = figures.get("server_cpu")
            echoes = [] if is_polling else list(_rounds(track, plan, name, place))
    bad = [_bad(each) for each in [with_heartbeats(figures), *echoes]]
    return Held(
        server=name,
        transport=transport,
        connections=connections,
        bytes=figures.get("bytes"),
        share=share,
        echo_us=_median(_echo_us(echo, share or 0) for echo in echoes),
        bad="; ".join(filter(None, bad)),
    )


def _arguments(name: str, plan: Plan) -> tuple[str, ...]:
    """What a server is told of heartbeats and polls."""
    if name == BASELINE:
        return "--heartbeats", str(plan.heartbeat), "--poll-timeout", str(plan.poll)
    settings = {"heartbeat_interval": plan.heartbeat, "xhr_polling_timeout": plan.poll}
    return "--settings", json.dumps(settings)


def _rounds(track: Track, plan: Plan, name: str, place: Place) -> Iterator[Figures]:
    for _ in range(plan.rounds):
        yield track.generate(SERVERS[name], place, [*_ECHO, *_times(plan)])


def _times(plan: Plan) -> list[str]:
    return ["-t", str(plan.seconds), "--warmup", "0.3"]


def _echo_us(echo: Figures, share: float) -> float | None:
    if not echo.get("count"):
        return None
    without_share: float = (echo["server_cpu"] - share) / echo["rate"]
    return without_share * 1e6


def _bad(figures: Figures) -> str:
    return str(figures["error"] or f"{figures['bad']} bad answers") if figures["bad"] or figures["errors"] else ""


def measure_fleets(track: Track, plan: Plan) -> Iterator[Fleet]:
    """Fleets of ever more processes, on all cores that there are."""
    for processes in plan.processes:
        echo = ["--mode", "echo", "-c", str(50 * processes)]
        fanout = ["--mode", "fanout", "-c", str(plan.receivers)]
        with track.started(_FLEET, "--processes", str(processes), is_pinned=False) as place:
            if place is None:
                yield Fleet(processes=processes, bad=track.failures[_FLEET.name])
                continue
            runs = {
                name: [
                    track.generate(_FLEET, place, [*load, "--ports", str(processes), *_times(plan)])
                    for _ in range(plan.rounds)
                ]
                for name, load in (("echo", echo), ("fan-out", fanout))
            }
        yield Fleet(
            processes=processes,
            echo_us=_median(run.get("server_us") for run in runs["echo"]),
            delivery_us=_median(run.get("server_us") for run in runs["fan-out"]),
            bad="; ".join(filter(None, (_bad(run) for each in runs.values() for run in each))),
        )


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value]
    return statistics.median(there) if there else None


def measure(track: Track, plan: Plan) -> tuple[list[Held], list[Fleet]]:
    """All of it."""
    held, fleets = [], []
    for point in measure_held(track, plan):
        held.append(point)
        print(f"{point.server}, {point.connections:,} by {point.transport} {point.bad}".strip(), file=sys.stderr)
    for fleet in measure_fleets(track, plan):
        fleets.append(fleet)
        print(f"{fleet.processes} processes {fleet.bad}".strip(), file=sys.stderr)
    return held, fleets


# -- Tables and chart --------------------------------------------------------------------------------------------------


def tables(held: Sequence[Held], fleets: Sequence[Fleet]) -> str:
    """Two tables: by connections, with how many times less TornadIO takes, and by processes."""
    lines = []
    for point in held:
        base = next(each for each in held if each.server == BASELINE and _is_like(each, point))
        cells = [_cell(point.bytes, ",.0f"), _cell(point.share, ".2%"), _cell(point.echo_us, ".1f")]
        times = [_times_less(base, point, name) for name in ("bytes", "share", "echo_us")]
        cells = [cell for pair in zip(cells, times, strict=True) for cell in pair]
        what = "polls" if point.transport == _POLLING else "WebSockets"
        lines.append([f"{point.connections:,} {what}", SERVERS[point.server].title, *cells, "bad" if point.bad else ""])
    heads = ["held", "server", "bytes each", "times less", "CPU", "times less", "us an echo", "times less", "bad"]
    fleet_lines = [
        [str(fleet.processes), _cell(fleet.echo_us, ".1f"), _cell(fleet.delivery_us, ".1f"), "bad" if fleet.bad else ""]
        for fleet in fleets
    ]
    return "\n\n".join(
        [
            "Connections that are held:",
            _without_empty(heads, lines),
            "Processes with Redis between them, CPU time of all together:",
            _without_empty(["processes", "us an echo", "us a delivery", "bad"], fleet_lines),
        ]
    )


def _is_like(one: Held, other: Held) -> bool:
    return (one.transport, one.connections) == (other.transport, other.connections)


def _times_less(base: Held, point: Held, name: str) -> str:
    ours, theirs = getattr(point, name), getattr(base, name)
    return f"{theirs / ours:.1f}" if ours and theirs and base is not point else ""


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _without_empty(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    used = [number for number, _ in enumerate(heads) if any(line[number] for line in lines)]
    return table([heads[number] for number in used], [[line[number] for number in used] for line in lines])


def draw(held: Sequence[Held], fleets: Sequence[Fleet], notes: Sequence[str]) -> str:
    """The chart."""

    def by_connections(figure: Callable[[Held], float | None]) -> list[chart.Curve]:
        return [
            chart.Curve(SERVERS[server].title, _points(held, server, figure), server == OWN)
            for server in (OWN, BASELINE)
        ]

    def by_processes(name: str, figure: Callable[[Fleet], float | None]) -> chart.Curve:
        there = [(fleet.processes, value) for fleet in fleets if (value := figure(fleet)) and not fleet.bad]
        return chart.Curve(name, there, True)

    panels = [
        chart.curves_panel(
            "CPU of an echo", "µs, beside idle connections", by_connections(lambda each: each.echo_us), _short
        ),
        chart.curves_panel(
            "CPU for heartbeats", "of a core, by connections", by_connections(lambda each: each.share), _percent
        ),
        chart.curves_panel(
            "Memory of a connection", "bytes, by connections", by_connections(lambda each: each.bytes), _short
        ),
        chart.curves_panel(
            "CPU by processes",
            "µs, with Redis between them",
            [
                by_processes("echo", lambda fleet: fleet.echo_us),
                by_processes("delivery", lambda fleet: fleet.delivery_us),
            ],
            _short,
        ),
    ]
    title = "What connections and processes cost"
    return chart.document(title, notes, panels, columns=2, panel_width=chart.CURVES, zoom=1.1)


def _points(held: Sequence[Held], server: str, figure: Callable[[Held], float | None]) -> list[tuple[float, float]]:
    mine = (each for each in held if (each.server, each.transport) == (server, _WEBSOCKET) and not each.bad)
    return [(each.connections, value) for each in mine if (value := figure(each))]


def _short(number: float) -> str:
    return chart.thousands(round(number, -2)) if number >= 1000 else f"{number:.3g}"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
