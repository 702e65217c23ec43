"""docs/guide/processes.rst: a chat of many processes, one of many behind a proxy, and an emitter."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import tornadio
from tests.appserver import REPOSITORY, AppServer
from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, connected, drains, on_redis, start_with, status_of

PAGE = Page("docs/guide/processes.rst")


@PAGE.runs("Many processes")
async def test_a_chat_of_many_processes(code, redis_server, tmp_path):
    script = tmp_path / "server.py"
    script.write_text(on_redis(code, redis_server), encoding="utf-8")
    servers = [AppServer(script, (f"--node=n{number}",), tmp_path / f"output {number}") for number in range(2)]
    try:
        for server in servers:
            server.start()
        await redis_server.wait_for_subscribers("tornadio:socket.io", 2)
        async with connected(servers[0]) as ann, connected(servers[1]) as bob:
            assert (ann.session_id[:2], bob.session_id[:2]) == ("n0", "n1")
            await ann.send("hello")
            assert await ann.receive() == await bob.receive() == "hello"
            assert await status_of(servers[0], "/health") == 200
            servers[0].send_signal(signal.SIGTERM)
            await drains(servers[0])
            await bob.send("still here?")
            assert await ann.receive() == await bob.receive() == "still here?"
    finally:
        for server in servers:
            server.kill()


@PAGE.runs("In front of the processes")
async def test_three_lines_make_it_one_of_many(serve_program, code, redis_server):
    server = serve_program(SO_FAR + on_redis(code, redis_server))
    assert await status_of(server, "/health") == 200
    async with connected(server) as client:
        assert client.session_id.startswith("a")
        await redis_server.wait_for_subscribers("tornadio:socket.io", 1)
        with tornadio.Emitter(redis_server.url) as emitter:
            emitter.broadcast("from elsewhere")
        assert await client.receive() == "from elsewhere"
        server.send_signal(signal.SIGTERM)
        await drains(server)
        await client.send("still here?")
        assert await client.receive() == "still here?"


@PAGE.runs("Sending from other programs")
async def test_a_program_without_a_server_sends(serve_program, code, redis_server):
    server = serve_program(
        on_redis(
            """
import tornado.web, tornadio

class Member(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        router.group("room 5").add(self)

router = tornadio.get_router(Member, {"bus": "redis://localhost:6379"})
"""
            + start_with("router"),
            redis_server,
        )
    )
    async with connected(server) as client:
        await redis_server.wait_for_subscribers("tornadio:socket.io:group:room 5", 1)
        program = on_redis(code, redis_server)
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        process = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", program, env=environment)
        assert await process.wait() == 0
        assert await client.receive() == {"news": "The report is ready."}
        assert await client.receive() == "The kettle boils."
