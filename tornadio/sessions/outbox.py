"""What a session has still to send. Knows no I/O: payloads in, batches out, and what became of each batch.

One batch at a time is in flight, and it stays here until the socket has taken its bytes: so this is the one place where
unsent data is counted, and what a dead connection did not take goes back to the front.
"""

import collections
from collections.abc import Callable
from typing import Final

_MAX_KEPT: Final = 1 << 16  # UTF-8 bytes of a run of payloads that is kept for the next receiver of the same
# Encodings of a payload that are kept besides the first one: there are two WebSocket framings, and two formats of
# streams, each chunked or not. Functions made anew for each call would leave a copy behind each time.
_MAX_OTHERS: Final = 5
# Bytes that a payload takes besides its text, measured: the object, the header of its text, a place in the queue.
OVERHEAD: Final = 128


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
            text = self._text
            self._encode, self._data = encode, encode(text if isinstance(text, str) else text.decode("utf-8"))
            return self._data
        if self._others is None:
            self._others = {}
        data = self._others.get(encode)
        if data is None:
            data = encode(self.text)
            if len(self._others) < _MAX_OTHERS:
                self._others[encode] = data
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
        self._rest: collections.deque[Payload] | None = None  # rarely needed, and not small
        self._in_flight: Payload | None = None

    def __len__(self) -> int:
        """How many payloads are queued."""
        return (self.first is not None) + len(self._rest or ())

    def put(self, payload: Payload) -> None:
        """Queue a payload."""
        self.size += payload.size
        if self.first is None:
            self.first = payload
        elif self._rest is None:
            self._rest = collections.deque((payload,))
        else:
            self._rest.append(payload)

    def take(self, limit: int) -> Payload:
        """Payloads from the front, together, of at most ``limit`` bytes, or one that is larger: now they are in flight.

        There has to be a :attr:`first`.
        """
        first, rest = self.first, self._rest
        assert first is not None
        self.first = None
        if rest is None:
            self._in_flight = first
            return first
        if self.size <= limit:
            self._rest = None
            self._in_flight = _joined([first, *rest])
            return self._in_flight
        batch, size = [first], first.size
        while rest and size + rest[0].size <= limit:
            size += rest[0].size
            batch.append(rest.popleft())
        if rest:
            self.first = rest.popleft()
        if not rest:
            self._rest = None
        self._in_flight = _joined(batch)
        return self._in_flight

    def delivered(self) -> None:
        """The socket has taken the batch in flight, if there is one."""
        if self._in_flight is not None:
            self.size -= self._in_flight.size
            self._in_flight = None

    def take_back(self) -> None:
        """The batch in flight, if there is one, has not arrived: it is the first to go again."""
        if self._in_flight is not None:
            if self.first is not None:
                self._rest = self._rest or collections.deque()
                self._rest.appendleft(self.first)
            self.first, self._in_flight = self._in_flight, None

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
    together = Payload(_text_of(payloads))
    if together.size <= _MAX_KEPT:
        _last_joined = payloads, together
    return together


def _text_of(payloads: list[Payload]) -> str:
    try:
        return "".join([payload._text for payload in payloads])  # type: ignore[misc]
    except TypeError:  # some are kept as bytes
        return "".join([payload.text for payload in payloads])
