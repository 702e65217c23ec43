"""A sample: what the counters of a router and its server say at a moment, in the form in which the page has it."""

from typing import Any

from tornadio.stats import Histogram, RouterStats, ServerStats


def make_sample(server: ServerStats, router: RouterStats, name: str, clock: float) -> dict[str, Any]:
    """Make a sample. Counters only grow: the page makes rates of two.

    :param name: of the process, for people.
    :param clock: seconds, of a clock that is never set.
    """
    connections: dict[str, int] = {}
    for each in router.transports:
        connections[each.transport] = connections.get(each.transport, 0) + each.connections
    transports = router.transports
    return {
        "router": router.resource,
        "name": name,
        "clock": round(clock, 3),
        "connections": {transport: count for transport, count in connections.items() if count},
        "messages": [sum(each.messages_in for each in transports), sum(each.messages_out for each in transports)],
        "bytes": [sum(each.bytes_in for each in transports), sum(each.bytes_out for each in transports)],
        "round_trips": _pair(router.round_trips),
        "lag": _pair(server.loop_lag),
        "queued": router.queued_bytes,
        "largest": router.largest_queue,
        "groups": router.groups,
        "bus": None if router.bus is None else {"up": router.bus.is_up, "dropped": router.bus.dropped},
        "descriptors": [server.open_descriptors, server.max_descriptors],
        "draining": server.is_draining,
    }


def _pair(histogram: Histogram) -> list[Any]:
    return [list(histogram.counts), round(histogram.sum, 6)]
