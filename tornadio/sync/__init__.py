"""The client for threads: connections of :func:`tornadio.connect` for programs without asyncio.

::

    with tornadio.sync.connect("http://localhost:8001/socket.io") as connection:
        connection.send("hello")
        for message in connection:
            print(message)

The connections of a process are on one event loop, in a thread of its own, which answers heartbeats while the program
does something else. Messages cross between the threads in queues: one that waits is received without the loop, and many
that are sent wake it once.
"""

from tornadio.sync.connection import Connection, Reconnecting, connect, reconnecting

__all__ = ["Connection", "Reconnecting", "connect", "reconnecting"]
