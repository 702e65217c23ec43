"""What the tests of the official server ask of it, in our words, asked of ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import pytest
import tornado.web
import tornado.websocket

from tests.clients import Client, connect, open_client
from tests.support import HTTP_TRANSPORTS, POLLING, SECONDS, MovedLoop, Recorder, Serve, until

TRANSPORTS: Final = ("websocket", "flashsocket", *HTTP_TRANSPORTS)
PERSISTENT: Final = tuple(transport for transport in TRANSPORTS if transport not in POLLING)

pytestmark = pytest.mark.compatibility(client="the official server's own tests")


async def welcomed(served: Any, transport: str) -> tuple[Client, Recorder]:
    """A client that has had its session id and the greeting, and its connection."""
    client = await open_client(served, transport)
    assert await client.receive() == ["welcome"]
    return client, Recorder.opened[-1]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_handshake_and_messages_both_ways(serve: Serve, transport: str) -> None:
    client, connection = await welcomed(serve(), transport)
    assert connection.session_id == client.session_id
    assert connection.transport == transport
    await client.send("from the client")
    assert await client.receive() == ["from the client"]
    assert connection.events == [("open", ""), ("message", "from the client")]
    connection.send("from the server")
    assert await client.receive() == ["from the server"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_json_both_ways(serve: Serve, transport: str) -> None:
    value: dict[str, Any] = {"list": [1, 2.5, True, None, {"nested": {}}], "text": "é中😀", "mark": "~m~3~m~abc"}
    client, connection = await welcomed(serve(), transport)
    await client.send(value)
    assert await client.receive() == [value]
    assert connection.events[-1] == ("message", value)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_clients_are_tracked(clock: MovedLoop, serve: Serve, transport: str) -> None:
    served = serve()
    assert list(served.router.connections) == []
    leaving, first = await welcomed(served, transport)
    staying, second = await welcomed(served, transport)
    waiting = asyncio.ensure_future(staying.receive())  # who polls stays
    assert list(served.router.connections) == [first, second]
    await leaving.leave()
    await clock.wait_for(until(lambda: list(served.router.connections) == [second]))
    served.router.broadcast("to those who are here")
    assert await clock.wait_for(waiting) == ["to those who are here"]


@pytest.mark.parametrize("transport", POLLING)
async def test_messages_wait_for_the_next_poll(serve: Serve, transport: str) -> None:
    served = serve()
    client, connection = await welcomed(served, transport)
    connection.send("one")
    connection.send({"two": 2})
    await served.barrier()
    connection.send("three")
    assert await client.receive() == ["one", {"two": 2}, "three"]


@pytest.mark.parametrize("transport", PERSISTENT)
async def test_who_answers_no_heartbeat_is_gone(clock: MovedLoop, serve: Serve, transport: str) -> None:
    client, connection = await welcomed(serve(settings={"heartbeat_interval": 1, "heartbeat_timeout": 3}), transport)
    for number in (1, 2, 3, 4, 5):
        assert await clock.wait_for(client.receive()) == [f"~h~{number}"]
        await client.echo(number)
    assert await clock.wait_for(client.receive()) == ["~h~6"]
    assert connection.events == [("open", "")]
    await clock.wait_for(client.ended())
    await connection.wait_closed()
    assert connection.events == [("open", ""), ("close",)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_broadcast_goes_to_all_but_the_sender(serve: Serve, transport: str) -> None:
    served = serve()
    sender, connection = await welcomed(served, transport)
    others = [(await welcomed(served, other))[0] for other in TRANSPORTS]
    connection.broadcast("news")
    assert [await other.receive() for other in others] == [["news"]] * len(others)
    connection.send("to the sender alone")
    assert await sender.receive() == ["to the sender alone"]


@pytest.mark.compatibility(transport="htmlfile")
async def test_the_first_256_bytes_come_at_once(serve: Serve) -> None:
    stream = await serve().stream("htmlfile")
    assert len(stream.start) >= 256
    assert stream.start.strip() == b"<html><body>"


EVALUATE: Final = """
    const messages = [];
    const io = {JSONP: {0: {_: message => messages.push(message)}}};
    require('vm').runInNewContext(require('fs').readFileSync(0, 'utf8'), {io});
    console.log(JSON.stringify(messages));
"""


@pytest.mark.compatibility(transport="jsonp-polling")
async def test_its_answers_are_scripts_that_hand_over_the_payload(serve: Serve, node: str) -> None:
    text = "quotes \"' backslash \\ newlines \r\n\u2028\u2029 </script><!-- é中😀 ~m~3~m~abc"
    served = serve()
    session_id, _ = await served.open("jsonp-polling")
    Recorder.opened[-1].send(text)
    script = await served.poll(session_id, "jsonp-polling")
    length = len(text.encode("utf-16-le")) // 2
    assert json.loads(await evaluate(node, script.body)) == [f"~m~{length}~m~{text}"]


async def evaluate(node: str, script: bytes) -> bytes:
    """Run a script as a page would, in Node; what was handed to JSONP as JSON."""
    process = await asyncio.create_subprocess_exec(
        node, "-e", EVALUATE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate(script)
    assert process.returncode == 0
    return output


@pytest.mark.compatibility(transport="all")
async def test_the_client_script_is_served_with_etag_and_304(serve: Serve) -> None:
    served = serve()
    first = await served.request("GET", "/socket.io/socket.io.js")
    assert first.status == 200
    assert first.headers["content-type"].startswith("text/javascript")
    again = await served.request("GET", "/socket.io/socket.io.js", {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    changed = await served.request("GET", "/socket.io/socket.io.js", {"If-None-Match": '"another"'})
    assert (changed.status, changed.body) == (200, first.body)


class ForeignSocket(tornado.websocket.WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


class ForeignPage(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("a page of the application")


FOREIGN: Final = ((r"/socket", ForeignSocket), (r"/socket.iox/.*|/other/socket.io/xhr-polling//1|/", ForeignPage))


@pytest.mark.compatibility(transport="websocket")
async def test_a_foreign_upgrade_is_left_to_the_application(serve: Serve) -> None:
    peer = await connect(serve(handlers=FOREIGN), path="/socket")
    await peer.send("~m~3~m~abc")
    assert await peer.receive() == "~m~3~m~abc"
    assert Recorder.opened == []


@pytest.mark.compatibility(transport="all")
async def test_a_foreign_path_is_left_to_the_application(serve: Serve) -> None:
    served = serve(handlers=FOREIGN)
    for path in ("/", "/socket.iox/xhr-polling//1", "/other/socket.io/xhr-polling//1"):
        assert (await served.request("GET", path)).body == b"a page of the application"
    assert Recorder.opened == []


@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_of_an_invalid_session_id_nobody_hears(
    serve: Serve, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    served = serve()
    _, connection = await welcomed(served, transport)
    for session_id in ("0" * 32, "..%2F..%2Fetc%2Fpasswd", "%00", connection.session_id[:-1]):
        assert (await served.poll(session_id, transport)).status == 401
        assert (await served.post(session_id, "hello", transport=transport)).status == 401
    await until(lambda: len(served.router.connections) == 1)
    assert connection.events == [("open", "")]
    assert [record for record in caplog.records if record.name.startswith("tornadio")] == []
