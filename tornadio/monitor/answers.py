"""What another process has answered over the bus, checked before anything uses it: that process may run another version
of the library, and whoever can publish on the bus can send anything. Knows no I/O."""

from collections.abc import Mapping
from typing import Any, Final

from tornadio.histograms import BOUNDS

_COUNTS: Final = len(BOUNDS) + 1
_TEXTS: Final = ("id", "handle", "transport", "address")
_NUMBERS: Final = ("opened", "received", "sent", "queue", "groups")


def is_answer(kind: str, answer: Mapping[str, Any], value_type: type = object) -> bool:
    """Whether an answer is one to a question of this kind.

    :param value_type: ``str`` or ``float``: of the values by which the rows of a page are sorted.
    """
    match kind, answer:
        case "sample", _:
            return _is_sample(answer)
        case "history", {"samples": list(samples)}:
            return all(_is_kept(each) for each in samples)
        case "page", {"rows": list(rows), "total": int(), "ahead": int()}:
            return all(_is_row(row, value_type) for row in rows)
        case "groups", {"groups": list(groups), "total": int()}:
            return all(_is_group(each) for each in groups)
        case "act", {"done": bool(), **more}:
            return isinstance(more.get("text", ""), str)
    return False


def _is_sample(sample: object) -> bool:
    match sample:
        case {
            "router": str(),
            "name": str(),
            "clock": int() | float(),
            "connections": dict(connections),
            "messages": [int(), int()],
            "bytes": [int(), int()],
            "round_trips": [list(round_trips), int() | float()],
            "lag": [list(lag), int() | float()],
            "queued": int(),
            "largest": int(),
            "groups": int(),
            "bus": None | {"up": None | bool(), "dropped": int()},
            "descriptors": [None | int(), None | int()],
            "draining": bool(),
        }:
            counts = (*connections.values(), *round_trips, *lag)
            return len(round_trips) == len(lag) == _COUNTS and all(isinstance(each, int) for each in counts)
    return False


def _is_kept(sample: object) -> bool:
    match sample:
        case {"process": str(), "at": int() | float(), **figures}:
            return _is_sample(figures)
    return False


def _is_row(row: object, value_type: type) -> bool:
    match row:
        case [str() | int() | float() as value, str(), {"names": list(names), "closing": bool(), **cells}]:
            return (
                isinstance(value, str) is (value_type is str)
                and all(isinstance(cells.get(name), str) for name in _TEXTS)
                and all(isinstance(cells.get(name), int | float) for name in _NUMBERS)
                and all(isinstance(name, str) for name in names)
            )
    return False


def _is_group(group: object) -> bool:
    match group:
        case [int(), str()]:
            return True
    return False
