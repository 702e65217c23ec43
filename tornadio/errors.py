"""All exceptions of the library: of peers, of the program that uses it, of a client's connections, and of the message
bus.

::

    TornadIOError
    +-- PeerError                 a client's request or message is wrong, or not allowed
    |   +-- ProtocolError         it breaks the protocol
    |   |   +-- TooLargeError     a message or payload is larger than its limit
    |   +-- RefusedError          it is well formed, but not allowed
    |   +-- HandlerError          the application failed on it
    +-- CallerError               the program uses the library wrongly; raised into its call
    |   +-- CloseError            a close code or reason that can't be sent (also a ValueError)
    |   +-- EncodeError           a message that can't be sent (also a ValueError)
    |   +-- SettingsError         a setting or argument (also a ValueError)
    +-- ConnectError              a client could not open a connection
    +-- ConnectionClosed          a client's connection has ended
    +-- BusError                  the message bus failed; neither client nor application is at fault

A :class:`PeerError` knows how the client is told: its HTTP status, and its WebSocket close code (RFC 6455, section
7.4.1). It is logged and told to the client, and never raised into the application.
"""

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "BusError",
    "CallerError",
    "CloseError",
    "ConnectError",
    "ConnectionClosed",
    "EncodeError",
    "HandlerError",
    "PeerError",
    "ProtocolError",
    "RefusedError",
    "SettingsError",
    "TooLargeError",
    "TornadIOError",
]


# Names of refusals in metrics, by the status of the response, where an error has none of its own.
_LABELS: Final = {
    401: "no_session",
    405: "method",
    413: "too_large",
    426: "websocket_version",
    429: "max_sessions_per_address",
    500: "failed",
    503: "busy",
}


MESSAGE: Final = "message"  # the label of an error on a message: no request was refused


def _rebuild(error_type: type[Exception], *args: Any) -> Exception:
    """Return an exception with these ``args``; its attributes are set by the caller, which is pickle or copy."""
    return error_type.__new__(error_type, *args)


class TornadIOError(Exception):
    """Base class of all exceptions that this library raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Have pickle and copy rebuild an exception as it is: BaseException's own way calls the class with the text."""
        return _rebuild, (type(self), *self.args), self.__dict__


class PeerError(TornadIOError):
    """A client's request or message is wrong, or not allowed.

    :param reason: the text for the client: body of the HTTP response, or reason of the close frame.
    :param note: what the log says besides, to whoever can change it.
    :param label: a name for metrics, which count refused requests by it.
    :ivar label: as given, or by the status.
    :ivar http_status: the status of the HTTP response, 400 by default.
    :ivar close_code: the code of the WebSocket close frame, 1002 (protocol error) by default.
    :ivar is_logged: whether the log has a line about this error already.
    :ivar is_for_every_transport: whether it is certain that another transport would be refused, too.
    """

    is_logged = False
    is_for_every_transport = False

    def __init__(
        self, reason: str, *, http_status: int = 400, close_code: int = 1002, note: str = "", label: str = ""
    ) -> None:
        super().__init__(reason)
        self.note = note
        self.label = label or _LABELS.get(http_status, "bad_request")
        self.http_status = http_status
        self.close_code = close_code


class ProtocolError(PeerError):
    """Bytes or text break the protocol: Socket.IO frames, JSON, WebSocket framing or handshake.

    Close code 1007 (invalid payload data) by default.
    """

    def __init__(self, reason: str, *, http_status: int = 400, close_code: int = 1007) -> None:
        super().__init__(reason, http_status=http_status, close_code=close_code)


class TooLargeError(ProtocolError):
    """A message is larger than ``max_message_size``, or a payload than ``max_payload_size``: status 413, close code
    1009 (message too big).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, http_status=413, close_code=1009)


class RefusedError(PeerError):
    """A request is well formed, but not allowed: by its host, origin, path, method, session, transport, or a limit.

    Its close code is 1013 (try again later, in IANA's registry) for the statuses 429 and 503, else 1008 (policy
    violation).

    :param is_for_every_transport: whether the same client would be refused over every other transport, too.
    """

    def __init__(
        self, http_status: int, reason: str, *, note: str = "", label: str = "", is_for_every_transport: bool = False
    ) -> None:
        close_code = 1013 if http_status in (429, 503) else 1008
        super().__init__(reason, http_status=http_status, close_code=close_code, note=note, label=label)
        self.is_for_every_transport = is_for_every_transport


class HandlerError(PeerError):
    """``on_open`` or ``on_message`` raised: status 500, close code 1011 (internal error).

    The log has the traceback; the client is told only that the application failed.

    :param subject: ``"message"``, or ``"connection"`` where ``on_open`` or the constructor raised.
    """

    is_logged = True

    def __init__(self, subject: str = "message") -> None:
        label = MESSAGE if subject == "message" else ""
        super().__init__(f"the application failed on this {subject}", http_status=500, close_code=1011, label=label)


class CallerError(TornadIOError):
    """The program uses the library wrongly."""


class CloseError(CallerError, ValueError):
    """A connection can't be closed with this code or reason; the text says which ones are right."""


class EncodeError(CallerError, ValueError):
    """A message can't be sent: bytes that are not UTF-8, or an object that JSON has no form for."""


class SettingsError(CallerError, ValueError):
    """A setting or an argument does not exist, or has a value that it can't have; the text says what is right."""


class ConnectError(TornadIOError):
    """:func:`tornadio.connect` could not open a connection: no transport of those that were to be tried has worked.

    :param reason: what went wrong, and what to do about it where that is known.
    :ivar status: the status of the HTTP response that has refused the connection, the server's or the proxy's;
        ``None`` if something else than such a response went wrong.
    :ivar text: the body of that response, or as much of it as a message may quote.
    :ivar attempts: what went wrong with each transport, by its name, in the order in which they were tried.
    :ivar is_permanent: whether trying again would not help: the server has refused (a status 4xx, or close code 1008),
        it is none of Socket.IO 0.6, or its certificate was not accepted.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        text: str = "",
        attempts: Mapping[str, Exception] | None = None,
        is_permanent: bool = False,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.text = text
        self.attempts = dict(attempts or {})
        self.is_permanent = is_permanent


class ConnectionClosed(TornadIOError):
    """A client's connection has ended: nothing can be sent any more, and all that came before was received.

    :ivar code: the close code (RFC 6455, section 7.4.1); 1006 where the connection broke.
    :ivar reason: the close reason, or what has ended the connection.
    :ivar unsent: the messages given to ``send`` that were not handed over to the server, in their order.
    """

    def __init__(self, code: int, reason: str, unsent: tuple[Any, ...] = ()) -> None:
        text = f"the connection has ended with code {code}" + (f": {reason}" if reason else "")
        if unsent:
            text += f" ({len(unsent)} {'message was' if len(unsent) == 1 else 'messages were'} not sent)"
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.unsent = unsent


class BusError(TornadIOError):
    """The message bus (Redis) failed to publish a message, or did not confirm it in time. Emitters and
    ``RedisBus.publish`` raise it; routers log it.
    """
