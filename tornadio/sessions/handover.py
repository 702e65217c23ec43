"""Handover: carries out on the event loop what other threads send, close, broadcast, or do to groups.

Each router's registry has one :class:`Handover`, a FIFO queue of calls: so each thread's calls keep their order, over
connections, groups and broadcasts alike. Messages are encoded before they are handed over, in the thread that sends
them, which gets their errors.

A call on the loop's own thread is carried out at once, after the calls that were handed over before it.

There is no lock. A logging handler may send log lines to a client, with the handler's own lock held, and signal
handlers and destructors, which run in the middle of anything, log: then each of two threads would have one lock and
wait for the other. What threads share is changed by single operations of deque and dict, which are atomic, and by
``+=`` on an integer, between whose steps CPython switches no thread. Where it does (free threading), what waits is
counted less exactly.
"""

import asyncio
import collections
import contextvars
import functools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tornadio.logs import get_logger
from tornadio.sessions.fanout import Excluded, Receivers
from tornadio.sessions.outbox import Payload, max_payloads

if TYPE_CHECKING:
    from tornadio.sessions.base import BaseSession

logger = get_logger(__name__)

# Calls, and seconds, after which others get a turn of the event loop: a broadcast may be as much as thousands of sends.
_CALLS_PER_TURN: Final = 256
_SECONDS_PER_TURN: Final = 0.01
# Groups whose lost messages are noted each for itself; with more of them, every connection has lost some.
_MAX_LOSSES: Final = 1000


class _Waiting:
    """What waits for one session, or all that is broadcast: the limits of ``max_send_buffer`` are those of an outbox.

    :ivar size: bytes of payloads.
    :ivar calls: their number.
    :ivar is_full: whether a limit was exceeded; then a call that ends the session waits, and no other may follow.
    """

    __slots__ = ("calls", "is_full", "size")

    def __init__(self) -> None:
        self.size = 0
        self.calls = 0
        self.is_full = False


class _Broadcast:
    """A payload for many."""

    __slots__ = ("excluded", "payload", "receivers", "size")

    def __init__(self, receivers: Receivers, payload: Payload, excluded: Excluded) -> None:
        self.receivers = receivers
        self.payload = payload
        self.size = payload.size
        self.excluded = excluded

    def __call__(self) -> None:
        self.receivers.send(self.payload, self.excluded)


_Call = Payload | Callable[[], None]


class _Loss:
    """Dropped broadcasts to the same receivers: those that none of them excluded have lost a message."""

    __slots__ = ("dropped", "excluded", "receivers")

    def __init__(self, receivers: Receivers, excluded: Excluded) -> None:
        self.receivers = receivers
        self.excluded = excluded
        self.dropped = 0


class Handover:
    """The calls of other threads that wait for a router's event loop.

    :param everybody: returns all connections of the router.
    :param max_send_buffer: returns the setting, which may be replaced: bytes that may wait for one session, together
        with its send queue, and bytes of broadcasts that may wait.
    :ivar direct_thread: the thread in which the event loop was last seen to run; ``None`` while calls wait.
    :ivar loop_runs: whether the event loop was seen to run.
    """

    def __init__(self, everybody: Callable[[], Receivers], max_send_buffer: Callable[[], int]) -> None:
        self.direct_thread: int | None = None
        self.loop_runs = False
        self._everybody = everybody
        self._max_send_buffer = max_send_buffer
        self._loop: asyncio.AbstractEventLoop | None = None
        # Each with the session that it counts for, None for broadcasts, and what it was counted in.
        self._calls: collections.deque[tuple[BaseSession | None, _Waiting, _Call]] = collections.deque()
        self._waiting: dict[BaseSession | None, _Waiting] = {}
        self._losses: dict[str | None, _Loss] = {}  # by group
        self._is_scheduled = False
        self._is_carrying_out = False
        self._is_closed = False
        self._logged: dict[str, object] = {}
        # The calls of many threads share one callback, which runs in the context of none of them.
        self._context = contextvars.Context()

    # -- The event loop ------------------------------------------------------------------------------------------

    def set_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the router's event loop. What was handed over before is carried out there: at once, if it is running in
        this thread.
        """
        if loop is not self._loop:
            self._loop = loop
            self.direct_thread = None
            self._is_scheduled = False
            if not self.is_on_loop():
                self._wake()

    def is_on_loop(self) -> bool:
        """Whether the caller is on the event loop's thread, and may act at once. What was handed over before is then
        carried out first: the caller may have waited for the thread that did so (``await asyncio.to_thread(...)``).
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._loop is None:  # the first call: the sessions will be created on the same loop
            self.set_loop(running)
        if running is not self._loop:
            return False
        if self.direct_thread != threading.get_ident():
            self.catch_up()
        return True

    def catch_up(self) -> None:
        """Carry out the calls that wait now, on the event loop's thread.

        Not within such a call, which may log, and so call a logging handler that sends: what waits behind the call must
        not overtake the rest of it.
        """
        if self._is_carrying_out:
            return
        for _ in range(len(self._calls)):
            self._carry_out()
        self._settle()

    def _settle(self) -> bool:
        """Let later calls on this thread be carried out at once, unless others wait.

        :returns: whether others wait.
        """
        self.loop_runs = True
        self.direct_thread = threading.get_ident()
        if self._calls:  # looked at last: a thread puts its call here before it clears direct_thread
            self.direct_thread = None
            return True
        return False

    def close(self) -> None:
        """Carry out what waits. From now on calls of other threads do nothing."""
        self.catch_up()
        self._is_closed = True

    def reopen(self) -> None:
        """Accept calls of other threads again, from the next :meth:`set_loop` on."""
        self._loop = self.direct_thread = None
        self.loop_runs = self._is_scheduled = self._is_closed = False
        self._logged = {}

    # -- From any thread -----------------------------------------------------------------------------------------

    def is_open(self, session: "BaseSession") -> bool:
        """Whether a call for a session may still do something: not after its end, nor after the event loop's."""
        if self._has_ended():
            return False
        if session.is_closed:
            logger.debug("%s: a call after its end does nothing", session)
            return False
        return True

    def send(self, session: "BaseSession", payload: Payload) -> None:
        """Hand over a payload that is to be sent to a session."""
        self._put(session, payload, payload.size)

    def call(self, session: "BaseSession", function: Callable[[], None]) -> None:
        """Hand over any other call, which counts for a session."""
        self._put(session, function, 0)

    def _put(self, session: "BaseSession", call: "_Call", size: int) -> None:
        waiting = self._waiting_for(session)
        if waiting.is_full:
            return
        if session.exceeds_limit(waiting.size + size, waiting.calls + 1):
            waiting.is_full = True
            call = session.abort_too_slow
        else:
            waiting.size += size
        self._append(session, waiting, call)
        self._wake()

    def _waiting_for(self, session: "BaseSession | None") -> _Waiting:
        return self._waiting.get(session) or self._waiting.setdefault(session, _Waiting())

    def publish(self, receivers: Receivers, payload: Payload, excluded: Excluded) -> None:
        """Send a payload to many: on the event loop's thread at once, else by handing it over."""
        if not payload.size:
            return
        if self.is_on_loop():
            receivers.send(payload, excluded)
            return
        # Before the event loop is known, nobody has connected to this process.
        if self._has_ended() or (self._loop is None and receivers.relay is None):
            return
        waiting = self._waiting_for(None)
        size, max_size = waiting.size + payload.size, self._max_send_buffer()
        if self._losses or size > max_size or waiting.calls + 1 > max_payloads(max_size):
            self._drop(receivers, excluded)
        else:
            waiting.size += payload.size
            self._append(None, waiting, _Broadcast(receivers, payload, excluded))
        self._wake()

    def _drop(self, receivers: Receivers, excluded: Excluded) -> None:
        """Drop a broadcast, and hand over the end of the sessions that would have got it."""
        group = receivers.group
        if group not in self._losses and len(self._losses) >= _MAX_LOSSES:
            group, receivers, excluded = None, self._everybody(), frozenset()
        noted = None
        # Again, where the event loop has taken the loss, and may have read it, before this message was noted there.
        while noted is None or self._losses.get(group) is not noted:
            new = _Loss(receivers, excluded)
            noted = self._losses.setdefault(group, new)
            noted.excluded &= excluded
            noted.dropped += 1
            if noted is new:
                self._append(None, self._waiting_for(None), functools.partial(self._abort_receivers, group))
                return

    def _append(self, session: "BaseSession | None", waiting: _Waiting, call: "_Call") -> None:
        waiting.calls += 1
        self._calls.append((session, waiting, call))
        self.direct_thread = None

    def _wake(self) -> None:
        """Have the event loop carry out what waits, unless it will do so already."""
        loop = self._loop
        if loop is None:
            return
        if self.loop_runs and not loop.is_running() and not loop.is_closed():
            self._log_once(
                "the event loop does not run: what other threads send, close or broadcast waits until it does"
            )
        if self._is_scheduled or not self._calls:
            return
        self._is_scheduled = True  # two threads may do so: the second callback finds less to do
        try:
            loop.call_soon_threadsafe(self._run, context=self._context)
        except RuntimeError:  # it was closed meanwhile
            self._is_scheduled = False
            if not self._has_ended() and self._loop is not loop:
                self._wake()

    def _has_ended(self) -> bool:
        """Whether the event loop has ended or the server was shut down; the first time, log it."""
        loop = self._loop
        if not self._is_closed and (loop is None or not loop.is_closed()):
            return False
        self._calls.clear()
        self._waiting.clear()
        self._losses.clear()
        self._log_once(
            "the event loop has ended, or the server was shut down: what other threads send, close or broadcast now is "
            "dropped; stop those threads before"
        )
        return True

    def _log_once(self, line: str) -> None:
        own = object()
        if self._logged.setdefault(line, own) is own:
            logger.warning(line)

    # -- On the event loop ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Carry out some calls; the rest in the loop's next iteration."""
        deadline = time.monotonic() + _SECONDS_PER_TURN
        try:
            for _ in range(_CALLS_PER_TURN):
                if not self._carry_out() or time.monotonic() > deadline:
                    break
        finally:
            self._is_scheduled = False  # before _calls is looked at: a thread puts its call there, then looks at this
            if self._settle():
                self._is_scheduled = True
                asyncio.get_running_loop().call_soon(self._run, context=self._context)

    def _carry_out(self) -> bool:
        """Carry out the next call, if there is one.

        :returns: whether there was one.
        """
        # Before the call is taken: a signal handler that sends then would carry out later calls before it.
        self._is_carrying_out = True
        try:
            try:
                session, waiting, call = self._calls.popleft()
            except IndexError:
                return False
            if isinstance(call, (Payload, _Broadcast)):
                waiting.size -= call.size
            waiting.calls -= 1
            if not waiting.calls and self._waiting.get(session) is waiting:
                self._waiting.pop(session, None)
            try:
                if isinstance(call, Payload):
                    assert session is not None
                    session.send(call)
                else:
                    call()
            except Exception:
                logger.exception("%s: a call of another thread failed", session or "broadcast")
        finally:
            self._is_carrying_out = False
        return True

    def _abort_receivers(self, group: str | None) -> None:
        loss = self._losses.pop(group, None)
        if loss is None:
            return
        abort = functools.partial(loss.receivers.abort, loss.excluded)
        if group is not None and loss.dropped > 1:
            # Members that were added behind this call may have lost the later ones of those messages.
            self._append(None, self._waiting_for(None), functools.partial(abort, 0))
        abort(loss.dropped)
