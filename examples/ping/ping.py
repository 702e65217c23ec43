"""Ping: measures network performance, in continuous round trips from a page to this server and back.

Start it with `python3 ping.py` and open http://localhost:8001/. The page does the measuring, the server is an echo.
With `--flash-policy-port=843`, as root, it also serves the Flash policy where Flash movies ask for it first.
"""

import logging
from pathlib import Path
from typing import Any

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

HERE = Path(__file__).resolve().parent

define("port", 8001, int, "listen on this port")
define("address", "localhost", str, "listen on this address, '' means all")
define(
    "flash_policy_port", None, int, "serve the Flash policy on this port, too; 843, where Flash asks first, needs root"
)


class PingConnection(tornadio.SocketConnection):
    def on_message(self, message: Any) -> None:
        self.send(message)


class PageHandler(tornado.web.StaticFileHandler):
    """The files of the page. The browser asks whether they changed, and takes nothing from any other host."""

    # What arrives over the htmlfile transport are inline scripts. A page that does without it need not allow them.
    policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:"

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", self.policy)


PingRouter = tornadio.get_router(PingConnection)


if __name__ == "__main__":
    parse_command_line()
    # Over the polling transports each round trip is two requests: a line for each would slow down what is measured.
    logging.getLogger("tornado.access").setLevel(logging.WARNING)
    application = tornado.web.Application(
        [
            PingRouter.route(),
            (r"/(|ping\.css|ping\.js)", PageHandler, {"path": HERE, "default_filename": "index.html"}),
            (r"/(common\.css|clock\.js|icon\.svg)", PageHandler, {"path": HERE.parent}),
        ],
        socket_io_port=options.port,
        socket_io_address=options.address,
        flash_policy_port=options.flash_policy_port,
    )
    logging.info("Ping: open http://%s:%d/", options.address or "localhost", options.port)
    tornadio.SocketServer(application)
