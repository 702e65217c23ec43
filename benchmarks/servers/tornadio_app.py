"""TornadIO, as a plain user's program: an echo; what begins with `b:` goes to everybody.

--broadcast has `broadcast` do what is a loop over the participants otherwise; with --bus it reaches other processes.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import tornado.web

import tornadio


class EchoConnection(tornadio.SocketConnection):
    participants: set[EchoConnection] = set()

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.participants.add(self)

    def on_message(self, message: Any) -> None:
        if message.startswith("b:"):
            self.tell_all(message[2:])
        else:
            self.send(message)

    def tell_all(self, message: str) -> None:
        for p in self.participants:
            p.send(message)

    def on_close(self) -> None:
        self.participants.discard(self)


class BroadcastConnection(EchoConnection):
    def tell_all(self, message: str) -> None:
        self.send(message)
        self.broadcast(message)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--broadcast", action="store_true")
    parser.add_argument("--bus", help="the URL of a Redis")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the router, in JSON")
    arguments = parser.parse_args()
    router = tornadio.get_router(
        BroadcastConnection if arguments.broadcast else EchoConnection,
        {"bus": arguments.bus, **arguments.settings},
    )
    application = tornado.web.Application(
        [router.route()], socket_io_port=arguments.port, socket_io_address="127.0.0.1"
    )
    tornadio.SocketServer(application)


if __name__ == "__main__":
    main()
