"""A byte transport on a socket that was detached from Tornado's ``IOStream``."""

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from tornado.iostream import StreamClosedError

from tornadio.net.heap import keep_freed_memory
from tornadio.net.poller import poller_of
from tornadio.net.sockets import MAX_UNREAD, failed_future, half_close, reset_error

if TYPE_CHECKING:
    from tornadio.net.wire import Receiver

# Bytes of one recv(): what one connection handles before others get their turn. Less than the 128 KiB from which on C
# libraries map each block of memory anew, all of it for the shortest message, too.
_RECV_SIZE: Final = 124 << 10

keep_freed_memory()


class SocketWire:
    """A :class:`tornadio.net.wire.Wire` that reads and writes a socket itself, by the loop's
    :class:`~tornadio.net.poller.Poller`, and ``add_writer``.

    :param read_ahead: bytes that were read from the socket before.
    """

    __slots__ = (
        "_drain_waiter",
        "_eof_received",
        "_fd",
        "_is_paused",
        "_is_read",
        "_poller",
        "_read_ahead",
        "_receiver",
        "_socket",
        "_write_buffer",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, read_ahead: bytes = b"") -> None:
        self._poller = poller_of(loop)
        self._socket: socket.socket | None = sock
        self._fd = sock.fileno()
        self._read_ahead = read_ahead
        self._receiver: Receiver | None = None
        self._is_paused = self._is_read = self._eof_received = False
        self._write_buffer: memoryview | None = None
        self._drain_waiter: asyncio.Future[None] | None = None

    @property
    def is_writing(self) -> bool:
        return self._write_buffer is not None

    # -- Reading -------------------------------------------------------------------------------------------------

    def start(self, receiver: "Receiver") -> None:
        self._receiver = receiver
        self._watch_reading()
        if self._read_ahead:
            self._poller.loop.call_soon(self._on_readable)  # not now: the caller is not ready for data_received

    def _watch_reading(self) -> None:
        if not self._is_read and self._socket is not None:
            self._is_read = True
            self._poller.watch_reading(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        receiver, sock = self._receiver, self._socket
        if sock is None or receiver is None:
            return
        if self._is_paused:
            # The socket is left alone only now: most pauses end before anything is received, and so cost no system
            # call.
            self._is_read = False
            self._poller.watch_hangup(self._fd, self._on_hangup)
            return
        if self._read_ahead:
            data, self._read_ahead = self._read_ahead, b""
        else:
            try:
                data = sock.recv(_RECV_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._connection_lost(error)
                return
        if data:
            receiver.data_received(data)
        elif self._write_buffer is None:
            self._connection_lost(None)
        else:  # the peer may have half-closed (shutdown(2)), and still read what waits to be written
            self._unwatch()
            self._receiver = None
            self._eof_received = True
            receiver.connection_lost(None)

    def _unwatch(self) -> None:
        """Stop watching the socket, whichever of the two it is watched for."""
        was_read, self._is_read = self._is_read, False
        self._poller.unwatch(self._fd, self._on_readable if was_read else self._on_hangup)

    def _on_hangup(self, is_reset: bool) -> None:
        receiver, sock = self._receiver, self._socket
        if not self._is_paused or receiver is None or sock is None:
            return  # read on, it finds the FIN behind the last bytes
        unread = None if is_reset else self._read_to_end(sock)
        self._eof_received = True
        self.close()
        if unread:
            receiver.data_received(unread)
        receiver.connection_lost(reset_error() if unread is None else None)

    def _read_to_end(self, sock: socket.socket) -> bytes | None:
        """Read what the peer has sent before it closed; returns ``None`` if that is more than ``MAX_UNREAD``, or if the
        connection was reset.
        """
        unread = bytearray(self._read_ahead)
        try:
            while len(unread) <= MAX_UNREAD:
                data = sock.recv(_RECV_SIZE)
                if not data:
                    return bytes(unread)
                unread += data
        except OSError:  # reset just now
            pass
        return None

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused and not self._eof_received:
            self._is_paused = False
            self._watch_reading()
            if self._read_ahead:
                self._poller.loop.call_soon(self._on_readable)

    def _connection_lost(self, error: OSError | None) -> None:
        receiver = self._receiver
        self._eof_received = True
        self.close()
        if receiver is not None:
            receiver.connection_lost(error)

    # -- Writing -------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> "asyncio.Future[None] | None":
        sock = self._socket
        if sock is None:
            # The peer has closed, and what it sent before may still wait to be handled: responses to that count as
            # written, as they would have been a moment earlier.
            return None if self._eof_received else failed_future()
        if self._write_buffer is not None:
            if data:
                self._write_buffer = memoryview(b"".join((self._write_buffer, data)))
            return self._drain_waiter
        try:
            sent = sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            # Later: the receiver may be in the middle of what it writes for. Without the traceback, which refers to the
            # frames of the callers: a reference cycle.
            self._poller.loop.call_soon(self._connection_lost, error.with_traceback(None))
            return failed_future()
        if sent == len(data):
            return None
        self._write_buffer = memoryview(data)[sent:]
        self._drain_waiter = self._poller.loop.create_future()
        self._poller.loop.add_writer(self._fd, self._on_writable)
        return self._drain_waiter

    def _on_writable(self) -> None:
        sock, unsent = self._socket, self._write_buffer
        if sock is None or unsent is None:
            return
        try:
            sent = sock.send(unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._connection_lost(error)
            return
        if sent < len(unsent):
            self._write_buffer = unsent[sent:]
            return
        self._poller.loop.remove_writer(self._fd)
        waiter, self._drain_waiter, self._write_buffer = self._drain_waiter, None, None
        if self._eof_received:  # nothing is left to read or to write, and the receiver knows of the end
            self.close()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def write_eof(self) -> None:
        if self._socket is not None:
            half_close(self._socket)

    def close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self._unwatch()
        if self._write_buffer is not None:
            self._poller.loop.remove_writer(self._fd)
        sock.close()
        self._receiver = self._write_buffer = None  # the receiver refers to this object: break the reference cycle
        waiter, self._drain_waiter = self._drain_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(StreamClosedError())
            waiter.exception()  # as in failed_future
