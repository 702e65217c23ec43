"""The application's setting ``debug=True``: Tornado replaces the process when a file has changed. Clients and handlers
are told before.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer, accepts_connections
from tests.clients import SocketClient, open_client
from tests.support import POLLING, STREAMING, Elsewhere, until
from tornadio.settings import PROTOCOLS

PROGRAM = """
import asyncio, logging, sys
import tornado.ioloop, tornado.web
import tornadio

class Connection(tornadio.SocketConnection):
    def on_open(self, *args, **kwargs):
        self.send("welcome")

    async def on_message(self, message):
        if message == "hang":
            print("hanging", flush=True)
            await asyncio.sleep(1000)
        if message == "leave":
            self.close()
            print("leaving", flush=True)
            await asyncio.sleep(1000)
        self.send(message)

{on_close}

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
port = int(sys.argv[1].removeprefix("--port="))
application = tornado.web.Application(
    [tornadio.get_router(Connection).route()], socket_io_port=port, socket_io_address="127.0.0.1", debug=True
)
print("start", flush=True)
tornadio.SocketServer(application)
"""
PLAIN = """
    def on_close(self):
        print("close", self.transport, flush=True)
"""
WAITING = """
    async def on_close(self):
        print("close", self.transport, flush=True)
        try:
            await asyncio.sleep(0)
            print("never", flush=True)
        finally:
            print("finally", flush=True)
"""
COROUTINE = """
    async def on_close(self):
        async def nothing():
            pass
        await nothing()
        print("close", self.transport, flush=True)
"""
FAILING = """
    def on_close(self):
        print("close", self.transport, flush=True)
        raise RuntimeError("as the test asked")
"""

Run = Callable[[str], AppServer]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a program with this on_close."""
    running: list[AppServer] = []

    def run(on_close: str) -> AppServer:
        (tmp_path / "program.py").write_text(PROGRAM.replace("{on_close}", on_close), encoding="utf-8")
        process = AppServer(tmp_path / "program.py", (), tmp_path / "output.txt")
        running.append(process)
        process.start()
        return process

    yield run
    for process in running:
        process.kill()
        print(process.output())


async def touch(tmp_path: Path, process: AppServer) -> None:
    """Change the program's file until it has started anew: Tornado sees no change from before its first look."""
    program = tmp_path / "program.py"
    changes = itertools.count(int(program.stat().st_mtime) + 10)

    def has_restarted() -> bool:
        if process.output().count("start\n") == 2:
            return True
        os.utime(program, 2 * (next(changes),))
        return False

    await until(has_restarted)


@pytest.mark.parametrize("on_close", [PLAIN, COROUTINE, FAILING], ids=["plain", "coroutine", "failing"])
async def test_each_connection_is_closed_before_the_program_starts_anew(run: Run, tmp_path: Path, on_close: str):
    process = run(on_close)
    served = Elsewhere.of(process)
    pid = process.pid
    clients = {transport: await open_client(served, transport) for transport in PROTOCOLS}
    for client in clients.values():
        assert await client.receive() == ["welcome"]
    polls = [await served.start_poll(clients[transport].session_id, transport) for transport in POLLING]
    await touch(tmp_path, process)
    for poll in polls:
        assert (await poll.read_response()).status == 200
    socket = clients["websocket"]
    assert isinstance(socket, SocketClient)
    assert await socket.peer.ended() == 1001  # of a close frame: no end that came out of nothing
    for transport in STREAMING:
        await clients[transport].ended()
    before, _, _ = process.output().rpartition("start\n")
    closed = [line for line in before.splitlines() if line.startswith("close ")]
    assert sorted(closed) == sorted(f"close {transport}" for transport in PROTOCOLS)
    assert before.count("on_close failed") == (len(PROTOCOLS) if on_close is FAILING else 0)
    assert process.pid == pid
    await until(lambda: accepts_connections(process.port))
    client = await open_client(served, "websocket")
    assert await client.receive() == ["welcome"]
    await served.aclose()


async def test_an_on_close_that_has_to_wait_goes_no_further(run: Run, tmp_path: Path):
    process = run(WAITING)
    served = Elsewhere.of(process)
    client = await open_client(served, "websocket")
    await client.receive()
    await touch(tmp_path, process)
    await client.ended()
    assert process.output().splitlines() == [
        "start",
        "close websocket",
        "finally",
        "WARNING the program is started anew: 1 on_close had to wait, and went no further",
        "start",
    ]
    await served.aclose()


async def test_on_close_runs_beside_a_handler_that_is_at_work(run: Run, tmp_path: Path):
    process = run(PLAIN)
    served = Elsewhere.of(process)
    client = await open_client(served, "websocket")
    await client.receive()
    await client.send("hang")
    await until(lambda: "hanging" in process.output())
    await touch(tmp_path, process)
    assert process.output().splitlines() == ["start", "hanging", "close websocket", "start"]
    await served.aclose()


async def test_an_on_close_that_waits_already_for_a_handler_is_counted(run: Run, tmp_path: Path):
    process = run(PLAIN)
    served = Elsewhere.of(process)
    client = await open_client(served, "websocket")
    await client.receive()
    await client.send("leave")
    await until(lambda: "leaving" in process.output())
    await touch(tmp_path, process)
    assert process.output().splitlines() == [
        "start",
        "leaving",
        "WARNING the program is started anew: 1 on_close had to wait, and went no further",
        "start",
    ]
    await served.aclose()
