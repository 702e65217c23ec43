"""The server of the soak: it echoes, floods, fails and closes as its clients ask, on its event loop and in threads, and
gives up on them soon.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
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
    "max_payload_size": MAX_MESSAGE_SIZE + 20,
    "max_send_buffer": 200_000,
}
REQUEST_SECONDS = 4.0
FLOOD = ["flood ".ljust(5_000, "x")] * 30
THREADS = 4
MESSAGES_A_THREAD = 50

counts: collections.Counter[str] = collections.Counter()
threads = concurrent.futures.ThreadPoolExecutor(THREADS)


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
        elif message == "flood from a thread":
            threads.submit(self.send, FLOOD)
        elif message == "threads":
            await self.send_beside_threads()
        elif message == "close from a thread":
            threads.submit(self.close)
        elif message == "fail":
            raise RuntimeError("as the client asked")
        elif message == "close":
            self.close()
        else:
            await asyncio.sleep(0)
            self.send(message)

    async def send_beside_threads(self) -> None:
        """Threads send through the connection and a group, beside the event loop."""
        work = [threads.submit(self.send_from_thread, number) for number in range(THREADS)]
        for number in range(MESSAGES_A_THREAD):
            self.send(f"loop {number}")
            await asyncio.sleep(0)
        await asyncio.gather(*map(asyncio.wrap_future, work))
        self.send("done")

    def send_from_thread(self, thread: int) -> None:
        group = router.group(f"{thread} of {self.session_id}")
        group.add(self)
        for number in range(MESSAGES_A_THREAD):
            (self, group)[number % 2].send(f"{thread} {number}")
        group.discard(self)

    async def on_close(self) -> None:
        await asyncio.sleep(0)
        assert self.is_open
        self.is_open = False
        counts["closed"] += 1


router = tornadio.get_router(Connection, SETTINGS)


def main() -> None:
    options = options_of()
    rules = router.route(), vitals_of(router), report_at("/counts", lambda: dict(counts))
    serve(*rules, port=options.port, header_timeout=REQUEST_SECONDS, body_timeout=REQUEST_SECONDS)


if __name__ == "__main__":
    main()
