"""A session over a polling transport: requests come and go, the session stays.

Each GET is a channel for one payload. Between two GETs what is sent waits in the queue; the session ends when no
request has come for ``session_expiry``.
"""

import functools
from typing import TYPE_CHECKING, Final

from tornadio.logs import get_logger
from tornadio.net.patience import seconds_to_take
from tornadio.sessions.base import Channel, Post, Session
from tornadio.sessions.state import State

if TYPE_CHECKING:
    from tornadio.conn import SocketConnection
    from tornadio.sessions.registry import SessionRegistry

logger = get_logger(__name__)

# A client polls as soon as it has its session id. Handshakes that nobody follows up are not kept for session_expiry.
_HANDSHAKE_SECONDS: Final = 10.0
# What a poll's answer gathers: the next poll brings the rest. It is kept until the client has it, as text and as bytes,
# which in a script may be six for one.
_ANSWER_SIZE: Final = 1 << 20


class PollingSession(Session):
    """A session whose channels are polls."""

    __slots__ = ("_answer_ends", "_handshake_ends", "_has_returned", "_last_request_ended", "_poll_ends")

    def __init__(
        self, session_id: str, connection: "SocketConnection", transport: str, registry: "SessionRegistry"
    ) -> None:
        super().__init__(session_id, connection, transport, registry)
        self._has_returned = False
        self._last_request_ended = 0.0
        # When on_timer has something to do: about the poll that waits, the answer under way, the first request.
        self._poll_ends = self._answer_ends = self._handshake_ends = 0.0
        self._request_ended()

    def _request_ended(self) -> None:
        if self._state is State.CLOSED:
            return
        self._last_request_ended = self.registry.loop.time()
        self.registry.expire_at(self, self._last_request_ended + self.registry.settings.session_expiry)
        if self._state is State.OPEN and not self._has_returned:
            self._handshake_ends = self._last_request_ended + min(
                _HANDSHAKE_SECONDS, self.registry.settings.session_expiry
            )
            self.registry.watch(self, self._handshake_ends)

    def request_received(self) -> None:
        self._has_returned = True

    def post_left(self, post: Post) -> None:
        was_awaited = post.is_awaited
        super().post_left(post)
        if was_awaited:
            self._request_ended()

    def channel_lost(self, channel: Channel) -> None:
        waiting, busy = self._channels()
        if channel is waiting:
            self._channel = None
        elif channel is busy:
            self._take_back()
        else:
            return
        self._request_ended()
        self.flush()  # another poll may be waiting already
        self._settle()

    def _attached(self) -> None:
        self._poll_ends = self.registry.loop.time() + self.registry.settings.xhr_polling_timeout
        self.registry.watch(self, self._poll_ends)

    def flush(self) -> None:
        """Answer the poll that waits with what is queued: it carries one payload only."""
        while self._outbox.first is not None and self._busy is None and self._channel is not None:
            channel = self._busy = self._channel
            self._channel = None
            payload = self._outbox.take(_ANSWER_SIZE)
            taken = channel.write(payload)
            if taken is None:
                self._delivered()
            else:
                self._taken = taken
                self._waits_for_socket(payload.size)
                taken.add_done_callback(functools.partial(self._resolved, channel))

    def _waits_for_socket(self, size: int) -> None:
        seconds = seconds_to_take(size, self.registry.settings.heartbeat_timeout)
        self._answer_ends = self.registry.loop.time() + seconds
        self.registry.watch(self, self._answer_ends)

    def _delivered(self) -> None:
        super()._delivered()
        self._request_ended()

    def on_timer(self, now: float) -> float | None:
        """Answer a poll that has waited long enough, with nothing; cut off an answer that is not taken; end a session
        that nobody has come back for.
        """
        waiting, busy = self._channels()
        if waiting is not None:
            if now < self._poll_ends:
                return self._poll_ends
            self._channel = None
            waiting.close(1000, "")
            self._request_ended()
        elif busy is not None:
            if now < self._answer_ends:
                return self._answer_ends
            logger.info("%s: cut off an answer that the client does not take", self)
            busy.abort()
        elif not self._has_returned:
            if now < self._handshake_ends:
                return self._handshake_ends
            logger.info("%s: ended, nobody came back after the handshake", self)
            self.abort()
        return None

    def expired(self, now: float) -> float | None:
        if self._state is State.OPENING or self._is_awaited or self._channels() != (None, None):
            return now + self.registry.settings.session_expiry
        deadline = self._last_request_ended + self.registry.settings.session_expiry
        if now < deadline:
            return deadline
        logger.info("%s: expired, no request for %g s", self, now - self._last_request_ended)
        self.abort()
        return None
