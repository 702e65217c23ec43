"""A session over one lasting connection, a WebSocket or a stream: it ends when its channel ends."""

from typing import TYPE_CHECKING, Final

from tornadio import proto
from tornadio.closecodes import NO_HEARTBEAT, TOO_SLOW
from tornadio.logs import get_logger
from tornadio.sessions.base import BaseSession
from tornadio.sessions.heartbeat import Heartbeat
from tornadio.sessions.outbox import SinglePayload
from tornadio.sessions.state import State

if TYPE_CHECKING:
    from tornadio.conn import SocketConnection
    from tornadio.sessions.channel import Channel
    from tornadio.sessions.counters import Traffic
    from tornadio.sessions.registry import SessionRegistry

logger = get_logger(__name__)

# Bytes of frames that are written together: several would else be as many calls of send().
_BATCH_SIZE: Final = 1 << 16
# Batches that one session writes before others get a turn of the event loop.
_MAX_BATCHES_PER_TICK: Final = 8


class PersistentSession(BaseSession):
    """A session that ends with its channel, and that sends heartbeats to its client."""

    __slots__ = ("_heartbeat",)

    def __init__(
        self, session_id: str, connection: "SocketConnection", traffic: "Traffic", registry: "SessionRegistry"
    ) -> None:
        super().__init__(session_id, connection, traffic, registry)
        self._heartbeat = self._new_heartbeat()

    def _new_heartbeat(self) -> Heartbeat:
        settings = self.registry.settings
        self.last_flush = now = self.registry.loop.time()
        self.last_received = 0.0
        return Heartbeat(settings.heartbeat_interval, settings.heartbeat_timeout, now)

    def _next_heartbeat(self) -> float:
        """Return when the next heartbeat is due, or the end of the timeout, whichever is first."""
        heartbeat = self._heartbeat
        heartbeat.last_sent = self.last_flush
        if self.last_received:
            heartbeat.received(self.last_received)
            self.last_received = 0.0
        return heartbeat.next_deadline()

    def _accept(self) -> None:
        super()._accept()
        self._heartbeat = self._new_heartbeat()  # on_open may have run for longer than heartbeat_timeout

    @property
    def round_trip(self) -> float | None:
        """Seconds from the last heartbeat that the client has echoed to its echo; ``None`` before the first."""
        return self._heartbeat.round_trip

    def _heartbeat_received(self, number: str) -> None:
        super()._heartbeat_received(number)
        seconds = self._heartbeat.echo_received(number, self.registry.time())
        if seconds is not None:
            counters = self.registry.counters
            counters.heartbeats_answered += 1
            counters.round_trips.observe(seconds)

    def flush(self, now: float) -> None:
        batches = 0
        while self.head is not None and self._writing_channel is None and self._channel is not None:
            channel = self._writing_channel = self._channel
            payload = self.next_batch(_BATCH_SIZE)
            self.last_flush = now
            future = channel.write(payload)
            if future is not None:
                self._await_write(channel, future, payload.size)
                return
            self.ack()
            self._writing_channel = None
            if self._drain_waiters is not None:
                self._wake_drain_waiters()
            batches += 1
            if batches == _MAX_BATCHES_PER_TICK:
                self.registry.loop.call_soon(self._continue_flush)
                return

    def _continue_flush(self) -> None:
        self.flush(self.registry.time())
        self._finish_closing()

    def _attached(self) -> None:
        self.registry.schedule_timer(self, self._next_heartbeat())

    def channel_lost(self, channel: "Channel", code: int, reason: str) -> None:
        if channel in self._channels():
            self.abort(code, reason)

    def on_timer(self, now: float) -> float | None:
        """Send a heartbeat, or abort a session whose client is silent or does not read."""
        if self.state is not State.OPEN:
            return None
        if self._handler_lock.locked:
            # A WebSocket may not be read while a handler runs, if much waits already: an echo may be waiting unread.
            self._heartbeat.restart_timeout(now)
        deadline = self._next_heartbeat()
        if self._write_future is not None and now >= self._write_deadline:
            logger.info("%s: closed, the client does not take what it is sent%s", self, self.whose)
            self.abort(*TOO_SLOW)
            return None
        if now < deadline:
            return deadline
        if self._heartbeat.has_timed_out(now):
            logger.info("%s: closed, it left heartbeats unanswered", self)
            self.abort(*NO_HEARTBEAT)
            return None
        self.has_single = True
        self.traffic.heartbeats_sent += 1
        self.send(SinglePayload(proto.encode_heartbeat(self._heartbeat.record_sent(now)), 0))
        # That send may have found the queue full, and aborted the session.
        return None if self.is_closed else self._next_heartbeat()

    def check_expiry(self, now: float) -> float | None:
        """Abort a session that is closing for ``session_expiry``: its client does not read the rest."""
        if self.state is State.CLOSING:
            self.abort(*TOO_SLOW)
        return None
