"""The metrics of a server: each with its name, type, labels and meaning, and the values it has in a server's figures.

Names are Prometheus' way: base units, ``_total`` of counters. Knows no I/O, and no library of metrics.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from tornadio.stats import BusStats, Histogram, RouterStats, ServerStats, TransportStats

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

# Values of a metric's labels besides ``router``, in the labels' order, and its value.
Sample = tuple[tuple[str, ...], float | Histogram]


class Family(NamedTuple):
    """A metric of each router, or of the server.

    :ivar name: without the ``_total`` of counters, as OpenMetrics has it.
    :ivar kind: :data:`COUNTER`, :data:`GAUGE` or :data:`HISTOGRAM`.
    :ivar help: what it is, one sentence without its full stop.
    :ivar labels: their names; those of a router's metric begin with ``router``.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exposed_name(self) -> str:
        """The name that queries use, of histograms that of their series before ``_bucket``, ``_sum`` and ``_count``."""
        return f"{self.name}_total" if self.kind == COUNTER else self.name


RouterSamples = Callable[[RouterStats], Iterable[Sample]]
ServerSamples = Callable[[ServerStats], Iterable[Sample]]

_TRANSPORT: Final = ("router", "transport", "version")
_ROUTER: Final = ("router",)


def _of_transports(value: Callable[[TransportStats], float]) -> RouterSamples:
    return lambda router: [((each.transport, each.version), value(each)) for each in router.transports]


def _of_router(value: Callable[[RouterStats], float | Histogram]) -> RouterSamples:
    return lambda router: [((), value(router))]


def _by_label(value: Callable[[RouterStats], Mapping[str, float]]) -> RouterSamples:
    return lambda router: [((name,), count) for name, count in value(router).items()]


def _of_bus(value: Callable[[BusStats], float | Histogram | None]) -> RouterSamples:
    def samples(router: RouterStats) -> Iterator[Sample]:
        if router.bus is not None and (found := value(router.bus)) is not None:
            yield (), found

    return samples


def _polls(router: RouterStats) -> Iterator[Sample]:
    for each in router.transports:
        if "polling" in each.transport:
            yield (each.transport,), each.polls_waiting


OF_ROUTERS: Final[tuple[tuple[Family, RouterSamples], ...]] = (
    (
        Family("tornadio_connections", GAUGE, "Connections that are open now", _TRANSPORT),
        _of_transports(lambda each: each.connections),
    ),
    (
        Family("tornadio_connections_opening", GAUGE, "Connections whose on_open runs now", _ROUTER),
        _of_router(lambda router: router.opening),
    ),
    (
        Family("tornadio_connections_closing", GAUGE, "Connections that close once the rest is delivered", _ROUTER),
        _of_router(lambda router: router.closing),
    ),
    (
        Family("tornadio_connections_opened", COUNTER, "Connections that on_open has accepted", _TRANSPORT),
        _of_transports(lambda each: each.opened),
    ),
    (
        Family("tornadio_connections_closed", COUNTER, "Connections that have ended", ("router", "reason")),
        _by_label(lambda router: router.closed),
    ),
    (
        Family("tornadio_requests_refused", COUNTER, "Requests that were refused", ("router", "reason")),
        _by_label(lambda router: router.refused),
    ),
    (
        Family("tornadio_received_messages", COUNTER, "Messages from clients", _TRANSPORT),
        _of_transports(lambda each: each.messages_in),
    ),
    (
        Family("tornadio_sent_messages", COUNTER, "Messages to clients", _TRANSPORT),
        _of_transports(lambda each: each.messages_out),
    ),
    (
        Family("tornadio_received_frames", COUNTER, "Frames from clients: messages and heartbeats", _TRANSPORT),
        _of_transports(lambda each: each.frames_in),
    ),
    (
        Family("tornadio_sent_frames", COUNTER, "Frames to clients: messages, heartbeats, session ids", _TRANSPORT),
        _of_transports(lambda each: each.frames_out),
    ),
    (
        Family("tornadio_received_bytes", COUNTER, "Bytes from clients: WebSocket frames, bodies", _TRANSPORT),
        _of_transports(lambda each: each.bytes_in),
    ),
    (
        Family("tornadio_sent_bytes", COUNTER, "Bytes to clients, before framing and compression", _TRANSPORT),
        _of_transports(lambda each: each.bytes_out),
    ),
    (
        Family("tornadio_polls_waiting", GAUGE, "Polls that wait now", ("router", "transport")),
        _polls,
    ),
    (
        Family("tornadio_send_queue_bytes", GAUGE, "Bytes that wait now for clients", _TRANSPORT),
        _of_transports(lambda each: each.queued_bytes),
    ),
    (
        Family("tornadio_send_queue_largest_bytes", GAUGE, "Bytes for the client for which most waits", _ROUTER),
        _of_router(lambda router: router.largest_queue),
    ),
    (
        Family("tornadio_heartbeats_sent", COUNTER, "Heartbeats to clients", _ROUTER),
        _of_router(lambda router: router.heartbeats_sent),
    ),
    (
        Family("tornadio_heartbeats_answered", COUNTER, "Heartbeats that clients have echoed", _ROUTER),
        _of_router(lambda router: router.heartbeats_answered),
    ),
    (
        Family("tornadio_heartbeat_round_trip_seconds", HISTOGRAM, "From a heartbeat to its echo", _ROUTER),
        _of_router(lambda router: router.round_trips),
    ),
    (
        Family("tornadio_handler_seconds", HISTOGRAM, "Calls of handlers, awaiting included", ("router", "handler")),
        lambda router: [((name,), each.seconds) for name, each in router.handlers.items()],
    ),
    (
        Family("tornadio_handler_errors", COUNTER, "Exceptions of handlers", ("router", "handler")),
        lambda router: [((name,), each.errors) for name, each in router.handlers.items()],
    ),
    (
        Family("tornadio_groups", GAUGE, "Groups that have members in this process now", _ROUTER),
        _of_router(lambda router: router.groups),
    ),
    (
        Family("tornadio_bus_up", GAUGE, "1 if the last message to itself came back over the bus, else 0", _ROUTER),
        _of_bus(lambda bus: bus.is_up),
    ),
    (
        Family("tornadio_bus_delay_seconds", HISTOGRAM, "From publishing a message to its return", _ROUTER),
        _of_bus(lambda bus: bus.delay),
    ),
    (
        Family("tornadio_bus_published_messages", COUNTER, "Messages that the bus has published", _ROUTER),
        _of_bus(lambda bus: bus.published),
    ),
    (
        Family("tornadio_bus_received_messages", COUNTER, "Messages of other processes", _ROUTER),
        _of_bus(lambda bus: bus.received),
    ),
    (
        Family("tornadio_bus_dropped_messages", COUNTER, "Messages that other processes did not get", _ROUTER),
        _of_bus(lambda bus: bus.dropped),
    ),
    (
        Family("tornadio_bus_outages", COUNTER, "Times that dropping began", _ROUTER),
        _of_bus(lambda bus: bus.outages),
    ),
    (
        Family("tornadio_bus_rejected_messages", COUNTER, "What came from the bus and was no message", _ROUTER),
        _of_bus(lambda bus: bus.rejected),
    ),
    (
        Family("tornadio_bus_queue_messages", GAUGE, "Messages that wait now for the bus", _ROUTER),
        _of_bus(lambda bus: bus.queued_messages),
    ),
    (
        Family("tornadio_bus_queue_bytes", GAUGE, "Bytes that wait now for the bus", _ROUTER),
        _of_bus(lambda bus: bus.queued_bytes),
    ),
)


def _http_requests(server: ServerStats) -> Iterator[Sample]:
    yield ("fast_path", ""), server.fast_requests
    for reason, count in server.tornado_requests.items():
        yield ("tornado", reason), count


def _descriptors_left(server: ServerStats) -> Iterator[Sample]:
    if server.open_descriptors is not None and server.max_descriptors is not None:
        yield (), server.max_descriptors - server.open_descriptors


OF_SERVERS: Final[tuple[tuple[Family, ServerSamples], ...]] = (
    (
        Family("tornadio_event_loop_lag_seconds", HISTOGRAM, "How late the event loop is, once a second"),
        lambda server: [((), server.loop_lag)],
    ),
    (
        Family(
            "tornadio_http_requests",
            COUNTER,
            "HTTP requests, by what has read them, and why that was Tornado",
            ("read_by", "reason"),
        ),
        _http_requests,
    ),
    (
        Family("tornadio_descriptors_left", GAUGE, "File descriptors that this process may still open"),
        _descriptors_left,
    ),
    (
        Family("tornadio_connections_without_descriptor", COUNTER, "Connections closed for want of a descriptor"),
        lambda server: [((), server.refused_connections)],
    ),
    (
        Family("tornadio_draining", GAUGE, "1 while the server is being shut down, else 0"),
        lambda server: [((), server.is_draining)],
    ),
)
