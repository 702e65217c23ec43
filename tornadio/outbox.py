"""What a session has still to send. Knows no I/O: payloads in, batches out, and what became of each batch.

One batch at a time is in flight, and it stays here until the socket has taken its bytes: so this is the one place where
unsent data is counted, and what a dead connection did not take goes back to the front.
"""


class Outbox:
    """A queue of payloads.

    :ivar size: UTF-8 bytes queued and in flight.
    """

    __slots__ = ("_in_flight", "_queue", "size")

    def __init__(self) -> None:
        self.size = 0
        self._queue: list[str] = []  # a deque would be 600 bytes of every idle connection
        self._in_flight: str | None = None

    def __bool__(self) -> bool:
        """Whether a payload waits that is not in flight."""
        return bool(self._queue)

    def put(self, payload: str) -> None:
        """Queue a payload."""
        self.size += utf8_size(payload)
        self._queue.append(payload)

    def take(self, enough: float) -> str:
        """Payloads from the front, together, until there are ``enough`` characters: now they are in flight."""
        length = count = 0
        for payload in self._queue:
            length += len(payload)
            count += 1
            if length >= enough:
                break
        self._in_flight = "".join(self._queue[:count])
        del self._queue[:count]
        return self._in_flight

    def delivered(self) -> None:
        """The socket has taken the batch in flight, if there is one."""
        if self._in_flight is not None:
            self.size -= utf8_size(self._in_flight)
            self._in_flight = None

    def take_back(self) -> None:
        """The batch in flight, if there is one, has not arrived: it is the first to go again."""
        if self._in_flight is not None:
            self._queue.insert(0, self._in_flight)
            self._in_flight = None

    def clear(self) -> None:
        """Nobody will come for it."""
        self._queue.clear()
        self._in_flight = None
        self.size = 0


def utf8_size(text: str) -> int:
    """UTF-8 bytes of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))
