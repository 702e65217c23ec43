"""Noticing that a peer has closed its TCP connection without reading what it sent before.

Who reads a socket comes to the peer's FIN behind its last bytes. Who doesn't, because a handler is still at work or an
answer is waited for, would keep a descriptor for a peer that has gone. Linux tells it by ``POLLRDHUP`` (poll(2)), also
behind unread bytes and under TLS; elsewhere a FIN behind unread bytes is noticed when they are read.
"""

import asyncio
import contextlib
import select
import socket
import weakref
from collections.abc import Callable
from typing import Final

# So many are told in one turn of the loop, the others in the next ones.
_HANGUPS_A_TURN: Final = 32

if hasattr(select, "POLLRDHUP"):

    def peer_has_closed(connection: socket.socket) -> bool:
        """Whether a socket's peer has closed, although what it sent last was not read yet."""
        # One poll(2) costs as much as reading the state from TCP_INFO, and does for Unix sockets, too.
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)  # POLLHUP and POLLERR come unasked
        return bool(poll.poll(0))

else:

    def peer_has_closed(connection: socket.socket) -> bool:
        """Whether a socket's peer has closed, as far as that shows in front of what was not read yet."""
        try:
            return connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ValueError:  # into TLS nobody can look ahead
            return False
        except OSError:
            return True


# Called once with whether the connection was reset: else the peer has closed, and all that it sent can still be read.
OnHangup = Callable[[bool], None]


class Hangups:
    """The sockets of one event loop that nobody reads at the moment, and who is told when their peers close.

    They are members of an epoll object of their own, which the loop watches: so they are out of the loop's own, where
    unread bytes would wake it again and again. It is made when it is needed first, and stays: one descriptor a loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._callbacks: dict[int, OnHangup] = {}

    def watch(self, fd: int, callback: OnHangup) -> None:
        """Have ``callback`` called once when the peer of a socket closes; at the next turn of the loop if it has.

        Watching what is watched already changes nothing. Where the system has no epoll, or no descriptor is left for
        one, nobody is told.
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
            pass  # somebody else's, who had this socket before
        except (AttributeError, NotImplementedError, OSError):
            return
        self._callbacks[fd] = callback

    def unwatch(self, fd: int, callback: OnHangup) -> None:
        """Don't call any more. To be called before the descriptor is closed; nothing changes where it is not watched,
        or by somebody else."""
        if self._callbacks.get(fd) == callback:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        del self._callbacks[fd]
        if self._epoll is not None:
            with contextlib.suppress(OSError):  # it was closed without a word: then the system has done so
                self._epoll.unregister(fd)

    def _on_events(self) -> None:
        if self._epoll is None:
            return
        for fd, events in self._epoll.poll(0, _HANGUPS_A_TURN):
            callback = self._callbacks.get(fd)
            if callback is not None:  # else by one before it
                self._forget(fd)
                callback(bool(events & (select.EPOLLERR | select.EPOLLHUP)))


# By the identities of their loops. A loop holds its own, as whom it calls: so nothing is left of either.
_all: "weakref.WeakValueDictionary[int, Hangups]" = weakref.WeakValueDictionary()


def hangups_of(loop: asyncio.AbstractEventLoop) -> Hangups:
    """The loop's own."""
    hangups = _all.get(id(loop))
    if hangups is None:
        hangups = _all[id(loop)] = Hangups(loop)
    return hangups
