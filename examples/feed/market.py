"""A market of made-up instruments: prices that walk at random, and the bars that they form.

There is no clock and no socket in it: the time comes from the caller, and with a seed two markets are the same.
"""

import dataclasses
import math
import random
from collections import deque
from collections.abc import Iterator
from typing import Any

INTERVALS = (5, 15, 60, 300)  # seconds in a bar
BARS = 240  # that are kept of each interval
TRAIL = 48  # prices in an instrument's trail: closes of bars of the shortest interval

# How the past of a new market is made: seconds between two trades, over how many seconds before now. Five trades or so
# make a bar of the interval that reaches that far back.
PAST = ((60.0, BARS * 300), (12.0, BARS * 60), (3.0, BARS * 15), (1.0, BARS * 5))

RETURN_SECONDS = 3 * 3600  # in which a price has come back most of the way to where it belongs
TREND_SECONDS = 240  # for which a price goes on in the direction that it has
WILD_SHARE = 0.02  # of the trades jump three times as far


@dataclasses.dataclass(frozen=True)
class Instrument:
    """What is traded.

    :ivar price: where it belongs, and comes back to.
    :ivar decimals: of its prices.
    :ivar volatility: by which share the price goes up or down in an hour, about.
    :ivar pace: trades a second, about.
    """

    symbol: str
    name: str
    price: float
    decimals: int
    volatility: float
    pace: float


INSTRUMENTS = (
    Instrument("ACME", "Acme Springs & Anvils", 118.40, 2, 0.012, 5.0),
    Instrument("OTTER", "Otter River Ferries 🛶", 27.65, 2, 0.016, 3.5),
    Instrument("KETTLE", "Kettle & Daughters ☕", 64.10, 2, 0.010, 2.0),
    Instrument("NIMBUS", "Nimbus Umbrellas ☔", 8.425, 3, 0.022, 3.0),
    Instrument("COMET", "Comet Night Mail ☄️", 1543.0, 1, 0.018, 4.0),
    Instrument("PICKLE", "Pickle Street Grocers 🥒", 0.8125, 4, 0.022, 2.5),
    Instrument("LOCO", "Locomotive Lunch Cars 🚂", 251.75, 2, 0.014, 1.5),
    Instrument("QUILL", "Quill & Blotter", 43.20, 2, 0.009, 0.8),
    Instrument("TUNDRA", "Tundra Mittens 🧤", 96.55, 2, 0.020, 1.2),
    Instrument("YONDER", "Yonder Balloon Tours 🎈", 40250.0, 0, 0.018, 2.2),
)


@dataclasses.dataclass(slots=True)
class Bar:
    """The trades of an interval: `time` is its start, in seconds since 1970, a multiple of the interval."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: int

    def add(self, price: float, size: int) -> None:
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume += size

    def as_list(self) -> list[float]:
        return [self.time, self.open, self.high, self.low, self.close, self.volume]


class Listing:
    """An instrument with its price, and the bars of its trades.

    :ivar time: of the last trade, in seconds since 1970.
    :ivar open: the price with which the market opened.
    """

    def __init__(self, instrument: Instrument, generator: random.Random, now: float) -> None:
        self.instrument = instrument
        self.random = generator
        self.price = instrument.price * math.exp(generator.gauss(0, instrument.volatility))
        self.trend = 0.0
        self.volume = 0
        self.bars: dict[int, deque[Bar]] = {interval: deque(maxlen=BARS) for interval in INTERVALS}
        self.open = self.last
        for time, elapsed in past(now):
            self.trade(time, elapsed)

    @property
    def last(self) -> float:
        return round(self.price, self.instrument.decimals)

    def trade(self, time: float, elapsed: float) -> None:
        """Make a trade, so many seconds after the one before."""
        self.walk(elapsed)
        self.time = time
        trades = max(1.0, self.instrument.pace * elapsed)  # one stands for all that have been meanwhile
        size = math.ceil(trades * self.random.expovariate(1 / 25))
        self.volume += size
        price = self.last
        for interval, bars in self.bars.items():
            start = int(time // interval) * interval
            if bars and start <= bars[-1].time:
                bars[-1].add(price, size)
            else:
                bars.append(Bar(start, price, price, price, price, size))

    def walk(self, elapsed: float) -> None:
        volatility = self.instrument.volatility / math.sqrt(3600)
        kept = math.exp(-elapsed / TREND_SECONDS)
        strength = volatility / math.sqrt(TREND_SECONDS)
        self.trend = self.trend * kept + strength * math.sqrt(1 - kept * kept) * self.random.gauss(0, 1)
        way = volatility * math.sqrt(elapsed) * self.random.gauss(0, 1)
        if self.random.random() < WILD_SHARE:
            way *= 3
        back = math.log(self.instrument.price / self.price) * -math.expm1(-elapsed / RETURN_SECONDS)
        self.price *= math.exp(way + self.trend * elapsed * kept + back)

    def quote(self) -> dict[str, float]:
        decimals = self.instrument.decimals
        half_spread = max(10.0**-decimals, self.price * 0.00015)
        return {
            "t": round(self.time, 3),
            "last": self.last,
            "bid": round(self.last - half_spread, decimals),
            "ask": round(self.last + half_spread, decimals),
            "volume": self.volume,
        }

    def describe(self) -> dict[str, Any]:
        """What somebody needs who hears of it for the first time, its last quote included."""
        trail = [bar.close for bar in self.bars[INTERVALS[0]]][-TRAIL:]
        known = {"name": self.instrument.name, "decimals": self.instrument.decimals, "open": self.open, "trail": trail}
        return known | self.quote()


def past(now: float) -> Iterator[tuple[float, float]]:
    """The times of a new market's trades before `now`, oldest first, and the seconds since the one before."""
    ends = [reach for _, reach in PAST[1:]] + [0]
    for (step, reach), end in zip(PAST, ends, strict=True):
        for number in range(int((reach - end) / step)):
            yield now - reach + number * step, step


class Market:
    """All instruments, each with a past, and a future as far as `advance` is called."""

    def __init__(self, now: float, seed: int | None = None) -> None:
        generator = random.Random(seed)
        self.listings = {each.symbol: Listing(each, generator, now) for each in INSTRUMENTS}
        self.random = generator
        self.now = now

    def advance(self, now: float) -> list[str]:
        """Go on to a later time, in seconds since 1970, and return the symbols that were traded meanwhile.

        A clock that was put back makes no trades, until it is as late as it was.
        """
        elapsed = now - self.now
        if elapsed <= 0:
            return []
        self.now = now
        traded = []
        for symbol, listing in self.listings.items():
            if self.random.random() < -math.expm1(-listing.instrument.pace * elapsed):
                listing.trade(now, now - listing.time)
                traded.append(symbol)
        return traded

    def bars(self, symbol: str, interval: int) -> list[list[float]]:
        """Bars, oldest first, each as [time, open, high, low, close, volume]: the last one still changes."""
        return [bar.as_list() for bar in self.listings[symbol].bars[interval]]

    def last_bar(self, symbol: str, interval: int) -> list[float]:
        return self.listings[symbol].bars[interval][-1].as_list()
