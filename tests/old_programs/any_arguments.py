"""A constructor that passes on whatever it gets, and a mixin beside the connection class."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)


class Counting:
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.count = 0


class Counter(Counting, tornadio.SocketConnection):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.arguments = len(args) + len(kwargs)

    def on_message(self, message):
        self.count += 1
        self.send([message, {"count": self.count, "arguments": self.arguments}])


CounterRouter = tornadio.get_router(Counter)

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [CounterRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    tornadio.SocketServer(application)
