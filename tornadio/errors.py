"""All errors of the library, in two families, the peer's fault and the caller's fault, and one that is nobody's.

A :class:`PeerError` says what a client did wrong, and how to tell it: it knows its HTTP status and its
WebSocket close code (RFC 6455, section 7.4.1). A :class:`CallerError` says what the program that uses the
library did wrong; it is raised where the mistake was made. A :class:`BusError` is the weather.
"""


class TornadIOError(Exception):
    """Root of every error that this library raises."""


class PeerError(TornadIOError):
    """Something a client did, or asked for, that it may not.

    :ivar http_status: status of the HTTP answer that carries this error.
    :ivar close_code: code of the WebSocket close frame that carries it.
    """

    def __init__(self, reason: str, *, http_status: int = 400, close_code: int = 1002) -> None:
        super().__init__(reason)
        self.http_status = http_status
        self.close_code = close_code


class ProtocolError(PeerError):
    """Bytes or text that break the protocol: frames, JSON, WebSocket framing, a handshake."""

    def __init__(self, reason: str, *, http_status: int = 400, close_code: int = 1007) -> None:
        super().__init__(reason, http_status=http_status, close_code=close_code)


class TooLargeError(ProtocolError):
    """A payload past ``max_message_size``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, http_status=413, close_code=1009)


class RefusedError(PeerError):
    """A request that is well formed, but not granted: origin, session, transport, room."""

    def __init__(self, http_status: int, reason: str) -> None:
        # 1013 is "try again later" in the registry of close codes.
        super().__init__(reason, http_status=http_status, close_code=1013 if http_status in (429, 503) else 1008)


class HandlerError(PeerError):
    """``on_open`` or ``on_message`` raised. It was logged with its traceback; the client hears only this much."""

    def __init__(self) -> None:
        super().__init__("the application failed on this message", http_status=500, close_code=1011)


class CallerError(TornadIOError):
    """A mistake of the program that uses the library."""


class EncodeError(CallerError, ValueError):
    """A message that can't be sent: not UTF-8, not JSON."""


class SettingsError(CallerError, ValueError):
    """A setting, or an argument of ``get_router``, that doesn't exist or is out of range."""


class BusError(TornadIOError):
    """What connects the processes did not take a message, or did not say so. Servers raise none: they log it."""
