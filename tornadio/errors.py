"""All exceptions of the library: of clients, of the program that uses it, and of the message bus.

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
    +-- BusError                  the message bus failed; neither client nor application is at fault

A :class:`PeerError` knows how the client is told: its HTTP status, and its WebSocket close code (RFC 6455, section
7.4.1). It is logged and told to the client, and never raised into the application.
"""

__all__ = [
    "BusError",
    "CallerError",
    "CloseError",
    "EncodeError",
    "HandlerError",
    "PeerError",
    "ProtocolError",
    "RefusedError",
    "SettingsError",
    "TooLargeError",
    "TornadIOError",
]


class TornadIOError(Exception):
    """Base class of all exceptions that this library raises."""


class PeerError(TornadIOError):
    """A client's request or message is wrong, or not allowed.

    :param reason: the text for the client: body of the HTTP response, or reason of the close frame.
    :param note: what the log says besides, to whoever can change it.
    :ivar http_status: the status of the HTTP response, 400 by default.
    :ivar close_code: the code of the WebSocket close frame, 1002 (protocol error) by default.
    :ivar is_logged: whether the log has a line about this error already.
    """

    is_logged = False

    def __init__(self, reason: str, *, http_status: int = 400, close_code: int = 1002, note: str = "") -> None:
        super().__init__(reason)
        self.note = note
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
    """

    def __init__(self, http_status: int, reason: str, *, note: str = "") -> None:
        close_code = 1013 if http_status in (429, 503) else 1008
        super().__init__(reason, http_status=http_status, close_code=close_code, note=note)


class HandlerError(PeerError):
    """``on_open`` or ``on_message`` raised: status 500, close code 1011 (internal error).

    The log has the traceback; the client is told only that the application failed.

    :param subject: ``"message"``, or ``"connection"`` where ``on_open`` or the constructor raised.
    """

    is_logged = True

    def __init__(self, subject: str = "message") -> None:
        super().__init__(f"the application failed on this {subject}", http_status=500, close_code=1011)


class CallerError(TornadIOError):
    """The program uses the library wrongly."""


class CloseError(CallerError, ValueError):
    """A connection can't be closed with this code or reason; the text says which ones are right."""


class EncodeError(CallerError, ValueError):
    """A message can't be sent: bytes that are not UTF-8, or an object that JSON has no form for."""


class SettingsError(CallerError, ValueError):
    """A setting or an argument does not exist, or has a value that it can't have; the text says what is right."""


class BusError(TornadIOError):
    """The message bus (Redis) failed to publish a message, or did not confirm it in time. Emitters and
    ``RedisBus.publish`` raise it; routers log it.
    """
