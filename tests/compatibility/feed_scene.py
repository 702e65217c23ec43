"""Runs market-data clients against the feed, side by side: `feed_scene.py SPECIFICATION`.

The specification is a file of JSON: `certificate`, a file with the server's; `seconds`, how long each client is to stay
connected; `environment`, the clients'; and `clients`, the command of each by its name, to which symbol and login are
added. Runs in a network namespace of its own (see test_feed_clients.py), on port 443, and kills its clients. What each
did is written to standard output, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.compatibility.feed_server import EMOJI, EXCHANGE, Feed, Market, make_server

TICK: Final = 2.0  # seconds; one of the clients reads one message a second
SECONDS: Final = 120.0  # for a broken test
HEADER: Final = re.compile("~m~([0-9]+)~m~")


class Client:
    """A client that runs, and what it has handed to its user."""

    def __init__(self, name: str, market: Market) -> None:
        self.name = name
        self.symbol = f"{EXCHANGE}:{re.sub('[^A-Z]', '', name.upper())}{EMOJI}"
        self.quotes: list[list[Any]] = []
        self.errors = ""
        self._market = market

    async def run(self, command: list[str], environment: dict[str, str]) -> None:
        account = self._market.account
        login = {name: getattr(account, name) for name in ("username", "password", "sessionid", "sessionid_sign")}
        self._process = await asyncio.create_subprocess_exec(
            *command,
            self.symbol,
            json.dumps(login),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        self._reading = [asyncio.create_task(self._read_quotes()), asyncio.create_task(self._read_errors())]

    async def _read_quotes(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                self.quotes.append(json.loads(line))
            except ValueError:
                self.errors += line.decode()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(1 << 16):
            self.errors = (self.errors + chunk.decode(errors="replace"))[-5000:]

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    async def end(self) -> None:
        if not self.has_ended:
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._reading)

    @property
    def connections(self) -> list[Feed]:
        return [connection for connection in self._market.connections if self.symbol in connection.followed]

    @property
    def is_connected(self) -> bool:
        """Whether its first connection still stands."""
        return any(not connection.is_closed for connection in self.connections[:1])

    def has_stayed(self, seconds: float) -> bool:
        """Whether it has been connected for so long, or has failed to."""
        return self.has_ended or any(
            connection.is_closed or time.monotonic() - connection.opened >= seconds
            for connection in self.connections[:1]
        )

    def has_heard_more_than(self, price: float) -> bool:
        return any(quote[2] > price for quote in self.quotes)

    def report(self, late_price: float) -> dict[str, Any]:
        report = {
            "quotes": len(self.quotes),
            "texts": sorted({quote[1] or "" for quote in self.quotes}),
            "heard_late": self.has_heard_more_than(late_price),
            "errors": self.errors,
        }
        connections = self.connections
        if connections:
            first = connections[0]
            report |= {
                "connections": len(connections),
                "origins": first.origins,
                "is_compressed": first.is_compressed,
                "json": json_of(first.payloads),
                "lengths": lengths_of(first.payloads),
                "has_token": first.token == self._market.account.token,
                "answers": answers_of(first.payloads),
                "seconds": time.monotonic() - first.opened,
                "closed": [first.close_code, first.close_reason] if first.is_closed else None,
            }
        return report


def answers_of(payloads: list[str]) -> list[int]:
    return [int(number) for number in re.findall("~m~[0-9]+~m~~h~([0-9]+)", "".join(payloads))]


def json_of(payloads: list[str]) -> str:
    """How a client writes JSON."""
    kinds = {"marked" if "~m~~j~" in payload else "bare" for payload in payloads if "{" in payload}
    return ", ".join(sorted(kinds))


def lengths_of(payloads: list[str]) -> str:
    """What a client counts; of ASCII it can't be told."""
    counts = set()
    for payload in payloads:
        header = HEADER.match(payload)
        text = payload[header.end() :] if header else ""
        if header and not text.isascii():
            ways = {
                "UTF-16 code units": len(text.encode("utf-16-le")) // 2,
                "characters": len(text),
                "bytes": len(text.encode()),
            }
            counts.add(next((way for way, count in ways.items() if count == int(header[1])), "something else"))
    return ", ".join(sorted(counts)) or "ASCII alone"


async def play(specification: dict[str, Any]) -> dict[str, Any]:
    interfaces = [name for _, name in socket.if_nameindex()]
    assert interfaces == ["lo"], f"this is no network namespace of its own: it has {interfaces}"
    market = Market()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(specification["certificate"])
    server = make_server(market, tls, 443)
    clients = [Client(name, market) for name in specification["clients"]]
    for client in clients:
        await client.run(specification["clients"][client.name], specification["environment"])
    trading = asyncio.create_task(trade(market))

    await until(lambda: all(client.has_stayed(specification["seconds"]) for client in clients))
    late_price = market.price
    await until(lambda: all(client.has_heard_more_than(late_price) for client in clients if client.is_connected))
    trading.cancel()
    report = {client.name: client.report(late_price) for client in clients}
    for client in clients:
        await client.end()
    await server.shutdown(timeout=1)
    return report


async def trade(market: Market) -> None:
    """Raise the price again and again."""
    while True:
        await asyncio.sleep(TICK)
        market.trade(market.price + 0.25)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; without it, the report says what is missing."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while not condition() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))))
