"""The chart: a panel for each mode, a bar for each server: its ratio to bare Tornado, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #57606a }
    .bar.own { fill: #fb923c } .one { stroke: #9198a1 } .value { stroke: #0d1117 }
  }
"""


def chart(rows: Sequence[Row], note: str) -> str:
    """The whole SVG document.

    :param note: what stands below the title.
    """
    compared = [mode for mode in MODES if MODES[mode].baseline == BASELINE]
    panels = [(mode, bars) for mode in compared if (bars := _bars(rows, mode))]
    ratios = [row.ratio for _, bars in panels for row in bars if row.ratio]
    scale = _Scale(min([*ratios, 1.0]), max([*ratios, 1.0]))
    height: float = _TOP
    parts = []
    for start in range(0, len(panels), _COLUMNS):
        line = panels[start : start + _COLUMNS]
        for column, (mode, bars) in enumerate(line):
            parts.append(f'<g transform="translate({_MARGIN + column * (_PANEL + _MARGIN)} {height})">')
            parts += [*_panel(MODES[mode].title, bars, scale), "</g>"]
        height += _HEAD + max(len(bars) for _, bars in line) * _LINE + _MARGIN
    width = _COLUMNS * (_PANEL + _MARGIN) + _MARGIN
    title = "Messages a second, as multiples of bare Tornado"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title note">',
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{width}" height="{height}"/>',
            f'<text class="title" id="title" x="{_MARGIN}" y="32">{title}</text>',
            f'<text class="note" id="note" x="{_MARGIN}" y="52">{escape(note)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


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
