"""A server whose threads send, close and broadcast, beside its event loop, as its clients ask."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import tornadio
from tests.app import options_of, serve, vitals_of

THREADS = 4
MESSAGES = 1000
HOUR = 3600
FLOOD = 200
MEBIBYTE = "x" * (1 << 20)


def start(work: Callable[..., Any], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


class Connection(tornadio.SocketConnection):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.group = router.group(self.session_id)
        self.group.add(self)

    def on_message(self, message: Any) -> Any:
        return getattr(self, message, self.echo)()

    def echo(self) -> None:
        self.send("echo")

    async def side_by_side(self) -> None:
        """Threads send in all ways that there are, one of them in all by turns, and the loop sends, too."""
        ways: list[Callable[[Any], None]] = [self.send, router.broadcast, self.group.send]
        for thread in range(THREADS):
            start(self.send_all, thread, [ways[thread]] if thread < len(ways) else ways)
        for number in range(MESSAGES):
            self.send(f"loop {number}")
            await asyncio.sleep(0)

    def send_all(self, thread: int, ways: list[Callable[[Any], None]]) -> None:
        for number in range(MESSAGES):
            ways[number % len(ways)](f"{thread} {number}")

    def later(self) -> None:
        """A thread sends when the loop has nothing to do, and no timer that would wake it."""
        start(self.send_later)

    def send_later(self) -> None:
        time.sleep(0.5)
        self.send("woken")

    def leave(self) -> None:
        start(self.say_bye)

    def say_bye(self) -> None:
        self.send("bye")
        self.close()
        self.send("never")

    def flood(self) -> None:
        """A thread sends while the loop is blocked: more than this process may hold."""
        start(self.send_much, self.send).join()

    def flood_everybody(self) -> None:
        start(self.send_much, router.broadcast).join()

    def send_much(self, send: Callable[[Any], None]) -> None:
        for number in range(FLOOD):
            send(f"{number} {MEBIBYTE}")


def main() -> None:
    options = options_of(max_send_buffer=16 << 20)
    # Nothing of the library's wakes the loop.
    global router
    router = tornadio.get_router(
        Connection,
        {
            "heartbeat_interval": HOUR,
            "heartbeat_timeout": HOUR,
            "max_send_buffer": options.max_send_buffer,
            "session_check_interval": HOUR,
            "session_expiry": HOUR,
            "xhr_polling_timeout": HOUR,
        },
    )
    serve(router.route(), vitals_of(router), port=options.port, header_timeout=HOUR, body_timeout=HOUR)


router: tornadio.Router

if __name__ == "__main__":
    main()
