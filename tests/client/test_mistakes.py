"""Fifteen mistakes of clients that are written by hand, and that `tornadio.connect` does not make them.

docs/client.rst has them as a table, which names these tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import socket
import time
from pathlib import Path
from typing import Any

import docutils.nodes as nodes
import pytest
import tornado.web

import tornadio
from tests.documents.pages import parse, section_title
from tests.peers import SESSION_ID, heard, scripted_server
from tests.support import MovedLoop, limit, until
from tornadio import proto

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.rst"


async def received(client: Any, count: int) -> list[Any]:
    async with limit():
        return [await client.recv() for _ in range(count)]


# -- Heartbeats --------------------------------------------------------------------------------------------------------


async def test_heartbeats_are_answered():
    async with scripted_server() as server, tornadio.connect(server.url):
        peer = await server.accept()
        for number in range(1, 4):
            await peer.send(f"~m~4~m~~h~{number}")
            assert await heard(peer) == f"~m~4~m~~h~{number}"


async def test_a_heartbeat_among_messages_is_answered():
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        peer = await server.accept()
        await peer.send('~m~3~m~one~m~4~m~~h~7~m~12~m~~j~{"two":2}~m~4~m~~h~8~m~5~m~three')
        answers = ""
        while len(answers) < 22:
            answers += await heard(peer)
        assert answers == "~m~4~m~~h~7~m~4~m~~h~8"
        assert await received(client, 3) == ["one", {"two": 2}, "three"]


async def test_a_heartbeat_begins_its_frame():
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        peer = await server.accept()
        texts = ["see ~h~5", "~m~4~m~~h~6", " ~h~7"]
        await peer.send("".join(f"~m~{len(text)}~m~{text}" for text in texts) + "~m~8~m~~h~00012")
        assert await heard(peer) == "~m~8~m~~h~00012"
        assert await received(client, 3) == texts
        await client.send("next")
        assert await heard(peer) == "~m~4~m~next"


# -- Frames ------------------------------------------------------------------------------------------------------------


async def test_length_decides_where_a_message_ends():
    texts = ["~m~3~m~abc", "a~m~1~m~", "~m~", "", "~m~99~m~\n"]
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        peer = await server.accept()
        await peer.send("".join(f"~m~{len(text)}~m~{text}" for text in texts))
        assert await received(client, len(texts)) == texts


async def test_length_counts_utf_16_units():
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        peer = await server.accept()
        await peer.send("~m~4~m~é中😀~m~6~m~behind")
        assert await received(client, 2) == ["é中😀", "behind"]
        await client.send("é中😀")
        assert await heard(peer) == "~m~4~m~é中😀"
        await client.send({"é": "😀"})
        [message] = proto.decode(await heard(peer))
        assert message == (proto.FRAME, {"é": "😀"})


async def test_each_frame_is_a_message():
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        peer = await server.accept()
        await peer.send("".join(f"~m~{len(str(number))}~m~{number}" for number in range(200)))
        assert await received(client, 200) == [str(number) for number in range(200)]


async def test_the_first_frame_may_be_anything():
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        assert client.session_id == SESSION_ID
    for first, message in (('{"session_id": "<0.1.2>"}', {"session_id": "<0.1.2>"}), ("welcome", "welcome")):
        options: Any = {"transports": ["websocket"], "json": "plain", "first_frame": "message"}
        async with (
            scripted_server(f"~m~{len(first)}~m~{first}") as server,
            tornadio.connect(server.url, **options) as client,
        ):
            assert client.session_id is None
            assert await received(client, 1) == [message]


async def test_what_looks_like_json_is_text():
    texts = ["{hello", "a {b: 1}", "[x", "{}}", '{"a": NaN}', "{", "[1,]"]
    async with scripted_server() as server, tornadio.connect(server.url, json="plain") as client:
        peer = await server.accept()
        await peer.send("".join(f"~m~{len(text)}~m~{text}" for text in [*texts, '{"a": [1]}', "[2]", "3"]))
        assert await received(client, len(texts) + 3) == [*texts, {"a": [1]}, [2], "3"]


# -- Ends --------------------------------------------------------------------------------------------------------------


async def test_a_dead_connection_costs_nothing():
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        peer = await server.accept()
        peer.transport.abort()
        for _ in range(3):
            async with limit():
                with pytest.raises(tornadio.ConnectionClosed):
                    await client.recv()
        with pytest.raises(tornadio.ConnectionClosed):
            await client.send("too late")
        spent = time.process_time()
        await asyncio.sleep(0.3)  # the window in which a busy loop would show
        assert time.process_time() - spent < 0.15


async def test_a_silent_peer_is_noticed(clock: MovedLoop):
    async with scripted_server() as server, tornadio.connect(server.url, silence_timeout=30) as client:
        peer = await server.accept()
        receiving = asyncio.create_task(client.recv())
        await clock.advance(29)
        await peer.send("~m~4~m~~h~1")
        assert await heard(peer) == "~m~4~m~~h~1"
        await clock.advance(29)
        assert not receiving.done()
        await clock.advance(2)
        with pytest.raises(tornadio.ConnectionClosed, match="silence") as raised:
            await receiving
        assert raised.value.code == 1006
        peer.transport.abort()


async def test_clients_do_not_come_back_together(clock: MovedLoop):
    clients = 12
    async with scripted_server() as server:

        async def stay() -> None:
            async for client in tornadio.connect(server.url, min_delay=1, max_delay=8):
                async with client:
                    with contextlib.suppress(tornadio.ConnectionClosed):
                        await client.recv()

        staying = [asyncio.create_task(stay()) for _ in range(clients)]
        try:
            for peer in [await server.accept() for _ in range(clients)]:
                peer.transport.abort()
            await clock.wait_for(until(lambda: len(server.requested) == 2 * clients))
            delays = [when - server.requested[0] for when in server.requested[clients:]]
            assert max(delays) < 1.2  # 1 is min_delay, and time moves in steps of 0.1 here
            assert len({round(delay, 3) for delay in delays}) > 3
            assert max(delays) - min(delays) > 0.2
        finally:
            for task in staying:
                task.cancel()
            await asyncio.gather(*staying, return_exceptions=True)


async def test_a_server_that_is_away_is_asked_less_often(clock: MovedLoop):
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def refuse() -> None:
            loop = asyncio.get_running_loop()
            listener.setblocking(False)
            while True:
                connection, _ = await loop.sock_accept(listener)
                asked.append(loop.time())
                connection.close()

        async def stay() -> None:
            async for _ in tornadio.connect(f"ws://127.0.0.1:{port}/socket.io", transports=["websocket"], max_delay=60):
                raise AssertionError("nobody is there")

        tasks = [asyncio.create_task(refuse()), asyncio.create_task(stay())]
        await until(lambda: asked)
        for _ in range(60):
            await clock.advance(60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # In an hour: every 30 seconds on average, after the first few.
    assert 70 < len(asked) < 200


async def test_what_did_not_arrive_is_reported():
    size = 1 << 16
    async with scripted_server() as server, tornadio.connect(server.url, max_send_buffer=64 << 20) as client:
        peer = await server.accept()
        peer.transport.pause_reading()
        texts = [f"{number} ".ljust(size, "x") for number in range(400)]  # more than the kernel takes
        for text in texts:
            await client.send(text)
        peer.transport.resume_reading()
        assert [proto.decode(await heard(peer)) for _ in range(3)] == [[(proto.FRAME, text)] for text in texts[:3]]
        peer.transport.pause_reading()
        peer.transport.abort()
        async with limit():
            with pytest.raises(tornadio.ConnectionClosed) as raised:
                await client.flush()
        unsent = list(client.unsent)
        assert len(unsent) > 50
        assert unsent == texts[-len(unsent) :]
        assert raised.value.unsent == client.unsent


async def test_an_end_says_why():
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        peer = await server.accept()
        await peer.send("~m~4~m~last")
        await peer.close(4001, "your token has expired")
        assert await received(client, 1) == ["last"]
        with pytest.raises(tornadio.ConnectionClosed, match="your token has expired") as raised:
            await received(client, 1)
        assert (raised.value.code, raised.value.reason) == (4001, "your token has expired")
        assert (client.close_code, client.close_reason) == (4001, "your token has expired")


async def test_a_refusal_says_why(serve):
    class Refusing(tornadio.SocketConnection):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> bool:
            return False

    served = serve(Refusing, {"origins": ["example.com:443"]}, handlers=[(r"/gone/.*", Gone)])
    for path, origin, status, text in (
        ("/socket.io", "https://example.org", 403, "origin"),
        ("/socket.io", "https://example.com", 403, "refused"),
        ("/gone", None, 410, "moved to"),
    ):
        url = f"http://127.0.0.1:{served.port}{path}"
        with pytest.raises(tornadio.ConnectError, match=str(status)) as raised:
            await tornadio.connect(url, transports=["xhr-polling"], origin=origin)
        assert raised.value.status == status
        assert text in raised.value.text


class Gone(tornado.web.RequestHandler):
    def get(self) -> None:
        self.set_status(410)
        self.write("moved to wss://new.example.com")


async def test_origin_is_sent_once():
    async with scripted_server() as server:
        async with tornadio.connect(server.url, origin="https://www.example.com"):
            assert origins_of(await server.accept()) == ["https://www.example.com"]
        async with tornadio.connect(server.url, headers={"Origin": "https://www.example.com"}):
            assert origins_of(await server.accept()) == ["https://www.example.com"]
        async with tornadio.connect(server.url):
            assert len(origins_of(await server.accept())) <= 1
        with pytest.raises(tornadio.SettingsError, match="rigin"):
            await tornadio.connect(server.url, origin="https://a.example", headers={"origin": "https://b.example"})


def origins_of(peer: Any) -> list[str]:
    return list(peer.request.headers.get_all("Origin"))


async def test_what_is_not_received_waits_outside():
    flood = 64 << 20
    payload = proto.encode("x" * (1 << 16))
    async with scripted_server() as server, tornadio.connect(server.url) as client:
        peer = await server.accept()
        sent = 0

        async def send() -> None:
            nonlocal sent
            while sent < flood:
                await peer.send(payload)
                sent += len(payload)

        sending = asyncio.create_task(send())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)  # that nothing happens takes time to see
        assert sent < flood / 2
        async with limit():
            for _ in range(flood // len(payload)):
                assert len(await client.recv()) == 1 << 16
            await sending


# -- The table ---------------------------------------------------------------------------------------------------------


@pytest.mark.pure
def test_the_table_names_fifteen_mistakes_and_all_tests_that_are_here():
    rows = [
        [cell.astext() for cell in row.findall(nodes.entry)]
        for section in parse(PAGE).findall(nodes.section)
        if section_title(section[0]) == "Fifteen mistakes"
        for row in section.findall(nodes.row)
    ]
    assert [number for number, *_ in rows] == ["no", *map(str, range(1, 16))]
    tests = [name for _, _, names in rows[1:] for name in re.findall(r"\w+", names)]
    here = [
        name for name, value in globals().items() if name.startswith("test_") and inspect.iscoroutinefunction(value)
    ]
    assert sorted(tests) == sorted(here)
