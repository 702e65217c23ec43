"""A client that is there: it answers every heartbeat and every poll, and says so. As a program, until it is stopped.

python faithful_peer.py --port=N --transport=NAME
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, NoReturn, cast

from tests.clients import open_client
from tests.support import POLLING, Elsewhere, Served

ANSWERED = "answered"


async def live(served: Served, transport: str) -> NoReturn:
    if transport in POLLING:
        await live_by_polls(served, transport)
    client = await open_client(served, transport)
    while True:
        for message in await client.receive():
            if message.startswith("~h~"):
                await client.echo(int(message.removeprefix("~h~")))
            await client.send(ANSWERED)


async def live_by_polls(served: Served, transport: str) -> NoReturn:
    session_id = await served.shake_hands(transport)
    await served.poll(session_id, transport)  # which brings what on_open has sent
    while True:
        poll = await served.connect()
        await poll.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000/0")
        assert (await served.post(session_id, ANSWERED, transport=transport)).status == 200
        await poll.read_response()
        await poll.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--transport", required=True)
    arguments = parser.parse_args()
    asyncio.run(live(Elsewhere(cast(Any, arguments), cast(Any, None)), arguments.transport))
