"""The pytest plugin, in a pytest of its own: loaded by its entry point, under each plugin that runs coroutines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytestruns import AUTO, NAME_HERE, STRICT, run_pytest

ECHO = """
import pytest
import tornadio

class Echo(tornadio.SocketConnection):
    closed = []

    def on_message(self, message):
        if message == "fail":
            raise ValueError("as the test asked")
        self.send(message)

    def on_close(self):
        self.closed.append(self.close_code)
"""

TESTS = """
async def test_serve(tornadio_serve):
    server = await tornadio_serve(Echo, max_message_size=10)
    async with server.connect() as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
    await server.connect()

async def test_what_was_served_has_ended_with_its_test(tornadio_serve):
    assert Echo.closed == [1000, 1001]
    one, other = await tornadio_serve(Echo), await tornadio_serve(Echo)
    assert one.port != other.port

async def test_clock(tornadio_serve, tornadio_clock):
    server = await tornadio_serve(Echo)
    async with server.connect(silence_timeout=5) as socket:
        await tornadio_clock.advance(4.9)
        assert not socket.is_closed
        await tornadio_clock.advance(0.1)
        assert socket.close_reason.startswith("silence")

class TestClient:
    async def test_manual_server(self, tornadio_manual_server):
        server = await tornadio_manual_server(json="plain")
        async with tornadio.connect(server.url, json="plain") as socket:
            peer = await server.accept()
            peer.send({"a": 1})
            assert await socket.recv() == {"a": 1}
            await peer.heartbeat()
"""

FAILING = """
async def test_the_application_fails(tornadio_serve):
    server = await tornadio_serve(Echo)
    async with server.connect() as socket:
        await socket.send("fail")
        with pytest.raises(tornadio.ConnectionClosed):
            await socket.recv()

async def test_both_fail(tornadio_serve):
    server = await tornadio_serve(Echo)
    async with server.connect() as socket:
        await socket.send("fail")
        await socket.recv()

def test_the_application_fails_in_a_thread(tornadio_serve):
    server = tornadio_serve(Echo)
    with server.connect() as socket:
        socket.send("fail")
        with pytest.raises(tornadio.ConnectionClosed):
            socket.recv()

def test_there_is_no_clock_without_an_event_loop(tornadio_clock):
    pass
"""

FIXTURE = """
import socket

ports = []

@ASYNC
async def server(tornadio_serve):
    return await tornadio_serve(Echo)

@ASYNC
async def broken(server):
    ports.append(server.port)
    raise OSError("a fixture")

async def test_a_server_of_a_fixture(server):
    async with server.connect() as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"

async def test_a_broken_fixture_beside_it(broken):
    pass

async def test_nothing_is_left_of_the_server_of_a_test_that_was_not_run():
    [port] = ports
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
"""

SYNCHRONOUS = """
def test_serve(tornadio_serve):
    server = tornadio_serve(Echo, max_message_size=10)
    with server.connect() as socket:
        socket.send("hello")
        assert socket.recv(timeout=10) == "hello"
    assert Echo.closed == [1000]

def test_manual_server(tornadio_manual_server):
    server = tornadio_manual_server()
    import tornadio.sync
    with tornadio.sync.connect(server.url) as socket:
        server.accept().send("hello")
        assert socket.recv(timeout=10) == "hello"
"""

RUNNERS = {
    "pytest-asyncio, auto": (AUTO, "", "pytest.fixture"),
    "pytest-asyncio, strict": (
        STRICT,
        "import pytest_asyncio\npytestmark = pytest.mark.asyncio",
        "pytest_asyncio.fixture",
    ),
    "anyio": (
        "addopts = -p no:asyncio",
        "pytestmark = pytest.mark.anyio\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'",
        "pytest.fixture",
    ),
}


def run(tmp_path: Path, settings: str, *programs: str) -> str:
    """What pytest says of a test module."""
    directory = tmp_path / "program"
    directory.mkdir()
    (directory / "test_program.py").write_text("\n".join(programs), encoding="utf-8")
    return run_pytest(tmp_path, directory, settings=settings).stdout


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_fixtures_work_with(runner, tmp_path):
    settings, head, fixture = RUNNERS[runner]
    output = run(tmp_path, settings, ECHO, head, TESTS, FIXTURE.replace("ASYNC", fixture))
    assert "6 passed, 1 error" in output, output
    assert "OSError: a fixture" in output


def test_errors_of_the_application_fail_the_test(tmp_path):
    output = run(tmp_path, AUTO, ECHO, FAILING)
    assert "3 failed, 1 error" in output, output
    assert output.count("ExceptionGroup: the application under test has failed") == 2
    assert "tornadio_clock is for tests that are 'async def'" in output
    assert "E           ValueError: as the test asked" in output.partition("test_both_fail __")[2]


@pytest.mark.parametrize("settings", ["addopts = -p no:asyncio", STRICT], ids=["no plugin", "strict, not marked"])
def test_a_test_that_nothing_runs_says_what_to_install(settings, tmp_path):
    output = run(tmp_path, settings, ECHO, TESTS)
    assert "4 failed" in output, output
    assert (
        "tornadio_serve is for tests that something runs: for 'async def' tests 'pip install pytest-asyncio'" in output
    )


def test_the_plugin_imports_nothing_before_a_fixture_is_used(tmp_path):
    program = f"""
def test_modules(pytestconfig):
    import sys
    assert pytestconfig.pluginmanager.has_plugin("{NAME_HERE}")
    assert not [name for name in sys.modules if name.startswith("tornado.")]
    loaded = {{name for name in sys.modules if name.startswith("tornadio")}}
    assert loaded == {{"tornadio", "tornadio.pytest_plugin"}}
"""
    output = run(tmp_path, AUTO, program)
    assert "1 passed" in output, output


def test_tests_that_are_no_coroutines_need_no_other_plugin(tmp_path):
    output = run(tmp_path, "addopts = -p no:asyncio -p no:anyio", ECHO, SYNCHRONOUS)
    assert "2 passed" in output, output
