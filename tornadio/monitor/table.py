"""Sorts, filters and pages a table whose rows are in several processes: each selects its part, and one merges. No I/O.

A page begins after a row, or ends before one, and not at a number: so every process selects at most a page of rows,
wherever in the table that is, and rows that come or go meanwhile move no others to another page.
"""

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from tornadio.errors import ProtocolError

MAX_ROWS: Final = 200
_MAX_TEXT: Final = 200  # characters of a filter, or of a cursor's texts

Key = tuple[str | float, str]  # a row's value in the column that sorts, and what tells rows apart that have the same

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A page of the table.

    :ivar sort: the column by which it is sorted.
    :ivar descending: whether the largest value is first.
    :ivar text: the filter, in lower case; empty for all rows.
    :ivar limit: the most rows that are wanted.
    :ivar after: the page begins after the row with this key, in the page's order; ``None`` for the first page.
    :ivar before: the page ends before the row with this key.
    :ivar is_last: the page is the last one.
    """

    sort: str
    descending: bool = False
    text: str = ""
    limit: int = 50
    after: Key | None = None
    before: Key | None = None
    is_last: bool = False


def parse_query(data: Mapping[str, Any], columns: Mapping[str, type]) -> Query:
    """Parse a query that a page or another process has sent.

    :param columns: the names of columns, each with the type of its values.
    :raises ProtocolError: it is none; says why.
    """
    sort, text, limit = data.get("sort"), data.get("text", ""), data.get("limit", 50)
    if not isinstance(sort, str) or sort not in columns:
        raise ProtocolError("sort is not a column")
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise ProtocolError(f"text is no text of up to {_MAX_TEXT} characters")
    if type(limit) is not int or not 0 < limit <= MAX_ROWS:
        raise ProtocolError(f"limit is no number from 1 to {MAX_ROWS}")
    after, before = (_parse_key(data.get(name), columns[sort]) for name in ("after", "before"))
    is_last = data.get("last") is True
    if sum((after is not None, before is not None, is_last)) > 1:
        raise ProtocolError("a page is the last, or after a row, or before one")
    return Query(sort, data.get("descending") is True, text.lower(), limit, after, before, is_last)


def _parse_key(data: object, kind: type) -> Key | None:
    match data:
        case None:
            return None
        case [str(value), str(tie)] if kind is str and max(len(value), len(tie)) <= _MAX_TEXT:
            return value, tie
        case [int(value) | float(value), str(tie)] if kind is not str and len(tie) <= _MAX_TEXT:
            return value, tie
    raise ProtocolError("a row's key is a pair of its value and its id")


@dataclasses.dataclass(frozen=True, slots=True)
class Selection(Generic[T]):
    """The part of a page that is in one process, or the page itself.

    :ivar rows: in the page's order, each with its key.
    :ivar total: how many rows the filter has left.
    :ivar ahead: of these, how many come before the page's first row; in a part how many come before the cursor, where
        there is one.
    """

    rows: list[tuple[Key, T]]
    total: int
    ahead: int


def select(
    items: Iterable[T], value: Callable[[T], str | float], tie: Callable[[T], str], query: Query
) -> Selection[T]:
    """Select the part of a page that is among some rows, which the filter has left.

    Of ten thousand rows this makes lists of numbers and texts, and no object for each row: those would have Python's
    cyclic garbage collector go through all objects of the process every few pages.

    :param value: returns a row's value in the column that sorts.
    :param tie: returns what tells rows apart that have the same value.
    """
    all_items = list(items)
    values = list(map(value, all_items))
    total, ahead = len(values), 0
    places: Sequence[int] = range(total)
    cursor = query.after or query.before
    if cursor is not None:
        edge, edge_tie = cursor
        # Which side of the cursor the page is on: in its order behind "after", and ahead of "before".
        is_above = (query.after is not None) is not query.descending
        beyond: Callable[[Any, Any], bool] = operator.gt if is_above else operator.lt
        places = [
            place
            for place, each in enumerate(values)
            if beyond(each, edge) or (each == edge and beyond(tie(all_items[place]), edge_tie))
        ]
        ahead = total - len(places) if query.after is not None else len(places)
    is_from_end = query.before is not None or query.is_last
    places = _extreme(places, values, lambda place: tie(all_items[place]), query.limit, is_from_end is query.descending)
    rows = [((values[place], tie(all_items[place])), all_items[place]) for place in places]
    rows.sort(key=_key_of, reverse=query.descending)
    return Selection(rows, total, ahead)


def _extreme(
    places: Sequence[int], values: Sequence[Any], tie: Callable[[int], str], count: int, smallest: bool
) -> Sequence[int]:
    """Return the places of the smallest or largest values, in any order; of the same ones those of the extreme ties."""
    if len(places) <= count:
        return places
    edge = sorted([values[place] for place in places], reverse=not smallest)[count - 1]
    beyond: Callable[[Any, Any], bool] = operator.lt if smallest else operator.gt
    inner = [place for place in places if beyond(values[place], edge)]
    at_edge = [place for place in places if values[place] == edge]
    missing = count - len(inner)
    if len(at_edge) > missing:
        at_edge.sort(key=tie, reverse=not smallest)
    return inner + at_edge[:missing]


def merge(parts: Sequence[Selection[T]], query: Query) -> Selection[T]:
    """Merge the parts of a page."""
    rows = sorted((row for part in parts for row in part.rows), key=_key_of, reverse=query.descending)
    total = sum(part.total for part in parts)
    ahead = sum(part.ahead for part in parts)
    if query.before is not None or query.is_last:
        rows = rows[-query.limit :]
        ahead = (total if query.is_last else ahead) - len(rows)
    return Selection(rows[: query.limit], total, ahead)


def _key_of(row: tuple[Key, T]) -> Key:
    return row[0]
