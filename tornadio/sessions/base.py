"""A session: one client's connection as the server sees it, whatever transport carries it.

A session has two sides. Towards the application it calls ``on_open``, ``on_message`` and ``on_close``
(:mod:`tornadio.sessions.dispatch`). Towards the client it queues payloads (:mod:`tornadio.sessions.sender`), and writes
them in batches, one at a time, to the :class:`~tornadio.sessions.channel.Channel` that is attached at the moment. What
:class:`PersistentSession` and :class:`PollingSession` do differently is when they write, and what the end of a channel
means.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tornadio import proto
from tornadio.closecodes import CONNECTION_BROKE, TOO_SLOW
from tornadio.errors import CallerError, RefusedError
from tornadio.logs import get_logger
from tornadio.net.tasks import has_succeeded
from tornadio.net.throughput import write_timeout
from tornadio.sessions.counters import Traffic
from tornadio.sessions.dispatch import Dispatcher
from tornadio.sessions.greeting import greet
from tornadio.sessions.outbox import Payload, SinglePayload, max_payloads
from tornadio.sessions.posts import NO_POSTS, Post, check_capacity
from tornadio.sessions.state import ENDED, TRANSITIONS, State

if TYPE_CHECKING:
    from tornadio.conn import SocketConnection
    from tornadio.sessions.channel import Channel
    from tornadio.sessions.handover import Handover
    from tornadio.sessions.registry import SessionRegistry

logger = get_logger(__name__)

# Whoever knows a whole session id can take over the session: logs show the first eight of its 32 digits.
_HIDDEN_DIGITS: Final = 24
# Bytes queued above which drain() waits: those of asyncio's StreamWriter.drain().
_HIGH_WATER: Final = 1 << 16


class BaseSession(Dispatcher):
    """Life cycle, channel and send queue of a session.

    :param connection: the application's object, which has no session yet.
    :param traffic: the counters of the session's transport.
    :ivar address: the client's, as far as it is known, else empty.
    :ivar bytes_in: bytes that came from the client, those of WebSocket's framing included, in POSTs of their bodies.
    :ivar close_code: why the session has ended, as a WebSocket's close code (:mod:`tornadio.closecodes`); ``None``
        until then. What was first stays.
    :ivar close_reason: the reason to that code.
    :ivar counted_as: the client's address or network as ``max_sessions_per_address`` counts it, empty for none.
    :ivar last_received: when bytes last came from the client, in the event loop's time; ``0`` for none since the
        heartbeat's timing was told of them.
    :ivar session_id: the id that the client was given, ``[0-9a-z]``.
    :ivar state: of the life cycle; set in :meth:`_set_state` alone.
    :ivar started: when the session was created, in the event loop's time.
    """

    __slots__ = (
        "__weakref__",
        "_posts",
        "address",
        "bytes_in",
        "close_code",
        "close_reason",
        "counted_as",
        "last_received",
        "session_id",
        "started",
        "state",
    )

    def __init__(
        self, session_id: str, connection: "SocketConnection", traffic: Traffic, registry: "SessionRegistry"
    ) -> None:
        super().__init__(connection, registry.tasks, traffic)
        self.session_id = session_id
        self.registry = registry
        self.address = ""
        self.started = registry.time()
        self.bytes_in = 0
        self.last_received = 0.0
        self.counted_as = ""
        self.state = State.OPENING
        self.close_code: int | None = None
        self.close_reason = ""
        # Alone: the official client may connect anew once it has it, and takes what is behind it for the next one.
        self.put(SinglePayload(proto.encode(session_id), 0))
        self.has_single = True
        self._posts = NO_POSTS
        connection._tornadio_session = self

    def __str__(self) -> str:
        return f"session {self.short_id} ({self.transport})"

    @property
    def whose(self) -> str:
        """The end of a line in the log, such as ``', of 192.0.2.7'``; empty where the address is not known."""
        return f", of {self.address}" if self.address else ""

    @property
    def handover(self) -> "Handover":
        """The registry's, for the calls of other threads."""
        return self.registry.handover

    @property
    def transport(self) -> str:
        """The transport's name, such as ``'websocket'``."""
        return self.traffic.transport

    @property
    def version(self) -> str:
        """The version of a WebSocket's protocol, such as ``'13'`` or ``'draft-76'``; empty for other transports."""
        return self.traffic.version

    @property
    def short_id(self) -> str:
        """The part of the id that logs show."""
        return self.session_id[:-_HIDDEN_DIGITS]

    # -- Life cycle ----------------------------------------------------------------------------------------------

    def _set_state(self, state: State, closed_by: str = "") -> None:
        """Change the state, along :data:`~tornadio.sessions.state.TRANSITIONS`. Nothing else changes it.

        :param closed_by: as :meth:`close` has it.
        """
        old = self.state
        assert state in TRANSITIONS[old], f"{old} -> {state}"
        self.state = state
        # Before the observers and on_close: they may call send, which does nothing from now on.
        self.is_closed = state in ENDED
        self.registry.state_changed(self, old, closed_by)
        if self.is_closed:
            self._wake_drain_waiters()
            self._notify_posts()
            if old not in ENDED:
                self._start_on_close()

    def _accept(self) -> None:
        if self.registry.has_greeting and self.state is not State.CLOSED:
            greet(self)
        if self.state is State.CLOSED:
            raise RefusedError(401, "the session ended before it was open")
        if self.state is State.OPENING:
            if self.head is not None:  # else greeting returned None
                self.traffic.first_frames += 1
            self._set_state(State.OPEN)

    def close(self, code: int = 1000, reason: str = "", closed_by: str = "") -> None:
        """Close the session once what is queued was delivered. ``on_close`` runs after the handler that is running.

        :param code: of a WebSocket's close frame (RFC 6455, section 7.4).
        :param reason: of that frame.
        :param closed_by: the reason of the end that is counted; empty for what ``code`` and ``reason`` say.
        """
        if not self.is_closed:
            self.close_code, self.close_reason = code, reason
            self._set_state(State.CLOSING, closed_by)
            self._finish_closing()

    def abort(self, code: int, reason: str) -> None:
        """Close the session at once and discard what is queued; parameters as for :meth:`close`."""
        if self.state is State.CLOSED:
            return
        if self.close_code is None or not self.is_closed:  # else the session is closing, for a reason of its own
            self.close_code, self.close_reason = code, reason
        self.clear()
        waiting, writing = self._channels()
        # Before the channels end: that may call channel_lost, which ignores a channel that is not attached.
        self._channel = self._wire = self._writing_channel = self._write_future = None
        self._set_state(State.CLOSED)
        if writing is not None:
            writing.abort()
        if waiting is not None:
            waiting.close(self.close_code, self.close_reason)

    def client_left(self, code: int, reason: str) -> None:
        """Note that the client has gone, although messages that it has sent before are still to be handled. A handler
        that is at work sees so at once, also in :meth:`drain`. What is sent from here on is written as long as the
        client reads, and counts as written where its connection is lost.

        :param code: why, as for :meth:`close`; what those messages do may end the session for another reason.
        :param reason: to that code.
        """
        if not self.is_closed:
            self.close_code, self.close_reason = code, reason
            self.client_has_gone = True
            self._release_drain_waiters()

    def _finish_closing(self) -> None:
        """Complete the close of a closing session that has nothing queued, no batch in flight and no awaited POST."""
        if self.state is not State.CLOSING or self._has_awaited_posts:
            return
        self.flush(self.registry.time())
        if self.head is not None or self._writing_channel is not None:
            return
        channel = self._channel
        self._channel = self._wire = None
        self._set_state(State.CLOSED)
        if channel is not None and self.close_code is not None:
            channel.close(self.close_code, self.close_reason)

    def _on_close_finished(self) -> None:
        self.registry.on_close_finished(self)

    # -- From the client -----------------------------------------------------------------------------------------

    def record_received(self, size: int) -> None:
        """Note that bytes came from the client, be they half a message: the client is alive."""
        self.bytes_in += size
        self.last_received = self.registry.time()

    def request_received(self) -> None:
        """Note that a request came that names this session."""

    # -- POSTs ---------------------------------------------------------------------------------------------------

    def reserve_post(self, post: Post, size: int) -> None:
        """Let a POST hold ``size`` bytes of memory from now on.

        :raises RefusedError: 503, the session's POSTs are too many or too large.
        """
        check_capacity(self._posts, post, size, self.registry.settings.max_payload_size)
        post.size = size
        self._posts |= {post}

    def post_received(self, post: Post) -> None:
        """Note that a POST's body is complete. Until :meth:`release_post` the session neither expires nor is closed.

        The official 0.6 client never posts again on a socket that ends while its POST is under way.
        """
        post.is_awaited = True

    def set_post_callback(self, post: Post, on_session_end: Callable[[], None]) -> None:
        """Have ``on_session_end`` called if the session ends before the POST's messages were handled.

        So the POST is answered before the session is closed.
        """
        post.on_session_end = on_session_end
        if self.is_closed:
            self._notify_posts()

    def _notify_posts(self) -> None:
        """Tell POSTs that the session has ended. At a shutdown the running handler has time to finish before that."""
        if self.state is State.CLOSING and self.registry.draining:
            return
        for post in self._posts:
            if post.on_session_end is not None:
                self.registry.loop.call_soon(post.on_session_end)

    def release_post(self, post: Post) -> None:
        """Note that no client waits for a POST's response: it was written, or the client has disconnected."""
        post.is_awaited = False
        self._finish_closing()

    def end_post(self, post: Post) -> None:
        """Forget a POST: it holds no memory any more."""
        self._posts -= {post}
        self.release_post(post)

    @property
    def _has_awaited_posts(self) -> bool:
        return any(post.is_awaited for post in self._posts)

    # -- Towards the client --------------------------------------------------------------------------------------

    def send(self, payload: Payload) -> None:
        """Queue a payload. It is written at the end of this iteration of the event loop.

        After the session's end this does nothing. A session with more than ``max_send_buffer`` bytes queued is aborted.
        """
        if self.is_closed:
            logger.debug("%s: sent to after its end: dropped", self)
            return
        registry = self.registry
        self.size += payload.size  # from here on as put(), without a call
        if self.head is not None:  # then a flush is due already
            (self.tail or self.begin_tail()).append(payload)
        else:
            self.head = payload
            if self._writing_channel is None and self._channel is not None:
                if not registry.unflushed:
                    registry.schedule_flush()
                registry.unflushed.append(self)
        if self.size > registry.unchecked_size and self.exceeds_limit():
            self.abort_too_slow()

    def exceeds_limit(self, size: int = 0, payloads: int = 0) -> bool:
        """Whether the queue, with ``size`` more bytes in ``payloads`` more payloads, is over ``max_send_buffer``.

        May be called from any thread.
        """
        limit = self.registry.settings.max_send_buffer
        return self.size + size > limit or self.queue_length + payloads > max_payloads(limit)

    def abort_too_slow(self) -> None:
        """Abort a session whose client reads too slowly, and log it. A closed session changes nothing."""
        if not self.is_closed:
            self.abort(*TOO_SLOW)  # before the line, which a logging handler may send to this client, too
            logger.warning(
                "%s: closed, too slow: more than max_send_buffer (%d bytes) unsent%s",
                self,
                self.registry.settings.max_send_buffer,
                self.whose,
            )

    def flush(self, now: float) -> None:
        """Write batches to the channel until one is in flight or nothing is queued.

        :param now: seconds, in the event loop's time; for many sessions that are flushed together, when that began.
        """
        raise NotImplementedError

    def _await_write(self, channel: "Channel", future: "asyncio.Future[None]", size: int) -> None:
        """Wait until the kernel has accepted the batch in flight.

        :param size: of the batch, in bytes: a slow client has more time for a large one.
        """
        self._write_future = future
        timeout = write_timeout(size, self.registry.settings.heartbeat_timeout)
        self._write_deadline = self.registry.time() + timeout
        future.add_done_callback(functools.partial(self._on_write_done, channel))

    def _on_write_done(self, channel: "Channel", future: "asyncio.Future[None]") -> None:
        succeeded = has_succeeded(future)  # also of a replaced channel: asyncio logs errors that were never retrieved
        if self._writing_channel is not channel:
            return  # replaced meanwhile, and the batch was requeued then
        if not succeeded and not self.client_has_gone:  # else its messages are still handled
            self.channel_lost(channel, *CONNECTION_BROKE)
            return
        self._batch_written()
        self.flush(self.registry.time())
        self._finish_closing()

    # -- Backpressure --------------------------------------------------------------------------------------------

    @property
    def send_buffer_size(self) -> int:
        """UTF-8 bytes that are queued or in flight."""
        return self.size

    async def drain(self) -> None:
        """Wait, above the high-water mark, until no more than the low-water mark is queued or the session has ended.

        :raises CallerError: the caller runs on another event loop than the session.
        """
        if not self.handover.is_on_loop():  # else what other threads have sent before counts from here on
            raise CallerError(
                "drain() runs on the connection's event loop: in another thread, call "
                "asyncio.run_coroutine_threadsafe(connection.drain(), loop).result()"
            )
        if self.is_closed or self._is_in_on_open():
            # In a producer's loop that does not look at is_closed nobody else would get a turn of the event loop.
            await asyncio.sleep(0)
        elif self.size > self._mark(_HIGH_WATER):
            waiter = self.registry.loop.create_future()
            self._drain_waiters = (self._drain_waiters or set()) | {waiter}
            try:
                await waiter
            finally:
                self._forget_drain_waiter(waiter)

    def _forget_drain_waiter(self, waiter: "asyncio.Future[None]") -> None:
        if self._drain_waiters is not None:  # the wait was cancelled
            self._drain_waiters = self._drain_waiters - {waiter} or None

    # -- The channel ---------------------------------------------------------------------------------------------

    @property
    def is_polled(self) -> bool:
        """Whether a poll waits for something to be sent."""
        return False

    def attach(self, channel: "Channel") -> None:
        """Attach a channel, in place of the present one, whose batch in flight is written again to the new one."""
        if self.state is State.CLOSED:
            channel.close(1008, "the session has ended")
            return
        waiting, writing = self._channels()
        # The new channel first: the end of the old one may call channel_lost, which must not end the session.
        self._requeue_in_flight()
        self._channel, self._wire = channel, None
        if writing is not None:
            writing.abort()
        if waiting is not None:
            self._replaced(waiting)
        self._attached()
        self.flush(self.registry.time())
        self._finish_closing()

    def _replaced(self, channel: "Channel") -> None:
        """Hook: a channel that waited for a payload is no longer the session's. Ends it."""
        channel.replaced()

    def _attached(self) -> None:
        """Hook: a channel was attached. Schedules the session's next timer."""
        raise NotImplementedError

    def channel_lost(self, channel: "Channel", code: int, reason: str) -> None:
        """Note that a channel's TCP connection has ended. One that was replaced before changes nothing.

        :param code: why, if that ends the session (:mod:`tornadio.closecodes`).
        :param reason: to that code.
        """
        raise NotImplementedError

    # -- Time ----------------------------------------------------------------------------------------------------

    def on_timer(self, now: float) -> float | None:
        """Handle a heartbeat or timeout that is due; scheduled by :meth:`SessionRegistry.schedule_timer`.

        :param now: seconds, in the event loop's time.
        :returns: when to call this again, ``None`` for never.
        """
        raise NotImplementedError

    def check_expiry(self, now: float) -> float | None:
        """Abort the session if it has expired.

        :param now: seconds, in the event loop's time.
        :returns: when to check again, ``None`` for never.
        """
        raise NotImplementedError
