"""The server of the soak: it echoes, floods, fails and closes as its clients ask, and gives up on them soon."""

from __future__ import annotations

import asyncio
import collections
from typing import Any

import tornadio
from tests.app import options_of, report_at, serve, vitals_of

MAX_MESSAGE_SIZE = 30_000
SETTINGS = {
    "session_expiry": 4,
    "session_check_interval": 1,
    "heartbeat_interval": 1,
    "heartbeat_timeout": 4,
    "xhr_polling_timeout": 2,
    "max_message_size": MAX_MESSAGE_SIZE,
    "max_send_buffer": 200_000,
}
REQUEST_SECONDS = 4.0
FLOOD = ["flood ".ljust(5_000, "x")] * 30

counts: collections.Counter[str] = collections.Counter()


class Connection(tornadio.SocketConnection):
    is_open = False

    async def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        assert not self.is_open
        self.is_open = True
        counts["opened"] += 1
        if request.headers.get("X-Slow"):
            await asyncio.sleep(0.2)

    async def on_message(self, message: Any) -> None:
        counts["messages"] += 1
        if message == "flood":
            self.send(FLOOD)
        elif message == "fail":
            raise RuntimeError("as the client asked")
        elif message == "close":
            self.close()
        else:
            await asyncio.sleep(0)
            self.send(message)

    async def on_close(self) -> None:
        await asyncio.sleep(0)
        assert self.is_open
        self.is_open = False
        counts["closed"] += 1


def main() -> None:
    options = options_of()
    router = tornadio.get_router(Connection, SETTINGS)
    rules = router.route(), vitals_of(router), report_at("/counts", lambda: dict(counts))
    serve(*rules, port=options.port, header_timeout=REQUEST_SECONDS, body_timeout=REQUEST_SECONDS)


if __name__ == "__main__":
    main()
