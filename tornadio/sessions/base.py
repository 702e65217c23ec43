"""A session: one client's connection as the server sees it, whatever carries it.

A session has two sides. Towards the application it calls ``on_open``, ``on_message`` and ``on_close``, one at a time.
Towards the client it queues payloads in its :class:`~tornadio.sessions.outbox.Outbox` and hands them, a batch at a
time, to a :class:`Channel`, the response or socket that is attached at the moment.

What can be done at once is done at once: only a handler that is a coroutine, or has to wait for one, costs a task.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from tornadio import proto
from tornadio.errors import HandlerError, RefusedError
from tornadio.logs import get_logger
from tornadio.net.fifolock import FifoLock, Place
from tornadio.net.patience import seconds_to_take
from tornadio.net.tasks import has_succeeded, is_cancelled
from tornadio.sessions.heartbeat import Heartbeat
from tornadio.sessions.outbox import OVERHEAD, Outbox, Payload
from tornadio.sessions.state import TRANSITIONS, State

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from tornadio.conn import SocketConnection
    from tornadio.sessions.registry import SessionRegistry

logger = get_logger(__name__)

R = TypeVar("R")

# One payload of a persistent transport gathers frames up to about this many bytes.
_BATCH_SIZE = 1 << 16
# Who knows a whole id has its session: logs show what it begins with.
_HIDDEN_DIGITS = 24
# So many batches go out before others get their turn, if the socket takes them.
_BATCHES_A_TURN = 8
# So many payloads may wait however small ``max_send_buffer`` is, besides those for which there is room with what is
# around them: an application that answers with very small messages would fill it many times over.
_FEW = 1000
# So many frames of one payload are handled before others get their turn.
_FRAMES_A_TURN = 100
# Clients of 0.6 have one POST under way. One session's POSTs, read, waiting for their turn, or at work, are no more
# than so many, with no more bytes than so many payloads of ``max_message_size`` have.
_MAX_POSTS: Final = 16
_MAX_PAYLOADS: Final = 2


class Channel(Protocol):
    """What carries a session's payloads to the client at the moment: a poll's response, a stream, a WebSocket."""

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        """Send a payload. ``None`` when the socket took its bytes at once, else a future of that; it fails when the
        connection died first. A response that can carry one payload only ends with it."""

    def close(self, code: int, reason: str) -> None:
        """Nothing more will come: end the response, close the socket (WebSocket close ``code`` and ``reason``)."""

    def replaced(self) -> None:
        """Another request has taken this one's place while it waited: end it."""

    def abort(self) -> None:
        """Close the TCP connection at once: what was written to it and not taken shall not arrive."""


class Post:
    """A POST to a session, from its headers on until its messages were handled and its answer was taken.

    :ivar size: bytes that are kept of it, or will be: those of its body, then those of its payload.
    :ivar is_awaited: whether its client waits for the answer: that keeps the session.
    :ivar on_session_end: called when the session has ended, if the POST waits for its messages.
    """

    __slots__ = ("is_awaited", "on_session_end", "session", "size")

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.size = 0
        self.is_awaited = False
        self.on_session_end: Callable[[], None] | None = None


_NO_POSTS: Final[frozenset[Post]] = frozenset()


class Session:
    """A session over a persistent transport: it ends when its channel ends.

    :ivar counted_as: the address that it counts for, empty for none.
    :ivar session_id: what the client knows it by, ``[0-9a-z]``.
    :ivar transport: the protocol's name, such as ``'websocket'``.
    """

    __slots__ = (
        "__weakref__",
        "_busy",
        "_channel",
        "_connection",
        "_goodbye",
        "_greeted",
        "_heartbeat",
        "_max_send_buffer",
        "_outbox",
        "_posts",
        "_state",
        "_taken",
        "_turns",
        "_write_ends",
        "counted_as",
        "handled",
        "is_closed",
        "registry",
        "session_id",
        "transport",
    )

    def __init__(
        self, session_id: str, connection: "SocketConnection", transport: str, registry: "SessionRegistry"
    ) -> None:
        self.session_id = session_id
        self.transport = transport
        self.registry = registry
        self.counted_as = ""
        self._state = State.OPENING
        self.is_closed = False
        self._connection: SocketConnection | None = connection  # until on_close has run
        self._max_send_buffer = registry.settings.max_send_buffer
        self._turns = FifoLock()
        self._channel: Channel | None = None
        self._outbox = Outbox()
        self._outbox.put(Payload(proto.encode(session_id)))
        self._busy: Channel | None = None  # the one that sends the batch in flight
        self._taken: asyncio.Future[None] | None = None  # whether the socket has taken that batch
        self._write_ends = 0.0  # when it is given up that it does
        self._greeted = False
        self.handled = 0  # frames and payloads in this turn
        self._posts = _NO_POSTS
        self._goodbye = (1000, "")
        self._heartbeat = self._new_heartbeat()
        connection._tornadio_session = self

    def __str__(self) -> str:
        return f"session {self.session_id[:-_HIDDEN_DIGITS]} ({self.transport})"

    @property
    def state(self) -> State:
        """Opening, open, closing, or closed."""
        return self._state

    # -- Towards the application ---------------------------------------------------------------------------------

    @property
    def connection(self) -> "SocketConnection":
        """The user's object; not to be asked for after the end."""
        assert self._connection is not None
        return self._connection

    def open(self, request: "HTTPServerRequest", extra: str) -> "bool | asyncio.Task[bool]":
        """Run ``on_open``; nothing reaches the client before it has returned.

        :returns: whether the connection may go on: ``on_open`` did not return ``False``. Where ``on_open`` is a
            coroutine, a task of the same, and of the same errors.
        :raises HandlerError: ``on_open`` raised.
        :raises RefusedError: the session has ended meanwhile: ``on_open`` sent too much, or the server stopped.
        """
        try:
            answer = self.connection.on_open(request, extra=extra)
        except (Exception, asyncio.CancelledError):
            raise self._open_failed() from None
        except BaseException:
            self.abort()
            raise
        if is_awaitable(answer):
            return self._spawn(self._open_later(answer), self._turns.take(), answer)
        return self._opened(answer)

    async def _open_later(self, answer: Awaitable[Any]) -> bool:
        try:
            accepted = await _result_of(answer)
        except Exception:
            raise self._open_failed() from None
        except BaseException:
            self.abort()
            raise
        finally:
            del answer  # as in _result_of
        return self._opened(accepted)

    def _open_failed(self) -> HandlerError:
        logger.exception("%s: on_open failed", self)
        self.abort()
        return HandlerError()

    def _opened(self, accepted: Any) -> bool:
        if accepted is False:
            logger.info("%s: refused by on_open", self)
            self.abort()
            return False
        if self._state is State.CLOSED:
            raise RefusedError(401, "the session ended before it was open")
        if self._state is State.OPENING:
            self._enter(State.OPEN)
            self._heartbeat = self._new_heartbeat()
        return True

    def receive(self, frames: Iterable[tuple[str, Any]]) -> "bool | asyncio.Task[bool]":
        """Hand one payload's frames to the application, after those that came before.

        :returns: whether all were handled: those behind the connection's end are not. Where that takes time, a task of
            the same, and of the same errors.
        :raises ProtocolError: a bad frame, after the good ones before it were handled.
        :raises HandlerError: ``on_message`` raised; the session is closing.
        """
        remaining = iter(frames)
        answer = None
        if not self._turns.is_taken:
            done = self._receive_now(remaining)
            if isinstance(done, bool):
                return done
            answer = done
        place = self._turns.take()
        return self._spawn(self._receive_later(place, answer, remaining), place, answer)

    def _receive_now(self, frames: Iterator[tuple[str, Any]]) -> bool | Awaitable[Any]:
        """Handle frames until one has to be waited for: its handler, or the turn of others."""
        self.handled += 1  # a payload without frames costs time, too
        if self.handled >= _FRAMES_A_TURN:
            self.handled = 0
            return asyncio.sleep(0)
        for kind, message in frames:
            if self.is_closed:
                return False
            if kind != proto.HEARTBEAT:
                try:
                    answer = self.connection.on_message(message)
                except (Exception, asyncio.CancelledError):
                    raise self._message_failed() from None
                if answer is not None and inspect.isawaitable(answer):
                    return answer
            self.handled += 1
            if self.handled >= _FRAMES_A_TURN:
                self.handled = 0
                return asyncio.sleep(0)
        return True

    async def _receive_later(
        self,
        place: Place | None,
        answer: Awaitable[Any] | None,
        frames: Iterator[tuple[str, Any]],
    ) -> bool:
        """The rest of a payload's frames, with a turn of their own, or a place in the queue for it."""
        if place is not None and not await place:
            return False
        while True:
            if answer is not None:
                try:
                    await _result_of(answer)
                except Exception:
                    raise self._message_failed() from None
                except BaseException:
                    self.close(1011, "the application failed")
                    raise
                finally:
                    answer = None  # as in _result_of
            done = self._receive_now(frames)
            if isinstance(done, bool):
                return done
            answer = done

    def _message_failed(self) -> HandlerError:
        logger.exception("%s: on_message failed", self)
        self.close(1011, "the application failed")
        return HandlerError()

    def _spawn(
        self, work: Coroutine[Any, Any, R], place: Place | None, answer: Awaitable[Any] | None
    ) -> "asyncio.Task[R]":
        """A task for handlers, which has the turn, or a place in the queue for it, until it ends."""
        task = self.registry.tasks.spawn(work)
        task.add_done_callback(functools.partial(self._handled, place, answer))
        return task

    def _handled(self, place: Place | None, answer: Awaitable[Any] | None, task: "asyncio.Task[Any]") -> None:
        # A task that was cancelled before it began has done nothing of what it should.
        if inspect.iscoroutine(answer):
            answer.close()
        self._turns.give_back(place)

    def touch(self) -> None:
        """The client has sent something, be it half a message."""
        self._heartbeat.received(self.registry.time())

    def request_received(self) -> None:
        """A request has come that names this session."""

    # -- POSTs ---------------------------------------------------------------------------------------------------

    def hold_post(self, post: Post, size: int) -> None:
        """Keep so many bytes of a POST from now on, if there is room: alone it has as much as it needs.

        :raises RefusedError: 503, there is none.
        """
        others = [other.size for other in self._posts if other is not post]
        if others and (
            len(others) >= _MAX_POSTS or sum(others) + size > _MAX_PAYLOADS * self.registry.settings.max_message_size
        ):
            raise RefusedError(503, "too many POSTs of this session wait: send the next one when they are answered")
        post.size = size
        self._posts |= {post}

    def post_arrived(self, post: Post) -> None:
        """A POST is here as a whole. Until its client has its answer, or has gone, the session is neither expired nor
        ended towards the client.

        The official client never posts again on a socket that ends while its POST is under way.
        """
        post.is_awaited = True

    def post_waits(self, post: Post, on_session_end: Callable[[], None]) -> None:
        """A POST's messages take time: have it called if the session ends before they are handled. POSTs are answered
        before their session ends towards the client.
        """
        post.on_session_end = on_session_end
        if self.is_closed:
            self._tell_posts()

    def _tell_posts(self) -> None:
        """Tell POSTs that the session has ended. At a shutdown the one at work has time to be handled first."""
        if self._state is State.CLOSING and self.registry.draining:
            return
        for post in self._posts:
            if post.on_session_end is not None:
                self.registry.loop.call_soon(post.on_session_end)

    def post_left(self, post: Post) -> None:
        """A POST's client has its answer, or has gone: then its messages are handled as long as there is a session."""
        post.is_awaited = False
        self._settle()

    def post_ended(self, post: Post) -> None:
        """A POST is over: nothing is kept of it."""
        self._posts -= {post}
        self.post_left(post)

    @property
    def is_at_work(self) -> bool:
        """Whether what is received now waits for a handler that is at work."""
        return self._turns.is_taken

    @property
    def _is_awaited(self) -> bool:
        """Whether a client waits for the answer to a POST."""
        return any(post.is_awaited for post in self._posts)

    # -- Ends ----------------------------------------------------------------------------------------------------

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection once what is queued has been delivered. ``on_close`` runs after the handler at work."""
        if not self.is_closed:
            self._goodbye = (code, reason)
            self._enter(State.CLOSING)
            self._settle()

    def abort(self, code: int = 1008, reason: str = "") -> None:
        """End the connection now; what is queued is lost."""
        if self._state is State.CLOSED:
            return
        self._outbox.clear()
        waiting, busy = self._channels()
        self._channel = self._busy = self._taken = None
        self._enter(State.CLOSED)
        if busy is not None:
            busy.abort()
        if waiting is not None:
            waiting.close(code, reason)

    def _channels(self) -> "tuple[Channel | None, Channel | None]":
        """The channel that waits for a payload, and the one that is busy sending one."""
        return (self._channel if self._channel is not self._busy else None), self._busy

    def _enter(self, state: State) -> None:
        """The one place where the state changes."""
        old, self._state = self._state, state
        assert state in TRANSITIONS[old], f"{old} -> {state}"
        is_ending = state is not State.OPEN and not self.is_closed
        self.is_closed = state is not State.OPEN
        self.registry.state_changed(self, old)
        if self.is_closed:
            self._tell_posts()
        if is_ending:
            self._turns.dismiss()
            self.registry.tasks.spawn_goodbye(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        """Run ``on_close``, once, when no other handler of this connection is at work."""
        place = self._turns.take()
        try:
            if place is not None:
                await place
            await _result_of(self._call_on_close())
        except Exception:
            logger.exception("%s: on_close failed", self)
        finally:
            self._turns.give_back(place)
            self._connection = None  # which knows its session: in a circle both would wait for the collector
            self.registry.left(self)

    @property
    def has_left(self) -> bool:
        """Whether ``on_close`` has run: no handler of this connection is at work any more."""
        return self._connection is None

    def _call_on_close(self) -> Any:
        try:
            return self.connection.on_close()
        except asyncio.CancelledError as error:
            raise _was_cancelled() from error

    def _settle(self) -> None:
        """Let a closing session go as soon as nothing holds it: a queue, a batch under way, an open POST."""
        if self._state is not State.CLOSING or self._is_awaited:
            return
        self.flush()
        if self._outbox.first is not None or self._busy:
            return
        channel, self._channel = self._channel, None
        self._enter(State.CLOSED)
        if channel is not None:
            channel.close(*self._goodbye)

    # -- Towards the client --------------------------------------------------------------------------------------

    def send(self, payload: Payload) -> None:
        """Queue a payload; it leaves at the end of this turn of the loop. A closed session takes nothing."""
        if self.is_closed:
            logger.debug("%s: sent to after its end: dropped", self)
            return
        outbox = self._outbox
        if outbox.first is None and self._busy is None and self._channel is not None:
            self.registry.flush_soon(self)  # with something in the queue, a flush is due anyway
        outbox.put(payload)
        # A payload has seven bytes at least: there can't be too many of them before they have a 32nd of the limit.
        if outbox.size > self._max_send_buffer >> 5 and self._is_too_much(outbox):
            logger.warning(
                "%s: closed, too slow: more than max_send_buffer (%d bytes) unsent", self, self._max_send_buffer
            )
            self.abort(1008, "too slow")

    def _is_too_much(self, outbox: Outbox) -> bool:
        return outbox.size > self._max_send_buffer or len(outbox) > self._max_send_buffer // OVERHEAD + _FEW

    def attach(self, channel: Channel) -> None:
        """Give the session a channel. One that is there already is replaced; what it has not delivered is kept."""
        if self._state is State.CLOSED:
            channel.close(1008, "the session has ended")
            return
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

    def channel_lost(self, channel: Channel) -> None:
        """The channel's connection has ended."""
        if channel in self._channels():
            self.abort()

    def _attached(self) -> None:
        self.registry.watch(self, self._heartbeat.due())

    def flush(self) -> None:
        """Hand the channel its next batches, until it is busy with one."""
        outbox, batches = self._outbox, 0
        while outbox.first is not None and self._busy is None and self._channel is not None:
            channel = self._busy = self._channel
            payload = outbox.take(_BATCH_SIZE if self._greeted else 0)  # the session id travels alone, as of old
            self._greeted = True
            self._heartbeat.last_sent = self.registry.time()
            taken = channel.write(payload)
            if taken is None:
                outbox.delivered()
                self._busy = None
                batches += 1
                if batches == _BATCHES_A_TURN:
                    self.registry.loop.call_soon(self._flush_on)
                    return
            else:
                self._taken = taken
                patience = self.registry.settings.heartbeat_timeout
                self._write_ends = self._heartbeat.last_sent + seconds_to_take(payload.size, patience)
                taken.add_done_callback(functools.partial(self._resolved, channel))

    def _flush_on(self) -> None:
        self.flush()
        self._settle()

    def _resolved(self, channel: Channel, taken: "asyncio.Future[None]") -> None:
        succeeded = has_succeeded(taken)  # looked at in any case, else asyncio complains of an error that nobody saw
        if self._busy is not channel:
            return  # replaced meanwhile, the batch went back then
        if not succeeded:
            self.channel_lost(channel)
            return
        self._delivered()
        self.flush()
        self._settle()

    def _delivered(self) -> None:
        self._outbox.delivered()
        self._busy = self._taken = None

    def _take_back(self) -> None:
        """The batch in flight goes again. If the socket has taken it in this very turn, it has been delivered."""
        if self._taken is not None and has_succeeded(self._taken):
            self._outbox.delivered()
        else:
            self._outbox.take_back()
        self._busy = self._taken = None

    # -- Time ----------------------------------------------------------------------------------------------------

    def on_timer(self, now: float) -> float | None:
        """Send a heartbeat, or give up, if it is time; returns when to look again, in the loop's time."""
        if self._state is not State.OPEN:
            return None
        if self._turns.is_taken:
            # A WebSocket is not read while a handler is at work: the answers wait where we can't see them.
            self._heartbeat.excuse(now)
        due = self._heartbeat.due()
        if self._taken is not None and now >= self._write_ends:
            logger.info("%s: closed, the client does not take what it is sent", self)
            self.abort(1008, "too slow")
            return None
        if now < due:
            return due
        if self._heartbeat.is_given_up(now):
            logger.info("%s: closed, it left heartbeats unanswered", self)
            self.abort(1001, "no answer to heartbeats")
            return None
        self.send(Payload(proto.encode_heartbeat(self._heartbeat.beat(now))))
        return None if self.is_closed else self._heartbeat.due()

    def _new_heartbeat(self) -> Heartbeat:
        settings = self.registry.settings
        return Heartbeat(settings.heartbeat_interval, settings.heartbeat_timeout, self.registry.loop.time())

    def expired(self, now: float) -> float | None:
        """The container's question whether this session has outlived its client. If so it is dropped.

        :returns: when to ask again, in the loop's time, ``None`` for never.
        """
        if self._state is State.CLOSING:
            self.abort()
        return None


def is_awaitable(answer: Any) -> bool:
    """Whether a handler returned something that has to be awaited."""
    return answer is not None and inspect.isawaitable(answer)


async def _result_of(answer: Any) -> Any:
    """What a handler returned, or what its coroutine or future comes to."""
    try:
        return await answer if is_awaitable(answer) else answer
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise _was_cancelled() from error
    finally:
        del answer  # a future's error knows this frame: in a circle both would wait for the collector


def _was_cancelled() -> RuntimeError:
    """Not the handler was cancelled, but something that it waited for: a failure like any other."""
    return RuntimeError("the handler waited for something that was cancelled")


__all__ = ["Channel", "Session", "State"]
