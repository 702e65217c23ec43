"""The WebSocket transports: websocket and flashsocket, in every version that a 0.6 client speaks.

The handler checks the handshake and takes the stream away from Tornado's HTTP, with the body unread: in draft-76 the
body's eight bytes come only after the 101 went out, since a proxy holds them back until then. From there on a
:class:`WebSocketChannel` carries the session; the handler is let go.
"""

import asyncio
import contextlib
from typing import Final, Protocol

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, StreamClosedError

from tornadio import hixie, proto, rfc6455
from tornadio.errors import HandlerError, PeerError, ProtocolError, RefusedError
from tornadio.logs import get_logger
from tornadio.session import Session
from tornadio.transport import Resource, TransportHandler, asks_for_websocket, failed, linger

logger = get_logger(__name__)

_CHUNK: Final = 1 << 16
_KEY3_SECONDS: Final = 10.0
_CLOSING_SECONDS: Final = 5.0


class Framer(Protocol):
    """What :mod:`tornadio.rfc6455` and :mod:`tornadio.hixie` have in common."""

    error: ProtocolError | None
    closed: bool

    def feed(self, data: bytes) -> list[str | bytes]: ...

    def take_outgoing(self) -> bytes: ...

    def encode(self, message: str | bytes) -> bytes: ...

    def close(self, code: int, reason: str) -> bytes: ...


class WebSocketHandler(TransportHandler):
    """``websocket``: the handshake."""

    transport = "websocket"
    is_websocket = True
    methods = ("GET", "OPTIONS")

    async def prepare(self) -> None:
        refusal = super().prepare()
        if refusal is not None:
            await refusal
        elif self.request.method == "GET":
            await self._upgrade()

    def is_allowed_origin(self) -> bool:
        # Versions 7 and 8 call it Sec-WebSocket-Origin; where both stand, both count.
        drafts = self.request.headers.get("Sec-WebSocket-Origin")
        return super().is_allowed_origin() and self.here.origins.allows(drafts, self.request.host)

    async def _upgrade(self) -> None:
        try:
            self._raise_refusal()
            self._check_upgrade()
            version = self.request.headers.get("Sec-WebSocket-Version")
            if version is None and "Sec-WebSocket-Key" not in self.request.headers:
                self._upgrade_hixie()
            elif version in rfc6455.VERSIONS:
                self._upgrade_rfc6455()
            else:
                raise RefusedError(426, f"WebSocket version {version} is not spoken here")
        except PeerError as error:
            supported = {"Sec-WebSocket-Version": ", ".join(rfc6455.VERSIONS)} if error.http_status == 426 else None
            await self.refuse_unread(error, supported)

    def _check_upgrade(self) -> None:
        headers = self.request.headers
        if not asks_for_websocket(headers):
            raise RefusedError(400, 'this is a WebSocket: "Upgrade: websocket" is missing')
        if "upgrade" not in (token.strip().lower() for token in headers.get("Connection", "").split(",")):
            raise RefusedError(400, 'this is a WebSocket: "Connection: Upgrade" is missing')
        if "Transfer-Encoding" in headers:
            raise RefusedError(400, "a WebSocket handshake has no chunked body")
        self.here.sessions.check_room()

    def _upgrade_rfc6455(self) -> None:
        if self.request.headers.get("Content-Length", "0") != "0":
            raise RefusedError(400, "this WebSocket handshake has no body")
        headers = rfc6455.handshake_headers(self.request.headers)
        lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._start(rfc6455.Framer(self.here.settings.max_message_size), "\r\n".join(lines).encode("ascii"), None)

    def _upgrade_hixie(self) -> None:
        headers = self.request.headers
        keys: tuple[int, int] | None = None
        if "Sec-WebSocket-Key1" in headers or "Sec-WebSocket-Key2" in headers:
            key1, key2 = headers.get("Sec-WebSocket-Key1", ""), headers.get("Sec-WebSocket-Key2", "")
            keys = hixie.key_number(key1), hixie.key_number(key2)
        if headers.get("Content-Length", "0") not in (("0", "8") if keys else ("0",)):
            raise RefusedError(400, "this WebSocket handshake has a body of 8 bytes in draft-76, of none in draft-75")
        scheme = "wss" if self.request.protocol == "https" else "ws"
        head = hixie.handshake_response(
            76 if keys else 75,
            headers.get("Origin", "null"),
            f"{scheme}://{self.request.host}{self.request.uri}",
            headers.get("Sec-WebSocket-Protocol" if keys else "WebSocket-Protocol"),
        )
        self._start(hixie.Framer(self.here.settings.max_message_size), head, keys)

    def _start(self, framer: Framer, head: bytes, keys: tuple[int, int] | None) -> None:
        resource, request, extra = self.here, self.request, self.path_kwargs.get("extra", "")
        channel = WebSocketChannel(self.detach(), framer, resource, self.transport)
        resource.sessions.tasks.carry(channel.run(head, keys, request, extra))


class FlashSocketHandler(WebSocketHandler):
    """``flashsocket``: the same, spoken by a Flash movie in the place of a browser's WebSocket."""

    transport = "flashsocket"


class WebSocketChannel:
    """The connection from its handshake on, and the session's channel."""

    def __init__(self, stream: IOStream, framer: Framer, resource: Resource, transport: str) -> None:
        self._stream = stream
        self._framer = framer
        self._resource = resource
        self._transport = transport
        self._session: Session | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._pongs_wait = False

    def __str__(self) -> str:
        return str(self._session or self._transport)

    async def run(self, head: bytes, keys: tuple[int, int] | None, request: HTTPServerRequest, extra: str) -> None:
        """Finish the handshake, open the session, and carry it to its end."""
        try:
            self._stream.set_nodelay(True)
            self._stream.write(head)
            if keys is not None:
                self._stream.write(hixie.challenge_response(*keys, await self._read_key3()))
            await self._open(request, extra)
            await self._read()
        except PeerError as error:
            self._blame(error)
        except (StreamClosedError, TimeoutError):
            logger.debug("%s: the connection has gone", self)
        except Exception:
            logger.exception("%s: failed", self)
            self._fail(HandlerError())
        except asyncio.CancelledError:
            self._stream.close()
            raise
        finally:
            if self._session is not None:
                self._session.lost(self)
            await linger(self._stream, b"")
            if self._closing is not None:
                self._closing.cancel()

    async def _read_key3(self) -> bytes:
        async with asyncio.timeout(_KEY3_SECONDS):
            return await self._stream.read_bytes(hixie.KEY3_LENGTH)

    async def _open(self, request: HTTPServerRequest, extra: str) -> None:
        session = self._resource.sessions.create(Session, self._resource.connection_class(), self._transport)
        if not await session.open(request, extra):
            raise RefusedError(403, "the application refused this connection")
        self._session = session
        session.attach(self)

    async def _read(self) -> None:
        while not self._framer.closed:
            arriving = asyncio.ensure_future(self._stream.read_bytes(_CHUNK, partial=True))
            if arriving.done():
                await asyncio.sleep(0)  # a busy connection takes turns with the others
            try:
                data = await arriving
            finally:
                del arriving  # its error knows this frame: in a circle both would wait for the collector
            if self._session is not None:
                self._session.heard()
            messages = self._framer.feed(data)
            self._answer_pings()
            for message in messages:
                await self._receive(message)
        if self._framer.error is not None:
            self._blame(self._framer.error)
        else:
            self._write(self._framer.take_outgoing())  # the answer to the peer's close frame

    async def _receive(self, message: str | bytes) -> None:
        if self._session is None:
            return  # the session has ended, this is what was on its way
        if not isinstance(message, str):
            raise ProtocolError("binary messages are not part of Socket.IO 0.6", close_code=1003)
        with contextlib.suppress(HandlerError):  # it is logged, and the session ends by itself
            await self._session.receive(proto.frames(message))

    def _answer_pings(self) -> None:
        """Pongs wait while the peer takes nothing; the framer keeps some and lets the rest go."""
        if self._framer.closed or self._pongs_wait:
            return
        if self._stream.writing():
            self._pongs_wait = True
            self._stream.write(b"").add_done_callback(self._send_pongs)
        else:
            self._write(self._framer.take_outgoing())

    def _send_pongs(self, taken: "asyncio.Future[None]") -> None:
        self._pongs_wait = False
        if not self._framer.closed:
            self._write(self._framer.take_outgoing())

    def _blame(self, error: PeerError) -> None:
        logger.info("%s: closed: %s", self, error)
        self._fail(error)

    def _fail(self, error: PeerError) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.flush()  # the answers to what came before the error
        self._write(self._framer.close(error.close_code, str(error)))
        if session is not None:
            session.lost(self)

    def _write(self, data: bytes) -> None:
        if data and not self._stream.closed():
            self._stream.write(data)

    # -- The session's channel -----------------------------------------------------------------------------------

    def deliver(self, payload: str) -> "asyncio.Future[None] | None":
        """Send a payload as a message; see :meth:`tornadio.session.Channel.deliver`."""
        try:
            written = self._stream.write(self._framer.encode(payload))
        except StreamClosedError as error:
            return failed(error)
        return None if written.done() and written.exception() is None else written

    def end(self, code: int, reason: str) -> None:
        """Send a close frame; the peer has some seconds to answer it."""
        self._session = None
        self._write(self._framer.close(code, reason))
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(_CLOSING_SECONDS, self._stream.close)

    def replaced(self) -> None:
        """Never happens: a WebSocket has no URL by which another could take over."""
        self.abort()

    def abort(self) -> None:
        """Close the TCP connection at once."""
        self._session = None
        self._stream.close()
