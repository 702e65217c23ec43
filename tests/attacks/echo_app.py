"""The server of the tests that look at its memory from outside: it echoes."""

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


class Connection(tornadio.SocketConnection):
    def on_message(self, message: Any) -> None:
        self.send(message)

    def on_close(self) -> None:
        closed[self.session_id] += 1


class ReportHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write({"process": os.getpid(), "closed": closed})


def main() -> None:
    for name in ("port", "max_message_size"):
        tornado.options.define(name, type=int)
    tornado.options.parse_command_line()
    options = tornado.options.options
    router = tornadio.get_router(Connection, {"max_message_size": options.max_message_size, "heartbeat_timeout": 600})
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
