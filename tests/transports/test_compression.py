"""permessage-deflate on the transports of WebSockets: who gets it, what is shared, what a client may not do with it."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
import websockets
from websockets.asyncio.client import connect as websockets_connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.clients import (
    NONCE,
    OFFER,
    PATH,
    UPGRADE,
    Client,
    connect_compressing,
    deflated,
    frame,
    open_client,
    request,
)
from tests.support import ClientStream, Recorder, Served, limit
from tornadio import proto
from tornadio.sessions.outbox import Payload
from tornadio.settings import Compression
from tornadio.transports.htmlfile import HTMLFileFormat
from tornadio.transports.multipart import MultipartFormat
from tornadio.websocket import hixie, rfc6455
from tornadio.websocket.deflate import Compressor, accept_offer
from tornadio.websocket.framer import ServerFramer
from tornadio.websocket.frames import RSV1, TEXT

LONG = "quote " * 1000
AGREED = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
TAKEOVER = {"threshold": 0, "context_takeover": True}


async def shake_hands(served: Served, headers: dict[str, str]) -> tuple[ClientStream, bytes]:
    wire = await served.connect()
    await wire.send(request({**UPGRADE, **NONCE, **headers}))
    return wire, await wire.read_until(b"\r\n\r\n")


@contextlib.asynccontextmanager
async def client(served: Served, **parameters: Any) -> AsyncIterator[websockets.ClientConnection]:
    """`websockets`, which offers compression with these parameters, and is greeted."""
    factory = ClientPerMessageDeflateFactory(**parameters)
    uri = f"ws://127.0.0.1:{served.port}{PATH}"
    async with limit(), websockets_connect(uri, extensions=[factory], compression=None, proxy=None) as connection:
        await connection.recv()
        assert await connection.recv() == proto.encode("welcome")
        yield connection


# -- Who gets it -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_way")
async def test_a_client_that_offers_it_gets_it_where_it_is_switched_on(serve):
    on, off = serve(settings={"compression": True}), serve()
    _, plain = await shake_hands(off, {"Sec-WebSocket-Version": "13"})
    for version in ("13", "8", "7"):
        wire, with_it = await shake_hands(on, {"Sec-WebSocket-Version": version, **OFFER})
        if version == "13":
            assert with_it == plain[:-2] + AGREED + b"\r\n"
        else:
            assert with_it == plain
        for served, offer in ((off, OFFER), (on, {}), (on, {"Sec-WebSocket-Extensions": "x-webkit-deflate-frame"})):
            assert (await shake_hands(served, {"Sec-WebSocket-Version": version, **offer}))[1] == plain
        # The session id is too short to be compressed.
        assert await wire.read_exactly(2) == b"\x81\x28"


@pytest.mark.usefixtures("each_way")
async def test_offers_in_several_headers_are_one_list(serve):
    wire = await serve(settings={"compression": True}).connect()
    head = request({**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Extensions": "a"})
    await wire.send(head[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    assert AGREED in await wire.read_until(b"\r\n\r\n")


class Room(Recorder):
    """A message goes to all."""

    def on_message(self, message: Any) -> None:
        for other in Recorder.opened:
            other.send(message)


async def test_a_broadcast_is_compressed_once_and_reaches_whoever_does_not_speak_it(serve, monkeypatch):
    compressed: list[bytes] = []
    compress = Compressor.compress

    def counting(self: Compressor, payload: bytes) -> bytes | None:
        if len(payload) > 1000:
            compressed.append(payload)
        return compress(self, payload)

    monkeypatch.setattr(Compressor, "compress", counting)
    served = serve(Room, {"compression": True})
    others: list[Client] = [await open_client(served, name) for name in ("websocket", "flashsocket", "htmlfile")]
    for other in others:
        assert await other.receive() == ["welcome"]
    async with client(served) as first, client(served) as second, client(served, server_max_window_bits=9) as small:
        await first.send(proto.encode(LONG))
        for speaker in (first, second, small):
            assert await speaker.recv() == proto.encode(LONG)
        for other in others:
            assert await other.receive() == [LONG]
    assert len(compressed) == 2  # once for each window


def test_a_payload_is_encoded_once_for_each_kind_of_receivers_there_is():
    offers = [f"permessage-deflate; server_max_window_bits={bits}" for bits in (9, 12, 15)]
    agreements = [accept_offer(offer, Compression()) for offer in offers]
    framers: list[ServerFramer] = [rfc6455.Framer(1, agreement[0]) for agreement in agreements if agreement]
    framers += [rfc6455.Framer(1), hixie.Framer(1)]
    streams = [form(is_chunked) for form in (MultipartFormat, HTMLFileFormat) for is_chunked in (False, True)]
    payload = Payload("é" * 1000)
    for stream in streams:
        payload.encoded(stream.encode)
    for framer in framers:
        assert payload.encoded(framer.encode_text) is payload.encoded(framer.encode_text)


@pytest.mark.parametrize("compression", [{"threshold": 0}, TAKEOVER])
async def test_each_frame_is_a_message_of_its_own_where_a_client_wants_that(serve, compression):
    served = serve(settings={"compression": compression, "one_frame_per_message": True})
    async with client(served) as one, client(served) as other:
        for speaker in (one, other):
            await speaker.send(proto.encode(LONG) + proto.encode("short") + proto.encode(LONG))
            assert [await speaker.recv() for _ in range(3)] == [proto.encode(text) for text in (LONG, "short", LONG)]


async def test_with_context_takeover_each_client_has_a_stream_of_its_own(serve):
    served = serve(settings={"compression": TAKEOVER})
    wires = [await connect_compressing(served) for _ in range(2)]
    for wire in wires:
        stream = zlib.decompressobj(-15)
        texts, lengths = [], []
        for _ in range(6):
            texts.append(stream.decompress(payload := await read_compressed(wire) + b"\0\0\xff\xff").decode())
            lengths.append(len(payload))
            if len(texts) > 1:
                await wire.send(frame(TEXT, proto.encode(LONG)))
        assert texts[1:] == [proto.encode("welcome"), *[proto.encode(LONG)] * 4]
        assert lengths[2] > 40 > lengths[3] > lengths[5] - 3  # what came before is in view


async def read_compressed(wire: ClientStream) -> bytes:
    first, length = await wire.read_exactly(2)
    assert first == 0x80 | RSV1 | TEXT
    assert length < 126
    return await wire.read_exactly(length)


class Telling(Recorder):
    """Sends the same objects again and again."""

    TEXTS: ClassVar = {"long": "".join(map(chr, range(0x100, 0x300))), "short": "short"}

    def on_message(self, message: Any) -> None:
        self.send(self.TEXTS[message])


@pytest.mark.parametrize("parameters", [{}, {"server_no_context_takeover": True, "client_no_context_takeover": True}])
async def test_what_a_client_repeats_and_is_told_again_arrives(serve, parameters):
    """The payload of a text that is sent again is kept, but not its frame, which may refer to what came before."""
    served = serve(Telling, {"compression": TAKEOVER})
    async with client(served, **parameters) as first, client(served, **parameters) as second:
        for name in ("long", "short", "short", "long"):
            for each in (first, second):
                await each.send(proto.encode(name))
                assert await each.recv() == proto.encode(Telling.TEXTS[name])


# -- What a client may not do ------------------------------------------------------------------------------------------


BOMB = deflated(bytes(1 << 20))


@pytest.mark.parametrize("compression", [True, TAKEOVER])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(RSV1 | TEXT, BOMB), 1009),
        (frame(RSV1 | TEXT, BOMB[:20], final=False) + frame(0, BOMB[20:]), 1009),
        (frame(RSV1 | TEXT, b"\xff"), 1007),
        (frame(TEXT, b"a", final=False) + frame(RSV1, b""), 1002),
        (frame(RSV1 | 9, b""), 1002),
    ],
    ids=["a bomb", "a bomb in fragments", "no DEFLATE", "RSV1 within a message", "RSV1 on a ping"],
)
async def test_what_is_wrong_ends_the_connection_with_its_code(serve, compression, data, code):
    settings = {"compression": compression, "max_message_size": 1000, "max_payload_size": 100_000}
    served = serve(settings=settings)
    wire = await connect_compressing(served)
    await wire.send(frame(TEXT, proto.encode("before")) + data + frame(TEXT, proto.encode("behind")))
    assert code.to_bytes(2, "big") in await wire.read_to_end()
    [recorder] = Recorder.opened
    await recorder.wait_closed()
    assert recorder.events[1:] == [("message", "before"), ("close",)]
    assert recorder.close_code == code


class Slow(Recorder):
    """Handles messages in tasks, one after another."""

    async def on_message(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.events.append(("message", len(message)))


async def test_messages_that_inflate_to_a_thousandfold_arrive_in_order(serve):
    served = serve(Slow, {"compression": True})
    wire = await connect_compressing(served)
    sizes = [*range(900_000, 900_030), 5]
    for size in sizes:
        await wire.send(frame(RSV1 | TEXT, deflated(proto.encode("a" * size).encode())))
    await wire.send(frame(8, b"\x03\xe8"))
    await wire.read_to_end()
    [recorder] = Recorder.opened
    await recorder.wait_closed()
    assert recorder.events[1:] == [*(("message", size) for size in sizes), ("close",)]
