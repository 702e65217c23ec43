"""The server of the browser client's tests: resources of many kinds, and a record of what each session received."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import tornado.options
import tornado.web
import tornado.websocket

import tornadio
from tests.app import options_of, serve

PAGE = Path(__file__).with_name("client_page.html")

# By session id: the messages that arrived, whether `on_close` has run, and how many ticks were sent.
received: dict[str, list[Any]] = {}
ended: set[str] = set()
ticks: dict[str, int] = {}


class Connection(tornadio.SocketConnection):
    """Echoes. Some texts are commands."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        received[self.session_id] = []
        self.about = {
            "cookies": {name: morsel.value for name, morsel in request.cookies.items()},
            "extra": kwargs["extra"],
            "session": self.session_id,
            "transport": self.transport,
        }

    def on_message(self, message: Any) -> None:
        received[self.session_id].append(message)
        if message == "about":
            self.send(self.about)
        elif message == "close":
            self.close()
        else:
            self.send(message)

    def on_close(self) -> None:
        ended.add(self.session_id)


class SilentConnection(Connection):
    def on_message(self, message: Any) -> None:
        received[self.session_id].append(message)


class TickingConnection(Connection):
    """Also sends `{"tick": NUMBER}` each few milliseconds, from 1 on."""

    ticks = 0

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        self.task = asyncio.create_task(self.tick())

    async def tick(self) -> None:
        while True:
            self.ticks += 1
            self.send({"tick": self.ticks})
            ticks[self.session_id] = self.ticks
            await asyncio.sleep(0.007)

    def on_close(self) -> None:
        self.task.cancel()
        super().on_close()


class ClosingConnection(tornadio.SocketConnection):
    """Is closed as soon as it is accepted."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.close()


class RefusingConnection(tornadio.SocketConnection):
    """The first is accepted, and closed when it says something. All others are refused."""

    is_full = False

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        was_full, RefusingConnection.is_full = self.is_full, True
        return not was_full

    def on_message(self, message: Any) -> None:
        self.close()


class FailingHandler(tornado.web.RequestHandler):
    """Answers 503, with a text of that type."""

    def get(self, kind: str) -> None:
        self.set_status(503)
        self.set_header("Content-Type", f"text/{kind}")
        self.write("é" * 100_000)


class SessionHandler(tornado.web.RequestHandler):
    def get(self, session_id: str) -> None:
        """What is known of a session. Of one that a client is just asking for, that is nothing."""
        known = {
            "received": received.get(session_id, []),
            "ended": session_id in ended,
            "ticks": ticks.get(session_id, 0),
        }
        self.write(known)


class PageHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        """The page; with the argument `policy` it has that Content-Security-Policy, and tells nobody where it is. Each
        argument `header` is one more header of the response."""
        for header in self.get_arguments("header"):
            name, value = header.split(": ")
            self.set_header(name, value)
        if policy := self.get_argument("policy", ""):
            self.set_header("Content-Security-Policy", policy)
            self.set_header("Referrer-Policy", "no-referrer")
        self.write(PAGE.read_text(encoding="utf-8"))


class ScriptHandler(tornado.web.RequestHandler):
    """A script, which is the argument `text`."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript")
        self.write(self.get_argument("text"))


class EarlyPageHandler(tornado.web.RequestHandler):
    """A page that connects before it has loaded, and lists what happens to it."""

    def get(self, transport: str) -> None:
        self.write(
            f"""<!DOCTYPE html><link rel=icon href=data:,><script src=/socket.io/socket.io.js></script><script>
              const events = [];
              addEventListener('load', () => events.push('load'));
              const socket = new io.Socket(null, {{ transports: ['{transport}'] }});
              socket.on('connect', () => events.push('connect')).connect();
            </script>"""
        )


class OddSocketHandler(tornado.websocket.WebSocketHandler):
    """Says what no server of Socket.IO would say, behind a session id and a message."""

    def open(self, kind: str) -> None:
        self.write_message("~m~3~m~sid~m~4~m~good")
        if kind == "binary":
            self.write_message(b"~m~3~m~abc", binary=True)
        else:
            self.write_message("<html>")


class TrickleHandler(tornado.web.RequestHandler):
    """A multipart stream as the official server sends it, a byte at a time: every cut there can be."""

    def initialize(self, subtype: str) -> None:
        self._subtype = subtype

    async def get(self) -> None:
        self.set_header("Content-Type", f'multipart/{self._subtype};boundary="socketio"')
        stream = "--socketio\n"
        for payload in ("~m~3~m~sid", "~m~4~m~é中😀~m~5~m~a\n\n\nb", "~m~3~m~end"):
            stream += f"Content-Type: text/plain\n\n{payload}\n--socketio\n"
        for byte in stream.encode():
            self.write(bytes([byte]))
            await self.flush()
            await asyncio.sleep(0.002)


def router(resource: str, settings: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    return tornadio.get_router(Connection, settings, resource, **kwargs).route()


def main() -> None:
    serve(
        router("socket.io"),
        router("chat", extra_re=r"\d+", extra_sep="/"),
        router("impatient", {"heartbeat_interval": 0.3, "xhr_polling_timeout": 0.3}),
        router("compressed", {"compression": {"threshold": 0}}),
        router("takeover", {"compression": {"threshold": 0, "context_takeover": True}}),
        router("plain", {"enabled_protocols": ["xhr-polling"]}),
        router("everybody", {"origins": ["*:*"]}),
        tornadio.get_router(SilentConnection, resource="silent").route(),
        tornadio.get_router(TickingConnection, resource="ticking").route(),
        tornadio.get_router(ClosingConnection, resource="closing").route(),
        tornadio.get_router(RefusingConnection, resource="refusing").route(),
        (r"/failing/(html|plain)/.*", FailingHandler),
        router("never", {"enabled_protocols": ["flashsocket"]}),
        (r"/trickle/xhr-multipart/.*", TrickleHandler, {"subtype": "x-mixed-replace"}),
        (r"/trickle-mixed/xhr-multipart/.*", TrickleHandler, {"subtype": "mixed"}),
        (r"/odd/(binary|malformed)/websocket", OddSocketHandler),
        (r"/sessions/(\w+)", SessionHandler),
        (r"/script.js", ScriptHandler),
        (r"/early/(.*)", EarlyPageHandler),
        (r"/", PageHandler),
        port=options_of().port,
        address="",
    )


if __name__ == "__main__":
    main()
