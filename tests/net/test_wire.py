"""Which wire carries a connection, and what both of them promise. That they carry WebSockets and streams is tested with
these, over each."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import sys
from collections.abc import AsyncIterator

import pytest
import trustme
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tests.internals import without_watching_sockets
from tests.support import limit, until
from tornadio.net.linger import LingeringCloses, close_after
from tornadio.net.socketwire import SocketWire
from tornadio.net.streamwire import StreamWire
from tornadio.net.wire import Wire, can_watch_sockets, open_wire

DATA = b"0123456789abcdef" * (1 << 18)


class Told:
    """A receiver that remembers."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = 0
        self.errors: list[BaseException | None] = []

    def data_received(self, data: bytes) -> None:
        assert data
        self.data += data

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost += 1
        self.errors.append(error)


class Pair:
    """A wire and its peer's socket."""

    def __init__(self, stream: IOStream, peer: socket.socket) -> None:
        self.stream = stream
        self.peer = peer
        self.told = Told()

    def start(self) -> Wire:
        self.wire = open_wire(self.stream)
        self.wire.start(self.told)
        return self.wire

    async def read(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        data = b""
        async with limit():
            while len(data) < size and (more := await loop.sock_recv(self.peer, 1 << 20)):
                data += more
        return data


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        peer.setblocking(False)
        connection, _ = listening.accept()
    pair = Pair(IOStream(connection), peer)
    yield pair
    if hasattr(pair, "wire"):
        pair.wire.close()
    pair.stream.close()
    peer.close()


# -- Which one ---------------------------------------------------------------------------------------------------------


async def test_a_plain_connection_leaves_its_stream(pair):
    assert isinstance(pair.start(), SocketWire)
    assert pair.stream.closed()


async def test_tls_stays_on_its_stream():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    one, other = socket.socketpair()
    stream = SSLIOStream(one, ssl_options=context)
    assert isinstance(open_wire(stream), StreamWire)
    stream.close()
    other.close()


async def test_a_loop_that_cannot_watch_sockets_leaves_them_on_their_streams(pair, monkeypatch):
    class Loop(asyncio.AbstractEventLoop):
        pass

    assert not can_watch_sockets(Loop())  # type: ignore[abstract]
    assert can_watch_sockets(asyncio.get_running_loop())
    without_watching_sockets(monkeypatch)
    assert isinstance(pair.start(), StreamWire)


async def test_a_stream_with_unsent_bytes_is_kept(pair):
    pair.stream.write(DATA)
    assert isinstance(pair.start(), StreamWire)


async def test_a_stream_that_is_closed_is_kept_and_soon_lost(pair):
    pair.stream.close()
    assert isinstance(pair.start(), StreamWire)
    await until(lambda: pair.told.lost)


@pytest.mark.parametrize("ahead", [1, 70_000, 200_000])
async def test_what_a_stream_has_read_ahead_comes_first(pair, each_wire, ahead):
    """As it has behind the handshake of a client that does not wait for the answer."""
    sent = b"GET\n" + bytes(index % 251 for index in range(ahead))
    sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(pair.peer, sent))
    assert await pair.stream.read_until(b"\n") == b"GET\n"
    await sending
    pair.start()
    await until(lambda: len(pair.told.data) == ahead)
    assert pair.told.data == sent[4:]
    pair.peer.send(b"more")
    await until(lambda: pair.told.data.endswith(b"more"))


# -- What they promise -------------------------------------------------------------------------------------------------


async def test_what_the_socket_takes_at_once_needs_no_future(pair, each_wire):
    wire = pair.start()
    assert wire.write(b"news") is None
    assert not wire.is_writing
    assert await pair.read(4) == b"news"


async def test_what_it_does_not_take_comes_later_and_in_order(pair, each_wire):
    wire = pair.start()
    taken = [wire.write(DATA), wire.write(b"more"), wire.write(b"")]
    assert wire.is_writing
    assert await pair.read(len(DATA) + 4) == DATA + b"more"
    async with limit():
        for each in taken:
            assert each is not None
            await each
    assert not wire.is_writing
    assert wire.write(b"x") is None


async def test_what_is_not_taken_by_the_end_fails(pair, each_wire):
    wire = pair.start()
    taken = wire.write(DATA)
    wire.close()
    with pytest.raises(StreamClosedError):
        await taken
    assert pair.told.lost == 0


async def test_after_the_end_nothing_is_taken_nor_told(pair, each_wire):
    wire = pair.start()
    wire.close()
    wire.close()
    pair.peer.close()
    late = wire.write(b"late")
    assert late is not None
    assert late.exception() is not None
    wire.write_eof()
    await asyncio.sleep(0)
    assert (pair.told.data, pair.told.lost) == (b"", 0)


async def test_a_peer_that_closes_is_told_once(pair, each_wire):
    pair.start()
    pair.peer.close()
    await until(lambda: pair.told.lost)
    assert pair.told.lost == 1


@pytest.mark.parametrize("is_paused", [False, True], ids=["reading", "paused"])
@pytest.mark.parametrize("resets", [False, True], ids=["FIN", "RST"])
async def test_a_peer_that_closes_is_told_from_a_connection_that_breaks(pair, each_wire, is_paused, resets):
    wire = pair.start()
    if is_paused:
        wire.pause_reading()
    pair.peer.send(b"last")  # which a pause leaves unread
    if not is_paused:
        await until(lambda: pair.told.data)
    if resets:
        reset(pair.peer)
    pair.peer.close()
    await until(lambda: pair.told.lost)
    [error] = pair.told.errors
    if resets:
        assert isinstance(error, ConnectionResetError)
    else:
        assert error is None


async def test_a_peer_that_is_gone_shows_when_it_is_written_to(pair, each_wire):
    wire = pair.start()
    wire.pause_reading()
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.peer.close()
    taken = wire.write(DATA)
    assert taken is not None
    with pytest.raises(StreamClosedError):
        await taken
    wire.resume_reading()
    await until(lambda: pair.told.lost)
    assert pair.told.lost == 1


async def test_much_is_read_at_once_and_no_block_of_memory_is_mapped_for_it(pair):
    sizes: list[int] = []
    pair.told.data_received = lambda data: sizes.append(len(data))
    pair.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pair.start()
    assert pair.peer.send(DATA[:250_000]) == 250_000
    await until(lambda: sum(sizes) == 250_000)
    assert 100_000 < max(sizes) < (128 << 10) - sys.getsizeof(b"")


async def test_nothing_is_read_during_a_pause(pair, each_wire):
    wire = pair.start()
    wire.pause_reading()
    pair.peer.send(b"first")
    for _ in range(20):
        await asyncio.sleep(0.001)
        assert pair.told.data == b""
    wire.resume_reading()
    wire.resume_reading()
    await until(lambda: pair.told.data == b"first")
    pair.peer.send(b"second")
    await until(lambda: pair.told.data == b"firstsecond")


# -- Peers that close during a pause -----------------------------------------------------------------------------------


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()


@pytest.mark.parametrize("close", [socket.socket.close, reset], ids=["FIN", "RST"])
async def test_a_peer_that_closes_during_a_pause_is_told_at_once(pair, each_wire, close):
    wire = pair.start()
    wire.pause_reading()
    close(pair.peer)
    await until(lambda: pair.told.lost)
    assert (pair.told.data, pair.told.lost) == (b"", 1)
    wire.resume_reading()
    await asyncio.sleep(0)
    assert pair.told.lost == 1


async def test_a_reset_behind_unread_bytes_is_told_at_once(pair, each_wire):
    wire = pair.start()
    wire.pause_reading()
    pair.peer.send(b"lost")
    await asyncio.sleep(0.01)  # whoever reads ahead may do so
    reset(pair.peer)
    await until(lambda: pair.told.lost)
    assert (pair.told.data, pair.told.lost) == (b"", 1)


@pytest.mark.parametrize("size", [1, 70_000, 200_000])
async def test_what_a_peer_sent_before_it_closed_during_a_pause_comes_right_before_the_end(pair, each_wire, size):
    pair.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    wire = pair.start()
    wire.pause_reading()
    await asyncio.get_running_loop().sock_sendall(pair.peer, DATA[:size])
    await asyncio.sleep(0)
    assert pair.told.data == b""
    pair.peer.close()
    await until(lambda: pair.told.lost)
    assert (pair.told.data, pair.told.lost) == (DATA[:size], 1)
    assert wire.write(b"an answer to it") is None


async def test_what_is_too_much_of_a_peer_that_closed_during_a_pause_is_lost_with_it(pair, each_wire):
    pair.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    wire = pair.start()
    wire.pause_reading()
    await asyncio.get_running_loop().sock_sendall(pair.peer, DATA[:500_000])
    pair.peer.close()
    await until(lambda: pair.told.lost)
    assert (pair.told.data, pair.told.lost) == (b"", 1)
    assert isinstance(pair.told.errors[0], ConnectionResetError)


async def test_who_reads_on_comes_to_the_end_although_it_was_watched(pair, each_wire):
    wire = pair.start()
    for number in range(3):
        wire.pause_reading()
        pair.peer.send(b"%d" % number)
        await asyncio.sleep(0.01)
        wire.resume_reading()
        await until(lambda: len(pair.told.data) == number + 1)  # noqa: B023
    pair.peer.close()
    await until(lambda: pair.told.lost)
    assert (pair.told.data, pair.told.lost) == (b"012", 1)


async def test_a_wire_that_was_closed_during_a_pause_is_told_nothing(pair, each_wire):
    wire = pair.start()
    wire.pause_reading()
    pair.peer.send(b"unread")
    await asyncio.sleep(0.01)
    wire.close()
    pair.peer.close()
    await asyncio.sleep(0.01)
    assert (pair.told.data, pair.told.lost) == (b"", 0)


async def test_without_epoll_a_peer_that_closes_is_noticed_when_it_is_read(pair, monkeypatch):
    monkeypatch.delattr(select, "epoll")
    wire = pair.start()
    wire.pause_reading()
    pair.peer.send(b"last")
    await asyncio.sleep(0.01)
    pair.peer.close()
    await asyncio.sleep(0.01)
    assert (pair.told.data, pair.told.lost) == (b"", 0)
    wire.resume_reading()
    await until(lambda: pair.told.lost)
    assert (pair.told.data, pair.told.lost) == (b"last", 1)


# -- Last words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [b"farewell", DATA])
async def test_last_words_arrive_although_the_peer_is_still_sending(pair, each_wire, last):
    lingering = LingeringCloses()
    wire = pair.start()
    sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(pair.peer, DATA))
    close_after(wire, last, lingering)
    assert await pair.read(len(last) + 1) == last
    await sending
    assert len(lingering) == 1
    pair.peer.close()
    await until(lambda: not len(lingering))


async def test_a_peer_that_never_stops_sending_is_cut_off(pair, each_wire):
    lingering = LingeringCloses()
    close_after(pair.start(), b"farewell", lingering)
    with pytest.raises(ConnectionError):
        await asyncio.get_running_loop().sock_sendall(pair.peer, DATA * 16)
    assert len(lingering) == 0


async def test_a_peer_that_stays_is_cut_off_after_a_while(pair, clock, each_wire):
    lingering = LingeringCloses()
    close_after(pair.start(), b"farewell", lingering)
    await clock.advance(4.9)
    assert len(lingering) == 1
    await clock.advance(0.2)
    assert len(lingering) == 0
    assert clock.timers == []


async def test_at_the_end_of_all_nobody_stays(pair, clock, each_wire):
    lingering = LingeringCloses()
    close_after(pair.start(), b"farewell", lingering)
    waiting = asyncio.ensure_future(lingering.wait_closed(1))
    await clock.advance(0.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert waiting.done()
    assert len(lingering) == 0


async def test_who_comes_after_the_end_leaves_at_once(pair, each_wire):
    lingering = LingeringCloses()
    await lingering.wait_closed(1)
    close_after(pair.start(), b"farewell", lingering)
    assert len(lingering) == 0
    assert await pair.read(100) == b"farewell"
