"""`tornadio.connect` over connections that are cut: nothing comes twice, nothing is lost without an end that is seen.

What a server has said arrives in order and without gaps up to the end. What was given to `send` is numbered here from 0
to n - 1. With the end, `unsent` holds the last of it, from number u on; the server has heard the first k. Over a
WebSocket k <= u, as `unsent` is what the kernel has not accepted: between k and u is what was under way when the
connection broke. By POSTs k >= u: what was answered has been heard, and between u and k is what a POST had brought to
the server when its answer was lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from typing import Any

import pytest

import tornadio
from tests.chaos.cutting_proxy import BUFFER, CuttingProxy, Fate
from tests.chaos.talker import NUMBERS, Talker, number_of, numbered
from tests.internals import listeners
from tests.support import SECONDS, until
from tornadio.client.options import TRANSPORTS

LIVES = {"websocket": 150, "xhr-polling": 80, "jsonp-polling": 80, "xhr-multipart": 100, "htmlfile": 100}
ODDS = {"websocket": 0.9, "xhr-polling": 0.5, "jsonp-polling": 0.5, "xhr-multipart": 0.5, "htmlfile": 0.5}
LARGE = 0.02  # of the messages are long
CUTS = 20  # at least, over each transport
AT_ONCE = 20


class Life:
    """A program with a client, from its handshake to the end that it sees."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.client: Any = None
        self.heard: list[int] = []
        self.given: list[str] = []  # what `send` has accepted
        self.end: tornadio.ConnectionClosed | None = None
        self.was_cut = False

    async def live(self, port: int, transport: str) -> None:
        url = f"http://127.0.0.1:{port}/socket.io"
        try:
            self.client = await tornadio.connect(url, transports=[transport], open_timeout=SECONDS)
        except tornadio.ConnectError:
            return
        try:
            await asyncio.gather(self.hear(), self.say())
            if self.end is None:
                await self.client.flush()
        except tornadio.ConnectionClosed as error:
            self.end = error
        await self.client.close()

    async def hear(self) -> None:
        try:
            while len(self.heard) < NUMBERS:
                self.heard.append(number_of(await self.client.recv()))
        except tornadio.ConnectionClosed as error:
            self.end = error

    async def say(self) -> None:
        try:
            for number in range(NUMBERS):
                text = numbered(number, self.dice, LARGE)
                if self.client.is_closed:
                    return
                await self.client.send(text)
                self.given.append(text)
                if self.dice.random() < 0.3:
                    await asyncio.sleep(self.dice.choice((0, self.dice.uniform(0, 0.01))))
        except tornadio.ConnectionClosed as error:
            self.end = error


def check(life: Life, talker: Talker, transport: str) -> None:
    assert life.heard == list(range(len(life.heard)))
    assert len(life.heard) <= talker.said
    assert talker.heard == list(range(len(talker.heard)))
    unsent = list(life.client.unsent)
    sent = len(life.given) - len(unsent)
    assert unsent == life.given[sent:]
    if transport == "websocket":
        assert len(talker.heard) <= sent
    else:
        assert sent <= len(talker.heard) <= len(life.given)
    if life.end is None:
        assert (len(life.heard), unsent) == (NUMBERS, [])
    else:
        assert life.end.code == life.client.close_code
        assert list(life.end.unsent) == unsent
        assert life.client.close_reason
    if not life.was_cut:
        assert life.end is None
        assert len(talker.heard) == len(life.heard) == NUMBERS


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_nothing_comes_twice_and_nothing_is_lost_without_an_end_that_is_seen(serve, dice, caplog, transport):
    Talker.dice, Talker.large = dice, LARGE
    Talker.opened.clear()
    served = serve(Talker)
    for listener in listeners(served.server):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    turnstile = asyncio.Semaphore(AT_ONCE)
    lives: list[Life] = []
    descriptors = len(os.listdir("/proc/self/fd"))

    async def live(dice: random.Random) -> None:
        def fate() -> Fate:
            return Fate.cast(dice) if dice.random() < ODDS[transport] else Fate()

        async with turnstile, CuttingProxy.to(served.port, fate) as proxy:
            life = Life(dice)
            lives.append(life)
            await life.live(proxy.port, transport)
            life.was_cut = any(passage.was_cut for passage in proxy.passages)

    await asyncio.gather(*(live(random.Random(dice.random())) for _ in range(LIVES[transport])))
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 1)  # one is the epoll of net/poller.py
    await served.server.shutdown(timeout=0.1)

    opened = [life for life in lives if life.client is not None]
    for life in opened:
        check(life, Talker.opened[life.client.session_id], transport)
    assert sum(life.was_cut for life in opened) >= CUTS
    assert any(life.end is None for life in opened)
    assert [talker.ends for talker in Talker.opened.values()] == [1] * len(Talker.opened)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    await until(lambda: len(asyncio.all_tasks()) == 1)
