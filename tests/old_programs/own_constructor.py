"""A constructor of its own, without arguments, that does not call the base class's."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)


class Notes(tornadio.SocketConnection):
    def __init__(self):
        self.notes = []

    def on_message(self, message):
        if message == "all":
            self.send({"notes": self.notes})
        else:
            self.notes.append(message)


NotesRouter = tornadio.get_router(Notes)

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [NotesRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    tornadio.SocketServer(application)
