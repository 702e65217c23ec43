"""What the requests of all six transports share: who may come in, sessions, POSTs, and how errors are told.

They stand on an :class:`~tornadio.web.exchange.Exchange` and leave Tornado's ``RequestHandler`` out: what that does
for a page (arguments, cookies, templates, ETags, XSRF tokens, buffers) would be half of a poll's time, for nobody's
benefit.
"""

import asyncio
import dataclasses
import email.utils
import functools
import http
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from tornado.httputil import HTTPServerRequest

from tornadio import proto
from tornadio.conn import SocketConnection
from tornadio.errors import HandlerError, PeerError, RefusedError, TooLargeError
from tornadio.logs import get_logger, without_ids
from tornadio.net.linger import close_after
from tornadio.observability.accesslog import log_request
from tornadio.sessions.base import BaseSession
from tornadio.sessions.posts import Post
from tornadio.sessions.registry import SessionRegistry
from tornadio.sessions.state import State
from tornadio.settings import Settings
from tornadio.transports import forms
from tornadio.web.exchange import Exchange
from tornadio.web.hosts import HostRule
from tornadio.web.origins import PREFLIGHT_HEADERS, OriginRule, cors_headers, page_field

logger = get_logger(__name__)

S = TypeVar("S", bound=BaseSession)

TEXT: Final = "text/plain; charset=UTF-8"

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
    hosts: HostRule
    sessions: SessionRegistry
    log_request: Callable[[Any], None] = log_request


class Address(NamedTuple):
    """What a request's path says behind the transport's name, and between the resource and it."""

    session_id: str = ""
    tail: str = ""
    extra: str = ""


class TransportHandler:
    """One request to a transport, and its answer."""

    transport: ClassVar[str]
    is_websocket: ClassVar[bool] = False
    is_script: ClassVar[bool] = False  # what a GET reads: any page can run it, and so read it
    methods: ClassVar[tuple[str, ...]] = ("GET", "POST", "OPTIONS")

    def __init__(self, resource: Resource, exchange: Exchange, address: Address) -> None:
        self.here = resource
        self.exchange = exchange
        self.address = address
        self._refusal: PeerError | None = None
        self._post: Post | None = None  # where a session will read the body
        self._status = 0

    @property
    def request(self) -> HTTPServerRequest:
        """The request as Tornado's users know it."""
        return self.exchange.request

    @property
    def is_for_new_session(self) -> bool:
        """Whether this request may open a session."""
        return self.exchange.method == "GET" and not self.address.session_id

    # -- The request's way ---------------------------------------------------------------------------------------

    def headers_received(self) -> Awaitable[None] | None:
        """The headers are here. What they forbid is answered when the body is here, too, unless nobody may read it.

        :returns: what has to be awaited before the body is read.
        """
        try:
            self.check_access()
        except RefusedError as refusal:
            self._refusal = refusal
        fields = self.exchange.headers
        if not self.is_websocket and asks_for_websocket(fields):
            self.reject_and_linger(self.upgrade_not_allowed_error())
            return None
        declared = fields.get("Content-Length", "")
        size = int(declared[:20]) if declared.isdecimal() else 0
        if size > self.max_body_size:
            self.reject_and_linger(self._refusal or self._too_large())
            return None
        if self._refusal is None and self.exchange.method == "POST":
            try:
                self._begin_post(size)
            except RefusedError as refusal:
                self.reject_and_linger(refusal)
                return None
        return self.try_detach()

    def _begin_post(self, size: int) -> None:
        """Reserve room for a POST's body in its session. Where there is none, :meth:`handle` says so.

        :raises RefusedError: 503, too much waits in the session already.
        """
        session = self._named_session()
        if session is not None and not session.is_closed:
            post = Post(session)
            session.reserve_post(post, size)
            self._post = post

    def should_buffer_body(self, size: int) -> bool:
        """Whether a body of which ``size`` bytes have come is to be kept for :meth:`handle`: a session will read it.

        :raises PeerError: nobody may read on.
        """
        if size > self.max_body_size:
            raise self._refusal or self._too_large()
        post = self._post
        if post is None or post.session.is_closed:
            return False
        if size > post.size:  # its length was not told
            post.session.reserve_post(post, size)
        return True

    def handle(self, body: bytes = b"") -> None:
        """The request is here: answer it."""
        try:
            self.raise_refusal()
            if self.exchange.method == "GET":
                self.read()
            elif self.exchange.method == "POST":
                self._write_session(body)
            else:
                self.respond(200, TEXT, b"", PREFLIGHT_HEADERS)
        except PeerError as error:
            self.respond_error(error)
        except Exception:
            self.respond_failure()

    def on_connection_close(self) -> None:
        """The client has gone, before its answer was there."""

    # -- Who may come in -----------------------------------------------------------------------------------------

    def check_access(self) -> None:
        """:raises RefusedError: this request may not come in."""
        self.check_host()
        if self.exchange.method not in self.methods:
            # What the client chose is not repeated, least of all at the beginning, where it could be that of a movie.
            raise RefusedError(405, f"this method is not for {self.transport}: use {', '.join(self.methods)}")
        self.check_origin()
        if self.transport not in self.here.settings.enabled_protocols:
            raise RefusedError(403, f"{self.transport} is not enabled here")

    def check_host(self) -> None:
        """:raises RefusedError: a client may not ask for this server by that name."""
        hosts, host = self.here.hosts, self.exchange.headers.get("Host", "")  # exchange.host is never empty
        if hosts.allows_name(host):
            return
        client = self.exchange.remote_ip
        if not hosts.allows_client(client, self.exchange.own_ip):
            logger.warning("refused %s: host %r, from %s: see the setting 'hosts'", self.transport, host, client)
            raise RefusedError(403, "this server is not asked for by that name: add it to the setting 'hosts'")

    def check_origin(self) -> None:
        """:raises RefusedError: the page that this request is of may not connect."""
        fields = self.exchange.headers
        is_script = self.is_script and self.exchange.method == "GET"
        reason = self.here.origins.refusal(fields, self.exchange.host, is_script)
        if reason is not None:
            raise self.refused_page(reason, *(page_field(fields) or ("Referer", None)))

    def refused_page(self, reason: str, field: str, value: str | None) -> RefusedError:
        """For a page that may not connect, by what this header field says. It is logged."""
        logger.warning("refused %s: %s %r", self.transport, field.lower(), value)
        return RefusedError(403, reason)

    def try_detach(self) -> Awaitable[None] | None:
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

    def upgrade_not_allowed_error(self) -> PeerError:
        """What a request is told that wants a WebSocket where there is none. What follows it is never read as HTTP."""
        return RefusedError(400, f"there is no WebSocket here: its address is /{self.here.name}/websocket")

    # -- What they ask for ---------------------------------------------------------------------------------------

    def read(self) -> None:
        """Answer a GET: open a session, or carry one's payloads.

        :raises PeerError: what the answer will say.
        """
        raise NotImplementedError

    def _write_session(self, body: bytes) -> None:
        """Answer a POST: hand its frames to the session.

        :raises PeerError: what the answer will say.
        """
        post = self._post
        if post is None:
            raise self.session_not_found() if self.address.session_id else _no_session_named()
        session = post.session
        if session.is_closed:  # while the body came
            self.drop_post()
            raise self.session_not_found()
        session.request_received()
        session.touch()
        session.post_received(post)
        try:
            payload = self._payload(body)
            frames = self._frames_later(payload.encode("utf-8")) if session.is_handling else self.decode(payload)
            handled = session.receive(frames)
        except PeerError as error:
            self._end_post(post, error)  # here, where no name keeps the error: it knows this frame
        except BaseException:
            self.drop_post()
            raise
        else:
            if isinstance(handled, bool):
                self._end_post(post, handled)
            else:
                post.size = len(payload.encode("utf-8"))
                self._await_post(post, handled, frames)

    def _await_post(self, post: Post, handling: "asyncio.Task[bool]", frames: Iterator[tuple[str, Any]]) -> None:
        """Answer when the messages were handled, or as soon as the session closes."""
        handling.add_done_callback(self._answer_post)
        post.session.set_post_callback(post, functools.partial(self._answer_early, handling, frames))
        self.exchange.set_close_callback(functools.partial(post.session.release_post, post))

    def _answer_early(self, handling: "asyncio.Task[bool]", frames: Iterator[tuple[str, Any]]) -> None:
        """The session has ended. If it was the application that closed it, the message at work is still handled; those
        behind it are not.
        """
        if handling.done():
            self._answer_post(handling)
        elif (post := self._take_post()) is not None:
            try:
                is_last = post.session.state is State.CLOSING and next(frames, None) is None
            except PeerError:
                is_last = False
            self._end_post(post, is_last)

    def _take_post(self) -> Post | None:
        """The POST, if it is not answered yet: now it is."""
        post, self._post = self._post, None
        if post is not None:
            post.on_session_end = None  # which knows this object: in a circle both would wait for the collector
        return post

    def _answer_post(self, handling: "asyncio.Task[bool]") -> None:
        post = self._take_post()
        if post is None:
            return  # it was answered when the session closed
        if handling.cancelled():
            self._end_post(post, HandlerError())
        elif (error := handling.exception()) is not None:
            self._end_post(post, error if isinstance(error, PeerError) else HandlerError())
        else:
            self._end_post(post, handling.result())

    def _end_post(self, post: Post, handled: bool | PeerError) -> None:
        session = post.session
        if handled is False:
            handled = self._not_all_handled()
        if isinstance(handled, PeerError):
            self.respond_error(handled)
            if isinstance(handled, TooLargeError):
                session.close(handled.close_code, str(handled))
        else:
            self.respond(200, TEXT, b"ok")
        taken = self.exchange.flushed()
        if taken is None:
            session.end_post(post)
        else:
            taken.add_done_callback(lambda taken: session.end_post(post))

    def drop_post(self) -> None:
        """Keep nothing of a POST: it did not come as a whole, or it is answered already."""
        post, self._post = self._post, None
        if post is not None:
            post.session.end_post(post)

    def _not_all_handled(self) -> RefusedError:
        """What a POST is told if its session has ended before all of it was handled."""
        if self.here.sessions.draining:
            return RefusedError(503, "shutting down, not all of this was handled")
        return RefusedError(401, "the session has ended, and not all of this was handled")

    def _payload(self, body: bytes) -> str:
        """The payload in the body.

        :raises ProtocolError: there is none in it.
        """
        content_type = self.exchange.headers.get("Content-Type", "")
        return forms.payload_of(body, content_type, self.here.settings.max_message_size)

    def _frames_later(self, payload: bytes) -> Iterator[tuple[str, Any]]:
        """As :meth:`decode`, of a payload that waits for its turn: as a text it may take four times the memory."""
        frames = self.decode(payload.decode("utf-8"))
        del payload
        yield from frames

    def decode(self, data: str) -> Iterator[tuple[str, Any]]:
        """The frames of a POST's payload."""
        return proto.iter_decode(data)

    # -- Sessions ------------------------------------------------------------------------------------------------

    def find_session(self) -> BaseSession:
        """:raises RefusedError: 401, there is none of that id and transport."""
        session = self._named_session()
        if session is None:
            raise self.session_not_found()
        session.request_received()
        return session

    def _named_session(self) -> BaseSession | None:
        """The session that the path names, if there is one."""
        return self.here.sessions.get(self.address.session_id, self.transport)

    def session_not_found(self) -> RefusedError:
        """For a session that is none of this transport's."""
        return RefusedError(401, "there is no such session: it has ended, or never was")

    # -- Answers -------------------------------------------------------------------------------------------------

    def respond(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Answer, if the client is still there.

        :param headers: more headers.
        """
        if not self.exchange.is_closed:
            fields = f"Content-Length: {len(body)}\r\n{self.exchange.connection_header()}"
            head = self.make_head(status, content_type, fields, headers)
            response = head + body if self.exchange.method != "HEAD" else head
            self.exchange.send_response(response, self.here.settings.heartbeat_timeout)
        self.log(status)

    def log(self, status: int) -> None:
        """Tell the access log."""
        self._status = status
        try:
            self.here.log_request(self)
        except Exception:  # the answer is on its way: there must be no second one, and nobody who sends must hear of it
            logger.exception("%s: log_function failed", self.transport)

    def respond_error(self, error: PeerError) -> None:
        """Answer with an error's status and text."""
        headers = {"Allow": ", ".join(self.methods)} if error.http_status == 405 else None
        self.respond(error.http_status, TEXT, str(error).encode("utf-8"), headers)

    def respond_failure(self) -> None:
        """Answer to an error of the application's or of our own."""
        self.respond_error(self.failure())

    def failure(self) -> PeerError:
        """What is told of an error of the application's or of our own, which is logged: it is being handled."""
        logger.exception("%s: failed on %s %s", self.transport, self.exchange.method, self.exchange.path)
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

    def cors_headers(self) -> dict[str, str]:
        """Without these a page on another port would see status 0, whatever the answer was."""
        origin = self.exchange.headers.get("Origin")
        if origin is None or not self.here.origins.allows(origin, self.exchange.host):
            return {}
        return cors_headers(origin)

    # -- Connections that are not HTTP's any more ------------------------------------------------------------------

    def reject_and_linger(self, error: PeerError, headers: Mapping[str, str] | None = None) -> None:
        """Answer with an error when only the headers were read, and close without reading on.

        :param headers: more headers for the answer.
        """
        self._tell(error)
        close_after(self.exchange.detach(), self._last_response(error, headers), self.here.sessions.lingering)

    def early_error_response(self, error: PeerError) -> bytes:
        """Nobody may read on in a chunked body: the response to it, before its end."""
        self.drop_post()
        self._tell(error)
        return self._last_response(error)

    def _last_response(self, error: PeerError, headers: Mapping[str, str] | None = None) -> bytes:
        """A whole response, for a connection that Tornado's HTTP can't be left to answer."""
        text = str(error).encode("utf-8")
        fields = f"Content-Length: {len(text)}\r\nConnection: close\r\n"
        head = self.make_head(error.http_status, TEXT, fields, headers)
        return head if self.exchange.method == "HEAD" else head + text

    def _tell(self, error: PeerError) -> None:
        """Say in the log what was wrong, and end the session of a request that was too large."""
        session = self._named_session()
        logger.info("%s: refused a request: %s", session or self.transport, error)
        if session is not None and isinstance(error, TooLargeError):
            session.close(error.close_code, str(error))

    @property
    def max_body_size(self) -> int:
        """Bytes that a body may have."""
        return forms.BODY_EXPANSION * self.here.settings.max_message_size + len("data=")

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self.max_body_size} bytes: max_message_size percent-encoded")

    # -- For the access log: what a log_function may ask of a RequestHandler -----------------------------------------

    def get_status(self) -> int:
        """The answer's status."""
        return self._status

    def _request_summary(self) -> str:
        return f"{self.exchange.method} {without_ids(self.exchange.uri)} ({self.request.remote_ip})"


@functools.lru_cache(maxsize=1)
def _date(now: int) -> str:
    return email.utils.formatdate(now, usegmt=True)


def asks_for_websocket(headers: Mapping[str, str]) -> bool:
    """Whether ``Upgrade`` names WebSocket. Other protocols may be ignored, as may ``Connection: upgrade`` alone, which
    some proxies add to everything (RFC 9110, section 7.8)."""
    return "websocket" in (token.strip().lower() for token in headers.get("Upgrade", "").split(","))


def _no_session_named() -> RefusedError:
    return RefusedError(400, "a POST needs a session: open one with a GET")
