"""A WebSocket connection after the request of its handshake: opens a session, and is the session's channel.

Bytes from the :class:`~tornadio.net.wire.Wire` go through a :class:`~tornadio.websocket.framer.Framer` to the session.
Messages are handled one after another. While a handler runs in a task, a little is read ahead: so pings are answered,
and a close frame is seen. Payloads of the session are framed and written; how much may wait for a slow client is
bounded by the session's queue.
"""

import asyncio
import operator
from collections.abc import Iterator
from typing import Final

from tornado.httputil import HTTPServerRequest

from tornadio import proto
from tornadio.closecodes import CONNECTION_BROKE, MESSAGE_FAILED, NO_CLOSE_FRAME, Cause
from tornadio.errors import HandlerError, PeerError, ProtocolError
from tornadio.framing import each_encoder, shared_each_encoder
from tornadio.logs import get_logger
from tornadio.net.linger import close_after
from tornadio.net.wire import Wire
from tornadio.sessions.outbox import Payload
from tornadio.sessions.persistent import PersistentSession
from tornadio.transports.endpoint import Endpoint
from tornadio.transports.opening import open_session
from tornadio.transports.responses import log_refused
from tornadio.transports.wirechannel import WireChannel
from tornadio.websocket import hixie, rfc6455
from tornadio.websocket.framer import ServerFramer

logger = get_logger(__name__)

# Seconds for the 8 bytes of the body of a draft-76 handshake, which clients send at once, and some proxies pass on only
# after the 101.
_KEY3_TIMEOUT: Final = 10.0
# Seconds for the peer's close frame in reply to ours, as many as a lingering close has. Then the TCP connection is
# closed.
_CLOSE_TIMEOUT: Final = 5.0
# Bytes that are read ahead while a handler is at work. With more, reading is paused until its messages were handled.
_READ_AHEAD: Final = 1 << 16


class _Handshake:
    """The state of a channel until its session is open.

    :ivar keys: the numbers of a draft-76 handshake, until its body was received.
    :ivar early_data: bytes that were received and not parsed yet.
    :ivar session: the session, while its ``on_open`` runs.
    """

    __slots__ = ("early_data", "extra", "keys", "request", "session", "version")

    def __init__(self, keys: tuple[int, int] | None, request: HTTPServerRequest, extra: str, version: str) -> None:
        self.keys = keys
        self.request = request
        self.extra = extra
        self.version = version
        self.early_data = b""
        self.session: PersistentSession | None = None


class WebSocketChannel(WireChannel):
    """A WebSocket connection from its handshake on: the wire's receiver and the session's channel.

    The channel refers to its session until the connection is lost, or longer: until the messages that were received
    before were handled.
    """

    __slots__ = (
        "__weakref__",
        "_bytes_ahead",
        "_cause",
        "_continue_scheduled",
        "_current_message",
        "_endpoint",
        "_framer",
        "_handshake",
        "_is_released",
        "_json",
        "_max_message_size",
        "_messages_ahead",
        "_pending_messages",
        "_pong_pending",
        "_session",
        "_timer",
        "_transport",
    )

    def __init__(self, wire: Wire, framer: ServerFramer, endpoint: Endpoint, transport: str) -> None:
        encode = framer.encode_text
        if endpoint.settings.one_frame_per_message:
            encode = (shared_each_encoder if framer.is_encoding_shared else each_encoder)(encode)
        super().__init__(wire, encode)
        self._framer = framer
        self._endpoint = endpoint
        self._max_message_size = endpoint.settings.max_message_size
        self._json = endpoint.settings.json
        self._transport = transport
        self._session: PersistentSession | None = None
        self._handshake: _Handshake | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cause = CONNECTION_BROKE  # how the connection was lost
        self._is_released = False  # the connection is lost, or a lingering close has taken it over
        self._continue_scheduled = False
        self._pong_pending = False
        self._bytes_ahead = 0  # that came while a handler was at work, until their messages were handled
        self._current_message = ""  # while its handler runs in a task
        self._pending_messages: Iterator[str | bytes] | None = None  # behind that one, or behind on_open
        self._messages_ahead: list[str | bytes] | None = None  # behind those

    def __str__(self) -> str:
        return str(self._session or self._transport)

    # -- Handshake -----------------------------------------------------------------------------------------------

    def start(
        self, head: bytes, keys: tuple[int, int] | None, request: HTTPServerRequest, extra: str, version: str = ""
    ) -> None:
        """Finish the handshake and open the session.

        :param head: the 101. With RFC 6455 and an ``on_open`` that is no coroutine it is sent with the first frame, in
            one piece. Clients of the drafts 75 and 76 may not expect a frame in its packet.
        :param keys: the numbers of a draft-76 handshake.
        :param request: for ``on_open``, as is ``extra``.
        :param version: of the protocol, for the session's counters.
        """
        self._head = head
        self._handshake = _Handshake(keys, request, extra, version)
        if not isinstance(self._framer, rfc6455.Framer):
            self.write_head()
        self._wire.start(self)
        if keys is None:
            self._open(self._handshake)
        else:
            self._start_timeout(_KEY3_TIMEOUT)

    def _handshake_data_received(self, handshake: _Handshake, data: bytes) -> None:
        """Buffer bytes that come before the session is open: key3, and frames, which have to wait for ``on_open``."""
        handshake.early_data += data
        if handshake.keys is not None:
            key3, rest = handshake.early_data[: hixie.KEY3_LENGTH], handshake.early_data[hixie.KEY3_LENGTH :]
            if len(key3) == hixie.KEY3_LENGTH:
                self._wire.write(hixie.challenge_response(*handshake.keys, key3))
                handshake.keys, handshake.early_data = None, rest
                self._open(handshake)

    def _open(self, handshake: _Handshake) -> None:
        self._stop_timer()
        # What a client sends while on_open runs stays in the socket, and is bounded by its buffer.
        self._wire.pause_reading()
        opening = open_session(
            self._endpoint,
            PersistentSession,
            self._transport,
            handshake.request,
            handshake.extra,
            self._on_opened,
            handshake.version,
        )
        if opening is not None:
            handshake.session = opening.session
            self.write_head()

    def _on_opened(self, outcome: PersistentSession | PeerError) -> None:
        if isinstance(outcome, PeerError):
            if not self._is_finished:
                self._refuse(outcome)
            return
        handshake, self._handshake = self._handshake, None
        self._session = outcome
        if handshake is None:  # the connection was lost: its messages are still handled
            outcome.attach(self)
            self._dispatch_pending()
            return
        self._wire.resume_reading()
        outcome.attach(self)
        self.write_head()  # where there was nothing to send with it
        if self._framer.is_encoding_shared:
            outcome.write_directly(self._wire, self._encode)
        if handshake.early_data:
            self.data_received(handshake.early_data)

    # -- From the client -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse bytes from the client, and dispatch their messages; see :class:`tornadio.net.wire.Receiver`."""
        session = self._session
        if self._handshake is not None:
            self._handshake_data_received(self._handshake, data)
            return
        if self._pending_messages is not None and session is not None:
            self._receive_ahead(session, data)
            return
        framer = self._framer
        messages = framer.feed(data)
        if session is not None:
            session.frames_this_tick = 0
            session.bytes_in += len(data)  # from here on as record_received(), without a call
            session.last_received = session.registry.time()
        if framer.has_data_to_send and not framer.closed:
            self._send_pongs()
        self._dispatch(iter(messages))

    def connection_lost(self, error: BaseException | None) -> None:
        """End the session once the received messages were handled; see :class:`tornadio.net.wire.Receiver`."""
        logger.debug("%s: the connection has gone", self)
        self._cause = NO_CLOSE_FRAME if error is None else CONNECTION_BROKE
        if self._has_pending_messages() and self._session is not None:
            self._session.client_left(*self._lost_by())
            self._release()
            self._wire.close()
            return
        opening = self._handshake.session if self._handshake is not None else None
        self._close_now()
        if opening is not None:
            opening.abort(*self._lost_by())

    def _has_pending_messages(self) -> bool:
        """Whether messages, received before the connection was lost, wait for the end of a handler that runs."""
        handshake = self._handshake
        if handshake is not None and handshake.session is not None:
            self._session = handshake.session
            self._pending_messages = iter(self._framer.feed(handshake.early_data))
        elif self._session is None:
            return False
        return (  # length_hint() of a list's iterator is the exact rest, and of None it is 0
            self._framer.has_more
            or operator.length_hint(self._pending_messages) > 0
            or bool(self._messages_ahead)
            or _has_several(self._current_message)
        )

    def _receive_ahead(self, session: PersistentSession, data: bytes) -> None:
        """Parse bytes that come while a handler is at work; their messages wait behind those that wait already."""
        framer = self._framer
        messages = framer.feed(data)
        session.record_received(len(data))
        if framer.has_data_to_send and not framer.closed and not self._is_released:
            self._send_pongs()
        self._bytes_ahead += max(len(data), sum(map(len, messages)))  # the latter if they were compressed
        if self._messages_ahead is None:
            self._messages_ahead = messages
        else:
            self._messages_ahead += messages
        self._limit_reading(session)

    def _limit_reading(self, session: PersistentSession) -> None:
        """Pause reading if no more is to be read ahead: the client has closed, or much waits already."""
        framer = self._framer
        if framer.peer_close is not None:
            session.client_left(*self._lost_by())
        if framer.closed or framer.has_more or self._bytes_ahead > _READ_AHEAD:
            self._wire.pause_reading()

    def _dispatch(self, messages: Iterator[str | bytes]) -> None:
        """Pass messages to the session, until a handler runs in a task: then the rest waits."""
        try:
            for message in messages:
                session = self._session
                if session is None:
                    continue  # the session has ended: discard what the client sent meanwhile
                if not isinstance(message, str):
                    raise ProtocolError("binary messages are not part of Socket.IO 0.6", close_code=1003)
                handling = session.receive(proto.iter_decode(message, self._max_message_size, self._json))
                if not isinstance(handling, bool):
                    self._current_message, self._pending_messages = message, messages
                    handling.add_done_callback(self._on_dispatched)
                    framer = self._framer
                    if framer.closed or framer.has_more or self._bytes_ahead:
                        self._limit_reading(session)
                    return
        except HandlerError:
            self._dispatch(messages)  # the session has logged it, and is closing
        except PeerError as error:
            self._fail(error)
        else:
            if self._framer.has_more:
                self._continue_soon()
            elif self._framer.closed:
                self._on_framer_closed()

    def _on_dispatched(self, handling: "asyncio.Task[bool]") -> None:
        error = None if handling.cancelled() else handling.exception()
        self._current_message = ""
        if self._is_finished:
            return
        if handling.cancelled():
            self._cause = MESSAGE_FAILED
            self._close_now()
        elif isinstance(error, PeerError) and not isinstance(error, HandlerError):
            self._fail(error)
        else:
            self._dispatch_pending()

    def _dispatch_pending(self) -> None:
        """Dispatch the messages that waited for the end of a handler, and read on."""
        messages = self._forget_pending()
        self._wire.resume_reading()
        self._dispatch(messages)
        if self._pending_messages is None:
            self._bytes_ahead = 0
        self._close_if_lost()

    def _forget_pending(self) -> Iterator[str | bytes]:
        """Return the messages that have waited, which are to be dispatched now."""
        messages, self._pending_messages = self._pending_messages, None
        assert messages is not None
        if self._messages_ahead is not None:
            messages, self._messages_ahead = iter([*messages, *self._messages_ahead]), None
        return messages

    def _continue_soon(self) -> None:
        """Parse the rest of many frames in the next iteration of the loop; reading is paused until then."""
        self._wire.pause_reading()
        if not self._continue_scheduled:
            self._continue_scheduled = True
            asyncio.get_running_loop().call_soon(self._continue)

    def _continue(self) -> None:
        self._continue_scheduled = False
        if not self._is_finished and (self._pending_messages is None or self._session is None):
            self.data_received(b"")
            if not self._continue_scheduled and (self._pending_messages is None or self._session is None):
                self._wire.resume_reading()
            self._close_if_lost()

    @property
    def _is_finished(self) -> bool:
        """Whether the connection is lost, and all messages were handled that were received before."""
        return self._is_released and self._session is None

    def _close_if_lost(self) -> None:
        """End the session of a lost connection once its last message was handled."""
        if (
            self._is_released
            and self._session is not None
            and self._pending_messages is None
            and not self._framer.has_more
        ):
            self._close_now()

    def _send_pongs(self) -> None:
        """Send pongs, now or when the socket has room; the framer bounds those that wait."""
        if self._framer.closed or self._pong_pending:
            return
        # An empty write returns the future of what is being written: pongs are not queued behind a slow peer's frames.
        flushed = self._wire.write(b"") if self._wire.is_writing else None
        if flushed is None:
            self._wire.write(self._framer.data_to_send())
        else:
            self._pong_pending = True
            flushed.add_done_callback(self._on_flushed)

    def _on_flushed(self, flushed: "asyncio.Future[None]") -> None:
        self._pong_pending = False
        if not self._is_released:
            self._send_pongs()

    # -- Ends ----------------------------------------------------------------------------------------------------

    def _refuse(self, error: PeerError) -> None:
        """Close the connection, whose session did not open."""
        self._endpoint.sessions.counters.count_refusal(error)
        if self._handshake is not None and not error.is_logged:
            request = self._handshake.request
            log_refused(error.close_code, str(request.method), str(request.uri), str(request.remote_ip), error)
        self._close_with(error)

    def _fail(self, error: PeerError) -> None:
        """Fail the WebSocket connection (RFC 6455, section 7.1.7)."""
        logger.info("%s: closed: %s", self, error)
        self._close_with(error)

    def _close_with(self, error: PeerError) -> None:
        """Close the connection with a close frame that says why."""
        session, self._session = self._session, None
        if session is not None:
            session.flush(session.registry.time())  # what the handlers of the messages before the error have sent
        close_frame = self._framer.close(error.close_code, str(error))
        if not self._is_released:
            self.write_head()
            self._release()
            close_after(self._wire, close_frame, self._endpoint.sessions.lingering)
        if session is not None:
            session.channel_lost(self, error.close_code, str(error))

    def _on_framer_closed(self) -> None:
        """Close the connection: the framer has parsed the peer's close frame, or has failed."""
        if self._is_released:
            self._close_now()
        elif self._framer.error is not None:
            self._fail(self._framer.error)
        else:
            self._on_close_frame()

    def _on_close_frame(self) -> None:
        """Reply to the peer's close frame, unless ours was sent before, and close the connection.

        The server closes TCP first (RFC 6455, section 7.1.1): the client is waiting for that.
        """
        close_frame = self._framer.data_to_send()
        flushed = self._wire.write(close_frame) if close_frame or self._wire.is_writing else None
        session, self._session = self._session, None
        if flushed is None:
            self._close_now()
        else:
            self._release()
            close_after(self._wire, b"", self._endpoint.sessions.lingering)
        if session is not None:
            session.channel_lost(self, *self._lost_by())

    def _release(self) -> None:
        """Drop handshake, timer and registration: the connection is lost, or a lingering close takes over."""
        self._is_released = True
        self._handshake = None
        self._stop_timer()
        self._endpoint.sessions.lingering.discard(self)

    def _start_timeout(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._close_now)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_now(self) -> None:
        """Close the TCP connection at once, and tell the session that its channel is lost."""
        self._release()
        self._wire.close()
        session, self._session = self._session, None
        if session is not None:
            session.channel_lost(self, *self._lost_by())

    def _lost_by(self) -> Cause:
        """Why the connection has ended: what its last frame says, or else how it was lost."""
        framer = self._framer
        if framer.error is not None:
            return Cause(framer.error.close_code, str(framer.error))
        return framer.peer_close or self._cause

    # -- The session's channel -----------------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and wait up to 5 s for the peer's (RFC 6455, section 7.1.2)."""
        if self._session is None:
            return  # the connection was lost before
        if self._framer.peer_close is not None and not self._is_released:
            self._on_close_frame()  # read ahead: the peer was first
            return
        self._session = None
        if self._is_released:
            return
        self.write_head()
        self._wire.write(self._framer.close(code, reason))
        self._wire.resume_reading()  # for the peer's close frame: a handler that still runs may have had reading paused
        self._start_timeout(_CLOSE_TIMEOUT)
        self._endpoint.sessions.lingering.add(self)

    def replaced(self) -> None:
        """Close the connection: a WebSocket's URL names no session, so that no other channel can take over from it."""
        self.abort()

    def abort(self) -> None:
        """Close the TCP connection at once, unless a lingering close has begun."""
        self._session = None
        if not self._is_released:
            self._close_now()


class ContextTakeoverChannel(WebSocketChannel):
    """A WebSocket whose messages are compressed with those before them in view: its frames are no other's."""

    __slots__ = ()

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        data = self._encode(payload.utf8)
        if self._head:
            data, self._head = self._head + data, b""
        return self._wire.write(data)


def _has_several(message: str) -> bool:
    """Whether a message holds more than one frame: the first may be handled by now, others wait behind it."""
    frames = proto.iter_decode(message)
    try:
        return next(frames, None) is not None and next(frames, None) is not None
    except ProtocolError:
        return True
