"""The start of the original's README: a class, a router, an application, a server."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio
from tornadio import SocketServer

define("port", type=int)


class MyConnection(tornadio.SocketConnection):
    def on_message(self, message):
        self.send(message)


MyRouter = tornadio.get_router(MyConnection)

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [MyRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    socketio_server = SocketServer(application)
