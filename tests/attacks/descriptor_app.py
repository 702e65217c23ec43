"""A server that greets, with a policy port, or with TLS."""

from __future__ import annotations

import logging
import ssl
from typing import Any

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", 0)
define("policy_port", None, int)
define("certificate", "")


class Greeter(tornadio.SocketConnection):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.send("welcome")

    def on_message(self, message: Any) -> None:
        self.send(message)


if __name__ == "__main__":
    parse_command_line()
    logging.getLogger().setLevel(logging.WARNING)
    context = None
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate)
    application = tornado.web.Application(
        [tornadio.get_router(Greeter).route()],
        socket_io_port=options.port,
        socket_io_address="127.0.0.1",
        flash_policy_port=options.policy_port,
    )
    tornadio.SocketServer(application, ssl_options=context)
