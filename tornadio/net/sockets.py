"""What connections need of sockets and of Tornado's streams below HTTP: taking one out of the other, half-closing."""

import asyncio
import contextlib
import socket
from typing import Final

from tornado.iostream import IOStream, StreamClosedError

# Bytes that are kept of what a peer has sent before it closed during a pause. One that has sent more does not wait for
# responses to it: then the connection counts as reset.
MAX_UNREAD: Final = 1 << 18


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


def failed_future() -> "asyncio.Future[None]":
    """A future that has failed with ``StreamClosedError``, for what is written to a connection that is closed."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()  # counts as retrieved: asyncio must not log it where nobody asks for it
    return future
