"""What the requests of all six transports share: who may come in, sessions, POSTs, and how errors are told.

They stand on Tornado's HTTP connection and leave its ``RequestHandler`` out: what that does for a page (arguments,
cookies, templates, ETags, XSRF tokens, buffers) costs half of a poll's time, and here nobody asks for it.
"""

import asyncio
import contextlib
import dataclasses
import email.utils
import functools
import http
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple, TypeVar, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from tornadio import forms, proto
from tornadio.accesslog import log_request
from tornadio.conn import SocketConnection
from tornadio.container import SessionContainer, State
from tornadio.departures import say_last
from tornadio.errors import HandlerError, PeerError, RefusedError, TooLargeError
from tornadio.logs import get_logger
from tornadio.origins import PREFLIGHT_HEADERS, OriginRule, cors_headers
from tornadio.session import Session
from tornadio.settings import Settings
from tornadio.wire import Wire, failed_future, take

logger = get_logger(__name__)

S = TypeVar("S", bound=Session)

TEXT: Final = "text/plain; charset=UTF-8"

# After an answer to a chunked body that has grown too large, so much of it is read and thrown away, for so long.
_LINGER_BYTES: Final = 16 << 20
_LINGER_SECONDS: Final = 5.0

_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
_COMMON_HEADERS: Final = (
    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\nVary: Origin\r\n"
)


@dataclasses.dataclass(slots=True, eq=False)
class Resource:
    """What one router serves: the part of it that requests need."""

    name: str
    connection_class: type[SocketConnection]
    settings: Settings
    origins: OriginRule
    sessions: SessionContainer
    log_request: Callable[[Any], None] = log_request


class Address(NamedTuple):
    """What a request's path says behind the transport's name, and between the resource and it."""

    session_id: str = ""
    tail: str = ""
    extra: str = ""


class TransportHandler(HTTPMessageDelegate):
    """One request to a transport: Tornado's HTTP hands it in, piece by piece, and it answers.

    The body comes as it arrives, so that one that is too large is refused before it is here.
    """

    transport: ClassVar[str]
    is_websocket: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ("GET", "POST", "OPTIONS")

    def __init__(self, resource: Resource, request: HTTPServerRequest, address: Address) -> None:
        self.here = resource
        self.request = request
        self.address = address
        self._connection = cast(HTTP1Connection, request.connection)
        self._body = bytearray()
        self._received = 0
        self._refusal: PeerError | None = None
        self._is_answered = False  # before the body was here
        self._status = 0

    # -- What Tornado's HTTP tells -------------------------------------------------------------------------------

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        try:
            self.check_admission()
        except RefusedError as refusal:
            self._refusal = refusal
        if not self.is_websocket and asks_for_websocket(headers):
            self.refuse_unread(self.misplaced_upgrade())
            return None
        declared = headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared[:20]) > self._limit:
            self.refuse_unread(self._refusal or self._too_large())
            return None
        # Tornado's own limit would answer 400; data_received sees to ours.
        self._connection.set_max_body_size(sys.maxsize)
        return self.admitted()

    def data_received(self, chunk: bytes) -> None:
        before, self._received = self._received, self._received + len(chunk)
        if self._received > self._limit + _LINGER_BYTES:
            self.stream.close()
        elif self._received > self._limit:
            if before <= self._limit:
                self._refuse_rest()
        elif self._refusal is None:
            self._body += chunk

    def finish(self) -> None:
        """The request is here: answer it."""
        if self._is_answered:
            taken = self.taken()
            if taken is None:
                self.stream.close()
            else:
                taken.add_done_callback(self._close_answered)
            return
        try:
            self.raise_refusal()
            if self.request.method == "GET":
                self.read()
            elif self.request.method == "POST":
                self._write_session()
            else:
                self.respond(200, TEXT, b"", PREFLIGHT_HEADERS)
        except PeerError as error:
            self.respond_error(error)
        except Exception:
            self.respond_failure()

    def on_connection_close(self) -> None:
        """The client has gone, before its answer was there."""
        self._body.clear()  # where the rest of it never comes, the collector alone frees this object

    # -- Who may come in -----------------------------------------------------------------------------------------

    def check_admission(self) -> None:
        """:raises RefusedError: this request may not come in."""
        if self.request.method not in self.methods:
            # What the client chose is not repeated, least of all at the beginning, where it could be that of a movie.
            raise RefusedError(405, f"this method is not for {self.transport}: use {', '.join(self.methods)}")
        if not self.is_allowed_origin():
            logger.warning("refused %s: origin %r", self.transport, self.request.headers.get("Origin"))
            raise RefusedError(403, "this origin may not connect: see the setting 'origins'")
        if self.transport not in self.here.settings.enabled_protocols:
            raise RefusedError(403, f"{self.transport} is not enabled here")

    def is_allowed_origin(self) -> bool:
        """Whether the request's origin is one of those that may connect."""
        return self.here.origins.allows(self.request.headers.get("Origin"), self.request.host)

    def admitted(self) -> Awaitable[None] | None:
        """The headers are here, and all that they forbid was seen to: the last moment to take the connection away.

        :returns: what has to be awaited before Tornado reads on.
        """
        return None

    def raise_refusal(self) -> None:
        """:raises PeerError: this request may not come in."""
        refusal, self._refusal = self._refusal, None
        try:
            if refusal is not None:
                raise refusal
        finally:
            del refusal  # it knows this frame: in a circle both would wait for the collector

    def misplaced_upgrade(self) -> PeerError:
        """What a request is told that wants a WebSocket where there is none. What follows it is never read as HTTP."""
        return RefusedError(400, f"there is no WebSocket here: its address is /{self.here.name}/websocket")

    # -- What they ask for ---------------------------------------------------------------------------------------

    def read(self) -> None:
        """Answer a GET: open a session, or carry one's payloads.

        :raises PeerError: what the answer will say.
        """
        raise NotImplementedError

    def _write_session(self) -> None:
        """Answer a POST: hand its frames to the session.

        :raises PeerError: what the answer will say.
        """
        if not self.address.session_id:
            raise RefusedError(400, "a POST needs a session: open one with a GET")
        session = self.find_session()
        if session.state is State.CLOSING:
            raise self.unknown_session()
        session.post_began()
        try:
            handled = session.receive(self.decode(self._payload()))
        except PeerError as error:
            self._end_post(session, error)  # here, where no name keeps the error: it knows this frame
        except BaseException:
            session.post_ended()
            raise
        else:
            if isinstance(handled, bool):
                self._end_post(session, handled)
            else:
                self.here.sessions.tasks.carry(self._finish_post(session, handled))

    async def _finish_post(self, session: Session, handling: "asyncio.Task[bool]") -> None:
        """Answer when the messages were handled, or as soon as the session closes."""
        try:
            await session.finish_post(handling)
        except BaseException:
            session.post_ended()
            raise
        if not handling.done():
            self._end_post(session, False)
        elif handling.cancelled():
            self._end_post(session, HandlerError())
        elif (error := handling.exception()) is not None:
            self._end_post(session, error if isinstance(error, PeerError) else HandlerError())
        else:
            self._end_post(session, handling.result())

    def _end_post(self, session: Session, handled: bool | PeerError) -> None:
        if handled is False and session.state is State.CLOSED:
            handled = RefusedError(401, "the session has ended, and not all of this was handled")
        if isinstance(handled, PeerError):
            self.respond_error(handled)
            if isinstance(handled, TooLargeError):
                session.close(handled.close_code, str(handled))
        else:
            self.respond(200, TEXT, b"ok")
        taken = self.taken()
        if taken is None:
            session.post_ended()
        else:  # a client that posts and reads no answers is given up, as one that answers no heartbeats
            give_up = self.stream.io_loop.call_later(self.here.settings.heartbeat_timeout, self.stream.close)
            taken.add_done_callback(functools.partial(self._post_taken, session, give_up))

    def _post_taken(self, session: Session, give_up: object, taken: "asyncio.Future[None]") -> None:
        if self._connection.stream is not None:
            self._connection.stream.io_loop.remove_timeout(give_up)
        session.post_ended()

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

    def find_session(self) -> Session:
        """:raises RefusedError: 401, there is none of that id and transport."""
        session = self._named_session()
        if session is None:
            raise self.unknown_session()
        session.asked_for()
        return session

    def _named_session(self) -> Session | None:
        """The session that the path names, if there is one."""
        return self.here.sessions.get(self.address.session_id, self.transport)

    def unknown_session(self) -> RefusedError:
        """For a session that is none of this transport's."""
        return RefusedError(401, "there is no such session: it has ended, or never was")

    # -- Answers -------------------------------------------------------------------------------------------------

    @property
    def stream(self) -> IOStream:
        """The connection's stream, for what the socket has taken and what not."""
        return self._connection.stream

    def respond(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Answer, if the client is still there.

        :param headers: more headers.
        """
        if not self._connection.stream.closed():
            fields = f"Content-Length: {len(body)}\r\n{self._connection_header()}"
            head = self.make_head(status, content_type, fields, headers)
            # Tornado's write_headers makes the same bytes, from an object for each header.
            self._connection.write(head + body if self.request.method != "HEAD" else head)
            self._connection.finish()
        self.log(status)

    def log(self, status: int) -> None:
        """Tell the access log."""
        self._status = status
        self.here.log_request(self)

    def respond_error(self, error: PeerError) -> None:
        """Answer with an error's status and text."""
        headers = {"Allow": ", ".join(self.methods)} if error.http_status == 405 else None
        self.respond(error.http_status, TEXT, str(error).encode("utf-8"), headers)

    def respond_failure(self) -> None:
        """Answer to an error of the application's or of our own."""
        self.respond_error(self.failure())

    def failure(self) -> PeerError:
        """What is told of an error of the application's or of our own, which is logged: it is being handled."""
        logger.exception("%s: failed on %s %s", self.transport, self.request.method, self.request.path)
        return PeerError("the server failed on this request", http_status=500, close_code=1011)

    def make_head(self, status: int, content_type: str, fields: str, headers: Mapping[str, str] | None = None) -> bytes:
        """A response's head.

        :param fields: lines about the body and the connection, each with its CRLF.
        :param headers: more of them.
        """
        more = "".join([f"{name}: {value}\r\n" for name, value in (self.cors_headers() | dict(headers or {})).items()])
        return (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\nDate: {_date(int(time.time()))}\r\n"
            f"{_COMMON_HEADERS}Content-Type: {content_type}\r\n{fields}{more}\r\n"
        ).encode("latin-1")

    def _connection_header(self) -> str:
        """What Tornado's HTTP will do with the connection after this answer, as a header where it needs one."""
        wanted = self.request.headers.get("Connection", "").lower()
        if self.request.version == "HTTP/1.1":
            return "Connection: close\r\n" if wanted == "close" or self._connection.no_keep_alive else ""
        is_kept = wanted == "keep-alive" and not self._connection.no_keep_alive and self._has_known_end()
        return "Connection: Keep-Alive\r\n" if is_kept else ""

    def _has_known_end(self) -> bool:
        """Whether Tornado keeps the connection of a request of HTTP/1.0 that asks for it."""
        headers = self.request.headers
        return self.request.method in ("GET", "HEAD") or "Content-Length" in headers or "Transfer-Encoding" in headers

    def cors_headers(self) -> dict[str, str]:
        """Without these a page on another port would see status 0, whatever the answer was."""
        origin = self.request.headers.get("Origin")
        if origin is None or not self.here.origins.allows(origin, self.request.host):
            return {}
        return cors_headers(origin)

    def taken(self) -> "asyncio.Future[None] | None":
        """Whether the socket has taken all of the answer: ``None`` if so, else a future of it."""
        stream = self._connection.stream
        if stream.closed():
            return None if stream.error is None and self._status else failed_future()
        return stream.write(b"") if stream.writing() else None

    # -- Connections that are not Tornado's any more ---------------------------------------------------------------

    def take_wire(self) -> Wire:
        """Take the connection away from Tornado's HTTP; only in :meth:`admitted`."""
        return take(self._connection.detach())

    def refuse_unread(self, error: PeerError, headers: Mapping[str, str] | None = None) -> None:
        """Answer with an error when only the headers were read, and close without reading on.

        :param headers: more headers for the answer.
        """
        self._tell(error)
        say_last(self.take_wire(), self._last_response(error, headers), self.here.sessions.departures)

    def _refuse_rest(self) -> None:
        """Answer a chunked body as soon as it has grown too large. Tornado reads on, and what comes is dropped.

        At the body's end the connection is closed.
        """
        self._is_answered = True
        self._body.clear()
        error = self._refusal = self._refusal or self._too_large()
        stream = self.stream
        with contextlib.suppress(StreamClosedError):
            stream.write(self._last_response(error))
        if not stream.closed() and not isinstance(stream, SSLIOStream):
            with contextlib.suppress(OSError):
                stream.socket.shutdown(socket.SHUT_WR)
        stream.io_loop.call_later(_LINGER_SECONDS, stream.close)
        self._tell(error)

    def _close_answered(self, taken: "asyncio.Future[None]") -> None:
        self.stream.close()

    def _last_response(self, error: PeerError, headers: Mapping[str, str] | None = None) -> bytes:
        """A whole response, for a connection that Tornado's HTTP can't be left to answer."""
        text = str(error).encode("utf-8")
        fields = f"Content-Length: {len(text)}\r\nConnection: close\r\n"
        head = self.make_head(error.http_status, TEXT, fields, headers)
        return head if self.request.method == "HEAD" else head + text

    def _tell(self, error: PeerError) -> None:
        """Say in the log what was wrong, and end the session of a request that was too large."""
        session = self._named_session()
        logger.info("%s: refused a request: %s", session or self.transport, error)
        if session is not None and isinstance(error, TooLargeError):
            session.close(error.close_code, str(error))

    @property
    def _limit(self) -> int:
        """Bytes that a body may have."""
        return forms.BODY_EXPANSION * self.here.settings.max_message_size + len("data=")

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._limit} bytes: max_message_size percent-encoded")

    # -- For the access log: what a log_function may ask of a RequestHandler -----------------------------------------

    def get_status(self) -> int:
        """The answer's status."""
        return self._status

    def _request_summary(self) -> str:
        return f"{self.request.method} {self.request.uri} ({self.request.remote_ip})"


@functools.lru_cache(maxsize=1)
def _date(now: int) -> str:
    return email.utils.formatdate(now, usegmt=True)


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
