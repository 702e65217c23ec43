"""Log lines that no client can flood, forge or fill.

What a client does wrong it can do a thousand times a second, with whatever bytes it likes in the places that a line
quotes. So every logger of the library has a filter: of one kind of line only the first few of each minute are written,
no line holds control characters, nor a session's whole id, none is longer than a few hundred characters. The loggers
have no handlers: where lines go is the application's choice.
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
ALL_LINES: Final = 100  # of a wider kind, in the same time
MAX_LENGTH: Final = 400  # characters of a line, without its traceback

_MAX_KINDS: Final = 1000
_MAX_TRACEBACK_LINES: Final = 200
_READ_AHEAD: Final = 10  # so many times the characters of a line are searched for ids
# Control characters, what ends a line, what turns it around, and halves of characters.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What every session's id ends in: 32 hexadecimal digits. In URLs they may be percent-encoded.
_DIGIT: Final = "(?:[0-9a-f]|%3[0-9]|%6[1-6])"
_DIGITS_OF_ID: Final = re.compile(f"({_DIGIT}{{8}}){_DIGIT}{{24,}}")


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

    def admit(self, kind: Hashable, wider: Hashable = None) -> str | None:
        """Count a line.

        :param wider: the kind that this is one of many of, where a client chooses among them. A line that this leaves
            out makes its own kind no better known: else those many would have the others forgotten.
        :returns: ``None`` where it is left out, else what has to be added to it: nothing, usually.
        """
        now = self._clock()
        window = self._windows.get(kind)
        is_over = window is not None and now < window.end and window.written >= LINES
        note_of_wider: str | None = ""
        if wider is not None and not is_over:
            note_of_wider = self._count(wider, now, ALL_LINES, "of all clients")
        if note_of_wider is None:
            return None
        note = self._count(kind, now, LINES, "like it")
        return None if note is None else note + note_of_wider

    def _count(self, kind: Hashable, now: float, lines: int, what: str) -> str | None:
        window = self._windows.pop(kind, None)
        note = ""
        if window is None or now >= window.end:
            if window is not None and window.left_out:
                note = f" ({window.left_out} more {what} were left out)"
            window = _Window(now + SECONDS)
        self._windows[kind] = window
        if len(self._windows) > _MAX_KINDS:
            self._windows.popitem(last=False)
        window.written += 1
        if window.written > lines:
            window.left_out += 1
            return None
        return note if window.written < lines else f" (more {what} are left out for {SECONDS:g} s)"

    def clear(self) -> None:
        """Forget what was counted."""
        self._windows.clear()


class LineFilter(logging.Filter):
    """Applies a limit, and keeps lines short, printable, and without a session's whole id. Debugging is not limited.

    A line's kind is its format string. That of one with a traceback is the class of its error, and the place that
    raised it or its cause: a handler's first failure at another place is no repetition, although the same line tells
    of it.
    """

    def __init__(self, limit: FloodLimit) -> None:
        super().__init__()
        self._limit = limit

    def filter(self, record: logging.LogRecord) -> bool:
        note = self._limit.admit(_kind_of(record)) if record.levelno >= logging.INFO else ""
        if note is None:
            return False
        message = record.getMessage()
        line = printable(message, MAX_LENGTH) + note
        if line != message:  # else it stays apart from its arguments, by which collectors of logs group lines
            record.msg, record.args = line, None
        if record.exc_info:
            record.exc_text = _traceback_text(record.exc_info[1])  # what formatters write in its place
        return True


class TracebackFilter(LineFilter):
    """As :class:`LineFilter`, for a logger that the application has its own lines in: tracebacks alone are limited."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.exc_info or super().filter(record)


def _kind_of(record: logging.LogRecord) -> Hashable:
    error = record.exc_info[1] if record.exc_info else None
    cause = error.__cause__ if error is not None and error.__cause__ is not None else error
    place = cause.__traceback__ if cause is not None else None
    if place is not None:
        while place.tb_next is not None:
            place = place.tb_next
        return record.name, type(error), type(cause), place.tb_frame.f_code.co_filename, place.tb_lineno
    if record.name.startswith("tornado."):  # Tornado makes format strings of what clients send
        return record.name, record.pathname, record.lineno
    return record.name, record.msg


def without_ids(text: str) -> str:
    """``text`` with what may be sessions' ids cut to eight digits: who knows a live one has the session."""
    return _DIGITS_OF_ID.sub(r"\1...", text)


def printable(text: str, length: int) -> str:
    """``text`` in one line that shows on any terminal, cut to ``length`` characters, with no session's whole id."""
    ahead = text[: _READ_AHEAD * length]
    if len(ahead) < len(text):
        ahead = ahead.rstrip("0123456789abcdef%") + "..."  # not half an id, which nobody would know for one
    text = without_ids(ahead)
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
TRACEBACK_FILTER: Final = TracebackFilter(FLOOD_LIMIT)
