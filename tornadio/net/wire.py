"""Byte transports, as ``asyncio.Transport``, for connections that were detached from HTTP: those of WebSockets, of
streams, and of requests that are rejected early. ("Transport" itself is Socket.IO's word for something else.)

:class:`SocketWire` leaves Tornado's ``IOStream`` and reads and writes the socket itself, by the loop's ``add_reader``
and ``add_writer``. That is several times as fast: nothing is awaited, and what the socket takes at once needs no
future. :class:`StreamWire` stays on the stream: TLS needs it, and so does a loop without ``add_reader``. Which of them
it is, :func:`open_wire` and :func:`open_unread_wire` choose.
"""

import asyncio
import contextlib
import socket
from typing import Final, Protocol

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tornadio.net.hangups import hangups_of

_RECV_SIZE: Final = 1 << 16
# Before an IOStream is left, its read buffer is drained, by at most 3 reads of 256 KiB. If there is still more, because
# the peer sends faster than this reads, the connection stays on its IOStream.
_BUFFERED_READ_SIZE: Final = 1 << 18
_MAX_BUFFERED_READS: Final = 3
# Bytes that are kept of what a peer has sent before it closed during a pause. One that has sent more does not wait for
# responses to it: then the connection counts as reset.
_MAX_UNREAD: Final = 1 << 18


class Receiver(Protocol):
    """The receiver of a wire's bytes and of its end, as ``asyncio.Protocol``; called on the loop's thread."""

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer, never empty. Not called any more after :meth:`Wire.close`.

        Not called during a pause either, unless the peer closes: then with all that it has sent, at once, right before
        :meth:`connection_lost`.
        """

    def connection_lost(self) -> None:
        """The peer has closed, or the connection broke: called once, and not after :meth:`Wire.close`. Called during a
        pause, too, where the system tells the end (:mod:`tornadio.net.hangups`)."""


class Wire(Protocol):
    """A byte transport, as ``asyncio.Transport``: one TCP connection, to read from and write to."""

    @property
    def is_writing(self) -> bool:
        """Whether bytes that were written wait for the socket to take them."""

    def start(self, receiver: Receiver) -> None:
        """Begin to read, or go on with another receiver."""

    def write(self, data: bytes) -> "asyncio.Future[None] | None":
        """Send bytes.

        :returns: ``None`` if the socket took them at once, else a future of that; it fails when the connection ends
            first. What is written after a peer has closed during a pause counts as taken: it would have been.
        """

    def pause_reading(self) -> None:
        """Leave in the socket what the peer sends from now on; its end is still noticed."""

    def resume_reading(self) -> None:
        """Read again; nothing changes if reading is not paused."""

    def write_eof(self) -> None:
        """Half-close: send a FIN behind what was written. TLS has no such state: nothing is sent there until
        :meth:`close`."""

    def close(self) -> None:
        """Close the connection at once; what the socket has not taken is lost."""


def open_wire(stream: IOStream) -> Wire:
    """The fastest wire for a stream that was detached from HTTP; it has what the stream has read ahead."""
    loop = asyncio.get_running_loop()
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
        stream.error.with_traceback(None)  # it knows this frame and those that called it: a circle
    return StreamWire(stream, b"".join(read_ahead))


def open_unread_wire(stream: IOStream) -> Wire:
    """As :func:`open_wire`, for a stream that was neither read from yet nor written to: only its socket is needed."""
    loop = asyncio.get_running_loop()
    if stream.closed() or not can_watch_sockets(loop):
        return open_wire(stream)
    stream.set_nodelay(True)
    return SocketWire(loop, detach_socket(stream))


def stop_watching(stream: IOStream) -> None:
    """Have the loop forget a stream before :func:`detach_socket`, which leaves it no descriptor to do this by."""
    stream.io_loop.remove_handler(stream.socket)


def detach_socket(stream: IOStream) -> socket.socket:
    """Take the socket out of a stream, and close that. The descriptor stays the same: a duplicate might have a number
    that clients must leave free (:mod:`tornadio.net.descriptors`)."""
    sock = socket.socket(fileno=stream.socket.detach())
    stream.close()
    return sock


def half_close(sock: socket.socket) -> None:
    """Send a FIN and keep on reading (shutdown(2), ``SHUT_WR``); nothing happens on a broken connection."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def can_watch_sockets(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop has ``add_reader``: Windows' default loop has not."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


def failed_future() -> "asyncio.Future[None]":
    """A future that has failed with ``StreamClosedError``, for what is written to a connection that is closed."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()  # counts as retrieved: asyncio must not log it where nobody asks for it
    return future


class SocketWire:
    """The socket itself.

    :param read_ahead: bytes that were read from it before.
    """

    __slots__ = (
        "_drain_waiter",
        "_eof_received",
        "_fd",
        "_is_hangup_watched",
        "_is_paused",
        "_is_reader_added",
        "_loop",
        "_read_ahead",
        "_receiver",
        "_socket",
        "_write_buffer",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, read_ahead: bytes = b"") -> None:
        self._loop = loop
        self._socket: socket.socket | None = sock
        self._fd = sock.fileno()  # for the loop, which would describe a socket in words before it watches it
        self._read_ahead = read_ahead
        self._receiver: Receiver | None = None
        self._is_paused = self._is_reader_added = self._is_hangup_watched = self._eof_received = False
        self._write_buffer: memoryview | None = None
        self._drain_waiter: asyncio.Future[None] | None = None

    @property
    def is_writing(self) -> bool:
        return self._write_buffer is not None

    # -- Reading -------------------------------------------------------------------------------------------------

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._add_reader()
        if self._read_ahead:
            self._loop.call_soon(self._on_readable)

    def _add_reader(self) -> None:
        if not self._is_reader_added and self._socket is not None:
            self._is_reader_added = True
            self._loop.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        receiver, sock = self._receiver, self._socket
        if sock is None or receiver is None:
            return
        if self._is_paused:
            # Only now: most pauses are over before anything comes, and cost nothing. After this one the hangup may stay
            # watched: the reader sees it as well.
            self._remove_reader()
            self._is_hangup_watched = True
            hangups_of(self._loop).watch(self._fd, self._on_hangup)
            return
        data, self._read_ahead = self._read_ahead, b""
        if not data:
            try:
                data = sock.recv(_RECV_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._connection_lost()
                return
        if data:
            receiver.data_received(data)
        elif self._write_buffer is None:
            self._connection_lost()
        else:  # who has nothing more to say may still listen
            self._remove_reader()
            self._receiver = None
            self._eof_received = True
            receiver.connection_lost()

    def _remove_reader(self) -> None:
        if self._is_reader_added:
            self._is_reader_added = False
            self._loop.remove_reader(self._fd)

    def _on_hangup(self, is_reset: bool) -> None:
        receiver, sock = self._receiver, self._socket
        if not self._is_paused or receiver is None or sock is None:
            return  # the reader sees it
        unread = b"" if is_reset else self._read_to_end(sock)
        self._eof_received = True
        self.close()
        if unread:
            receiver.data_received(unread)
        receiver.connection_lost()

    def _read_to_end(self, sock: socket.socket) -> bytes:
        """What the peer has sent before it closed; nothing if that is too much."""
        unread = bytearray(self._read_ahead)
        try:
            while len(unread) <= _MAX_UNREAD:
                data = sock.recv(_RECV_SIZE)
                if not data:
                    return bytes(unread)
                unread += data
        except OSError:  # reset just now
            pass
        return b""

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused and not self._eof_received:
            self._is_paused = False
            self._add_reader()
            if self._read_ahead:
                self._loop.call_soon(self._on_readable)

    def _connection_lost(self) -> None:
        receiver = self._receiver
        self.close()
        if receiver is not None:
            receiver.connection_lost()

    # -- Writing -------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> "asyncio.Future[None] | None":
        sock = self._socket
        if sock is None:
            return None if self._eof_received else failed_future()
        if self._write_buffer is not None:
            if data:
                self._write_buffer = memoryview(b"".join((self._write_buffer, data)))
            return self._drain_waiter
        try:
            sent = sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._loop.call_soon(self._connection_lost)
            return failed_future()
        if sent == len(data):
            return None
        self._write_buffer = memoryview(data)[sent:]
        self._drain_waiter = self._loop.create_future()
        self._loop.add_writer(self._fd, self._on_writable)
        return self._drain_waiter

    def _on_writable(self) -> None:
        sock, unsent = self._socket, self._write_buffer
        if sock is None or unsent is None:
            return
        try:
            sent = sock.send(unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._connection_lost()
            return
        if sent < len(unsent):
            self._write_buffer = unsent[sent:]
            return
        self._loop.remove_writer(self._fd)
        taken, self._drain_waiter, self._write_buffer = self._drain_waiter, None, None
        if self._eof_received:
            self.close()
        if taken is not None and not taken.done():
            taken.set_result(None)

    def write_eof(self) -> None:
        if self._socket is not None:
            half_close(self._socket)

    def close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self._remove_reader()
        if self._is_hangup_watched:
            hangups_of(self._loop).unwatch(self._fd, self._on_hangup)
        if self._write_buffer is not None:
            self._loop.remove_writer(self._fd)
        sock.close()
        self._receiver = self._write_buffer = None
        taken, self._drain_waiter = self._drain_waiter, None
        if taken is not None and not taken.done():
            taken.set_exception(StreamClosedError())
            taken.exception()  # as in failed_future


class StreamWire:
    """Tornado's stream.

    :param read_ahead: bytes that were read from it before.
    """

    __slots__ = (
        "_eof_received",
        "_has_hung_up",
        "_is_paused",
        "_is_reading",
        "_read_ahead",
        "_receiver",
        "_stream",
        "_watched",
    )

    def __init__(self, stream: IOStream, read_ahead: bytes = b"") -> None:
        self._stream: IOStream | None = stream  # until the end: its error knows whoever read last
        self._read_ahead = read_ahead
        self._receiver: Receiver | None = None
        self._is_paused = self._is_reading = self._has_hung_up = self._eof_received = False
        self._watched: int | None = None  # the descriptor whose hangup is or was watched
        stream.set_close_callback(self._on_closed)

    @property
    def is_writing(self) -> bool:
        return self._stream is not None and self._stream.writing()

    # -- Reading -------------------------------------------------------------------------------------------------

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._read()

    def _read(self) -> None:
        """Read on, unless that is paused. After a hangup what was sent before is read in any case."""
        stream = self._stream
        if self._is_reading or stream is None:
            return
        if self._is_paused and not self._has_hung_up:
            self._watch_hangup(stream)
            return
        self._is_reading = True
        loop = asyncio.get_running_loop()
        if self._read_ahead and not self._is_paused:
            loop.call_soon(self._on_read, None)
            return
        try:
            reading = asyncio.ensure_future(stream.read_bytes(_RECV_SIZE, partial=True))
        except StreamClosedError:
            reading = failed_future()  # type: ignore[assignment]
        reading.add_done_callback(self._on_read)  # in another turn of the loop: a busy peer leaves others theirs

    def _on_read(self, reading: "asyncio.Future[bytes] | None") -> None:
        self._is_reading = False
        receiver = self._receiver
        if receiver is None:
            return
        data, self._read_ahead = self._read_ahead, b""
        is_over = False
        if reading is not None:
            more = b"" if reading.cancelled() or reading.exception() is not None else reading.result()
            is_over = not more
            data += more
        if not self._is_paused and data:
            receiver.data_received(data)
            self._read()
        elif is_over or (self._has_hung_up and len(data) > _MAX_UNREAD):
            self._connection_lost(data if len(data) <= _MAX_UNREAD else b"")
        else:
            self._read_ahead = data
            self._read()

    def _watch_hangup(self, stream: IOStream) -> None:
        """A stream that nobody reads reads a little ahead, and no further: an end behind that it doesn't see."""
        if not stream.closed():
            self._watched = stream.socket.fileno()
            hangups_of(asyncio.get_running_loop()).watch(self._watched, self._on_hangup)

    def _on_hangup(self, is_reset: bool) -> None:
        if self._is_paused:  # else the reader sees it
            self._hung_up(is_reset)

    def _on_closed(self) -> None:
        """The stream was closed, by an error or because it came to the end while it was idle."""
        stream = self._stream
        if stream is not None and self._is_paused:
            self._hung_up(stream.error is not None)

    def _hung_up(self, is_reset: bool) -> None:
        if is_reset:
            self._connection_lost(b"")
        else:
            self._has_hung_up = True
            self._read()

    def _connection_lost(self, unread: bytes) -> None:
        receiver = self._receiver
        self._eof_received = self._is_paused
        self.close()
        if receiver is not None:
            if unread:
                receiver.data_received(unread)
            receiver.connection_lost()

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._read()

    # -- Writing -------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> "asyncio.Future[None] | None":
        if self._stream is None:
            return None if self._eof_received else failed_future()
        try:
            written = self._stream.write(data)
        except StreamClosedError:
            # Tornado reads a peer's last bytes and its end in one go. Nobody is told yet, and those bytes still count:
            # what is sent meanwhile is lost with the connection, and no reason to drop them.
            return None if self._stream.error is None else failed_future()
        return None if written.done() and written.exception() is None else written

    def write_eof(self) -> None:
        stream = self._stream
        if stream is not None and not stream.closed() and not isinstance(stream, SSLIOStream):
            half_close(stream.socket)

    def close(self) -> None:
        stream, self._stream, self._receiver = self._stream, None, None
        if stream is not None:
            if self._watched is not None:
                hangups_of(asyncio.get_running_loop()).unwatch(self._watched, self._on_hangup)
            stream.set_close_callback(None)
            stream.close()
