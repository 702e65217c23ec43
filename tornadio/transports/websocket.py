"""The WebSocket transports: websocket and flashsocket, in every version that a 0.6 client speaks.

The handler checks the handshake and detaches the connection from HTTP, with the body unread: in draft-76 the body's
eight bytes come only after the 101 was sent, since a proxy holds them back until then. From there on the handler is not
needed: see :mod:`tornadio.transports.websocketchannel`.
"""

from tornadio.errors import PeerError, RefusedError
from tornadio.settings import Compression
from tornadio.transports.base import DetachingTransport, asks_for_websocket, has_token
from tornadio.transports.websocketchannel import ContextTakeoverChannel, WebSocketChannel
from tornadio.web.origins import header_once
from tornadio.web.peers import counted_address
from tornadio.websocket import hixie, rfc6455
from tornadio.websocket.deflate import Deflate, accept_offer
from tornadio.websocket.framer import ServerFramer


class WebSocketHandler(DetachingTransport):
    """``websocket``: the opening handshake."""

    transport = "websocket"
    is_websocket = True
    methods = ("GET", "OPTIONS")

    def check_origin(self) -> None:
        # The name of the Origin header in versions 7 and 8. Of a request with both, both are checked.
        drafts = header_once(self.exchange.headers, "Sec-WebSocket-Origin")
        if drafts is not None:
            reason = self.endpoint.origins.refusal_of("Sec-WebSocket-Origin", drafts, self.exchange.host)
            if reason is not None:
                raise self.refused_page(reason, "Sec-WebSocket-Origin", drafts)
        super().check_origin()

    def detach(self) -> None:
        try:
            self.raise_refusal()
            self._check_upgrade()
            version = self.exchange.headers.get("Sec-WebSocket-Version")
            # draft-75 and draft-76 have no version header; their keys, if any, are named Key1 and Key2.
            if version is None and "Sec-WebSocket-Key" not in self.exchange.headers:
                self._upgrade_hixie()
            elif version in rfc6455.VERSIONS:
                self._upgrade_rfc6455()
            else:
                raise RefusedError(426, f"not a WebSocket version that is spoken here: {', '.join(rfc6455.VERSIONS)}")
        except PeerError as error:
            supported = {"Sec-WebSocket-Version": ", ".join(rfc6455.VERSIONS)} if error.http_status == 426 else None
            self.reject_and_linger(error, supported)

    def _check_upgrade(self) -> None:
        headers = self.exchange.headers
        if not asks_for_websocket(headers):
            raise RefusedError(400, 'this is a WebSocket: "Upgrade: websocket" is missing')
        if not has_token(headers, "Connection", "upgrade"):
            raise RefusedError(400, 'this is a WebSocket: "Connection: Upgrade" is missing')
        if "Transfer-Encoding" in headers:
            raise RefusedError(400, "a WebSocket handshake has no chunked body")
        self.endpoint.sessions.check_capacity(counted_address(self.request))

    def _upgrade_rfc6455(self) -> None:
        if self.exchange.headers.get("Content-Length", "0") != "0":
            raise RefusedError(400, "this WebSocket handshake has no body")
        headers = rfc6455.handshake_headers(self.exchange.headers)
        deflate = self._accept_compression(headers)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        framer = rfc6455.Framer(self.endpoint.settings.max_payload_size, deflate)
        self._start(framer, f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("ascii"), None)

    def _accept_compression(self, headers: dict[str, str]) -> Deflate | None:
        """Accept permessage-deflate if the client offers it and the application wants it: an extension of version 13
        alone.

        :param headers: of the response.
        """
        compression = self.endpoint.settings.compression
        offers = self.exchange.headers.get("Sec-WebSocket-Extensions")
        if offers is None or not isinstance(compression, Compression):
            return None
        if self.exchange.headers.get("Sec-WebSocket-Version") != "13":
            return None
        accepted = accept_offer(offers, compression)
        if accepted is None:
            return None
        deflate, headers["Sec-WebSocket-Extensions"] = accepted
        return deflate

    def _upgrade_hixie(self) -> None:
        headers = self.exchange.headers
        keys: tuple[int, int] | None = None
        if "Sec-WebSocket-Key1" in headers or "Sec-WebSocket-Key2" in headers:
            key1, key2 = headers.get("Sec-WebSocket-Key1", ""), headers.get("Sec-WebSocket-Key2", "")
            keys = hixie.key_number(key1), hixie.key_number(key2)
        if headers.get("Content-Length", "0") not in (("0", "8") if keys else ("0",)):
            raise RefusedError(400, "this WebSocket handshake has a body of 8 bytes in draft-76, of none in draft-75")
        scheme = "wss" if self.exchange.protocol == "https" else "ws"
        head = hixie.handshake_response(
            76 if keys else 75,
            header_once(headers, "Origin") or "null",
            f"{scheme}://{self.exchange.host}{self.exchange.uri}",
            headers.get("Sec-WebSocket-Protocol" if keys else "WebSocket-Protocol"),
        )
        self._start(hixie.Framer(self.endpoint.settings.max_payload_size), head, keys)

    def _start(self, framer: ServerFramer, head: bytes, keys: tuple[int, int] | None) -> None:
        request = self.request  # before detach(): the request is made of what the connection knows
        channel_class = WebSocketChannel if framer.is_encoding_shared else ContextTakeoverChannel
        channel = channel_class(self.exchange.detach(), framer, self.endpoint, self.transport)
        version = self.exchange.headers.get("Sec-WebSocket-Version") or ("draft-76" if keys else "draft-75")
        channel.start(head, keys, request, self.path.extra, version)


class FlashSocketHandler(WebSocketHandler):
    """``flashsocket``: the protocol of ``websocket``, spoken by a Flash movie in browsers without WebSockets."""

    transport = "flashsocket"
