"""Settings of the router among those of the application, where most public programs had them."""

import os

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)

ROOT = os.path.normpath(os.path.dirname(__file__))


class IndexHandler(tornado.web.RequestHandler):
    def get(self):
        self.write("index")


class ChatConnection(tornadio.SocketConnection):
    def on_open(self, *args, **kwargs):
        self.send("Welcome!")

    def on_message(self, message):
        self.send(message)


ChatRouter = tornadio.get_router(ChatConnection)

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [(r"/", IndexHandler), ChatRouter.route()],
        enabled_protocols=["websocket"],
        flash_policy_port=options.port + 1,
        flash_policy_file=os.path.join(ROOT, "flashpolicy.xml"),
        socket_io_port=options.port,
        socket_io_address="127.0.0.1",
    )
    tornadio.SocketServer(application)
