"""What the command line client prints: frames with their time and direction, or payloads as they are."""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, Literal, TextIO

from tornadio import proto
from tornadio.errors import ProtocolError
from tornadio.framing import split_frames
from tornadio.logs import escape_unprintable

# SGR parameters (ECMA-48, 8.3.117) for a terminal.
_DIM: Final = "2"
_COLOURS: Final = {"in": "32", "out": "36"}  # green, cyan
_ARROWS: Final = {"in": "<", "out": ">"}

Direction = Literal["in", "out"]


class Printer:
    """Prints the frames of a connection, or its payloads, until a number of messages has come in.

    :param output: where to.
    :param is_terminal: whether that is a terminal. What goes elsewhere has no colours, and raw payloads have nothing
        around them.
    :param is_raw: print payloads as they are.
    :param first_frame: as :func:`tornadio.connect` has it.
    :param count: the number of messages; ``None`` for no end.
    :param on_end: called once: with ``None`` when as many have come in, or with the error of the output.
    """

    def __init__(
        self,
        output: TextIO,
        *,
        is_terminal: bool,
        is_raw: bool,
        first_frame: str,
        count: int | None,
        on_end: Callable[[OSError | None], object],
    ) -> None:
        self._output = output
        self._is_terminal = is_terminal
        # https://no-color.org
        self._has_colours = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._is_raw = is_raw
        self._awaits_session_id = first_frame == "session_id"
        self._remaining = count
        self._on_end = on_end
        self._has_ended = False

    def trace(self, direction: Direction, payload: str) -> None:
        """Print a payload of the connection: :func:`tornadio.connect` calls this with each."""
        if self._has_ended:
            return
        try:
            self._print(direction, payload)
            self._output.flush()
        except OSError as error:
            self._end(error)
        else:
            if self._remaining == 0:
                self._end(None)

    def _print(self, direction: Direction, payload: str) -> None:
        """Print a payload's frames, up to the last one that is counted."""
        if self._is_raw:
            self._print_payload(direction, payload)
        for text, note in self._frames(direction, payload):
            if not self._is_raw:
                self._print_line(direction, text, note)
            if direction == "in" and not note and self._remaining is not None:
                self._remaining -= 1
                if self._remaining == 0:
                    break

    def _end(self, error: OSError | None) -> None:
        self._has_ended = True
        self._on_end(error)

    def _frames(self, direction: Direction, payload: str) -> Iterator[tuple[str, str]]:
        """Yield each frame's text, and what it is if it is no message."""
        try:
            for text in split_frames(payload):
                if text.startswith(proto.HEARTBEAT):
                    yield text, "heartbeat"
                elif direction == "in" and self._awaits_session_id:
                    self._awaits_session_id = False
                    yield text, "" if text.removeprefix(proto.JSON).startswith(("{", "[")) else "session id"
                else:
                    yield text, ""
        except ProtocolError as error:
            yield payload, str(error)

    def _print_payload(self, direction: Direction, payload: str) -> None:
        if self._is_terminal:
            self._print_line(direction, payload)
        elif direction == "in":
            self._output.write(f"{payload}\n")

    def _print_line(self, direction: Direction, text: str, note: str = "") -> None:
        now = datetime.now().strftime("%H:%M:%S.%f")[:-3]
        text = escape_unprintable(f"{text}  ({note})" if note else text)
        frame = self._coloured(f"{_ARROWS[direction]} {text}", _DIM if note else _COLOURS[direction])
        self._output.write(f"{self._coloured(now, _DIM)} {frame}\n")

    def _coloured(self, text: str, parameter: str) -> str:
        return f"\x1b[{parameter}m{text}\x1b[0m" if self._has_colours else text


def say(text: str) -> None:
    """Print a line about the program itself, which may quote the server, to standard error."""
    print(f"tornadio: {escape_unprintable(text)}", file=sys.stderr)
