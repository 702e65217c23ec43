"""What a server counts, as :meth:`tornadio.SocketServer.stats` and :meth:`tornadio.Router.stats` return it: a copy that
does not change any more. Knows no I/O.

Counters begin at zero with the server or router, and only grow: a rate is the difference of two, divided by the
seconds between. Times are in seconds, sizes in bytes. Public are the names in ``__all__``.
"""

import dataclasses
from collections.abc import Mapping

__all__ = ["BusStats", "HandlerStats", "Histogram", "RouterStats", "ServerStats", "TransportStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """How often something took how long.

    :ivar bounds: the upper bounds of the buckets, in seconds, ascending; a bucket includes its bound.
    :ivar counts: how many lie in each bucket, not cumulated; one more than ``bounds``, for those above the last bound.
    :ivar sum: of all of them, in seconds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Seconds that one took on average, 0 where there was none."""
        return self.sum / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """Estimate the seconds that this share of them took at most, 0 where there was none.

        Within a bucket they count as evenly spread, as in Prometheus' ``histogram_quantile``; above the last bound the
        estimate is that bound.

        :param share: between 0 and 1; 0.99 is the 99th percentile.
        """
        rank = share * self.count
        below = 0
        lower = 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                return lower + (bound - lower) * (rank - below) / count
            below += count
            lower = bound
        return lower if below < self.count else 0.0

    def since(self, earlier: "Histogram") -> "Histogram":
        """Return what was added after an earlier copy of the same histogram."""
        counts = (now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        return Histogram(self.bounds, tuple(counts), self.sum - earlier.sum)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TransportStats:
    """The connections of one transport, of WebSockets those of one version of the protocol.

    Messages are what ``on_message`` gets and ``send`` sends. Frames are these, heartbeats, and the first frame, which
    is the session id. What goes out counts when the kernel has accepted it.

    :ivar transport: the transport's name, such as ``'websocket'``.
    :ivar version: ``'13'``, ``'8'``, ``'7'``, ``'draft-76'`` or ``'draft-75'`` of the WebSocket transports, else
        empty.
    :ivar connections: how many are open now.
    :ivar opened: how many were opened: those that ``on_open`` has accepted.
    :ivar messages_in: from clients.
    :ivar messages_out: to clients.
    :ivar frames_in: from clients.
    :ivar frames_out: to clients.
    :ivar bytes_in: from clients, as they come: of a WebSocket after its handshake, with its framing, compressed or not;
        of POSTs the bodies.
    :ivar bytes_out: to clients, of frames in UTF-8: before what WebSocket and HTTP add to them, and before compression.
    :ivar polls_waiting: requests that wait now for something to be sent; 0 but for the polling transports.
    :ivar queued_bytes: bytes that wait now for clients: queued, or not yet accepted by the kernel.
    """

    transport: str
    version: str
    connections: int
    opened: int
    messages_in: int
    messages_out: int
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    polls_waiting: int
    queued_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HandlerStats:
    """The calls of one of the connection class's methods.

    :ivar seconds: how long they took, awaiting included, and for ``on_message`` decoding of the message. A coroutine
        counts when it has ended.
    :ivar errors: how many raised.
    """

    seconds: Histogram
    errors: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BusStats:
    """The bus of one router: what connects it to the other processes.

    Every five seconds the router sends itself a message over the bus, on a channel of its own, and measures when it is
    back: that is the delay that other messages have, too, with the queue in this process, the broker, and the reading.

    :ivar published: messages that the bus has published.
    :ivar received: messages of other processes that were delivered to this one's connections.
    :ivar dropped: messages that other processes did not get: too many waited, one was too large, or publishing failed.
    :ivar outages: how often that began: messages were dropped after others had been published.
    :ivar rejected: what came from the bus and was no message.
    :ivar queued_messages: messages that wait now to be published.
    :ivar queued_bytes: their bytes.
    :ivar is_up: whether the last message to itself came back in time; ``None`` before the end of the first one's time.
    :ivar delay: seconds from sending to receiving of those messages.
    """

    published: int
    received: int
    dropped: int
    outages: int
    rejected: int
    queued_messages: int
    queued_bytes: int
    is_up: bool | None
    delay: Histogram


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RouterStats:
    """One router: its connections, those it had, and its bus.

    :ivar resource: the router's resource, ``'socket.io'`` by default.
    :ivar transports: a row for each transport, and version of WebSocket, that a client has used.
    :ivar opening: connections whose ``on_open`` runs now.
    :ivar closing: connections that are closed once what is queued was delivered.
    :ivar refused: requests that were refused, by reason: see the guide's page on monitoring for the names.
    :ivar closed: connections that have ended, of those that were open, by reason.
    :ivar heartbeats_sent: heartbeats to clients; the polling transports have none.
    :ivar heartbeats_answered: those that a client has echoed.
    :ivar round_trips: seconds from a heartbeat to its echo. A handler that runs meanwhile delays reading the echo.
    :ivar queued_bytes: bytes that wait now for all clients together.
    :ivar largest_queue: bytes that wait now for the client for which most waits.
    :ivar handlers: the calls of ``on_open``, ``greeting``, ``on_message`` and ``on_close``, by their names.
    :ivar groups: groups that have members in this process now.
    :ivar bus: ``None`` without a bus.
    """

    resource: str
    transports: tuple[TransportStats, ...]
    opening: int
    closing: int
    refused: Mapping[str, int]
    closed: Mapping[str, int]
    heartbeats_sent: int
    heartbeats_answered: int
    round_trips: Histogram
    queued_bytes: int
    largest_queue: int
    handlers: Mapping[str, HandlerStats]
    groups: int
    bus: BusStats | None

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return sum(each.connections for each in self.transports)

    @property
    def polls_waiting(self) -> int:
        """Requests of polling clients that wait now for something to be sent."""
        return sum(each.polls_waiting for each in self.transports)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """One server, with its routers: one process, usually.

    :ivar routers: those of the server's application.
    :ivar loop_lag: how late the event loop was, once a second, in seconds: so long everything waited for a handler, or
        something else that did not await.
    :ivar fast_requests: requests that the fast path has served.
    :ivar tornado_requests: requests that Tornado's HTTP has read, by the reason why: see the guide's page on
        monitoring for the names.
    :ivar open_descriptors: file descriptors that this process has open now; ``None`` where that is not known.
    :ivar max_descriptors: how many it may have open; ``None`` where there is no limit.
    :ivar refused_connections: connections that were closed at once, since no file descriptor was left for clients.
    :ivar is_draining: whether the server is being shut down.
    """

    routers: tuple[RouterStats, ...]
    loop_lag: Histogram
    fast_requests: int
    tornado_requests: Mapping[str, int]
    open_descriptors: int | None
    max_descriptors: int | None
    refused_connections: int
    is_draining: bool
