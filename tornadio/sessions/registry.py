"""The sessions of one router, with what they share: the event loop, the timers, the end of the turn."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from tornadio.errors import RefusedError
from tornadio.logs import get_logger
from tornadio.net.addresses import is_internal, network_of
from tornadio.net.linger import LingeringCloses
from tornadio.net.tasks import Tasks
from tornadio.net.timers import Clock, Deadlines, DeadlineTimer, Periodic
from tornadio.sessions.fanout import fan_out, publish
from tornadio.sessions.state import ENDED, State
from tornadio.settings import Settings

if TYPE_CHECKING:
    from tornadio.cluster.relay import Relay
    from tornadio.conn import SocketConnection
    from tornadio.sessions.base import Session

logger = get_logger("tornadio.sessions.base")
get_logger("tornadio.net.timers")  # whose module is pure, and leaves the limits of its lines to those who give it items

# Where max_sessions_per_address is not set, an address of the Internet may have this part of max_sessions, or so many.
_SHARE = 10
_MIN_SHARE = 100
# At shutdown, for peers to read their last frames.
_GRACE_SECONDS = 1.0


S = TypeVar("S", bound="Session")


class SessionRegistry:
    """The sessions of one router, with what they share: the loop, the timers, the end of the turn.

    Its timers run while it holds a session.

    :param settings: the router's.
    :param loop: the event loop; ``None`` for the one that runs when the first session is made. Tests give one whose
        time they move.
    :ivar time: the loop's time, in seconds.
    :ivar relay: to the other processes, if there is a bus.
    :ivar on_open: called in this order with each session that becomes open, once.
    :ivar on_closing: called in this order with each session at the beginning of its end, once: it is closing, or closed
        already, was open or not, and its ``on_close`` has not begun.
    """

    loop: "asyncio.AbstractEventLoop"
    time: "Callable[[], float]"

    def __init__(self, settings: Settings, loop: "asyncio.AbstractEventLoop | None" = None) -> None:
        self.settings = settings
        self.draining = False
        self.relay: Relay | None = None
        self.on_open: list[Callable[[Session], None]] = []
        self.on_closing: list[Callable[[Session], None]] = []
        self._given_loop = loop
        self._sessions: dict[str, Session] = {}
        self._leaving: set[Session] = set()  # closed, but handlers of theirs are still at work: they count, too
        self._counts: dict[str, int] = {}  # of sessions, by what their clients' addresses count as
        self._open: dict[Session, None] = {}
        self._unflushed: list[Session] = []
        self.tasks = Tasks(self._check_emptied)
        self.lingering = LingeringCloses()
        self._emptied: asyncio.Event | None = None
        self._expiry = Deadlines["Session"](_expired)
        self._timers = Deadlines["Session"](_on_timer)
        self._checks: Periodic | None = None
        self._alarm: DeadlineTimer | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> "Iterator[Session]":
        return iter(tuple(self._sessions.values()))

    @property
    def open_sessions(self) -> "tuple[Session, ...]":
        """Those whose ``on_open`` has returned and that are not closed, oldest first."""
        return tuple(self._open)

    def create(self, session_class: type[S], connection: "SocketConnection", transport: str, address: str = "") -> S:
        """A new session with an id of 128 random bits, behind the setting ``node``.

        :param address: the client's, see :func:`tornadio.web.peers.counted_address`.
        :raises RefusedError: 503 while the server shuts down, or when there are ``max_sessions``; 429 when the address
            has ``max_sessions_per_address``.
        """
        counted_as = self.check_room(address)
        if not self._sessions:
            self._start()
        session_id = self.settings.node + secrets.token_hex(16)
        try:
            session = session_class(session_id, connection, transport, self)
        except BaseException:
            if not self._sessions:
                self._stop()
            raise
        self._sessions[session_id] = session
        if counted_as:
            session.counted_as = counted_as
            self._counts[counted_as] = self._counts.get(counted_as, 0) + 1
        return session

    def check_room(self, address: str = "") -> str:
        """See whether there is room for a client.

        :param address: as for :meth:`create`.
        :returns: what the address counts as, empty where it is not limited.
        :raises RefusedError: where :meth:`create` would.
        """
        if self.draining:
            raise RefusedError(503, "this server is shutting down: connect again")
        if len(self._sessions) + len(self._leaving) >= self.settings.max_sessions:
            logger.warning("refused a client: there are max_sessions (%d) already", self.settings.max_sessions)
            raise RefusedError(503, "too many sessions: try again later")
        limit = self.settings.max_sessions_per_address
        if not address or (limit is None and is_internal(address)):
            return ""
        if limit is None:
            limit = max(self.settings.max_sessions // _SHARE, _MIN_SHARE)
        counted_as = network_of(address)
        if self._counts.get(counted_as, 0) >= limit:
            logger.warning("refused a client: %s has max_sessions_per_address (%d) already", counted_as, limit)
            raise RefusedError(429, "too many sessions from your address: close some, or try again later")
        return counted_as

    def get(self, session_id: str, transport: str) -> "Session | None":
        """The session of that id, if it is one of that transport."""
        session = self._sessions.get(session_id)
        return session if session is not None and session.transport == transport else None

    def remove(self, session: "Session") -> None:
        """Forget a session. Timers stop with the last one."""
        self._expiry.discard(session)
        self._timers.discard(session)
        if self._sessions.pop(session.session_id, None) is None:
            return
        if session.has_left or session.state is not State.CLOSED:
            self._discount(session.counted_as)
        else:
            self._leaving.add(session)
        if not self._sessions:
            self._stop()

    def left(self, session: "Session") -> None:
        """The last handler of a session that is closing, or closed, has ended: ``on_close``."""
        if session in self._leaving:
            self._leaving.discard(session)
            self._discount(session.counted_as)

    def _discount(self, counted_as: str) -> None:
        if not counted_as:
            return
        left = self._counts[counted_as] - 1
        if left:
            self._counts[counted_as] = left
        else:
            del self._counts[counted_as]

    def expire(self, current_time: float | None = None) -> None:
        """End the sessions that have outlived their clients.

        :param current_time: seconds, in the loop's time; ``None`` for now.
        """
        now = self.loop.time() if current_time is None else current_time
        while self._expiry.run(now):
            pass

    def _check_expiry(self) -> None:
        """As :meth:`expire`, with turns for others between some hundreds."""
        if self._expiry.run(self.loop.time()):
            self.loop.call_soon(self._check_expiry)

    # -- What sessions ask for -----------------------------------------------------------------------------------

    def state_changed(self, session: "Session", old: State) -> None:
        """A session has changed its state."""
        state = session.state
        if state is State.OPEN:
            self._open[session] = None
        elif old is State.OPEN:
            del self._open[session]
        if state is State.CLOSING:
            self.expire_at(session, self.loop.time() + self.settings.session_expiry)
        elif state is State.CLOSED:
            self.remove(session)
        if old not in ENDED:
            for observer in self.on_open if state is State.OPEN else self.on_closing:
                observer(session)

    def expire_at(self, session: "Session", when: float) -> None:
        """Ask ``session.expired`` at ``when``, or at the first check after it."""
        self._expiry.add(session, when)

    def watch(self, session: "Session", when: float) -> None:
        """Call ``session.on_timer`` at ``when``."""
        self._timers.add(session, when)
        if self._alarm is not None:
            self._alarm.reset()

    def flush_soon(self, session: "Session") -> None:
        """Flush a session at the end of this turn: all that is sent to it in one turn travels together."""
        if not self._unflushed:
            self.loop.call_soon(self._flush)
        self._unflushed.append(session)

    def _flush(self) -> None:
        sessions, self._unflushed = self._unflushed, []
        for session in sessions:
            try:
                session.flush()
            except Exception:
                logger.exception("%s: can't be written to", session)
                session.abort(1011)

    # -- Start and stop ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.loop = self._given_loop or asyncio.get_running_loop()
        self.time = self.loop.time
        clock: Clock = self.loop
        self._alarm = DeadlineTimer(clock, self._timers)
        self._checks = Periodic(clock, self._check_expiry, self.settings.session_check_interval)
        self._checks.start()
        if self.relay is not None:
            self.relay.start()

    def _stop(self) -> None:
        for timer in (self._alarm, self._checks):
            if timer is not None:
                timer.stop()
        self._check_emptied()

    def _check_emptied(self) -> None:
        if self._emptied is not None and not self._sessions and not self.tasks.at_work:
            self._emptied.set()

    def broadcast(self, message: Any, exclude: "Collection[SocketConnection]" = ()) -> None:
        """Send a message to every open connection but those in ``exclude``, then to the bus. It is encoded once.

        :raises EncodeError: the message can't be sent; then nobody gets it.
        """
        publish(message, self.open_sessions, exclude, self.relay)

    def deliver(self, frames: str) -> None:
        """Send frames that came over the bus to every open connection of this process."""
        fan_out(frames, self.open_sessions)

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
                session.abort(1001, "the server is shutting down")
            self.tasks.cancel()
        await asyncio.gather(self.tasks.wait(), self.lingering.wait(_GRACE_SECONDS))

    async def _wait_empty(self, timeout: float) -> bool:
        self._emptied = self._emptied or asyncio.Event()
        self._check_emptied()
        try:
            await asyncio.wait_for(self._emptied.wait(), timeout)
        except TimeoutError:
            return False
        return True


def _expired(session: "Session", now: float) -> float | None:
    return session.expired(now)


def _on_timer(session: "Session", now: float) -> float | None:
    return session.on_timer(now)
