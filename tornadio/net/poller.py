"""``Poller``: an epoll object for all sockets of one event loop that are read without a Tornado stream.

The event loop watches the epoll object, as if that were one socket, and so calls :class:`Poller` once for all sockets
that are ready. It calls their callbacks in a loop: with ``add_reader`` each would cost the event loop a ``Handle``, an
entry of its selector, and a run in a context of its own, together as much as the reading of a short message. A socket
that is not read is watched for the peer's FIN or RST alone (``EPOLLRDHUP``, epoll_ctl(2)), also behind unread bytes and
under TLS, where the selectors of asyncio know reading and writing.

Where the system has no epoll, Tornado's ``IOLoop`` watches each socket, and hangups are not reported.
"""

import asyncio
import contextlib
import contextvars
import select
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Final

from tornado.ioloop import IOLoop

from tornadio.net.sockets import hangup_events

# Ready sockets in one iteration of the event loop, so that everything else on it has its turn. Of those whose peers
# have closed, each of which may end a session, this is some ten milliseconds.
_MAX_EVENTS: Final = 256

# Called with True if the connection was reset, and with False if the peer has sent a FIN: then all that it has sent
# before can still be read.
OnHangup = Callable[[bool], None]


class Poller:
    """Callbacks for sockets of an event loop that have become readable, or whose peers have closed.

    A socket is watched for one of the two at a time: whoever watches it last replaces the callback before. Callbacks
    run without context variables. All methods are for the event loop's thread.

    :ivar batch_thread: the event loop's thread while callbacks of ready sockets run, else 0.
    :ivar loop: the event loop.
    """

    __slots__ = ("__weakref__", "_at_end", "_epoll", "_hangups", "_readers", "batch_thread", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._readers: dict[int, Callable[[], None]] = {}
        self._hangups: dict[int, OnHangup] = {}
        self._at_end: list[Callable[[], None]] = []
        self.batch_thread = 0
        self._epoll: select.epoll | None = None
        try:
            epoll = select.epoll()
            contextvars.Context().run(loop.add_reader, epoll.fileno(), self._on_ready)
        except (AttributeError, NotImplementedError, OSError):
            return  # no epoll on this system, no add_reader on this loop, or no descriptor is left
        self._epoll = epoll

    def __len__(self) -> int:
        """The number of sockets that are watched."""
        return len(self._readers) + len(self._hangups)

    def watch_reading(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever a socket is readable, at its end too, until :meth:`unwatch`.

        :raises OSError: the system can't watch any more of them.
        """
        was_read = fd in self._readers
        is_watched = was_read or self._hangups.pop(fd, None) is not None
        self._readers[fd] = callback
        if self._epoll is not None:
            _set_events(self._epoll, fd, select.EPOLLIN, is_watched)
        elif not was_read:
            contextvars.Context().run(IOLoop.current().add_handler, fd, self._on_readable, IOLoop.READ)

    def watch_hangup(self, fd: int, callback: OnHangup) -> None:
        """Call ``callback`` once when a socket's peer closes, in the next iteration if it has closed; until then what
        it sends stays unread.

        Nothing changes if this is watched already. Without epoll, and where the system can't watch any more of them,
        the callback is never called.
        """
        if self._hangups.get(fd) == callback:
            return
        was_read = self._readers.pop(fd, None) is not None
        is_watched = was_read or fd in self._hangups
        self._hangups[fd] = callback
        if self._epoll is None:
            if was_read:
                IOLoop.current().remove_handler(fd)
            return
        try:
            _set_events(self._epoll, fd, select.EPOLLRDHUP, is_watched)
        except OSError:
            del self._hangups[fd]

    def unwatch(self, fd: int, callback: "Callable[[], None] | OnHangup") -> None:
        """Stop watching a socket, before it is closed; nothing changes if another callback than this is registered."""
        if self._readers.get(fd) == callback:
            del self._readers[fd]
            if self._epoll is None:
                IOLoop.current().remove_handler(fd)
        elif self._hangups.get(fd) == callback:
            del self._hangups[fd]
        else:
            return
        if self._epoll is not None:
            with contextlib.suppress(OSError):  # the descriptor was closed, which has removed it
                self._epoll.unregister(fd)

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when all sockets that are ready now were handled; elsewhere soon, by the event loop."""
        if self.batch_thread:
            self._at_end.append(callback)
        else:
            self.loop.call_soon(callback)

    def _on_ready(self) -> None:
        if self._epoll is None:
            return
        readers, at_end = self._readers, self._at_end
        self.batch_thread = get_ident()
        try:
            for fd, events in self._epoll.poll(0, _MAX_EVENTS):
                reader = readers.get(fd)
                try:
                    if reader is not None:
                        reader()
                    elif events & _HANGUP:
                        self._hung_up(fd)
                except Exception as error:
                    self._report(error)
            self.batch_thread = 0
            while at_end:
                try:
                    at_end.pop(0)()
                except Exception as error:
                    self._report(error)
        finally:  # what a KeyboardInterrupt has left is for the loop, if that is run once more
            self.batch_thread = 0
            while at_end:
                self.loop.call_soon(at_end.pop(0))

    def _on_readable(self, fd: int, events: int) -> None:
        """Called by Tornado's loop, without epoll."""
        self._readers[fd]()

    def _hung_up(self, fd: int) -> None:
        callback = self._hangups.get(fd)
        # None: a callback before it has unwatched this one. And if it has closed this one, and the number is another
        # socket's now, what was reported is not true of that.
        events = hangup_events(fd) if callback is not None else 0
        if callback is not None and events:
            self.unwatch(fd, callback)
            callback(bool(events & (select.POLLERR | select.POLLHUP)))

    def _report(self, error: Exception) -> None:
        """Report what a callback has raised, as the event loop does, and go on with the others."""
        self.loop.call_exception_handler({"message": "Exception in a callback of a socket", "exception": error})


def _set_events(epoll: "select.epoll", fd: int, events: int, is_watched: bool) -> None:
    """Have a descriptor watched for other events, or begin to watch it."""
    # One that was closed without unwatch() has left the epoll object, and its number may be another socket's now.
    if is_watched:
        with contextlib.suppress(FileNotFoundError):
            epoll.modify(fd, events)
            return
    epoll.register(fd, events)


# EPOLLERR and EPOLLHUP are reported in any case (epoll_ctl(2)).
_HANGUP: Final = select.EPOLLRDHUP | select.EPOLLERR | select.EPOLLHUP if hasattr(select, "EPOLLRDHUP") else 0

# By the ids of their loops. The loop's selector holds the object, as a callback's: so both are freed together.
_by_loop: "weakref.WeakValueDictionary[int, Poller]" = weakref.WeakValueDictionary()


def poller_of(loop: asyncio.AbstractEventLoop) -> Poller:
    """Return the event loop's :class:`Poller`, made at the first call."""
    poller = _by_loop.get(id(loop))
    if poller is None:
        poller = _by_loop[id(loop)] = Poller(loop)
    return poller
