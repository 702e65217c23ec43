"""docs/guide/starting.rst: the forms of starting, the table of arguments, the health check."""

from __future__ import annotations

import asyncio
import inspect
import signal

import tornadio
from tests.appserver import AppServer
from tests.documents.pages import Page, table_rows
from tests.documents.programs import SO_FAR, assert_echoes, connected, drains, status_of
from tests.support import until

PAGE = Page("docs/guide/starting.rst")


@PAGE.runs("Three ways to start", 0)
async def test_the_shortest_start_ends_gracefully(serve_program, code):
    await assert_ends_gracefully(serve_program(SO_FAR + code))


@PAGE.runs("Three ways to start", 1)
async def test_starting_the_loop_oneself(serve_program, code):
    server = serve_program(SO_FAR + "import logging\nlogging.basicConfig(level=logging.INFO)\n" + code)
    await until(lambda: "The server listens" in server.output())  # it may be reached before it has said so
    await assert_echoes(server)


@PAGE.runs("Three ways to start", 2)
async def test_the_asyncio_start_ends_gracefully(serve_program, code):
    await assert_ends_gracefully(serve_program(SO_FAR + code))


@PAGE.runs("In a thread")
async def test_a_server_in_a_thread_ends_gracefully(serve_program, code):
    # Standard input is /dev/null for a program in a test: a signal stands for the key.
    program = code.replace('input("Enter ends the server")', "signal.sigwait([signal.SIGUSR1])")
    assert program != code
    blocked = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
    server = serve_program(SO_FAR + blocked + program)
    async with connected(server) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        server.send_signal(signal.SIGUSR1)
        assert await client.close_code() == 1001
        assert await asyncio.to_thread(server.wait) == 0
    assert server.output() == "closed\n"


async def assert_ends_gracefully(server: AppServer) -> None:
    async with connected(server) as client:
        await client.send("hello")
        assert await client.receive() == "hello"
        ending = asyncio.to_thread(server.terminate)
        assert (await asyncio.gather(ending, client.close_code()))[0] == 0
    assert server.output() == "closed\n"


@PAGE.runs("Health checks")
async def test_a_server_goes_on_for_a_while_after_it_was_told_to_stop(serve_program, code):
    server = serve_program(SO_FAR + code)
    assert await status_of(server, "/health") == 200
    async with connected(server) as client:
        server.send_signal(signal.SIGTERM)
        await drains(server)
        await client.send("still here?")
        assert await client.receive() == "still here?"


def test_the_table_of_server_arguments_is_true():
    (_self, *parameters) = inspect.signature(tornadio.SocketServer.__init__).parameters.values()
    table = {name: default for name, default, _meaning in table_rows("Arguments of SocketServer", PAGE.path)}
    assert table == {
        parameter.name: "" if parameter.default is parameter.empty else repr(parameter.default)
        for parameter in parameters
    }
