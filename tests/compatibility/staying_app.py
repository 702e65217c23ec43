"""A server whose handlers are at work as long as their client is there, and a page with a client of Socket.IO."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import tornado.web

import tornadio
from tests.app import options_of, report_at, serve

SESSION_EXPIRY = 2

PAGE = b"""<!doctype html><link rel="icon" href="data:,"><script src="/client.js"></script><script>
  const transport = location.hash.slice(1);
  const options = {port: location.port, transports: [transport], rememberTransport: false};
  const socket = new io.Socket(location.hostname, options);
  socket.on('connect', () => socket.send('work'));
  socket.connect();
</script>"""

# What has happened, each with the time, and with what is known of the connection's end.
events: list[tuple[str, tuple[float, str]]] = []


class Staying(tornadio.SocketConnection):
    async def on_message(self, message: Any) -> None:
        events.append(("begins", (time.time(), self.close_reason)))
        while not self.is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        events.append(("ends", (time.time(), self.close_reason)))

    def on_close(self) -> None:
        events.append(("closed", (time.time(), self.close_reason)))


class PageHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(PAGE)


class ClientHandler(tornado.web.RequestHandler):
    def initialize(self, file: str) -> None:
        self._file = file

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.write(Path(self._file).read_bytes())


def main() -> None:
    options = options_of(client="")
    router = tornadio.get_router(Staying, {"session_expiry": SESSION_EXPIRY})
    serve(
        (r"/", PageHandler),
        (r"/client.js", ClientHandler, {"file": options.client}),
        report_at(r"/events", lambda: {"events": events}),
        router.route(),
        port=options.port,
    )


if __name__ == "__main__":
    main()
