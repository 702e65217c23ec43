"""The flush of all sessions that something was sent to, in one loop.

After a system call little of what was executed before is left in the processor's caches: a delivery of a fan-out is the
faster the less it executes, and the less memory it touches.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tornadio.closecodes import SERVER_FAILED
from tornadio.logs import get_logger
from tornadio.sessions.outbox import Payload

if TYPE_CHECKING:
    from tornadio.sessions.base import BaseSession

logger = get_logger(__name__)


def flush_all(sessions: "list[BaseSession]", now: float) -> None:
    """Write what is queued in sessions. One that fails is aborted, and the others go on.

    Most have one payload queued, in a fan-out the same one, and a wire to write it to: that is done here, as their own
    ``flush`` does it, but with one look at the payload's bytes for all of them. Everything else is left to ``flush``.

    :param now: seconds, in the event loop's time.
    """
    last_payload: Payload | None = None
    last_encode: Callable[[bytes], bytes] | None = None
    data, size, messages = b"", 0, 0
    for session in sessions:
        try:
            payload, channel, wire = session.head, session._channel, session._wire
            if payload is None or channel is None or wire is None or session._writing_channel is not None:
                session.flush(now)
                continue
            encode = session._encode
            if payload is not last_payload or encode is not last_encode:
                data, size, messages = payload.encoded(encode), payload.size, payload.messages
                last_payload, last_encode = payload, encode
                # A signal handler may have sent something, or ended the session, during that call.
                if session.head is not payload or session.in_flight is not None:
                    session.flush(now)
                    continue
            if session.tail is not None:
                session.flush(now)
                continue
            session._writing_channel = channel
            session.head, session.in_flight = None, payload
            session.last_flush = now
            future = wire.write(data)
            if future is not None:
                session._await_write(channel, future, size)
                continue
            if session.size:  # else the session was aborted meanwhile
                session.size -= size
                session.bytes_out += size
                session.messages_out += messages
                session.in_flight = None
            session._writing_channel = None
            if session._drain_waiters is not None:
                session._wake_drain_waiters()
            if session.size:  # sent meanwhile
                session.flush(now)
        except Exception:
            logger.exception("%s: can't be written to", session)
            session.abort(*SERVER_FAILED)
