"""Payloads on a wire: the response's head before the first one, each encoder's own bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from tornadio import SocketConnection
from tornadio.net.wire import Wire
from tornadio.sessions.outbox import Payload
from tornadio.sessions.persistent import PersistentSession
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import Settings
from tornadio.transports.htmlfile import HTMLFileFormat
from tornadio.transports.multipart import MultipartFormat
from tornadio.transports.streamchannel import StreamChannel
from tornadio.transports.streaming import StreamFormat
from tornadio.transports.wirechannel import WireChannel


class RecordingWire:
    """A wire whose socket takes everything at once."""

    is_writing = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> asyncio.Future[None] | None:
        self.written.append(data)
        return None

    def start(self, receiver: object) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def write_eof(self) -> None:
        self.written.append(b"FIN")


def encode(text: bytes) -> bytes:
    return text.upper()


def test_the_head_is_written_with_the_first_payload_in_one_piece():
    wire = RecordingWire()
    channel = WireChannel(cast(Wire, wire), encode, b"head ")
    for text in "ab":
        assert channel.write(Payload(text)) is None
    channel.write_head()
    assert wire.written == [b"head A", b"B"]


def test_the_head_is_written_by_itself_where_there_is_no_payload_yet():
    wire = RecordingWire()
    channel = WireChannel(cast(Wire, wire), encode, b"head ")
    channel.write_head()
    channel.write_head()
    channel.write(Payload("a"))
    assert wire.written == [b"head ", b"A"]


def test_each_channel_writes_the_bytes_of_its_own_encoder():
    wires = [RecordingWire() for _ in range(4)]
    encoders: list[Callable[[bytes], bytes]] = [encode, bytes, encode, bytes]
    payload = Payload("a")
    for wire, encoder in zip(wires, encoders, strict=True):
        WireChannel(cast(Wire, wire), encoder).write(payload)
    assert [wire.written for wire in wires] == [[b"A"], [b"a"], [b"A"], [b"a"]]


def new_session() -> PersistentSession:
    return SessionRegistry(Settings()).create(PersistentSession, SocketConnection(), "htmlfile")


async def test_a_streams_parts_end_as_its_format_says():
    session = new_session()
    formats: list[StreamFormat] = [MultipartFormat(True), MultipartFormat(True), HTMLFileFormat(True)]
    payload = Payload("a")
    for stream in formats:
        wire = RecordingWire()
        channel = StreamChannel(cast(Wire, wire), session, stream, b"head ")
        channel.write(payload)
        channel.write(payload)
        part = stream.encode(b"a") + stream.part_end
        assert wire.written == [b"head " + stream.preamble + part, part]


async def test_a_stream_that_is_closed_before_its_first_payload_has_a_head_all_the_same():
    session = new_session()
    wire, stream = RecordingWire(), HTMLFileFormat(True)
    channel = StreamChannel(cast(Wire, wire), session, stream, b"head ")
    channel.close(1000, "")
    channel.write_head()
    assert wire.written == [b"head " + stream.preamble + stream.epilogue, b"FIN"]
    await session.registry.lingering.wait_closed(0)
