"""TornadIO: a Socket.IO 0.6 server on Tornado."""

from tornadio.conn import SocketConnection
from tornadio.router import Router, get_router
from tornadio.server import SocketServer

__all__ = ["Router", "SocketConnection", "SocketServer", "get_router"]
