"""The server of the official browser client's tests: an echo, the client as npm has it, and the page that loads it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.app import options_of, serve

HERE = Path(__file__).parent
BURST = 100

# By session id: the connections, and the messages that arrived.
connections: dict[str, Connection] = {}
received: dict[str, list[Any]] = {}


class Connection(tornadio.SocketConnection):
    """Echoes. Some texts are commands."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        connections[self.session_id] = self
        received[self.session_id] = []
        self.extra = kwargs["extra"]
        self.released = asyncio.Event()

    async def on_message(self, message: Any) -> None:
        received[self.session_id].append(message)
        if message == "about":
            self.send({"extra": self.extra, "transport": self.transport})
        elif message == "burst":
            for number in range(BURST):
                self.send(f"é中😀 {number}")
        elif message == "close":
            self.close()
        elif message == "hold":
            await asyncio.sleep(0.5)
            self.send("a heartbeat was sent")
            await self.released.wait()
        elif isinstance(message, dict) and "together" in message:
            self.send(message["together"])
        else:
            self.send(message)


class Greeter(Connection):
    """Greets each client with `greeting` and its session id."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        self.send(f"greeting {self.session_id}")


class Taker(Connection):
    """Answers the message `end` alone, with the number of those that it has received."""

    async def on_message(self, message: Any) -> None:
        messages = received[self.session_id]
        messages.append(message)
        if message == "end":
            self.send({"received": len(messages)})


class Closer(Connection):
    """Closes each connection as soon as it has a message."""

    async def on_message(self, message: Any) -> None:
        self.close()


class ReceivedHandler(tornado.web.RequestHandler):
    def get(self, session_id: str) -> None:
        self.write({"messages": received[session_id]})


class SayHandler(tornado.web.RequestHandler):
    """Makes the server send a message by itself."""

    def get(self, session_id: str, text: str) -> None:
        connections[session_id].send(text)


class ReleaseHandler(tornado.web.RequestHandler):
    """Lets a handler go on that waits since the message `hold`."""

    def get(self, session_id: str) -> None:
        connections[session_id].released.set()


class FileHandler(tornado.web.RequestHandler):
    def initialize(self, file: Path, content_type: str) -> None:
        self._file = file
        self._content_type = content_type

    def get(self) -> None:
        self.set_header("Content-Type", f"{self._content_type}; charset=utf-8")
        self.write(self._file.read_bytes())


def main() -> None:
    options = options_of(client="")
    javascript, html = "text/javascript", "text/html"
    serve(
        (r"/", FileHandler, {"file": HERE / "official_page.html", "content_type": html}),
        (r"/emulation.js", FileHandler, {"file": HERE / "official_emulation.js", "content_type": javascript}),
        (r"/client.js", FileHandler, {"file": Path(options.client), "content_type": javascript}),
        (r"/received/(\w+)", ReceivedHandler),
        (r"/release/(\w+)", ReleaseHandler),
        (r"/say/(\w+)/(\w+)", SayHandler),
        tornadio.get_router(Connection, {"max_message_size": 4 << 20}).route(),
        tornadio.get_router(Connection, {"heartbeat_interval": 0.2}, resource="lively").route(),
        tornadio.get_router(Greeter, resource="greeting").route(),
        tornadio.get_router(Taker, resource="queue").route(),
        tornadio.get_router(Closer, resource="closing").route(),
        tornadio.get_router(Connection, resource="chat", extra_re=r"\d+", extra_sep="/").route(),
        port=options.port,
        address="",
    )


if __name__ == "__main__":
    main()
