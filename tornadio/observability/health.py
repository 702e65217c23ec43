"""Whether a server serves, for those who ask before they send it clients: a proxy's health check."""

from typing import Any, Final

from tornadio.web.bodiless import BodilessHandler
from tornadio.web.peers import is_forwarded

SERVERS: Final = "tornadio_servers"  # an application's setting: the SocketServers that serve it


class HealthHandler(BodilessHandler):
    """Answers 200 ``ok``, and from the first moment of a shutdown on 503 ``draining``. Whom a proxy has announced by a
    PROXY line is answered 404: a client, and no health check.

    ``tornado.web.Application([(r"/health", tornadio.HealthHandler), ...])``. It says nothing of Redis: a process that
    has lost it serves its own clients, and with all of them out of service nobody would be served. Nor does it write to
    the access log: a proxy asks every other second.
    """

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> str | None:
        return None

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
        pass
