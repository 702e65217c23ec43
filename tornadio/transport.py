"""What the request handlers of all six transports share: who may come in, sessions, POSTs, and how errors are told."""

import asyncio
import contextlib
import dataclasses
import http
import socket
import sys
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar, cast

import tornado.web
from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tornadio import forms, proto
from tornadio.conn import SocketConnection
from tornadio.errors import PeerError, RefusedError, TooLargeError
from tornadio.logs import get_logger
from tornadio.origins import PREFLIGHT_HEADERS, OriginRule, cors_headers
from tornadio.session import Session, SessionContainer, State
from tornadio.settings import Settings

logger = get_logger(__name__)

S = TypeVar("S", bound=Session)

# After an answer that leaves a body unread, so much of it is read and thrown away, for so long: a socket that is closed
# with unread data is reset, and the reset may overtake the answer.
_LINGER_BYTES: Final = 16 << 20
_LINGER_SECONDS: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """What one router serves: the part of it that handlers need."""

    name: str
    connection_class: type[SocketConnection]
    settings: Settings
    origins: OriginRule
    sessions: SessionContainer


@tornado.web.stream_request_body
class TransportHandler(tornado.web.RequestHandler):
    """Base of the transports. The body is streamed, so that one that is too large is refused before it is here."""

    transport: ClassVar[str]
    is_websocket: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ("GET", "POST", "OPTIONS")
    resource: Resource | None = None

    def initialize(self, resource: Resource) -> None:
        self.resource = resource
        self._body = bytearray()
        self._received = 0
        self._refusal: PeerError | None = None
        self._peer_gone = asyncio.Event()
        self._set_cors_headers()

    @property
    def here(self) -> Resource:
        """The resource that was asked for."""
        assert self.resource is not None
        return self.resource

    # -- Who may come in -----------------------------------------------------------------------------------------

    def prepare(self) -> Awaitable[None] | None:
        self._limit = forms.BODY_EXPANSION * self.here.settings.max_message_size + len("data=")
        try:
            self.check_admission()
        except RefusedError as refusal:
            self._refusal = refusal
        if not self.is_websocket and asks_for_websocket(self.request.headers):
            return self.refuse_unread(self.misplaced_upgrade())
        declared = self.request.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared[:20]) > self._limit:
            return self.refuse_unread(self._refusal or self._too_large())
        # Tornado's own limit would answer 400; data_received sees to ours.
        cast(HTTP1Connection, self.request.connection).set_max_body_size(sys.maxsize)
        return None

    def check_admission(self) -> None:
        """:raises RefusedError: this request may not come in."""
        if self.request.method not in self.methods:
            raise RefusedError(405, f"{self.request.method} is not for {self.transport}: use {', '.join(self.methods)}")
        if not self.is_allowed_origin():
            logger.warning("refused %s: origin %r", self.transport, self.request.headers.get("Origin"))
            raise RefusedError(403, "this origin may not connect: see the setting 'origins'")
        if self.transport not in self.here.settings.enabled_protocols:
            raise RefusedError(403, f"{self.transport} is not enabled here")

    def misplaced_upgrade(self) -> RefusedError:
        """What a request is told that wants a WebSocket where there is none. What follows it is never read as HTTP."""
        return RefusedError(400, f"there is no WebSocket here: its address is /{self.here.name}/websocket")

    def is_allowed_origin(self) -> bool:
        """Whether the request's origin is one of those that may connect."""
        return self.here.origins.allows(self.request.headers.get("Origin"), self.request.host)

    def data_received(self, chunk: bytes) -> None:
        before, self._received = self._received, self._received + len(chunk)
        if self._received > self._limit + _LINGER_BYTES:
            self.stream.close()
        elif self._received > self._limit:
            if before <= self._limit:
                self._refuse_rest()
        elif self._refusal is None:
            self._body += chunk

    def _refuse_rest(self) -> None:
        """Answer a chunked body as soon as it has grown too large. Tornado reads on, and what comes is dropped.

        The answer at the body's end meets a socket that is half closed, and closes it.
        """
        self._body.clear()
        self._refusal = self._refusal or self._too_large()
        stream = self.stream
        with contextlib.suppress(StreamClosedError):
            stream.write(self._last_response(self._refusal))
        half_close(stream)
        stream.io_loop.call_later(_LINGER_SECONDS, stream.close)
        self._close_session(self._refusal)

    async def refuse_unread(self, error: PeerError, headers: Mapping[str, str] | None = None) -> None:
        """Answer with an error in :meth:`prepare`, and close without reading on.

        :param headers: more headers for the answer.
        """
        await linger(self.detach(), self._last_response(error, headers))
        self._close_session(error)

    def _last_response(self, error: PeerError, headers: Mapping[str, str] | None = None) -> bytes:
        """A whole response, for a connection that Tornado's HTTP can't be left to answer."""
        text = str(error).encode("utf-8")
        head = [
            f"HTTP/1.1 {error.http_status} {http.HTTPStatus(error.http_status).phrase}",
            "Content-Type: text/plain; charset=UTF-8",
            f"Content-Length: {len(text)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in {**self._cors_headers(), **(headers or {})}.items()),
        ]
        logger.info("%s: refused a request: %s", self._named_session() or self.transport, error)
        return "\r\n".join([*head, "", ""]).encode("latin-1") + text

    def _close_session(self, error: PeerError) -> None:
        """End the session of a request that was too large."""
        session = self._named_session()
        if session is not None and isinstance(error, TooLargeError):
            session.close(error.close_code, str(error))

    def _named_session(self) -> Session | None:
        """The session that the URL names, if there is one."""
        return self.here.sessions.get(self.path_kwargs.get("session_id", ""), self.transport)

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._limit} bytes: max_message_size percent-encoded")

    # -- Requests ------------------------------------------------------------------------------------------------

    async def get(self, session_id: str = "", tail: str = "", extra: str = "") -> None:
        try:
            self._raise_refusal()
            await self.read(session_id, tail, extra)
        except PeerError as error:
            await self.answer(error.http_status, str(error))

    async def post(self, session_id: str = "", tail: str = "", extra: str = "") -> None:
        try:
            self._raise_refusal()
            await self.write_session(session_id)
        except PeerError as error:
            await self.answer(error.http_status, str(error))

    async def options(self, **kwargs: str) -> None:
        try:
            self._raise_refusal()
            for name, value in PREFLIGHT_HEADERS.items():
                self.set_header(name, value)
        except PeerError as error:
            await self.answer(error.http_status, str(error))

    head = put = patch = delete = options  # they end in check_admission's 405

    def _raise_refusal(self) -> None:
        refusal, self._refusal = self._refusal, None
        try:
            if refusal is not None:
                raise refusal
        finally:
            del refusal  # it knows this frame: in a circle both would wait for the collector

    async def read(self, session_id: str, tail: str, extra: str) -> None:
        """Answer a GET: open a session, or carry one's payloads.

        :raises PeerError: what the answer will say.
        """
        raise NotImplementedError

    async def write_session(self, session_id: str) -> None:
        """Answer a POST: hand its frames to the session.

        :raises PeerError: what the answer will say.
        """
        if not session_id:
            raise RefusedError(400, "a POST needs a session: open one with a GET")
        session = self.find_session(session_id)
        if session.state is State.CLOSING:
            raise self._unknown_session()
        with session.posting():
            try:
                await session.receive_post(self.decode(self._payload()))
                await self.answer(200, "ok")
            except PeerError as error:
                await self.answer(error.http_status, str(error))
                if isinstance(error, TooLargeError):
                    session.close(error.close_code, str(error))

    def _payload(self) -> str:
        """The payload in the body.

        :raises ProtocolError: there is none in it.
        """
        content_type = self.request.headers.get("Content-Type", "")
        return forms.payload_of(bytes(self._body), content_type, self.here.settings.max_message_size)

    def decode(self, data: str) -> Iterator[tuple[str, Any]]:
        """The frames of a POST's payload."""
        return proto.frames(data)

    # -- Sessions ------------------------------------------------------------------------------------------------

    def find_session(self, session_id: str) -> Session:
        """:raises RefusedError: 401, there is none of that id and transport."""
        session = self.here.sessions.get(session_id, self.transport)
        if session is None:
            raise self._unknown_session()
        session.asked_for()
        return session

    def _unknown_session(self) -> RefusedError:
        return RefusedError(401, "there is no such session: it has ended, or never was")

    async def open_session(self, session_class: type[S], extra: str) -> S | None:
        """A new session that ``on_open`` has accepted; ``None`` when its client has gone in the meantime.

        :raises RefusedError: no room (503), or ``on_open`` refused (403).
        :raises HandlerError: ``on_open`` raised.
        """
        session = self.here.sessions.create(session_class, self.here.connection_class(), self.transport)
        opening = self.here.sessions.tasks.spawn(session.open(self.request, extra))
        await asyncio.wait((opening,))
        try:
            if opening.cancelled():
                raise RefusedError(503, "this server is shutting down: connect again")
            if not opening.result():
                raise RefusedError(403, "the application refused this connection")
        finally:
            del opening  # its error knows this frame: in a circle both would wait for the collector
        if self._peer_gone.is_set():
            session.drop()
            return None
        return session

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._forget_templates()
        self._body.clear()  # where the rest of it never comes, the collector alone frees the handler
        self._peer_gone.set()

    # -- Answers -------------------------------------------------------------------------------------------------

    def detach(self) -> IOStream:
        self._forget_templates()
        return super().detach()

    def _forget_templates(self) -> None:
        """Their namespace knows this handler: a circle, which in Tornado nothing but ``finish`` breaks."""
        if self.ui:
            self.ui.clear()

    @property
    def stream(self) -> IOStream:
        """The connection's stream, for what the socket has taken and what not."""
        return cast(HTTP1Connection, self.request.connection).stream

    async def answer(self, status: int, text: str) -> None:
        """Finish with a short text, and wait until it is written or the client has gone."""
        if status == 405:
            self.set_header("Allow", ", ".join(self.methods))
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        with contextlib.suppress(StreamClosedError):
            await self.finish(text)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(f"{status_code} {http.HTTPStatus(status_code).phrase}")

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Accel-Buffering", "no")
        self.set_header("Vary", "Origin")
        if self.resource is not None:
            self._set_cors_headers()

    def _set_cors_headers(self) -> None:
        for name, value in self._cors_headers().items():
            self.set_header(name, value)

    def _cors_headers(self) -> dict[str, str]:
        """Without these a page on another port would see status 0, whatever the answer was."""
        origin = self.request.headers.get("Origin")
        if origin is None or not self.here.origins.allows(origin, self.request.host):
            return {}
        return cors_headers(origin)

    def compute_etag(self) -> None:
        """None: a 304 would be a disconnect to the client."""

    def check_xsrf_cookie(self) -> None:
        """The rule of origins protects the transports; their clients know no XSRF token."""

    def check_trusted_origin(self, origin: str) -> bool:
        """Left to the rule of origins, in :meth:`prepare`."""
        return True


def asks_for_websocket(headers: Mapping[str, str]) -> bool:
    """Whether ``Upgrade`` names WebSocket. Other protocols may be ignored, as may ``Connection: upgrade`` alone, which
    some proxies add to everything (RFC 9110, section 7.8)."""
    return "websocket" in (token.strip().lower() for token in headers.get("Upgrade", "").split(","))


def has_hung_up(stream: IOStream) -> bool:
    """Whether the peer has closed, although what it sent last was not read yet. Into TLS nobody can look ahead."""
    if stream.closed() or isinstance(stream, SSLIOStream):
        return stream.closed()
    try:
        return stream.socket.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def taken(stream: IOStream) -> "asyncio.Future[None] | None":
    """Whether the socket has taken all that was written to a stream: ``None`` if so, else a future of it."""
    try:
        future = stream.write(b"")
    except StreamClosedError as error:
        return failed(error)
    if not future.done():
        return future
    return None if future.exception() is None else future


def failed(error: StreamClosedError) -> "asyncio.Future[None]":
    """A future that has failed already, for a stream that is closed."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(error.with_traceback(None))  # which may know who holds the future: a circle
    future.exception()  # whoever looks at it has it; nobody else must hear of it
    return future


def half_close(stream: IOStream) -> None:
    """Tell the peer that nothing more will come. TLS knows no such state: there the answer's headers have to do."""
    if not stream.closed() and not isinstance(stream, SSLIOStream):
        with contextlib.suppress(OSError):
            stream.socket.shutdown(socket.SHUT_WR)


async def linger(stream: IOStream, response: bytes) -> None:
    """Write a last response, and close so that it arrives although the peer is still sending."""
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            await stream.write(response)
            if isinstance(stream, SSLIOStream):
                return
            half_close(stream)
            left = _LINGER_BYTES
            while left > 0:
                left -= len(await stream.read_bytes(min(left, 1 << 16), partial=True))
    except (StreamClosedError, TimeoutError):
        pass
    finally:
        stream.close()
        if stream.error is not None:
            stream.error.__traceback__ = None  # its frames lead to who wrote, and so to the stream: a circle
