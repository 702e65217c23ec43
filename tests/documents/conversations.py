r"""The conversations of docs/protocol.rst: bytes on the wire, written down, and played with a server.

A block has turns. `C1: ` is what the client sends on its first connection, `S2: ` what the server sends on the second;
further lines of a turn are indented. A line's end in the block means nothing, nor do blanks around a line: bytes stand
there as UTF-8, `\r`, `\n`, `\0`, `\\` and `\x1f`. `{id}` is a placeholder, `{244 spaces}` so many spaces. `(closes)` is
the end of the connection by the server, and a line `(2 seconds)` time that passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tests.compatibility.meaning import Conversation
from tests.support import SECONDS, ClientStream, MovedLoop, Served

PLACEHOLDERS: Final = {
    "host": rb"127\.0\.0\.1:[0-9]+",
    "port": rb"[0-9]+",
    "date": rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
    "id": rb"[0-9a-f]{32}",
    "boundary": rb"socketio-[0-9a-f]{32}",
}
CLOSES: Final = "(closes)"

# What stands for the date where one is written.
SOME_DATE: Final = {"date": b"Sun, 22 Nov 2026 18:36:50 GMT"}

_RECORDED_ID: Final = re.compile(rb"~m~[0-9]+~m~([0-9]{14,18})(?![0-9])")
_OUR_ID: Final = re.compile(rb"~m~32~m~([0-9a-f]{32})")

_START: Final = re.compile(r"([CS])([0-9]): (.*)")
_PAUSE: Final = re.compile(r"\(([0-9.]+) seconds\)")
_ITEM: Final = re.compile(r"\\(r|n|0|\\|x[0-9a-f]{2})|\{([0-9]+) spaces\}|\{([a-z]+)\}|([^\\])")
_ESCAPES: Final = {"r": b"\r", "n": b"\n", "0": b"\0", "\\": b"\\"}


@dataclasses.dataclass
class Turn:
    """What one side sends on one connection; or, of nobody, time that passes."""

    speaker: str = ""  # C or S
    connection: int = 0
    text: str = ""
    closes: bool = False
    seconds: float = 0.0


def turns(block: str) -> list[Turn]:
    """The turns of a block."""
    found: list[Turn] = []
    for line in block.splitlines():
        start = _START.fullmatch(line)
        if pause := _PAUSE.fullmatch(line):
            found.append(Turn(seconds=float(pause[1])))
            continue
        if start:
            found.append(Turn(start[1], int(start[2])))
            line = start[3]
        assert start or line.startswith("    "), f"neither a turn nor more of one: {line!r}"
        if line.strip() == CLOSES:
            found[-1].closes = True
        else:
            found[-1].text += line.strip()
    return found


def _items(text: str) -> Iterator[tuple[bytes, str]]:
    """Bytes, or the name of a placeholder."""
    position = 0
    while position < len(text):
        item = _ITEM.match(text, position)
        assert item, f"no such escape: {text[position:]!r}"
        position = item.end()
        escape, spaces, name, character = item.groups()
        if escape:
            yield _ESCAPES.get(escape) or bytes.fromhex(escape[1:]), ""
        elif spaces:
            yield b" " * int(spaces), ""
        else:
            yield (b"", name) if name else (character.encode(), "")


def to_bytes(text: str, values: Mapping[str, bytes]) -> bytes:
    """The bytes of a turn, its placeholders filled."""
    return b"".join(values[name] if name else data for data, name in _items(text))


def to_pattern(text: str, values: Mapping[str, bytes]) -> re.Pattern[bytes]:
    """What matches the bytes of a turn. A placeholder without a value is a group: the first time it stands for any."""
    pattern, named = b"", set[str]()
    for data, name in _items(text):
        if not name:
            pattern += re.escape(data)
        elif name in values:
            pattern += re.escape(values[name])
        elif name == "date":
            pattern += PLACEHOLDERS[name]
        else:
            pattern += (
                b"(?P=%b)" % name.encode() if name in named else b"(?P<%b>%b)" % (name.encode(), PLACEHOLDERS[name])
            )
            named.add(name)
    return re.compile(pattern, re.DOTALL)


class Player:
    """Plays blocks with a server, one after the other: connections stay open from one to the next."""

    def __init__(self, served: Served, clock: MovedLoop) -> None:
        self.values = {"host": b"127.0.0.1:%d" % served.port, "port": b"%d" % served.port}
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()  # connections that the server has closed
        self._closed: set[int] = set()  # those that the page says it closes
        self._served = served
        self._clock = clock
        self._wires: dict[int, ClientStream] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, turn: Turn, data: bytes) -> None:
        """Send what a client says. When this returns the server has seen it."""
        if turn.connection not in self._wires:
            wire = self._wires[turn.connection] = await self._served.connect()
            self.received[turn.connection] = b""
            task = asyncio.create_task(self._read(turn.connection, wire))
            self._tasks.add(task)
        await self._wires[turn.connection].send(data)
        await self._clock.advance(0)

    async def _read(self, connection: int, wire: ClientStream) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await wire.reader.read(1 << 16):
                self.received[connection] += data
        self.ended.add(connection)

    async def play(self, block: str) -> None:
        """Send what the client says, and compare what the server says, up to its last byte."""
        for turn in turns(block):
            if turn.seconds:
                await self._clock.advance(turn.seconds)
            elif turn.speaker == "C":
                await self.send(turn, to_bytes(turn.text, self.values))
            else:
                await self._expect(turn)
        await self._clock.advance(0)
        assert {number: data for number, data in self.received.items() if data} == {}, "more than the page says"
        assert self.ended == self._closed, "connections that the server has closed, and those of which the page says so"

    async def _expect(self, turn: Turn) -> None:
        pattern = to_pattern(turn.text, self.values)
        if not await self.wait(lambda: pattern.match(self.received[turn.connection]) is not None):
            raise AssertionError(f"expected {turn.text!r}\n   found {self.received[turn.connection]!r}")
        found = pattern.match(self.received[turn.connection])
        assert found
        self.values |= found.groupdict()
        self.received[turn.connection] = self.received[turn.connection][found.end() :]
        if turn.closes:
            self._closed.add(turn.connection)
            await self.wait(lambda: turn.connection in self.ended)

    async def wait(self, condition: Callable[[], bool]) -> bool:
        """Whether it becomes true, in time of the wall and none of the clock's."""
        end = time.monotonic() + SECONDS
        while not condition() and time.monotonic() < end:
            await self._clock.advance(0)
        return condition()

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Comparison:
    """Sends what a block's client says to a server of ours, with recorded ids and hosts exchanged for ours, and
    compares what a client learns from both servers' answers."""

    def __init__(self, player: Player, clock: MovedLoop) -> None:
        self._player = player
        self._clock = clock
        self._theirs: dict[int, Conversation] = {}
        self._ours: dict[int, Conversation] = {}
        self._ids: dict[bytes, bytes] = {}  # recorded ones to ours

    async def play(self, block: str) -> None:
        for turn in turns(block):
            data = to_bytes(turn.text, self._player.values | SOME_DATE)
            theirs, ours = (each.setdefault(turn.connection, Conversation()) for each in (self._theirs, self._ours))
            if turn.speaker == "C":
                await self._ask(turn, data, theirs, ours)
            elif turn.speaker == "S":
                theirs.received, theirs.ended = theirs.received + data, turn.closes
                await self._player.wait(lambda: not self.is_behind())
                if (recorded := _RECORDED_ID.search(data)) and (session_id := _OUR_ID.search(ours.received)):
                    self._ids[recorded[1]] = session_id[1]
            else:
                await self._clock.advance(turn.seconds)

    async def _ask(self, turn: Turn, data: bytes, theirs: Conversation, ours: Conversation) -> None:
        theirs.ask(data)
        for recorded_id, session_id in self._ids.items():
            data = data.replace(recorded_id, session_id)
        ours.ask(data)
        await self._clock.advance(0.001)  # for what an application does in a moment
        await self._player.send(turn, data)
        await self._clock.advance(0.001)

    def is_behind(self) -> bool:
        """Whether a client has learnt less from our server so far."""
        theirs, ours = self.meanings()
        return any(len(ours[number]) < len(events) for number, events in theirs.items())

    def meanings(self) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
        """What a client has learnt on each connection, from theirs and from ours."""
        for number, received in self._player.received.items():
            self._ours[number].received, self._ours[number].ended = received, number in self._player.ended
        theirs, ours = (
            {number: each.events() for number, each in of.items() if number} for of in (self._theirs, self._ours)
        )
        return theirs, ours
