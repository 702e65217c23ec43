"""Heartbeat timing of one connection. Knows no I/O and no clock: times are arguments.

Clients of Socket.IO 0.6 echo every heartbeat. The official one disconnects after 15 seconds in which it received
nothing (see docs/compatibility.rst).
"""


class Heartbeat:
    """When the next heartbeat of one connection is due, and whether its client has timed out.

    :param interval: seconds without bytes, in one direction or the other, after which a heartbeat is due.
    :param timeout: seconds from the first unanswered heartbeat on, in which the peer may send nothing at all.
    :param now: the time in seconds, as in all methods; only differences count.
    :ivar last_sent: when bytes were last sent to the peer.
    :ivar round_trip: seconds from the last heartbeat that the peer has echoed to the echo; ``None`` before the first.
    """

    __slots__ = (
        "_count",
        "_echoed",
        "_interval",
        "_last_heartbeat",
        "_last_received",
        "_timeout",
        "_unanswered_since",
        "last_sent",
        "round_trip",
    )

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self.last_sent = self._last_received = self._last_heartbeat = now
        self._unanswered_since: float | None = None
        self._count = self._echoed = 0
        self.round_trip: float | None = None

    def received(self, now: float) -> None:
        """Note that bytes came from the peer: whatever they are, they prove that the peer is alive."""
        # Not the echo alone: some clients in use echo a heartbeat only if it is alone in its WebSocket message, and
        # some never do.
        self._last_received = now
        self._unanswered_since = None

    def echo_received(self, number: str, now: float) -> float | None:
        """Note that the peer has sent a heartbeat.

        :param number: of the heartbeat, as the peer has sent it.
        :returns: seconds since the last heartbeat was sent, if this is the first echo of it; else ``None``.
        """
        if self._echoed == self._count or number != str(self._count):
            return None
        self._echoed = self._count
        self.round_trip = now - self._last_heartbeat
        return self.round_trip

    def restart_timeout(self, now: float) -> None:
        """Restart the timeout, if it is running: reading was paused, so an echo may be waiting unread."""
        if self._unanswered_since is not None:
            self._unanswered_since = now

    def next_deadline(self) -> float:
        """The time of the next heartbeat, or of the end of the timeout, whichever is first.

        Silence in one direction is enough: a peer that died while a lot is sent to it must be found, too.
        """
        deadline = max(self._last_heartbeat, min(self.last_sent, self._last_received)) + self._interval
        if self._unanswered_since is None:
            return deadline
        return min(deadline, self._unanswered_since + self._timeout)

    def has_timed_out(self, now: float) -> bool:
        """Whether the peer has left heartbeats unanswered for the timeout."""
        return self._unanswered_since is not None and now >= self._unanswered_since + self._timeout

    def record_sent(self, now: float) -> int:
        """Note that a heartbeat is sent.

        :returns: its number, from 1 on.
        """
        self._last_heartbeat = now
        if self._unanswered_since is None:
            self._unanswered_since = now
        self._count += 1
        return self._count
