"""What a session has still to send. Knows no I/O: payloads in, batches out, and what became of each batch.

One batch at a time is in flight, and it stays here until the socket has taken its bytes: so this is the one place where
unsent data is counted, and what a dead connection did not take goes back to the front.
"""

from collections.abc import Callable
from typing import Final

_MAX_KEPT: Final = 1 << 16  # UTF-8 bytes of a run of payloads that is kept for the next receiver of the same


class Payload:
    """Frames on their way to one client or to many: what is made of them for a transport is made once.

    :ivar size: their UTF-8 bytes.
    """

    __slots__ = ("_data", "_encode", "_others", "_text", "size")

    def __init__(self, text: str) -> None:
        # A single emoji makes a str four times as large as its UTF-8 bytes, which are what max_send_buffer counts.
        self._text = text if text.isascii() else text.encode("utf-8")
        self.size = len(self._text)
        self._encode: Callable[[str], bytes] | None = None
        self._data = b""
        self._others: dict[Callable[[str], bytes], bytes] | None = None  # rarely are there two kinds of receivers

    @property
    def text(self) -> str:
        """The frames."""
        return self._text if isinstance(self._text, str) else self._text.decode("utf-8")

    def encoded(self, encode: Callable[[str], bytes]) -> bytes:
        """The text as ``encode`` has it for a transport: a pure function."""
        if encode is self._encode:
            return self._data
        if self._encode is None:
            self._encode, self._data = encode, encode(self.text)
            return self._data
        if self._others is None:
            self._others = {}
        data = self._others.get(encode)
        if data is None:
            data = self._others[encode] = encode(self.text)
        return data


class Outbox:
    """A queue of payloads.

    :ivar size: UTF-8 bytes queued and in flight.
    :ivar first: the payload that goes next, ``None`` where none is queued.
    """

    __slots__ = ("_in_flight", "_rest", "first", "size")

    def __init__(self) -> None:
        self.size = 0
        self.first: Payload | None = None
        self._rest: list[Payload] | None = None  # mostly there is one: a list for it would be made for each receiver
        self._in_flight: Payload | None = None

    def put(self, payload: Payload) -> None:
        """Queue a payload."""
        self.size += payload.size
        if self.first is None:
            self.first = payload
        elif self._rest is None:
            self._rest = [payload]
        else:
            self._rest.append(payload)

    def take(self, limit: int) -> Payload:
        """Payloads from the front, together, of at most ``limit`` bytes, or one that is larger: now they are in flight.

        There has to be a :attr:`first`.
        """
        first, rest = self.first, self._rest
        assert first is not None
        if rest is None:
            self.first = None
            self._in_flight = first
            return first
        count = len(rest)
        if self.size > limit:
            size, count = first.size, 0
            while count < len(rest) and size + rest[count].size <= limit:
                size += rest[count].size
                count += 1
        self._in_flight = _joined([first, *rest[:count]])
        self._queue(rest[count:])
        return self._in_flight

    def _queue(self, payloads: list[Payload]) -> None:
        """These are what is queued."""
        self.first = payloads[0] if payloads else None
        self._rest = payloads[1:] or None

    def delivered(self) -> None:
        """The socket has taken the batch in flight, if there is one."""
        if self._in_flight is not None:
            self.size -= self._in_flight.size
            self._in_flight = None

    def take_back(self) -> None:
        """The batch in flight, if there is one, has not arrived: it is the first to go again."""
        if self._in_flight is not None:
            queued = [] if self.first is None else [self.first, *(self._rest or ())]
            self._queue([self._in_flight, *queued])
            self._in_flight = None

    def clear(self) -> None:
        """Nobody will come for it."""
        self.first = self._rest = self._in_flight = None
        self.size = 0


_last_joined: tuple[list[Payload], Payload] = ([], Payload(""))


def _joined(payloads: list[Payload]) -> Payload:
    """Several payloads as one. Those of a few broadcasts in one turn are the same ones for every receiver."""
    global _last_joined
    if len(payloads) == 1:
        return payloads[0]
    parts, together = _last_joined
    if payloads == parts:  # by identity
        return together
    together = Payload("".join([payload.text for payload in payloads]))
    if together.size <= _MAX_KEPT:
        _last_joined = payloads, together
    return together
