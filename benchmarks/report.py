"""From runs to figures, and from figures to tables."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence

from benchmarks.contestants import BASELINE, MODES, SERVERS
from benchmarks.measuring import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A server in a mode: medians over the rounds, `None` for what was not measured.

    Ratios are to the baseline of the same round, above 1 for better. Times are microseconds, CPU shares of one core.
    """

    mode: str
    server: str
    rate: float | None
    ratio: float | None
    cpu_us: float | None  # a message
    cpu_ratio: float | None
    p50_us: float | None
    p99_us: float | None
    last_p50_us: float | None  # until the last of a fan-out had it
    bytes: float | None  # a connection
    server_cpu: float | None
    generator_cpu: float | None  # near 1 the generator is the limit
    bad: tuple[str, ...]


def rows(runs: Sequence[Run]) -> list[Row]:
    """A row for each mode and server that was measured."""
    by_place: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_place.setdefault((run.mode, run.server), []).append(run)
    return [
        _row(mode, server, mine, by_place.get((mode, MODES[mode].baseline), []))
        for (mode, server), mine in by_place.items()
    ]


def _row(mode: str, server: str, mine: Sequence[Run], baseline: Sequence[Run]) -> Row:
    base = {run.round: run for run in baseline}

    def of(name: str) -> float | None:
        return _median(run.figures.get(name) for run in mine)

    def ratio(name: str, better: Callable[[float, float], float]) -> float | None:
        pairs = ((run.figures.get(name), base[run.round].figures.get(name)) for run in mine if run.round in base)
        return _median(better(own, other) for own, other in pairs if own and other)

    return Row(
        mode=mode,
        server=server,
        rate=of("rate"),
        ratio=ratio("rate", lambda own, other: own / other),
        cpu_us=of("server_us"),
        cpu_ratio=ratio("server_us", lambda own, other: other / own),
        p50_us=of("p50_us"),
        p99_us=of("p99_us"),
        last_p50_us=of("last_p50_us"),
        bytes=of("bytes") if mode == "idle" else None,
        server_cpu=of("server_cpu"),
        generator_cpu=of("generator_cpu"),
        bad=tuple(run.bad for run in mine if run.bad),
    )


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value]
    return statistics.median(there) if there else None


# -- Tables ------------------------------------------------------------------------------------------------------------


def details(of: Sequence[Row]) -> str:
    """A line for each row of a mode, with all that was measured."""
    heads = [
        "server",
        "rate/s",
        "ratio",
        "CPU us",
        "ratio",
        "p50 ms",
        "p99 ms",
        "last ms",
        "bytes",
        "CPU",
        "client's",
        "bad",
    ]
    lines = [
        [
            SERVERS[row.server].title,
            _number(row.rate, 0),
            _number(row.ratio, 2),
            _number(row.cpu_us, 1),
            _number(row.cpu_ratio, 2),
            _milliseconds(row.p50_us),
            _milliseconds(row.p99_us),
            _milliseconds(row.last_p50_us),
            _number(row.bytes, 0),
            _share(row.server_cpu),
            _share(row.generator_cpu),
            str(len(row.bad) or ""),
        ]
        for row in of
    ]
    used = [number for number, _ in enumerate(heads) if any(line[number] for line in lines)]
    return table([heads[number] for number in used], [[line[number] for number in used] for line in lines])


def overview(of: Sequence[Row], by_cpu: bool = False) -> str:
    """A line for each server, a column for each mode: ratios to bare Tornado, by messages a second or by CPU time.

    Those by CPU time leave out what is no ratio.
    """
    modes = [mode for mode in MODES if MODES[mode].baseline == BASELINE and any(row.mode == mode for row in of)]
    places = {(row.mode, row.server): row for row in of}
    columns = [column for mode in modes for column in _columns(mode, by_cpu)]
    lines = []
    for server in SERVERS:
        if any(row.server == server and row.mode in modes for row in of):
            cells = (_cell(places.get((mode, server)), kind) for mode, _, kind in columns)
            lines.append([SERVERS[server].title, *cells])
    return table(["server", *(title for _, title, _ in columns)], lines)


def _columns(mode: str, by_cpu: bool) -> list[tuple[str, str, str]]:
    """Mode, heading and kind of the columns that a mode has."""
    title = MODES[mode].title
    if mode == "idle":
        return [] if by_cpu else [(mode, title, "bytes")]
    if mode == "heartbeats":
        return [] if by_cpu else [(mode, f"{title}: CPU", "share")]
    if by_cpu:
        return [(mode, title, "cpu")]
    p99 = [(mode, "its p99, ms", "p99")] if mode == "echo8" else []
    return [(mode, title, "ratio"), *p99]


def _cell(row: Row | None, kind: str) -> str:
    if row is None:
        return ""
    if row.bad:
        return "bad"
    match kind:
        case "bytes":
            return _number(row.bytes, 0)
        case "share":
            return _share(row.server_cpu)
        case "p99":
            return _milliseconds(row.p99_us)
        case "cpu":
            return _number(row.cpu_ratio, 2)
    return _number(row.ratio, 2)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _share(of_core: float | None) -> str:
    return "" if of_core is None else f"{of_core:.1%}"


def _milliseconds(microseconds: float | None) -> str:
    if microseconds is None:
        return ""
    return f"{microseconds / 1000:,.{1 if microseconds < 100_000 else 0}f}"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table as reStructuredText has them; long headings take several lines."""
    wrapped = [_wrap(head) for head in heads]
    height = max(map(len, wrapped))
    filled = [head + [""] * (height - len(head)) for head in wrapped]
    widths = [max(map(len, column)) for column in zip(*zip(*filled, strict=True), *lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)

    def joined(cells: Sequence[str]) -> str:
        (first, width), *others = zip(cells, widths, strict=True)
        return "  ".join([first.ljust(width), *(cell.rjust(width) for cell, width in others)]).rstrip()

    return "\n".join([rule, *map(joined, zip(*filled, strict=True)), rule, *map(joined, lines), rule])


def _wrap(head: str) -> list[str]:
    lines: list[str] = [""]
    for word in head.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= 10:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
