"""A thread that reads a port and hands each line to the loop, which was kept where the program starts."""

import threading
import time

import tornado.web
from tornado import ioloop
from tornado.options import define, options, parse_command_line

from tornadio import SocketConnection, SocketServer, get_router

define("port", type=int)

loop = ioloop.IOLoop.instance()  # in the thread this is another: see docs/migrating.rst


class Sensor(SocketConnection):
    participants = set()

    def on_open(self, *args, **kwargs):
        self.participants.add(self)

    def on_message(self, message):
        pass

    def on_close(self):
        self.participants.remove(self)


def publish(line):
    for participant in Sensor.participants:
        participant.send(line)


def read_port():
    number = 0
    while True:
        number += 1
        time.sleep(0.05)  # port.readline()
        loop.add_callback(publish, "line %d of %s" % (number, threading.current_thread().name))


SensorRouter = get_router(Sensor)

if __name__ == "__main__":
    parse_command_line()
    application = tornado.web.Application(
        [SensorRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    reader = threading.Thread(target=read_port, name="reader")
    reader.daemon = True
    reader.start()
    SocketServer(application)
