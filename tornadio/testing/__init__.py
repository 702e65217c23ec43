"""Testing: servers inside a test, for connection classes and for clients, and time that a test moves.

Public are the names in ``__all__``: the functions, and the classes of what they return. They work on a running event
loop, in any test framework, or without one, in a test's thread; :mod:`tornadio.pytest_plugin` has them as fixtures.
"""

from tornadio.testing.clocks import Clock, clock
from tornadio.testing.manual import SESSION_ID, ManualServer, manual_server
from tornadio.testing.peer import Peer
from tornadio.testing.serving import Server, serve
from tornadio.testing.threads import SyncManualServer, SyncPeer, SyncServer
from tornadio.testing.waiting import until

__all__ = [
    "SESSION_ID",
    "Clock",
    "ManualServer",
    "Peer",
    "Server",
    "SyncManualServer",
    "SyncPeer",
    "SyncServer",
    "clock",
    "manual_server",
    "serve",
    "until",
]
