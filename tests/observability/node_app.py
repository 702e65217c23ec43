"""One process of several that Prometheus scrapes: echoes, and tells everybody what begins with `all:`."""

from __future__ import annotations

from typing import Any

import tornadio
from tests.app import options_of, serve


class Node(tornadio.SocketConnection):
    def on_message(self, message: Any) -> None:
        if message == "fail":
            raise RuntimeError("as the test asked")
        if str(message).startswith("all:"):
            self.broadcast(message)
        self.send(message)


options = options_of(bus="", node="")
router = tornadio.get_router(Node, {"bus": options.bus, "node": options.node, "heartbeat_interval": 1})
serve(router.route(), (r"/metrics", tornadio.MetricsHandler), port=options.port)
