"""WebSocket clients that others wrote, behind one face.

Those in Python are driven by their own APIs. The others are programs, one for each connection, see `Program`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import websockets
import wsproto
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, RejectConnection, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from tests.compatibility.autobahn_testsuite import Autobahn
from tests.support import limit

HERE = Path(__file__).parent


class Refused(Exception):
    """The server answered the handshake with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Client(Protocol):
    """One connection."""

    async def connect(self, url: str, version: str, origin: str | None) -> None:
        """Shake hands. :raises Refused: the server said no."""

    async def send(self, message: str | bytes) -> None:
        """Send a text message, or a binary one."""

    async def receive(self) -> str:
        """The next message."""

    async def close(self) -> None:
        """Send a closing frame, with code 1000 where there are codes."""

    async def ended(self) -> int | None:
        """Wait for the end of the connection: the code that the server's closing frame had, if it had one."""

    async def aclose(self) -> None:
        """Leave nothing behind."""


def handshake_headers(version: str, origin: str | None) -> dict[str, str]:
    """What turns a handshake of version 13 into one of 8 or 7."""
    headers = {"Sec-WebSocket-Version": version}
    if origin is not None:
        headers["Origin" if version == "13" else "Sec-WebSocket-Origin"] = origin
    return headers


class VersionedConnection(websockets.ClientConnection):
    """Sends the headers that were asked for in the place of its own, which always say version 13."""

    async def handshake(self, additional_headers: Any = None, user_agent_header: str | None = None) -> None:
        prepare = self.protocol.connect

        def connect() -> websockets.Request:
            request = prepare()
            for name, value in additional_headers.items():
                request.headers.pop(name, None)
                request.headers[name] = value
            return request

        self.protocol.connect = connect  # type: ignore[method-assign]
        await super().handshake(None, user_agent_header)


class Websockets:
    """`websockets`, as it comes: it offers compression."""

    _connection: websockets.ClientConnection | None = None

    async def connect(self, url: str, version: str, origin: str | None) -> None:
        try:
            self._connection = await websockets.connect(
                url,
                additional_headers=handshake_headers(version, origin),
                create_connection=VersionedConnection,
                max_size=None,
                proxy=None,
            )
        except websockets.InvalidStatus as error:
            raise Refused(error.response.status_code) from error

    @property
    def connection(self) -> websockets.ClientConnection:
        assert self._connection is not None
        return self._connection

    async def send(self, message: str | bytes) -> None:
        await self.connection.send(message)

    async def receive(self) -> str:
        message = await self.connection.recv()
        assert isinstance(message, str)
        return message

    async def close(self) -> None:
        await self.connection.close()

    async def ended(self) -> int | None:
        await self.connection.wait_closed()
        return self.connection.close_code

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class Aiohttp:
    """`aiohttp`, which is told to offer compression."""

    _socket: aiohttp.ClientWebSocketResponse[bool] | None = None

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession()

    async def connect(self, url: str, version: str, origin: str | None) -> None:
        headers = handshake_headers(version, origin)
        try:
            self._socket = await self._session.ws_connect(url, headers=headers, compress=15, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(error.status) from error

    @property
    def socket(self) -> aiohttp.ClientWebSocketResponse[bool]:
        assert self._socket is not None
        return self._socket

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self.socket.send_str(message)
        else:
            await self.socket.send_bytes(message)

    async def receive(self) -> str:
        message = await self.socket.receive_str()
        assert isinstance(message, str)
        return message

    async def close(self) -> None:
        await self.socket.close()

    async def ended(self) -> int | None:
        while not self.socket.closed:
            await self.socket.receive()
        return self.socket.close_code

    async def aclose(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        await self._session.close()


class Wsproto:
    """`wsproto`, which has no I/O, over a stream of asyncio's. It is told to offer compression."""

    _writer: asyncio.StreamWriter

    def __init__(self) -> None:
        self._connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._events: list[Any] = []

    async def connect(self, url: str, version: str, origin: str | None) -> None:
        address = urlsplit(url)
        self._reader, self._writer = await asyncio.open_connection(address.hostname, address.port)
        headers = handshake_headers(version, origin)
        # Its own version stands before the further headers.
        own = b"Sec-WebSocket-Version: 13\r\n"
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        data = self._connection.send(
            Request(host=address.netloc, target=address.path, extensions=[PerMessageDeflate()], extra_headers=extra)
        )
        assert own in data
        self._writer.write(data.replace(own, b"", 1))
        event = await self._next_event()
        if isinstance(event, RejectConnection):
            raise Refused(event.status_code)
        assert isinstance(event, AcceptConnection)

    async def send(self, message: str | bytes) -> None:
        self._writer.write(
            self._connection.send(TextMessage(message) if isinstance(message, str) else BytesMessage(message))
        )
        await self._writer.drain()

    async def receive(self) -> str:
        parts = []
        while True:
            event = await self._next_event()
            assert isinstance(event, TextMessage), event
            parts.append(event.data)
            if event.message_finished:
                return "".join(parts)

    async def close(self) -> None:
        self._writer.write(self._connection.send(CloseConnection(1000)))

    async def ended(self) -> int | None:
        while not isinstance(event := await self._next_event(), CloseConnection):
            pass
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._writer.write(self._connection.send(event.response()))
        assert await self._reader.read() == b""
        return int(event.code)

    async def _next_event(self) -> Any:
        while not self._events:
            data = await self._reader.read(1 << 16)
            assert data, "the server closed the connection without a closing frame"
            self._connection.receive_data(data)
            for event in self._connection.events():
                if isinstance(event, Ping):
                    self._writer.write(self._connection.send(event.response()))
                else:
                    self._events.append(event)
        return self._events.pop(0)

    async def aclose(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Program:
    """A client in a process of its own, started as `PROGRAM URL VERSION ORIGIN`.

    It reads commands from its standard input, and writes events to its standard output, a line of JSON each:
    `["send", text]`, `["send binary", base64]`, `["close"]`; `["open"]`, `["refused", status]`, `["message", text]`,
    `["closed", code]`, the last of which is its end.
    """

    _process: asyncio.subprocess.Process | None = None

    def __init__(self, *command: str | Path, **environment: str) -> None:
        self._command = command
        self._environment = os.environ | environment

    async def connect(self, url: str, version: str, origin: str | None) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            url,
            version,
            origin or "",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
            limit=1 << 24,
        )
        event, *details = await self._next_event()
        if event == "refused":
            raise Refused(*details)
        assert event == "open"

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self._command_it("send", message)
        else:
            await self._command_it("send binary", base64.b64encode(message).decode())

    async def receive(self) -> str:
        event, *details = await self._next_event()
        assert event == "message", (event, details)
        return str(details[0])

    async def close(self) -> None:
        await self._command_it("close")

    async def ended(self) -> int | None:
        while True:
            event, *details = await self._next_event()
            if event == "closed":
                code: int | None = details[0]
                return code

    async def _command_it(self, *command: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def _next_event(self) -> list[Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        async with limit():
            line = await self._process.stdout.readline()
        assert line, "the client ended"
        event: list[Any] = json.loads(line)
        return event

    async def aclose(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()


def node_ws(node: str, node_modules: Path) -> Program:
    """Node's `ws`, as it comes: it offers compression."""
    return Program(node, HERE / "ws_client.js", NODE_PATH=str(node_modules))


def autobahn(installed: Autobahn) -> Program:
    """The `autobahn` that the Autobahn testsuite brings, for draft-76."""
    return Program(installed.python, HERE / "autobahn_client.py", **installed.environment)
