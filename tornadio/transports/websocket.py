"""The WebSocket transports: websocket and flashsocket, in every version that a 0.6 client speaks.

The handler checks the handshake and takes the stream away from Tornado's HTTP, with the body unread: in draft-76 the
body's eight bytes come only after the 101 went out, since a proxy holds them back until then. From there on a
:class:`WebSocketChannel` carries the session over a :class:`~tornadio.net.wire.Wire`; the handler is let go.
"""

import asyncio
import functools
import operator
from collections.abc import Iterator
from typing import Final, Protocol

from tornado.httputil import HTTPServerRequest

from tornadio import proto
from tornadio.errors import HandlerError, PeerError, ProtocolError, RefusedError
from tornadio.logs import get_logger
from tornadio.net.linger import close_after
from tornadio.net.wire import Wire
from tornadio.sessions.outbox import Payload
from tornadio.sessions.persistent import PersistentSession
from tornadio.transports.base import Resource, TransportHandler, asks_for_websocket
from tornadio.transports.opening import open_session
from tornadio.web.origins import REFUSED
from tornadio.web.peers import counted_address
from tornadio.websocket import hixie, rfc6455

logger = get_logger(__name__)

_KEY3_SECONDS: Final = 10.0
_CLOSING_SECONDS: Final = 5.0


class Framer(Protocol):
    """What :mod:`tornadio.websocket.rfc6455` and :mod:`tornadio.websocket.hixie` have in common."""

    error: ProtocolError | None
    closed: bool
    has_more: bool
    has_data_to_send: bool

    def feed(self, data: bytes) -> list[str | bytes]: ...

    def data_to_send(self) -> bytes: ...

    def encode(self, message: str | bytes) -> bytes: ...

    def close(self, code: int, reason: str) -> bytes: ...


class WebSocketHandler(TransportHandler):
    """``websocket``: the handshake."""

    transport = "websocket"
    is_websocket = True
    methods = ("GET", "OPTIONS")

    def try_detach(self) -> None:
        if self.exchange.method == "GET":
            self._upgrade()

    def check_origin(self) -> None:
        # Versions 7 and 8 call it Sec-WebSocket-Origin; where both stand, both count.
        drafts = self.exchange.headers.get("Sec-WebSocket-Origin")
        if drafts is not None and not self.here.origins.allows(drafts, self.exchange.host):
            raise self.refused_page(REFUSED, "Sec-WebSocket-Origin", drafts)
        super().check_origin()

    def _upgrade(self) -> None:
        try:
            self.raise_refusal()
            self._check_upgrade()
            version = self.exchange.headers.get("Sec-WebSocket-Version")
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
        if "upgrade" not in (token.strip().lower() for token in headers.get("Connection", "").split(",")):
            raise RefusedError(400, 'this is a WebSocket: "Connection: Upgrade" is missing')
        if "Transfer-Encoding" in headers:
            raise RefusedError(400, "a WebSocket handshake has no chunked body")
        self.here.sessions.check_capacity(counted_address(self.request))

    def _upgrade_rfc6455(self) -> None:
        if self.exchange.headers.get("Content-Length", "0") != "0":
            raise RefusedError(400, "this WebSocket handshake has no body")
        headers = rfc6455.handshake_headers(self.exchange.headers)
        lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._start(rfc6455.Framer(self.here.settings.max_message_size), "\r\n".join(lines).encode("ascii"), None)

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
            headers.get("Origin", "null"),
            f"{scheme}://{self.exchange.host}{self.exchange.uri}",
            headers.get("Sec-WebSocket-Protocol" if keys else "WebSocket-Protocol"),
        )
        self._start(hixie.Framer(self.here.settings.max_message_size), head, keys)

    def _start(self, framer: Framer, head: bytes, keys: tuple[int, int] | None) -> None:
        request = self.request  # before the connection is taken away from HTTP
        channel = WebSocketChannel(self.exchange.detach(), framer, self.here, self.transport)
        channel.start(head, keys, request, self.address.extra)


class FlashSocketHandler(WebSocketHandler):
    """``flashsocket``: the same, spoken by a Flash movie in the place of a browser's WebSocket."""

    transport = "flashsocket"


class _Handshake:
    """What is kept of a handshake until the session is open.

    :ivar head: the 101, until it is written.
    :ivar keys: the numbers of a draft-76 handshake whose last eight bytes are to come.
    :ivar early: what has come by then.
    :ivar session: the one whose ``on_open`` is at work.
    """

    __slots__ = ("early", "extra", "head", "keys", "request", "session")

    def __init__(self, head: bytes, keys: tuple[int, int] | None, request: HTTPServerRequest, extra: str) -> None:
        self.head = head
        self.keys = keys
        self.request = request
        self.extra = extra
        self.early = b""
        self.session: PersistentSession | None = None


class WebSocketChannel:
    """The connection from its handshake on, and the session's channel.

    Once the connection is lost it has no session any more, but for messages that came before: they are handled first.
    """

    __slots__ = (
        "__weakref__",
        "_at_work",
        "_encode",
        "_framer",
        "_handshake",
        "_is_going_on",
        "_is_lost",
        "_pongs_wait",
        "_resource",
        "_session",
        "_timer",
        "_transport",
        "_waiting",
        "_wire",
    )

    def __init__(self, wire: Wire, framer: Framer, resource: Resource, transport: str) -> None:
        self._wire = wire
        self._framer = framer
        self._encode = framer.encode  # the class's, the same for all receivers
        self._resource = resource
        self._transport = transport
        self._session: PersistentSession | None = None
        self._handshake: _Handshake | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_lost = False
        self._is_going_on = False
        self._pongs_wait = False
        self._at_work = ""  # the message whose handler is waited for
        self._waiting: Iterator[str | bytes] | None = None  # those behind it, or behind on_open

    def __str__(self) -> str:
        return str(self._session or self._transport)

    # -- Handshake -----------------------------------------------------------------------------------------------

    def start(self, head: bytes, keys: tuple[int, int] | None, request: HTTPServerRequest, extra: str) -> None:
        """Finish the handshake, open the session, and carry it to its end.

        :param head: the 101.
        :param keys: the numbers of a draft-76 handshake.
        """
        self._handshake = _Handshake(head, keys, request, extra)
        if not isinstance(self._framer, rfc6455.Framer):
            self._write_head()
        self._wire.start(self)
        if keys is None:
            self._open(self._handshake)
        else:
            self._close_in(_KEY3_SECONDS)

    def _write_head(self) -> None:
        """Write the 101, if that was not done before.

        In the usual case it was not: it travels with the session id, in one piece. The drafts' clients are not asked to
        understand that.
        """
        handshake = self._handshake
        if handshake is not None and handshake.head:
            self._wire.write(handshake.head)
            handshake.head = b""

    def _advance(self, handshake: _Handshake, data: bytes) -> None:
        """What comes before the session is open: key3, and messages that have to wait."""
        handshake.early += data
        if handshake.keys is not None:
            key3, rest = handshake.early[: hixie.KEY3_LENGTH], handshake.early[hixie.KEY3_LENGTH :]
            if len(key3) == hixie.KEY3_LENGTH:
                self._wire.write(hixie.challenge_response(*handshake.keys, key3))
                handshake.keys, handshake.early = None, rest
                self._open(handshake)

    def _open(self, handshake: _Handshake) -> None:
        self._stop_timer()
        self._wire.pause_reading()
        opening = open_session(
            self._resource, PersistentSession, self._transport, handshake.request, handshake.extra, self._opened
        )
        if opening is not None:
            handshake.session = opening.session
            self._write_head()

    def _opened(self, session: PersistentSession | PeerError) -> None:
        if isinstance(session, PeerError):
            if not self._is_over:
                self._fail(session)
            return
        handshake, self._handshake = self._handshake, None
        self._session = session
        if handshake is None:  # the client has gone, what it sent before waits
            session.attach(self)
            self._handle_waiting()
            return
        self._wire.resume_reading()
        if handshake.head:
            self._encode = functools.partial(self._encode_first, handshake.head)
        session.attach(self)
        self._encode = self._framer.encode
        if handshake.early:
            self._receive(handshake.early)

    def _encode_first(self, head: bytes, text: str) -> bytes:
        self._encode = self._framer.encode
        return head + self._encode(text)

    # -- From the client -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See :class:`tornadio.net.wire.Receiver`."""
        if self._handshake is not None:
            self._advance(self._handshake, data)
        elif self._waiting is not None and self._session is not None:  # the last that has come
            self._waiting = iter([*self._waiting, *self._framer.feed(data)])
        else:
            self._receive(data)

    def connection_lost(self) -> None:
        """See :class:`tornadio.net.wire.Receiver`."""
        logger.debug("%s: the connection has gone", self)
        if self._has_messages():
            self._let_go()
            self._wire.close()
            return
        opening = self._handshake.session if self._handshake is not None else None
        self._give_up()
        if opening is not None:
            opening.abort()

    def _has_messages(self) -> bool:
        """Whether messages of a client that has gone wait for a handler at work, and so for their turn."""
        handshake = self._handshake
        if handshake is not None and handshake.session is not None:
            self._session = handshake.session
            self._waiting = iter(self._framer.feed(handshake.early))
        elif self._session is None:
            return False
        return self._framer.has_more or operator.length_hint(self._waiting) > 0 or _has_several(self._at_work)

    def _receive(self, data: bytes) -> None:
        framer = self._framer
        messages = framer.feed(data)
        session = self._session
        if session is not None:
            session.frames_this_tick = 0
            session.touch()
        if framer.has_data_to_send and not framer.closed:
            self._answer_pings()
        self._handle(iter(messages))

    def _handle(self, messages: Iterator[str | bytes]) -> None:
        """Hand on messages, until one has to be waited for: what comes behind it stays where it is."""
        try:
            for message in messages:
                if self._session is None:
                    continue  # it has ended, this is what was on its way
                if not isinstance(message, str):
                    raise ProtocolError("binary messages are not part of Socket.IO 0.6", close_code=1003)
                rest = self._session.receive(proto.iter_decode(message))
                if not isinstance(rest, bool):
                    self._wire.pause_reading()
                    self._at_work, self._waiting = message, messages
                    rest.add_done_callback(self._handled)
                    return
        except HandlerError:
            self._handle(messages)  # it is logged, and the session ends by itself
        except PeerError as error:
            self._fail(error)
        else:
            if self._framer.has_more:
                self._go_on_soon()
            elif self._framer.closed:
                self._framing_ended()

    def _handled(self, rest: "asyncio.Task[bool]") -> None:
        error = None if rest.cancelled() else rest.exception()
        self._at_work = ""
        if self._is_over:
            return
        if rest.cancelled():
            self._give_up()
        elif isinstance(error, PeerError) and not isinstance(error, HandlerError):
            self._fail(error)
        else:
            self._handle_waiting()

    def _handle_waiting(self) -> None:
        """Go on behind a handler that was waited for."""
        messages, self._waiting = self._waiting, None
        assert messages is not None
        self._wire.resume_reading()
        self._handle(messages)
        self._end_if_lost()

    def _go_on_soon(self) -> None:
        """Many frames have come at once: nothing more is read before those that are left had their turns."""
        self._wire.pause_reading()
        if not self._is_going_on:
            self._is_going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_going_on = False
        if not self._is_over and (self._waiting is None or self._session is None):
            self._receive(b"")
            if not self._is_going_on and (self._waiting is None or self._session is None):
                self._wire.resume_reading()
            self._end_if_lost()

    @property
    def _is_over(self) -> bool:
        """Whether the connection is lost, and nothing that came before has still to be handled."""
        return self._is_lost and self._session is None

    def _end_if_lost(self) -> None:
        """What a client sent before it went was the last."""
        if self._is_lost and self._session is not None and self._waiting is None and not self._framer.has_more:
            self._give_up()

    def _answer_pings(self) -> None:
        """Pongs wait while the peer takes nothing; the framer keeps some and lets the rest go."""
        if self._framer.closed or self._pongs_wait:
            return
        taken = self._wire.write(b"") if self._wire.is_writing else None
        if taken is None:
            self._wire.write(self._framer.data_to_send())
        else:
            self._pongs_wait = True
            taken.add_done_callback(self._send_pongs)

    def _send_pongs(self, taken: "asyncio.Future[None]") -> None:
        self._pongs_wait = False
        if not self._is_lost:
            self._answer_pings()

    # -- Ends ----------------------------------------------------------------------------------------------------

    def _fail(self, error: PeerError) -> None:
        """Close the connection with a frame that says why."""
        logger.info("%s: closed: %s", self, error)
        session, self._session = self._session, None
        if session is not None:
            session.flush()  # the answers to what came before the error
        last = self._framer.close(error.close_code, str(error))
        if not self._is_lost:
            self._write_head()
            self._let_go()
            close_after(self._wire, last, self._resource.sessions.lingering)
        if session is not None:
            session.channel_lost(self)

    def _framing_ended(self) -> None:
        """Nothing more can come: behind the peer's close frame, or what it did wrong."""
        if self._is_lost:
            self._give_up()
        elif self._framer.error is not None:
            self._fail(self._framer.error)
        else:
            self._close_ended()

    def _close_ended(self) -> None:
        """The peer has sent its last frame; ours follows, if it has not gone before it."""
        last = self._framer.data_to_send()
        taken = self._wire.write(last) if last or self._wire.is_writing else None
        session, self._session = self._session, None
        if taken is None:
            self._give_up()
        else:
            self._let_go()
            close_after(self._wire, b"", self._resource.sessions.lingering)
        if session is not None:
            session.channel_lost(self)

    def _let_go(self) -> None:
        """The connection is none of ours any more."""
        self._is_lost = True
        self._handshake = None
        self._stop_timer()
        self._resource.sessions.lingering.discard(self)

    def _close_in(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        """Close the TCP connection, whatever was still to be said."""
        self._let_go()
        self._wire.close()
        session, self._session = self._session, None
        if session is not None:
            session.channel_lost(self)

    # -- The session's channel -----------------------------------------------------------------------------------

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        """Send a payload as a message; see :meth:`tornadio.sessions.channel.Channel.write`."""
        return self._wire.write(payload.encoded(self._encode))

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; the peer has some seconds to answer it."""
        if self._session is None:
            return  # the connection has gone before
        self._session = None
        if self._is_lost:
            return
        self._wire.write(self._framer.close(code, reason))
        self._wire.resume_reading()
        self._close_in(_CLOSING_SECONDS)
        self._resource.sessions.lingering.add(self)

    def replaced(self) -> None:
        """Never happens: a WebSocket has no URL by which another could take over."""
        self.abort()

    def abort(self) -> None:
        """Close the TCP connection at once, unless last words are on their way."""
        self._session = None
        if not self._is_lost:
            self._give_up()


def _has_several(message: str) -> bool:
    """Whether more than one frame is in a message: behind the one that is being handled there may be others."""
    frames = proto.iter_decode(message)
    try:
        return next(frames, None) is not None and next(frames, None) is not None
    except ProtocolError:
        return True
