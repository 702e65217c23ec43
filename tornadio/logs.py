"""Logging with a rate limit, and with lines that a client can't forge: get_logger and the filters behind it.

A client can cause a log line a thousand times a second, with bytes of its choice in the places that the line quotes. So
each logger of the library has a filter: of lines with the same key (their format string; for tracebacks the error's
class and place) the first ten of each minute are written, and how many were suppressed; a line holds no control
characters and no whole session id, and is cut to 400 characters. The loggers have no handlers: those are the
application's choice.
"""

import collections
import logging
import re
import time
import traceback
from collections.abc import Callable, Hashable
from typing import Final

MAX_LINES: Final = 10  # lines with one key, a window
MAX_TOTAL_LINES: Final = 100  # lines with one wider key, a window
WINDOW_SECONDS: Final = 60.0
MAX_LINE_LENGTH: Final = 400  # characters of a line, without its traceback

# Keys that are remembered: some hold a client's address, and clients have any number of those. The least recently used
# key is forgotten first.
_MAX_WINDOWS: Final = 1000
_MAX_TRACEBACK_LINES: Final = 200  # of a traceback; of a longer one the first and the last half of them
# Session ids are searched for in a text of at most 10 times the characters that are written: in the megabyte that a
# client may have sent the search would cost more than the rest of the line. Not in one times: an id that is cut short
# leaves room for more of the text.
_SEARCH_FACTOR: Final = 10
# Control characters; LS and PS, which end a line; bidirectional controls (U+202A-E, U+2066-9), which reorder it; lone
# surrogates, which UTF-8 can't encode.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# The end of each session id, secrets.token_hex(16): 32 hexadecimal digits. In URLs they may be percent-encoded.
_DIGIT: Final = "(?:[0-9a-f]|%3[0-9]|%6[1-6])"
_DIGITS_OF_ID: Final = re.compile(f"({_DIGIT}{{8}}){_DIGIT}{{24,}}")

# Called with each record, also with those that are suppressed: by tests that look for errors.
observers: Final[set[Callable[[logging.LogRecord], None]]] = set()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of that name, with the filter of this module added (once)."""
    logger = logging.getLogger(name)
    logger.addFilter(LINE_FILTER)
    return logger


class _Window:
    """The counts of one key, until ``end`` on the limiter's clock."""

    __slots__ = ("end", "suppressed", "written")

    def __init__(self, end: float) -> None:
        self.end = end
        self.written = 0
        self.suppressed = 0


class RateLimiter:
    """Decides which lines are written: ``MAX_LINES`` with one key in a window of ``WINDOW_SECONDS``.

    A window begins with the first line after the one before. The keys used last are remembered, at most 1,000.

    :param clock: returns seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: collections.OrderedDict[Hashable, _Window] = collections.OrderedDict()

    def count_line(self, key: Hashable, wider_key: Hashable = None) -> str | None:
        """Count a line.

        :param key: equal for lines that are alike.
        :param wider_key: equal for lines of many keys among which a client may choose, its addresses for example:
            ``MAX_TOTAL_LINES`` of them are written. A line that this suppresses does not count as a use of its key:
            else a client with many addresses would push all other keys out of memory.
        :returns: ``None`` if the line is suppressed, else what to append to it: text about suppressed lines, or ``''``.
        """
        now = self._clock()
        window = self._windows.get(key)
        is_over = window is not None and now < window.end and window.written >= MAX_LINES
        note_of_wider: str | None = ""
        if wider_key is not None and not is_over:
            note_of_wider = self._count(wider_key, now, MAX_TOTAL_LINES, "of all clients")
        if note_of_wider is None:
            return None
        note = self._count(key, now, MAX_LINES, "like it")
        return None if note is None else note + note_of_wider

    def _count(self, key: Hashable, now: float, lines: int, what: str) -> str | None:
        window = self._windows.pop(key, None)
        note = ""
        if window is None or now >= window.end:
            if window is not None and window.suppressed:
                note = f" ({window.suppressed} more {what} were left out)"
            window = _Window(now + WINDOW_SECONDS)
        self._windows[key] = window
        if len(self._windows) > _MAX_WINDOWS:
            self._windows.popitem(last=False)
        window.written += 1
        if window.written > lines:
            window.suppressed += 1
            return None
        return note if window.written < lines else f" (more {what} are left out for {WINDOW_SECONDS:g} s)"

    def clear(self) -> None:
        """Forget all keys and counts."""
        self._windows.clear()


class LineFilter(logging.Filter):
    """Rate limits records from INFO up; makes all records short, printable, and free of whole session ids.

    A record with an attribute ``limit_note`` was counted by the caller, who got the note from the limiter. Of others
    the key is the format string. If a record has a traceback, the key is the exception's class, and the line of code
    that raised it, or its cause: an application's exceptions at different places are logged by one format string, and
    each place has its own limit.
    """

    def __init__(self, limit: RateLimiter) -> None:
        super().__init__()
        self._limit = limit

    def filter(self, record: logging.LogRecord) -> bool:
        for observer in tuple(observers):
            observer(record)
        note: str | None = getattr(record, "limit_note", None)
        if note is None:
            note = self._limit.count_line(_key_of(record)) if record.levelno >= logging.INFO else ""
        if note is None:
            return False
        message = record.getMessage()
        line = printable(message, MAX_LINE_LENGTH) + note
        if line != message:  # else keep the arguments apart: log collectors group lines by their format string
            record.msg, record.args = line, None
        if record.exc_info:
            # Formatters write exc_text, where it is set, instead of formatting exc_info.
            record.exc_text = _traceback_text(record.exc_info[1])
        return True


class TracebackFilter(LineFilter):
    """A :class:`LineFilter` of records with a traceback alone, for a logger that the application writes to, too."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.exc_info or super().filter(record)


def keys_of_request(status: int, network: str) -> tuple[Hashable, Hashable]:
    """Return the key, and the wider one, of a line about a request that was answered with an error.

    :param network: the client's, see :func:`tornadio.net.addresses.network_of`.
    """
    # A client's 401s must not suppress the reason for its 403, nor a scanner's 404s from many addresses.
    return ("request", status, network), ("request", status)


def _key_of(record: logging.LogRecord) -> Hashable:
    error = record.exc_info[1] if record.exc_info else None
    # A handler that awaited something cancelled fails with the same RuntimeError at the same line: its cause differs.
    cause = error.__cause__ if error is not None and error.__cause__ is not None else error
    place = cause.__traceback__ if cause is not None else None
    if place is not None:
        while place.tb_next is not None:
            place = place.tb_next
        return record.name, type(error), type(cause), place.tb_frame.f_code.co_filename, place.tb_lineno
    if record.name.startswith("tornado."):  # some of its format strings hold what a client has sent
        return record.name, record.pathname, record.lineno
    return record.name, record.msg


def error_text(error: BaseException) -> str:
    """Return the message of an exception, or the name of its class if it has none."""
    return str(error) or type(error).__name__


def without_ids(text: str) -> str:
    """Return ``text`` with whatever may be a session id cut to 8 digits: a live id gives access to its session."""
    return _DIGITS_OF_ID.sub(r"\1...", text)


def escape_unprintable(text: str) -> str:
    """Return ``text`` as one line that can't act on a terminal: other characters become escapes, such as ``\\x1b``."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def printable(text: str, length: int) -> str:
    """Return ``text`` as one line of printable characters, cut to ``length`` of them, without whole session ids."""
    ahead = text[: _SEARCH_FACTOR * length]
    if len(ahead) < len(text):
        ahead = ahead.rstrip("0123456789abcdef%") + "..."  # half an id at the cut would not be found
    text = without_ids(ahead)
    line = escape_unprintable(text[: length + 1])
    return line if len(line) <= length else line[:length] + "..."


def _traceback_text(error: BaseException | None) -> str:
    """Return the traceback, indented: an exception's text may quote a client, and must not look like a log line."""
    formatted = "".join(traceback.format_exception(error))
    lines = [printable(f"  {line}", MAX_LINE_LENGTH) for line in formatted.rstrip("\n").split("\n")]
    if len(lines) > _MAX_TRACEBACK_LINES:
        half = _MAX_TRACEBACK_LINES // 2
        lines[half:-half] = ["  ..."]
    return "\n".join(lines)


RATE_LIMITER: Final = RateLimiter()
LINE_FILTER: Final = LineFilter(RATE_LIMITER)
TRACEBACK_FILTER: Final = TracebackFilter(RATE_LIMITER)
