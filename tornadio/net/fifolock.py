"""Who may run a connection's handlers: one at a time, in the order in which they asked."""

import asyncio
import collections

# Whether the turn has come: ``False`` where it never will.
Place = asyncio.Future[bool]


class FifoLock:
    """A lock that is handed on. asyncio's own is free for a moment between two holders; who then came without waiting
    would overtake those who wait.

    Handlers that are no coroutines need no turn of their own: nothing else runs beside them. They only have to see that
    it is taken by nobody.

    :ivar is_taken: whether somebody has it.
    """

    __slots__ = ("_waiting", "is_taken")

    def __init__(self) -> None:
        self.is_taken = False
        self._waiting: collections.deque[Place] | None = None  # rarely needed, and not small

    def take(self) -> Place | None:
        """Take the turn, or a place in the queue: a future of the turn. Either is to be given back."""
        if not self.is_taken:
            self.is_taken = True
            return None
        if self._waiting is None:
            self._waiting = collections.deque()
        place: Place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        return place

    def dismiss(self) -> None:
        """Send away all who wait: their turn never comes. Who asks from now on waits for the one who has it alone."""
        waiting, self._waiting = self._waiting, None
        for place in waiting or ():
            if not place.done():
                place.set_result(False)

    def give_back(self, place: Place | None) -> None:
        """What :meth:`take` gave is not needed any more: the next one's turn, if this was one."""
        if place is not None and (not place.done() or place.cancelled() or not place.result()):
            place.cancel()
            return
        while self._waiting:
            next_place = self._waiting.popleft()
            if not next_place.done():
                next_place.set_result(True)
                return
        self.is_taken = False
        self._waiting = None
