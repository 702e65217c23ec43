"""Measures the delay of a bus: a process sends itself a message, and sees when it is back. Knows no I/O and no clock:
times are arguments.
"""

from typing import Final

from tornadio.cluster.bus import channel_name
from tornadio.histograms import Recorder

# Seconds between two messages, and until one that did not come back counts as lost. A hundred processes send twenty
# messages a second.
INTERVAL: Final = 5.0


class Probe:
    """The messages of one process to itself, on a channel of its own: no other process has to read them.

    :param resource: the router's.
    :param publisher: the id of this process.
    :ivar channel: of the bus.
    :ivar delay: from sending to receiving, in seconds.
    :ivar is_up: whether the last message has come back; ``None`` before the end of the first one's time.
    :ivar is_queued: whether the last message waits to be published, or is being published.
    """

    def __init__(self, resource: str, publisher: str) -> None:
        self.channel = f"{channel_name(resource)}:delay:{publisher}"
        self.delay = Recorder()
        self.is_up: bool | None = None
        self.is_queued = False
        self._number = 0
        self._sent = 0.0
        self._is_awaited = False

    def next(self, now: float) -> bytes | None:
        """Return the message that is to be sent now, ``None`` while the last one is still queued. The last one counts
        as lost, if it did not come back.

        :param now: seconds; only differences count.
        """
        if self._is_awaited:
            self.is_up = False
        if self.is_queued:
            return None
        self._number += 1
        self._sent, self._is_awaited, self.is_queued = now, True, True
        return b"%d" % self._number

    def reopen(self) -> None:
        """Begin again, with another bus: what was sent over the last one does not come back."""
        self.is_up = None
        self.is_queued = self._is_awaited = False

    def received(self, data: bytes, now: float) -> None:
        """Note that a message has come back. One that was given up before changes nothing."""
        if self._is_awaited and data == b"%d" % self._number:
            self._is_awaited = False
            self.is_up = True
            self.delay.observe(now - self._sent)
