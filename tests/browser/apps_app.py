"""A server for pages without an origin: files, and sandboxed frames."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import tornado.web

import tornadio

PAGE = Path(__file__).with_name("apps_page.html")


class Echo(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        self.send({"origin": request.headers.get("Origin", "")})

    def on_message(self, message):
        self.send(message)


class Framed(tornado.web.RequestHandler):
    """The page in a frame that has no origin."""

    def get(self) -> None:
        self.write(
            '<!doctype html><meta charset="utf-8"><title>framed</title>'
            f'<iframe sandbox="allow-scripts allow-forms" src="/page?{self.request.query}"></iframe>'
            "<pre id=log></pre><script>onmessage = ({ data }) => { log.textContent = data; }</script>"
        )


class Plain(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(PAGE.read_text(encoding="utf-8"))


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
options = parser.parse_args()
routes: list[Any] = [
    tornadio.get_router(Echo, {"origins": ["null"]}, resource="null").route(),
    tornadio.get_router(Echo, {"origins": ["localhost:*"]}, resource="listed").route(),
    (r"/framed", Framed),
    (r"/page", Plain),
]
application = tornado.web.Application(routes, socket_io_port=options.port, socket_io_address="127.0.0.1")

if __name__ == "__main__":
    tornadio.SocketServer(application)
