"""Detection of a peer's FIN or RST on TCP connections that are not being read.

A reader finds the peer's FIN behind its last bytes. A connection that is not read, because a handler still runs or a
poll waits, would keep a descriptor for a peer that has closed it. Linux reports the FIN by ``POLLRDHUP`` (poll(2)),
also behind unread bytes and under TLS; elsewhere a FIN behind unread bytes is noticed when they are read.
"""

import asyncio
import contextlib
import select
import socket
import weakref
from collections.abc import Callable
from typing import Final

# Callbacks in one iteration of the event loop, each of which may close a session: some milliseconds.
_MAX_HANGUPS_PER_TICK: Final = 32

if hasattr(select, "POLLRDHUP"):

    def peer_has_closed(sock: socket.socket) -> bool:
        """Whether a socket's peer has sent its FIN, or the connection was reset; also behind unread bytes."""
        # One poll(2) costs as much as reading the state from TCP_INFO, and does for Unix sockets, too.
        poll = select.poll()
        poll.register(sock, select.POLLRDHUP)  # POLLHUP and POLLERR are reported in any case (poll(2))
        return bool(poll.poll(0))

else:

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


# Called once, with True if the connection was reset, and with False if the peer has sent a FIN: then all that it has
# sent before can still be read.
OnHangup = Callable[[bool], None]


class Hangups:
    """The sockets of one event loop that are not read at the moment, with callbacks for FIN and RST of their peers.

    They are in an epoll object of their own, which the loop watches: in the loop's selector their unread bytes would
    wake it again and again. The epoll object is made at the first use and stays: one descriptor for each loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._callbacks: dict[int, OnHangup] = {}

    def watch(self, fd: int, callback: OnHangup) -> None:
        """Call ``callback`` once when the peer of a socket closes; in the loop's next iteration if it has closed.

        Nothing changes if this is watched already. Where the system has no epoll, or no descriptor is left for one,
        the callback is never called.
        """
        if self._callbacks.get(fd) == callback:
            return
        try:
            if self._epoll is None:
                epoll = select.epoll()
                self._loop.add_reader(epoll.fileno(), self._on_events)
                self._epoll = epoll
            self._epoll.register(fd, select.EPOLLRDHUP)
        except FileExistsError:
            pass  # watched for another callback, which is replaced
        except (AttributeError, NotImplementedError, OSError):
            return
        self._callbacks[fd] = callback

    def unwatch(self, fd: int, callback: OnHangup) -> None:
        """Unregister a callback, before the descriptor is closed; nothing changes if another one is registered."""
        if self._callbacks.get(fd) == callback:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        del self._callbacks[fd]
        if self._epoll is not None:
            with contextlib.suppress(OSError):  # the descriptor was closed, which has removed it
                self._epoll.unregister(fd)

    def _on_events(self) -> None:
        if self._epoll is None:
            return
        for fd, events in self._epoll.poll(0, _MAX_HANGUPS_PER_TICK):
            callback = self._callbacks.get(fd)
            if callback is not None:  # None: a callback before it has unwatched this one
                self._forget(fd)
                callback(bool(events & (select.EPOLLERR | select.EPOLLHUP)))


# By the ids of their loops. The loop's selector holds the object, as a callback's: so both are freed together.
_by_loop: "weakref.WeakValueDictionary[int, Hangups]" = weakref.WeakValueDictionary()


def hangups_of(loop: asyncio.AbstractEventLoop) -> Hangups:
    """Return the event loop's :class:`Hangups`, made at the first call."""
    hangups = _by_loop.get(id(loop))
    if hangups is None:
        hangups = _by_loop[id(loop)] = Hangups(loop)
    return hangups
