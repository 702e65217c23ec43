"""Names of the modules of 0.0.5: the table of transports, the defaults, the codec, a session container."""

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio
from tornadio import proto
from tornadio.router import DEFAULT_SETTINGS, PROTOCOLS
from tornadio.session import SessionContainer

define("port", type=int)

settings = dict(DEFAULT_SETTINGS)
settings["enabled_protocols"] = [name for name in PROTOCOLS if name != "htmlfile"]
settings["session_expiry"] = 60


class Names(tornadio.SocketConnection):
    def on_open(self, *args, **kwargs):
        self.send({"protocols": sorted(PROTOCOLS), "heartbeat_interval": DEFAULT_SETTINGS["heartbeat_interval"]})

    def on_message(self, message):
        self.send([text for kind, text in proto.decode(message) if kind == proto.FRAME])


NamesRouter = tornadio.get_router(Names, settings)

if __name__ == "__main__":
    assert SessionContainer is not None
    parse_command_line()
    application = tornado.web.Application(
        [NamesRouter.route()], socket_io_port=options.port, socket_io_address="127.0.0.1"
    )
    tornadio.SocketServer(application)
