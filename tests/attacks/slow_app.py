"""The server of the tests with clients that leave: it echoes, but its handler of `work` is never done."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import tornado.options
import tornado.web

import tornadio


class Connection(tornadio.SocketConnection):
    async def on_message(self, message: Any) -> None:
        if message == "work":
            await asyncio.get_running_loop().create_future()
        else:
            self.send(message)


class ReportHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write({"descriptors": len(os.listdir("/proc/self/fd"))})


def main() -> None:
    tornado.options.define("port", type=int)
    tornado.options.define("certificate", type=str)
    tornado.options.parse_command_line()
    options = tornado.options.options
    router = tornadio.get_router(Connection)
    application = tornado.web.Application(
        [router.route(), (r"/report", ReportHandler)], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    context = None
    if options.certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate)
    tornadio.SocketServer(application, ssl_options=context)


if __name__ == "__main__":
    main()
