"""The server of the browser client's tests: resources of many kinds, and a record of what each session received."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.app import options_of, serve

PAGE = Path(__file__).with_name("client_page.html")

# By session id: the messages that arrived, and whether `on_close` has run.
received: dict[str, list[Any]] = {}
ended: set[str] = set()


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


class SessionHandler(tornado.web.RequestHandler):
    def get(self, session_id: str) -> None:
        self.write({"received": received[session_id], "ended": session_id in ended})


class PageHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(PAGE.read_text(encoding="utf-8"))


class TrickleHandler(tornado.web.RequestHandler):
    """A multipart stream as the official server sends it, a byte at a time: every cut there can be."""

    async def get(self) -> None:
        self.set_header("Content-Type", 'multipart/x-mixed-replace;boundary="socketio"')
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
        router("plain", {"enabled_protocols": ["xhr-polling"]}),
        tornadio.get_router(SilentConnection, resource="silent").route(),
        router("never", {"enabled_protocols": ["flashsocket"]}),
        (r"/trickle/xhr-multipart/.*", TrickleHandler),
        (r"/sessions/(\w+)", SessionHandler),
        (r"/", PageHandler),
        port=options_of().port,
        address="",
    )


if __name__ == "__main__":
    main()
