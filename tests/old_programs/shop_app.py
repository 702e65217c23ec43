"""Starts the shop."""

import tornado.httpserver
import tornado.web
from tornado.options import define, options, parse_command_line

from tests.old_programs.shop.sockets import BasketRouter
from tornadio.server import SocketServer

define("port", type=int)

application_routes = [BasketRouter.route()]

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        application_routes, socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    SocketServer(application, xheaders=True)
