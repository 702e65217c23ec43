"""Exactly once, over connections that are cut: messages arrive once and in order, or their connection visibly ends.

To the byte: a message counts as delivered when the server's socket has taken the whole payload that it is in. So among
all that the proxy has got from the server, each message is in one whole answer, no more and no less, also for a client
that polls on after polls that broke. What breaks behind the socket is lost to that client, and it has seen it break.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
import re
import socket
from collections.abc import Iterator

import pytest

from tests.chaos.cutting_proxy import BUFFER, CuttingProxy, Fate, Passage, Way
from tests.chaos.talker import LARGE_BYTES, NUMBERS, Talker, numbered
from tests.clients import Client, open_client
from tests.internals import listeners
from tests.support import POLLING, SOCKETS, STREAMING, ClientStream, Recorder, Served, payload_of, until
from tornadio.settings import PROTOCOLS

# What a client sees of the end of its connection.
BROKEN = (ConnectionError, EOFError)

LIVES = {**dict.fromkeys(SOCKETS, 600), **dict.fromkeys(STREAMING, 350), **dict.fromkeys(POLLING, 200)}
# How many connections are cut. A socket and a stream end with that, their POSTs should live a while.
ODDS = {**dict.fromkeys(SOCKETS, 0.9), **dict.fromkeys(STREAMING, 0.5), **dict.fromkeys(POLLING, 0.6)}
LARGE = 0.01  # of the messages are long
CUTS = 250  # at least, over each transport
AT_ONCE = 20

TURNS = 30  # of the loop: more than a request needs to be read, or a large answer to be written


def numbers_in(payload: str) -> list[int]:
    return [int(number) for number in re.findall(r"~m~\d+~m~(\d+) ", payload)]


@dataclasses.dataclass(frozen=True)
class Through(Served):
    """A server that is reached through a proxy."""

    proxy: CuttingProxy | None = None

    @property
    def port(self) -> int:
        assert self.proxy is not None
        return self.proxy.port


class Life:
    """A client, from its handshake to the end that it sees."""

    def __init__(self, served: Through, transport: str, dice: random.Random) -> None:
        self.served = served
        self.transport = transport
        self.dice = dice
        self.session_id = ""
        self.heard: list[int] = []
        self.said = self.acknowledged = 0

    async def live(self) -> None:
        with contextlib.suppress(*BROKEN):
            await (self.live_by_polls() if self.transport in POLLING else self.live_on_a_connection())
        for wire in self.served.wires:
            await wire.aclose()

    async def live_on_a_connection(self) -> None:
        client = await open_client(self.served, self.transport)
        self.session_id = client.session_id
        say = self.say_by_posts() if self.transport in STREAMING else self.say(client)
        await asyncio.gather(self.hear(client), say)

    async def hear(self, client: Client) -> None:
        with contextlib.suppress(*BROKEN):
            while len(self.heard) < NUMBERS:
                self.heard += [number_of(message) for message in await client.receive()]

    async def say(self, client: Client) -> None:
        with contextlib.suppress(*BROKEN):
            while batch := self.next_batch():
                await client.send(*batch)

    async def say_by_posts(self) -> None:
        """As the official client, which never posts again when a POST has failed."""
        with contextlib.suppress(*BROKEN):
            while batch := self.next_batch():
                status = (await self.served.post(self.session_id, *batch, transport=self.transport)).status
                if status == 401:
                    break
                assert status == 200
                self.acknowledged = self.said

    def next_batch(self) -> list[str]:
        first = self.said
        self.said = min(first + self.dice.randrange(1, 8), NUMBERS)
        return [numbered(number, self.dice, LARGE) for number in range(first, self.said)]

    async def live_by_polls(self) -> None:
        self.session_id, first = await self.served.open(self.transport)
        self.heard += numbers_in(first)
        await asyncio.gather(self.poll_on(), self.say_to_the_end())

    async def say_to_the_end(self) -> None:
        await self.say_by_posts()
        talker = Talker.opened[self.session_id]
        await talker.talking
        talker.close()

    async def poll_on(self) -> None:
        """Until the session has ended, whatever happens to single polls. Many share a connection, as in browsers."""
        path = f"/socket.io/{self.transport}/{self.session_id}/1290000000000/0"
        wire = None
        while True:
            wire = wire or await self.served.connect()
            try:
                await wire.send_request("GET", path)
                response = await wire.read_response()
            except BROKEN:
                await wire.aclose()
                wire = None
                continue
            if response.status == 401:
                return
            assert response.status == 200
            self.heard += numbers_in(response.text)
            if self.dice.random() < 0.3:
                await wire.aclose()
                wire = None


def number_of(message: str) -> int:
    return int(message.split(" ")[0])


# -- What must hold ----------------------------------------------------------------------------------------------------


def check_connection(life: Life, talker: Talker, was_cut: bool) -> None:
    """Over one connection the client hears what was said up to where it was cut."""
    assert life.heard == list(range(len(life.heard)))
    assert len(life.heard) <= talker.said
    if not was_cut:
        assert len(life.heard) == NUMBERS


def check_polls(life: Life, talker: Talker, passages: list[Passage]) -> None:
    """Each message is in one whole answer that a socket has taken; the client misses only what broke before its eyes.

    Of a large answer that was cut off the socket may have taken all, although the proxy has seen a part.
    """
    taken: list[int] = []
    unseen: set[int] = set()
    begun: set[int] = set()
    for passage in passages:
        for body, is_whole in answers_in(bytes(passage.down.seen)):
            numbers = numbers_in(body)
            if is_whole:
                taken += numbers
                unseen.update(numbers if passage.was_cut else ())
            else:
                begun.update(numbers[:1])
    assert len(taken) == len(set(taken))
    missing = set(range(talker.said)) - set(taken)
    assert all(number in begun or number - 1 in missing for number in missing)
    assert life.heard == sorted(set(life.heard))
    assert set(taken) - unseen <= set(life.heard) <= set(taken)


def answers_in(data: bytes) -> Iterator[tuple[str, bool]]:
    """The bodies of all answers on a connection, and whether they are whole."""
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        size = int(length[1]) if length else 0
        yield rest[:size].decode(), len(rest) >= size
        data = rest[size:]


def check_said(life: Life, talker: Talker, was_cut: bool) -> None:
    """The server has handled what the client said, once and in order, up to where it was cut."""
    assert talker.heard == list(range(len(talker.heard)))
    assert life.acknowledged <= len(talker.heard) <= life.said
    if not was_cut:
        assert len(talker.heard) == NUMBERS


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_messages_arrive_once_and_in_order_or_their_connection_has_visibly_ended(serve, dice, caplog, transport):
    Talker.dice, Talker.large = dice, LARGE
    Talker.opened.clear()
    served = serve(Talker)
    for listener in listeners(served.server):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    turnstile = asyncio.Semaphore(AT_ONCE)
    lives: list[tuple[Life, list[Passage]]] = []

    async def live(dice: random.Random) -> None:
        async with turnstile, CuttingProxy.to(served.port, lambda: cast_fate(dice, ODDS[transport])) as proxy:
            life = Life(Through(served.server, served.router, proxy=proxy), transport, dice)
            lives.append((life, proxy.passages))
            await life.live()

    await asyncio.gather(*(live(random.Random(dice.random())) for _ in range(LIVES[transport])))
    if transport not in POLLING:
        await until(lambda: not served.router.connections)
    await served.server.shutdown(timeout=0.1)

    for life, passages in lives:
        if life.session_id:
            talker, was_cut = Talker.opened[life.session_id], any(passage.was_cut for passage in passages)
            if transport in POLLING:
                check_polls(life, talker, passages)
            else:
                check_connection(life, talker, was_cut)
            check_said(life, talker, was_cut)
    assert [talker.ends for talker in Talker.opened.values()] == [1] * len(Talker.opened)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert sum(passage.was_cut for _, passages in lives for passage in passages) >= CUTS
    await until(lambda: len(asyncio.all_tasks()) == 1)  # every handler has come to its end


def cast_fate(dice: random.Random, odds: float) -> Fate:
    return Fate.cast(dice) if dice.random() < odds else Fate()


# -- Connections that are dead already ---------------------------------------------------------------------------------


def last_passage(proxy: CuttingProxy) -> Passage:
    return proxy.passages[-1]


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("way", [Way.RESET, Way.CLOSE, Way.CLOSE_TO_SERVER], ids=lambda way: way.name)
async def test_news_for_a_poll_whose_connection_is_dead_come_with_the_next(serve, transport, way):
    """The server can't know of the end yet, and must look: its first write after it would succeed."""
    served = serve()
    async with CuttingProxy.to(served.port) as proxy:
        session_id, _ = await served.open(transport)
        poll = await served.start_poll(session_id, transport, await ClientStream.connect(proxy.port))
        last_passage(proxy).cut(way, then=lambda: served.router.broadcast("news"))
        await poll.read_to_end()
        await poll.aclose()
    assert answered(last_passage(proxy)) == b""
    assert payload_of(await served.poll(session_id, transport), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
async def test_news_that_a_socket_has_taken_do_not_come_again_though_they_never_arrived(serve, transport):
    """The other side of the border: for all the server knows, the client has seen them, and must not see them twice."""
    served = serve()
    async with CuttingProxy.to(served.port, lambda: Fate(Way.RESET, bytes_down=1)) as proxy:
        session_id, _ = await served.open(transport)
        poll = await served.start_poll(session_id, transport, await ClientStream.connect(proxy.port))
        served.router.broadcast("lost")
        assert len(await poll.read_to_end()) <= 1
        await poll.aclose()
    assert b"~m~4~m~lost" in answered(last_passage(proxy))
    served.router.broadcast("news")
    assert payload_of(await served.poll(session_id, transport), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("way", [Way.RESET, Way.CLOSE, Way.CLOSE_TO_SERVER], ids=lambda way: way.name)
async def test_of_two_polls_the_second_gets_the_news_also_when_its_connection_dies_with_them(serve, transport, way):
    served = serve()
    async with CuttingProxy.to(served.port) as proxy:
        session_id, _ = await served.open(transport)
        first = await served.start_poll(session_id, transport, await ClientStream.connect(proxy.port))
        second = await served.start_poll(session_id, transport, await ClientStream.connect(proxy.port))
        assert (await first.read_response()).status == 200
        last_passage(proxy).cut(way, then=lambda: served.router.broadcast("news"))
        await second.read_to_end()
        for poll in (first, second):
            await poll.aclose()
    assert payload_of(await served.poll(session_id, transport), transport) == "~m~4~m~news"


@pytest.mark.parametrize("transport", POLLING)
async def test_an_answer_that_was_taken_just_before_another_poll_takes_over_does_not_come_again(serve, transport):
    """Whichever turn of the loop the second poll comes in: the news are in one whole answer."""
    served = serve()
    for listener in listeners(served.server):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    session_id, _ = await served.open(transport)
    async with CuttingProxy.to(served.port) as proxy:
        for turns in range(1, TURNS):
            first = await served.start_poll(session_id, transport, await ClientStream.connect(proxy.port))
            second = await served.connect()
            served.router.broadcast(f"{turns} " + "x" * LARGE_BYTES)
            for _ in range(turns):
                await asyncio.sleep(0)
            await second.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000/0")
            await served.barrier()
            served.router.broadcast("0 ")
            await first.read_head()
            await first.aclose()
            numbers = numbers_in((await second.read_response()).text)
            if 0 not in numbers:
                numbers += numbers_in((await served.poll(session_id, transport)).text)
            await until(lambda: last_passage(proxy).has_ended)
            [(body, is_whole)] = answers_in(answered(last_passage(proxy)))
            assert (numbers, is_whole) in (([0], True), ([turns, 0], False))
            assert numbers_in(body) == [turns]


@pytest.mark.parametrize("transport", POLLING)
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_poll_whose_client_leaves_while_it_asks_loses_nothing(serve, transport, reset):
    served = serve()
    session_id, _ = await served.open(transport)
    for turns in range(TURNS):
        await ask_and_leave(served, f"/socket.io/{transport}/{session_id}/1290000000000/0", turns, reset)
        await served.barrier()
        served.router.broadcast(f"{turns} ")
        assert numbers_in(payload_of(await served.poll(session_id, transport), transport)) == [turns]


@pytest.mark.parametrize("transport", STREAMING)
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_stream_whose_client_leaves_while_it_asks_leaves_nothing_behind(serve, transport, reset):
    served = serve()
    await served.barrier()
    before = len(asyncio.all_tasks())
    for turns in range(TURNS):
        await ask_and_leave(served, f"/socket.io/{transport}//1290000000000", turns, reset)
    await served.barrier()
    await until(lambda: len(asyncio.all_tasks()) <= before)
    assert len(Recorder.opened) > TURNS / 2
    for recorder in Recorder.opened:
        await recorder.wait_closed()
        assert recorder.events == [("open", ""), ("close",)]


async def ask_and_leave(served: Served, path: str, turns: int, reset: bool) -> None:
    """Ask for something and leave some turns of the loop later. In some of them Tornado never tells the handler."""
    wire = await served.connect()
    await wire.send(b"G")
    await served.barrier()  # from here on Tornado watches the connection
    await wire.send(f"ET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    for _ in range(turns):
        await asyncio.sleep(0)
    if reset:
        wire.reset()
    else:
        await wire.aclose()


def answered(passage: Passage) -> bytes:
    """All that the server's socket has taken."""
    return bytes(passage.down.seen)
