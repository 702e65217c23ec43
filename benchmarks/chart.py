"""The charts: panels of bars, and panels of curves.

Bars compare the servers: a panel for each mode, a bar for each server: its ratio to bare Tornado, on a logarithmic
scale. Curves show what a server costs as it grows (`scale.py`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.contestants import BASELINE, MODES, SERVERS
from benchmarks.report import Row

_COLUMNS: Final = 3
_PANEL: Final = 340  # pixels wide
_NAMES: Final = 154  # of these for the names,
_VALUES: Final = 40  # and for the values behind the longest bar
_LINE: Final = 18
_HEAD: Final = 34
_MARGIN: Final = 20
_TOP: Final = 62
_LEFT_OUT: Final = {"tornado-again"}  # it shows the noise, not a server

_STYLE: Final = """
  .page { fill: #ffffff } .title { font-size: 18px } .name, .value, .note { font-size: 12px } .head { font-size: 14px }
  text { fill: #1f2328; font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
  .title, .head, .own { font-weight: 600 } .note { fill: #59636e }
  .value { paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
  .bar { fill: #9aa7b4 } .bar.own { fill: #c2410c } .one { stroke: #59636e; stroke-dasharray: 3 3 }
  .grid { stroke: #d1d9e0 } .curve { fill: none; stroke: #818b98; stroke-width: 2px; stroke-linejoin: round }
  .curve.own { stroke: #c2410c } .point { fill: #818b98; stroke: #ffffff; stroke-width: 1.5px }
  .point.own { fill: #c2410c }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #57606a }
    .bar.own { fill: #fb923c } .one { stroke: #9198a1 } .value { stroke: #0d1117 }
    .grid { stroke: #2f353d } .curve { stroke: #9198a1 } .curve.own { stroke: #fb923c }
    .point { fill: #9198a1; stroke: #0d1117 } .point.own { fill: #fb923c }
  }
"""


@dataclasses.dataclass(frozen=True)
class Panel:
    """A part of a chart: elements of SVG, whose origin is its upper left corner."""

    height: float
    parts: Sequence[str]


def document(
    title: str, notes: Sequence[str], panels: Sequence[Panel], *, columns: int, panel_width: int, zoom: float = 1
) -> str:
    """The whole SVG document, with the panels in rows.

    :param notes: lines that stand below the title.
    :param zoom: how much larger all is drawn.
    """
    height: float = _TOP + (len(notes) - 1) * (_LINE + 4)
    parts = []
    for start in range(0, len(panels), columns):
        row = panels[start : start + columns]
        for column, panel in enumerate(row):
            parts.append(f'<g transform="translate({_MARGIN + column * (panel_width + _MARGIN)} {height})">')
            parts += [*panel.parts, "</g>"]
        height += max(panel.height for panel in row) + _MARGIN
    width = columns * (panel_width + _MARGIN) + _MARGIN
    size = f'viewBox="0 0 {width} {height}" width="{width * zoom:g}" height="{height * zoom:g}"'
    lines = (
        f'<tspan x="{_MARGIN}" y="{52 + number * _LINE}">{escape(line)}</tspan>' for number, line in enumerate(notes)
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title note">',
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{width}" height="{height}"/>',
            f'<text class="title" id="title" x="{_MARGIN}" y="32">{escape(title)}</text>',
            f'<text class="note" id="note">{"".join(lines)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


# -- Bars --------------------------------------------------------------------------------------------------------------


def chart(rows: Sequence[Row], note: str) -> str:
    """The chart of the servers.

    :param note: what stands below the title.
    """
    compared = [mode for mode in MODES if MODES[mode].baseline == BASELINE]
    bars_of = {mode: bars for mode in compared if (bars := _bars(rows, mode))}
    ratios = [row.ratio for bars in bars_of.values() for row in bars if row.ratio]
    scale = _Scale(min([*ratios, 1.0]), max([*ratios, 1.0]))
    panels = [
        Panel(_HEAD + len(bars) * _LINE, _panel(MODES[mode].title, bars, scale)) for mode, bars in bars_of.items()
    ]
    title = "Messages a second, as multiples of bare Tornado"
    return document(title, [note], panels, columns=_COLUMNS, panel_width=_PANEL)


class _Scale:
    """From a ratio to pixels, the same in all panels."""

    def __init__(self, lowest: float, highest: float) -> None:
        self._lowest = lowest * 0.8
        self._pixels = (_PANEL - _NAMES - _VALUES) / math.log(highest / self._lowest)

    def pixels(self, ratio: float) -> float:
        return round(math.log(ratio / self._lowest) * self._pixels, 1)


def _bars(rows: Sequence[Row], mode: str) -> list[Row]:
    """The rows of a mode that have a ratio, the best first."""
    there = [row for row in rows if row.mode == mode and row.ratio and not row.bad and row.server not in _LEFT_OUT]
    return sorted(there, key=lambda row: row.ratio or 0, reverse=True) if len(there) > 1 else []


def _panel(title: str, bars: Sequence[Row], scale: _Scale) -> list[str]:
    one = _NAMES + scale.pixels(1)
    bottom = _HEAD - 6 + len(bars) * _LINE
    line = f'<line class="one" x1="{one}" x2="{one}" y1="{_HEAD - 8}" y2="{bottom}"/>'
    parts = [f'<text class="head" x="0" y="18">{escape(title)}</text>', line]
    for number, row in enumerate(bars):
        top = _HEAD - 4 + number * _LINE
        width = scale.pixels(row.ratio or 1)
        own = " own" if row.server.startswith("tornadio") else ""
        name = escape(SERVERS[row.server].title)
        value = "1" if row.server == BASELINE else f"{row.ratio:.2f}" if (row.ratio or 0) < 10 else f"{row.ratio:.0f}"
        parts += [
            f'<text class="name{own}" x="{_NAMES - 8}" y="{top + 11}" text-anchor="end">{name}</text>',
            f'<rect class="bar{own}" x="{_NAMES}" y="{top}" width="{width}" height="{_LINE - 4}" rx="2"/>',
            f'<text class="value{own}" x="{_NAMES + width + 5}" y="{top + 11}">{value}</text>',
        ]
    return parts


# -- Curves ------------------------------------------------------------------------------------------------------------

CURVES: Final = 356  # pixels that a panel of curves is wide, with the curves' names on the right
_PLOT: Final = (40, 54, 226, 164)  # left, top, right and bottom of the plot in it
_CURVES_HEIGHT: Final = 188
_NAME_HEIGHT: Final = 15  # pixels between two names at least


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line through points, whose name stands at the last of them."""

    name: str
    points: Sequence[tuple[float, float]]
    own: bool


def curves_panel(title: str, note: str, curves: Sequence[Curve], value: Callable[[float], str]) -> Panel:
    """A panel of curves: upwards from zero, to the right from the first point.

    :param note: what the numbers are.
    :param value: writes a number.
    """
    left, top, right, bottom = _PLOT
    points = [point for curve in curves for point in curve.points]
    first, last = min((x for x, _ in points), default=0), max((x for x, _ in points), default=0)
    most = max((y for _, y in points), default=1)
    step = _step(most)
    highest = step * math.ceil(most / step)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point
        part = (x - first) / (last - first or 1)
        return round(left + (right - left) * part, 1), round(bottom - (bottom - top) * y / highest, 1)

    parts = [
        f'<text class="head" x="0" y="14">{escape(title)}</text>',
        f'<text class="note" x="0" y="31">{escape(note)}</text>',
    ]
    for number in range(round(highest / step) + 1):
        _, y = place((first, number * step))
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="note" x="{left - 6}" y="{y + 4}" text-anchor="end">{value(number * step)}</text>')
    for x in _apart({x for x, _ in points}, (last - first) / 8):
        at, _ = place((x, 0))
        parts.append(f'<text class="note" x="{at}" y="{bottom + 16}" text-anchor="middle">{thousands(x)}</text>')
    drawn = [curve for curve in curves if curve.points]
    for curve in drawn:
        parts += _line([place(point) for point in curve.points], curve.own)
    lowest_name = -math.inf
    for curve in sorted(drawn, key=lambda curve: curve.points[-1][1], reverse=True):
        # Beside the curve's end, and below the name of the one above.
        lowest_name = max(place(curve.points[-1])[1], lowest_name + _NAME_HEIGHT)
        own = " own" if curve.own else ""
        name = escape(f"{curve.name} {value(curve.points[-1][1])}")
        parts.append(f'<text class="value{own}" x="{right + 9}" y="{lowest_name + 4:g}">{name}</text>')
    return Panel(_CURVES_HEIGHT, parts)


def _line(places: Sequence[tuple[float, float]], is_own: bool) -> list[str]:
    own = " own" if is_own else ""
    line = " ".join(f"{x},{y}" for x, y in places)
    return [
        f'<polyline class="curve{own}" points="{line}"/>',
        *(f'<circle class="point{own}" cx="{x}" cy="{y}" r="3.5"/>' for x, y in places),
    ]


def _step(most: float) -> float:
    """The distance of lines of the grid: a round number, so that there are two to five of them."""
    rough: float = 10 ** math.floor(math.log10(most))
    return next(rough * factor for factor in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0) if most / (rough * factor) <= 4)


def _apart(numbers: set[float], distance: float) -> list[float]:
    """Those of the numbers, from the greatest down, that are so far from each other."""
    kept: list[float] = []
    for number in sorted(numbers, reverse=True):
        if not kept or kept[-1] - number >= distance:
            kept.append(number)
    return kept


def thousands(number: float) -> str:
    """A number in short: 19,800 as `19.8k`."""
    return f"{number / 1000:g}k" if number >= 1000 else f"{number:g}"
