"""`websockets` and wsproto, sans-I/O, as peers of the library's framers: handshake, permessage-deflate, frames."""

from __future__ import annotations

import itertools
from typing import Any

import wsproto
import wsproto.events
from tornado.httputil import HTTPHeaders
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri
from wsproto.extensions import PerMessageDeflate

REQUEST_LINES = "GET /socket.io/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def head(start: str, headers: dict[str, str]) -> bytes:
    return (start + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode()


def headers_of(data: bytes) -> HTTPHeaders:
    """The headers of a request or a response."""
    return HTTPHeaders.parse(data.decode().partition("\r\n")[2])


def parts_of(message: str | bytes, cuts: list[int]) -> list[Any]:
    return [message[start:end] for start, end in itertools.pairwise([0, *cuts, max([len(message), *cuts])])]


class WebSocketsPeer:
    """`websockets`.

    :ivar deflate: parameters of permessage-deflate; `None`: it is not spoken.
    """

    protocol: Protocol

    def __init__(self, deflate: dict[str, Any] | None = None) -> None:
        self.deflate = deflate
        self.received: list[str | bytes] = []
        self.pongs = 0

    # -- Handshake

    def accept(self, headers: dict[str, str]) -> HTTPHeaders:
        """Be a server: the headers of the response to a client's request."""
        factories = [ServerPerMessageDeflateFactory(**self.deflate)] if self.deflate is not None else None
        self.protocol = protocol = ServerProtocol(max_size=None, extensions=factories)
        protocol.receive_data(head(REQUEST_LINES, headers))
        [request] = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        response = b"".join(protocol.data_to_send())
        assert response.startswith(b"HTTP/1.1 101 "), response
        return headers_of(response)

    def request(self) -> HTTPHeaders:
        """Be a client: the headers of its request."""
        factories = [ClientPerMessageDeflateFactory(**self.deflate)] if self.deflate is not None else None
        uri = parse_uri("ws://127.0.0.1/socket.io/websocket")
        self.protocol = protocol = ClientProtocol(uri, max_size=None, extensions=factories)
        protocol.send_request(protocol.connect())
        return headers_of(b"".join(protocol.data_to_send()))

    def response_received(self, headers: dict[str, str]) -> None:
        self.protocol.receive_data(head("HTTP/1.1 101 Switching Protocols\r\n", headers))
        [_] = self.protocol.events_received()
        assert self.protocol.handshake_exc is None

    # -- Frames

    @property
    def close_code(self) -> int | None:
        return self.protocol.close_rcvd.code if self.protocol.close_rcvd else None

    def feed(self, data: bytes) -> bytes:
        """Parse what the other side has sent: what there is to send for it."""
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.PONG:
                self.pongs += 1
            elif event.opcode is Opcode.TEXT:
                self.received.append(bytes(event.data).decode())
            elif event.opcode is Opcode.BINARY:
                self.received.append(bytes(event.data))
        assert self.protocol.parser_exc is None
        return b"".join(self.protocol.data_to_send())

    def send(self, message: str | bytes, cuts: list[int]) -> bytes:
        """A message in fragments."""
        first, *others = [part.encode() if isinstance(part, str) else part for part in parts_of(message, cuts)]
        start = self.protocol.send_text if isinstance(message, str) else self.protocol.send_binary
        start(first, not others)
        for index, part in enumerate(others, 1):
            self.protocol.send_continuation(part, index == len(others))
        return b"".join(self.protocol.data_to_send())

    def ping(self) -> bytes:
        self.protocol.send_ping(b"ping")
        return b"".join(self.protocol.data_to_send())

    def close(self, code: int, reason: str) -> bytes:
        self.protocol.send_close(code, reason)
        return b"".join(self.protocol.data_to_send())


class WsprotoPeer:
    """wsproto; see :class:`WebSocketsPeer`."""

    connection: wsproto.WSConnection

    def __init__(self, deflate: dict[str, Any] | None = None) -> None:
        self.deflate = deflate
        self.received: list[str | bytes] = []
        self.pongs = 0
        self.close_code: int | None = None
        self._parts: list[Any] = []

    # -- Handshake

    @property
    def extensions(self) -> list[Any]:
        return [PerMessageDeflate(**self.deflate)] if self.deflate is not None else []

    def accept(self, headers: dict[str, str]) -> HTTPHeaders:
        self.connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self.connection.receive_data(head(REQUEST_LINES, headers))
        [request] = self.connection.events()
        assert isinstance(request, wsproto.events.Request)
        response = self.connection.send(wsproto.events.AcceptConnection(extensions=self.extensions))
        assert response.startswith(b"HTTP/1.1 101 "), response
        return headers_of(response)

    def request(self) -> HTTPHeaders:
        self.connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        request = wsproto.events.Request(host="127.0.0.1", target="/socket.io/websocket", extensions=self.extensions)
        return headers_of(self.connection.send(request))

    def response_received(self, headers: dict[str, str]) -> None:
        self.connection.receive_data(head("HTTP/1.1 101 Switching Protocols\r\n", headers))
        [accepted] = self.connection.events()
        assert isinstance(accepted, wsproto.events.AcceptConnection), accepted

    # -- Frames

    def feed(self, data: bytes) -> bytes:
        self.connection.receive_data(data)
        answer = b""
        for event in self.connection.events():
            if isinstance(event, wsproto.events.Message):
                self._parts.append(event.data)
                if event.message_finished:
                    empty: Any = "" if isinstance(event, wsproto.events.TextMessage) else b""
                    self.received.append(empty.join(self._parts))
                    self._parts.clear()
            elif isinstance(event, wsproto.events.Pong):
                self.pongs += 1
            elif isinstance(event, wsproto.events.CloseConnection):
                self.close_code = event.code
                if self.connection.state is wsproto.connection.ConnectionState.REMOTE_CLOSING:
                    answer += self.connection.send(event.response())
            else:
                raise AssertionError(event)
        return answer

    def send(self, message: str | bytes, cuts: list[int]) -> bytes:
        parts = parts_of(message, cuts)
        return b"".join(
            self.connection.send(wsproto.events.Message(data=part, message_finished=index == len(parts) - 1))
            for index, part in enumerate(parts)
        )

    def ping(self) -> bytes:
        return self.connection.send(wsproto.events.Ping(payload=b"ping"))

    def close(self, code: int, reason: str) -> bytes:
        return self.connection.send(wsproto.events.CloseConnection(code=code, reason=reason))


PEERS = (WebSocketsPeer, WsprotoPeer)
