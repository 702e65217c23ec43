"""The health check: tells a proxy whether to send new clients to this process."""

from typing import Any, Final

from tornadio.web.bodiless import BodilessHandler
from tornadio.web.peers import is_forwarded

SERVERS: Final = "tornadio_servers"  # key of an application's setting, which holds the SocketServers that serve it


class HealthHandler(BodilessHandler):
    """Answers GET and HEAD with 200 ``ok``, and from the first moment of a shutdown on with 503 ``draining``.

    ``tornado.web.Application([(r"/health", tornadio.HealthHandler), ...])``. A connection that began with a PROXY
    protocol line is a client's, not the proxy's own, and is answered 404. Redis being unreachable is no reason for 503:
    a process without it serves its own clients, and all processes would be taken out of service at once. Health checks
    are not in the access log: proxies make one every other second.
    """

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> str | None:
        return None  # with an ETag Tornado would answer 304 to If-None-Match, which is no health check's 200

    def prepare(self) -> None:
        super().prepare()
        if is_forwarded(self.request):
            self.set_status(404)
            self.finish("not found")

    def get(self, *args: Any, **kwargs: Any) -> None:
        is_draining = any(server.is_draining for server in self.settings.get(SERVERS, ()))
        if is_draining:
            self.set_status(503)
        self.finish("draining" if is_draining else "ok")

    head = get

    def _log(self) -> None:
        pass  # RequestHandler's hook for the access log
