"""Tests of the feed, with what TornadIO has for that: see docs/testing.rst. `python3 -m pytest` runs them."""

import asyncio
import random
from typing import Any

import pytest
import pytest_asyncio
from feed import BEHIND_BYTES, Feed, FeedConnection
from market import BARS, INTERVALS, Market

import tornadio
from tornadio.testing import Server

pytestmark = pytest.mark.asyncio

NOW = 1764385123.4
CLIENT: dict[str, Any] = {"transports": ["websocket"], "json": "plain", "first_frame": "message", "compression": True}


@pytest.fixture
def feed() -> Feed:
    """A feed whose market trades when the test says so."""
    return Feed(Market(NOW, seed=1))


@pytest_asyncio.fixture
async def server(tornadio_serve: Any, feed: Feed) -> Server:
    served: Server = await tornadio_serve(feed.router)
    return served


async def receive(socket: tornadio.ClientConnection, method: str) -> Any:
    """The parameters of the next message, which has to be of this kind."""
    message = await socket.recv()
    assert message["m"] == method
    return message["p"]


async def test_who_comes_is_greeted_with_what_there_is(server: Server, feed: Feed) -> None:
    async with server.connect(**CLIENT) as socket:
        greeting = await socket.recv()
        [connection] = feed.router.connections
        assert greeting["session_id"] == connection.session_id
        assert greeting["symbols"] == list(feed.market.listings)
        assert greeting["intervals"] == list(INTERVALS)


async def test_quotes_and_bars_come_while_they_are_subscribed_to(server: Server, feed: Feed) -> None:
    async with server.connect(**CLIENT) as socket, server.connect(**CLIENT) as other:
        await socket.recv()
        await other.recv()
        await other.send({"m": "subscribe", "p": ["ACME"]})
        assert (await receive(other, "instrument"))[0] == "ACME"
        await socket.send({"m": "subscribe", "p": ["COMET", "COMET@5"]})
        symbol, about = await receive(socket, "instrument")
        assert (symbol, about["name"], about["decimals"]) == ("COMET", "Comet Night Mail ☄️", 1)
        assert about["trail"][-1] == about["last"]
        channel, bars = await receive(socket, "history")
        assert (channel, bars) == ("COMET@5", feed.market.bars("COMET", 5))
        assert len(bars) == BARS

        feed.advance(NOW + 60)  # in which everything trades
        assert await receive(socket, "quote") == ["COMET", feed.market.listings["COMET"].quote()]
        assert await receive(socket, "bar") == ["COMET@5", feed.market.last_bar("COMET", 5)]
        assert (await receive(other, "quote"))[0] == "ACME"

        await socket.send({"m": "unsubscribe", "p": ["COMET", "OTTER", 5]})
        assert await receive(socket, "unsubscribed") == ["COMET"]
        feed.advance(NOW + 120)
        feed.advance(NOW + 180)
        assert [(await receive(socket, "bar"))[0] for _ in range(2)] == ["COMET@5"] * 2


WRONG = (
    ({"m": "subscribe", "p": ["ACMEE"]}, "ACMEE", "There is no instrument 'ACMEE': there are ACME, OTTER, "),
    ({"m": "subscribe", "p": ["ACME@7"]}, "ACME@7", "There are no such bars, 'ACME@7': there are 5, 15, 60, 300"),
    ({"m": "subscribe", "p": ["ACME@"]}, "ACME@", "There are no such bars, 'ACME@': there are 5, "),
    ({"m": "subscribe", "p": [["ACME"]]}, None, 'A channel is a text such as "ACME" or "ACME@60".'),
    ({"m": "subscribe", "p": ["x" * 1000]}, "x" * 40, "There is no instrument 'xxx"),
    ({"m": "subscribe", "p": "ACME"}, None, "This is no message that the feed knows."),
    ({"m": "buy", "p": ["ACME"]}, None, "This is no message that the feed knows."),
    ("ACME", None, "This is no message that the feed knows."),
    (["ACME"], None, "This is no message that the feed knows."),
)


async def test_what_is_wrong_with_a_message_is_said_and_the_feed_goes_on(server: Server) -> None:
    async with server.connect(**CLIENT) as socket:
        await socket.recv()
        for message, what, reason in WRONG:
            await socket.send(message)
            error = await receive(socket, "error")
            assert error[0] == what
            assert error[1].startswith(reason)
        await socket.send({"m": "subscribe", "p": ["NO", "ACME"]})
        assert (await receive(socket, "error"))[0] == "NO"
        assert (await receive(socket, "instrument"))[0] == "ACME"


async def test_who_reads_too_slowly_misses_quotes_and_then_has_the_newest(server: Server, feed: Feed) -> None:
    async with server.connect(**CLIENT) as socket:
        await socket.recv()
        [connection] = feed.router.connections
        assert isinstance(connection, FeedConnection)
        await socket.send({"m": "subscribe", "p": ["ACME", "ACME@60"]})
        await receive(socket, "instrument")
        await receive(socket, "history")
        filler = {"m": "filler", "p": [random.Random(1).randbytes(250_000).hex()]}  # not compressed to nothing
        async with asyncio.timeout(30):
            while connection.catching_up is None:  # nobody reads meanwhile, until the kernel takes no more
                if connection.send_buffer_size < BEHIND_BYTES:
                    feed.send("ACME", filler)
                await asyncio.sleep(0.01)
                feed.check_readers()
        feed.advance(NOW + 60)
        await socket.send({"m": "subscribe", "p": ["OTTER"]})
        while (message := await socket.recv())["m"] == "filler":
            pass
        assert [message["m"], message["p"][0], message["p"][1]["t"]] == ["instrument", "ACME", NOW + 60]
        assert (await receive(socket, "history"))[0] == "ACME@60"
        assert (await receive(socket, "instrument"))[0] == "OTTER"
        feed.advance(NOW + 120)
        assert {(await receive(socket, method))[0] for method in ("quote", "bar", "quote")} == {
            "ACME",
            "ACME@60",
            "OTTER",
        }
        assert connection.catching_up is None


async def test_many_questions_at_once_are_answered_as_fast_as_answers_are_read(server: Server, feed: Feed) -> None:
    async with server.connect(**CLIENT) as socket:
        await socket.recv()
        await socket.send({"m": "subscribe", "p": ["ACME@300"] * 300})  # whose answers are more than max_send_buffer
        for _ in range(300):
            assert await receive(socket, "history") == ["ACME@300", feed.market.bars("ACME", 300)]
