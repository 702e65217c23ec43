"""A client's connection, whatever carries it: messages out and in, heartbeats, silence, and how it ends.

The application holds a :class:`~tornadio.client.connection.ClientConnection`, which passes on what it is asked;
payloads come from a :class:`Channel` and go to it.
"""

import asyncio
import collections
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, Final, Literal, Protocol

from tornadio import proto
from tornadio.client.options import Options
from tornadio.client.outbox import Outbox
from tornadio.client.response import quoted
from tornadio.closecodes import Cause, check_close
from tornadio.errors import ConnectError, ConnectionClosed, ProtocolError
from tornadio.logs import get_logger

logger = get_logger(__name__)

# With so much waiting to be received no more is read, until all of it was received.
_MAX_MESSAGES: Final = 4096
_MAX_CHARACTERS: Final = 1 << 20
# Frames of one payload that are decoded in one iteration of the event loop, about a millisecond. Payloads that can't
# hold many more are not counted: a frame has 7 characters at least.
_MAX_FRAMES: Final = 1000
_SHORT_PAYLOAD: Final = 8 * _MAX_FRAMES

_LEFT: Final = Cause(1001, "")  # the block of ``async with`` was left by an exception
_MAX_SESSION_ID: Final = 128  # characters


class Channel(Protocol):
    """What carries a connection's payloads: a WebSocket, or polls, or a stream, and POSTs."""

    def write(self, message: Any, payload: str) -> bool:
        """Send a message at once, while none waits in the outbox; ``False`` if it has to wait there."""

    def wake(self) -> None:
        """Send what is in the outbox."""

    def send_heartbeat(self, payload: str) -> None:
        """Send the echo of a heartbeat, before all messages that wait."""

    def pause_reading(self) -> None:
        """Receive no more payloads, but for those that are under way."""

    def resume_reading(self) -> None:
        """Receive payloads again."""

    async def close(self, code: int, reason: str) -> None:
        """Tell the server that the connection ends, and wait for its answer, as far as the transport has these."""

    def fail(self, cause: Cause) -> None:
        """Tell the server what was wrong with what it has sent, and end the connection."""

    def abort(self, code: int) -> None:
        """End the connection at once; tell the server the code if that needs no waiting."""

    async def wait_closed(self) -> None:
        """Wait until nothing of the connection is left: no socket, no task."""


class ClientSession:
    """The state of a connection, and its messages.

    :param transport: the name of the transport that the channel has.
    :param outbox: what the channel is to send.
    :ivar session_id: what the server's first frame has said, if that is one.
    :ivar messages: that were received.
    """

    def __init__(self, options: Options, transport: str, outbox: Outbox) -> None:
        self.transport = transport
        self.session_id: str | None = None
        self.messages: collections.deque[Any] = collections.deque()
        self._loop = asyncio.get_running_loop()
        self._json = options.json
        self._trace = options.trace
        self._max_message_size = options.max_message_size
        self._silence_timeout = options.silence_timeout
        self._close_timeout = options.close_timeout
        self._outbox = outbox
        self._channel: Channel | None = None
        self._closing: Cause | None = None  # what close() was called with
        self._cause: Cause | None = None
        self._unsent: tuple[Any, ...] = ()
        self._awaits_id = options.first_frame == "session_id"  # the next frame is the session id
        self._opening: asyncio.Future[None] | None = self._loop.create_future() if self._awaits_id else None
        # The rest of a payload with very many frames, and the payloads behind it.
        self._frames: Iterator[tuple[str, Any]] | None = None
        self._payloads: collections.deque[str] = collections.deque()
        self._characters = 0  # received since all messages were taken
        self._is_paused = self._is_decoding = False
        self._waiters: collections.deque[asyncio.Future[None]] = collections.deque()
        self._last_heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def __str__(self) -> str:
        return f"{self.transport} {self.session_id[:8]}..." if self.session_id else self.transport

    @property
    def cause(self) -> Cause | None:
        """Why the connection has ended, ``None`` while it has not."""
        return self._cause

    @property
    def unsent(self) -> tuple[Any, ...]:
        """The messages that were not handed over to the server."""
        return self._unsent if self._cause is not None else tuple(self._outbox.messages())

    # -- Sending ---------------------------------------------------------------------------------------------------

    async def send(self, message: Any) -> None:
        """Send a message; see :meth:`tornadio.client.connection.ClientConnection.send`."""
        await self.send_payload(message, proto.encode(message, self._json))

    async def send_payload(self, message: Any, payload: str) -> None:
        """Send a payload.

        :param message: what it was made of, for :attr:`unsent`.
        """
        if not self._outbox.has_room:
            await self.wait_for_room()
        self.put(message, payload)

    @property
    def has_room(self) -> bool:
        """Whether a message may be sent without waiting."""
        return self._outbox.has_room

    async def wait_for_room(self) -> None:
        """Wait until a message may be sent, or the connection has ended."""
        if self._closing is None and self._cause is None and not self._outbox.has_room:
            await self._outbox.wait_for_room()

    def put(self, message: Any, payload: str) -> None:
        """Send a payload, however much waits: for who has waited, or waits next.

        :raises ConnectionClosed: the connection has ended.
        """
        if self._closing is not None or self._cause is not None:
            raise self._closed_error()
        outbox, channel = self._outbox, self._channel
        assert channel is not None
        if payload and not (outbox.is_empty and channel.write(message, payload)):
            outbox.put(message, payload)
            channel.wake()

    async def flush(self) -> None:
        """Wait until all messages were handed over.

        :raises ConnectionClosed: the connection has ended before.
        """
        if not await self._outbox.wait_sent():
            raise self._closed_error()

    # -- Receiving -------------------------------------------------------------------------------------------------

    async def receive(self) -> Any:
        """Remove and return the next message; wait for it.

        :raises ConnectionClosed: the connection has ended, and there are no messages any more.
        """
        messages = self.messages
        while not messages:
            await self.wait_for_message()
        message = messages.popleft()
        if not messages:
            self.emptied()
        return message

    @property
    def characters(self) -> int:
        """The characters of the payloads that were received since the last message was taken."""
        return self._characters

    def emptied(self) -> None:
        """Note that the last message was taken."""
        self._characters = 0
        if self._is_paused:
            self._resume()

    async def wait_for_message(self) -> None:
        """Wait until a message was received, which another task may take first.

        :raises ConnectionClosed: the connection has ended, and there are no messages any more.
        """
        if self._cause is not None and not self._has_undecoded:
            raise self._closed_error()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with contextlib.suppress(ValueError):  # a message came meanwhile, and _wake has passed this one over
                    self._waiters.remove(waiter)
            else:
                self._wake()  # this task was woken for a message that another one has to take now
            raise

    def _wake(self) -> None:
        """Wake as many calls of :meth:`recv` as there are messages; at the end all of them."""
        waiters = self._waiters
        number = len(waiters) if self._cause is not None else len(self.messages)
        while waiters and number > 0:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                number -= 1

    # -- From the channel ------------------------------------------------------------------------------------------

    def heard(self) -> None:
        """Note that the server has sent something, be it half a payload."""
        self._last_heard = self._loop.time()

    def payload_received(self, payload: str) -> None:
        """Decode a payload: its messages can be received, its heartbeats are echoed."""
        if self._trace is not None:
            self.trace("in", payload)
        if self._is_paused and self._closing is not None:
            return  # too much waits to be received for what comes during close(), which has to read on
        if self._has_undecoded:
            self._payloads.append(payload)
            return
        frames = proto.iter_decode(payload, self._max_message_size, self._json)
        if self._awaits_id and not self._receive_id(payload, frames):
            return
        self._characters += len(payload)
        if len(payload) < _SHORT_PAYLOAD:
            self._decode(frames)
        else:
            self._frames = frames
            self._decode_on()
        if self._waiters:
            self._wake()
        if self._frames is not None:
            self._pause()
        elif not self.messages:
            self._characters = 0
        elif self._characters > _MAX_CHARACTERS or len(self.messages) > _MAX_MESSAGES:
            self._pause()

    def _decode(self, frames: Iterator[tuple[str, Any]]) -> int:
        """Decode frames, and return how many that were."""
        messages, number = self.messages, 0
        try:
            for kind, message in frames:
                number += 1
                if kind == proto.FRAME:
                    messages.append(message)
                else:
                    self._echo(message)
        except ProtocolError as error:
            self._frames = None
            self._payloads.clear()
            self._fail(Cause(error.close_code, str(error)))
            return 0
        return number

    def _decode_on(self) -> None:
        """Decode some of the frames that wait, unless many messages wait to be received; the next ones in the next
        iteration of the loop.
        """
        self._is_decoding = False
        if self._frames is None and self._payloads:
            self._frames = proto.iter_decode(self._payloads.popleft(), self._max_message_size, self._json)
        if self._frames is not None:
            if len(self.messages) > _MAX_MESSAGES:
                return  # until these were received
            if self._decode(itertools.islice(self._frames, _MAX_FRAMES)) < _MAX_FRAMES:
                self._frames = None
        if self._waiters:
            self._wake()
        if self._has_undecoded:
            self._decode_soon()
        elif not self.messages:
            self.emptied()

    @property
    def _has_undecoded(self) -> bool:
        """Whether frames were received that were not decoded yet."""
        return self._frames is not None or len(self._payloads) > 0

    def _decode_soon(self) -> None:
        if not self._is_decoding:
            self._is_decoding = True
            self._loop.call_soon(self._decode_on)

    def _pause(self) -> None:
        if not self._is_paused and self._channel is not None:
            self._is_paused = True
            if self._closing is None:  # else it has to read on
                self._channel.pause_reading()

    def _resume(self) -> None:
        """Go on after all messages were received: decode what waits for that, or read on."""
        if self._has_undecoded:
            self._decode_soon()
        elif self._is_paused and self._channel is not None:
            self._is_paused = False
            self.heard()  # silence during the pause was of this side's making
            self._channel.resume_reading()

    def _echo(self, number: str) -> None:
        if self._channel is not None and self._cause is None:
            self._channel.send_heartbeat(proto.encode_heartbeat(number))

    def trace(self, direction: Literal["in", "out"], payload: str) -> None:
        """Call the program's function for a payload."""
        if self._trace is not None:
            try:
                self._trace(direction, payload)
            except Exception:  # it must not end a connection
                logger.exception("%s: trace failed", self)

    # -- Beginning -------------------------------------------------------------------------------------------------

    def attach(self, channel: Channel) -> None:
        """Begin: payloads come from this channel, and go to it."""
        self._channel = channel
        self._last_heard = self._loop.time()
        self._timer = self._loop.call_later(self._silence_timeout, self._check_silence)

    async def wait_open(self) -> None:
        """Wait for the session id, where one is expected.

        :raises ConnectError: the first frame is none, or the connection has ended before it.
        """
        if self._opening is not None:
            try:
                await self._opening
            finally:
                self._opening = None

    def _receive_id(self, payload: str, frames: Iterator[tuple[str, Any]]) -> bool:
        """Take the session id, which is the first frame.

        :returns: whether it was there; the frames behind it are still to be decoded.
        """
        reason, first = "", None
        try:
            for kind, first in frames:
                if kind == proto.FRAME:
                    break
                self._echo(first)
            else:
                reason = "the server's first payload is empty: it has no session id"
        except ProtocolError as error:
            reason = f"the server's first payload is none of Socket.IO 0.6: {error}"
            if payload.startswith(("0{", "1::")) or (payload[:1].isdigit() and ':0{"' in payload[:20]):
                reason += "; this seems to be a server of a later Socket.IO, which needs a client of that version"
        if not reason and not _is_session_id(first):
            reason = f"the server's first frame is no session id, but {quoted(ascii(first))}"
            if self.transport == "websocket":
                reason += "; to receive it as a message, say first_frame='message'"
        self._awaits_id = False
        if not reason:
            self.session_id = first
            self._opened(None)
            return True
        self._opened(ConnectError(reason, is_permanent=True))
        self._fail(Cause(1002, "no session id"))
        return False

    def _opened(self, error: ConnectError | None) -> None:
        opening = self._opening
        if opening is None or opening.done():
            return
        if error is None:
            opening.set_result(None)
        else:
            opening.set_exception(error)
            opening.exception()  # retrieved: nobody waits for it if the task that opens was cancelled

    def open_failed(self, error: ConnectError) -> None:
        """Note that the connection could not be opened."""
        self._opened(error)
        self.ended(Cause(1006, str(error)))

    # -- End -------------------------------------------------------------------------------------------------------

    def ended(self, cause: Cause) -> None:
        """Note that the connection has ended; only the first cause counts."""
        if self._cause is not None:
            return
        self._cause = cause
        self._unsent = tuple(self._outbox.messages())
        self._outbox.end()
        if self._timer is not None:
            self._timer.cancel()
        self._opened(_ended_early(cause))
        if not self._has_undecoded:
            self._wake()

    def _fail(self, cause: Cause) -> None:
        if self._cause is None and self._channel is not None:
            self._channel.fail(cause)

    def _check_silence(self) -> None:
        now = self._loop.time()
        due = self._silence_timeout + (now if self._is_paused else self._last_heard)
        if now < due:
            self._timer = self._loop.call_at(due, self._check_silence)
            return
        self.ended(Cause(1006, f"silence: nothing was received for {self._silence_timeout:g} s (silence_timeout)"))
        if self._channel is not None:
            self._channel.abort(1006)

    async def close(self, code: int, reason: str) -> None:
        """Send what waits, and close; see :meth:`tornadio.client.connection.ClientConnection.close`."""
        check_close(code, reason)
        channel = self._channel
        assert channel is not None
        if self._cause is None and self._closing is None:
            self._closing = Cause(code, reason)
            try:
                async with asyncio.timeout(self._close_timeout):
                    await self._outbox.wait_sent()
                    await channel.close(code, reason)
            except TimeoutError:
                pass
            finally:
                self.ended(self._closing)
                channel.abort(code)
        await channel.wait_closed()

    def leave(self) -> None:
        """Close at once, without waiting for anything."""
        if self._channel is not None:
            self.ended(self._closing or _LEFT)
            self._channel.abort(_LEFT.code)

    async def wait_closed(self) -> None:
        """Wait until nothing of the connection is left."""
        assert self._channel is not None
        await self._channel.wait_closed()

    def _closed_error(self) -> ConnectionClosed:
        cause = self._cause or self._closing
        assert cause is not None
        return ConnectionClosed(cause.code, cause.reason, self._unsent)


def _is_session_id(frame: Any) -> bool:
    """Whether a frame may be a session id: those of servers are digits and letters, what begins as JSON is none."""
    return (
        isinstance(frame, str)
        and 0 < len(frame) <= _MAX_SESSION_ID
        and frame.isprintable()
        and not frame.startswith(("{", "["))
    )


def _ended_early(cause: Cause) -> ConnectError:
    """Return the error for a connection that has ended before its first frame."""
    if cause.code in (1005, 1006):
        return ConnectError(f"the connection ended before the first frame: {cause.reason}")
    return ConnectError(
        f"the server closed the connection before the first frame, with code {cause.code}: {cause.reason}",
        text=cause.reason,
        is_permanent=cause.code == 1008,  # policy violation (RFC 6455, section 7.4.1): on_open has refused
    )
