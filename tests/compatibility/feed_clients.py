"""Market-data clients from PyPI, each used as its README says: `feed_clients.py NAME SYMBOL LOGIN` runs one of them.

LOGIN is JSON: what somebody has who uses the feed, a name, a password, and the cookies of a browser that is logged in.
Each quote that the client hands to its user is written to standard output as a line of JSON: the symbol, a text, the
price. Runs in the virtual environment of feed_programs.py, until it is killed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any, Final

Login = dict[str, str]


def report(symbol: str, text: str | None, price: float) -> None:
    print(json.dumps([symbol, text, price]), flush=True)


def pytradingview(symbol: str, login: Login) -> None:
    client = imported("pytradingview").TVclient(username=login["username"], password=login["password"])
    client.quote.set_up_quote()

    def on_packet(packet: dict[str, Any]) -> None:
        if packet["type"] == "qsd":
            quote = packet["data"][1]
            report(quote["n"], quote["v"]["description"], quote["v"]["lp"])

    client.quote.on_symbol(symbol, on_packet)
    client.quote.add_symbols(symbol)
    client.create_connection()


def tradingview_sdk(symbol: str, login: Login) -> None:
    sdk = imported("tradingview_sdk")

    async def stream() -> None:
        credentials = sdk.Credentials(session_id=login["sessionid"], session_sign=login["sessionid_sign"])
        async with sdk.QuoteStream(credentials=credentials) as stream:
            await stream.subscribe(symbol)
            async for update in stream.updates():
                report(update.symbol, update.snapshot["description"], update.last_price)

    asyncio.run(stream())


def tradingview_api(symbol: str, login: Login) -> None:
    """It knows no quotes itself, but sessions of any kind."""

    async def stream() -> None:
        client = imported("TradingView").Client()

        def on_packet(packet: dict[str, Any]) -> None:
            if packet["type"] == "qsd":
                quote = packet["data"][1]
                report(quote["n"], quote["v"]["description"], quote["v"]["lp"])

        def on_logged(greeting: dict[str, Any]) -> None:
            session = client.create_session("quote", on_packet)
            client.send("quote_create_session", [session])
            client.send("quote_set_fields", [session, "lp", "description"])
            client.send("quote_add_symbols", [session, symbol])

        client.on_logged(on_logged)
        await client.connect()
        await asyncio.Event().wait()

    asyncio.run(stream())


def tradingview_api_python(symbol: str, login: Login) -> None:
    package = imported("tradingviewApiPython")
    user = package.login_user(login["username"], login["password"])
    client = package.Client(token=user["session"], signature=user["signature"])
    market = client.Session.Quote().Market(symbol)
    market.on_data(lambda quote: report(quote["original_name"], quote["description"], quote["lp"]))
    client.wst.join()


def tradingview_scraper(symbol: str, login: Login) -> None:
    stream = imported("tradingview_scraper.symbols.stream").RealTimeData()
    for packet in stream.get_latest_trade_info([symbol]):
        if packet.get("m") == "qsd":
            quote = packet["p"][1]
            report(quote["n"], quote["v"]["description"], quote["v"]["lp"])


def tradingview_ws(symbol: str, login: Login) -> None:
    """It hands on no text but the symbol."""
    _, ticker = symbol.split(":")
    stream = imported("tradingview_ws").TradingViewWs(ticker, "stock", login["username"], login["password"])
    stream.realtime_quote(lambda quote: report(quote["symbol"], quote["symbol"], quote["price"]))


def tv_live(symbol: str, login: Login) -> None:
    """It asks for bars, and hands on no text."""
    stream = imported("tv_live.stream").TvLiveStream(symbol, "1m")
    stream.on_candle = lambda bar, history: report(bar["symbol"], None, bar["close"])
    stream.start()


def tv_scraper(symbol: str, login: Login) -> None:
    cookie = f"sessionid={login['sessionid']}; sessionid_sign={login['sessionid_sign']}"
    stream = imported("tv_scraper").CandleStreamer(cookie=cookie)
    exchange, ticker = symbol.split(":")
    for quote in stream.stream_realtime_price(exchange=exchange, symbol=ticker):
        report(symbol, quote["symbol"], quote["price"])


def imported(name: str) -> Any:
    return importlib.import_module(name)


CLIENTS: Final[dict[str, Callable[[str, Login], None]]] = {
    "pytradingview": pytradingview,
    "tradingview-sdk": tradingview_sdk,
    "tradingview-api": tradingview_api,
    "tradingview-api-python": tradingview_api_python,
    "tradingview-scraper": tradingview_scraper,
    "tradingview-ws": tradingview_ws,
    "tv-live": tv_live,
    "tv-scraper": tv_scraper,
}

if __name__ == "__main__":
    # The directory of this file is no place to import from: its modules have names of their own.
    sys.path.pop(0)
    _, name, its_symbol, its_login = sys.argv
    CLIENTS[name](its_symbol, json.loads(its_login))
