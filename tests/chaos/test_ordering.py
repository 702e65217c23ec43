"""Messages of one client are handled one at a time, in the order in which they arrived, however long handlers take.

What makes that hard: handlers wait for this and that, requests come at once on many connections, some of them break.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

from tests.clients import Client, Peer, connect, frame, open_client
from tests.support import FORM, HTTP_TRANSPORTS, SOCKETS, STREAMING, ClientStream, Recorder, Served, limit, until
from tornadio import proto
from tornadio.settings import PROTOCOLS

T = TypeVar("T")


class Waiting(Recorder):
    """Begins with a message, and ends when it is let go on, some turns of the loop later. `"fail"` makes it raise."""

    dice = random.Random()

    def __init__(self) -> None:
        super().__init__()
        self.at_work = False
        self.handled: list[Any] = []
        self._may_go_on = asyncio.Event()

    async def on_message(self, message: Any) -> None:
        assert not self.at_work
        self.at_work = True
        self._may_go_on.clear()
        await self._may_go_on.wait()
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(0)
        self.at_work = False
        self.handled.append(message)
        if message == "fail":
            raise RuntimeError("as the test asked")
        self.send(message)

    async def on_close(self) -> None:
        assert not self.at_work
        super().on_close()

    def let_go_on(self) -> None:
        """The handler at work; the next one still has to wait."""
        self._may_go_on.set()

    async def handle(self, count: int) -> None:
        """Let so many messages be handled, at moments that chance chooses."""
        goal = len(self.handled) + count
        while len(self.handled) < goal:
            assert not self.is_closed
            self.let_go_on()
            for _ in range(self.dice.randrange(1, 4)):
                if len(self.handled) < goal:
                    await asyncio.sleep(0)


# -- POSTs at once -----------------------------------------------------------------------------------------------------


class Lot(enum.Enum):
    """What becomes of a POST."""

    WHOLE = "it is answered when its messages were handled"
    RESET_BEFORE_ITS_END = "nothing of it is handled"
    CLOSED_BEFORE_ITS_END = "nothing of it is handled, either"
    RESET_AFTER_ITS_END = "it is handled in its turn, though nobody waits for the answer"
    BAD = "what stands before its bad frame is handled in its turn, and the answer says 400"


@dataclasses.dataclass
class Post:
    lot: Lot
    messages: list[str]
    wire: ClientStream
    missing: bytes = b""  # what is still to be sent

    async def begin(self, path: str, dice: random.Random) -> None:
        """Send all but the last bytes."""
        data = proto.encode(self.messages) + ("~m~9~m~cut" if self.lot is Lot.BAD else "")
        body = b"data=" + quote(data, safe="~!*()'").encode()
        self.missing = body[-dice.randrange(1, len(body)) :]
        fields = {"Host": "127.0.0.1", **FORM, "Content-Length": len(body)}
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        await self.wire.send(head.encode() + body.removesuffix(self.missing))

    async def complete(self) -> None:
        """Send the last bytes, or break instead."""
        if self.lot is Lot.RESET_BEFORE_ITS_END:
            self.wire.reset()
        elif self.lot is Lot.CLOSED_BEFORE_ITS_END:
            await self.wire.aclose()
        else:
            await self.wire.send(self.missing)

    @property
    def handled(self) -> list[str]:
        """What must be handled of it."""
        return [] if self.lot in (Lot.RESET_BEFORE_ITS_END, Lot.CLOSED_BEFORE_ITS_END) else self.messages


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_posts_at_once_of_which_some_break_are_handled_in_the_order_of_their_arrival(serve, dice, transport):
    """A POST has arrived with its last byte: they begin in one order, and end in another."""
    served, Waiting.dice = serve(Waiting), dice
    session_id = await served.start(transport)
    [connection] = Recorder.opened
    posts = [
        Post(lot, [f"{number}.{part}" for part in range(dice.randrange(1, 5))], await served.connect())
        for number, lot in enumerate(dice.sample(list(Lot) * 3, k=15))
    ]
    for post in posts:
        await post.begin(f"/socket.io/{transport}/{session_id}/send", dice)
    dice.shuffle(posts)
    for post in posts:
        await post.complete()
        await served.barrier()
    for post in posts:
        if post.lot is Lot.RESET_AFTER_ITS_END:
            post.wire.reset()
    await served.barrier()
    assert connection.handled == []

    expected: list[str] = []
    for post in posts:
        async with limit():
            await connection.handle(len(post.handled))
        expected += post.handled
        assert connection.handled == expected
        if post.lot in (Lot.WHOLE, Lot.BAD):
            response = await post.wire.read_response()
            assert response.status == (200 if post.lot is Lot.WHOLE else 400)
    assert not connection.at_work
    assert connection.events == [("open", "")]


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_an_answer_waits_for_the_last_of_its_own_messages_alone(serve, dice, transport):
    served, Waiting.dice = serve(Waiting), dice
    session_id = await served.start(transport)
    [connection] = Recorder.opened
    posts = []
    for number in range(10):
        posts.append(asyncio.create_task(served.post(session_id, number, number, transport=transport)))
        await served.barrier()
    for done in range(1, 11):
        await connection.handle(1)
        await served.barrier()
        assert [post.done() for post in posts] == [True] * (done - 1) + [False] * (11 - done)
        await connection.handle(1)
        assert (await posts[done - 1]).text == "ok"


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_posts_behind_one_that_fails_are_not_handled(serve, dice, transport):
    served, Waiting.dice = serve(Waiting), dice
    session_id = await served.start(transport)
    [connection] = Recorder.opened
    posts = []
    for message in ("before", "fail", "behind", "behind"):
        posts.append(asyncio.create_task(served.post(session_id, message, transport=transport)))
        await served.barrier()
    await connection.handle(2)
    assert [(await post).status for post in posts[:2]] == [200, 500]
    await asyncio.wait(posts)
    await connection.wait_closed()
    assert connection.handled == ["before", "fail"]
    assert connection.events == [("open", ""), ("close",)]
    assert (await served.post(session_id, "later", transport=transport)).status == 401


@pytest.mark.parametrize("transport", STREAMING)
async def test_a_post_whose_stream_breaks_meanwhile_is_not_called_handled(serve, dice, transport):
    """The official client doesn't notice the end of a stream: this answer is the first that it hears of it."""
    served, Waiting.dice = serve(Waiting), dice
    stream, session_id = await served.open_stream(transport)
    [connection] = Recorder.opened
    post = asyncio.create_task(served.post(session_id, "one", "two", transport=transport))
    behind = asyncio.create_task(served.post(session_id, "three", transport=transport))
    await until(lambda: connection.at_work)
    stream.wire.reset()
    assert [(await post).status, (await behind).status] == [401, 401]
    connection.let_go_on()
    await connection.wait_closed()
    assert connection.handled in (["one"], ["three"])  # whichever arrived first


# -- Frames ------------------------------------------------------------------------------------------------------------

MESSAGES = 60


async def open_peer(served: Served, transport: str) -> Peer:
    peer = await connect(served, "13" if transport == "websocket" else "76", f"/socket.io/{transport}")
    await peer.receive()
    return peer


def framed(transport: str, payload: str, dice: random.Random) -> bytes:
    """A WebSocket message; in version 13 of up to three fragments."""
    data = payload.encode()
    if transport == "flashsocket":
        return b"\x00" + data + b"\xff"
    cuts = sorted(dice.randrange(len(data)) for _ in range(dice.randrange(3)))
    parts = [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]
    opcodes = [1] + [0] * (len(parts) - 1)
    return b"".join(frame(opcode, part, part is parts[-1]) for opcode, part in zip(opcodes, parts, strict=True))


def runs(things: Sequence[T], dice: random.Random, longest: int) -> Iterator[Sequence[T]]:
    """Cut into runs of chance lengths."""
    start = 0
    while start < len(things):
        end = start + dice.randrange(1, longest + 1)
        yield things[start:end]
        start = end


@pytest.mark.parametrize("transport", SOCKETS)
async def test_frames_are_handled_in_order_however_they_are_cut_into_packets(serve, dice, transport):
    served, Waiting.dice = serve(Waiting), dice
    peer = await open_peer(served, transport)
    [connection] = Recorder.opened
    payloads = ["".join(map(proto.encode, run)) for run in runs(range(MESSAGES), dice, 4)]
    handling = asyncio.create_task(connection.handle(MESSAGES))
    for packet in runs(b"".join(framed(transport, payload, dice) for payload in payloads), dice, 60):
        await peer.wire.send(bytes(packet))
        if dice.random() < 0.1:
            await served.barrier()
    async with limit():
        await handling
    assert connection.handled == list(range(MESSAGES))
    await served.barrier()
    assert not connection.at_work
    assert connection.events == [("open", "")]


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("transport", SOCKETS)
async def test_of_a_connection_that_breaks_the_first_messages_are_handled_and_then_it_ends(
    serve, dice, transport, reset
):
    """However many they are: on_close comes behind the handler that was at work, and no message behind on_close."""
    served, Waiting.dice = serve(Waiting), dice
    for _ in range(20):
        peer = await open_peer(served, transport)
        connection = Recorder.opened[-1]
        await peer.send(*map(proto.encode, range(MESSAGES)))
        await connection.handle(first := dice.randrange(MESSAGES))
        if reset:
            peer.wire.reset()
        else:
            await peer.wire.aclose()
        for _ in range(dice.randrange(3)):
            await served.barrier()
        async with limit():
            while not connection.closed.is_set():
                connection.let_go_on()
                await asyncio.sleep(0)
        assert len(connection.handled) >= first
        assert connection.handled == list(range(len(connection.handled)))
        await served.barrier()
        assert not connection.at_work
        assert connection.events == [("open", ""), ("close",)]


# -- Many clients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", PROTOCOLS)
async def test_many_clients_are_heard_and_answered_each_in_its_own_order(serve, dice, transport):
    served, Waiting.dice = serve(Waiting), dice

    async def live() -> None:
        client = await open_client(served, transport)
        [connection] = [each for each in Recorder.opened if each.session_id == client.session_id]
        handling = asyncio.create_task(connection.handle(MESSAGES))
        hearing = asyncio.create_task(hear(client))
        for run in runs(range(MESSAGES), dice, 8):
            await client.send(*run)
        async with limit():
            await handling
        assert connection.handled == list(range(MESSAGES))
        assert await hearing == ["welcome", *range(MESSAGES)]

    await asyncio.gather(*(live() for _ in range(10)))


async def hear(client: Client) -> list[Any]:
    """The welcome, and as many messages as are sent."""
    heard: list[Any] = []
    while len(heard) <= MESSAGES:
        heard += await client.receive()
    return heard
