"""What a router's sessions count: the integers of each session, and those of the sessions that have ended.

On a message's way only integers of its session and its payload are added up; whatever can be derived from them is
derived when it is asked for, in :meth:`Counters.transports` and :meth:`Counters.handlers`.
"""

import collections
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from tornadio.closecodes import CLOSED_REASONS
from tornadio.errors import MESSAGE, PeerError
from tornadio.histograms import BOUNDS, Recorder
from tornadio.sessions.state import State
from tornadio.stats import HandlerStats, Histogram, TransportStats

if TYPE_CHECKING:
    from tornadio.sessions.base import BaseSession

# Seconds up to which a call of on_message is not counted by itself: the first bucket holds those that remain.
FAST: Final = BOUNDS[0]


# Labels of tornadio.errors.PeerError, by which refused requests are counted.
REFUSED_REASONS: Final = (
    "application",
    "bad_request",
    "busy",
    "failed",
    "host",
    "max_sessions",
    "max_sessions_per_address",
    "method",
    "no_session",
    "open_timeout",
    "origin",
    "posts",
    "shutdown",
    "too_large",
    "transport",
    "websocket_version",
)


class Traffic:
    """One transport, and version of WebSocket, of one router: what its sessions that have ended have counted, and what
    is counted seldom.

    :ivar message_seconds: that calls of ``on_message`` took, coroutines' own time left out.
    :ivar heartbeats_in: frames from clients that were heartbeats.
    :ivar heartbeats_sent: to clients.
    :ivar first_frames: session ids, or what ``greeting`` returned, for clients.
    """

    __slots__ = (
        "_is_polled",
        "bytes_in",
        "bytes_out",
        "counters",
        "first_frames",
        "heartbeats_in",
        "heartbeats_sent",
        "message_seconds",
        "messages_in",
        "messages_out",
        "opened",
        "transport",
        "version",
    )

    def __init__(self, counters: "Counters", transport: str, version: str) -> None:
        self._is_polled = transport.endswith("-polling")
        self.counters = counters
        self.transport = transport
        self.version = version
        self.opened = 0
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0
        self.heartbeats_in = self.heartbeats_sent = self.first_frames = 0
        self.message_seconds = 0.0

    def session_ended(self, session: "BaseSession") -> None:
        """Add what a session has counted, which counts nothing any more."""
        self.messages_in += session.messages_in
        self.bytes_in += session.bytes_in
        self.messages_out += session.messages_out
        self.bytes_out += session.bytes_out

    def stats(self, sessions: "Collection[BaseSession]") -> TransportStats:
        """Return what was counted.

        :param sessions: those that have not ended.
        """
        messages_in = self.messages_in + sum([session.messages_in for session in sessions])
        is_open = State.OPEN  # an enum's member is looked up slowly
        messages_out = self.messages_out + sum([session.messages_out for session in sessions])
        return TransportStats(
            transport=self.transport,
            version=self.version,
            connections=len([session for session in sessions if session.state is is_open]),
            opened=self.opened,
            messages_in=messages_in,
            messages_out=messages_out,
            frames_in=messages_in + self.heartbeats_in,
            frames_out=messages_out + self.heartbeats_sent + self.first_frames,
            bytes_in=self.bytes_in + sum([session.bytes_in for session in sessions]),
            bytes_out=self.bytes_out + sum([session.bytes_out for session in sessions]),
            polls_waiting=len([session for session in sessions if session.is_polled]) if self._is_polled else 0,
            queued_bytes=sum([session.size for session in sessions]),
        )


class Counters:
    """What the sessions of one router count together.

    :ivar closed: sessions that were open and have ended, by reason.
    :ivar refused: requests that were refused, by reason.
    :ivar errors: exceptions of handlers, by the names of these.
    :ivar heartbeats_answered: heartbeats that clients have echoed.
    :ivar round_trips: seconds from a heartbeat to its echo.
    :ivar calls: of handlers, by their names; of ``on_message`` those that took longer than :data:`FAST`.
    :ivar awaited_calls: of ``on_message``, where it is a coroutine: when that has ended.
    :ivar awaited: how many of these have begun.
    """

    __slots__ = (
        "_traffic",
        "awaited",
        "awaited_calls",
        "calls",
        "closed",
        "errors",
        "heartbeats_answered",
        "refused",
        "round_trips",
    )

    def __init__(self) -> None:
        self._traffic: dict[tuple[str, str], Traffic] = {}
        # Zeros, too: a rate needs the value before the first one.
        self.closed = collections.Counter(dict.fromkeys(sorted(CLOSED_REASONS), 0))
        self.refused = collections.Counter(dict.fromkeys(REFUSED_REASONS, 0))
        self.errors: collections.Counter[str] = collections.Counter()
        self.heartbeats_answered = 0
        self.round_trips = Recorder()
        self.calls = {name: Recorder() for name in ("on_open", "greeting", "on_message", "on_close")}
        self.awaited_calls = Recorder()
        self.awaited = 0

    @property
    def heartbeats_sent(self) -> int:
        """Heartbeats to clients."""
        return sum(traffic.heartbeats_sent for traffic in list(self._traffic.values()))

    def traffic(self, transport: str, version: str) -> Traffic:
        """Return the counters of a transport, and version of WebSocket: the same object each time."""
        found = self._traffic.get((transport, version))
        if found is None:
            found = self._traffic[transport, version] = Traffic(self, transport, version)
        return found

    def count_refusal(self, error: PeerError) -> None:
        """Count a request that is answered with an error. A message that ``on_message`` failed on is none."""
        if error.label != MESSAGE:
            self.refused[error.label] += 1

    def transports(self, sessions: "Collection[BaseSession]") -> tuple[TransportStats, ...]:
        """Return what each transport has counted.

        :param sessions: those that have not ended.
        """
        grouped: dict[Traffic, list[BaseSession]] = {traffic: [] for traffic in list(self._traffic.values())}
        for session in sessions:
            grouped[session.traffic].append(session)
        return tuple(traffic.stats(group) for traffic, group in grouped.items())

    def handlers(self, messages_in: int) -> dict[str, HandlerStats]:
        """Return what was counted of the handlers' calls.

        :param messages_in: all messages for which ``on_message`` was called.
        """
        histograms = {name: calls.copy() for name, calls in self.calls.items()}
        histograms["on_message"] = self._message_calls(messages_in)
        return {name: HandlerStats(seconds=each, errors=self.errors[name]) for name, each in histograms.items()}

    def _message_calls(self, messages_in: int) -> Histogram:
        """Return the histogram of ``on_message``, whose first bucket holds the calls that nobody counted one by one."""
        slow = self.calls["on_message"]
        fast = messages_in - self.awaited - sum(slow.counts)
        together = slow.copy(self.awaited_calls)
        seconds = sum(traffic.message_seconds for traffic in list(self._traffic.values()))
        first, *others = together.counts
        return Histogram(BOUNDS, (first + max(fast, 0), *others), self.awaited_calls.sum + seconds)
