"""A chatroom: names, joins and leaves, who is here, and a short history for newcomers.

Start it with `python3 chatroom.py` and open http://localhost:8001/ in two windows.

Page and server send each other JSON objects. The page sends

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

import itertools
import logging
import time
from collections import deque
from pathlib import Path
from typing import Any

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

NAME_LIMIT = 24
TEXT_LIMIT = 2000
ID_LIMIT = 64
HISTORY_LENGTH = 50

HERE = Path(__file__).resolve().parent

define("port", 8001, int, "listen on this port")
define("address", "localhost", str, "listen on this address, '' means all")


class Refused(Exception):
    """What came from a page can't be done; the text tells people why."""


class ChatConnection(tornadio.SocketConnection):
    joined: set["ChatConnection"] = set()
    history: deque[dict[str, Any]] = deque(maxlen=HISTORY_LENGTH)

    name = ""
    tab = ""

    def on_message(self, message: Any) -> None:
        try:
            match message:
                case {"type": "join", "name": str(name), "tab": str(tab)} if not self.name and len(tab) <= ID_LIMIT:
                    self.join(name, tab)
                case {"type": "say", "id": str(id), "text": str(text)} if self.name and len(id) <= ID_LIMIT:
                    self.say(id, text)
                case {"type": "leave"}:
                    self.leave()
                case _:
                    raise Refused("This is no message that the server knows, or it came at the wrong time.")
        except Refused as refused:
            which = message.get("id") if isinstance(message, dict) else None
            self.send({"type": "refused", "id": which if isinstance(which, str) else None, "reason": str(refused)})

    def on_close(self) -> None:
        self.leave()

    def join(self, wanted: str, tab: str) -> None:
        name = clean_name(wanted)
        is_new = not any(c.name == name and c.tab == tab for c in self.joined)
        self.name = self.free_name(name) if is_new else name
        self.tab = tab
        if is_new:
            self.tell_everybody({"type": "joined", "name": self.name})
            logging.info("%s joined over %s", self.name, self.transport)
        self.joined.add(self)
        people = sorted({c.name for c in self.joined})
        history = list(self.history)
        self.send({"type": "welcome", "name": self.name, "people": people, "history": history, "limit": TEXT_LIMIT})

    def say(self, id: str, text: str) -> None:
        if not text.strip():
            raise Refused("There is nothing in this message.")
        if len(text) > TEXT_LIMIT:
            raise Refused(f"A message has at most {TEXT_LIMIT} characters, this one has {len(text)}.")
        for earlier in self.history:
            if earlier["id"] == id:
                self.send(earlier)
                return
        said = {"type": "said", "id": id, "name": self.name, "text": text, "time": time.time()}
        self.history.append(said)
        self.tell_everybody(said)

    def leave(self) -> None:
        name, self.name = self.name, ""
        self.joined.discard(self)
        if name and not any(c.name == name for c in self.joined):
            self.tell_everybody({"type": "left", "name": name})
            logging.info("%s left", name)

    def tell_everybody(self, message: dict[str, Any]) -> None:
        for connection in list(self.joined):
            connection.send(message)

    def free_name(self, name: str) -> str:
        """The name itself, or if somebody has it, the name with a number."""
        taken = {c.name.casefold() for c in self.joined}
        endings = itertools.chain([""], (f" {number}" for number in itertools.count(2)))
        names = (name[: NAME_LIMIT - len(ending)] + ending for ending in endings)
        return next(name for name in names if name.casefold() not in taken)


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


# Who closes the page over a polling transport just asks no more. After 10 seconds of that, not 30, they have left.
ChatRouter = tornadio.get_router(ChatConnection, {"session_expiry": 10, "session_check_interval": 2})


if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [
            ChatRouter.route(),
            (r"/(|chatroom\.css|chatroom\.js)", PageHandler, {"path": HERE, "default_filename": "index.html"}),
            (r"/(common\.css|icon\.svg)", PageHandler, {"path": HERE.parent}),
        ],
        socket_io_port=options.port,
        socket_io_address=options.address,
    )
    logging.info("Chatroom: open http://%s:%d/", options.address or "localhost", options.port)
    tornadio.SocketServer(application)
