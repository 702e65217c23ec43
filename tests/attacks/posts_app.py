"""The server of the tests that look from outside at what POSTs cost: a message says what its handler does."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import tornadio
from tests.app import options_of, report_at, serve, vitals_of


class Connection(tornadio.SocketConnection):
    async def on_message(self, message: Any) -> None:
        if isinstance(message, dict):
            for number in range(message["messages"]):
                self.send(f"{number} {message['text']}")
        elif message == "hang":
            await asyncio.sleep(3600)
        elif message == "stay":
            while not self.is_closed:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        else:
            await asyncio.sleep(0.05)


def main() -> None:
    options = options_of(max_payload_size=1 << 20, session_expiry=600.0, certificate="")
    settings = {
        "max_message_size": options.max_payload_size - 64,
        "max_payload_size": options.max_payload_size,
        "session_expiry": options.session_expiry,
        "session_check_interval": 0.1,
        "heartbeat_timeout": 600,
    }
    router = tornadio.get_router(Connection, settings)
    report, health = report_at("/report", lambda: {"process": os.getpid()}), (r"/health", tornadio.HealthHandler)
    rules = router.route(), vitals_of(router), report, health
    serve(*rules, port=options.port, certificate=options.certificate, body_timeout=600)


if __name__ == "__main__":
    main()
