"""A table of ten thousand rows, in one process or several: sorted, filtered and paged."""

from __future__ import annotations

import dataclasses
import operator
import random
from typing import Any

import pytest

from tornadio.errors import ProtocolError
from tornadio.monitor.table import Key, Query, Selection, merge, parse_query, select

COLUMNS: dict[str, type] = {"name": str, "size": float}


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    size: int


SIZE = operator.attrgetter("size")
NAME = operator.attrgetter("name")


def made(count: int, dice: random.Random) -> list[Row]:
    """Rows of which many have the same size."""
    rows = [Row(f"{number:05}", dice.randrange(count // 20)) for number in range(count)]
    dice.shuffle(rows)
    return rows


def page(parts: list[list[Row]], query: Query) -> Selection[Row]:
    return merge([select(part, SIZE, NAME, query) for part in parts], query)


def in_order(rows: list[Row], descending: bool) -> list[Row]:
    return sorted(rows, key=operator.attrgetter("size", "name"), reverse=descending)


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("descending", [False, True])
def test_ten_thousand_rows_are_turned_over_from_both_ends(
    processes: int, descending: bool, dice: random.Random
) -> None:
    rows = made(10_000, dice)
    parts = [rows[start::processes] for start in range(processes)]
    expected = in_order(rows, descending)

    seen: list[Row] = []
    after: Key | None = None
    while True:
        found = page(parts, Query("size", descending, limit=200, after=after))
        assert found.total == 10_000
        assert found.ahead == len(seen)
        if not found.rows:
            break
        seen += [row for _, row in found.rows]
        after = found.rows[-1][0]
    assert seen == expected

    found = page(parts, Query("size", descending, limit=200, is_last=True))
    seen = [row for _, row in found.rows]
    while found.ahead:
        assert found.ahead == 10_000 - len(seen)
        found = page(parts, Query("size", descending, limit=200, before=found.rows[0][0]))
        seen = [row for _, row in found.rows] + seen
    assert seen == expected


def test_a_row_that_comes_or_goes_moves_no_other_to_another_page(dice: random.Random) -> None:
    rows = made(1000, dice)
    first = page([rows], Query("size"))
    after = first.rows[-1][0]
    second = page([rows], Query("size", after=after))
    rows.remove(first.rows[10][1])
    rows.append(Row("new", 0))
    assert page([rows], Query("size", after=after)).rows == second.rows
    rows.remove(first.rows[-1][1])  # the row after which the page begins
    assert page([rows], Query("size", after=after)).rows == second.rows


def test_an_empty_table_has_an_empty_page() -> None:
    for query in (
        Query("size"),
        Query("size", is_last=True),
        Query("size", before=(3, "")),
        Query("size", after=(3, "")),
    ):
        assert page([[], []], query) == Selection([], 0, 0)


def test_what_a_page_asks_for_is_parsed() -> None:
    assert parse_query({"sort": "name"}, COLUMNS) == Query("name")
    asked = {"sort": "size", "descending": True, "text": "ÄB", "limit": 10, "after": [2.5, "x"]}
    assert parse_query(asked, COLUMNS) == Query("size", True, "äb", 10, after=(2.5, "x"))
    assert parse_query({"sort": "name", "before": ["a", "x"]}, COLUMNS).before == ("a", "x")
    assert parse_query({"sort": "name", "last": True}, COLUMNS).is_last


@pytest.mark.parametrize(
    "wrong",
    [
        {"sort": None},
        {"sort": "__class__"},
        {"sort": ["name"]},
        {"text": None},
        {"text": "x" * 201},
        {"limit": 0},
        {"limit": 201},
        {"limit": True},
        {"limit": "1"},
        {"after": []},
        {"after": [1, "x"]},
        {"after": ["a", 1]},
        {"after": ["a" * 201, "x"]},
        {"before": "ab"},
        {"sort": "size", "after": ["a", "x"]},
        {"after": ["a", "x"], "last": True},
    ],
)
def test_what_is_no_query_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_query({"sort": "name", **wrong}, COLUMNS)
