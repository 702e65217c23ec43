"""``MonitorHandler``: the entry of the monitor in an application's routing, and the handler of its page's files."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tornadio.monitor.access import Rights
from tornadio.observability.health import SERVERS
from tornadio.web.bodiless import BodilessHandler
from tornadio.web.local import is_local
from tornadio.web.negotiation import accepts_coding
from tornadio.web.peers import connection_address, connection_host
from tornadio.web.script import load_file

_FILES: Final = {
    "": ("monitor.html", "text/html; charset=UTF-8"),
    "monitor.css": ("monitor.css", "text/css; charset=UTF-8"),
    "monitor.js": ("monitor.js", "text/javascript; charset=UTF-8"),
    "socket.io.js": ("socket.io.js", "text/javascript; charset=UTF-8"),
}
# 'self' alone does not cover ws: and wss: in older browsers. A Host of other characters is not repeated in a header.
_HOST: Final = re.compile(r"[0-9A-Za-z.:\[\]_-]{1,260}")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{sockets}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Authorize = Callable[["MonitorHandler"], Rights | bool | Awaitable[Rights | bool | None] | None]


class MonitorHandler(BodilessHandler):
    """The live page of an application's connections, for operators.

    ``tornado.web.Application([(r"/monitor/(.*)", tornadio.MonitorHandler, {"authorize": authorize}), ...])``, served by
    a :class:`tornadio.SocketServer`; by another server it answers 503. It shows the routers of the server's
    application, and over their ``bus`` those of the other processes that have this route. The page, its files, its
    data and its actions are for those that ``authorize`` lets in; all others are answered 403.

    A subclass may override ``get_current_user``: the log then names the user of each action.

    :param authorize: called with an object of this class, whose ``request``, ``current_user`` and
        ``get_signed_cookie`` tell who asks. It returns ``"read"`` for somebody who may look, ``"act"`` for somebody who
        may also close connections and send them messages, and ``None`` or ``False`` for anybody else. It may be a
        coroutine. It is called for each HTTP request, for each WebSocket's handshake, and before each action. Without
        it, requests of this machine, by a loopback name and not through a proxy (:meth:`is_local`), may read.
    """

    def initialize(self, authorize: Authorize | None = None) -> None:
        self.authorize = authorize

    def is_local(self) -> bool:
        """Whether a program on this machine has sent the request, and no proxy has passed it on, as far as that shows.

        The TCP connection comes from a loopback address which is not among the ``xheaders`` of the server, ``Host`` is
        a loopback name, and there is no header as proxies add them. For an ``authorize`` such as
        ``lambda handler: handler.is_local() and "act"``. A proxy on this machine that adds none can't be told from a
        local client: where it keeps its client's ``Host``, or puts the loopback address there to which it connects.
        """
        request = self.request
        address = connection_address(request)
        peer = connection_host(address)
        if not is_local(request.version, peer, str(request.remote_ip), request.headers):
            return False
        return not any(server._trusts_peer(address) for server in self.settings.get(SERVERS, ()))

    def set_default_headers(self) -> None:
        host = self.request.headers.get("Host", "")
        sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
        for name, value in {
            "Cache-Control": "private, no-cache",
            "Content-Security-Policy": _POLICY.format(sockets=sockets),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }.items():
            self.set_header(name, value)

    def get(self, *args: Any, **kwargs: Any) -> None:
        """Respond 503: no ``SocketServer`` has replaced this handler by a :class:`tornadio.monitor.route.Route`."""
        self.send_text(503, "the monitor needs a tornadio.SocketServer, which serves this application")

    head = get

    def send_text(self, status: int, text: str) -> None:
        """Respond with a text."""
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(text)


class FileHandler(MonitorHandler):
    """Serves the page's files, to requests that were authorized."""

    def initialize(self) -> None:  # type: ignore[override]
        """Take no arguments: the request was authorized before."""

    def get(self, tail: str) -> None:
        if tail not in _FILES:
            self.send_text(404, "the monitor has no such file")
            return
        name, content_type = _FILES[tail]
        file = load_file(name)
        self.set_header("Content-Type", content_type)
        self.set_header("Vary", "Accept-Encoding")
        compressed = accepts_coding(self.request.headers.get("Accept-Encoding", ""), "gzip")
        self.set_header("Etag", f'"{file.etag}{"-gzip" if compressed else ""}"')
        if self.check_etag_header():
            self.set_status(304)
            return
        if compressed:
            self.set_header("Content-Encoding", "gzip")
        self.write(file.compressed if compressed else file.plain)

    head = get


class RefusedHandler(MonitorHandler):
    """Responds 403, whatever the method.

    :param reason: the response's text.
    """

    def initialize(self, status: int, reason: str) -> None:  # type: ignore[override]
        self._status, self._reason = status, reason

    def check_xsrf_cookie(self) -> None:
        """Do nothing: a POST without the cookie is refused as well."""

    def get(self, *args: Any, **kwargs: Any) -> None:
        self.send_text(self._status, self._reason)

    head = post = put = patch = delete = options = get
