"""TornadIO: a Socket.IO 0.6 server on Tornado.

Public are the names in ``__all__`` here, and what :mod:`tornadio.errors`, :mod:`tornadio.settings` and
:mod:`tornadio.proto` export, each in its ``__all__``. The modules named as in TornadIO 0.0.5 (``conn``, ``router``,
``server``, ``session``, ``pollingsession``, ``polling``, ``persistent``, ``periodic``, ``flashserver``) stay importable
with their classes. Everything else is internal and may change in any version.

Names are imported at their first use (PEP 562), so that ``import tornadio.proto`` imports no server.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tornadio.cluster.bus import Bus
    from tornadio.cluster.emitter import AsyncEmitter, Emitter
    from tornadio.cluster.redis import RedisBus
    from tornadio.conn import SocketConnection
    from tornadio.observability.health import HealthHandler
    from tornadio.router import Router, get_router
    from tornadio.server import SocketServer
    from tornadio.sessions.groups import Group

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

_MODULE_OF: Final = {
    "AsyncEmitter": "tornadio.cluster.emitter",
    "Bus": "tornadio.cluster.bus",
    "Emitter": "tornadio.cluster.emitter",
    "Group": "tornadio.sessions.groups",
    "HealthHandler": "tornadio.observability.health",
    "RedisBus": "tornadio.cluster.redis",
    "Router": "tornadio.router",
    "SocketConnection": "tornadio.conn",
    "SocketServer": "tornadio.server",
    "get_router": "tornadio.router",
}
# Modules that ``import tornadio`` alone made attributes of this package in 0.0.5 and 1.0.
_MODULES: Final = frozenset(
    {
        "conn",
        "errors",
        "flashserver",
        "periodic",
        "persistent",
        "polling",
        "pollingsession",
        "proto",
        "router",
        "server",
        "session",
        "settings",
    }
)


def __getattr__(name: str) -> Any:
    """Import a public name, or a module, when it is asked for.

    :raises AttributeError: there is none of that name.
    """
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"tornadio.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
