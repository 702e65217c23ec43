"""One process of several: whatever a client says, all clients of all processes hear. Pages for the browser, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.app import options_of, serve
from tests.compatibility.official_app import HERE as OFFICIAL
from tests.compatibility.official_app import FileHandler
from tests.internals import has_channel, sessions_of

OWN_PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>TornadIO's own client</title>
<script src="/socket.io/socket.io.js"></script>
"""


class Connection(tornadio.SocketConnection):
    router: tornadio.Router

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.ip = request.remote_ip

    def on_message(self, message: Any) -> None:
        if message == "about":
            self.send({"node": self.session_id[0], "transport": self.transport, "ip": self.ip})
        elif message == "goodbye":
            self.close()
        else:
            self.router.broadcast(message)


class WaitsHandler(tornado.web.RequestHandler):
    """Whether a session has a poll that waits."""

    def get(self, session_id: str) -> None:
        [session] = [each for each in sessions_of(Connection.router) if each.session_id == session_id]
        self.write("true" if has_channel(session) else "false")


class OwnPageHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(OWN_PAGE)


def main() -> None:
    tornado.options.options.logging = "warning"
    options = options_of(bus="", node="", client="", max_sessions_per_address=0)
    settings = {
        "bus": options.bus,
        "node": options.node,
        "max_sessions_per_address": options.max_sessions_per_address or None,
    }
    router = tornadio.get_router(Connection, settings)
    Connection.router = router
    javascript, html = "text/javascript", "text/html"
    serve(
        router.route(),
        (r"/health", tornadio.HealthHandler),
        (r"/waits/(\w+)", WaitsHandler),
        (r"/own", OwnPageHandler),
        (r"/official", FileHandler, {"file": OFFICIAL / "official_page.html", "content_type": html}),
        (r"/emulation.js", FileHandler, {"file": OFFICIAL / "official_emulation.js", "content_type": javascript}),
        (r"/client.js", FileHandler, {"file": Path(options.client), "content_type": javascript}),
        port=options.port,
        xheaders=["127.0.0.1"],
        drain_delay=2,
    )


if __name__ == "__main__":
    main()
