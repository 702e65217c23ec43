"""Transports: a chat-like echo over the transport that one picks, and a table of what works in this browser.

Start it with `python3 transports.py` and open http://localhost:8001/. It also serves the Flash policy on port 843,
where Flash movies ask for it first, or on another one with `--flash-policy-port`. Where it may not, not being root, it
says so and runs on: movies then ask on port 8001, which answers, too.
"""

import logging
from pathlib import Path
from typing import Any

import tornado.web
from tornado.httputil import HTTPServerRequest
from tornado.options import define, options, parse_command_line

import tornadio

HERE = Path(__file__).resolve().parent

define("port", 8001, int, "listen on this port")
define("address", "localhost", str, "listen on this address, '' means all")
define("flash_policy_port", 843, int, "serve the Flash policy on this port, too; below 1024 that needs root")


class EchoConnection(tornadio.SocketConnection):
    def on_open(self, request: HTTPServerRequest, *args: Any, **kwargs: Any) -> None:
        self.send(f"Hello! This connection is {self.transport}. Whatever you say, I send back.")

    def on_message(self, message: Any) -> None:
        self.send(message)


class PageHandler(tornado.web.StaticFileHandler):
    """The files of the page. The browser asks whether they changed, and takes nothing from any other host."""

    # What arrives over the htmlfile transport are inline scripts. A page that does without it need not allow them.
    policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:"

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", self.policy)


EchoRouter = tornadio.get_router(EchoConnection)


if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [
            EchoRouter.route(),
            (r"/(|transports\.css|transports\.js)", PageHandler, {"path": HERE, "default_filename": "index.html"}),
            (r"/(common\.css|clock\.js|icon\.svg)", PageHandler, {"path": HERE.parent}),
        ],
        socket_io_port=options.port,
        socket_io_address=options.address,
        flash_policy_port=options.flash_policy_port,
    )
    logging.info("Transports: open http://%s:%d/", options.address or "localhost", options.port)
    tornadio.SocketServer(application)
