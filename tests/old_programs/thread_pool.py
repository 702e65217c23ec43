"""A pool of threads that read jobs from a queue, answer, and close the connection."""

import queue
import threading

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)

jobs = queue.Queue()


class JobConnection(tornadio.SocketConnection):
    def on_message(self, message):
        jobs.put((self, message))


def work():
    while True:
        connection, message = jobs.get()
        connection.send("working on %s" % message)
        connection.send({"result": sum(range(message))})
        connection.close()


JobRouter = tornadio.get_router(JobConnection)

if __name__ == "__main__":
    parse_command_line()
    for _ in range(4):
        worker = threading.Thread(target=work)
        worker.daemon = True
        worker.start()
    application = tornado.web.Application(
        [JobRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    tornadio.SocketServer(application)
