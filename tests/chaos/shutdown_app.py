"""The server of the shutdown test. It says nothing on its own; a report is written when it has stopped."""

from __future__ import annotations

import asyncio
import collections
import logging
from pathlib import Path
from typing import Any

import simplejson
import tornado.options
import tornado.web
from tornado.ioloop import IOLoop

import tornadio
from tests.app import options_of, report_at, serve

FAREWELL = 100
SLOW_SECONDS = 2.5  # more than what is left to whoever has been cancelled
# On a busy machine it takes a while until all clients are there, and none may end before.
PATIENCE = 600.0
SETTINGS = {
    "max_send_buffer": 64 << 20,
    "session_expiry": PATIENCE,
    "heartbeat_timeout": PATIENCE,
    "xhr_polling_timeout": PATIENCE,
}

# How often each thing has happened, by session id.
opened: collections.Counter[str] = collections.Counter()
closed: collections.Counter[str] = collections.Counter()
begun: collections.Counter[str] = collections.Counter()
handled: collections.Counter[str] = collections.Counter()


class Connection(tornadio.SocketConnection):
    """Of a client that says what state it is to be in when the server stops."""

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        opened[self.session_id] += 1
        if request.headers.get("X-Slow"):
            await self.work(0.1)

    async def on_message(self, message: Any) -> None:
        if message == "fill":
            for number in range(FAREWELL):
                self.send(f"{number} ".ljust(20_000, "x"))
        elif message == "queue":
            self.send(list(map(str, range(FAREWELL))))
        elif message == "work":
            await self.work(SLOW_SECONDS)
        elif message == "hang":
            begun[self.session_id] += 1
            await asyncio.sleep(10_000)

    async def work(self, seconds: float) -> None:
        """Be at work when the server is told to stop, and some time longer."""
        begun[self.session_id] += 1
        while not self.is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)
        handled[self.session_id] += 1

    async def on_close(self) -> None:
        await asyncio.sleep(0.01)
        closed[self.session_id] += 1


class Server(tornadio.SocketServer):
    async def shutdown(self, timeout: float = 0.0) -> None:
        await super().shutdown(timeout or tornado.options.options.deadline)


def report() -> dict[str, Any]:
    return {"opened": opened, "closed": closed, "begun": begun, "handled": handled}


def main() -> None:
    tornado.options.options.logging = None  # so that warnings and errors go to stderr, as they do by default
    options = options_of(report="", deadline=0.0)
    # That polls wait for longer than clients in use do, is meant.
    logging.getLogger("tornadio.settings").setLevel(logging.ERROR)
    # asyncio's debugging tells of callbacks that are slow, as they are on a busy machine.
    IOLoop.current().asyncio_loop.slow_callback_duration = 60  # type: ignore[attr-defined]
    serve(
        *(tornadio.get_router(Connection, SETTINGS).route(), report_at("/report", report)),
        port=options.port,
        server_class=Server,
        header_timeout=PATIENCE,
        body_timeout=PATIENCE,
    )
    Path(options.report).write_text(simplejson.dumps(report()), encoding="utf-8")


if __name__ == "__main__":
    main()
