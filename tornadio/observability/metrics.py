"""``MetricsHandler``: the server's figures for Prometheus, read at each scrape, in the formats of prometheus_client.

prometheus_client is an extra: it is imported when a server starts, or is scraped, not with this module.
"""

import contextlib
import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tornado.web import HTTPError, RequestHandler

from tornadio.errors import SettingsError
from tornadio.observability.families import COUNTER, GAUGE, OF_ROUTERS, OF_SERVERS, Family, Sample
from tornadio.observability.health import SERVERS
from tornadio.stats import Histogram, RouterStats, ServerStats
from tornadio.web.bodiless import BodilessHandler
from tornadio.web.local import is_local
from tornadio.web.peers import connection_address, connection_host

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

# Of the process, by the names that all client libraries of Prometheus use for them.
PROCESS_FAMILIES: Final = (
    Family("process_cpu_seconds", COUNTER, "CPU time of this process, user and system"),
    Family("process_resident_memory_bytes", GAUGE, "Memory of this process that is in RAM"),
    Family("process_open_fds", GAUGE, "File descriptors that this process has open"),
    Family("process_max_fds", GAUGE, "File descriptors that this process may have open"),
)

_NOT_LOCAL: Final = (
    "without the argument 'authorize' metrics are for this machine alone, by the name localhost and not through a "
    "proxy. To let another host in: (r'/metrics', tornadio.MetricsHandler, {'authorize': lambda handler: "
    "handler.request.remote_ip == '10.0.0.5'})"
)


class MetricsHandler(BodilessHandler):
    """Answers GET with the figures of the application's :class:`tornadio.SocketServer`, for Prometheus: in OpenMetrics,
    or in Prometheus' own text format, as the request's ``Accept`` has it.

    ``tornado.web.Application([(r"/metrics", tornadio.MetricsHandler), ...])``, with ``pip install '.[metrics]'`` in a
    checkout. The figures are those of :meth:`tornadio.SocketServer.stats`, read at each scrape; :doc:`/monitoring` has
    a table of them. They tell nothing about single clients, but how busy the server is and what goes wrong there, so
    that the public should not read them. Without ``authorize``, requests are answered that come from this machine, to a
    loopback name, and that no proxy has passed on, as far as that shows; all others get 403. To let in a Prometheus on
    another host::

        (r"/metrics", tornadio.MetricsHandler, {"authorize": lambda handler: handler.request.remote_ip == "10.0.0.5"})

    Scrapes that are answered are not in the access log.

    :param authorize: called with this handler for each request: whether it is answered, else it gets 403. It may return
        an awaitable of that. ``handler.is_local()`` is what counts without it.
    :param registry: a ``prometheus_client.CollectorRegistry``, such as ``prometheus_client.REGISTRY``, whose metrics
        are answered, too: those that the application counts. (``prometheus_client.REGISTRY`` counts file descriptors
        of the process by a list of them, which takes 75 ms with 10,000 connections:
        ``REGISTRY.unregister(PROCESS_COLLECTOR)``. What it knows of the process is here as well.)
    :raises tornadio.errors.SettingsError: when the server starts: prometheus_client is missing, or an argument is
        wrong.
    """

    def initialize(
        self,
        authorize: "Callable[[RequestHandler], Any] | None" = None,
        registry: "Collector | None" = None,
    ) -> None:
        self._authorize = authorize
        self._registry = registry

    @staticmethod
    def check(arguments: Mapping[str, Any]) -> None:
        """Check what a rule gives as arguments, and that prometheus_client is there.

        :raises SettingsError: something is not right.
        """
        _choose_encoder("")
        unknown = arguments.keys() - {"authorize", "registry"}
        if unknown or not (arguments.get("authorize") is None or callable(arguments["authorize"])):
            raise SettingsError(
                "MetricsHandler takes {'authorize': a function of the handler, 'registry': of prometheus_client}, not "
                f"{dict(arguments)!r}"
            )
        registry = arguments.get("registry")
        if registry is not None and not hasattr(registry, "collect"):
            raise SettingsError("registry must be a prometheus_client.CollectorRegistry")

    def is_local(self) -> bool:
        """Whether a program on this machine has sent the request, and no proxy has passed it on, as far as that shows:
        it comes from a loopback address, ``Host`` is a loopback name, and there is no header as proxies add them.
        """
        request = self.request
        peer = connection_host(connection_address(request))
        return is_local(request.version, peer, str(request.remote_ip), request.headers)

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> str | None:
        return None

    async def get(self, *args: Any, **kwargs: Any) -> None:
        allowed = self.is_local() if self._authorize is None else self._authorize(self)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        if not allowed:
            self.set_status(403)
            self.finish(_NOT_LOCAL if self._authorize is None else "you may not read this")
            return
        servers = self.settings.get(SERVERS, ())
        if not servers:
            raise HTTPError(503, "no tornadio.SocketServer serves this application")
        encode, content_type = _choose_encoder(self.request.headers.get("Accept", ""))
        text = encode(_Figures([server.stats() for server in servers], self._registry))
        self.set_header("Content-Type", content_type)
        self.finish(text)

    def _log(self) -> None:
        if self.get_status() != 200:
            super()._log()


def _choose_encoder(accept: str) -> "tuple[Callable[[Any], bytes], str]":
    """Return the encoder of the format that a scraper wants, and its content type.

    :param accept: the header.
    :raises SettingsError: prometheus_client is missing.
    """
    try:
        from prometheus_client.exposition import choose_encoder
    except ImportError:
        raise SettingsError("tornadio.MetricsHandler needs prometheus_client: pip install prometheus_client") from None
    return choose_encoder(accept)


class _Figures:
    """A collector as prometheus_client's encoders ask it: the figures at one moment.

    :param servers: those of all servers of an application.
    :param registry: whose metrics are added.
    """

    def __init__(self, servers: "Iterable[ServerStats]", registry: "Collector | None") -> None:
        self._servers = list(servers)
        self._registry = registry

    def collect(self) -> "Iterator[Metric]":
        """Yield the families of metrics."""
        server = _joined(self._servers)
        names = set()
        for metric in (*_of_routers(server.routers), *_of_server(server), *_of_process(server)):
            names.add(metric.name)
            yield metric
        if self._registry is not None:
            for metric in self._registry.collect():
                if metric.name not in names:
                    yield metric


def _joined(servers: list[ServerStats]) -> ServerStats:
    """Return the figures of all servers of a process together: one that listens on two ports has two, say."""
    first, *others = servers
    for other in others:
        routers = {router.resource: router for router in (*other.routers, *first.routers)}
        reasons = {*first.tornado_requests, *other.tornado_requests}
        first = dataclasses.replace(
            first,
            routers=tuple(routers.values()),
            fast_requests=first.fast_requests + other.fast_requests,
            tornado_requests={
                name: first.tornado_requests.get(name, 0) + other.tornado_requests.get(name, 0) for name in reasons
            },
            refused_connections=first.refused_connections + other.refused_connections,
            is_draining=first.is_draining or other.is_draining,
        )
    return first


def _of_routers(routers: Iterable[RouterStats]) -> "Iterator[Metric]":
    for family, samples in OF_ROUTERS:
        yield _metric(
            family,
            [((router.resource, *labels), value) for router in routers for labels, value in samples(router)],
        )


def _of_server(server: ServerStats) -> "Iterator[Metric]":
    for family, samples in OF_SERVERS:
        yield _metric(family, samples(server))


def _of_process(server: ServerStats) -> "Iterator[Metric]":
    times = os.times()
    values = (times.user + times.system, _resident_memory(), server.open_descriptors, server.max_descriptors)
    for family, value in zip(PROCESS_FAMILIES, values, strict=True):
        yield _metric(family, [] if value is None else [((), value)])


def _resident_memory() -> int | None:
    """Return the bytes of this process that are in RAM, see proc(5); ``None`` where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, AttributeError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _metric(family: Family, samples: Iterable[Sample]) -> "Metric":
    """Return a metric of prometheus_client with its values."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    metric: Any
    if family.kind == COUNTER:
        metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    elif family.kind == GAUGE:
        metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    else:
        metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        if isinstance(value, Histogram):
            metric.add_metric(labels, list(_buckets(value)), value.sum)
        else:
            metric.add_metric(labels, float(value))
    return metric  # type: ignore[no-any-return]


def _buckets(histogram: Histogram) -> Iterator[tuple[str, float]]:
    """Yield the buckets as Prometheus has them: each with all below it."""
    below = 0
    for bound, count in zip((*map(repr, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        yield bound, below
