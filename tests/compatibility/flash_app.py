"""The server of the Flash tests: an echo, the official client with its movie, Ruffle to play that, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.app import options_of, serve

HERE = Path(__file__).resolve().parent
BURST = ["one", {"two": 2}, "é中😀", "four"]
LIVELY = {"heartbeat_interval": 1.0, "heartbeat_timeout": 8.0}


class Connection(tornadio.SocketConnection):
    """Echoes. Some texts are commands."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.about = {
            "extra": kwargs["extra"],
            "transport": self.transport,
            "draft-76": "Sec-WebSocket-Key1" in request.headers,
        }

    def on_message(self, message: Any) -> None:
        if message == "about":
            self.send(self.about)
        elif message == "burst":
            self.send(BURST)
        elif message == "close":
            self.close()
        else:
            self.send(message)


class PageHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write((HERE / "flash_page.html").read_text(encoding="utf-8"))


def main() -> None:
    options = options_of(modules="")
    modules = Path(options.modules)
    serve(
        tornadio.get_router(Connection).route(),
        tornadio.get_router(Connection, LIVELY, resource="lively").route(),
        tornadio.get_router(Connection, resource="chat", extra_re=r"\d+", extra_sep="/").route(),
        (r"/client/(.*)", tornado.web.StaticFileHandler, {"path": modules / "socket.io/support/socket.io-client"}),
        (r"/ruffle/(.*)", tornado.web.StaticFileHandler, {"path": modules / "@ruffle-rs/ruffle"}),
        (r"/", PageHandler),
        port=options.port,
        address="",
    )


if __name__ == "__main__":
    main()
