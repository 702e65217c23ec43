"""When a persistent connection is sent a heartbeat, and when it is given up. Knows no clock: times come from outside.

Socket.IO 0.6 clients echo every heartbeat, and disconnect after 15 seconds of silence.
"""


class Heartbeat:
    """One connection's.

    :param interval: seconds of silence, in one direction or the other, after which a heartbeat is due.
    :param timeout: seconds that a peer may send nothing at all, from the first unanswered heartbeat on.
    :param now: seconds, as in all methods; only differences count.
    :ivar last_sent: when something was sent to the peer last.
    """

    __slots__ = ("_beats", "_interval", "_last_beat", "_last_received", "_timeout", "_unanswered_since", "last_sent")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self.last_sent = self._last_received = self._last_beat = now
        self._unanswered_since: float | None = None
        self._beats = 0

    def received(self, now: float) -> None:
        """Something came from the peer: it lives."""
        self._last_received = now
        self._unanswered_since = None

    def excuse(self, now: float) -> None:
        """The peer could not be heard until now: the wait for its answer begins anew."""
        if self._unanswered_since is not None:
            self._unanswered_since = now

    def due(self) -> float:
        """When to look again: a heartbeat is due, or the wait for an answer is over.

        Silence in one direction is enough: a busy stream to a dead peer must be found, too.
        """
        due = max(self._last_beat, min(self.last_sent, self._last_received)) + self._interval
        return due if self._unanswered_since is None else min(due, self._unanswered_since + self._timeout)

    def is_given_up(self, now: float) -> bool:
        """Whether the peer has left heartbeats unanswered for too long."""
        return self._unanswered_since is not None and now >= self._unanswered_since + self._timeout

    def beat(self, now: float) -> int:
        """A heartbeat is sent: its number."""
        self._last_beat = now
        if self._unanswered_since is None:
            self._unanswered_since = now
        self._beats += 1
        return self._beats
