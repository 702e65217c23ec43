"""A session over a polling transport: requests come and go, the session stays.

Each GET is a channel for one payload. What is sent between two GETs waits in the queue. The session expires when no
request has come for ``session_expiry``.
"""

from typing import TYPE_CHECKING, Final

from tornadio.closecodes import NO_REQUEST, NO_RETURN
from tornadio.logs import get_logger
from tornadio.sessions.base import BaseSession
from tornadio.sessions.posts import Post
from tornadio.sessions.state import State
from tornadio.sessions.takeovers import ReplacedPolls

if TYPE_CHECKING:
    from tornadio.conn import SocketConnection
    from tornadio.sessions.channel import Channel
    from tornadio.sessions.counters import Traffic
    from tornadio.sessions.registry import SessionRegistry


logger = get_logger(__name__)

# Seconds for the first request that names a new session. A 0.6 client polls as soon as it has its session id, so a
# session without one was opened by something else, and is not kept for session_expiry.
_HANDSHAKE_TIMEOUT: Final = 10.0
# Bytes of payloads in the response to one poll; the next poll brings the rest. They are kept until the client has read
# the response, as text and as the body's bytes, which in a script may be six for one (\uXXXX).
_BATCH_SIZE: Final = 1 << 20


class PollingSession(BaseSession):
    """A session whose channels are polls."""

    __slots__ = ("_client_returned", "_handshake_deadline", "_last_request_ended", "_poll_deadline", "_replaced_polls")

    def __init__(
        self, session_id: str, connection: "SocketConnection", traffic: "Traffic", registry: "SessionRegistry"
    ) -> None:
        super().__init__(session_id, connection, traffic, registry)
        self._client_returned = False  # with a request that names the session
        self._handshake_deadline = self._last_request_ended = self._poll_deadline = 0.0
        self._replaced_polls: ReplacedPolls | None = None  # rarely needed
        self._request_ended()
        registry.schedule_expiry(self, self._last_request_ended + registry.settings.session_expiry)

    def _request_ended(self) -> None:
        if self.state is State.CLOSED:
            return
        registry = self.registry
        self._last_request_ended = registry.time()  # which check_expiry reads whenever it is due
        if self.state is not State.OPENING and not self._client_returned:
            self._handshake_deadline = self._last_request_ended + min(
                _HANDSHAKE_TIMEOUT, registry.settings.session_expiry
            )
            registry.schedule_timer(self, self._handshake_deadline)

    @property
    def is_polled(self) -> bool:
        return self._channel is not None

    def request_received(self) -> None:
        self._client_returned = True

    def release_post(self, post: Post) -> None:
        was_awaited = post.is_awaited
        super().release_post(post)
        if was_awaited:
            self._request_ended()

    def channel_lost(self, channel: "Channel", code: int, reason: str) -> None:
        waiting, writing = self._channels()
        if channel is waiting:
            self._channel = None
        elif channel is writing:
            self._requeue_in_flight()
        else:
            if self._replaced_polls is not None:
                self._replaced_polls.discard(channel)
            return
        self._request_ended()
        self.flush(self.registry.time())  # another poll may be waiting already
        self._finish_closing()

    def _set_state(self, state: State, closed_by: str = "") -> None:
        super()._set_state(state, closed_by)
        if self.is_closed and self._replaced_polls is not None:
            self._replaced_polls.answer_all()

    def _replaced(self, channel: "Channel") -> None:
        if self._replaced_polls is None:
            self._replaced_polls = ReplacedPolls(self.registry.settings.xhr_polling_timeout)
        self._replaced_polls.add(channel, self._poll_deadline, self.registry.loop)

    def _attached(self) -> None:
        self._poll_deadline = self.registry.loop.time() + self.registry.settings.xhr_polling_timeout
        self.registry.schedule_timer(self, self._poll_deadline)

    def end_poll(self, channel: "Channel") -> None:
        """End a poll that waits with an empty payload. One that has got a payload, or was replaced, changes nothing."""
        waiting, _ = self._channels()
        if channel is waiting:
            self._channel = None  # before close(), which responds: the response is no payload of the session
            channel.close(1000, "")
            self._request_ended()

    def flush(self, now: float) -> None:
        while self.head is not None and self._writing_channel is None and self._channel is not None:
            channel = self._writing_channel = self._channel
            self._channel = None  # a poll carries one payload
            payload = self.next_batch(_BATCH_SIZE)
            future = channel.write(payload)
            if future is None:
                self._batch_written()
            else:
                self._await_write(channel, future, payload.size)
                self.registry.schedule_timer(self, self._write_deadline)

    def _batch_written(self) -> None:
        super()._batch_written()
        self._request_ended()

    def on_timer(self, now: float) -> float | None:
        """End a poll that has waited for ``xhr_polling_timeout`` with an empty payload; abort a response that the
        client does not read; abort a session whose client has not returned after the handshake.
        """
        waiting, writing = self._channels()
        if waiting is not None:
            if now < self._poll_deadline:
                return self._poll_deadline
            self.end_poll(waiting)
        elif writing is not None:
            if now < self._write_deadline:
                return self._write_deadline
            logger.info("%s: cut off an answer that the client does not take", self)
            writing.abort()  # its write fails, and the batch is requeued for the next poll
        elif not self._client_returned:
            if now < self._handshake_deadline:
                return self._handshake_deadline
            logger.info("%s: ended, nobody came back after the handshake", self)
            self.abort(*NO_RETURN)
        return None

    def check_expiry(self, now: float) -> float | None:
        """Abort a session that no request has named for ``session_expiry``."""
        # A POST whose handler waits in drain() for polls would else wait without end.
        is_awaited = self._has_awaited_posts and self._drain_waiters is None
        if self.state is State.OPENING or is_awaited or self._channels() != (None, None):
            return now + self.registry.settings.session_expiry
        deadline = self._last_request_ended + self.registry.settings.session_expiry
        if now < deadline:
            return deadline
        logger.info("%s: expired, no request for %g s", self, now - self._last_request_ended)
        self.abort(*NO_REQUEST)
        return None
