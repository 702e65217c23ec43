"""What users subclass: one object for each connected client."""

from typing import TYPE_CHECKING, Any, Final

from tornadio import proto
from tornadio.logs import get_logger
from tornadio.sessions.outbox import Payload

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from tornadio.sessions.base import BaseSession

logger = get_logger(__name__)


class SocketConnection:
    """One client's connection. Subclass it and override :meth:`on_message`; :meth:`on_open` and :meth:`on_close` are
    optional.

    The three may be coroutines. Of one connection they run one at a time, messages in the order in which the client
    sent them. Call :meth:`send`, :meth:`close` and :meth:`broadcast` on the event loop's thread, from any handler of
    any connection.
    """

    # Given by the session before on_open. Applications have sessions, too: a plain name could be theirs.
    _tornadio_session: "BaseSession"

    def on_open(self, request: "HTTPServerRequest", *args: Any, **kwargs: Any) -> Any:
        """A client has connected. It receives nothing before this has returned.

        :param request: the request that opened the connection, with its cookies, headers and ``remote_ip``.
        :param kwargs: ``extra``, the text that ``extra_re`` matched in the URL, ``''`` where none was asked for.
        :returns: ``False`` refuses the client: it gets status 403, or WebSocket close code 1008. Anything else
            accepts it.
        """

    def on_message(self, message: Any) -> Any:
        """The client has sent a message.

        :param message: its text as ``str``, or what its JSON holds. An exception ends the connection.
        """
        raise NotImplementedError(f"{type(self).__name__} must override on_message")

    def on_close(self) -> Any:
        """The connection has ended, whoever ended it. Runs once, after a handler that is still at work."""

    def send(self, message: Any) -> None:
        """Send a message. On a closed connection this does nothing.

        :param message: ``str`` goes as text, ``bytes`` as the UTF-8 text they hold, ``None`` not at all, a list as
            a message for each of its elements, everything else as JSON.
        :raises tornadio.errors.EncodeError: the message can't be sent; the connection goes on.
        """
        session = self._tornadio_session
        last, payload = _last_sent
        if message is not last:
            if session.is_closed:
                logger.debug("%s: send after its end does nothing", session)
                return
            payload = _payload_of(message)
        if payload.size:
            session.send(payload)

    def broadcast(self, message: Any) -> None:
        """Send a message to every other connection of this router.

        :raises tornadio.errors.EncodeError: as :meth:`send`; then nobody gets it.
        """
        self._tornadio_session.registry.broadcast(message, exclude=(self,))

    def close(self) -> None:
        """End the connection; what was sent before is still delivered. Closing twice does no harm."""
        self._tornadio_session.close()

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended, or :meth:`close` was called."""
        return self._tornadio_session.is_closed

    @property
    def session_id(self) -> str:
        """The id that the client was given, ``[0-9a-z]``."""
        return self._tornadio_session.session_id

    @property
    def transport(self) -> str:
        """The name of the transport that carries this connection, such as ``'websocket'``."""
        return self._tornadio_session.transport


_MAX_KEPT: Final = 1 << 20  # UTF-8 bytes of a message that is kept for its next receiver

# The last text that was sent, and what became of it: a loop over many connections encodes it once.
_last_sent: tuple[str, Payload] = ("", Payload(proto.encode("")))


def _payload_of(message: Any) -> Payload:
    """:raises EncodeError: the message can't be sent."""
    global _last_sent
    payload = Payload(proto.encode(message))
    if type(message) is str and payload.size <= _MAX_KEPT:  # which never changes
        _last_sent = message, payload
    return payload
