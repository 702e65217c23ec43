"""What the tests of cut connections have in common: messages with numbers, and a server that says its own."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import tornadio
from tests.chaos.cutting_proxy import BUFFER

NUMBERS = 30  # messages in each direction of a session
LARGE_BYTES = 6 * BUFFER  # more than the kernel keeps for a reader that has stopped


def numbered(number: int, dice: random.Random, large: float) -> str:
    """A message; `large` is the chance that it is a long one."""
    return f"{number} " + "x" * (LARGE_BYTES if dice.random() < large else dice.randrange(20))


def number_of(message: str) -> int:
    return int(message.split(" ")[0])


class Talker(tornadio.SocketConnection):
    """Says its numbers, whenever it likes, and remembers those that it hears."""

    dice: random.Random
    large: float  # the chance that a message is a long one
    opened: dict[str, Talker] = {}

    def __init__(self) -> None:
        self.said = 0
        self.heard: list[int] = []
        self.ends = 0

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.opened[self.session_id] = self
        self.talking = asyncio.create_task(self.talk())

    async def talk(self) -> None:
        dice = random.Random(self.dice.random())
        while self.said < NUMBERS and not self.is_closed:
            for _ in range(min(dice.choice((1, 1, 2)), NUMBERS - self.said)):
                self.send(numbered(self.said, dice, self.large))
                self.said += 1
            await asyncio.sleep(dice.choice((0, dice.uniform(0, 0.01))))

    async def on_message(self, message: str) -> None:
        await asyncio.sleep(0)
        self.heard.append(number_of(message))

    def on_close(self) -> None:
        self.ends += 1
