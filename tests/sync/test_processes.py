"""The client for threads in processes of its own: interrupts, forks, and the interpreter's exit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator

import pytest

from tests.appserver import REPOSITORY
from tests.support import Recorder, limit, until

# Without asyncio's lines about slow callbacks: on a busy machine any callback is slow.
BEGIN = """
import logging, os, sys, threading, time
import tornadio, tornadio.sync
logging.getLogger("asyncio").setLevel(logging.ERROR)
url = sys.argv[1]
"""


async def start(program: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start a program in which each warning, also at its exit, is a line on stderr."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", BEGIN + program, *arguments]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Its status, and all that it has still written."""
    try:
        async with limit():
            output, errors = await process.communicate(b"")
    except TimeoutError:
        process.kill()
        raise
    return process.returncode, output.decode(), errors.decode()


async def run(program: str, *arguments: str) -> str:
    """The output of a program that ends well."""
    status, output, errors = await finish(await start(program, *arguments))
    assert (status, errors) == (0, "")
    return output


@pytest.fixture
def url(serve):
    return f"http://127.0.0.1:{serve().port}/socket.io"


async def closed() -> list[tuple[int | None, str]]:
    """How the server saw the connections end."""
    for connection in Recorder.opened:
        await connection.wait_closed()
    return [(connection.close_code, connection.close_reason) for connection in Recorder.opened]


@pytest.mark.parametrize("call", ["connection.recv()", "connection.recv(60)", "list(connection)"])
async def test_an_interrupt_ends_the_wait_for_a_message(url, call):
    process = await start(
        f"""
with tornadio.sync.connect(url) as connection:
    print(connection.recv())
    connection.send("ready")
    connection.recv()
    try:
        {call}
    except KeyboardInterrupt:
        connection.send("after it")
        print(connection.recv())
""",
        url,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"welcome\n"
    await until(lambda: ("message", "ready") in Recorder.opened[0].events)
    await asyncio.sleep(0.3)  # it waits now; if it does not yet, it is interrupted before
    process.send_signal(signal.SIGINT)
    assert await finish(process) == (0, "after it\n", "")
    assert await closed() == [(1000, "")]


class Silent:
    """A server that reads, and says nothing.

    :ivar connected: a client has come.
    :ivar left: it has gone.
    """

    url: str

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.left = asyncio.Event()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.set()
        await reader.read()
        writer.close()
        self.left.set()


@pytest.fixture
async def silent() -> AsyncIterator[Silent]:
    silent = Silent()
    async with await asyncio.start_server(silent.accept, "127.0.0.1", 0) as server:
        silent.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/socket.io"
        yield silent
        async with limit():
            await silent.left.wait()


async def test_an_interrupt_ends_the_wait_for_a_connection(silent):
    process = await start(
        """
try:
    tornadio.sync.connect(url, transports=["websocket"], open_timeout=100)
except KeyboardInterrupt:
    print("interrupted")
sys.stdin.read()
""",
        silent.url,
    )
    async with limit():
        await silent.connected.wait()
        process.send_signal(signal.SIGINT)
        await silent.left.wait()
    assert await finish(process) == (0, "interrupted\n", "")


async def test_a_program_that_ends_closes_what_is_open_and_leaves_no_word(url):
    began = time.monotonic()
    assert (
        await run(
            """
connections = [tornadio.sync.connect(url) for _ in range(3)]
for connection in connections:
    connection.send("bye")
threading.Thread(target=connections[0].recv, daemon=True).start()
reconnecting = tornadio.sync.reconnecting(url)
next(reconnecting).send("bye")
print(connections[1].recv())
""",
            url,
        )
        == "welcome\n"
    )
    assert time.monotonic() - began < 20
    assert await closed() == [(1000, "")] * 4
    assert [("message", "bye") in connection.events for connection in Recorder.opened] == [True] * 4


async def test_a_thread_may_connect_when_the_main_thread_has_ended(url):
    """Python's executors of threads accept no work then: a name is looked up all the same."""
    program = """
import asyncio, concurrent.futures.thread

def work():
    while not concurrent.futures.thread._shutdown:  # set when the main thread ends
        time.sleep(0.01)
    with tornadio.sync.connect(url) as connection:
        print(connection.recv())
    asyncio.run(work_asynchronously())

async def work_asynchronously():
    async with tornadio.connect(url) as connection:
        print(await connection.recv())

threading.Thread(target=work).start()
"""
    assert await run(program, url.replace("127.0.0.1", "localhost")) == "welcome\nwelcome\n"


async def test_a_program_that_ends_while_a_thread_waits_to_connect_again_leaves_no_word():
    program = """
connections = tornadio.sync.reconnecting(url, min_delay=3600, max_delay=3600)
threading.Thread(target=list, args=(connections,), daemon=True).start()
while not any("trying again" in line for line in lines):
    time.sleep(0.01)
"""
    begin = """
lines = []
class Noting(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("tornadio").addHandler(Noting())
logging.getLogger("tornadio").setLevel(logging.INFO)
"""
    assert await run(begin + program, "ws://127.0.0.1:1/socket.io") == ""


async def test_daemon_threads_do_not_keep_a_program_from_ending_and_end_without_a_word(url, silent):
    program = """
def start(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()
def send():
    while True:
        busy.send("still there")
def receive(connection):
    while True:
        connection.recv()
busy, idle = tornadio.sync.connect(url), tornadio.sync.connect(url)
start(tornadio.sync.connect, sys.argv[2])
start(send)
start(receive, busy)
start(receive, idle)
print(busy.recv())
"""
    await run(program, url, silent.url)
    assert {code for code, _ in await closed()} <= {1000, 1001}  # by close frames, that is


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
async def test_after_a_fork_the_child_has_its_own(url):
    output = await run(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on of fork() beside threads
connection = tornadio.sync.connect(url)
assert connection.recv() == "welcome"
child = os.fork()
if child == 0:
    for call in (lambda: connection.send("x"), connection.recv, connection.flush):
        try:
            call()
        except tornadio.CallerError as error:
            print(error)
    connection.close()
    with tornadio.sync.connect(url) as own:
        own.send("from the child")
        print(own.recv(), own.recv())
    del connection, own
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
connection.send("from the parent")
print(connection.recv())
connection.close()
""",
        url,
    )
    told = "this connection is of the process before the fork: open one in the child\n"
    assert output == told * 3 + "welcome from the child\nfrom the parent\n"
    assert await closed() == [(1000, "")] * 2


async def test_in_a_thread_of_an_asyncio_program(url):
    program = """
import asyncio
def talk():
    with tornadio.sync.connect(url) as connection:
        connection.send("hello")
        return connection.recv(), connection.recv()
async def main():
    print(*await asyncio.to_thread(talk))
asyncio.run(main())
"""
    assert await run(program, url) == "welcome hello\n"
