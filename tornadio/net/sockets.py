"""Operations on sockets and Tornado's streams below HTTP: detaching a socket from its stream, half-closing it, asking
whether the peer has closed.
"""

import asyncio
import contextlib
import errno
import os
import select
import socket
from typing import Final

from tornado.iostream import IOStream, StreamClosedError

# Bytes that are kept of what a peer has sent before it closed while reading was paused. With more than that, of which
# the peer awaits no responses any more, the connection counts as reset.
MAX_UNREAD: Final = 1 << 18


def stop_watching(stream: IOStream) -> None:
    """Remove a stream's handler from its loop, before :func:`detach_socket`: then the stream has no descriptor any more
    to remove the handler by.
    """
    stream.io_loop.remove_handler(stream.socket)


def detach_socket(stream: IOStream) -> socket.socket:
    """Detach the socket from a stream, and close the stream. The descriptor stays the same: a duplicate might have a
    number above the limit to clients' descriptors (:mod:`tornadio.net.descriptors`).
    """
    sock = socket.socket(fileno=stream.socket.detach())
    stream.close()
    return sock


if hasattr(select, "POLLRDHUP"):

    def hangup_events(fd: int) -> int:
        """Return what poll(2) has to say of a peer's end: ``POLLRDHUP``, ``POLLHUP`` and ``POLLERR``, 0 for none."""
        # One poll(2) costs as much as reading the state from TCP_INFO, and does for Unix sockets, too.
        poll = select.poll()
        poll.register(fd, select.POLLRDHUP)  # POLLHUP and POLLERR are reported in any case
        return sum(events for _, events in poll.poll(0))

    def peer_has_closed(sock: socket.socket) -> bool:
        """Whether a socket's peer has sent its FIN, or the connection was reset; also behind unread bytes."""
        return bool(hangup_events(sock.fileno()))

else:

    def hangup_events(fd: int) -> int:
        """Return 0: this system does not tell."""
        return 0

    def peer_has_closed(sock: socket.socket) -> bool:
        """Whether EOF or an error is the next thing to read from a socket: behind unread bytes neither shows."""
        try:
            return sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ValueError:  # ssl.SSLSocket.recv accepts no MSG_PEEK
            return False
        except OSError:
            return True


def disable_nagle(sock: socket.socket) -> None:
    """Send small writes at once: Nagle's algorithm would hold one back until that before it is acknowledged."""
    with contextlib.suppress(OSError):  # not a TCP socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def half_close(sock: socket.socket) -> None:
    """Send a FIN and keep on reading (shutdown(2), ``SHUT_WR``); nothing happens on a broken connection."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def socket_error(sock: socket.socket) -> OSError | None:
    """Return the pending error of a socket, and clear it (socket(7), ``SO_ERROR``); ``None`` if there is none."""
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, os.strerror(number)) if number else None


def reset_error() -> ConnectionResetError:
    """Return the error for a connection that was found reset by other means than an error of a call."""
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def failed_future() -> "asyncio.Future[None]":
    """Return a future that has failed with ``StreamClosedError``, for a write to a connection that is closed."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()  # marks it as retrieved: else asyncio logs the error where no caller retrieves it
    return future
