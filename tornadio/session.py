"""A session: one client's connection as the server sees it, whatever carries it; and the container of them all.

A session has two sides. Towards the application it calls ``on_open``, ``on_message`` and ``on_close``, one at a time.
Towards the client it queues payloads in its :class:`~tornadio.outbox.Outbox` and hands them, a batch at a time, to a
:class:`Channel`, the response or socket that is attached at the moment.
"""

import asyncio
import contextlib
import enum
import functools
import inspect
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tornadio import proto
from tornadio.errors import HandlerError, RefusedError
from tornadio.heartbeat import Heartbeat
from tornadio.logs import get_logger
from tornadio.outbox import Outbox
from tornadio.periodic import Alarm, Clock, Deadlines, Periodic
from tornadio.settings import Settings
from tornadio.tasks import Tasks

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from tornadio.conn import SocketConnection

logger = get_logger(__name__)

# One payload of a persistent transport gathers frames up to about this many bytes.
_BATCH_SIZE = 1 << 16
# So many frames of one connection are handled before others get their turn.
_FRAMES_A_TURN = 100


class State(enum.Enum):
    """How far a session has come. It only moves forward."""

    OPENING = "opening"  # on_open has not returned yet
    OPEN = "open"
    CLOSING = "closing"  # nothing new is taken; what is queued is still delivered
    CLOSED = "closed"


class Channel(Protocol):
    """What carries a session's payloads to the client at the moment: a poll's response, a stream, a WebSocket."""

    def deliver(self, payload: str) -> "asyncio.Future[None] | None":
        """Send a payload. ``None`` when the socket took its bytes at once, else a future of that; it fails when the
        connection died first. A response that can carry one payload only ends with it."""

    def end(self, code: int, reason: str) -> None:
        """Nothing more will come: end the response, close the socket (WebSocket close ``code`` and ``reason``)."""

    def replaced(self) -> None:
        """Another request has taken this one's place while it waited: end it."""

    def abort(self) -> None:
        """Close the TCP connection at once: what was written to it and not taken shall not arrive."""


class Session:
    """A session over a persistent transport: it ends when its channel ends.

    :ivar session_id: what the client knows it by, ``[0-9a-z]``.
    :ivar transport: the protocol's name, such as ``'websocket'``.
    """

    def __init__(
        self, session_id: str, connection: "SocketConnection", transport: str, container: "SessionContainer"
    ) -> None:
        self.session_id = session_id
        self.transport = transport
        self.container = container
        self.state = State.OPENING
        self._connection: SocketConnection | None = connection  # until on_close has run
        self._settings = container.settings
        self._turn = asyncio.Lock()
        self._ended: asyncio.Future[None] = container.loop.create_future()
        self._channel: Channel | None = None
        self._outbox = Outbox()
        self._outbox.put(proto.encode(session_id))
        self._busy: Channel | None = None  # the one that sends the batch in flight
        self._taken: asyncio.Future[None] | None = None  # whether the socket has taken that batch
        self._greeted = False
        self._posts = 0
        self._handled = 0  # frames, and payloads: an empty one costs time, too
        self._goodbye = (1000, "")
        self._heartbeat = self._new_heartbeat()
        connection._tornadio_session = self

    def __str__(self) -> str:
        return f"session {self.session_id} ({self.transport})"

    # -- Towards the application ---------------------------------------------------------------------------------

    @property
    def connection(self) -> "SocketConnection":
        """The user's object; not to be asked for after the end."""
        assert self._connection is not None
        return self._connection

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended, or is about to."""
        return self.state in (State.CLOSING, State.CLOSED)

    async def open(self, request: "HTTPServerRequest", extra: str) -> bool:
        """Run ``on_open``; nothing reaches the client before it has returned.

        :returns: whether the connection may go on: ``on_open`` did not return ``False``.
        :raises HandlerError: ``on_open`` raised.
        :raises RefusedError: the session has ended meanwhile: ``on_open`` sent too much, or the server stopped.
        """
        async with self._turn:
            try:
                accepted = await _result_of(self.connection.on_open, request, extra=extra)
            except Exception:
                logger.exception("%s: on_open failed", self)
                self.drop()
                raise HandlerError from None
        if accepted is False:
            logger.info("%s: refused by on_open", self)
            self.drop()
            return False
        if self.state is State.CLOSED:
            raise RefusedError(401, "the session ended before it was open")
        if self.state is State.OPENING:
            self._enter(State.OPEN)
            self._heartbeat = self._new_heartbeat()
        return True

    async def receive(self, frames: Iterable[tuple[str, Any]]) -> bool:
        """Hand one payload's frames to the application, after those that came before.

        :returns: whether all were handled: those behind the connection's end are not.
        :raises ProtocolError: a bad frame, after the good ones before it were handled.
        :raises HandlerError: ``on_message`` raised; the session is closing.
        """
        self.heard()
        async with self._turn:
            await self._give_way()
            for kind, message in frames:
                await self._give_way()
                if self.is_closed:
                    return False
                if kind == proto.HEARTBEAT:
                    continue
                try:
                    await _result_of(self.connection.on_message, message)
                except Exception:
                    logger.exception("%s: on_message failed", self)
                    self.close(1011, "the application failed")
                    raise HandlerError from None
        return True

    async def _give_way(self) -> None:
        """Let the others have their turn, once in a while."""
        self._handled += 1
        if self._handled % _FRAMES_A_TURN == 0:
            await asyncio.sleep(0)

    def heard(self) -> None:
        """The client has sent something, be it half a message."""
        self._heartbeat.received(self.container.loop.time())

    def asked_for(self) -> None:
        """A request has come that names this session."""

    async def receive_post(self, frames: Iterable[tuple[str, Any]]) -> None:
        """As :meth:`receive`, but back as soon as the session closes: its POSTs are answered first.

        :raises ProtocolError, HandlerError: as :meth:`receive`.
        :raises RefusedError: 401, the connection has broken before all was handled.
        """
        handling = self.container.tasks.spawn(self.receive(frames))
        await asyncio.wait((handling, self._ended), return_when=asyncio.FIRST_COMPLETED)
        try:
            all_handled = handling.done() and handling.result()
        finally:
            del handling  # its error knows this frame: in a circle both would wait for the collector
        if not all_handled and self.state is State.CLOSED:
            raise RefusedError(401, "the session has ended, and not all of this was handled")

    @contextlib.contextmanager
    def posting(self) -> Iterator[None]:
        """While a POST is under way the session is neither expired nor ended towards the client.

        The official client never posts again on a socket that ends while its POST is under way.
        """
        self._posts += 1
        try:
            yield
        finally:
            self._posts -= 1
            self._post_answered()

    def _post_answered(self) -> None:
        self._settle()

    # -- Ends ----------------------------------------------------------------------------------------------------

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection once what is queued has been delivered. ``on_close`` runs after the handler at work."""
        if not self.is_closed:
            self._goodbye = (code, reason)
            self._enter(State.CLOSING)
            self._settle()

    def drop(self, code: int = 1008, reason: str = "") -> None:
        """End the connection now; what is queued is lost."""
        if self.state is State.CLOSED:
            return
        self._outbox.clear()
        waiting, busy = self._channels()
        self._channel = self._busy = self._taken = None
        self._enter(State.CLOSED)
        if busy is not None:
            busy.abort()
        if waiting is not None:
            waiting.end(code, reason)

    def _channels(self) -> "tuple[Channel | None, Channel | None]":
        """The channel that waits for a payload, and the one that is busy sending one."""
        return (self._channel if self._channel is not self._busy else None), self._busy

    def _enter(self, state: State) -> None:
        """The one place where the state changes."""
        was, self.state = self.state, state
        self.container.moved(self, was)
        if self.is_closed and not self._ended.done():
            self._ended.set_result(None)
            self.container.tasks.spawn_goodbye(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        """Run ``on_close``, once, when no other handler of this connection is at work."""
        async with self._turn:
            try:
                await _result_of(self.connection.on_close)
            except Exception:
                logger.exception("%s: on_close failed", self)
            finally:
                self._connection = None  # which knows its session: in a circle both would wait for the collector

    def _settle(self) -> None:
        """Let a closing session go as soon as nothing holds it: a queue, a batch under way, an open POST."""
        if self.state is not State.CLOSING or self._posts:
            return
        self.flush()
        if self._outbox or self._busy:
            return
        channel, self._channel = self._channel, None
        self._enter(State.CLOSED)
        if channel is not None:
            channel.end(*self._goodbye)

    # -- Towards the client --------------------------------------------------------------------------------------

    def send(self, payload: str) -> None:
        """Queue a payload; it leaves at the end of this turn of the loop. A closed session takes nothing."""
        if self.is_closed:
            logger.debug("%s: sent to after its end: dropped", self)
            return
        limit = self._settings.max_send_buffer
        self._outbox.put(payload)
        if self._outbox.size > limit:
            logger.warning("%s: closed, too slow: more than max_send_buffer (%d bytes) unsent", self, limit)
            self.drop(1008, "too slow")
            return
        if self._channel is not None and self._busy is None:
            self.container.flush_soon(self)

    def attach(self, channel: Channel) -> None:
        """Give the session a channel. One that is there already is replaced; what it has not delivered is kept."""
        waiting, busy = self._channels()
        self._take_back()
        self._channel = channel
        if busy is not None:
            busy.abort()
        if waiting is not None:
            waiting.replaced()
        self._attached()
        self.flush()
        self._settle()

    def lost(self, channel: Channel) -> None:
        """The channel's connection has ended."""
        if channel in self._channels():
            self.drop()

    def _attached(self) -> None:
        self.container.watch(self, self._heartbeat.due())

    def flush(self) -> None:
        """Hand the channel its next batch, unless it is still busy with the last one."""
        while self._outbox and self._channel is not None and self._busy is None:
            channel = self._busy = self._take_channel(self._channel)
            payload = self._next_batch()
            self._heartbeat.sent(self.container.loop.time())
            taken = channel.deliver(payload)
            if taken is None:
                self._delivered()
            else:
                self._taken = taken
                self._waits_for_socket()
                taken.add_done_callback(functools.partial(self._resolved, channel))

    def _waits_for_socket(self) -> None:
        """The batch in flight was not taken at once."""

    def _take_channel(self, channel: Channel) -> Channel:
        """The channel for the next batch; one that carries a single payload is let go of here."""
        return channel

    def _next_batch(self) -> str:
        """Frames for one payload. The session id travels alone, as it does from both original servers."""
        enough = _BATCH_SIZE if self._greeted else 0
        self._greeted = True
        return self._outbox.take(enough)

    def _resolved(self, channel: Channel, taken: "asyncio.Future[None]") -> None:
        succeeded = _has_succeeded(taken)  # looked at in any case, else asyncio complains of an error that nobody saw
        if self._busy is not channel:
            return  # replaced meanwhile, the batch went back then
        if not succeeded:
            self.lost(channel)
            return
        self._delivered()
        self.flush()
        self._settle()

    def _delivered(self) -> None:
        self._outbox.delivered()
        self._busy = self._taken = None

    def _take_back(self) -> None:
        """The batch in flight goes again. If the socket has taken it in this very turn, it has been delivered."""
        if self._taken is not None and _has_succeeded(self._taken):
            self._outbox.delivered()
        else:
            self._outbox.take_back()
        self._busy = self._taken = None

    # -- Time ----------------------------------------------------------------------------------------------------

    def on_timer(self, now: float) -> float | None:
        """Send a heartbeat, or give up, if it is time; returns when to look again, in the loop's time."""
        if self.state is not State.OPEN:
            return None
        if self._turn.locked():
            # A WebSocket is not read while a handler is at work: the answers wait where we can't see them.
            self._heartbeat.excuse(now)
        due = self._heartbeat.due()
        if now < due:
            return due
        if self._heartbeat.is_given_up(now):
            logger.info("%s: closed, it left heartbeats unanswered", self)
            self.drop(1001, "no answer to heartbeats")
            return None
        self.send(proto.encode_heartbeat(self._heartbeat.beat(now)))
        return None if self.is_closed else self._heartbeat.due()

    def _new_heartbeat(self) -> Heartbeat:
        settings = self._settings
        return Heartbeat(settings.heartbeat_interval, settings.heartbeat_timeout, self.container.loop.time())

    def expired(self, now: float) -> float | None:
        """The container's question whether this session has outlived its client. If so it is dropped.

        :returns: when to ask again, in the loop's time, ``None`` for never.
        """
        if self.state is State.CLOSING:
            self.drop()
        return None


S = TypeVar("S", bound=Session)


class SessionContainer:
    """The sessions of one router, with what they share: the loop, the timers, the end of the turn.

    Its timers run while it holds a session.

    :param settings: the router's.
    :param loop: the event loop; ``None`` for the one that runs when the first session is made. Tests give one whose
        time they move.
    """

    loop: "asyncio.AbstractEventLoop"

    def __init__(self, settings: Settings, loop: "asyncio.AbstractEventLoop | None" = None) -> None:
        self.settings = settings
        self.draining = False
        self._given_loop = loop
        self._sessions: dict[str, Session] = {}
        self._open: dict[Session, None] = {}
        self._unflushed: dict[Session, None] = {}
        self.tasks = Tasks(self._check_emptied)
        self._emptied: asyncio.Event | None = None
        self._expiry = Deadlines[Session](_expired)
        self._timers = Deadlines[Session](_on_timer)
        self._checks: Periodic | None = None
        self._alarm: Alarm | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    @property
    def open_sessions(self) -> tuple[Session, ...]:
        """Those whose ``on_open`` has returned and that are not closed, oldest first."""
        return tuple(self._open)

    def create(self, session_class: type[S], connection: "SocketConnection", transport: str) -> S:
        """A new session with an id of 128 random bits.

        :raises RefusedError: 503 while the server shuts down, or when there are ``max_sessions``.
        """
        self.check_room()
        if not self._sessions:
            self._start()
        session_id = secrets.token_hex(16)
        session = session_class(session_id, connection, transport, self)
        self._sessions[session_id] = session
        return session

    def check_room(self) -> None:
        """:raises RefusedError: 503 where :meth:`create` would."""
        if self.draining:
            raise RefusedError(503, "this server is shutting down: connect again")
        if len(self._sessions) >= self.settings.max_sessions:
            logger.warning("refused a client: there are max_sessions (%d) already", self.settings.max_sessions)
            raise RefusedError(503, "too many sessions: try again later")

    def get(self, session_id: str, transport: str) -> Session | None:
        """The session of that id, if it is one of that transport."""
        session = self._sessions.get(session_id)
        return session if session is not None and session.transport == transport else None

    def remove(self, session: Session) -> None:
        """Forget a session. Timers stop with the last one."""
        self._expiry.discard(session)
        self._timers.discard(session)
        if self._sessions.pop(session.session_id, None) is not None and not self._sessions:
            self._stop()

    def expire(self, current_time: float | None = None) -> None:
        """End the sessions that have outlived their clients.

        :param current_time: seconds, in the loop's time; ``None`` for now.
        """
        self._expiry.run(self.loop.time() if current_time is None else current_time)

    # -- What sessions ask for -----------------------------------------------------------------------------------

    def moved(self, session: Session, was: State) -> None:
        """A session has changed its state."""
        if session.state is State.OPEN:
            self._open[session] = None
        elif was is State.OPEN:
            del self._open[session]
        if session.state is State.CLOSING:
            self.expire_at(session, self.loop.time() + self.settings.session_expiry)
        elif session.state is State.CLOSED:
            self.remove(session)

    def expire_at(self, session: Session, when: float) -> None:
        """Ask ``session.expired`` at ``when``, or at the first check after it."""
        self._expiry.add(session, when)

    def watch(self, session: Session, when: float) -> None:
        """Call ``session.on_timer`` at ``when``."""
        self._timers.add(session, when)
        if self._alarm is not None:
            self._alarm.reset()

    def flush_soon(self, session: Session) -> None:
        """Flush a session at the end of this turn: all that is sent to it in one turn travels together."""
        if not self._unflushed:
            self.loop.call_soon(self._flush)
        self._unflushed[session] = None

    def _flush(self) -> None:
        sessions, self._unflushed = self._unflushed, {}
        for session in sessions:
            try:
                session.flush()
            except Exception:
                logger.exception("%s: can't be written to", session)
                session.drop(1011)

    # -- Start and stop ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.loop = self._given_loop or asyncio.get_running_loop()
        clock: Clock = self.loop
        self._alarm = Alarm(clock, self._timers)
        self._checks = Periodic(clock, self.expire, self.settings.session_check_interval)
        self._checks.start()

    def _stop(self) -> None:
        for timer in (self._alarm, self._checks):
            if timer is not None:
                timer.stop()
        self._check_emptied()

    def _check_emptied(self) -> None:
        if self._emptied is not None and not self._sessions and not self.tasks.at_work:
            self._emptied.set()

    def broadcast(self, message: Any, exclude: "Collection[SocketConnection]" = ()) -> None:
        """Send a message to every open connection but those in ``exclude``. It is encoded once.

        :raises EncodeError: the message can't be sent; then nobody gets it.
        """
        payload = proto.encode(message)
        excluded = {id(connection) for connection in exclude}
        for session in self.open_sessions:
            if payload and id(session.connection) not in excluded:
                session.send(payload)

    async def drain(self, timeout: float) -> None:
        """Refuse new sessions, close all, wait until what is queued was delivered and every ``on_close`` has run.

        :param timeout: seconds; what is left then is dropped, handlers still at work are cancelled.
        """
        self.draining = True
        for session in self:
            session.close(1001, "the server is shutting down")
        if not await self._wait_empty(timeout):
            logger.warning(
                "shutting down: %d sessions and %d handlers were not done in time",
                len(self),
                self.tasks.at_work,
            )
            for session in self:
                session.drop(1001, "the server is shutting down")
            self.tasks.cancel()
        await self.tasks.wait()

    async def _wait_empty(self, timeout: float) -> bool:
        self._emptied = self._emptied or asyncio.Event()
        self._check_emptied()
        try:
            await asyncio.wait_for(self._emptied.wait(), timeout)
        except TimeoutError:
            return False
        return True


def _expired(session: Session, now: float) -> float | None:
    return session.expired(now)


def _on_timer(session: Session, now: float) -> float | None:
    return session.on_timer(now)


def _has_succeeded(future: "asyncio.Future[None]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


async def _result_of(handler: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """What a handler returns, or what its coroutine or future comes to."""
    value = None
    try:
        value = handler(*arguments, **keywords)
        return await value if inspect.isawaitable(value) else value
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        # Not this task was cancelled, but something that the handler waited for: a failure like any other.
        raise RuntimeError("the handler waited for something that was cancelled") from error
    finally:
        del value  # a future's error knows this frame: in a circle both would wait for the collector


def _is_cancelled() -> bool:
    """Whether the task that runs now is to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


__all__ = ["Channel", "Session", "SessionContainer", "State"]
