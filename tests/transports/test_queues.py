"""The queue of a client that was offline: the official client sends all of it as one payload, of many small messages.

Past a megabyte that was refused once, and the whole queue lost.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.clients import open_client
from tests.support import BARE_FORM, FORM, HTTP_TRANSPORTS, Recorder, until
from tornadio import proto
from tornadio.settings import PROTOCOLS

# 2,000 messages, 1.2 MiB as UTF-8 and more than 2 MiB percent-encoded; and such as one packet holds.
QUEUES: dict[str, list[Any]] = {
    "texts": [f"{number} {600 * 'x'}" for number in range(2000)],
    "all kinds": [
        [
            f"{number} {600 * 'x'}",
            {"number": number, "text": 590 * "x"},
            f"{number} {300 * 'é'}",
            f"{number} {150 * '😀'}",
        ][number % 4]
        for number in range(2000)
    ],
    "small": [f"{number}" for number in range(1200)],
}

every_queue = pytest.mark.parametrize("queue", QUEUES)


class Keeping(Recorder):
    """Remembers what comes, and sends nothing."""

    def on_message(self, message: Any) -> Any:
        self.events.append(("message", message))


class Coroutines(Keeping):
    """The same, by coroutines."""

    async def on_message(self, message: Any) -> None:
        self.events.append(("message", message))


def messages_of(connection: Recorder) -> list[Any]:
    return [event[1] for event in connection.events if event[0] == "message"]


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("connection_class", [Keeping, Coroutines])
@pytest.mark.parametrize("transport", PROTOCOLS)
@every_queue
async def test_all_of_a_queue_arrives_in_order(serve, transport, queue, connection_class):
    served = serve(connection_class)
    client = await open_client(served, transport)
    await client.send(*QUEUES[queue])
    [connection] = Recorder.opened
    await until(lambda: len(messages_of(connection)) == len(QUEUES[queue]))
    assert messages_of(connection) == QUEUES[queue]
    await client.send("and on")
    await until(lambda: messages_of(connection)[-1] == "and on")


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_queue_in_chunks_that_cut_characters_arrives(serve, transport):
    served = serve(Keeping)
    session_id = await served.start(transport)
    payload = "".join(map(proto.encode, QUEUES["all kinds"]))
    body = b"data=" + quote(payload, safe="").encode()
    wire = await served.connect()
    headers = (BARE_FORM if transport == "jsonp-polling" else FORM) | {"Transfer-Encoding": "chunked"}
    await wire.send_request("POST", f"/socket.io/{transport}/{session_id}/send", headers)
    for start in range(0, len(body), 10_007):
        piece = body[start : start + 10_007]
        await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await wire.send(b"0\r\n\r\n")
    assert (await wire.read_response()).text == "ok"
    assert messages_of(Recorder.opened[0]) == QUEUES["all kinds"]
