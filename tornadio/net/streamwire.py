"""A byte transport on Tornado's ``IOStream``."""

import asyncio
from typing import TYPE_CHECKING, Final

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tornadio.net.poller import poller_of
from tornadio.net.sockets import MAX_UNREAD, failed_future, half_close, reset_error

if TYPE_CHECKING:
    from tornadio.net.wire import Receiver

_RECV_SIZE: Final = 1 << 16


class StreamWire:
    """A :class:`tornadio.net.wire.Wire` on an ``IOStream``, for TLS, and for a loop without ``add_reader``.

    :param read_ahead: bytes that were read from the stream before.
    """

    __slots__ = (
        "_eof_received",
        "_hangup_fd",
        "_has_hung_up",
        "_is_paused",
        "_is_reading",
        "_read_ahead",
        "_receiver",
        "_stream",
    )

    def __init__(self, stream: IOStream, read_ahead: bytes = b"") -> None:
        self._stream: IOStream | None = stream  # dropped at the end: its error's traceback holds this object
        self._read_ahead = read_ahead
        self._receiver: Receiver | None = None
        self._is_paused = self._is_reading = self._has_hung_up = self._eof_received = False
        self._hangup_fd: int | None = None  # the descriptor whose hangup is or was watched
        stream.set_close_callback(self._on_closed)

    @property
    def is_writing(self) -> bool:
        return self._stream is not None and self._stream.writing()

    # -- Reading -------------------------------------------------------------------------------------------------

    def start(self, receiver: "Receiver") -> None:
        self._receiver = receiver
        self._read()

    def _read(self) -> None:
        """Start a read, unless reading is paused. After a hangup, read what the peer sent before in any case."""
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
        # asyncio calls back in the next iteration of the loop, also for a read that is done: so a busy peer leaves
        # other connections their turns.
        reading.add_done_callback(self._on_read)

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
        elif is_over or (self._has_hung_up and len(data) > MAX_UNREAD):
            is_kept = len(data) <= MAX_UNREAD
            self._connection_lost(data if is_kept else b"", self._error() if is_kept else reset_error())
        else:
            self._read_ahead = data
            self._read()

    def _watch_hangup(self, stream: IOStream) -> None:
        """Watch for the peer's FIN: a stream that is not read buffers some input, and detects no FIN behind that."""
        if not stream.closed():
            self._hangup_fd = stream.socket.fileno()
            poller_of(asyncio.get_running_loop()).watch_hangup(self._hangup_fd, self._on_hangup)

    def _on_hangup(self, is_reset: bool) -> None:
        if self._is_paused:  # else the pending read finds the FIN
            self._hung_up(is_reset)

    def _on_closed(self) -> None:
        """Called by the stream when it was closed: by an error, or by the peer's FIN while no read was under way."""
        stream = self._stream
        if stream is not None and self._is_paused:
            self._hung_up(stream.error is not None)

    def _error(self) -> BaseException | None:
        """The error that has closed the stream; ``None`` if that was the peer's FIN."""
        return None if self._stream is None else self._stream.error

    def _hung_up(self, is_reset: bool) -> None:
        if is_reset:
            self._connection_lost(b"", self._error() or reset_error())
        else:
            self._has_hung_up = True
            self._read()

    def _connection_lost(self, unread: bytes, error: BaseException | None) -> None:
        receiver = self._receiver
        self._eof_received = True
        self.close()
        if receiver is not None:
            if unread:
                receiver.data_received(unread)
            receiver.connection_lost(error)

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
            # Tornado reads a peer's last bytes and its FIN in one go, so the receiver may not know of the FIN yet. A
            # failed write would have the receiver drop those bytes, which are still to be handled.
            return None if self._stream.error is None else failed_future()
        return None if written.done() and written.exception() is None else written

    def write_eof(self) -> None:
        stream = self._stream
        # A FIN under TLS, without close_notify, is a truncation (RFC 8446, section 6.1): close() ends the connection.
        if stream is not None and not stream.closed() and not isinstance(stream, SSLIOStream):
            half_close(stream.socket)

    def close(self) -> None:
        stream, self._stream, self._receiver = self._stream, None, None
        if stream is not None:
            if self._hangup_fd is not None:
                poller_of(asyncio.get_running_loop()).unwatch(self._hangup_fd, self._on_hangup)
            stream.set_close_callback(None)  # a method of this object: break the reference cycle
            stream.close()
