"""Byte transports, as ``asyncio.Transport``, for connections that were detached from HTTP: those of WebSockets, of
streams, and of requests that are rejected early. ("Transport" itself is Socket.IO's word for something else.)

:class:`~tornadio.net.socketwire.SocketWire` leaves Tornado's ``IOStream`` and reads and writes the socket itself, by
the loop's ``add_reader`` and ``add_writer``. That is several times as fast: nothing is awaited, and what the socket
accepts at once needs no future. :class:`~tornadio.net.streamwire.StreamWire` stays on the stream: TLS needs it, and so
does a loop without ``add_reader``. Which of them it is, :func:`open_wire` and :func:`open_unread_wire` choose.
"""

import asyncio
import socket
from typing import Final, Protocol

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tornadio.net.sockets import detach_socket, disable_nagle, stop_watching
from tornadio.net.socketwire import SocketWire
from tornadio.net.streamwire import StreamWire

# Before an IOStream is left, its read buffer is drained, by at most 3 reads of 256 KiB. If there is still more, because
# the peer sends faster than this reads, the connection stays on its IOStream.
_BUFFERED_READ_SIZE: Final = 1 << 18
_MAX_BUFFERED_READS: Final = 3


class Receiver(Protocol):
    """The receiver of a wire's bytes and of its end, as ``asyncio.Protocol``; called on the loop's thread."""

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer, never empty. Not called any more after :meth:`Wire.close`.

        Not called during a pause either, unless the peer closes: then with all that it has sent, at once, right before
        :meth:`connection_lost`.
        """

    def connection_lost(self, error: BaseException | None) -> None:
        """The peer has closed, or the connection broke: called once, and not after :meth:`Wire.close`. Called during a
        pause, too, where the system reports that (:mod:`tornadio.net.poller`).

        :param error: why the connection broke; ``None`` if the peer has closed it, by a FIN.
        """


class Wire(Protocol):
    """A byte transport, as ``asyncio.Transport``: one TCP connection, to read from and write to."""

    @property
    def is_writing(self) -> bool:
        """Whether bytes that were written wait until the socket accepts them."""

    def start(self, receiver: Receiver) -> None:
        """Begin to read, or go on with another receiver."""

    def write(self, data: bytes) -> "asyncio.Future[None] | None":
        """Send bytes.

        :returns: ``None`` if the socket has accepted them, else a future of that, which fails when the connection ends
            first. What is written after a peer has closed counts as accepted.
        """

    def pause_reading(self) -> None:
        """Stop reading: what the peer sends stays in the socket's buffer; a FIN or RST is still noticed."""

    def resume_reading(self) -> None:
        """Read again; nothing changes if reading is not paused."""

    def write_eof(self) -> None:
        """Half-close: send a FIN behind what was written. TLS has no such state: nothing is sent there until
        :meth:`close`."""

    def close(self) -> None:
        """Close the connection at once, and discard what the socket has not accepted."""


def open_wire(stream: IOStream) -> Wire:
    """Open the fastest wire for a stream that was detached from HTTP, with what the stream has read ahead."""
    loop = asyncio.get_running_loop()
    # Nagle's algorithm would hold a small frame back until the one before it is acknowledged.
    stream.set_nodelay(True)
    if isinstance(stream, SSLIOStream) or stream.closed() or stream.writing() or not can_watch_sockets(loop):
        return StreamWire(stream)
    read_ahead: list[bytes] = []
    for _ in range(_MAX_BUFFERED_READS):
        try:
            reading = asyncio.ensure_future(stream.read_bytes(_BUFFERED_READ_SIZE, partial=True))
        except StreamClosedError:
            break
        if not reading.done():  # nothing is buffered, so nothing is lost with the stream
            stop_watching(stream)
            return SocketWire(loop, detach_socket(stream), b"".join(read_ahead))
        if reading.exception() is not None:
            break
        read_ahead.append(reading.result())
    if stream.error is not None:
        stream.error.with_traceback(None)  # which refers to this frame and its callers: break the reference cycle
    return StreamWire(stream, b"".join(read_ahead))


def open_unread_wire(sock: socket.socket) -> Wire:
    """Open a wire for a socket that has no stream: nothing was read ahead, nothing waits to be written."""
    loop = asyncio.get_running_loop()
    disable_nagle(sock)
    return SocketWire(loop, sock) if can_watch_sockets(loop) else StreamWire(IOStream(sock))


def can_watch_sockets(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop has ``add_reader``: Windows' default loop has not."""
    # The abstract method raises NotImplementedError; ProactorEventLoop does not override it.
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader
