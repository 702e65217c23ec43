"""TornadIO: a Socket.IO 0.6 server on Tornado.

Public are the names in ``__all__`` here, the version, and what :mod:`tornadio.errors`, :mod:`tornadio.settings`,
:mod:`tornadio.proto`, :mod:`tornadio.stats`, :mod:`tornadio.sync` and :mod:`tornadio.testing` export, each in its
``__all__``. The modules named as in TornadIO 0.0.5 (``conn``, ``router``, ``server``, ``session``, ``pollingsession``,
``polling``, ``persistent``, ``periodic``, ``flashserver``) stay importable with their classes. Everything else is
internal and may change in any version.

Names are imported at their first use (PEP 562): ``import tornadio.proto`` imports neither the server nor Tornado.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

# The version, as numbers that compare: ``tornadio.__version__ >= (1, 1)``. setup.py reads this line.
__version__: Final[tuple[int, int, int]] = (1, 1, 0)
version: Final = ".".join(map(str, __version__))

_MODULE_OF: Final = {
    "AsyncEmitter": "tornadio.cluster.emitter",
    "Bus": "tornadio.cluster.bus",
    "BusError": "tornadio.errors",
    "CallerError": "tornadio.errors",
    "ClientConnection": "tornadio.client.connection",
    "CloseError": "tornadio.errors",
    "Compression": "tornadio.settings",
    "ConnectError": "tornadio.errors",
    "ConnectionClosed": "tornadio.errors",
    "Emitter": "tornadio.cluster.emitter",
    "EncodeError": "tornadio.errors",
    "Group": "tornadio.sessions.groups",
    "HealthHandler": "tornadio.observability.health",
    "MonitorHandler": "tornadio.monitor.handler",
    "MetricsHandler": "tornadio.observability.metrics",
    "RedisBus": "tornadio.cluster.redis",
    "Router": "tornadio.router",
    "Settings": "tornadio.settings",
    "SettingsError": "tornadio.errors",
    "SocketConnection": "tornadio.conn",
    "SocketServer": "tornadio.server",
    "TornadIOError": "tornadio.errors",
    "connect": "tornadio.client.connect",
    "get_router": "tornadio.router",
    "is_compiled": "tornadio.compiled",
}
# Modules that ``import tornadio`` alone makes attributes of this package: those of 0.0.5 and 1.0, and public ones.
_MODULES: Final = (
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
    "stats",
    "sync",
    "testing",
)
__all__ = list(_MODULE_OF)

# Type checkers and IDEs see imports, which a test holds equal to the tables; they don't see ``__getattr__``, which
# would give every misspelt name the type Any.
if TYPE_CHECKING:
    from tornadio import conn as conn
    from tornadio import errors as errors
    from tornadio import flashserver as flashserver
    from tornadio import periodic as periodic
    from tornadio import persistent as persistent
    from tornadio import polling as polling
    from tornadio import pollingsession as pollingsession
    from tornadio import proto as proto
    from tornadio import router as router
    from tornadio import server as server
    from tornadio import session as session
    from tornadio import settings as settings
    from tornadio import stats as stats
    from tornadio import sync as sync
    from tornadio import testing as testing
    from tornadio.client.connect import connect as connect
    from tornadio.client.connection import ClientConnection as ClientConnection
    from tornadio.cluster.bus import Bus as Bus
    from tornadio.cluster.emitter import AsyncEmitter as AsyncEmitter
    from tornadio.cluster.emitter import Emitter as Emitter
    from tornadio.cluster.redis import RedisBus as RedisBus
    from tornadio.compiled import is_compiled as is_compiled
    from tornadio.conn import SocketConnection as SocketConnection
    from tornadio.errors import BusError as BusError
    from tornadio.errors import CallerError as CallerError
    from tornadio.errors import CloseError as CloseError
    from tornadio.errors import ConnectError as ConnectError
    from tornadio.errors import ConnectionClosed as ConnectionClosed
    from tornadio.errors import EncodeError as EncodeError
    from tornadio.errors import SettingsError as SettingsError
    from tornadio.errors import TornadIOError as TornadIOError
    from tornadio.monitor.handler import MonitorHandler as MonitorHandler
    from tornadio.observability.health import HealthHandler as HealthHandler
    from tornadio.observability.metrics import MetricsHandler as MetricsHandler
    from tornadio.router import Router as Router
    from tornadio.router import get_router as get_router
    from tornadio.server import SocketServer as SocketServer
    from tornadio.sessions.groups import Group as Group
    from tornadio.settings import Compression as Compression
    from tornadio.settings import Settings as Settings
else:

    def __getattr__(name: str) -> Any:
        """Import the public name, or the module, that is an attribute of this package for the first time (PEP 562).

        :raises AttributeError: there is no such name.
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
