"""The send queue of a session: payloads in, batches out, each acknowledged or requeued. Knows no I/O.

One batch at a time is in flight. It stays in the outbox until the kernel has accepted its bytes: so unsent data is
counted in one place, and the batch of a connection that ended meanwhile goes back to the front of the queue.
"""

import collections
from collections.abc import Callable
from typing import ClassVar, Final

# UTF-8 bytes of the last batch that was joined of several payloads, which is kept: small messages are what a fan-out
# joins, and a large batch would stay in memory for as long as no other one is joined.
_MAX_KEPT: Final = 1 << 16
# Encodings of a payload that are kept besides the first one: there are two WebSocket framings, one of them also with
# compression, which has three windows; and two formats of streams, each chunked or not. Functions made anew for each
# call would leave a copy behind each time.
_MAX_MORE_ENCODINGS: Final = 8
# Bytes that a payload takes besides its text, on CPython 3.11: the object (64), the header of its text (49), a place in
# the queue (8).
OVERHEAD: Final = 128
# Payloads that may be queued however small ``max_send_buffer`` is, besides one for each OVERHEAD bytes of that: an
# application that sends very small messages would else use many times ``max_send_buffer`` of memory.
_MIN_PAYLOADS: Final = 1000


# What a payload keeps before its first encoding: a key that no encoder is.
_NOT_ENCODED: Final[tuple[Callable[[bytes], bytes] | None, bytes]] = (None, b"")


class Payload:
    """Frames for one client or for many. Each encoding for a kind of transport is made once and kept.

    A payload may be read and encoded by several threads at once: routers on several event loops share the one that is
    kept of the last text that was sent (see :mod:`tornadio.conn`). No lock is needed: the first encoder and its bytes
    are stored, and read, as one tuple, so that a reader never gets one encoder's bytes for another's; the others are in
    a dict, whose operations are atomic. Threads that encode at the same time may do it twice, with the same result.

    :param text: the frames.
    :param messages: how many of the frames are messages.
    :cvar is_alone: whether it must not be joined with others to a batch.
    :ivar messages: as given.
    :ivar size: the frames' length in UTF-8 bytes.
    """

    __slots__ = ("_first_encoding", "_more_encodings", "_text", "messages", "size")

    is_alone: ClassVar[bool] = False

    def __init__(self, text: str, messages: int = 1) -> None:
        self.messages = messages
        # A single emoji makes a str four times as large as its UTF-8 bytes, which are what max_send_buffer counts.
        self._text = text if text.isascii() else text.encode()
        self.size = len(self._text)
        # The first encoding has a slot of its own: most payloads have no other, and a dict is large.
        self._first_encoding = _NOT_ENCODED
        self._more_encodings: dict[Callable[[bytes], bytes], bytes] | None = None

    @property
    def text(self) -> str:
        """The frames."""
        return self._text if isinstance(self._text, str) else self._text.decode("utf-8")

    @property
    def utf8(self) -> bytes:
        """The frames in UTF-8."""
        return self._text.encode() if isinstance(self._text, str) else self._text

    def encoded(self, encode: Callable[[bytes], bytes]) -> bytes:
        """The frames as bytes of a transport.

        :param encode: a pure function of the frames in UTF-8, the same object for all receivers of that kind: the key
            of the cache.
        """
        first, data = self._first_encoding
        if first is encode:
            return data
        if first is None:
            text = self._text
            data = encode(text.encode() if isinstance(text, str) else text)
            self._first_encoding = encode, data
            return data
        more = self._more_encodings
        if more is None:
            more = self._more_encodings = {}
        found = more.get(encode)
        if found is None:
            found = encode(self.utf8)
            if len(more) < _MAX_MORE_ENCODINGS:
                more[encode] = found
        return found


class SinglePayload(Payload):
    """A payload that travels by itself: clients in use take the first frame of the first WebSocket message as the
    session id, and know a heartbeat only where a message holds nothing else.
    """

    __slots__ = ()

    is_alone: ClassVar[bool] = True


def max_payloads(max_send_buffer: int) -> int:
    """Return the number of payloads that may be queued with that ``max_send_buffer``, however small they are."""
    return max_send_buffer // OVERHEAD + _MIN_PAYLOADS


class Outbox:
    """A FIFO queue of payloads, and the batch in flight.

    A base class of sessions. What :meth:`put`, :meth:`next_batch` and :meth:`ack` do for the one payload that there
    mostly is, ``BaseSession.send`` and :mod:`tornadio.sessions.flushing` do themselves: calls would cost more.

    :ivar size: UTF-8 bytes queued and in flight.
    :ivar bytes_out: UTF-8 bytes that the kernel has accepted.
    :ivar messages_out: messages that the kernel has accepted: those of the application, without heartbeats and the
        first frame.
    :ivar head: the payload that goes next, ``None`` if none is queued.
    :ivar tail: the payloads behind it, ``None`` if there are none.
    :ivar in_flight: the batch that is being written, ``None`` if none is.
    :ivar has_single: whether a :class:`SinglePayload` may be queued. Whoever puts one sets it, for :meth:`put` would
        have to look at each payload.
    """

    __slots__ = ("bytes_out", "has_single", "head", "in_flight", "messages_out", "size", "tail")

    def __init__(self) -> None:
        self.size = self.bytes_out = self.messages_out = 0
        self.has_single = False
        self.head: Payload | None = None
        self.tail: collections.deque[Payload] | None = None  # rarely needed, and an empty deque has 760 bytes
        self.in_flight: Payload | None = None

    @property
    def queue_length(self) -> int:
        """The number of payloads queued, without the batch in flight."""
        return (self.head is not None) + len(self.tail or ())

    def put(self, payload: Payload) -> None:
        """Queue a payload."""
        self.size += payload.size
        if self.head is None:
            self.head = payload
        else:
            (self.tail or self.begin_tail()).append(payload)

    def begin_tail(self) -> "collections.deque[Payload]":
        """Return the :attr:`tail`, which is made if there is none."""
        tail: collections.deque[Payload] = collections.deque()
        if self.tail is None:  # looked at last: a signal handler that sends may have made one during that call
            self.tail = tail
        return self.tail

    def replace_head(self, payload: Payload | None) -> None:
        """Put another payload, or none, in the place of the :attr:`head`. There has to be one."""
        assert self.head is not None
        self.size -= self.head.size
        if payload is not None:
            self.size += payload.size
            self.head = payload
            self.has_single = True
        else:
            self._advance()

    def _advance(self) -> None:
        """Make the first payload behind the head the head."""
        tail = self.tail
        self.head = tail.popleft() if tail else None
        if not tail:
            self.tail = None
            self.has_single = self.head is not None and self.head.is_alone

    def next_batch(self, max_bytes: int) -> Payload:
        """Join payloads from the front of the queue: now they are in flight. There has to be a :attr:`head`.

        A :class:`SinglePayload` is a batch by itself.

        :param max_bytes: the batch's limit; a single payload may be larger.
        """
        head, tail = self.head, self.tail
        assert head is not None
        if tail is None:  # nearly always: one message in one iteration of the event loop
            self.head = None
            self.in_flight = head
            return head
        # With nothing in flight, this is the size of the queue alone: all of it goes.
        if self.size <= max_bytes and not self.has_single:
            self.head = self.tail = None
            self.in_flight = _joined([head, *tail])
            return self.in_flight
        batch, size = [head], head.size
        if head.is_alone:
            max_bytes = 0
        while tail and size + tail[0].size <= max_bytes and not tail[0].is_alone:
            size += tail[0].size
            batch.append(tail.popleft())
        # Until here there was a head, so that a signal handler that sends meanwhile puts its payload behind the others.
        self._advance()
        self.in_flight = _joined(batch)
        return self.in_flight

    def ack(self) -> None:
        """Forget the batch in flight, if there is one: the kernel has accepted it."""
        batch = self.in_flight
        if batch is not None:
            size = batch.size
            self.size -= size
            self.bytes_out += size
            self.messages_out += batch.messages
            self.in_flight = None

    def requeue(self) -> None:
        """Put the batch in flight, if there is one, back to the front of the queue, as one payload."""
        if self.in_flight is not None:
            if self.head is not None:
                self.tail = self.tail or collections.deque()
                self.tail.appendleft(self.head)
            self.head, self.in_flight = self.in_flight, None
            self.has_single = True  # one of the two may be one

    def clear(self) -> None:
        """Drop everything, queued and in flight."""
        self.head = self.tail = self.in_flight = None
        self.size = 0


# The payloads of the last batch that was joined, and the batch. Several broadcasts in one iteration of the event loop
# are the same run of payloads for every receiver, which is joined, and then encoded, once. Event loops in several
# threads share it: it is read and replaced as one tuple, whose parts are never changed.
_last_joined: tuple[list[Payload], Payload] = ([], Payload(""))


def _joined(payloads: list[Payload]) -> Payload:
    """Join payloads to one; the last join is cached, for the other receivers of a fan-out."""
    global _last_joined
    if len(payloads) == 1:
        return payloads[0]
    parts, joined = _last_joined
    if payloads == parts:  # payloads compare by identity
        return joined
    joined = Payload(_joined_text(payloads), sum([payload.messages for payload in payloads]))
    if joined.size <= _MAX_KEPT:
        _last_joined = payloads, joined
    return joined


def _joined_text(payloads: list[Payload]) -> str:
    try:
        return "".join([payload._text for payload in payloads])  # type: ignore[misc]
    except TypeError:  # some are kept as bytes
        return "".join([payload.text for payload in payloads])
