"""Tests of the market and of sparklines: `python3 -m pytest` runs them."""

from market import BARS, INTERVALS, Market
from watch import sparkline

NOW = 1764385123.4


def advanced(market: Market, seconds: float, step: float = 0.1) -> list[str]:
    """Let time go on, and return the symbols of all trades."""
    end = market.now + seconds
    traded = []
    while market.now < end:
        traded += market.advance(min(end, market.now + step))
    return traded


def test_with_a_seed_two_markets_are_the_same() -> None:
    one, same, other = Market(NOW, seed=1), Market(NOW, seed=1), Market(NOW, seed=2)
    assert advanced(one, 30) == advanced(same, 30)
    assert [one.bars(symbol, 5) for symbol in one.listings] == [same.bars(symbol, 5) for symbol in same.listings]
    assert one.bars("ACME", 5) != other.bars("ACME", 5)


def test_bars_hold_the_trades_of_their_intervals() -> None:
    market = Market(NOW, seed=3)
    before = {symbol: listing.quote() for symbol, listing in market.listings.items()}
    traded = advanced(market, 90)
    assert 10 < len(traded) / 90 < 40
    for symbol, listing in market.listings.items():
        assert symbol in traded
        assert listing.quote()["volume"] > before[symbol]["volume"]
        for interval in INTERVALS:
            bars = market.bars(symbol, interval)
            assert len(bars) == BARS
            times = [bar[0] for bar in bars]
            assert times == sorted(set(times))
            assert all(time % interval == 0 for time in times)
            assert all(low <= min(open, close) <= max(open, close) <= high for _, open, high, low, close, _ in bars)
            assert all(volume > 0 for *_, volume in bars)
            assert bars[-1][4] == listing.quote()["last"]
            assert bars[-1] == market.last_bar(symbol, interval)
        prices = [price for bar in market.bars(symbol, 5) for price in bar[1:5]]
        assert all(price == round(price, listing.instrument.decimals) for price in prices)
        assert listing.quote()["bid"] < listing.quote()["last"] < listing.quote()["ask"]


def test_prices_move_and_stay_where_they_belong() -> None:
    market = Market(NOW, seed=4)
    advanced(market, 30 * 24 * 3600, step=900)
    for symbol, listing in market.listings.items():
        assert 0.8 < listing.price / listing.instrument.price < 1.25
        bars = market.bars(symbol, 300)
        assert max(bar[2] for bar in bars) / min(bar[3] for bar in bars) > 1.02


def test_a_clock_that_was_put_back_makes_no_trades() -> None:
    market = Market(NOW, seed=5)
    assert market.advance(NOW + 60)
    bars = market.bars("ACME", 5)
    assert market.advance(NOW + 30) == market.advance(NOW + 45) == []
    assert market.bars("ACME", 5) == bars
    assert market.advance(NOW + 120)


def test_a_sparkline_reaches_from_the_lowest_block_to_the_highest() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, -5, 0]) == "█▁▅"
    assert sparkline([3, 3]) == "▁▁"
