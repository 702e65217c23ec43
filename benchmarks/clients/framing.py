"""The framing of Socket.IO 0.6 as a careful program writes it by hand, above a WebSocket client that knows none.

It checks as much as such a program needs: LENGTH counts UTF-16 code units, one WebSocket message may hold several
frames, a heartbeat is one only where a frame begins with it, and JSON comes without a mark, as a feed sends it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

_HEADER: Final = re.compile(r"~m~([0-9]+)~m~")
HEARTBEAT: Final = "~h~"


def frame(text: str) -> str:
    length = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
    return f"~m~{length}~m~{text}"


def texts(payload: str) -> Iterator[str]:
    """The text of each frame in a payload, heartbeats' among them."""
    if not payload.isascii():
        yield from _non_ascii_texts(payload)
        return
    start = 0
    while start < len(payload):
        header = _HEADER.match(payload, start)
        if header is None:
            raise ValueError(f"no header at {start}: {payload[start : start + 20]!r}")
        end = header.end() + int(header[1])
        if end > len(payload):
            raise ValueError(f"the frame at {start} is cut short")
        yield payload[header.end() : end]
        start = end


def _non_ascii_texts(payload: str) -> Iterator[str]:
    units = payload.encode("utf-16-le")
    start = 0
    while start < len(units):
        header = _HEADER.match(units[start : start + 40].decode("utf-16-le", "replace"))
        if header is None:
            raise ValueError(f"no header at {start // 2}")
        first = start + 2 * header.end()
        start = first + 2 * int(header[1])
        if start > len(units):
            raise ValueError("the last frame is cut short")
        yield units[first:start].decode("utf-16-le")


def message(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text
