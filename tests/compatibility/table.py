"""The table of what each client showed, transport by transport, and engine by engine where it runs in browsers.

`python -m tests.compatibility.table FILE...` prints the table of several runs of pytest, by what each has written with
`--table FILE`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.browser_fixtures import TITLES
from tests.support import OF_BROWSERS

Scenario = Callable[..., contextlib.AbstractContextManager[None]]


class Table:
    """What each client showed in each scenario: a word where it runs in no browser, else a letter for each engine."""

    WORDS: Final = {"passed": "ok", "skipped": "skipped", "failed": "FAILED"}  # the better before the worse
    SIGNS: Final = {"passed": "{}", "skipped": "-{}", "failed": "!{}"}
    LEGEND: Final = "C, F, W: it works in Chromium, Firefox, WebKit; -W: it can't; !W: it FAILED"

    def __init__(self) -> None:
        # Client, scenario, transport, engine ("" without one): outcome.
        self._clients: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
        self._reasons: dict[tuple[str, str], dict[str, None]] = {}  # with the scenarios
        self._added: list[tuple[str, ...]] = []

    def add(self, client: str, transport: str, scenario: str, outcome: str, reason: str = "", engine: str = "") -> None:
        """Where there are several results for one cell and engine, the worst stands."""
        self._added.append((client, transport, scenario, outcome, reason, engine))
        cell = self._clients.setdefault(client, {}).setdefault(scenario, {}).setdefault(transport, {})
        ranks = list(self.WORDS)
        cell[engine] = max(cell.get(engine, outcome), outcome, key=ranks.index)
        if reason:
            place = ", ".join(filter(None, (client, TITLES.get(engine), transport)))
            self._reasons.setdefault((place, reason), {})[scenario] = None

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(self._added), encoding="utf-8")

    def read(self, file: Path) -> None:
        """Add what another run has written."""
        for each in json.loads(file.read_text(encoding="utf-8")):
            self.add(*each)

    def lines(self) -> Iterator[str]:
        for client, scenarios in self._clients.items():
            found = dict.fromkeys(transport for cells in scenarios.values() for transport in cells)
            transports = [
                *filter(found.__contains__, OF_BROWSERS),
                *(each for each in found if each not in OF_BROWSERS),
            ]
            width = max(map(len, scenarios))
            columns = [max(len(transport), len("skipped")) for transport in transports]
            yield ""
            yield client
            yield "  ".join([" " * width, *map(str.ljust, transports, columns)]).rstrip()
            for scenario, cells in scenarios.items():
                words = (self._word(cells.get(transport, {})) for transport in transports)
                yield "  ".join([scenario.ljust(width), *map(str.ljust, words, columns)]).rstrip()
        if self._reasons:
            yield ""
        for (place, reason), named in self._reasons.items():
            yield f"{place}, {next(iter(named)) if len(named) == 1 else f'{len(named)} scenarios'}: {reason}"
        every = (
            cell for scenarios in self._clients.values() for cells in scenarios.values() for cell in cells.values()
        )
        if any("" not in cell for cell in every):
            yield ""
            yield self.LEGEND

    def _word(self, cell: dict[str, str]) -> str:
        if "" in cell:
            return self.WORDS[cell[""]]
        return " ".join(self.SIGNS[outcome].format(engine[0].upper()) for engine, outcome in sorted(cell.items()))


def main() -> None:
    table = Table()
    for file in sys.argv[1:]:
        table.read(Path(file))
    print(*table.lines(), sep="\n")


if __name__ == "__main__":
    main()
