"""A loop of its own, with a timer that sends to everybody: auto_start=False, IOLoop.instance() and PeriodicCallback."""

import logging
import time

import tornado.web
from tornado import ioloop
from tornado.options import define, options, parse_command_line

from tornadio import SocketConnection, SocketServer, get_router

define("port", type=int)


class Clock(SocketConnection):
    clients = set()

    def on_open(self, *args, **kwargs):
        Clock.clients.add(self)

    def on_message(self, message):
        ioloop.IOLoop.instance().add_timeout(time.time() + 0.05, lambda: self.send("late: %s" % message))

    def on_close(self):
        Clock.clients.remove(self)

    @classmethod
    def tick(cls):
        for client in cls.clients:
            client.send({"tick": True})


ClockRouter = get_router(Clock)

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [ClockRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    socketio_server = SocketServer(application, auto_start=False)
    logging.info("You can perform some actions here")
    ticker = ioloop.PeriodicCallback(Clock.tick, 50)
    ticker.start()
    ioloop.IOLoop.instance().start()
