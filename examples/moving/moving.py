"""One room for pages of Socket.IO 0.6 and of Socket.IO 4: one server, one port, one path.

Start it with `python3 moving.py`. Open http://localhost:8001/, a page of Socket.IO 0.6, and beside it
http://localhost:8001/new.html, one of Socket.IO 4. The latter needs the client of Socket.IO: `npm install
socket.io-client` in this directory, or `--client=` and the directory of `socket.io.esm.min.js`. With
`--bus=redis://localhost/` several processes have one room.

An old page sends, and gets, JSON objects:

    {"type": "join", "name": NAME}
    {"type": "say", "text": TEXT}
    {"type": "joined", "name": NAME}, {"type": "left", "name": NAME}, {"type": "said", "name": NAME, "text": TEXT}

A new page gives its name with `auth`, emits `say` with a TEXT, which is acknowledged, and gets the events `joined`,
`left` and `said` with the same objects, without their type.
"""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import socketio
import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

HERE = Path(__file__).resolve().parent

define("port", 8001, int, "listen on this port")
define("address", "localhost", str, "listen on this address, '' means all")
define("bus", os.environ.get("BUS"), str, "be one of many processes, which this Redis connects: redis://localhost/")
define("node", "", str, "what session ids of Socket.IO 0.6 begin with, by which a proxy finds this process")
define("xheaders", None, str, "addresses of proxies, which are believed about their clients", multiple=True)
define("client", str(HERE / "node_modules/socket.io-client/dist"), str, "the directory with Socket.IO's client")


class Room:
    """Clients of both protocols, in all processes.

    Each message is sent twice, where it was said: to the group, and to the room of
    Socket.IO 4. Nothing that arrives over a bus is sent on, so nothing goes round, or comes
    twice.
    """

    def __init__(
        self,
        name: str,
        router: tornadio.Router,
        sio: socketio.AsyncServer,
    ) -> None:
        self.name = name
        self.old = router.group(name)
        self.sio = sio
        self.sending = asyncio.Lock()

    async def tell(self, event: str, **data: str) -> None:
        async with self.sending:  # so that both hear it in the same order
            self.old.send({"type": event, **data})
            await self.sio.emit(event, data, room=self.name)


class OldConnection(tornadio.SocketConnection):
    """A page of Socket.IO 0.6, as ever, but for whom it tells."""

    room: Room
    name = ""

    async def on_message(self, message: Any) -> None:
        match message:
            case {"type": "join", "name": str(name)} if name and not self.name:
                self.name = name
                self.room.old.add(self)
                await self.room.tell("joined", name=name)
            case {"type": "say", "text": str(text)} if self.name:
                await self.room.tell("said", name=self.name, text=text)

    async def on_close(self) -> None:
        self.room.old.discard(self)
        if self.name:
            await self.room.tell("left", name=self.name)


class NewNamespace(socketio.AsyncNamespace):  # type: ignore[misc]  # which has no types
    """The pages of Socket.IO 4: one object for all of this process, with a method for each
    event.
    """

    def __init__(self, room: Room) -> None:
        super().__init__("/")
        self.room = room
        self.names: dict[str, str] = {}  # by session id

    async def on_connect(self, sid: str, environ: dict[str, Any], auth: Any) -> None:
        match auth:
            case {"name": str(name)} if name:
                self.names[sid] = name
                await self.enter_room(sid, self.room.name)
                await self.room.tell("joined", name=name)
            case _:
                raise socketio.exceptions.ConnectionRefusedError("a name is missing")

    async def on_say(self, sid: str, text: Any) -> dict[str, bool]:
        if not isinstance(text, str):
            return {"ok": False}
        await self.room.tell("said", name=self.names[sid], text=text)
        return {"ok": True}

    async def on_disconnect(self, sid: str, reason: str) -> None:
        if name := self.names.pop(sid, None):
            await self.room.tell("left", name=name)

    async def leave(self) -> None:
        """Say goodbye for all, while there is a bus. When the process has ended, they come
        back over another one.
        """
        while self.names:
            _, name = self.names.popitem()
            await self.room.tell("left", name=name)


class PageHandler(tornado.web.StaticFileHandler):
    """The files of the pages. The browser asks whether they changed, and takes nothing from any other host."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:")


def main() -> None:
    parse_command_line()
    router = tornadio.get_router(OldConnection, {"bus": options.bus, "node": options.node})
    manager = socketio.AsyncRedisManager(options.bus) if options.bus else None
    # As on TornadIO, what one client sends is handled in its order.
    sio = socketio.AsyncServer(
        async_mode="tornado",
        client_manager=manager,
        async_handlers=False,
    )
    room = OldConnection.room = Room("tea", router, sio)
    new = NewNamespace(room)
    sio.register_namespace(new)
    pages = {"path": HERE, "default_filename": "old.html"}
    application = tornado.web.Application(
        [
            # This path alone, which no client of 0.6 asks for, and before the router,
            # which would answer 404.
            (r"/socket\.io/", socketio.get_tornado_handler(sio)),
            router.route(),
            (r"/health", tornadio.HealthHandler),
            (r"/client/(socket\.io\.esm\.min\.js)", PageHandler, {"path": options.client}),
            (r"/(|new\.html|\w+\.js|moving\.css)", PageHandler, pages),
            (r"/(common\.css|icon\.svg)", PageHandler, {"path": HERE.parent}),
        ],
        socket_io_port=options.port,
        socket_io_address=options.address,
    )
    logging.info("Moving: open http://%s:%d/", options.address or "localhost", options.port)
    tornadio.SocketServer(application, xheaders=options.xheaders, on_shutdown=new.leave)


if __name__ == "__main__":
    main()
