"""Watch the feed from the command line: a sparkline for each instrument, or many subscribers at once.

Start `python3 feed.py` first, then

    python3 watch.py                all instruments, redrawn in place; in a pipe a plain line for each quote
    python3 watch.py OTTER COMET    these two
    python3 watch.py --load 1000    open 1,000 subscribers of one instrument each, and tell how many messages a second
                                    there are, how old quotes are when they arrive, and what went wrong

`--url` names another server, `--seconds` says when to end. Watching reconnects for ever; measuring counts each lost
connection as an error, and ends with status 1 if there was one.
"""

import argparse
import asyncio
import contextlib
import datetime
import itertools
import logging
import os
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from descriptors import allow_many_descriptors

import tornadio
from tornadio.client.connect import Connector

URL = "ws://localhost:8001/socket.io"
BLOCKS = "▁▂▃▄▅▆▇█"
TRAIL = 40
REDRAW_SECONDS = 0.2
OPENING_AT_ONCE = 50


class Refused(Exception):
    """The server does not have what was asked for; the text is its reason."""


def connect(url: str) -> Connector:
    """This feed's first frame is a greeting, no session id, and its JSON has no mark."""
    return tornadio.connect(url, transports=["websocket"], json="plain", first_frame="message", compression=True)


def sparkline(prices: Sequence[float]) -> str:
    low, high = min(prices), max(prices)
    if low == high:
        return BLOCKS[0] * len(prices)
    return "".join(BLOCKS[round((price - low) / (high - low) * (len(BLOCKS) - 1))] for price in prices)


# Watching


class Ticker:
    """What is known of an instrument."""

    def __init__(self, symbol: str, about: dict[str, Any]) -> None:
        self.symbol = symbol
        self.name: str = about["name"]
        self.decimals: int = about["decimals"]
        self.open: float = about["open"]
        self.prices = deque[float](about["trail"], maxlen=TRAIL)
        self.quote = about
        self.moved = 0

    def update(self, quote: dict[str, Any]) -> None:
        self.moved = (quote["last"] > self.quote["last"]) - (quote["last"] < self.quote["last"]) or self.moved
        self.quote = quote
        self.prices.append(quote["last"])

    @property
    def change(self) -> str:
        return f"{(self.quote['last'] / self.open - 1) * 100:+.2f} %"


class Terminal:
    """Draws a line for each instrument, over and over in the same place."""

    def __init__(self) -> None:
        self.lines = 0
        self.drawn_at = 0.0
        self.has_colours = "NO_COLOR" not in os.environ

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        hide_cursor_and_do_not_wrap, show_cursor_and_wrap = "\x1b[?25l\x1b[?7l", "\x1b[?25h\x1b[?7h"
        sys.stdout.write(hide_cursor_and_do_not_wrap)
        try:
            yield
        finally:
            sys.stdout.write(show_cursor_and_wrap)
            sys.stdout.flush()

    def start_again(self) -> None:
        """Draw below what is there, since the log may have written something."""
        self.lines = 0

    def show(self, tickers: dict[str, Ticker], symbol: str) -> None:
        now = time.monotonic()
        if now - self.drawn_at < REDRAW_SECONDS:
            return
        self.drawn_at = now
        columns, rows = shutil.get_terminal_size()
        trail = max(8, min(TRAIL, columns - 42))
        shown = [self.line(ticker, trail) for ticker in tickers.values()][: rows - 1]
        up = f"\x1b[{self.lines}A" if self.lines else ""
        self.lines = len(shown)
        sys.stdout.write(up + "".join(f"\r{line}\x1b[K\n" for line in shown))
        sys.stdout.flush()

    def line(self, ticker: Ticker, trail: int) -> str:
        arrow = "▼ ▲"[ticker.moved + 1]
        drawn = sparkline(list(ticker.prices)[-trail:]).rjust(trail)
        price = f"{ticker.quote['last']:12,.{ticker.decimals}f}"
        coloured = self.colour(f"{price} {arrow}", ticker.moved)
        return f"{ticker.symbol:8} {self.colour(drawn, 0)}{coloured} {ticker.change:>9}  {ticker.name}"

    def colour(self, text: str, moved: int) -> str:
        if not self.has_colours:
            return text
        number = (31, 36, 32)[moved + 1]  # red, cyan, green
        return f"\x1b[{number}m{text}\x1b[0m"


class Pipe:
    """Writes a line for each quote."""

    def opened(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def start_again(self) -> None:
        pass

    def show(self, tickers: dict[str, Ticker], symbol: str) -> None:
        ticker = tickers[symbol]
        clock = datetime.datetime.fromtimestamp(ticker.quote["t"]).isoformat(timespec="milliseconds")
        print(f"{clock} {symbol} {ticker.quote['last']:.{ticker.decimals}f} {ticker.change}", flush=True)


async def watch(url: str, symbols: Sequence[str]) -> None:
    """Show quotes for ever, connecting again whenever the connection was lost.

    :raises Refused: there is no such instrument.
    """
    output = Terminal() if sys.stdout.isatty() else Pipe()
    with output.opened():
        async for socket in connect(url):
            tickers: dict[str, Ticker] = {}
            output.start_again()
            with contextlib.suppress(tornadio.ConnectionClosed):  # why, is in the log
                greeting = await socket.recv()
                await socket.send({"m": "subscribe", "p": list(symbols or greeting["symbols"])})
                async for message in socket:
                    match message:
                        case {"m": "instrument", "p": [symbol, about]}:
                            tickers[symbol] = Ticker(symbol, about)
                        case {"m": "quote", "p": [symbol, quote]}:
                            tickers[symbol].update(quote)
                            output.show(tickers, symbol)
                        case {"m": "error", "p": [_, reason]}:
                            raise Refused(reason)


# Measuring


class Measurement:
    """What many subscribers count together.

    :ivar ages: of quotes when they arrive, in tenths of a millisecond, and how many had each. The server's clock and
        this one have to be the same.
    """

    def __init__(self, subscribers: int) -> None:
        self.pending = subscribers
        self.opened = 0
        self.messages = 0
        self.ages = Counter[int]()
        self.errors = Counter[str]()
        self.all_tried = asyncio.Event()

    def tried(self) -> None:
        self.pending -= 1
        if not self.pending:
            self.all_tried.set()

    def start_again(self) -> None:
        self.messages = 0
        self.ages.clear()

    def age(self, share: float) -> float:
        """The age, in milliseconds, that this share of the quotes did not exceed."""
        wanted = share * self.ages.total()
        ages = sorted(self.ages)
        reached = itertools.accumulate(self.ages[age] for age in ages)
        return next((age / 10 for age, count in zip(ages, reached, strict=True) if count >= wanted), 0.0)

    def report(self, seconds: float) -> str:
        lines = [f"{self.messages / seconds:,.0f} messages/s, {self.messages:,} in {seconds:.1f} s"]
        if self.ages:
            shares = {"median": 0.5, "95 %": 0.95, "99 %": 0.99, "slowest": 1.0}
            lines.append("latency " + ", ".join(f"{name} {self.age(share):.1f} ms" for name, share in shares.items()))
        lines += [f"{count:,} times {error}" for error, count in self.errors.most_common()] or ["no errors"]
        return "\n".join(lines)


async def subscribe(
    url: str, measurement: Measurement, number: int, symbols: Sequence[str], opening: asyncio.Semaphore
) -> None:
    """Be one subscriber, of one instrument, until cancelled."""
    try:
        async with contextlib.AsyncExitStack() as stack:
            async with opening:
                try:
                    socket = await stack.enter_async_context(connect(url))
                    greeting = await socket.recv()
                    measurement.opened += 1
                finally:
                    measurement.tried()
            choice = symbols or greeting["symbols"]
            await socket.send({"m": "subscribe", "p": [choice[number % len(choice)]]})
            async for message in socket:
                measurement.messages += 1
                match message:
                    case {"m": "quote", "p": [_, {"t": then}]}:
                        measurement.ages[round((time.time() - then) * 10_000)] += 1
                    case {"m": "error", "p": [_, reason]}:
                        measurement.errors[reason] += 1
            measurement.errors["the server closed the connection"] += 1
    except (tornadio.ConnectError, tornadio.ConnectionClosed) as error:
        measurement.errors[f"{type(error).__name__}: {error}"] += 1


async def load(url: str, symbols: Sequence[str], subscribers: int, seconds: float) -> bool:
    """Measure, and return whether all went well."""
    measurement = Measurement(subscribers)
    opening = asyncio.Semaphore(OPENING_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        began = time.monotonic()
        numbers = range(subscribers)
        tasks = [group.create_task(subscribe(url, measurement, number, symbols, opening)) for number in numbers]
        await measurement.all_tried.wait()
        took = time.monotonic() - began
        print(f"{measurement.opened:,} of {subscribers:,} subscribers after {took:.1f} s", flush=True)
        measurement.start_again()
        began = time.monotonic()
        if measurement.opened:
            await asyncio.sleep(seconds)
        print(measurement.report(time.monotonic() - began), flush=True)
        for task in tasks:
            task.cancel()
    return not measurement.errors


async def main() -> int:
    parser = argparse.ArgumentParser(description="Watch the feed, or measure it.")
    parser.add_argument("symbols", metavar="SYMBOL", nargs="*", help="an instrument; all of them by default")
    parser.add_argument("--url", default=URL, help="where the feed is (default: %(default)s)")
    parser.add_argument("--load", metavar="N", type=int, help="open so many subscribers, and measure")
    parser.add_argument("--seconds", metavar="N", type=float, help="end after so long; 10 by default with --load")
    options = parser.parse_args()
    if options.load is not None:
        if options.load < 1:
            parser.error("--load takes a number of subscribers, 1 or more")
        allow_many_descriptors()
        return 0 if await load(options.url, options.symbols, options.load, options.seconds or 10) else 1
    logging.basicConfig(level=logging.INFO, format="watch.py: %(message)s")
    try:
        async with asyncio.timeout(options.seconds):
            await watch(options.url, options.symbols)
    except TimeoutError:
        return 0
    except (Refused, tornadio.ConnectError) as error:
        print(f"watch.py: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
