"""A thread that follows a log file and sends each line to everybody: the most common shape of all."""

import threading
import time

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)
define("log", type=str)


class LogConnection(tornadio.SocketConnection):
    participants = set()

    def on_open(self, *args, **kwargs):
        self.participants.add(self)
        self.send("following")

    def on_message(self, message):
        pass

    def on_close(self):
        self.participants.discard(self)


def tail():
    with open(options.log) as log:
        while True:
            line = log.readline()
            if not line:
                time.sleep(0.01)
                continue
            for participant in list(LogConnection.participants):
                participant.send(line.rstrip("\n"))


LogRouter = tornadio.get_router(LogConnection)

if __name__ == "__main__":
    parse_command_line()
    thread = threading.Thread(target=tail)
    thread.daemon = True
    thread.start()
    application = tornado.web.Application(
        [LogRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    tornadio.SocketServer(application)
