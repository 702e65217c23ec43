"""Whatever requests come, in whatever pieces, and however their connections end: nothing stays behind, nothing fails.

What is tested input by input elsewhere meets by chance here: requests that were valid before some of their parts were
changed, over every transport, in one process whose time is moved until all that has a limit is past it. After each
batch the process holds what it held before, has logged no failure, and serves a chat over each transport.

`--fuzz SECONDS` says for how long; SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest
import tornado

from tests.clients import KEY3, KEYS, NONCE, frame, greeted
from tests.internals import unflushed
from tests.support import SECONDS, STREAMING, MovedLoop, Recorder, Served, is_failure
from tests.vitals import vitals
from tornadio.errors import CallerError
from tornadio.logs import RATE_LIMITER
from tornadio.net.poller import poller_of
from tornadio.settings import PROTOCOLS
from tornadio.web.flash import POLICY_REQUEST

T = TypeVar("T")

BATCH = 200
AT_ONCE = 25
# Past every limit of time that a connection or a session has.
PAST_ALL_LIMITS = 120.0
RUNS = 3  # of this test, which share the time

SETTINGS = {"max_message_size": 3990, "max_payload_size": 4000}
ENDINGS = ("close", "close", "reset", "half-close", "silence")


class Echo(Recorder):
    """Answers; what it was sent may be something that can't be sent back."""

    def __init__(self) -> None:  # and remembers nothing
        self.events = []
        self.closed = asyncio.Event()

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.send("welcome")

    def on_message(self, message: Any) -> Any:
        with contextlib.suppress(CallerError):
            self.send(message)

    def on_close(self) -> Any:
        pass


@dataclasses.dataclass(frozen=True)
class Life:
    """What a connection sends, piece by piece, whether it reads, and how it ends. SESSION-TRANSPORT in a piece stands
    for the id of a session that lives."""

    pieces: list[bytes]
    reads: bool
    ending: str

    def __str__(self) -> str:
        sent = re.sub(
            rb"(?s)(.)\1{59,}", lambda run: b"(%d times %b)" % (len(run[0]), run[1]), b" | ".join(self.pieces)
        )
        return f"{'read' if self.reads else 'unread'}, then {self.ending}: {sent!r}"


# -- What is sent ------------------------------------------------------------------------------------------------------


class Maker:
    """Makes lives by chance.

    :ivar wildness: how likely it is that a part of a request is not what it should be, 0 to 1.
    """

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.wildness = 0.0

    def life(self) -> Life:
        dice = self.dice
        self.wildness = dice.choice((0, 0.2, 1))
        requests = [self.request() for _ in range(dice.choice((1, 1, 1, 1, 2, 3)))]
        data = b"".join(requests)
        if self.happens(0.2):
            data = data[: dice.randrange(len(data) + 1)]
        return Life(self.cut(data), dice.random() < 0.7, dice.choice(ENDINGS))

    def cut(self, data: bytes) -> list[bytes]:
        cuts = sorted(self.dice.randrange(len(data) + 1) for _ in range(self.dice.choice((0, 0, 1, 1, 2, 5))))
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def request(self) -> bytes:
        dice = self.dice
        if dice.random() < 0.02:
            return dice.choice((POLICY_REQUEST, POLICY_REQUEST[:-1], POLICY_REQUEST * 3, b"\x00", b"\x16\x03\x01"))
        kind: Callable[[], bytes] = dice.choice((self.get, self.get, self.post, self.post, self.websocket, self.other))
        data = kind()
        return self.mutate(data) if self.happens(0.5) else data

    # What follows is valid; `mutate` and the variants that are chosen now and then make it less so.

    def get(self) -> bytes:
        return self.http("GET", self.path(self.dice.choice(PROTOCOLS)))

    def post(self) -> bytes:
        transport = self.dice.choice(PROTOCOLS)
        content_type, body = self.body()
        fields = [("Content-Type", content_type)] if content_type is not None else []
        variant = self.rarely(LENGTHS, None)
        if self.dice.random() < 0.15:
            fields.append(("Transfer-Encoding", self.rarely(CODINGS, "chunked")))
            body = self.chunked(body)
            if variant is not None:
                fields.append(("Content-Length", variant))
        else:
            fields.append(("Content-Length", variant if variant is not None else str(len(body))))
        return self.http("POST", self.path(transport, f"SESSION-{transport}"), fields, body)

    def websocket(self) -> bytes:
        dice = self.dice
        version = self.rarely(("12", "99", "9" * 5000, "x", ""), dice.choice(("13", "13", "8", "7", "76", "75")))
        fields = [("Upgrade", self.rarely(UPGRADES, "websocket")), ("Connection", self.rarely(CONNECTIONS, "Upgrade"))]
        if version in ("76", "75"):
            fields += [("Origin", self.rarely(ORIGINS, "http://127.0.0.1")), *(KEYS.items() if version == "76" else ())]
            messages = [b"\x00" + self.frames().encode("utf-8", "replace") + b"\xff" for _ in range(dice.randrange(4))]
            tail = (
                (KEY3 if version == "76" else b"") + b"".join(messages) + dice.choice((b"", b"\xff\x00", b"\x80\x01x"))
            )
        else:
            fields += [*NONCE.items(), ("Sec-WebSocket-Version", version)]
            tail = b"".join(
                frame(dice.choice((1, 1, 1, 2, 8, 9, 10, 0, 3)), self.frames().encode("utf-8", "replace")[:2000])
                for _ in range(dice.randrange(4))
            )
        path = f"/socket.io/{dice.choice(('websocket', 'websocket', 'flashsocket'))}{dice.choice(('', '/', '/x'))}"
        return self.http("GET", path, fields, tail)

    def other(self) -> bytes:
        dice = self.dice
        path = dice.choice(
            (
                *("/", "/socket.io", "/socket.io/", "/socket.io/1/", "/socket.io/1/?t=1", "/socket.io/socket.io.js"),
                *(
                    "*",
                    "//",
                    "/socket.io/xhr-polling/../x",
                    "/%00",
                    "/x",
                    f"/{'x' * dice.randrange(5000)}",
                    "http://x/",
                ),
                *(self.path(transport) for transport in PROTOCOLS),
                *(self.path(transport, f"SESSION-{transport}") for transport in PROTOCOLS),
            )
        )
        return self.http(dice.choice(METHODS), path)

    def path(self, transport: str, session: str = "") -> str:
        dice = self.dice
        transport = self.rarely(("unknown", "", "websocket", "XHR-POLLING", "xhr-polling%00", "x" * 3000), transport)
        session = self.rarely(("", "0" * 32, f"SESSION-{transport}", "x", "%ff", "/", "\xff", "x" * 3000), session)
        tail = self.rarely(("", "/", "send", "1", "1/", "1/99", "9" * 5000, "1/\xb2", "?x=&&;%"), "1290000000000/0")
        return f"/socket.io/{transport}/{session}/{tail}" + dice.choice(("", "", "", "?a=b", "?" + "&" * 2000))

    def http(self, method: str, path: str, fields: list[tuple[str, str]] | None = None, body: bytes = b"") -> bytes:
        dice = self.dice
        host = self.rarely(HOSTS, "127.0.0.1")
        if self.happens(0.05):
            host = "x:" + "9" * dice.choice((1, 4, 5, 6, 100, 4300, 4301, 5000))
        fields = [("Host", host), *(fields or [])]
        for _ in range(dice.choice((0, 1, 2, 4)) if self.happens(0.6) else 0):
            name, values = dice.choice(FIELDS)
            fields.insert(dice.randrange(len(fields) + 1), (name, dice.choice(values)))
        index = dice.randrange(len(fields))
        if self.happens(0.05):
            fields.append(fields[index])
        if self.happens(0.1):
            fields[index] = (fields[index][0], self.value())
        if self.happens(0.05):
            del fields[index]
        if self.happens(0.03):
            fields.append((self.value().replace(":", ""), "x"))
        version = self.rarely(("HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", "", "http/1.1"), "HTTP/1.1")
        end = self.rarely(("\n", "\r", "\r\n\r\n"), "\r\n", 0.01)
        lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in fields)]
        return (end.join(lines) + end * 2).encode("latin-1", "replace") + body

    def value(self) -> str:
        """Whatever the value of a field may be, of every length."""
        dice = self.dice
        characters = dice.choice(("0123456789", "x", "\xff\x80", '";, =:/[]%', "".join(map(chr, range(32, 256)))))
        return "".join(dice.choices(characters, k=dice.choice((0, 1, 2, 3, 8, 50, 400, 4301, 9000, 70_000))))

    def body(self) -> tuple[str | None, bytes]:
        """A content type and a body that fits it."""
        dice = self.dice
        frames = self.frames()
        data = frames.encode("utf-8", "surrogatepass")
        if dice.random() < 0.2:
            part = dice.choice((b'form-data; name="data"', b"form-data", b'form-data; name="data"; filename="x"'))
            body = b"--XX\r\nContent-Disposition: " + part + b"\r\n\r\n" + data + b"\r\n--XX--\r\n"
            return dice.choice(("multipart/form-data; boundary=XX", "multipart/form-data")), body
        encoded = b"".join(b"%%%02x" % byte if byte in b"%&+\r\n" or byte > 126 else b"%c" % byte for byte in data)
        field = self.rarely((b"", b"dat", b"x=&data=", b"data=&data="), b"data=")
        return dice.choice(
            (FORM_TYPE, FORM_TYPE, FORM_TYPE, "text/plain", "", None, "application/json")
        ), field + encoded

    def frames(self) -> str:
        dice = self.dice
        texts = [dice.choice(TEXTS) for _ in range(dice.choice((0, 1, 1, 1, 2, 5, 60)))]
        frames = [f"~m~{len(text.encode('utf-16-le', 'surrogatepass')) // 2}~m~{text}" for text in texts]
        if self.happens(0.2):
            frames.append(dice.choice(("~m~5~m~x", "x", "~m~", "~m~-1~m~", "~m~99999999999~m~", "~m~1~m~😀")))
        return "".join(frames)

    def chunked(self, body: bytes) -> bytes:
        chunks = [piece for piece in self.cut(body) if piece]
        end = self.rarely((b"", b"0\r\n", b"-1\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"f" * 2000), b"0\r\n\r\n")
        return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end

    def rarely(self, variants: Sequence[T], usual: T, chance: float = 0.1) -> T:
        return self.dice.choice(variants) if self.happens(chance) else usual

    def happens(self, chance: float) -> bool:
        return self.dice.random() < chance * self.wildness

    def mutate(self, data: bytes) -> bytes:
        """Change, drop, double or put in some bytes."""
        dice = self.dice
        for _ in range(dice.choice((1, 1, 2, 3))):
            start = dice.randrange(len(data) + 1)
            end = min(len(data), start + dice.choice((0, 1, 1, 4, 40)))
            new = dice.choice((b"", bytes([dice.randrange(256)]), data[start:end] * 2, dice.choice(SPLINTERS)))
            data = data[:start] + new + data[end:]
        return data


FORM_TYPE = "application/x-www-form-urlencoded"
METHODS = ("OPTIONS", "OPTIONS", "HEAD", "PUT", "DELETE", "POST", "get", "TRACE", "CONNECT", "G\xffT", "x" * 5000, "")
HOSTS = (
    "localhost:80",
    "[::1]:80",
    "[",
    "",
    "a,b",
    "x:y",
    "::",
    "x:",
    ":80",
    "x@y",
    "127.0.0.1:+1",
    "\xff",
    "x y",
    "[::1%x]",
)
LENGTHS = (
    "0",
    "1",
    "5",
    "99",
    "100000",
    "+5",
    "-1",
    "5, 5",
    "5,6",
    "0x5",
    "\xb2",
    "",
    "9" * 18,
    "9" * 4301,
    "9" * 20_000,
    "5 5",
)
CODINGS = ("Chunked", "gzip, chunked", "identity", "chunked, chunked", "x", "")
UPGRADES = ("WebSocket", "websocket, x", "h2c", "", "x" * 5000, "\xff")
CONNECTIONS = ("upgrade, keep-alive", "close", "keep-alive", "", "\xff")
ORIGINS = (
    "null",
    "http://[",
    "http://evil.example",
    "http://127.0.0.1:" + "9" * 5000,
    "\xff",
    "",
    "http://127.0.0.1:8080",
)
ADDRESSES = (
    "10.0.0.1",
    "::1",
    "10.0.0.1, 10.0.0.2",
    "unknown",
    "[",
    "9" * 5000,
    "\xff",
    "",
    ",",
    "::ffff:1.2.3.4%x",
    "x" * 70,
)
FIELDS = (
    ("Origin", ORIGINS),
    ("Referer", (*ORIGINS, "http://127.0.0.1/x")),
    ("Sec-Fetch-Site", ("same-origin", "cross-site", "none", "", "\xff")),
    ("Connection", CONNECTIONS),
    ("Upgrade", UPGRADES),
    ("Expect", ("100-continue", "x", "")),
    ("Content-Length", LENGTHS),
    ("Transfer-Encoding", CODINGS),
    ("Content-Encoding", ("gzip", "x")),
    ("Content-Type", (FORM_TYPE, "multipart/form-data; boundary=", "\xff", "")),
    ("Cookie", ("a=b", "a=" + "\xff" * 50, '"' * 3000, "; ;=;", "a=b; a=b")),
    ("X-Forwarded-For", ADDRESSES),
    ("X-Real-Ip", ADDRESSES),
    ("X-Scheme", ("https", "x", "", "\xff")),
    ("X-Forwarded-Proto", ("https", "http,https", "x" * 70, "")),
    ("Accept-Encoding", ("gzip", "gzip;q=x", "*", "\xff")),
    ("If-None-Match", ("*", '"x"', "\xff")),
    ("Access-Control-Request-Method", ("POST", "x")),
    ("Sec-WebSocket-Extensions", ("permessage-deflate", ";;,=", "\xff")),
    ("Sec-WebSocket-Protocol", ("x", "\xff", "")),
    ("Sec-WebSocket-Key", ("x", "\xff", "", "dGhlIHNhbXBsZSBub25jZQ==")),
    ("Sec-WebSocket-Key1", ("1", "9" * 9000 + " 0", "\xb2 \xb2", "x x")),
    ("User-Agent", ("x" * 300, "")),
)  # fmt: skip
TEXTS = (
    *("", "hello", "é中😀", "a\nb\r\nc", "\r\n" * 7, "~m~1~m~x", "x" * 3000, "\x00", "\ufffd", "&=+%"),
    *("~h~1", "~h~", "~h~" + "9" * 300, "~j~{", "~j~null", "~j~1e999", '~j~"\\ud83d"', '~j~{"a": [1, 2.5, "b"]}'),
    *("~j~" + "[" * 1500, "~j~" + "[" * 400 + "]" * 400, "~j~NaN", "~j~" + "9" * 3000, "~j~"),
)
SPLINTERS = (
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b"\xff",
    b":",
    b" ",
    b"\t",
    b"~m~",
    b"%",
    b"/",
    b"9" * 40,
    b"\x80" * 9,
    b"\r\n ",
)


# -- Sent --------------------------------------------------------------------------------------------------------------


async def turns(number: int) -> None:
    """Let the server act on what has come."""
    for _ in range(number):
        await asyncio.sleep(0)


async def live(served: Served, life: Life, sessions: dict[str, str]) -> socket.socket | None:
    """One connection from its beginning to its end; the socket, where it is to end later."""
    connection = socket.create_connection(("127.0.0.1", served.port))
    connection.setblocking(False)
    try:
        for piece in life.pieces:
            for transport, session_id in sessions.items():
                piece = piece.replace(f"SESSION-{transport}".encode(), session_id.encode())
            with contextlib.suppress(BlockingIOError):
                connection.send(piece)
            await turns(3)
            if life.reads:
                with contextlib.suppress(BlockingIOError):
                    connection.recv(1 << 20)
        await turns(5)
        if life.ending == "half-close":
            connection.shutdown(socket.SHUT_WR)
            await turns(5)
        elif life.ending == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif life.ending == "silence":
            return connection
    except OSError:  # the server has closed it before
        pass
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


async def run(served: Served, clock: MovedLoop, lives: list[Life]) -> None:
    """Let them live, and time pass until nothing of them can be left."""
    sessions = {transport: await served.start(transport) for transport in ("xhr-polling", "jsonp-polling", *STREAMING)}
    for start in range(0, len(lives), AT_ONCE):
        some = lives[start : start + AT_ONCE]
        left = await asyncio.gather(*(live(served, each, sessions) for each in some))
        await turns(20)
        for connection in filter(None, left):
            connection.close()
    for wire in served.wires:
        await wire.aclose()
    served.wires.clear()
    await clock.advance(PAST_ALL_LIMITS)


def held(served: Served, clock: MovedLoop) -> dict[str, Any]:
    """What the process holds, but for memory and what it only remembers: kinds of log lines, a payload, origins,
    counts."""
    RATE_LIMITER.clear()
    found = vitals(served.router)
    del found["rss"]
    for remembered in ("Payload", "Origin", "Traffic"):
        found["objects"].pop(remembered, None)
    selector: Any = clock._selector  # type: ignore[attr-defined]
    return {**found, "watched": len(selector.get_map()) + len(poller_of(clock)), "unflushed": unflushed(served.router)}


def excess(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What there is more of."""
    more: dict[str, Any] = {}
    for name, value in after.items():
        if isinstance(value, dict):
            more |= excess(before[name], value)
        elif value > before.get(name, 0):
            more[name] = value - before.get(name, 0)
    return more


async def chat(served: Served) -> None:
    """A client over each transport is served."""
    for transport in PROTOCOLS:
        client = await greeted(served, transport)
        await client.send("hello", {"a": ["b"]})
        messages: list[Any] = []
        while len(messages) < 2:
            messages += await client.receive()
        assert messages == ["hello", {"a": ["b"]}], transport
        await client.leave()


async def narrow(clock: MovedLoop, lives: list[Life], is_bad: Callable[[list[Life]], Any]) -> list[Life]:
    """As few of these as are still bad, if it is not all of them together."""
    while len(lives) > 1:
        clock.set_limit(SECONDS)
        for half in (lives[: len(lives) // 2], lives[len(lives) // 2 :]):
            if await is_bad(half):
                lives = half
                break
        else:
            break
    return lives


@pytest.mark.skipif(tornado.version_info < (6, 6), reason="Tornado before 6.6 fails on a chunk without its end")
@pytest.mark.parametrize("server", [{}, {"xheaders": True}], ids=["directly", "behind a proxy"])
async def test_whatever_requests_come_nothing_stays_behind_and_nothing_fails(
    request, serve, clock, caplog, dice, each_http, server
):
    if server and each_http == "tornado":
        pytest.skip("once is enough")
    served = serve(Echo, SETTINGS, server=server)
    make = Maker(dice)

    async def complaints(lives: list[Life]) -> str:
        """What is wrong after these, nothing if it is well."""
        await run(served, clock, [])
        before = held(served, clock)
        caplog.clear()
        await run(served, clock, lives)
        more = excess(before, held(served, clock))
        failures = [
            f"{record.getMessage()}\n{record.exc_text or ''}" for record in caplog.records if is_failure(record)
        ]
        return "\n".join([*([f"left behind: {more}"] if more else []), *failures[:3]])

    await served.request("GET", "/socket.io/socket.io.js")  # what is made once is there from now on
    await run(served, clock, [make.life() for _ in range(50)])
    await chat(served)
    end = time.monotonic() + request.config.getoption("--fuzz") / RUNS
    number = 0
    while time.monotonic() < end:
        clock.set_limit(SECONDS)
        lives = [make.life() for _ in range(BATCH)]
        number += len(lives)
        if complaint := await complaints(lives):
            few = await narrow(clock, lives, complaints)
            told = "\n".join(map(str, few[-20:]))
            pytest.fail(f"{complaint}\nafter {len(few)} connections, of {number}:\n{told}", pytrace=False)
        await chat(served)
    print(f"{number} connections")
    assert number
