"""A feed of quotes and bars: the way that market data travels over Socket.IO 0.6, with a page that draws them.

Start it with `python3 feed.py` and open http://localhost:8001/. The market is made up. `watch.py` beside it is a client
for the command line.

The feed is at ws://localhost:8001/socket.io/websocket, in the frames of Socket.IO 0.6, ~m~LENGTH~m~TEXT: each TEXT is a
JSON object without a mark, or a heartbeat, ~h~NUMBER, which clients send back. The first frame is a greeting:

    {"session_id": ID, "time": T, "symbols": [SYMBOL, ...], "intervals": [SECONDS, ...]}

All others have a method and its parameters. Clients send

    {"m": "subscribe", "p": [CHANNEL, ...]}         a channel is a symbol, "ACME", for quotes, or "ACME@60" for bars of
                                                    60 seconds; said again, it is answered again
    {"m": "unsubscribe", "p": [CHANNEL, ...]}

and the server

    {"m": "instrument", "p": [SYMBOL, INSTRUMENT]}  the first answer for a symbol: a quote, with "name", "decimals" of
                                                    prices, "open", the price of the beginning, "trail", recent prices
    {"m": "quote", "p": [SYMBOL, QUOTE]}            then with each trade: {"t": T, "last": PRICE, "bid": PRICE,
                                                    "ask": PRICE, "volume": how many were traded since the beginning}
    {"m": "history", "p": [CHANNEL, [BAR, ...]]}    the first answer for bars, oldest first; the last one still changes
    {"m": "bar", "p": [CHANNEL, BAR]}               then the one that changed, or began
    {"m": "unsubscribed", "p": [CHANNEL, ...]}      nothing more comes of these
    {"m": "error", "p": [WHAT, REASON]}             what was wrong, a channel or null, and a sentence for people

A BAR is [T, open, high, low, close, volume]. Each T is in seconds since 1970. A client that reads too slowly misses
quotes: when it has caught up, the first answers of its channels come again.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tornado.web
from descriptors import allow_many_descriptors
from market import INTERVALS, Market
from tornado.ioloop import PeriodicCallback
from tornado.options import define, options, parse_command_line

import tornadio

HERE = Path(__file__).resolve().parent
TICK_SECONDS = 0.1
TICKS_BETWEEN_CHECKS = 10
BEHIND_BYTES = 128 << 10  # that wait for a client which reads too slowly: more than its own questions bring
SETTINGS = {
    "enabled_protocols": ["websocket"],  # the others' clients need a session id for a greeting
    "json": "plain",
    "compression": True,
    "max_message_size": 16 << 10,
    "max_send_buffer": 2 << 20,
}

define("port", 8001, int, "listen on this port")
define("address", "localhost", str, "listen on this address, '' means all")
define("seed", None, int, "begin with the same prices each time")


class Wrong(Exception):
    """A client's message, or a channel in it, is none of this feed; the text tells people why."""

    def __init__(self, reason: str, what: str | None = None) -> None:
        super().__init__(reason)
        self.what = what


class FeedConnection(tornadio.SocketConnection):
    feed: "Feed"

    def __init__(self) -> None:
        self.channels: dict[str, None] = {}  # in the order in which they were subscribed to
        self.catching_up: asyncio.Task[None] | None = None

    def greeting(self) -> dict[str, Any]:
        symbols = list(self.feed.market.listings)
        return {"session_id": self.session_id, "time": time.time(), "symbols": symbols, "intervals": list(INTERVALS)}

    async def on_message(self, message: Any) -> None:
        match message:
            case {"m": "subscribe", "p": [*channels]}:
                await self.subscribe(channels)
            case {"m": "unsubscribe", "p": [*channels]}:
                self.unsubscribe(channels)
            case _:
                reason = 'This is no message that the feed knows. One would be {"m": "subscribe", "p": ["ACME"]}.'
                self.send_error(Wrong(reason))

    async def subscribe(self, channels: Sequence[Any]) -> None:
        for channel in channels:
            try:
                self.feed.check(channel)
            except Wrong as wrong:
                self.send_error(wrong)
            else:
                self.channels[channel] = None
                if self.catching_up is None:  # else its turn comes there
                    self.start(channel)
            await self.drain()  # while a client doesn't read its answers, it gets no more of them

    def unsubscribe(self, channels: Sequence[Any]) -> None:
        known = [channel for channel in channels if isinstance(channel, str) and channel in self.channels]
        for channel in known:
            self.channels.pop(channel, None)
            self.feed.router.group(channel).discard(self)
        self.send({"m": "unsubscribed", "p": known})

    def start(self, channel: str) -> None:
        self.send(self.feed.first_answer(channel))
        self.feed.router.group(channel).add(self)

    def fall_behind(self) -> None:
        """Send nothing more until what waits has been read."""
        if self.catching_up is None:
            logging.info("%r reads too slowly: it misses quotes", self)
            for channel in self.channels:
                self.feed.router.group(channel).discard(self)
            self.catching_up = asyncio.create_task(self.catch_up())

    async def catch_up(self) -> None:
        started: set[str] = set()
        while waiting := self.channels.keys() - started:
            await self.drain()
            if self.is_closed:
                return
            channel = next(channel for channel in self.channels if channel in waiting)
            self.start(channel)
            started.add(channel)
        self.catching_up = None

    def send_error(self, wrong: Wrong) -> None:
        self.send({"m": "error", "p": [wrong.what, str(wrong)]})


class Feed:
    """The market, and who hears of it: each channel is a group of the router."""

    def __init__(self, market: Market) -> None:
        FeedConnection.feed = self
        self.router = tornadio.get_router(FeedConnection, SETTINGS)
        self.market = market
        self.ticks = 0
        self.ticking = PeriodicCallback(self.tick, TICK_SECONDS * 1000)

    def check(self, channel: Any) -> None:
        """Raise `Wrong` for what is no channel."""
        if not isinstance(channel, str):
            raise Wrong('A channel is a text such as "ACME" or "ACME@60".')
        symbol, at, interval = channel.partition("@")
        what = channel[:40]
        if symbol not in self.market.listings:
            raise Wrong(f"There is no instrument {what!r}: there are {', '.join(self.market.listings)}.", what)
        if at and interval not in map(str, INTERVALS):
            raise Wrong(f"There are no such bars, {what!r}: there are {', '.join(map(str, INTERVALS))} seconds.", what)

    def first_answer(self, channel: str) -> dict[str, Any]:
        symbol, at, interval = channel.partition("@")
        if at:
            return {"m": "history", "p": [channel, self.market.bars(symbol, int(interval))]}
        return {"m": "instrument", "p": [symbol, self.market.listings[symbol].describe()]}

    def tick(self) -> None:
        self.advance(time.time())
        self.ticks += 1
        if self.ticks % TICKS_BETWEEN_CHECKS == 0:
            self.check_readers()

    def advance(self, now: float) -> None:
        for symbol in self.market.advance(now):
            self.send(symbol, {"m": "quote", "p": [symbol, self.market.listings[symbol].quote()]})
            for interval in INTERVALS:
                channel = f"{symbol}@{interval}"
                self.send(channel, {"m": "bar", "p": [channel, self.market.last_bar(symbol, interval)]})

    def check_readers(self) -> None:
        for connection in self.router.connections:
            if connection.send_buffer_size > BEHIND_BYTES and isinstance(connection, FeedConnection):
                connection.fall_behind()

    def send(self, channel: str, message: dict[str, Any]) -> None:
        group = self.router.group(channel)
        if group:  # nothing is encoded for nobody
            group.send(message)


class PageHandler(tornado.web.StaticFileHandler):
    """The files of the page. The browser asks whether they changed, and takes nothing from any other host."""

    policy = (
        "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", self.policy)


def main() -> None:
    parse_command_line()
    allow_many_descriptors()
    page = {"path": HERE, "default_filename": "index.html"}
    feed = Feed(Market(time.time(), options.seed))
    application = tornado.web.Application(
        [
            feed.router.route(),
            (r"/(|feed\.css|feed\.js|chart\.js|feedsocket\.js)", PageHandler, page),
            (r"/(common\.css|icon\.svg)", PageHandler, {"path": HERE.parent}),
        ],
        socket_io_port=options.port,
        socket_io_address=options.address,
    )
    feed.ticking.start()
    logging.info("Feed: open http://%s:%d/", options.address or "localhost", options.port)
    tornadio.SocketServer(application)


if __name__ == "__main__":
    main()
