"""A session over a polling transport: requests come and go, the session stays.

Each GET is a channel for one payload. Between two GETs what is sent waits in the queue; the session ends when no
request has come for ``session_expiry``.
"""

import logging
from typing import TYPE_CHECKING

from tornadio.session import Channel, Session, SessionContainer, State

if TYPE_CHECKING:
    from tornadio.conn import SocketConnection


logger = logging.getLogger(__name__)


class PollingSession(Session):
    """A session whose channels are polls."""

    def __init__(
        self, session_id: str, connection: "SocketConnection", transport: str, container: SessionContainer
    ) -> None:
        super().__init__(session_id, connection, transport, container)
        self._poll_ends = 0.0
        self._request_ended()

    def _request_ended(self) -> None:
        if self.state is State.CLOSED:
            return
        self._last_request_ended = self.container.loop.time()
        self.container.expire_at(self, self._last_request_ended + self._settings.session_expiry)

    def _post_answered(self) -> None:
        super()._post_answered()
        self._request_ended()

    def lost(self, channel: Channel) -> None:
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
        self._poll_ends = self.container.loop.time() + self._settings.xhr_polling_timeout
        self.container.watch(self, self._poll_ends)

    def _take_channel(self, channel: Channel) -> Channel:
        self._channel = None
        return channel

    def _next_batch(self) -> str:
        """All that is queued: a poll carries one payload only."""
        batch = "".join(self._queue)
        self._queue.clear()
        return batch

    def _delivered(self) -> None:
        super()._delivered()
        self._request_ended()

    def on_timer(self, now: float) -> float | None:
        """Answer a poll that has waited long enough, with nothing."""
        channel = self._channel
        if channel is None:
            return None
        if now < self._poll_ends:
            return self._poll_ends
        self._channel = None
        channel.end(1000, "")
        self._request_ended()
        return None

    def expired(self, now: float) -> float | None:
        if self.state is State.OPENING or self._posts or self._channels() != (None, None):
            return now + self._settings.session_expiry
        deadline = self._last_request_ended + self._settings.session_expiry
        if now < deadline:
            return deadline
        logger.info("%s: expired, no request for %g s", self, now - self._last_request_ended)
        self.drop()
        return None
