"""How long a client waits before it connects again: exponential backoff with full jitter. Knows no I/O."""

import random
from collections.abc import Callable


class Backoff:
    """The waits between attempts to connect.

    Each is random between 0 and a bound that doubles from ``min_delay`` to ``max_delay`` ("full jitter"): when a server
    with thousands of clients restarts, they must not come back all at once.

    :param min_delay: seconds, the first bound.
    :param max_delay: seconds, the last bound.
    :param uniform: returns a random number between its arguments.
    """

    def __init__(
        self, min_delay: float, max_delay: float, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._min_delay = min_delay
        self._max_delay = max_delay
        self._uniform = uniform
        self._bound = min_delay

    def next(self, lasted: float = 0.0) -> float:
        """Return the seconds to wait now.

        :param lasted: seconds that the connection stood which has ended; 0 if none could be opened. One that stood for
            longer than the bound begins anew. One that a server closes at once must not: it would be opened and closed
            without end.
        """
        if lasted > self._bound:
            self._bound = self._min_delay
        delay = self._uniform(0.0, self._bound)
        self._bound = min(self._max_delay, 2 * self._bound)
        return delay
