"""An HTTP server between pages and a server of ours, which every engine takes for the server itself.

It notes what pages send, and does at a test's word what a broken server or a bad line would do: answers something else,
doesn't answer, cuts the connection, or carries everything later. It runs in a thread, beside the driver of a browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qs

from tests.appserver import free_port
from tests.peers import Request, read_request, response
from tests.support import SECONDS, fed
from tornadio.errors import ProtocolError
from tornadio.websocket.rfc6455 import Framer

T = TypeVar("T")

_CHUNK: Final = 1 << 16
_LONGEST_MESSAGE: Final = 1 << 24


@dataclasses.dataclass
class _Rule:
    """What becomes of the requests whose method and path, "POST /path", hold a match of the pattern."""

    pattern: str
    answer: bytes | None = None  # instead of the server's
    is_cut: bool = False  # the connection; without this and without an answer, none comes
    left: float = math.inf  # so many requests

    def takes(self, request: Request) -> bool:
        return self.left > 0 and re.search(self.pattern, f"{request.method} {request.path}") is not None


class Intermediary:
    """Passes requests and WebSockets on to the server at a port of localhost, as they come.

    `url` and `port` are its own. Of `requests` those are in it that were refused or held, too. `payloads` are those of
    Socket.IO which pages have sent, by POST or over a WebSocket (without compression). Of `abandoned` requests the
    client closed the connection before anything was answered. Bytes arrive `delay_seconds` late, in both directions: a
    round trip takes twice that.
    """

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.delay_seconds = 0.0
        self.losses = 0
        self.requests: list[Request] = []
        self.payloads: list[str] = []
        self.abandoned: list[Request] = []
        self._server_port = server_port
        self._rules: list[_Rule] = []  # the last that fits counts
        # What waits for ever waits for this. A future of its own would keep no task, which were collected as garbage.
        self.never = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"intermediary on port {self.port}")

    # -- What a test says

    def answer(self, pattern: str, status: int, body: str = "", *headers: str, times: float = math.inf) -> None:
        """Answer requests in the server's place: those whose "METHOD PATH" holds a match of a regular expression."""
        answer = response(f"{status} {HTTPStatus(status).phrase}", body, *headers)
        if status == HTTPStatus.NO_CONTENT:
            answer = answer.replace(b"Content-Length: 0\r\n", b"")
        self._rules.append(_Rule(pattern, answer, left=times))

    def hold(self, pattern: str, times: float = math.inf) -> None:
        """Leave requests without an answer. The server never sees them."""
        self._rules.append(_Rule(pattern, left=times))

    def drop(self, pattern: str, times: float = math.inf) -> None:
        """Cut the connections over which requests come. The server never sees them."""
        self._rules.append(_Rule(pattern, is_cut=True, left=times))

    def pass_on(self) -> None:
        """Pass all requests on from now on. Those that are held stay so."""
        self._rules.clear()

    def lose_connections(self) -> None:
        """Carry nothing more over the connections that there are, and have neither side hear of it: as when a computer
        was carried to another network while it slept."""
        self.losses += 1

    def seen(self, pattern: str) -> list[Request]:
        """The requests so far whose "METHOD PATH" holds a match."""
        return [each for each in self.requests if re.search(pattern, f"{each.method} {each.path}")]

    def wait_for(self, pattern: str, count: int = 1) -> Request:
        """Wait until so many such requests have come: the last of them."""
        deadline = time.monotonic() + SECONDS
        while len(seen := self.seen(pattern)) < count:
            assert time.monotonic() < deadline, f"{len(seen)} of {count} requests came: {pattern}"
            time.sleep(0.01)
        return seen[count - 1]

    # -- Its thread

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "localhost", self.port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)

    async def _close(self) -> None:
        # A connection that was accepted when the server closes, and has no transport yet, would stay open.
        for listener in self._server.sockets:
            self._loop.remove_reader(listener)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            # So would that of a task which is cancelled before it has begun.
            begun = {task for task in others if not _is_new(task)}
            for task in begun:
                task.cancel()
            if begun:
                await asyncio.wait(begun)
            await asyncio.sleep(0)  # in which transports close their sockets, and what was accepted gets a task
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled by `_close` alone: asyncio's streams log that of a task of theirs.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._pass_on(reader, writer)
        writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one client's requests to the end of its connection."""
        async with contextlib.AsyncExitStack() as exits:
            to_client = await exits.enter_async_context(_Delayed(self, writer).running())
            to_server: _Delayed | None = None
            waiting: Request | None = None
            while (request := await _next_request(reader)) is not None:
                self._note(request)
                waiting, answered = request, to_client.count
                rule = next((rule for rule in reversed(self._rules) if rule.takes(request)), None)
                if rule is not None:
                    rule.left -= 1
                    if rule.is_cut:
                        return
                    if rule.answer is not None:
                        to_client.write(rule.answer)
                    continue
                if to_server is None:
                    server_reader, server_writer = await asyncio.open_connection("localhost", self._server_port)
                    exits.callback(server_writer.transport.abort)
                    to_server = await exits.enter_async_context(_Delayed(self, server_writer).running())
                    back = asyncio.create_task(self._pass_back(server_reader, to_client))
                    exits.callback(back.cancel)
                to_server.write(request.raw)
                if "upgrade" in request.headers:
                    await self._pass_frames_on(reader, to_server)
            if waiting is not None and to_client.count == answered:
                self.abandoned.append(waiting)
            if to_server is not None:
                await to_server.end()

    async def _pass_back(self, server_reader: asyncio.StreamReader, to_client: _Delayed) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await server_reader.read(_CHUNK):
                to_client.write(data)
        await to_client.end()

    async def _pass_frames_on(self, reader: asyncio.StreamReader, to_server: _Delayed) -> None:
        framer: Framer | None = Framer(_LONGEST_MESSAGE)
        while data := await reader.read(_CHUNK):
            to_server.write(data)
            if framer is not None:
                try:
                    self.payloads += [message for message in fed(framer, data) if isinstance(message, str)]
                except ProtocolError:  # compressed, or no frames at all
                    framer = None

    def _note(self, request: Request) -> None:
        self.requests.append(request)
        if request.method == "POST":
            self.payloads += parse_qs(request.body, keep_blank_values=True).get("data", [])


def _is_new(task: asyncio.Task[Any]) -> bool:
    coroutine = task.get_coro()
    return inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


async def _next_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a client; `None` at the end of its connection, however it came."""
    try:
        return await read_request(reader)
    except ConnectionError:
        return None


class _Delayed:
    """What is written to a connection, late by the seconds that were set when it was written."""

    def __init__(self, intermediary: Intermediary, writer: asyncio.StreamWriter) -> None:
        self._intermediary = intermediary
        self._losses = intermediary.losses  # before it was there
        self._writer = writer
        self._pending: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        self.count = 0  # of writes

    def write(self, data: bytes | None) -> None:
        self.count += 1
        due = asyncio.get_running_loop().time() + self._intermediary.delay_seconds
        self._pending.put_nowait((due, data))

    async def end(self) -> None:
        """Close the connection behind all that was written."""
        self.write(None)
        await self._carrying

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[_Delayed]:
        self._carrying = asyncio.create_task(self._carry())
        try:
            yield self
        finally:
            self._carrying.cancel()

    async def _carry(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while True:
                due, data = await self._pending.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if self._losses != self._intermediary.losses:
                    await self._intermediary.never.wait()
                if data is None:
                    break
                self._writer.write(data)
                await self._writer.drain()
        self._writer.close()
