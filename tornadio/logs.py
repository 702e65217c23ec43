"""Log lines that no client can flood, forge or fill.

What a client does wrong it can do a thousand times a second, with whatever bytes it likes in the places that a line
quotes. So every logger of the library has a filter: of one kind of line only the first few of each minute are written,
no line holds control characters, none is longer than a few hundred characters. The loggers have no handlers: where
lines go is the application's choice.
"""

import collections
import logging
import re
import time
import traceback
from collections.abc import Callable, Hashable
from typing import Final

LINES: Final = 10  # of one kind, in
SECONDS: Final = 60.0
MAX_LENGTH: Final = 400  # characters of a line, without its traceback

_MAX_KINDS: Final = 1000
_MAX_TRACEBACK_LINES: Final = 200
# Control characters, what ends a line, what turns it around, and halves of characters.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def get_logger(name: str) -> logging.Logger:
    """A module's logger, with the limits of this module."""
    logger = logging.getLogger(name)
    logger.addFilter(LINE_FILTER)
    return logger


class _Window:
    """A minute of one kind of line."""

    __slots__ = ("end", "left_out", "written")

    def __init__(self, end: float) -> None:
        self.end = end
        self.written = 0
        self.left_out = 0


class FloodLimit:
    """Says of each line whether it is written. Knows the kinds that came last, in a bounded number.

    :param clock: seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: collections.OrderedDict[Hashable, _Window] = collections.OrderedDict()

    def admit(self, kind: Hashable) -> str | None:
        """Count a line.

        :returns: ``None`` where it is left out, else what has to be added to it: nothing, usually.
        """
        now = self._clock()
        window = self._windows.pop(kind, None)
        note = ""
        if window is None or now >= window.end:
            if window is not None and window.left_out:
                note = f" ({window.left_out} more like it were left out)"
            window = _Window(now + SECONDS)
        self._windows[kind] = window
        if len(self._windows) > _MAX_KINDS:
            self._windows.popitem(last=False)
        window.written += 1
        if window.written > LINES:
            window.left_out += 1
            return None
        return note if window.written < LINES else f" (more like it are left out for {SECONDS:g} s)"

    def clear(self) -> None:
        """Forget what was counted."""
        self._windows.clear()


class LineFilter(logging.Filter):
    """Applies a limit, and keeps lines short and printable. A line's kind is its format string; debugging is exempt."""

    def __init__(self, limit: FloodLimit) -> None:
        super().__init__()
        self._limit = limit

    def filter(self, record: logging.LogRecord) -> bool:
        note = self._limit.admit((record.name, record.msg)) if record.levelno >= logging.INFO else ""
        if note is None:
            return False
        message = record.getMessage()
        line = printable(message, MAX_LENGTH) + note
        if line != message:  # else it stays apart from its arguments, by which collectors of logs group lines
            record.msg, record.args = line, None
        if record.exc_info:
            record.exc_text = _traceback_text(record.exc_info[1])  # what formatters write in its place
        return True


def printable(text: str, length: int) -> str:
    """``text`` in one line that shows on any terminal, cut to ``length`` characters."""
    line = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text[: length + 1])
    return line if len(line) <= length else line[:length] + "..."


def _traceback_text(error: BaseException | None) -> str:
    """A traceback, indented, so that an exception whose text quotes a client forges no line."""
    formatted = "".join(traceback.format_exception(error))
    lines = [printable(f"  {line}", MAX_LENGTH) for line in formatted.rstrip("\n").split("\n")]
    if len(lines) > _MAX_TRACEBACK_LINES:
        half = _MAX_TRACEBACK_LINES // 2
        lines[half:-half] = ["  ..."]
    return "\n".join(lines)


FLOOD_LIMIT: Final = FloodLimit()
LINE_FILTER: Final = LineFilter(FLOOD_LIMIT)
