"""TornadIO: a Socket.IO 0.6 server on Tornado."""

from tornadio.bus import Bus
from tornadio.conn import SocketConnection
from tornadio.emitter import AsyncEmitter, Emitter
from tornadio.groups import Group
from tornadio.health import HealthHandler
from tornadio.redisbus import RedisBus
from tornadio.router import Router, get_router
from tornadio.server import SocketServer

__all__ = [
    "AsyncEmitter",
    "Bus",
    "Emitter",
    "Group",
    "HealthHandler",
    "RedisBus",
    "Router",
    "SocketConnection",
    "SocketServer",
    "get_router",
]
