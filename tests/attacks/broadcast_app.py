"""The server of the slow readers' tests: it broadcasts as fast as those who read can follow."""

from __future__ import annotations

import collections
import os
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.vitals import VitalsHandler

# Of every session that has ended: how often its on_close has run.
closed: collections.Counter[str] = collections.Counter()


class Broadcaster:
    """Sends batch after batch to everybody, each when `readers` clients have said that they have the last one."""

    def __init__(self, readers: int, broadcasts: int, batch: int, size: int) -> None:
        self._readers = readers
        self._broadcasts = broadcasts
        self._batch = batch
        self._size = size
        self._ready = 0
        self._sent = 0

    def acknowledge(self, router: tornadio.Router) -> None:
        self._ready += 1
        if self._ready % self._readers == 0:
            for number in range(self._sent, min(self._sent + self._batch, self._broadcasts)):
                router.broadcast(f"{number} ".ljust(self._size, "x"))
                self._sent += 1


class Connection(tornadio.SocketConnection):
    """Of a client that reads if it says `ready`, for which it then has all that was sent before."""

    broadcaster: Broadcaster
    router: tornadio.Router

    def on_message(self, message: Any) -> None:
        if message == "ready":
            self.broadcaster.acknowledge(self.router)

    def on_close(self) -> None:
        closed[self.session_id] += 1


class ReportHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write({"process": os.getpid(), "closed": closed})


def main() -> None:
    for name in ("port", "readers", "broadcasts", "batch", "size", "max_send_buffer"):
        tornado.options.define(name, type=int)
    tornado.options.parse_command_line()
    options = tornado.options.options
    router = tornadio.get_router(
        Connection, {"max_send_buffer": options.max_send_buffer, "session_expiry": 600, "heartbeat_timeout": 600}
    )
    Connection.broadcaster = Broadcaster(options.readers, options.broadcasts, options.batch, options.size)
    Connection.router = router
    application = tornado.web.Application(
        [
            router.route(),
            (r"/vitals", VitalsHandler, {"router": router}),
            (r"/report", ReportHandler),
        ],
        socket_io_port=options.port,
        socket_io_address="127.0.0.1",
    )
    tornadio.SocketServer(application)


if __name__ == "__main__":
    main()
