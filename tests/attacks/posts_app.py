"""The server of the tests that look from outside at what POSTs cost: a message says what its handler does."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.vitals import VitalsHandler


class Connection(tornadio.SocketConnection):
    async def on_message(self, message: Any) -> None:
        if isinstance(message, dict):
            for number in range(message["messages"]):
                self.send(f"{number} {message['text']}")
        elif message == "hang":
            await asyncio.sleep(3600)
        elif message == "stay":
            while not self.is_closed:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        else:
            await asyncio.sleep(0.05)


class ReportHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write({"process": os.getpid()})


def main() -> None:
    tornado.options.define("port", type=int)
    tornado.options.define("max_message_size", type=int, default=1 << 20)
    tornado.options.define("session_expiry", type=float, default=600.0)
    tornado.options.define("certificate", type=str, default="")
    tornado.options.parse_command_line()
    options = tornado.options.options
    settings = {
        "max_message_size": options.max_message_size,
        "session_expiry": options.session_expiry,
        "session_check_interval": 0.1,
        "heartbeat_timeout": 600,
    }
    router = tornadio.get_router(Connection, settings)
    application = tornado.web.Application(
        [
            router.route(),
            (r"/vitals", VitalsHandler, {"router": router}),
            (r"/report", ReportHandler),
            (r"/health", tornadio.HealthHandler),
        ],
        socket_io_port=options.port,
        socket_io_address="127.0.0.1",
    )
    context = None
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate)
    tornadio.SocketServer(application, ssl_options=context, body_timeout=600)


if __name__ == "__main__":
    main()
