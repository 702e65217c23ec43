"""The server of the tests with clients that leave: it echoes, but its handler of `work` is never done."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import tornadio
from tests.app import options_of, report_at, serve


class Connection(tornadio.SocketConnection):
    async def on_message(self, message: Any) -> None:
        if message == "work":
            await asyncio.get_running_loop().create_future()
        else:
            self.send(message)


def main() -> None:
    options = options_of(certificate="")
    report = report_at("/report", lambda: {"descriptors": len(os.listdir("/proc/self/fd"))})
    serve(tornadio.get_router(Connection).route(), report, port=options.port, certificate=options.certificate)


if __name__ == "__main__":
    main()
