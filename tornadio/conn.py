"""The class that applications subclass: one object for each connected client."""

from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from tornadio import proto
from tornadio.logs import get_logger
from tornadio.sessions.outbox import Payload

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from tornadio.sessions.base import BaseSession

logger = get_logger(__name__)


class SocketConnection:
    """One client's connection, as the application subclasses it: with :meth:`on_message`, and optionally
    :meth:`on_open` and :meth:`on_close`.

    :func:`tornadio.get_router` makes an object of the subclass for each client. An ``__init__`` takes no arguments; one
    that was written for TornadIO 0.0.5, with its three or with ``*args``, gets these, and may call this class's with
    them. No subclass needs them.

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

    def on_message(self, message: Any) -> Any:
        """Called for each message of the client.

        An exception is logged and closes the connection, with WebSocket close code 1011.

        :param message: the text as ``str``, or the object that was sent as JSON.
        """
        raise NotImplementedError(f"{type(self).__name__} must override on_message")

    def on_close(self) -> Any:
        """Called once when the connection has ended, whichever side ended it, after a handler that is still running.

        Also called for a connection that :meth:`on_open` refused, or failed for.
        """

    def send(self, message: Any) -> None:
        """Send a message: queue it, to be written at the end of this iteration of the event loop.

        On a closed connection this does nothing. With more than ``max_send_buffer`` bytes queued the connection is
        closed: its client is too slow.

        :param message: a ``str`` is sent as text, ``bytes`` as the UTF-8 text they hold, ``None`` not at all, a list as
            a message for each of its elements, everything else as JSON.
        :raises tornadio.errors.EncodeError: the message can't be sent; the connection goes on.
        """
        session = self._tornadio_session
        registry = session.registry
        handover = registry.handover
        # As handover.is_on_loop() alone, which asks asyncio for the running loop: on Python 3.11 that is a system call
        # (getpid) for each message. The thread is the loop's while the loop runs, and it does while a flush is due.
        is_on_loop = (
            get_ident() == handover.direct_thread and (registry.unflushed or registry.loop.is_running())
        ) or handover.is_on_loop()
        if not is_on_loop and not handover.is_open(session):
            return
        last, payload = _last_sent
        if message is not last:  # else a text that was encoded for another connection: see _last_sent
            if session.is_closed:
                logger.debug("%s: send after its end does nothing", session)
                return
            payload = _payload_of(message)
        if payload.size:
            if is_on_loop:
                session.send(payload)
            else:
                handover.send(session, payload)

    def broadcast(self, message: Any) -> None:
        """Send a message to every other open connection of this router, in all processes where there is a ``bus``.

        :param message: as for :meth:`send`.
        :raises tornadio.errors.EncodeError: as :meth:`send`; then no connection gets the message.
        """
        self._tornadio_session.registry.broadcast(message, exclude=(self,))

    def close(self) -> None:
        """Close the connection once what was sent before was delivered. Closing twice changes nothing.

        What the client has not received within ``session_expiry`` seconds, checked every ``session_check_interval``,
        is dropped.
        """
        session = self._tornadio_session
        handover = session.registry.handover
        if handover.is_on_loop():
            session.close()
        elif handover.is_open(session):
            handover.call(session, session.close)

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended, or :meth:`close` was called: by another thread, once that took effect."""
        return self._tornadio_session.is_closed

    @property
    def session_id(self) -> str:
        """The id that the client was given, ``[0-9a-z]``."""
        return self._tornadio_session.session_id

    @property
    def transport(self) -> str:
        """The name of the transport that carries this connection, such as ``'websocket'``."""
        return self._tornadio_session.transport


# UTF-8 bytes of the text that is kept: one default max_message_size, the most that this cache holds on to.
_MAX_KEPT: Final = 1 << 20

# The last text that was sent, and its payload. An application that sends one text to many connections in a loop has it
# encoded once (see tornadio.sessions.fanout); a str never changes, so the same object is the same message. All threads
# share it without a lock: it is read and replaced as one tuple. Two that send at the same time may encode a text twice.
_last_sent: tuple[str, Payload] = ("", Payload(proto.encode("")))


def _payload_of(message: Any) -> Payload:
    """Encode a message, and keep the payload if it may be sent again.

    :raises EncodeError: the message can't be sent.
    """
    global _last_sent
    payload = Payload(proto.encode(message))
    if type(message) is str and payload.size <= _MAX_KEPT:
        _last_sent = message, payload
    return payload
