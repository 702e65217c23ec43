"""The server of the slow readers' tests: it broadcasts as fast as those who read can follow."""

from __future__ import annotations

import os
from typing import Any

import tornadio
from tests.app import Echo, closed, options_of, report_at, serve, vitals_of


class Broadcaster:
    """Sends batch after batch to everybody, each when `readers` clients have said that they have the last one."""

    def __init__(self, readers: int, broadcasts: int, batch: int, size: int) -> None:
        self._readers = readers
        self._broadcasts = broadcasts
        self._batch = batch
        self._size = size
        self._ready = 0
        self._sent = 0

    def acknowledge(self, router: tornadio.Router) -> None:
        self._ready += 1
        if self._ready % self._readers == 0:
            for number in range(self._sent, min(self._sent + self._batch, self._broadcasts)):
                router.broadcast(f"{number} ".ljust(self._size, "x"))
                self._sent += 1


class Connection(Echo):
    """Of a client that reads if it says `ready`, for which it then has all that was sent before."""

    broadcaster: Broadcaster
    router: tornadio.Router

    def on_message(self, message: Any) -> None:
        if message == "ready":
            self.broadcaster.acknowledge(self.router)


def main() -> None:
    options = options_of(readers=0, broadcasts=0, batch=0, size=0, max_send_buffer=0)
    router = tornadio.get_router(
        Connection, {"max_send_buffer": options.max_send_buffer, "session_expiry": 600, "heartbeat_timeout": 600}
    )
    Connection.broadcaster = Broadcaster(options.readers, options.broadcasts, options.batch, options.size)
    Connection.router = router
    report = report_at("/report", lambda: {"process": os.getpid(), "closed": closed})
    serve(router.route(), vitals_of(router), report, port=options.port)


if __name__ == "__main__":
    main()
