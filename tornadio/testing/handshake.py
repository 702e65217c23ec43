"""The handshake of a client of ``manual_server``."""

from collections.abc import Callable, Mapping
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest

from tornadio.errors import PeerError, RefusedError
from tornadio.net.wire import Wire
from tornadio.transports.websocket import WebSocketHandler
from tornadio.websocket import rfc6455
from tornadio.websocket.framer import ServerFramer


class Handshake(WebSocketHandler):
    """The handshake of one client, with any path.

    :ivar answer: called with this object when the request was read; it calls one of the methods below.
    :ivar on_accepted: called after :meth:`accept` with the wire, the framer, the descriptor and the request.
    """

    answer: "Callable[[Handshake], None]"
    on_accepted: Callable[[Wire, rfc6455.Framer, int, HTTPServerRequest], None]

    def check_access(self) -> None:
        if self.exchange.method != "GET":
            raise RefusedError(405, "this server is for WebSocket clients: use GET")

    def detach(self) -> None:
        self.answer(self)

    def accept(self) -> None:
        super().detach()

    def refuse(self, status: int, text: str, headers: Mapping[str, str] | None) -> None:
        self.reject_and_linger(PeerError(text, http_status=status), headers)

    def drop(self) -> None:
        self.exchange.detach().close()

    def _start(self, framer: ServerFramer, head: bytes, keys: tuple[int, int] | None) -> None:
        if keys is not None or not isinstance(framer, rfc6455.Framer):
            raise RefusedError(426, "this server is for clients of RFC 6455")
        request = self.request
        fd = cast(HTTP1Connection, request.connection).stream.socket.fileno()
        wire = self.exchange.detach()
        wire.write(head)
        self.on_accepted(wire, framer, fd, request)
