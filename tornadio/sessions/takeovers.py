"""Polls that a newer poll of their session has replaced: when each of them is answered."""

import asyncio
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tornadio.sessions.channel import Channel

# Replaced polls of one session that wait for their deadlines. A browser has six connections a host: one that keeps so
# many polls under way can't send any more.
_MAX_WAITING: Final = 4


class ReplacedPolls:
    """The replaced polls of one session.

    They are answered with an empty payload, since the official 0.6 client takes any other status than 200 for the
    session's end. A client that has changed networks leaves one such poll behind, which is answered at once. Two
    clients that poll one session, as two loops of the official client do after ``disconnect(); connect()`` over
    jsonp-polling, would replace each other's polls without end, as fast as the network allows. So a poll that is
    replaced within ``interval`` of the last one that was answered at once waits for its own deadline.

    :param interval: seconds.
    """

    __slots__ = ("_interval", "_last", "_waiting")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last = -math.inf  # when one was answered at once
        self._waiting: dict[Channel, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """The number of replaced polls that wait."""
        return len(self._waiting)

    def add(self, poll: "Channel", deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        """Answer a poll that was replaced, at once or at its deadline. Of too many that wait, the oldest is refused.

        :param deadline: when the poll would have been answered without a payload, in the event loop's time.
        """
        now = loop.time()
        if now - self._last >= self._interval:
            self._last = now
            poll.close(1000, "")
            return
        if len(self._waiting) == _MAX_WAITING:
            oldest = next(iter(self._waiting))
            self.discard(oldest)
            oldest.replaced()
        self._waiting[poll] = loop.call_at(deadline, self._answer, poll)

    def _answer(self, poll: "Channel") -> None:
        del self._waiting[poll]
        poll.close(1000, "")

    def discard(self, poll: "Channel") -> None:
        """Forget a poll whose client has disconnected. One that does not wait changes nothing."""
        timer = self._waiting.pop(poll, None)
        if timer is not None:
            timer.cancel()

    def answer_all(self) -> None:
        """Answer those that wait: the session has ended."""
        for poll in tuple(self._waiting):
            self.discard(poll)
            poll.close(1000, "")
