"""A signed cookie that on_open reads by way of a RequestHandler, which it makes of its request for that alone."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)


class LoginHandler(tornado.web.RequestHandler):
    def get(self):
        self.set_secure_cookie("user", "Ann")


class Members(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        handler = tornado.web.RequestHandler(application, request)
        self.user = handler.get_secure_cookie("user")
        if not self.user:
            self.close()
        else:
            self.send("Hello " + self.user.decode("utf-8"))

    def on_message(self, message):
        self.send(message)


if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [(r"/login", LoginHandler), tornadio.get_router(Members).route()],
        cookie_secret="43oETzKXQAGaYdkL5gEmGeJJFuYh7EQnp2XdTP1o",
        socket_io_port=options.port,
        socket_io_address="127.0.0.1",
    )
    tornadio.SocketServer(application)
