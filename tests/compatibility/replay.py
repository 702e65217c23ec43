"""Sends to our server what a recorded client sent, at the same moments of a time that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import Final

from tests.compatibility.meaning import Conversation
from tests.support import ClientStream, MovedLoop, Served

RECORDINGS: Final = Path(__file__).resolve().parent / "recordings"

EVERY_ANSWER: Final = "every answer"
EVERY_FIRST_ANSWER: Final = "every first answer"

_GREETING: Final = re.compile(rb"~m~\d+~m~([0-9]{13,20}|[0-9a-f]{32})(?![0-9a-f])")
_METHOD: Final = re.compile(rb"([A-Z]+) \S+ HTTP/1")
# When both have answered at once, the recorder hung up at once. Ours gets so much more time.
_PATIENCE: Final = 0.05


@dataclasses.dataclass(frozen=True)
class Event:
    time: float
    connection: str
    kind: str  # sent, got; ended by the server, closed by the client; silence
    data: bytes = b""


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    events: list[Event]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one step came to on one connection."""

    step: str
    ours: str
    theirs: str

    @property
    def same(self) -> bool:
        """Whether both mean the same to a client: of an error the class counts, 4xx or 5xx."""
        return _with_classes(self.ours) == _with_classes(self.theirs)


def load(server: str, transport: str) -> list[Step]:
    """A recording. Its first line holds abbreviations, a line with a name starts a step, the others are events.

    Bytes stand as text in UTF-8; those that aren't are lone surrogates, as Python's `surrogateescape` has them.
    """
    lines = (RECORDINGS / server / f"{transport}.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    abbreviations = json.loads(lines[0])
    steps: list[Step] = []
    for line in lines[1:]:
        entry = json.loads(line)
        if isinstance(entry, str):
            steps.append(Step(entry, []))
            continue
        time, connection, kind, *data = entry
        text = "".join(data)
        for short, long in abbreviations.items():
            text = text.replace(short, long)
        for part in kind.split(" and "):
            steps[-1].events.append(Event(time, connection, part, text.encode("utf-8", "surrogateescape")))
    return steps


class Replay:
    """A recording on its way through our server."""

    def __init__(self, served: Served, clock: MovedLoop) -> None:
        self._served = served
        self._clock = clock
        self._start = clock.time()
        self._links: dict[str, Link] = {}
        self._ids: dict[bytes, bytes] = {}  # theirs to ours
        self._our_flaws: set[str] = set()
        self._their_flaws: set[str] = set()

    async def run(self, steps: list[Step]) -> list[Outcome]:
        outcomes = []
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            for event in step.events:
                await self._follow(event, step)
            if following is not None:
                await self._wait_until(following.events[0].time)
            outcomes += [outcome for link in self._links.values() for outcome in link.outcomes(step.name)]
            self._forget([name for name, link in self._links.items() if link.closed])
        for link in self._links.values():
            await link.hang_up(reset=False)
        self._forget(list(self._links))
        flaws = (", ".join(sorted(flaws)) or "no flaws" for flaws in (self._our_flaws, self._their_flaws))
        return [*outcomes, Outcome(EVERY_ANSWER, *flaws)]

    def _forget(self, names: list[str]) -> None:
        for name in names:
            link = self._links.pop(name)
            self._our_flaws |= link.ours.flaws
            self._their_flaws |= link.theirs.flaws

    async def _follow(self, event: Event, step: Step) -> None:
        await self._wait_until(event.time)
        link = self._links.get(event.connection)
        if link is None:
            link = self._links[event.connection] = Link(await self._served.connect())
        if event.kind == "sent":
            await link.send(event.data, self._translated(event.data))
            await self._clock.advance(0)
        elif event.kind == "got":
            link.theirs.received += event.data
        elif event.kind == "ended":
            link.theirs.ended = True
        elif event.kind == "closed":
            if link.is_behind():
                await self._clock.advance(_PATIENCE)
            await link.hang_up(reset="RST" in step.name)
            await self._clock.advance(0)
        self._ids |= link.new_id()

    async def _wait_until(self, time: float) -> None:
        await self._clock.advance(max(0.0, self._start + time - self._clock.time()))

    def _translated(self, data: bytes) -> bytes:
        for theirs, ours in self._ids.items():
            data = data.replace(theirs, ours)
        return data


class Link:
    """A recorded connection beside ours."""

    def __init__(self, wire: ClientStream) -> None:
        self.theirs = Conversation()
        self.ours = Conversation()
        self._wire = wire
        self.closed = False
        self._told = 0, 0
        self._asked: list[str] = []
        self._id_known = False
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._wire.reader.read(1 << 16):
                self.ours.received += data
        self.ours.ended = True

    async def send(self, theirs: bytes, ours: bytes) -> None:
        self.theirs.ask(theirs)
        self.ours.ask(ours)
        method = _METHOD.match(theirs)
        self._asked.append(method[1].decode() if method else "data")
        await self._wire.send(ours)

    def new_id(self) -> dict[bytes, bytes]:
        """Their session id and ours, where this connection has just brought them."""
        theirs, ours = (None, None) if self._id_known else map(_id_in, (self.theirs, self.ours))
        self._id_known = self._id_known or bool(theirs and ours)
        return {theirs: ours} if theirs and ours else {}

    async def hang_up(self, *, reset: bool) -> None:
        self.closed = True
        self._reading.cancel()
        if reset:
            self._wire.reset()
        else:
            await self._wire.aclose()

    def is_behind(self) -> bool:
        return len(self.ours.events()) < len(self.theirs.events())

    def outcomes(self, step: str) -> list[Outcome]:
        """What is new since the last time, if anything was asked or came."""
        ours, theirs = self.ours.events(), self.theirs.events()
        new = [_tidy(events[told:], step) for events, told in zip((ours, theirs), self._told, strict=True)]
        asked = " ".join(self._asked) or "stream"
        self._told = len(ours), len(theirs)
        if not self._asked and not any(new):
            return []
        self._asked = []
        return [Outcome(step, *(f"{asked}: {' '.join(events)}".strip() for events in new))]


def without_welcomes(outcomes: list[Outcome]) -> list[Outcome]:
    """Outcomes of polls, with one for all first answers in which theirs had the first message behind the id."""
    tidy = [
        dataclasses.replace(each, theirs=each.theirs.replace('ID, "welcome"', "ID")) if "ID" in each.ours else each
        for each in outcomes
    ]
    return tidy if tidy == outcomes else [*tidy, Outcome(EVERY_FIRST_ANSWER, "GET: [ID]", 'GET: [ID, "welcome"]')]


def _id_in(conversation: Conversation) -> bytes | None:
    greeting = _GREETING.search(conversation.received)
    return greeting[1] if greeting else None


def _tidy(events: list[str], step: str) -> list[str]:
    """Heartbeats come whenever they are due; where a step isn't about them, they don't count."""
    return events if "heartbeat" in step else [event for event in events if not event.startswith("~h~")]


def _with_classes(text: str) -> str:
    return re.sub(r"\b([45])\d\d\b", r"\1xx", text)
