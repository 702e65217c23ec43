"""Which frames travel in one payload, a WebSocket message or a part of a stream, and which do by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.asyncio.client import connect as websockets_connect

from tests.clients import HIXIE, HYBI, PATH, connect
from tests.internals import encoder_of, is_writing
from tests.slow_clients import resume_reading, stop_reading
from tests.support import LARGE, STREAMING, Recorder, Served, limit, until
from tests.texts import frame
from tornadio import proto

every_version = pytest.mark.parametrize("version", [*HYBI, *HIXIE])
one_frame = {"one_frame_per_message": True}


class Payloads:
    """A client that reads payload by payload."""

    def __init__(self, served: Served, way: str) -> None:
        self.served = served
        self.way = way

    async def open(self) -> None:
        if self.way in STREAMING:
            stream = await self.served.stream(self.way)
            self.wire, self.read = stream.wire, stream.read_payload
        else:
            peer = await connect(self.served, self.way)
            self.wire, self.read = peer.wire, peer.receive


async def payloads(served: Served, way: str) -> Payloads:
    """A client over a transport, or a version of WebSocket, that has read the first frame and the welcome."""
    client = Payloads(served, way)
    await client.open()
    assert await client.read() == frame(Recorder.opened[-1].session_id)
    assert await client.read() == frame("welcome")
    return client


@pytest.mark.parametrize("way", [*HYBI, *HIXIE, *STREAMING])
async def test_a_heartbeat_travels_alone_whatever_is_sent_in_the_same_turn(serve, clock, way):
    client = await payloads(serve(), way)
    [connection] = Recorder.opened

    def send_around() -> None:
        connection.send("a")
        connection.send("b")

    for number in (1, 2):
        # Due at the same time as the heartbeat, which goes between or beside them.
        clock.call_at(clock.time() + 12, send_around)
        clock.call_at(clock.time() + 12, connection.send, "c")
        await clock.advance(12)
        read: list[str] = []
        while "".join(read).count("~m~") < 8:
            read.append(await client.read())
        heartbeat = proto.encode_heartbeat(number)
        assert heartbeat in read
        assert sorted("".join(read).replace(heartbeat, "")) == sorted(proto.encode(["a", "b", "c"]))


@pytest.mark.parametrize("way", ["13", "76", *STREAMING])
async def test_a_heartbeat_travels_alone_when_it_waits_behind_a_slow_write(serve, clock, way):
    client = await payloads(serve(), way)
    [connection] = Recorder.opened
    stop_reading(client.wire)
    large = LARGE[: 1 << 16]
    for _ in range(len(LARGE) // len(large)):
        connection.send(large)
    await until(lambda: is_writing(connection))
    connection.send("behind")
    connection.send("it")
    await clock.advance(12)
    connection.send("more")
    resume_reading(client.wire)
    while (read := await client.read()) == frame(large):
        pass
    expected = [proto.encode(["behind", "it"]), proto.encode_heartbeat(1), frame("more")]
    assert [read, await client.read(), await client.read()] == expected


@every_version
async def test_each_frame_can_be_a_message_of_its_own(serve, version):
    class Talkative(Recorder):
        def on_message(self, message: Any) -> None:
            self.send(["é😀", [{"n": 1}, "~m~1~m~a"]])
            self.send("one")
            self.send("")
            self.broadcast(["two", "three"])
            self.send("x" * 70_000)

    served = serve(Talkative, one_frame)
    [speaker, listener] = [await connect(served, version) for _ in range(2)]
    for peer, connection in ((speaker, 0), (listener, 1)):
        assert await peer.receive() == frame(Recorder.opened[connection].session_id)
        assert await peer.receive() == frame("welcome")
    await speaker.send(proto.encode(["several", "frames"]))
    expected = ["é😀", '~j~{"n": 1}', "~m~1~m~a", "one", "", "x" * 70_000]
    assert [await speaker.receive() for _ in range(12)] == 2 * [frame(text) for text in expected]
    assert [await listener.receive() for _ in range(4)] == 2 * [frame("two"), frame("three")]


@pytest.mark.parametrize("context_takeover", [False, True])
async def test_each_frame_is_a_compressed_message_of_its_own(serve, context_takeover):
    compression = {"threshold": 0, "context_takeover": context_takeover}
    served = serve(settings={"compression": compression, **one_frame})
    clients = []
    for _ in range(2):
        async with limit():
            clients.append(await websockets_connect(f"ws://127.0.0.1:{served.port}{PATH}", proxy=None))
        assert [await clients[-1].recv() for _ in range(2)] == [frame(Recorder.opened[-1].session_id), frame("welcome")]
        assert clients[-1].protocol.extensions != []
    for number in range(3):
        served.router.broadcast(["quote " * 1000, {"n": number}])
    expected = 3 * [frame("quote " * 1000)]
    for client in clients:
        async with limit():
            received = [await client.recv() for _ in range(6)]
        assert received[::2] == expected
        assert received[1::2] == [proto.encode({"n": number}) for number in range(3)]
        await client.close()


@pytest.mark.parametrize("settings", [{}, one_frame], ids=["together", "one by one"])
async def test_what_goes_to_many_is_encoded_once(serve, settings):
    served = serve(settings=settings)
    for version in ("13", "13", "8", "76", "75"):
        await connect(served, version)
    await until(lambda: len(Recorder.opened) == 5)
    encoders = [encoder_of(connection) for connection in Recorder.opened]
    assert len(set(encoders[:3])) == len(set(encoders[3:])) == 1


async def test_streams_and_polls_have_no_messages_of_their_own_for_each_frame(serve):
    served = serve(settings=one_frame)
    for transport in STREAMING:
        client = await payloads(served, transport)
        Recorder.opened[-1].send(["a", "b"])
        assert await client.read() == proto.encode(["a", "b"])
    session_id, text = await served.open()
    assert text == frame("welcome")
    Recorder.opened[-1].send(["a", "b"])
    assert (await served.poll(session_id)).text == proto.encode(["a", "b"])
