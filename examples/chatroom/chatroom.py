"""A chatroom: names, joins and leaves, who is here, and a short history for newcomers.

Start it with `python3 chatroom.py` and open http://localhost:8001/ in two windows. With `--flash-policy-port=843`, as
root, it also serves the Flash policy where Flash movies ask for it first.

Who runs it sees at http://localhost:8001/monitor/ how it does. To look from elsewhere, or to close connections and send
them messages, start it with `--operator_key=SECRET` and open http://localhost:8001/operator/SECRET once.

Page and server send each other JSON objects, with all of these fields. The page sends

    {"type": "join", "name": NAME, "tab": SECRET}   SECRET is the browser tab's own: with it a page that was reloaded or
                                                    lost its connection takes its name again
    {"type": "say", "id": ID, "text": TEXT}         ID is made by the page: with it a message that is sent again after
                                                    a lost connection is said only once
    {"type": "leave"}                               before joining by another name

and the server

    {"type": "welcome", "name": NAME, "people": [NAME, ...], "history": [...], "limit": characters in a TEXT}
    {"type": "joined", "name": NAME}
    {"type": "left", "name": NAME}
    {"type": "said", "id": ID, "name": NAME, "text": TEXT, "time": seconds since 1970}
    {"type": "refused", "id": ID of what was refused or null, "reason": a sentence for people}
"""

import hmac
import logging
import os
import time
from pathlib import Path
from typing import Any

import tornado.web
from room import NAME_LIMIT, Refused, Room, SharedRoom
from tornado.options import define, options, parse_command_line

import tornadio

TEXT_LIMIT = 2000
ID_LIMIT = 64

HERE = Path(__file__).resolve().parent

define("port", 8001, int, "listen on this port")
define("address", "localhost", str, "listen on this address, '' means all")
define(
    "flash_policy_port", None, int, "serve the Flash policy on this port, too; 843, where Flash asks first, needs root"
)
define("bus", os.environ.get("BUS"), str, "be one of many processes, which this Redis connects: redis://localhost/")
define("node", "", str, "what this process's session ids begin with, by which a proxy finds it")
define("xheaders", None, str, "addresses of proxies, which are believed about their clients", multiple=True)
define("operator_key", os.environ.get("OPERATOR_KEY"), str, "the secret in the URL that makes somebody an operator")
define("metrics", False, bool, "let Prometheus on this machine read /metrics: needs pip install '.[metrics]'")
define("drain_delay", 0.0, float, "when stopped, let the health check fail for so many seconds first")


class ChatConnection(tornadio.SocketConnection):
    room: Room
    joined: tornadio.Group  # of all processes, when there are many

    name = ""

    async def on_message(self, message: Any) -> None:
        try:
            match message:
                case {"type": "join", "name": str(name), "tab": str(tab)} if not self.name and len(tab) <= ID_LIMIT:
                    await self.join(name, tab)
                case {"type": "say", "id": str(id), "text": str(text)} if self.name and len(id) <= ID_LIMIT:
                    await self.say(id, text)
                case {"type": "leave"}:
                    await self.leave()
                case _:
                    raise Refused("This is no message that the server knows, or it came at the wrong time.")
        except Refused as refused:
            which = message.get("id") if isinstance(message, dict) else None
            self.send({"type": "refused", "id": which if isinstance(which, str) else None, "reason": str(refused)})

    async def on_close(self) -> None:
        try:
            await self.leave()
        except Refused:
            logging.warning("%s left, and the room doesn't know it yet", self.session_id)

    async def join(self, wanted: str, tab: str) -> None:
        self.name, is_new = await self.room.enter(self.session_id, clean_name(wanted), tab)
        if is_new:
            self.joined.send({"type": "joined", "name": self.name})
            logging.info("%s joined over %s", self.name, self.transport)
        self.joined.add(self)
        people = sorted(await self.room.names())
        history = await self.room.last_words()
        self.send({"type": "welcome", "name": self.name, "people": people, "history": history, "limit": TEXT_LIMIT})

    async def say(self, id: str, text: str) -> None:
        if not text.strip():
            raise Refused("There is nothing in this message.")
        if len(text) > TEXT_LIMIT:
            raise Refused(f"A message has at most {TEXT_LIMIT} characters, this one has {len(text)}.")
        for earlier in await self.room.last_words():
            if earlier["id"] == id:
                self.send(earlier)
                return
        said = {"type": "said", "id": id, "name": self.name, "text": text, "time": time.time()}
        await self.room.remember(said)
        self.joined.send(said)

    async def leave(self) -> None:
        name, self.name = self.name, ""
        self.joined.discard(self)
        if name and await self.room.leave(self.session_id):
            tell_left(name)


def tell_left(name: str) -> None:
    ChatConnection.joined.send({"type": "left", "name": name})
    logging.info("%s left", name)


def clean_name(name: str) -> str:
    """A name as it is shown, on one line, without invisible characters."""
    name = " ".join("".join(c for c in name if c.isprintable() or c.isspace()).split())
    if not name:
        raise Refused("A name needs at least one letter.")
    if len(name) > NAME_LIMIT:
        raise Refused(f"A name has at most {NAME_LIMIT} characters.")
    return name


class PageHandler(tornado.web.StaticFileHandler):
    """The files of the page. The browser asks whether they changed, and takes nothing from any other host."""

    # What arrives over the htmlfile transport are inline scripts. A page that does without it need not allow them.
    policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:"

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", self.policy)


class OperatorHandler(tornado.web.RequestHandler):
    """Makes an operator of whoever opens the URL with the key, by a cookie that goes to the monitor alone."""

    def get(self, key: str) -> None:
        if not is_operator_key(key):
            raise tornado.web.HTTPError(404)
        self.set_cookie("operator", key, path="/monitor/", httponly=True, samesite="Strict")
        self.redirect("/monitor/")

    def _log(self) -> None:
        pass  # the access log would have the key


def is_operator_key(key: str) -> bool:
    return bool(options.operator_key) and hmac.compare_digest(key.encode(), options.operator_key.encode())


def authorize(handler: tornadio.MonitorHandler) -> str | None:
    """What somebody may do at the monitor: operators act, and who sits at this machine looks."""
    if is_operator_key(handler.get_cookie("operator") or ""):
        return "act"
    return "read" if handler.is_local() else None


def main() -> None:
    parse_command_line()
    # Who closes the page over a polling transport just asks no more. After 10 seconds of that, not 30, they have left.
    settings = {"session_expiry": 10, "session_check_interval": 2, "bus": options.bus, "node": options.node}
    router = tornadio.get_router(ChatConnection, settings)
    ChatConnection.joined = router.group("joined")
    ChatConnection.room = SharedRoom(options.bus, tell_left) if options.bus else Room()
    application = tornado.web.Application(
        [
            router.route(),
            (r"/health", tornadio.HealthHandler),
            (r"/monitor/(.*)", tornadio.MonitorHandler, {"authorize": authorize}),
            (r"/operator/(.+)", OperatorHandler),
            *([(r"/metrics", tornadio.MetricsHandler)] if options.metrics else []),
            (r"/(|chatroom\.css|chatroom\.js)", PageHandler, {"path": HERE, "default_filename": "index.html"}),
            (r"/(common\.css|icon\.svg)", PageHandler, {"path": HERE.parent}),
        ],
        socket_io_port=options.port,
        socket_io_address=options.address,
        flash_policy_port=options.flash_policy_port,
    )
    logging.info("Chatroom: open http://%s:%d/", options.address or "localhost", options.port)
    tornadio.SocketServer(application, xheaders=options.xheaders, drain_delay=options.drain_delay)


if __name__ == "__main__":
    main()
