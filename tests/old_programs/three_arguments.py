"""A constructor with the three arguments of 0.0.5, which calls the base class's, in the way of its time."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)


class Player(tornadio.SocketConnection):
    def __init__(self, protocol, io_loop, heartbeat_interval):
        tornadio.SocketConnection.__init__(self, protocol, io_loop, heartbeat_interval)
        self.loop = io_loop
        self.encode = protocol.encode
        self.interval = heartbeat_interval
        self.score = 0

    def on_open(self, *args, **kwargs):
        self.send({"frame": self.encode("hi"), "interval": self.interval})

    def on_message(self, message):
        self.score += message["points"]
        self.loop.add_callback(self.tell_score)

    def tell_score(self):
        self.send({"score": self.score})


GameRouter = tornadio.get_router(Player, {"heartbeat_interval": 10})

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [GameRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    tornadio.SocketServer(application)
