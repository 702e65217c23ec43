"""Several resources on one server, one of them with a token in its path."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)

USERS = {"a1": "Ann", "b2": "Bob"}


class ChatConnection(tornadio.SocketConnection):
    participants = set()

    def on_open(self, *args, **kwargs):
        self.user = USERS.get(kwargs["extra"])
        if self.user is None:
            self.close()
            return
        self.participants.add(self)
        self.send("Hello %s" % self.user)

    def on_message(self, message):
        for participant in self.participants:
            participant.send("%s: %s" % (self.user, message))

    def on_close(self):
        self.participants.discard(self)


class PingConnection(tornadio.SocketConnection):
    def on_message(self, message):
        message["pong"] = True
        self.send(message)


ChatRouter = tornadio.get_router(ChatConnection, resource="chat", extra_re=r"\w+", extra_sep="/")
PingRouter = tornadio.get_router(PingConnection, resource="ping")

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [ChatRouter.route(), PingRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    tornadio.SocketServer(application)
