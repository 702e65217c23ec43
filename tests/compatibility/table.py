"""The table of what each client showed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

Scenario = Callable[..., contextlib.AbstractContextManager[None]]


class Table:
    """What each client showed, transport by transport."""

    WORDS: Final = {"passed": "ok", "skipped": "skipped", "failed": "FAILED"}  # the better before the worse

    def __init__(self) -> None:
        self._clients: dict[str, dict[str, dict[str, str]]] = {}  # client, scenario, transport, outcome
        self._reasons: dict[str, None] = {}

    def add(self, client: str, transport: str, scenario: str, outcome: str, reason: str = "") -> None:
        """Where there are several results for one cell, the worst stands."""
        cells = self._clients.setdefault(client, {}).setdefault(scenario, {})
        ranks = list(self.WORDS)
        cells[transport] = max(cells.get(transport, outcome), outcome, key=ranks.index)
        if reason:
            self._reasons[f"{client}, {transport}, {scenario}: {reason}"] = None

    def lines(self) -> Iterator[str]:
        for client, scenarios in self._clients.items():
            transports = list(dict.fromkeys(transport for cells in scenarios.values() for transport in cells))
            width = max(map(len, scenarios))
            columns = [max(len(transport), len("skipped")) for transport in transports]
            yield ""
            yield client
            yield "  ".join([" " * width, *map(str.ljust, transports, columns)]).rstrip()
            for scenario, cells in scenarios.items():
                words = (self.WORDS.get(cells.get(transport, ""), "") for transport in transports)
                yield "  ".join([scenario.ljust(width), *map(str.ljust, words, columns)]).rstrip()
        if self._reasons:
            yield ""
            yield from self._reasons
