"""The command line as a process: what it prints in a pipe and on a terminal, what it sends, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import tornadio
from tests.appserver import free_port, quiet_environment
from tests.documents.pages import Page
from tests.support import Recorder, limit
from tests.tls import Certificate

SESSION = Page("docs/client.rst").code("On the command line", language="text")
HINT = "tornadio: connected over websocket: a line is a message, Ctrl-D ends"


class Program:
    """A program that runs, with its standard files in pipes, or all of them on one terminal."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int | None) -> None:
        self._process = process
        self._terminal = terminal
        self._output = b""
        self.errors = ""

    def write(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        if self._terminal is not None:
            os.write(self._terminal, data)
        else:
            assert self._process.stdin is not None
            self._process.stdin.write(data)

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close_output(self) -> None:
        """Read no more, as `head` does."""
        assert self._process.stdout is not None
        self._process.stdout._transport.close()  # type: ignore[attr-defined]

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    async def read_until(self, pattern: str) -> str:
        """What it prints, up to and with what the regular expression describes."""
        async with limit():
            while (found := re.search(pattern, self._output.decode())) is None:
                data = await self._read()
                assert data, self._output
                self._output += data
        read = self._output.decode()[: found.end()]
        self._output = self._output[len(read.encode()) :]
        return read

    async def _read(self) -> bytes:
        if self._terminal is None:
            assert self._process.stdout is not None
            return await self._process.stdout.read(1 << 16)
        try:
            return await asyncio.to_thread(os.read, self._terminal, 1 << 16)
        except OSError:  # Linux: the last program on the terminal has ended
            return b""

    async def finish(self) -> int:
        """The exit status."""
        async with limit():
            if self._process.stderr is not None:
                self.errors = (await self._process.stderr.read()).decode()
            return await self._process.wait()

    async def rest(self) -> str:
        """All that it has printed and that was not read, when it has ended."""
        async with limit():
            while data := await self._read():
                self._output += data
        return self._output.decode()

    async def aclose(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()
        if self._terminal is not None:
            os.close(self._terminal)


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(url, *arguments, terminal=False, **environment)`: the program, which is killed after the test."""
    running: list[Program] = []

    async def start(*arguments: str, terminal: bool = False, **environment: str) -> Program:
        inherited = {name: value for name, value in quiet_environment().items() if name not in ("NO_COLOR", "TERM")}
        options: dict[str, Any] = {"env": inherited | {"TERM": "xterm"} | environment}
        if terminal:
            ours, theirs = pty.openpty()
            options |= {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        else:
            ours, theirs = None, None
            options |= dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
        command = [sys.executable, "-W", "error", "-m", "tornadio", *arguments]
        running.append(Program(await asyncio.create_subprocess_exec(*command, **options), ours))
        if theirs is not None:
            os.close(theirs)
        return running[-1]

    yield start
    for program in running:
        await program.aclose()


async def url_of(serve: Any, connection_class: type[tornadio.SocketConnection] = Recorder, **settings: Any) -> str:
    return f"http://127.0.0.1:{serve(connection_class, settings).port}/socket.io"


def without_times(output: str) -> list[str]:
    """The lines, without their times and with the session id as ID."""
    for line in (lines := output.replace("\r\n", "\n").split("\n")):
        assert not line or re.match(r"\d\d:\d\d:\d\d\.\d{3} [<>] ", line), lines
    return [re.sub("< [0-9a-f]{32} ", "< ID ", line.partition(" ")[2]) for line in lines if line]


async def ended() -> tuple[int | None, str]:
    """How the server saw the only connection end."""
    [connection] = Recorder.opened
    await connection.wait_closed()
    return connection.close_code, connection.close_reason


# -- In a pipe ---------------------------------------------------------------------------------------------------------


async def test_lines_of_a_pipe_are_messages_and_its_end_is_the_end(serve, start):
    program = await start(await url_of(serve))
    await program.read_until("< welcome\n")
    program.write('é😀\n{"a":1}\nlast')
    await program.read_until('< ~j~{"a": 1}\n')
    program.end_input()
    assert await program.finish() == 0
    assert program.errors == ""
    assert "> last\n" in await program.rest()
    assert await ended() == (1000, "")
    assert [event[1] for event in Recorder.opened[0].events if event[0] == "message"] == ["é😀", {"a": 1}, "last"]


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile"])
async def test_frames_in_both_directions_over_each_transport(serve, start, transport):
    program = await start(
        await url_of(serve),
        f"--transport={transport}",
        "--count=4",
        "--send=hello",
        '--send={"a":[1]}',
        "--send=\x1b[2J",
    )
    assert await program.finish() == 0
    assert program.errors == ""
    lines = without_times(await program.rest())
    incoming = [line for line in lines if line[0] == "<"]
    outgoing = [line for line in lines if line[0] == ">"]
    assert incoming == ["< ID  (session id)", "< welcome", "< hello", '< ~j~{"a": [1]}', "< \\x1b[2J"]
    assert outgoing == ["> hello", '> ~j~{"a": [1]}', "> \\x1b[2J"]


async def test_heartbeats_are_shown_and_answered(serve, start):
    program = await start(await url_of(serve, heartbeat_interval=0.1), "--timeout=60")
    await program.read_until(r"> ~h~2  \(heartbeat\)\n")
    assert not Recorder.opened[0].is_closed


async def test_raw_payloads(serve, start):
    url = await url_of(serve)
    program = await start(url, "--raw", "--count=3", "--transport=websocket", "--send=~m~1~m~\x1b~m~1~m~b")
    assert await program.finish() == 0
    output = await program.rest()
    assert re.fullmatch("~m~32~m~[0-9a-f]{32}\n?~m~7~m~welcome\n~m~1~m~\x1b\n?~m~1~m~b\n", output), output


async def test_the_options_reach_the_server(serve, start):
    served = serve(settings={"origins": ["http://www.example.com"]}, extra_re=r"\d+", extra_sep="/")
    program = await start(
        f"ws://127.0.0.1:{served.port}/socket.io?a=b",
        "--count=1",
        "--origin=http://www.example.com",
        "--header=X-One: 1",
        "--cookie=member=Ann",
        "--extra=/123",
    )
    assert await program.finish() == 0
    [connection] = Recorder.opened
    assert connection.events[0] == ("open", "123")
    headers = connection.request.headers
    assert (headers["Origin"], headers["X-One"], headers["Cookie"]) == ("http://www.example.com", "1", "member=Ann")
    assert connection.request.arguments["a"] == [b"b"]


class Feed(Recorder):
    """A market-data feed: its first frame is a message, and its JSON has no mark."""

    def greeting(self) -> Any:
        return {"server": "feed"}

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        Recorder.opened.append(self)


async def test_a_feed(serve, start):
    program = await start(
        await url_of(serve, Feed, json="plain"),
        "--first-frame=message",
        "--json=plain",
        '--send={"a":1.10}',
        "--count=2",
    )
    assert await program.finish() == 0
    lines = without_times(await program.rest())
    assert lines == ['< {"server": "feed"}', '> {"a":1.10}', '< {"a": 1.1}']


async def test_a_feed_that_is_taken_for_socket_io(serve, start):
    program = await start(await url_of(serve, Feed, json="plain"), "--transport=websocket")
    assert await program.finish() == 3
    assert program.errors.endswith("; to receive it as a message, say --first-frame message\n")
    assert without_times(await program.rest()) == ['< {"server": "feed"}']


async def test_a_certificate_to_trust(serve, start, tmp_path):
    certificate = Certificate()
    certificate.write_authority(tmp_path / "ca.pem")
    served = serve(server={"ssl_options": certificate.server})
    url = f"https://localhost:{served.port}/socket.io"
    program = await start(url, "--count=1", f"--ca-file={tmp_path / 'ca.pem'}")
    assert await program.finish() == 0
    program = await start(url, "--count=1")
    assert await program.finish() == 3
    # One line, by this program alone.
    assert re.fullmatch(r"tornadio: .* was not accepted: .* give its certificate: --ca-file FILE\n", program.errors)


# -- On a terminal -----------------------------------------------------------------------------------------------------


class Hostile(Recorder):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        super().on_open(request, *args, **kwargs)
        self.send("\x1b]0;owned\x07\x9b2J\r\n> forged")


async def test_a_terminal(serve, start):
    program = await start(await url_of(serve, Hostile), terminal=True)
    shown = await program.read_until(rf"(?s)(?=.*{HINT})(?=.*> forged\x1b\[0m).*\r\n")
    assert "\x1b[32m< welcome\x1b[0m\r\n" in shown
    assert "< \\x1b]0;owned\\x07\\x9b2J\\r\\n> forged" in shown
    program.write("hello\n")
    assert "\x1b[36m> hello\x1b[0m\r\n" in await program.read_until("< hello\x1b\\[0m\r\n")
    program.write(b"\x04")  # Ctrl-D
    assert await program.finish() == 0
    assert await ended() == (1000, "")


async def test_a_terminal_without_colours(serve, start):
    program = await start(await url_of(serve), "--count=1", terminal=True, NO_COLOR="1")
    output = await program.rest()
    assert await program.finish() == 0
    assert "\x1b" not in output
    assert "< welcome\r\n" in output


async def test_a_session_as_the_page_shows_it(serve, start):
    class Echo(tornadio.SocketConnection):
        def on_message(self, message: Any) -> None:
            self.send(message)

    def rubbed(text: str) -> list[str]:
        return re.sub(r"(?m)^\d\d:\d\d:\d\d\.\d{3}|\b[0-9a-f]{32}\b", "...", text.replace("\r", "")).split("\n")

    program = await start(await url_of(serve, Echo, heartbeat_interval=2), terminal=True, NO_COLOR="1")
    shown = await program.read_until(f"{HINT}\r\n")
    for line in ("hello", '{"a": 1}'):
        program.write(f"{line}\n")
        shown += await program.read_until(f"< .*{line}\r\n")
    shown += await program.read_until(r"> ~h~1  \(heartbeat\)\r\n")
    assert ["$ tornadio http://localhost:8001/socket.io", *rubbed(shown)] == rubbed(SESSION)


# -- How it ends -------------------------------------------------------------------------------------------------------


async def test_interrupted(serve, start):
    program = await start(await url_of(serve))
    program.write("hello\n")
    await program.read_until("< hello\n")
    program.interrupt()
    assert await program.finish() == 130
    assert program.errors == ""
    assert await ended() == (1000, "")


async def test_nobody_reads_any_more(serve, start):
    program = await start(await url_of(serve))
    program.write("hello\n")
    await program.read_until("< hello\n")
    program.close_output()
    program.write("hello\n")
    assert await program.finish() == 141
    assert program.errors == ""
    assert await ended() == (1000, "")


async def test_the_server_closes(serve, start):
    program = await start(await url_of(serve), "--send=close")
    assert await program.finish() == 0
    assert program.errors == ""
    program = await start(await url_of(serve), "--send=close", "--count=2")
    assert await program.finish() == 1
    assert program.errors.startswith(
        "tornadio: the server has closed the connection before 2 messages were there: 1000"
    )


async def test_the_server_fails(serve, start):
    program = await start(await url_of(serve), "--send=fail")
    assert await program.finish() == 1
    assert "1011" in program.errors
    assert "the application failed" in program.errors


async def test_the_time_is_over(serve, start):
    url = await url_of(serve)
    program = await start(url, "--timeout=0.2", "--send=x")
    assert await program.finish() == 0
    assert program.errors == ""
    program = await start(url, "--timeout=0.2", "--count=3", "--send=x")
    assert await program.finish() == 4
    assert program.errors == "tornadio: fewer than 3 messages after 0.2 seconds\n"


@pytest.mark.parametrize(("end", "status"), [("--timeout=3", 0), ("--count=3", 0), ("--count=4", 1)])
async def test_the_end_of_the_input_is_not_the_end_where_another_is_said(serve, start, end, status):
    program = await start(await url_of(serve), end)
    program.write("hello")
    program.end_input()
    await program.read_until("< hello\n")
    Recorder.opened[0].send("late")
    await program.read_until("< late\n")
    if status:
        Recorder.opened[0].close()
    assert await program.finish() == status


class Refusing(Recorder):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return False


async def test_no_connection(serve, start):
    program = await start(await url_of(serve, origins=["http://a.example"]), "--origin=http://b.example")
    assert await program.finish() == 3
    assert "403" in program.errors
    program = await start(f"http://127.0.0.1:{free_port()}/socket.io")
    assert await program.finish() == 3
    assert "refused" in program.errors
    assert program.errors.count("\n") <= 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required: URL"),
        (("localhost:8001",), "http://"),
        (("http://localhost:1/socket.io", "--transport=websokcet"), "did you mean 'websocket'?"),
        (("http://localhost:1/socket.io/xhr-polling",), "and say --transport xhr-polling"),
    ],
)
async def test_wrong_arguments(start, arguments, words):
    program = await start(*arguments)
    assert await program.finish() == 2
    assert words in program.errors
    assert "Traceback" not in program.errors


async def test_input_that_is_not_utf8(serve, start):
    program = await start(await url_of(serve))
    program.write(b"one\n\xff\n")
    program.end_input()
    assert await program.finish() == 2
    assert program.errors.startswith("tornadio: line 2 of the input is not UTF-8")
    await ended()
    assert ("message", "one") in Recorder.opened[0].events


async def test_the_version(start):
    program = await start("--version")
    assert await program.finish() == 0
    assert await program.rest() == f"tornadio {tornadio.version}\n"
