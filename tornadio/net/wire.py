"""The bytes under a WebSocket once its handshake was read: two ways to carry them, behind one interface.

:class:`SocketWire` leaves Tornado's ``IOStream`` and reads and writes the socket itself, with what asyncio's loops have
for everybody. That is several times as fast: nothing is awaited, and what the socket takes at once needs no future.
:class:`StreamWire` stays on the stream: TLS needs it, and so does a loop that can't watch sockets. Both use public
interfaces alone, and :func:`take` and :func:`take_untouched` choose.
"""

import asyncio
import contextlib
import socket
from typing import Final, Protocol

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tornadio.net.hangups import hangups_of

_CHUNK: Final = 1 << 16
# What a stream has read ahead it hands out at once, and after it what came meanwhile. It is empty by the third time,
# if the peer is not faster than we are: then it stays on its stream.
_READ_AHEAD: Final = 1 << 18
_READS_AHEAD: Final = 3
# Of what a peer has sent, and closed behind it during a pause, so much is kept. Who sends more doesn't wait for answers
# to it: the connection is lost, as one that was reset.
_MAX_UNREAD: Final = 1 << 18


class Receiver(Protocol):
    """Whom a wire tells what comes, on the loop's thread."""

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer, never empty. Not called any more after :meth:`Wire.close`.

        Not during a pause either, but when the peer closes: then all that it has sent comes at once, right before
        :meth:`connection_lost`.
        """

    def connection_lost(self) -> None:
        """The peer has closed, or the connection broke: once, and not after :meth:`Wire.close`. During a pause, too,
        where the system tells it (:mod:`tornadio.net.hangups`)."""


class Wire(Protocol):
    """One connection's bytes, to and fro."""

    @property
    def is_writing(self) -> bool:
        """Whether the socket has not taken all yet."""

    def start(self, receiver: Receiver) -> None:
        """Begin to read, or go on for another receiver."""

    def write(self, data: bytes) -> "asyncio.Future[None] | None":
        """Send bytes. ``None`` when the socket took them at once, else a future of that; it fails when the connection
        ends first. What comes after a peer that closed during a pause counts as taken: it would have been."""

    def pause_reading(self) -> None:
        """Leave what comes in the socket from now on; a peer that closes is noticed."""

    def resume_reading(self) -> None:
        """Go on; nothing changes where reading was not paused."""

    def write_eof(self) -> None:
        """Tell the peer that nothing more will come. TLS knows no such state: there it shows when all is closed."""

    def close(self) -> None:
        """Close the connection; what the socket has not taken is lost."""


def take(stream: IOStream) -> Wire:
    """The fastest wire that will do for a stream which HTTP has let go of."""
    loop = asyncio.get_running_loop()
    stream.set_nodelay(True)
    if isinstance(stream, SSLIOStream) or stream.closed() or stream.writing() or not can_watch_sockets(loop):
        return StreamWire(stream)
    read_ahead: list[bytes] = []
    for _ in range(_READS_AHEAD):
        try:
            reading = asyncio.ensure_future(stream.read_bytes(_READ_AHEAD, partial=True))
        except StreamClosedError:
            break
        if not reading.done():  # it has nothing, so nothing is lost with it
            # The stream would do this by a number that its socket has no more.
            stream.io_loop.remove_handler(stream.socket)
            return SocketWire(loop, _detached_socket(stream), b"".join(read_ahead))
        if reading.exception() is not None:
            break
        read_ahead.append(reading.result())
    if stream.error is not None:
        stream.error.with_traceback(None)  # it knows this frame and those that called it: a circle
    return StreamWire(stream, b"".join(read_ahead))


def take_untouched(stream: IOStream) -> Wire:
    """As :func:`take`, for a stream that nothing was read from yet, nor written to: its socket alone is needed."""
    loop = asyncio.get_running_loop()
    if stream.closed() or not can_watch_sockets(loop):
        return take(stream)
    stream.set_nodelay(True)
    return SocketWire(loop, _detached_socket(stream))


def _detached_socket(stream: IOStream) -> socket.socket:
    """A stream's socket, with its descriptor: another might be of those that clients leave free. Closes the stream."""
    connection = socket.socket(fileno=stream.socket.detach())
    stream.close()
    return connection


def can_watch_sockets(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop has ``add_reader``: Windows' default loop has not."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


def failed_future() -> "asyncio.Future[None]":
    """A future that has failed already, for a connection that has ended."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()  # whoever looks at it has it; nobody else must hear of it
    return future


class SocketWire:
    """The socket itself.

    :param read_ahead: bytes that were read from it before.
    """

    __slots__ = (
        "_fd",
        "_has_ended",
        "_is_hangup_watched",
        "_is_paused",
        "_is_watched",
        "_loop",
        "_read_ahead",
        "_receiver",
        "_socket",
        "_taken",
        "_unsent",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: socket.socket, read_ahead: bytes = b"") -> None:
        self._loop = loop
        self._socket: socket.socket | None = connection
        self._fd = connection.fileno()  # for the loop, which would describe a socket in words before it watches it
        self._read_ahead = read_ahead
        self._receiver: Receiver | None = None
        self._is_paused = self._is_watched = self._is_hangup_watched = self._has_ended = False
        self._unsent: memoryview | None = None
        self._taken: asyncio.Future[None] | None = None

    @property
    def is_writing(self) -> bool:
        return self._unsent is not None

    # -- Reading -------------------------------------------------------------------------------------------------

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._watch()
        if self._read_ahead:
            self._loop.call_soon(self._on_readable)

    def _watch(self) -> None:
        if not self._is_watched and self._socket is not None:
            self._is_watched = True
            self._loop.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        receiver, connection = self._receiver, self._socket
        if connection is None or receiver is None:
            return
        if self._is_paused:
            # Only now: most pauses are over before anything comes, and cost nothing. After this one the hangup may stay
            # watched: the reader sees it as well.
            self._unwatch()
            self._is_hangup_watched = True
            hangups_of(self._loop).watch(self._fd, self._on_hangup)
            return
        data, self._read_ahead = self._read_ahead, b""
        if not data:
            try:
                data = connection.recv(_CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._lose()
                return
        if data:
            receiver.data_received(data)
        elif self._unsent is None:
            self._lose()
        else:  # who has nothing more to say may still listen
            self._unwatch()
            self._receiver = None
            self._has_ended = True
            receiver.connection_lost()

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self._fd)

    def _on_hangup(self, is_reset: bool) -> None:
        receiver, connection = self._receiver, self._socket
        if not self._is_paused or receiver is None or connection is None:
            return  # the reader sees it
        unread = b"" if is_reset else self._read_to_end(connection)
        self._has_ended = True
        self.close()
        if unread:
            receiver.data_received(unread)
        receiver.connection_lost()

    def _read_to_end(self, connection: socket.socket) -> bytes:
        """What the peer has sent before it closed; nothing if that is too much."""
        unread = bytearray(self._read_ahead)
        try:
            while len(unread) <= _MAX_UNREAD:
                data = connection.recv(_CHUNK)
                if not data:
                    return bytes(unread)
                unread += data
        except OSError:  # reset just now
            pass
        return b""

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused and not self._has_ended:
            self._is_paused = False
            self._watch()
            if self._read_ahead:
                self._loop.call_soon(self._on_readable)

    def _lose(self) -> None:
        receiver = self._receiver
        self.close()
        if receiver is not None:
            receiver.connection_lost()

    # -- Writing -------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> "asyncio.Future[None] | None":
        connection = self._socket
        if connection is None:
            return None if self._has_ended else failed_future()
        if self._unsent is not None:
            if data:
                self._unsent = memoryview(b"".join((self._unsent, data)))
            return self._taken
        try:
            sent = connection.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._loop.call_soon(self._lose)
            return failed_future()
        if sent == len(data):
            return None
        self._unsent = memoryview(data)[sent:]
        self._taken = self._loop.create_future()
        self._loop.add_writer(self._fd, self._on_writable)
        return self._taken

    def _on_writable(self) -> None:
        connection, unsent = self._socket, self._unsent
        if connection is None or unsent is None:
            return
        try:
            sent = connection.send(unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._lose()
            return
        if sent < len(unsent):
            self._unsent = unsent[sent:]
            return
        self._loop.remove_writer(self._fd)
        taken, self._taken, self._unsent = self._taken, None, None
        if self._has_ended:
            self.close()
        if taken is not None and not taken.done():
            taken.set_result(None)

    def write_eof(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        connection, self._socket = self._socket, None
        if connection is None:
            return
        self._unwatch()
        if self._is_hangup_watched:
            hangups_of(self._loop).unwatch(self._fd, self._on_hangup)
        if self._unsent is not None:
            self._loop.remove_writer(self._fd)
        connection.close()
        self._receiver = self._unsent = None
        taken, self._taken = self._taken, None
        if taken is not None and not taken.done():
            taken.set_exception(StreamClosedError())
            taken.exception()  # as in failed_future


class StreamWire:
    """Tornado's stream.

    :param read_ahead: bytes that were read from it before.
    """

    __slots__ = (
        "_has_ended",
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
        self._is_paused = self._is_reading = self._has_hung_up = self._has_ended = False
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
            loop.call_soon(self._hand_over, None)
            return
        try:
            reading = asyncio.ensure_future(stream.read_bytes(_CHUNK, partial=True))
        except StreamClosedError:
            reading = failed_future()  # type: ignore[assignment]
        reading.add_done_callback(self._hand_over)  # in another turn of the loop: a busy peer leaves others theirs

    def _hand_over(self, reading: "asyncio.Future[bytes] | None") -> None:
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
            self._lose(data if len(data) <= _MAX_UNREAD else b"")
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
            self._lose(b"")
        else:
            self._has_hung_up = True
            self._read()

    def _lose(self, unread: bytes) -> None:
        receiver = self._receiver
        self._has_ended = self._is_paused
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
            return None if self._has_ended else failed_future()
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
            with contextlib.suppress(OSError):
                stream.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        stream, self._stream, self._receiver = self._stream, None, None
        if stream is not None:
            if self._watched is not None:
                hangups_of(asyncio.get_running_loop()).unwatch(self._watched, self._on_hangup)
            stream.set_close_callback(None)
            stream.close()
