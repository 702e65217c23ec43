"""What the command line prints of payloads, on a terminal and in a pipe."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from tornadio import proto
from tornadio.cli.printer import Printer

ENDED = "ended"


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


class Screen(Printer):
    """A printer, and what it has printed."""

    def __init__(self, **options: Any) -> None:
        self.output = io.StringIO()
        self.ends: list[OSError | None] = []
        defaults: dict[str, Any] = {"is_terminal": False, "is_raw": False, "first_frame": "message", "count": None}
        super().__init__(self.output, on_end=self.ends.append, **(defaults | options))

    def lines(self) -> list[str]:
        """The lines, without their times."""
        lines = self.output.getvalue().split("\n")
        assert lines.pop() == ""
        for line in lines:
            assert re.match(r"(\x1b\[2m)?\d\d:\d\d:\d\d\.\d{3}(\x1b\[0m)? ", line), line
        return [line.split(" ", 1)[1] for line in lines]


def test_frames_and_their_directions():
    screen = Screen(first_frame="session_id")
    screen.trace("in", proto.encode(["0123abcd", "welcome"]))
    screen.trace("out", proto.encode(["é😀", {"a": 1}]))
    screen.trace("in", proto.encode_heartbeat(1) + proto.encode("0123abcd"))
    screen.trace("out", proto.encode_heartbeat(1))
    assert screen.lines() == [
        "< 0123abcd  (session id)",
        "< welcome",
        "> é😀",
        '> ~j~{"a": 1}',
        "< ~h~1  (heartbeat)",
        "< 0123abcd",
        "> ~h~1  (heartbeat)",
    ]


def test_the_first_frame_may_be_a_message():
    screen = Screen()
    screen.trace("in", proto.encode('{"session_id": "x"}'))
    assert screen.lines() == ['< {"session_id": "x"}']


def test_nothing_that_comes_in_can_act_on_the_terminal():
    acting = [*map(chr, range(32)), "\x7f", *map(chr, range(0x80, 0xA0)), "\u2028", "\u202e", "\u2066"]
    for is_raw in (False, True):
        screen = Screen(is_terminal=True, is_raw=is_raw)
        for text in (*acting, "\x1b]0;title\x07", "a\r\nb"):
            screen.trace("in", proto.encode(text))
        bare = re.sub(r"\x1b\[\d*m", "", screen.output.getvalue())
        assert bare.count("\n") == len(acting) + 2
        assert not {*acting} - {"\n"} & {*bare}
        assert bare.endswith("a\\r\\nb\n")
        assert "\\x1b]0;title\\x07" in bare


def test_colours_for_terminals():
    screen = Screen(is_terminal=True)
    screen.trace("in", proto.encode("hello") + proto.encode_heartbeat(1))
    screen.trace("out", proto.encode("hello"))
    assert screen.lines() == ["\x1b[32m< hello\x1b[0m", "\x1b[2m< ~h~1  (heartbeat)\x1b[0m", "\x1b[36m> hello\x1b[0m"]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colours_where_they_are_not_wanted(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    screen = Screen(is_terminal=True)
    screen.trace("in", proto.encode("hello"))
    assert screen.lines() == ["< hello"]


def test_raw_payloads_in_a_pipe_have_nothing_around_them():
    screen = Screen(is_raw=True)
    screen.trace("in", proto.encode(["\x1b[2J", "two\nlines"]))
    screen.trace("out", proto.encode("not this"))
    screen.trace("in", "~h~1")
    assert screen.output.getvalue() == "~m~4~m~\x1b[2J~m~9~m~two\nlines\n~h~1\n"


def test_raw_payloads_on_a_terminal():
    screen = Screen(is_raw=True, is_terminal=True)
    screen.trace("in", proto.encode(["a", "b"]))
    screen.trace("out", proto.encode("c"))
    assert screen.lines() == ["\x1b[32m< ~m~1~m~a~m~1~m~b\x1b[0m", "\x1b[36m> ~m~1~m~c\x1b[0m"]


@pytest.mark.parametrize("is_raw", [False, True])
def test_the_count_is_one_of_messages_that_come_in(is_raw):
    screen = Screen(first_frame="session_id", count=2, is_raw=is_raw)
    screen.trace("in", proto.encode("id") + proto.encode_heartbeat(1))
    screen.trace("out", proto.encode(["a", "b", "c"]))
    screen.trace("in", proto.encode("one"))
    assert screen.ends == []
    screen.trace("in", proto.encode(["two", "three"]))
    screen.trace("in", proto.encode("four"))
    assert screen.ends == [None]
    assert "four" not in screen.output.getvalue()
    assert ("three" in screen.output.getvalue()) is is_raw


def test_what_is_no_frame_is_shown_with_the_reason():
    screen = Screen(count=1)
    screen.trace("in", "~m~1~m~a<html>")
    assert screen.lines() == ["< a"]
    screen = Screen(count=1)
    screen.trace("in", "<html>")
    [line] = screen.lines()
    assert line.startswith("< <html>  (")
    assert "~m~LENGTH~m~" in line
    assert screen.ends == []


def test_an_output_that_can_not_be_written_is_the_end():
    screen = Screen()
    error = BrokenPipeError()

    def write(text: str) -> int:
        raise error

    screen.output.write = write  # type: ignore[method-assign]
    screen.trace("in", proto.encode("a"))
    screen.trace("in", proto.encode("b"))
    assert screen.ends == [error]


def test_an_output_that_fails_at_the_last_message_has_not_printed_it():
    screen = Screen(count=1)
    error = OSError("no space left")

    def flush() -> None:
        raise error

    screen.output.flush = flush  # type: ignore[method-assign]
    screen.trace("in", proto.encode("last"))
    assert screen.ends == [error]
