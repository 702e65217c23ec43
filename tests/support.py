"""What the tests share: a client that speaks bytes, a connection class that remembers, a loop whose time moves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import simplejson

import tornadio
from tests.internals import has_queued, measures_lag, sessions_of
from tornadio import proto
from tornadio.testing.clocks import Clock
from tornadio.testing.waiting import until as until  # as library and tests have it

if TYPE_CHECKING:
    from tests.appserver import AppServer
    from tornadio.websocket.framer import Framer

# Generous, because the machine may be busy: a test waits for events, and only a broken one ever waits this long.
SECONDS = 30.0

# Bounds cost, not speed: what takes the square of its data would need minutes of the processor.
PROCESSOR_SECONDS = 20.0

SOCKETS = ("websocket", "flashsocket")
STREAMING = ("xhr-multipart", "htmlfile")
POLLING = ("xhr-polling", "jsonp-polling")
PERSISTENT = SOCKETS + STREAMING
HTTP_TRANSPORTS = STREAMING + POLLING
OF_BROWSERS = ("websocket", "xhr-multipart", "xhr-polling", "jsonp-polling", "htmlfile")  # without Flash

# The headers of a POST as a script sends it, and as a form does, for which browsers name no charset.
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
BARE_FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# More than the kernel keeps for a client that does not read, less than max_send_buffer.
LARGE = "0123456789abcdef" * (14 << 16)


@dataclasses.dataclass(frozen=True)
class Served:
    """A server that runs inside the test."""

    server: tornadio.SocketServer
    router: tornadio.Router
    wires: list[ClientStream] = dataclasses.field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.port

    async def connect(self) -> ClientStream:
        """A connection, closed at the end of the test at the latest."""
        wire = await ClientStream.connect(self.port)
        self.wires.append(wire)
        return wire

    async def request(
        self, method: str, path: str, headers: Mapping[str, str | None] | None = None, body: bytes = b""
    ) -> Response:
        """One request on a connection of its own."""
        async with contextlib.aclosing(await self.connect()) as wire:
            await wire.send_request(method, path, headers, body)
            return await wire.read_response(head_only=method == "HEAD")

    async def barrier(self) -> None:
        """When this returns, the server has seen whatever was sent to it, and closed, before."""
        for _ in range(2):
            assert (await self.request("HEAD", "/socket.io/socket.io.js")).status in (200, 404)

    async def open(self, transport: str = "xhr-polling", resource: str = "socket.io") -> tuple[str, str]:
        """Open a polling session: its id, and the frames that `on_open` has sent, if any, which a poll fetches."""
        session_id = await self.shake_hands(transport, resource)
        if not self.has_queued(session_id):
            return session_id, ""
        return session_id, payload_of(await self.poll(session_id, transport, resource=resource), transport)

    async def shake_hands(self, transport: str = "xhr-polling", resource: str = "socket.io") -> str:
        """Open a polling session, and poll nothing: its id, which is all that comes."""
        tail = "//1290000000000" + ("/0" if transport == "jsonp-polling" else "")
        response = await self.request("GET", f"/{resource}/{transport}{tail}")
        [(_, session_id)] = proto.decode(payload_of(response, transport))
        return str(session_id)

    def has_queued(self, session_id: str) -> bool:
        """Whether something waits for a session's next poll."""
        sessions = sessions_of(self.router) if self.router else []
        return any(has_queued(session) for session in sessions if session.session_id == session_id)

    async def post(self, session_id: str, *messages: Any, transport: str = "xhr-polling") -> Response:
        """POST messages as the official client does."""
        return await self.post_data(session_id, "".join(map(proto.encode, messages)), transport=transport)

    async def post_data(self, session_id: str, data: str, transport: str = "xhr-polling") -> Response:
        """POST a payload, whatever it is."""
        body = b"data=" + quote(data, safe="~!*()'").encode()
        headers = BARE_FORM if transport == "jsonp-polling" else FORM
        return await self.request("POST", f"/socket.io/{transport}/{session_id}/send", headers, body)

    async def poll(
        self, session_id: str, transport: str = "xhr-polling", parameter: str = "", resource: str = "socket.io"
    ) -> Response:
        index = "/0" if transport == "jsonp-polling" else ""
        return await self.request("GET", f"/{resource}/{transport}/{session_id}/1290000000000{parameter}{index}")

    async def start_poll(
        self, session_id: str, transport: str = "xhr-polling", wire: ClientStream | None = None, parameter: str = ""
    ) -> ClientStream:
        """A poll that waits, on a new connection or this one: the server has taken it when this returns."""
        wire = wire or await self.connect()
        await wire.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000{parameter}/0")
        await self.barrier()
        return wire

    async def stream(self, transport: str, session_id: str = "", headers: dict[str, str] | None = None) -> Stream:
        """The long GET of a streaming transport, up to what stands before its first payload."""
        wire = await self.connect()
        await wire.send_request("GET", f"/socket.io/{transport}/{session_id}/1290000000000", headers)
        head = await wire.read_head()
        assert head.status == 200, head
        return Stream(transport, wire, head, await wire.read_chunk())

    async def open_stream(self, transport: str) -> tuple[Stream, str]:
        """Open a session over a streaming transport: its stream, and its id."""
        stream = await self.stream(transport)
        [(_, session_id)] = proto.decode(await stream.read_payload())
        return stream, session_id

    async def start(self, transport: str) -> str:
        """Open a session over any of the four HTTP transports: its id. A stream stays open until the test ends."""
        if transport in STREAMING:
            return (await self.open_stream(transport))[1]
        return (await self.open(transport))[0]


@dataclasses.dataclass(frozen=True)
class Elsewhere(Served):
    """A server in a process of its own, as far as clients need it."""

    @classmethod
    def of(cls, server: AppServer) -> Elsewhere:
        return cls(cast(Any, server), cast(Any, None))

    def has_queued(self, session_id: str) -> bool:
        return False  # nobody can see: polls bring it

    async def read_json(self, path: str) -> Any:
        return simplejson.loads((await self.request("GET", path)).text)

    async def aclose(self) -> None:
        for wire in self.wires:
            await wire.aclose()


def payload_of(response: Response, transport: str) -> str:
    """The payload in a poll's response."""
    assert response.status == 200, response
    return jsonp_payload(response.text) if transport == "jsonp-polling" else response.text


def jsonp_payload(script: str) -> str:
    """The payload in a JSONP response."""

    assert script.startswith("io.JSONP[0]._(")
    assert script.endswith(");")
    payload: str = simplejson.loads(script.removeprefix("io.JSONP[0]._(").removesuffix(");"))
    return payload


def with_defaults(method: str, path: str, headers: Mapping[str, str | None]) -> dict[str, str | None]:
    """Headers with Host, and for a script's GET with the page's site, where they are missing; `None` is absent."""
    names = {name.lower() for name in headers}
    given: dict[str, str | None] = dict(headers) if "host" in names else {"Host": "127.0.0.1", **headers}
    if method == "GET" and "/jsonp-polling" in path and not names & {"origin", "sec-fetch-site", "referer"}:
        given["Sec-Fetch-Site"] = "same-origin"
    return given


@dataclasses.dataclass(frozen=True)
class Response:
    """An HTTP response as it came."""

    status: int
    reason: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")


class ClientStream:
    """A TCP connection on which a test reads and writes bytes, with HTTP/1.1 where that helps."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> ClientStream:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    @classmethod
    async def connect_from(cls, address: str, port: int) -> ClientStream:
        """From another address of this machine's: 127.0.0.2, for instance."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20, local_addr=(address, 0)))

    @classmethod
    async def connect_unix(cls, path: str) -> ClientStream:
        return cls(*await asyncio.open_unix_connection(path, limit=1 << 20))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_request(
        self, method: str, path: str, headers: Mapping[str, str | None] | None = None, body: bytes = b""
    ) -> None:
        """For a body Content-Length is added where it is missing, and what `with_defaults` does."""
        given = with_defaults(method, path, headers or {})
        names = {name.lower() for name in given}
        if body and not names & {"content-length", "transfer-encoding"}:
            given["Content-Length"] = str(len(body))
        fields = [f"{name}: {value}\r\n" for name, value in given.items() if value is not None]
        head = "".join([f"{method} {path} HTTP/1.1\r\n", *fields])
        await self.send(head.encode("latin-1") + b"\r\n" + body)

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to `mark`, which is included."""
        async with limit():
            return await self.reader.readuntil(mark)

    async def read_exactly(self, size: int) -> bytes:
        async with limit():
            return await self.reader.readexactly(size)

    async def read_to_end(self) -> bytes:
        """Everything until the server closes; a reset counts as a close."""
        chunks = []
        async with limit():
            with contextlib.suppress(ConnectionError):
                while chunk := await self.reader.read(1 << 16):
                    chunks.append(chunk)
        return b"".join(chunks)

    async def read_head(self) -> Response:
        """Status line and headers of a response, without its body."""
        lines = (await self.read_until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, status, reason = lines[0].split(" ", 2)
        fields = (line.split(": ", 1) for line in lines[1:-2])
        return Response(int(status), reason, {name.lower(): value for name, value in fields}, b"")

    async def read_response(self, head_only: bool = False) -> Response:
        """A whole response. Its body ends by its length, by its last chunk, or with the connection."""
        head = await self.read_head()
        if head_only or head.status == 304:
            body = b""
        elif "content-length" in head.headers:
            body = await self.read_exactly(int(head.headers["content-length"]))
        elif head.headers.get("transfer-encoding") == "chunked":
            body = b"".join([chunk async for chunk in self.chunks()])
        else:
            body = await self.read_to_end()
        return dataclasses.replace(head, body=body)

    async def read_chunk(self) -> bytes:
        """The next chunk of a chunked body, `b""` at its end."""
        size = int(await self.read_until(b"\r\n"), 16)
        return (await self.read_exactly(size + 2))[:-2]

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self.read_chunk():
            yield chunk

    async def aclose(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Close with a RST, what is not closed yet."""
        if self.writer.is_closing():
            return
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclasses.dataclass(frozen=True)
class Stream:
    """The response of a streaming transport. Each payload comes as a chunk of its own."""

    transport: str
    wire: ClientStream
    head: Response
    start: bytes  # what stands before the first payload

    async def read_payload(self) -> str:
        """The next payload, `''` at the end of the response."""
        part = (await self.wire.read_chunk()).decode("utf-8")
        if not part:
            return ""
        if self.transport == "xhr-multipart":
            before, after = "Content-Type: text/plain; charset=UTF-8\n\n", "\n" + self.start.decode()
        else:
            before, after = "<script>parent.s._(", ", document);</script>"
        assert part.startswith(before), part
        assert part.endswith(after), part
        payload = part.removeprefix(before).removesuffix(after)
        return payload if self.transport == "xhr-multipart" else simplejson.loads(payload)

    async def aclose(self) -> None:
        await self.wire.aclose()


class Recorder(tornadio.SocketConnection):
    """Greets with `welcome`, echoes, and remembers what happened to it. `'close'` makes it close, `'fail'` raise."""

    opened: list[Any] = []

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.closed = asyncio.Event()

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.events.append(("open", kwargs["extra"]))
        self.request = request
        Recorder.opened.append(self)
        self.send("welcome")

    def on_message(self, message: Any) -> Any:
        self.events.append(("message", message))
        if message == "close":
            self.close()
        elif message == "fail":
            raise RuntimeError("as the test asked")
        else:
            self.send(message)

    def on_close(self) -> Any:
        self.events.append(("close",))
        self.closed.set()

    async def wait_closed(self) -> None:
        """Wait for `on_close`."""
        async with limit():
            await self.closed.wait()


def brief(value: Any) -> str:
    """An id for a parameter that may be long, or not to be printed at all."""
    return ascii(value)[:40] if isinstance(value, str | bytes) else type(value).__name__


def fed(framer: Framer, data: bytes) -> list[str | bytes]:
    """What a framer makes of bytes, however many calls that takes."""
    messages = framer.feed(data)
    while framer.has_more:
        messages += framer.feed(b"")
    return messages


def limit() -> asyncio.Timeout:
    """The limit for a broken test; a MovedLoop has its own, its time is not that of the wall."""
    return asyncio.timeout(None if isinstance(asyncio.get_running_loop(), MovedLoop) else SECONDS)


class MovedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until a test moves it, from its beginning on: see `testing.clock`."""

    def __init__(self) -> None:
        self._cancel: Callable[[], object] = bool
        self._watchdog = threading.Timer(SECONDS, bool)  # until something runs
        super().__init__()
        clock = Clock()
        clock.install(self)
        self.advance = clock.advance
        self.wait_for = clock.wait_for

    def run_until_complete(self, future: Any) -> Any:
        """Here the limit for a broken test is one of real time."""
        future = asyncio.ensure_future(future, loop=self)
        self._cancel = future.cancel
        self.set_limit(SECONDS)
        try:
            return super().run_until_complete(future)
        finally:
            self._watchdog.cancel()

    def set_limit(self, seconds: float) -> None:
        """What runs now is broken if it takes so many more seconds of real time."""
        self._watchdog.cancel()
        self._watchdog = threading.Timer(seconds, self.call_soon_threadsafe, [self._cancel])
        self._watchdog.start()

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are set, in no order, but that by which a server measures its event loop's lag."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return [timer for timer in scheduled if not timer.cancelled() and not measures_lag(timer)]


def is_failure(record: logging.LogRecord) -> bool:
    """A traceback, or what asyncio says of tasks and callbacks that failed; its debug mode also says what was slow."""
    return record.exc_info is not None or (record.name == "asyncio" and record.levelno >= logging.ERROR)


Serve = Callable[..., Served]


async def shut_down(server: tornadio.SocketServer) -> None:
    """Shut a server down without waiting for clients that come no more."""
    loop = asyncio.get_running_loop()
    shutdown = server.shutdown(timeout=0.01)
    await (loop.wait_for(shutdown) if isinstance(loop, MovedLoop) else shutdown)
