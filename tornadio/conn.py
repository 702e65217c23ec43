"""The class that applications subclass: one object for each connected client."""

import functools
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from tornadio import proto
from tornadio.closecodes import APPLICATION, check_close
from tornadio.logs import get_logger
from tornadio.sessions.fanout import encode
from tornadio.sessions.outbox import Payload

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from tornadio.sessions.base import BaseSession

logger = get_logger(__name__)


class SocketConnection:
    """One client's connection, as the application subclasses it: with :meth:`on_message`, and optionally
    :meth:`on_open`, :meth:`on_close` and :meth:`greeting`.

    :func:`tornadio.get_router` makes an object of the subclass for each client. An ``__init__`` takes no arguments; one
    that was written for TornadIO 0.0.5, with its three, gets these, as does one with ``*args`` that passes them to such
    a one or to this class's. No subclass needs them.

    :param protocol: the module :mod:`tornadio.proto`, whose ``encode`` and ``decode`` are the codec.
    :param io_loop: the ``tornado.ioloop.IOLoop`` on which the connection lives.
    :param heartbeat_interval: the router's setting of that name, in seconds.

    The three handlers may be coroutines. Those of one connection run one at a time, messages in the order in which the
    client sent them.

    :meth:`send`, :meth:`close` and :meth:`broadcast` may be called by any handler of any connection, and from any
    thread. On the event loop's thread they take effect at once. From other threads the event loop is woken and carries
    them out, in the order of each thread's calls, over all connections and groups of a router; what a thread has sent
    comes before what a handler sends that awaited it (``await asyncio.to_thread(...)``). An error of the message is
    raised where it is sent. What waits for the event loop counts against ``max_send_buffer``. After the end of the
    event loop, or of the server, a call from another thread does nothing, which is logged once.
    """

    # Set by the session before on_open. Not "_session": applications have sessions, too, and give them that name.
    _tornadio_session: "BaseSession"

    def __init__(self, protocol: Any = None, io_loop: Any = None, heartbeat_interval: float | None = None) -> None:
        """Do nothing: constructors that were written for 0.0.5 call this one, with their arguments."""

    def on_open(self, request: "HTTPServerRequest", *args: Any, **kwargs: Any) -> Any:
        """Called when a client has connected. The client receives nothing before this has returned.

        An exception refuses the client with status 500, or WebSocket close code 1011. A coroutine that takes longer
        than ``open_timeout`` is cancelled, and its client gets 503, or 1013.

        :param request: the request that opened the connection, with its cookies, headers and ``remote_ip``.
        :param kwargs: ``extra``, the ``str`` that ``extra_re`` matched in the URL, ``''`` without ``extra_re``.
        :returns: ``False`` refuses the client, which gets status 403, or WebSocket close code 1008. Anything else
            accepts the client.
        """

    def greeting(self) -> Any:
        """Return the message of the first frame, which the client gets before all that :meth:`on_open` has sent.

        Called once, when :meth:`on_open` has accepted the client: what that keeps in ``self`` can be used here. It is
        no coroutine. An exception refuses the client, as one of :meth:`on_open` does.

        Clients of Socket.IO 0.6 take the first frame as their session id. Over the polling transports and the streams
        they name it in each request, so another one is an error there, and refuses them. Programs that speak the
        framing over WebSocket alone, with a server that greets in its own way, are the others; a router for them has
        ``enabled_protocols=["websocket"]``.

        :returns: the session id by default; ``None`` for no such frame; else a message as for :meth:`send`, but a list
            is JSON, for it is one frame.
        """
        return self.session_id

    def on_message(self, message: Any) -> Any:
        """Called for each message of the client.

        An exception is logged and closes the connection, with WebSocket close code 1011.

        :param message: the text as ``str``, or the object that was sent as JSON; with the setting ``json="plain"`` also
            a text that is a JSON object or array.
        """
        raise NotImplementedError(f"{type(self).__name__} must override on_message")

    def on_close(self) -> Any:
        """Called once when the connection has ended, whichever side ended it, after a handler that is still running.

        Also called for a connection that :meth:`on_open` refused, or failed for. :attr:`close_code` and
        :attr:`close_reason` tell why it has ended.
        """

    def send(self, message: Any) -> None:
        """Send a message: queue it, to be written at the end of this iteration of the event loop.

        On a closed connection this does nothing. With more than ``max_send_buffer`` bytes queued the connection is
        closed: its client is too slow.

        :param message: a ``str`` is sent as text, ``bytes`` as the UTF-8 text they hold, ``None`` not at all, a list as
            a message for each of its elements, everything else as JSON, as the setting ``json`` has it.
        :raises tornadio.errors.EncodeError: the message can't be sent; the connection goes on.
        """
        session = self._tornadio_session
        registry = session.registry
        handover = registry.handover
        # As is_on_loop() alone, which asks asyncio for the running loop: on Python 3.11 that is a system call (getpid).
        # A thread that handles sockets for the loop runs it, and so does the one that has a flush due: a loop that was
        # stopped, and runs in another thread, has flushed.
        thread = get_ident()
        if (
            thread != handover.direct_thread or not (thread == registry.poller.batch_thread or registry.unflushed)
        ) and not handover.is_on_loop():
            self._hand_over(message)
            return
        last, payload = _last_sent
        if message is last:  # a text that was encoded for another connection: see _last_sent
            session.send(payload)
        elif session.is_closed:
            logger.debug("%s: send after its end does nothing", session)
        else:
            payload = _payload_of(message, session)
            if payload.size:
                session.send(payload)

    def _hand_over(self, message: Any) -> None:
        """Have the event loop send a message of another thread.

        :raises EncodeError: the message can't be sent.
        """
        session = self._tornadio_session
        if session.handover.is_open(session):
            last, payload = _last_sent
            if message is not last:
                payload = _payload_of(message, session)
            if payload.size:
                session.handover.send(session, payload)

    def broadcast(self, message: Any) -> None:
        """Send a message to every other open connection of this router, in all processes where there is a ``bus``.

        :param message: as for :meth:`send`.
        :raises tornadio.errors.EncodeError: as :meth:`send`; then no connection gets the message.
        """
        self._tornadio_session.registry.broadcast(message, exclude=(self,))

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent to it, as :meth:`asyncio.StreamWriter.drain` does.

        Returns at once while at most 64 KiB wait, or a 32nd of ``max_send_buffer`` where that is less. Else waits until
        at most 16 KiB wait, or until the connection has ended; :attr:`is_closed` tells which. So a producer never has
        more than that and one message in memory, and is not closed as too slow while its client reads::

            while not self.is_closed:
                self.send(await source.read())
                await self.drain()

        A client that does not read at all ends the wait after ``heartbeat_timeout`` and a second for each 4 KiB that
        wait, one that does not poll after ``session_expiry``: its connection is closed. While a handler waits, no other
        message of its client is handled: a producer of more than an answer belongs in a task of its own,
        :func:`asyncio.create_task` in :meth:`on_open`.
        Called by :meth:`on_open` itself this returns at once, since nothing is sent before that has returned.

        A thread waits with ``asyncio.run_coroutine_threadsafe(connection.drain(), loop).result()``.

        :raises tornadio.errors.CallerError: awaited on another event loop than the connection's.
        """
        await self._tornadio_session.drain()

    @property
    def send_buffer_size(self) -> int:
        """Bytes that were sent to this client and that the kernel has not accepted yet, or no poll has fetched.

        UTF-8 bytes of the frames. With more than ``max_send_buffer`` the connection is closed. What other threads have
        sent counts once the event loop has taken it over.
        """
        return self._tornadio_session.send_buffer_size

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection once what was sent before was delivered. Closing twice changes nothing.

        What the client has not received within ``session_expiry`` seconds is dropped.

        :param code: the close code that a WebSocket client gets (RFC 6455, section 7.4): 1000 (normal closure), another
            of 1001 to 1014 but 1004 to 1006, or one of your own from 3000 to 4999. Draft-76 and the HTTP transports
            have no close codes: their clients see the end alone.
        :param reason: the text beside it, at most 123 bytes of UTF-8.
        :raises tornadio.errors.CloseError: a code or a reason that can't be sent; the connection goes on.
        """
        check_close(code, reason)
        session = self._tornadio_session
        handover = session.handover
        if handover.is_on_loop():
            session.close(code, reason, APPLICATION)
        elif handover.is_open(session):
            handover.call(session, functools.partial(session.close, code, reason, APPLICATION))

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended, or :meth:`close` was called: by another thread, once that took effect.

        True as soon as the client has gone, also while messages that it has sent before wait for a handler that is at
        work: they are handled all the same, then :meth:`on_close` runs.
        """
        session = self._tornadio_session
        return session.is_closed or session.client_has_gone

    @property
    def close_code(self) -> int | None:
        """Why the connection has ended, as a WebSocket close code (RFC 6455, section 7.4.1), on every transport.
        ``None`` while it is open; set before :meth:`on_close`. What came first stays, but for a client that
        has left while messages wait that it has sent before: what ends the connection in these replaces it.

        With :attr:`close_reason` it tells these causes apart:

        ==========  ========================================  ======================================================
        close_code  close_reason                              cause
        ==========  ========================================  ======================================================
        any         any                                       close frame of a WebSocket client, which chooses both
        1005        empty                                     close frame without a code; closing frame of draft-76
        as given    as given                                  :meth:`close`
        1001        no answer to heartbeats                   a silent client, on all transports but polling
        1001        no request for session_expiry             a polling client that polls no more
        1001        no request after the handshake            a polling client that has never come back
        1001        the server is shutting down               ``SocketServer.shutdown``, or a signal
        1002        what was wrong                            a frame that breaks the WebSocket protocol
        1003        what was wrong                            a binary WebSocket message
        1005        the client closed the connection          FIN on a stream, or on HTTP during :meth:`on_open`
        1006        the client closed the connection          FIN on a WebSocket
                    without a close frame
        1006        the connection broke                      RST, or another error of TCP or TLS
        1007        what was wrong                            a WebSocket message without frames of Socket.IO
        1008        too slow                                  ``max_send_buffer``, or a write that took too long
        1008        the application refused this connection   :meth:`on_open` returned ``False``
        1009        what was wrong                            larger than ``max_message_size``
        1011        the application failed                    :meth:`on_message` raised
        1011        on_open failed                            :meth:`on_open` raised
        1011        greeting failed                           :meth:`greeting` raised, or can't be sent
        1011        the server failed                         an error of this library, which is in the log
        1013        on_open took longer than open_timeout
        ==========  ========================================  ======================================================

        Over TLS, Python may show a RST as a FIN.
        """
        return self._tornadio_session.close_code

    @property
    def close_reason(self) -> str:
        """The reason to :attr:`close_code`, ``''`` while the connection is open."""
        return self._tornadio_session.close_reason

    @property
    def session_id(self) -> str:
        """The session's id, ``[0-9a-z]``, which the client is given in the first frame: see :meth:`greeting`."""
        return self._tornadio_session.session_id

    @property
    def transport(self) -> str:
        """The name of the transport that carries this connection, such as ``'websocket'``."""
        return self._tornadio_session.transport

    def __repr__(self) -> str:
        """Class, session id, transport and state. The id is cut as in logs: a whole one gives access to the session."""
        session: BaseSession | None = vars(self).get("_tornadio_session")
        if session is None:
            return f"<{type(self).__name__} without a session>"
        return f"<{type(self).__name__} {session.short_id} {session.transport} {session.state.value}>"


# UTF-8 bytes of the text that is kept, the most that this cache holds on to: as many as a client's message may have by
# default (max_message_size).
_MAX_KEPT: Final = 1 << 20

# The last text that was sent, and its payload. An application that sends one text to many connections in a loop has it
# encoded once (see tornadio.sessions.fanout); a str never changes, so the same object is the same message. All threads
# share it without a lock: it is read and replaced as one tuple. Two that send at the same time may encode a text twice.
_last_sent: tuple[str, Payload] = ("", Payload(proto.encode("")))


def _payload_of(message: Any, session: "BaseSession") -> Payload:
    """Encode a message for a session's client, and keep the payload if it may be sent again, on whatever router: a
    ``str`` does not depend on the setting ``json``.

    :raises EncodeError: the message can't be sent.
    """
    global _last_sent
    if type(message) is not str:
        return encode(message, session.registry.settings.json)
    payload = Payload(proto.encode(message))
    if payload.size <= _MAX_KEPT:
        _last_sent = message, payload
    return payload
