"""A program that checks which TornadIO it has, and imports the names that the package has itself."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio
from tornadio import SocketConnection, SocketServer, get_router

if tornadio.__version__ < (0, 0, 4):
    raise SystemExit("TornadIO 0.0.4 or newer is needed")

define("port", type=int)


class Echo(SocketConnection):
    def on_open(self, *args, **kwargs):
        self.send("TornadIO %s" % ".".join(map(str, tornadio.__version__)))
        self.send("TornadIO %s" % tornadio.version)

    def on_message(self, message):
        self.send(message)


EchoRouter = get_router(Echo, settings={"heartbeat_interval": 10}, resource="socket.io")

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [EchoRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    SocketServer(application)
