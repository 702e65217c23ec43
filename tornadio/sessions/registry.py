"""The registry of a router's sessions: ids, limits, timers, the end of each event loop iteration, and the shutdown."""

import asyncio
import re
import secrets
import sys
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tornadio.closecodes import SHUTDOWN, closed_reason
from tornadio.errors import RefusedError
from tornadio.logs import get_logger
from tornadio.net.addresses import is_internal, network_of
from tornadio.net.linger import LingeringCloses
from tornadio.net.poller import Poller, poller_of
from tornadio.net.running import time_of
from tornadio.net.tasks import GRACE_SECONDS, Tasks
from tornadio.net.timers import Clock, Deadlines, DeadlineTimer
from tornadio.sessions.counters import Counters
from tornadio.sessions.fanout import Receivers, encode, fan_out, payload_of, sessions_of
from tornadio.sessions.flushing import flush_all
from tornadio.sessions.handover import Handover
from tornadio.sessions.state import ENDED, State
from tornadio.settings import Settings
from tornadio.stats import RouterStats

if TYPE_CHECKING:
    from tornadio.cluster.relay import Relay
    from tornadio.conn import SocketConnection
    from tornadio.sessions.base import BaseSession

logger = get_logger(__name__)
get_logger("tornadio.net.timers")  # limits its log lines: that module is pure, and imports the standard logging alone

# Without max_sessions_per_address, an address of the Internet may have a tenth of max_sessions, but at least 100: many
# users of one company or mobile network share an address.
_SHARE: Final = 10
_MIN_SHARE: Final = 100

# Seconds by which a session may outlive its expiry at most: those that expire close to each other are ended together.
_MAX_EXPIRY_SLACK: Final = 1.0

# What clients, their languages and JSON may take for a number, in the characters of ids: 123, 1e5, 0b1, 0o7, 0xf.
_NUMBER: Final = re.compile("[0-9]+(?:e[0-9]+)?|0b[01]+|0o[0-7]+")
_HEXADECIMAL_NODE: Final = re.compile("0x[0-9a-f]*")

S = TypeVar("S", bound="BaseSession")


class SessionRegistry:
    """The sessions of one router, and what they share. Its timers run while it holds a session.

    :param settings: the router's.
    :param loop: the event loop; ``None`` for the one that runs when the first session is created. Tests give one whose
        time they move.
    :ivar loop: the event loop, once the first session was created.
    :ivar time: the event loop's time, in seconds, once the first session was created.
    :ivar counters: what the sessions count, those that have ended included.
    :ivar has_greeting: whether the connection class has a ``greeting`` of its own.
    :ivar draining: whether :meth:`drain` was called, and not :meth:`reopen` after its end.
    :ivar handover: what other threads send, close and broadcast, on its way to the event loop.
    :ivar relay: to the other processes; ``None`` without a bus.
    :ivar poller: the event loop's, once the first session was created.
    :ivar tasks: in which the handlers run.
    :ivar lingering: the connections that are closed once their peers have read the final bytes.
    :ivar unchecked_size: bytes up to which a session's queue exceeds neither of its limits, which is nearly always.
    :ivar unflushed: the sessions that are flushed when all that is ready now was handled.
    :ivar on_open: observers, called in this order with each session that becomes open, once.
    :ivar on_closing: observers, called in this order with each session at the beginning of its end, once: it is
        closing, or closed already, was open or not, and its ``on_close`` has not begun.
    """

    loop: "asyncio.AbstractEventLoop"
    time: "Callable[[], float]"
    poller: Poller

    def __init__(self, settings: Settings, loop: "asyncio.AbstractEventLoop | None" = None) -> None:
        self.settings = settings
        # With this node each id would be a hexadecimal number.
        self._node = f"{settings.node}n" if _HEXADECIMAL_NODE.fullmatch(settings.node) else settings.node
        self.has_greeting = False
        self.draining = False
        self._is_drained = False
        self.relay: Relay | None = None
        self.tasks = Tasks(self._check_idle)
        self.lingering = LingeringCloses()
        self.on_open: list[Callable[[BaseSession], None]] = []
        self.on_closing: list[Callable[[BaseSession], None]] = []
        self.unchecked_size = _unchecked_size(settings)
        self._given_loop = loop
        self.handover = Handover(self._everybody, lambda: self.settings.max_send_buffer)
        if loop is not None:
            self.handover.set_loop(loop)
        self._sessions: dict[str, BaseSession] = {}
        self._open: dict[BaseSession, None] = {}
        # Closed, but on_close has not returned: they count for the limits, too, else a client that reconnects while
        # its handlers are slow would have any number of them.
        self._finishing: set[BaseSession] = set()
        self._counts: dict[str, int] = {}  # of sessions, by BaseSession.counted_as
        self.unflushed: list[BaseSession] = []
        self.counters = Counters()
        self._idle: asyncio.Event | None = None  # set when no session and no handler is left, at a shutdown
        self._expiry_deadlines = Deadlines["BaseSession"](_check_expiry)
        self._timer_deadlines = Deadlines["BaseSession"](_on_timer)
        self._expiry_timer: DeadlineTimer | None = None
        self._deadline_timer: DeadlineTimer | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> "Iterator[BaseSession]":
        return iter(tuple(self._sessions.values()))

    @property
    def open_sessions(self) -> "tuple[BaseSession, ...]":
        """A copy of the sessions in state ``OPEN``, in the order in which they entered it."""
        return tuple(self._open)

    @property
    def open_connections(self) -> "tuple[SocketConnection, ...]":
        """A copy of the connections of :attr:`open_sessions`. May be called from any thread."""
        # A list first: unlike a tuple, it is copied without a moment in which the event loop could change the dict.
        sessions = list(self._open)
        connections = [session._connection for session in sessions]
        return tuple([connection for connection in connections if connection is not None])

    def stats(self, resource: str, groups: int) -> RouterStats:
        """Return what the sessions have counted. May be called from any thread.

        :param resource: the router's.
        :param groups: how many have members.
        """
        sessions = list(self._sessions.values())
        counters = self.counters
        transports = counters.transports(sessions)
        states: list[State] = []
        if len(sessions) != sum(each.connections for each in transports):
            states = [session.state for session in sessions]
        return RouterStats(
            resource=resource,
            transports=transports,
            opening=states.count(State.OPENING),
            closing=states.count(State.CLOSING),
            refused=dict(counters.refused),
            closed=dict(counters.closed),
            heartbeats_sent=counters.heartbeats_sent,
            heartbeats_answered=counters.heartbeats_answered,
            round_trips=counters.round_trips.copy(),
            queued_bytes=sum(each.queued_bytes for each in transports),
            largest_queue=max([session.size for session in sessions], default=0),
            handlers=counters.handlers(sum(each.messages_in for each in transports)),
            groups=groups,
            bus=None if self.relay is None else self.relay.stats(),
        )

    def create(
        self,
        session_class: type[S],
        connection: "SocketConnection",
        transport: str,
        address: str = "",
        version: str = "",
    ) -> S:
        """Create a session with an id of 128 random bits after the setting ``node``. No id can be read as a number.

        :param address: the client's, see :func:`tornadio.web.peers.counted_address`.
        :param version: of a WebSocket's protocol.
        :raises RefusedError: 503 while the server shuts down, or when there are ``max_sessions``; 429 when the address
            has ``max_sessions_per_address``.
        """
        counted_as = self.check_capacity(address)
        if not self._sessions:
            self._start()  # before the session, whose constructor schedules its timers
        session_id = self._node + secrets.token_hex(16)
        while _NUMBER.fullmatch(session_id):  # one in 850,000: ids lose two millionths of a bit
            session_id = self._node + secrets.token_hex(16)
        try:
            session = session_class(session_id, connection, self.counters.traffic(transport, version), self)
        except BaseException:
            if not self._sessions:
                self._stop()
            raise
        self._sessions[session_id] = session
        # One text for all sessions of an address: those behind a proxy that names no clients, say, are thousands.
        session.address = sys.intern(address)
        if counted_as:
            session.counted_as = counted_as
            self._counts[counted_as] = self._counts.get(counted_as, 0) + 1
        return session

    def check_capacity(self, address: str = "") -> str:
        """Check that one more session may be created.

        :param address: as for :meth:`create`.
        :returns: the address or network as ``max_sessions_per_address`` counts it, empty where that is not limited.
        :raises RefusedError: as :meth:`create`.
        """
        if self.draining:
            raise shutting_down_error()
        if len(self._sessions) + len(self._finishing) >= self.settings.max_sessions:
            note = f"there are max_sessions ({self.settings.max_sessions}) already"
            raise RefusedError(503, "too many sessions: try again later", note=note, label="max_sessions")
        limit = self.settings.max_sessions_per_address
        if not address or (limit is None and is_internal(address)):
            return ""
        if limit is None:
            limit = max(self.settings.max_sessions // _SHARE, _MIN_SHARE)
        counted_as = network_of(address)
        if self._counts.get(counted_as, 0) >= limit:
            note = f"{counted_as} has max_sessions_per_address ({limit}) already"
            raise RefusedError(429, "too many sessions from your address: close some, or try again later", note=note)
        return counted_as

    def get(self, session_id: str, transport: str) -> "BaseSession | None":
        """Return the session of that id if there is one of that transport, else ``None``."""
        session = self._sessions.get(session_id)
        return session if session is not None and session.traffic.transport == transport else None

    def remove(self, session: "BaseSession") -> None:
        """Remove a session; one that is not registered changes nothing. Timers stop with the last one."""
        self._expiry_deadlines.discard(session)
        self._timer_deadlines.discard(session)
        if self._sessions.pop(session.session_id, None) is None:
            return
        session.traffic.session_ended(session)
        if session.on_close_has_run or session.state is not State.CLOSED:
            self._discount(session.counted_as)
        else:
            self._finishing.add(session)
        if not self._sessions:
            self._stop()

    def on_close_finished(self, session: "BaseSession") -> None:
        """Note that a session's ``on_close`` has returned or failed. The session may still be closing."""
        if session in self._finishing:
            self._finishing.discard(session)
            self._discount(session.counted_as)

    def _discount(self, counted_as: str) -> None:
        if not counted_as:
            return
        remaining = self._counts[counted_as] - 1
        if remaining:
            self._counts[counted_as] = remaining
        else:
            del self._counts[counted_as]

    def expire(self, current_time: float | None = None) -> None:
        """Abort the expired sessions.

        :param current_time: seconds, in the event loop's time; ``None`` for now.
        """
        now = self.loop.time() if current_time is None else current_time
        while self._expiry_deadlines.run(now):
            pass

    # -- For sessions --------------------------------------------------------------------------------------------

    def state_changed(self, session: "BaseSession", old: State, closed_by: str = "") -> None:
        """Note that a session has changed its state, from ``old``.

        :param closed_by: the reason of the end that is counted; empty for what close code and reason say.
        """
        state = session.state
        if state is State.OPEN:
            self._open[session] = None
            session.traffic.opened += 1
        elif old is State.OPEN:
            del self._open[session]
            self.counters.closed[closed_by or closed_reason(session.close_code, session.close_reason)] += 1
        if state is State.CLOSING:
            self.schedule_expiry(session, self.loop.time() + self.settings.session_expiry)
        elif state is State.CLOSED:
            self.remove(session)
        if old not in ENDED:  # closing to closed is the same end
            for observer in self.on_open if state is State.OPEN else self.on_closing:
                observer(session)

    def schedule_expiry(self, session: "BaseSession", when: float) -> None:
        """Call ``session.check_expiry`` at ``when``, or up to ``session_check_interval`` later, a second at most;
        earlier if an earlier call is scheduled.

        :param when: seconds, in the event loop's time.
        """
        if self._expiry_deadlines.add(session, when) and self._expiry_timer is not None:
            self._expiry_timer.reset()

    def schedule_timer(self, session: "BaseSession", when: float) -> None:
        """Call ``session.on_timer`` at ``when``, or earlier if an earlier call is scheduled.

        :param when: seconds, in the event loop's time.
        """
        if self._timer_deadlines.add(session, when) and self._deadline_timer is not None:
            self._deadline_timer.reset()

    def schedule_flush(self) -> None:
        """Flush the :attr:`unflushed` sessions when all that is ready now was handled: what is sent to one until then
        is one batch.
        """
        self.poller.call_at_end(self._flush)

    def _flush(self) -> None:
        sessions, self.unflushed = self.unflushed, []  # now, so that what the flushes queue schedules another one
        flush_all(sessions, self.time())

    # -- To all sessions -----------------------------------------------------------------------------------------

    def broadcast(self, message: Any, exclude: "Collection[SocketConnection]" = ()) -> None:
        """Send a message to every open connection but those in ``exclude``, then to those of the other processes.

        :raises EncodeError: the message can't be sent; then nobody gets it.
        """
        self.handover.publish(self._everybody(), encode(message, self.settings.json), sessions_of(exclude))

    def _everybody(self) -> Receivers:
        return Receivers(lambda: self.open_sessions, self.relay)

    def deliver(self, frames: str) -> None:
        """Send frames that came over the bus to every open connection of this process."""
        fan_out(payload_of(frames), self.open_sessions)

    # -- Start and stop ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.loop = self._given_loop or asyncio.get_running_loop()
        self.time = time_of(self.loop)
        self.unchecked_size = _unchecked_size(self.settings)  # which the router may have replaced
        self.poller = poller_of(self.loop)
        self.handover.set_loop(self.loop)
        self.handover.loop_runs = True
        clock: Clock = self.loop
        self._deadline_timer = DeadlineTimer(clock, self._timer_deadlines)
        slack = min(self.settings.session_check_interval, _MAX_EXPIRY_SLACK)
        self._expiry_timer = DeadlineTimer(clock, self._expiry_deadlines, slack)
        if self.relay is not None:
            self.relay.start()

    def read_clock(self) -> None:
        """Keep the event loop's ``time`` anew: a test has replaced it."""
        if not self._sessions:
            return  # it is read when the first one is created
        self.time = time_of(self.loop)

    def _stop(self) -> None:
        for timer in (self._deadline_timer, self._expiry_timer):
            if timer is not None:
                timer.stop()
        self._check_idle()

    def _check_idle(self) -> None:
        if self._idle is not None and not self._sessions and not self.tasks.running_handlers:
            self._idle.set()

    async def drain(self, timeout: float, linger: float = GRACE_SECONDS) -> None:
        """Refuse new sessions, close all, wait until what is queued was delivered and every ``on_close`` has run.

        :param timeout: seconds; then sessions that remain are aborted, and handlers that still run are cancelled.
        :param linger: seconds for clients to close their connections, after that.
        """
        self.handover.catch_up()  # what other threads have sent is delivered
        self.draining = True
        for session in self:
            session.close(*SHUTDOWN)
        if not await self._wait_idle(timeout):
            logger.warning(
                "shutting down: %d sessions and %d handlers were not done in time",
                len(self),
                self.tasks.running_handlers,
            )
            for session in self:
                session.abort(*SHUTDOWN)
            self.tasks.cancel()
        await asyncio.gather(self.tasks.wait(), self.lingering.wait_closed(linger))
        self.handover.close()
        self._is_drained = True

    def close_now(self) -> int:
        """Close all sessions in this moment: write what the kernel accepts of what is queued, and run each ``on_close``
        as far as it comes without waiting, beside a handler that is at work. One that waits already, as its session has
        ended before, goes no further. The process is about to be replaced.

        :returns: how many ``on_close`` had to wait, and went no further.
        """
        self.handover.catch_up()
        self.draining = self.tasks.is_last_moment = True
        for session in self:
            session.close(*SHUTDOWN)
        return self.tasks.cut_off

    def reopen(self) -> bool:
        """Accept sessions again, if :meth:`drain` has ended: the router has a new server, on any event loop.

        :returns: whether that changed something.
        """
        if not self._is_drained:
            return False
        self.draining = self._is_drained = False
        self._idle = None  # an asyncio.Event belongs to the event loop on which it was waited for
        self.lingering = LingeringCloses()
        self.handover.reopen()
        return True

    async def _wait_idle(self, timeout: float) -> bool:
        self._idle = self._idle or asyncio.Event()
        self._check_idle()
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            return False
        return True


def shutting_down_error() -> RefusedError:
    """Return the error for a client of a server that is shutting down: 503, close code 1013 (try again later)."""
    return RefusedError(503, "this server is shutting down: connect again", label="shutdown")


def _unchecked_size(settings: Settings) -> int:
    # The shortest frame, "~m~0~m~", has seven bytes: too many payloads have more than a 32nd of the limit together.
    return settings.max_send_buffer >> 5


def _check_expiry(session: "BaseSession", now: float) -> float | None:
    return session.check_expiry(now)


def _on_timer(session: "BaseSession", now: float) -> float | None:
    return session.on_timer(now)
