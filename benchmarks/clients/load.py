"""What a client does and receives in each mode, and the figures of it."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any, Final

SESSION_ID: Final = "0123456789abcdef0123456789abcdef"
QUOTES: Final = 4096  # a stream repeats so many

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CPU_FIELDS: Final = slice(11, 13)  # of /proc/PID/stat, behind the name: utime and stime


@dataclasses.dataclass(frozen=True)
class Mode:
    """Messages of `size` bytes are echoed, `depth` of them in flight; with a depth of 0, quotes are received."""

    title: str
    depth: int
    size: int = 20


MODES: Final = {
    "echo1": Mode("echo, 1 in flight", 1),
    "echo8": Mode("echo, 8 in flight", 8),
    "echo1k": Mode("echo, 1 kB", 1, 1000),
    "quotes": Mode("quotes received", 0),
}


def quote(number: int) -> str:
    """A quote as a feed sends it: JSON without a mark."""
    last = 100 + number % 977 / 100
    prices = f'"last":{last:.2f},"bid":{last - 0.01:.2f},"ask":{last + 0.01:.2f}'
    return f'{{"m":"quote","n":{number},"p":{{"symbol":"MADE:UP{number % 50}",{prices},"volume":{number * 37}}}}}'


class WrongAnswer(Exception):
    """A message that is not the one that comes next."""


class Load:
    """What one client sends, and whether the messages that it receives are the right ones, in order.

    Counted are those from the end of the `warmup` on, for `seconds`. After that the server says how many of its
    heartbeats were answered.
    """

    def __init__(self, mode: Mode, seconds: float, warmup: float, server: int) -> None:
        self.is_over = False
        self.figures: dict[str, float] = {}
        self._mode = mode
        self._filler = "x" * (mode.size - 8)
        self._seconds = seconds
        self._server = server
        self._received = 0
        self._is_ending = False
        self._start: tuple[int, float, float, float] | None = None
        self._next_mark = time.perf_counter() + warmup

    def first(self) -> list[str]:
        """What is sent before anything was received."""
        return [self._text(number) for number in range(self._mode.depth)] or ["!quotes"]

    def received(self, message: Any) -> str | None:
        """Check a message; returns what is to be sent now."""
        if isinstance(message, str) and message.startswith("!"):
            return self._control(message)
        number = self._received
        self._received = number + 1
        depth = self._mode.depth
        if depth:
            if message != self._text(number):
                raise WrongAnswer(f"message {number} is {message!r}")
        elif message["n"] != number % QUOTES:
            raise WrongAnswer(f"quote {number} is {message!r}")
        if time.perf_counter() >= self._next_mark:
            return self._mark()
        return self._text(number + depth) if depth and not self._is_ending else None

    def _text(self, number: int) -> str:
        return f"{number:08}{self._filler}"

    def _mark(self) -> str | None:
        now = (self._received, time.perf_counter(), time.process_time(), cpu_seconds(self._server))
        if self._start is None:
            self._start = now
            self._next_mark += self._seconds
            return self._text(self._received - 1 + self._mode.depth) if self._mode.depth else None
        messages, seconds, own, servers = (end - start for end, start in zip(now, self._start, strict=True))
        self.figures = {
            "rate": messages / seconds,
            "client_us": own / messages * 1e6,
            "client_cpu": own / seconds,
            "server_cpu": servers / seconds,
        }
        self._next_mark = float("inf")
        self._is_ending = True
        return "!stop"

    def _control(self, message: str) -> str | None:
        if message == "!stopped":
            return "!heartbeats"
        sent, answered = (int(part.split()[0]) for part in message[1:].split(", "))
        if sent != answered:
            raise WrongAnswer(f"of {sent} heartbeats {answered} were answered")
        self.is_over = True
        return None


def cpu_seconds(process: int) -> float:
    """CPU time of a process, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[_CPU_FIELDS])) / _TICKS
