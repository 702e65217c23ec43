"""A feed of made-up quotes on TornadIO, in the messages that market-data clients know, and pages to log in."""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
import ssl
import time
from typing import Any, Final

import tornado.web
from tornado.httputil import HTTPServerRequest

import tornadio
from tests.internals import compresses, framer_of, observe_payloads
from tornadio.websocket.framer import Framer

SITE: Final = "www.tradingview.com"
HOSTS: Final = (SITE, "tradingview.com", "data.tradingview.com", "symbol-search.tradingview.com")
# From these the clients say that they come.
ORIGINS: Final = (f"https://{SITE}", "https://s.tradingview.com", "https://data.tradingview.com")
EXCHANGE: Final = "OTC"
EMOJI: Final = "\N{LEMON}"  # two UTF-16 code units, one character, four bytes
HEARTBEAT_INTERVAL: Final = 5.0


def jwt() -> str:
    """A token of the form of a JSON Web Token (RFC 7519), valid for an hour."""
    parts = [{"alg": "none", "typ": "JWT"}, {"exp": int(time.time()) + 3600, "user_id": 7}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, secrets.token_urlsafe()])


@dataclasses.dataclass(frozen=True)
class Account:
    """Somebody who may log in: by name and password, or by the cookies that this sets. Either way gives the token."""

    username: str = "citrus"
    password: str = dataclasses.field(default_factory=secrets.token_hex)
    sessionid: str = dataclasses.field(default_factory=secrets.token_hex)
    sessionid_sign: str = dataclasses.field(default_factory=secrets.token_hex)
    token: str = dataclasses.field(default_factory=jwt)

    @property
    def user(self) -> dict[str, Any]:
        return {
            "id": 7,
            "username": self.username,
            "first_name": "",
            "last_name": "",
            "reputation": 0,
            "following": 0,
            "followers": 0,
            "notification_count": {"following": 0, "user": 0},
            "session_hash": "",
            "private_channel": "",
            "auth_token": self.token,
            "date_joined": "2011-01-01T00:00:00Z",
        }


@dataclasses.dataclass
class Market:
    """What is traded, at one price, and who follows it."""

    account: Account = dataclasses.field(default_factory=Account)
    price: float = 100.0
    connections: list[Feed] = dataclasses.field(default_factory=list)
    payloads: dict[object, list[str]] = dataclasses.field(default_factory=dict)  # by the framer that received them

    def received(self, framer: object, payloads: list[str]) -> None:
        self.payloads.setdefault(framer, []).extend(payloads)

    def trade(self, price: float) -> None:
        """Tell everybody the new price."""
        self.price = price
        for connection in self.connections:
            connection.send_news()


class Feed(tornadio.SocketConnection):
    """One client's connection."""

    market: Market

    def greeting(self) -> Any:
        return {"session_id": f"<{self.session_id}>", "timestamp": int(time.time()), "protocol": "json"}

    def on_open(self, request: HTTPServerRequest, *args: Any, **kwargs: Any) -> None:
        self.opened = time.monotonic()
        self.origins = request.headers.get_list("Origin")
        self.token = ""
        self.symbols: dict[str, str] = {}  # by the names that chart sessions give them
        self.quotes: dict[tuple[str, str], None] = {}  # session and key, in order
        self.series: dict[tuple[str, str], str] = {}  # symbols by session and series
        self.framer: Framer | None = None
        self.market.connections.append(self)

    def on_message(self, message: Any) -> None:
        self.framer = framer_of(self)
        if not isinstance(message, dict):
            return
        match message["m"], message["p"]:
            case "set_auth_token", [token]:
                self.token = token
            case "quote_add_symbols", [session, *keys]:
                for key in keys:
                    if isinstance(key, str):  # flags may stand among them
                        self.quotes[session, key] = None
                        self.send(self.quote(session, key))  # its emoji as an escape, which is ASCII
                        self.send({"m": "quote_completed", "p": [session, key]})
            case "quote_remove_symbols", [session, *keys]:
                for key in keys:
                    self.quotes.pop((session, key), None)
            case "resolve_symbol", [_, name, key]:
                self.symbols[name] = symbol_of(key)
            case "create_series", [session, series, _, name, *_]:
                self.series[session, series] = self.symbols[name]
                self.send_bar(session, series)

    def send_news(self) -> None:
        for session, key in self.quotes:
            self.send(json.dumps(self.quote(session, key), ensure_ascii=False))  # as it is, which LENGTH counts
        for session, series in self.series:
            self.send_bar(session, series)

    def quote(self, session: str, key: str) -> dict[str, Any]:
        symbol = symbol_of(key)
        values = {
            "lp": self.market.price,
            "description": f"{EMOJI} Zitronen, ungespritzt, frisch vom Markt für Übermorgen: 柠檬",
            "short_name": symbol.partition(":")[2],
            "original_name": symbol,
            "pro_name": symbol,
            "exchange": EXCHANGE,
            "type": "commodity",
        }
        return {"m": "qsd", "p": [session, {"n": key, "s": "ok", "v": values}]}

    def send_bar(self, session: str, series: str) -> None:
        price = self.market.price
        bar = {"i": 0, "v": [time.time(), price, price, price, price, 1000]}
        self.send({"m": "timescale_update", "p": [session, {series: {"s": [bar]}}]})

    @property
    def followed(self) -> set[str]:
        """The symbols that this connection has asked for."""
        return {symbol_of(key) for _, key in self.quotes} | set(self.series.values())

    @property
    def payloads(self) -> list[str]:
        """What the client has sent, as it came."""
        return self.market.payloads.get(self.framer, []) if self.framer is not None else []

    @property
    def is_compressed(self) -> bool:
        return self.framer is not None and compresses(self.framer)


def symbol_of(key: str) -> str:
    """The symbol that clients name as it is, or as `={"symbol": ...}`."""
    return str(json.loads(key[1:])["symbol"]) if key.startswith("=") else key


class Page(tornado.web.RequestHandler):
    def initialize(self, market: Market) -> None:
        self.account = market.account

    @property
    def is_logged_in(self) -> bool:
        cookies = (self.get_cookie("sessionid"), self.get_cookie("sessionid_sign"))
        return cookies == (self.account.sessionid, self.account.sessionid_sign)


class SignInPage(Page):
    def get(self) -> None:
        self.set_cookie("csrftoken", "lemon")

    def post(self) -> None:
        given = self.get_body_argument("username"), self.get_body_argument("password")
        if given != (self.account.username, self.account.password):
            self.finish({"error": "wrong name or password"})
            return
        self.set_cookie("sessionid", self.account.sessionid, secure=True)
        self.set_cookie("sessionid_sign", self.account.sessionid_sign, secure=True)
        self.finish({"user": self.account.user})


class UserPage(Page):
    """A page that holds its visitor's user, in a script."""

    def get(self) -> None:
        user = json.dumps(self.account.user, separators=(",", ":")) if self.is_logged_in else "null"
        self.finish(f"<script>var user = {user};</script>")


class TokenPage(Page):
    def get(self) -> None:
        if not self.is_logged_in:
            raise tornado.web.HTTPError(403)
        self.finish(json.dumps(self.account.token))


class SymbolPage(Page):
    def get(self) -> None:
        """Whatever the symbol, it exists."""


class SearchPage(Page):
    def get(self) -> None:
        found = {"symbol": self.get_query_argument("text"), "exchange": EXCHANGE, "type": "stock"}
        self.finish(json.dumps([found]))


def make_server(market: Market, tls: ssl.SSLContext, port: int) -> tornadio.SocketServer:
    observe_payloads(market.received)
    feed = type("FeedOfMarket", (Feed,), {"market": market})
    settings = {
        "json": "plain",
        "compression": tornadio.Compression(threshold=0),
        "origins": ORIGINS,
        "heartbeat_interval": HEARTBEAT_INTERVAL,
        "enabled_protocols": ["websocket"],
    }
    pages = {
        "/": UserPage,
        "/chart/": UserPage,
        "/accounts/signin/": SignInPage,
        "/quote_token/": TokenPage,
        "/symbol_search": SearchPage,
        "/symbols/.*": SymbolPage,
    }
    application = tornado.web.Application(
        [
            tornadio.get_router(feed, settings).route(),
            *((path, page, {"market": market}) for path, page in pages.items()),
        ],
        socket_io_port=port,
        socket_io_address="127.0.0.1",
    )
    return tornadio.SocketServer(application, ssl_options=tls, auto_start=False)
