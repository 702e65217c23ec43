"""A subclass of tornado.web.Application with pages, whose cookie tells the connection who its user is."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)

SECRET = "43oETzKXQAGaYdkL5gEmGeJJFuYh7EQnp2XdTP1o"


class LoginHandler(tornado.web.RequestHandler):
    def post(self):
        self.set_secure_cookie("user", self.get_argument("name"))
        self.write("welcome")


class PageHandler(tornado.web.RequestHandler):
    def get_current_user(self):
        user = self.get_secure_cookie("user")
        return user and user.decode("utf-8")

    @tornado.web.authenticated
    def get(self):
        self.write("Hello %s" % self.current_user)


class SiteConnection(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        cookie = request.cookies.get("user")
        value = tornado.web.decode_signed_value(SECRET, "user", cookie.value) if cookie else None
        self.user = value.decode("utf-8") if value else "nobody"
        self.send({"user": self.user, "address": request.remote_ip})

    def on_message(self, message):
        self.send("%s said %s" % (self.user, message))


class Application(tornado.web.Application):
    def __init__(self):
        handlers = [
            (r"/", PageHandler),
            (r"/login", LoginHandler),
            tornadio.get_router(SiteConnection).route(),
        ]
        settings = {
            "cookie_secret": SECRET,
            "login_url": "/login",
            "xsrf_cookies": False,
            "socket_io_port": options.port,
            "socket_io_address": "127.0.0.1",
        }
        tornado.web.Application.__init__(self, handlers, **settings)


if __name__ == "__main__":
    parse_command_line()
    tornadio.SocketServer(Application())
