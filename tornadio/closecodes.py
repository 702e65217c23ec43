"""Close codes and reasons (RFC 6455, section 7.4): those that a close frame may carry, and those with which a
connection ends. Knows no I/O.

Every connection ends with a code and a reason, whatever its transport: ``SocketConnection.close_code`` and
``close_reason``. On a WebSocket they are those of the close frame; 1005 and 1006 are never sent (section 7.4.1).
"""

from typing import Final, NamedTuple

from tornadio.errors import CloseError

# RFC 6455, section 7.4.1, and the registry that section 11.7 has opened (1012 to 1014 are of later years). Those that
# must not travel in a frame (1004 to 1006, 1015) are left out.
CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
# Codes from here on are those of libraries and applications (section 7.4.2).
PRIVATE_CLOSE_CODES: Final = range(3000, 5000)
# UTF-8 bytes of a reason: a control frame has 125, two of which are the code's (sections 5.5 and 5.5.1).
MAX_REASON_SIZE: Final = 123


class Cause(NamedTuple):
    """Why a connection has ended: close code and reason."""

    code: int
    reason: str


# The client's end.
NO_STATUS: Final = Cause(1005, "")  # a close frame without a code (section 7.1.5), or draft-76's closing frame
# FIN on a stream, or a POST without a body: neither is a close frame
CLIENT_CLOSED: Final = Cause(1005, "the client closed the connection")
NO_CLOSE_FRAME: Final = Cause(1006, "the client closed the connection without a close frame")  # FIN on a WebSocket
CONNECTION_BROKE: Final = Cause(1006, "the connection broke")
NO_HEARTBEAT: Final = Cause(1001, "no answer to heartbeats")
NO_REQUEST: Final = Cause(1001, "no request for session_expiry")
NO_RETURN: Final = Cause(1001, "no request after the handshake")
# The server's.
SHUTDOWN: Final = Cause(1001, "the server is shutting down")
TOO_SLOW: Final = Cause(1008, "too slow")
REFUSED: Final = Cause(1008, "the application refused this connection")
OPEN_FAILED: Final = Cause(1011, "on_open failed")
GREETING_FAILED: Final = Cause(1011, "greeting failed")
MESSAGE_FAILED: Final = Cause(1011, "the application failed")
SERVER_FAILED: Final = Cause(1011, "the server failed")

# Why connections that were open have ended, as metrics count them.
APPLICATION: Final = "application"  # SocketConnection.close()
_CLIENT: Final = "client"
_REASONS: Final = (
    (NO_STATUS, _CLIENT),
    (CLIENT_CLOSED, _CLIENT),
    (NO_CLOSE_FRAME, _CLIENT),
    (CONNECTION_BROKE, "broken"),
    (NO_HEARTBEAT, "no_heartbeat"),
    (NO_REQUEST, "no_request"),
    (NO_RETURN, "no_return"),
    (SHUTDOWN, "shutdown"),
    (TOO_SLOW, "too_slow"),
    (MESSAGE_FAILED, "failed"),
    (SERVER_FAILED, "failed"),
)
_REASONS_OF_CODES: Final = {1002: "protocol", 1003: "protocol", 1007: "protocol", 1009: "too_large"}
#: The reasons by which connections that have ended are counted: these, and no text of a client's.
CLOSED_REASONS: Final = frozenset({APPLICATION, *(reason for _, reason in _REASONS), *_REASONS_OF_CODES.values()})


def closed_reason(code: int | None, reason: str) -> str:
    """Return the reason by which a connection's end is counted, one of :data:`CLOSED_REASONS`.

    A close frame of the client's has any code and text: it counts as the client's end, or as what its code says.
    """
    for cause, name in _REASONS:
        # By identity: a client may send the same text.
        if code == cause.code and reason is cause.reason:
            return name
    return _REASONS_OF_CODES.get(code or 0, _CLIENT)


def check_close(code: int, reason: str) -> None:
    """Check the close code and reason that an application gives.

    :raises CloseError: a close frame can't carry them.
    """
    if not isinstance(code, int) or not (code in CLOSE_CODES or code in PRIVATE_CLOSE_CODES):
        raise CloseError(
            f"{code!r} is no close code that may be sent: use 1000 (normal closure), 1001 to 1014 without 1004 to "
            "1006, or one of your own from 3000 to 4999"
        )
    if not isinstance(reason, str):
        raise CloseError(f"a close reason is a str, not {type(reason).__name__}")
    try:
        size = len(reason.encode("utf-8"))
    except UnicodeEncodeError:
        raise CloseError("a close reason with a lone surrogate has no UTF-8") from None
    if size > MAX_REASON_SIZE:
        raise CloseError(f"a close reason has at most {MAX_REASON_SIZE} bytes of UTF-8; this one has {size}")
