"""One client of a server that a test runs by hand."""

import asyncio
import collections
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from tornado.httputil import HTTPServerRequest

from tornadio import proto
from tornadio.closecodes import CONNECTION_BROKE, NO_CLOSE_FRAME, Cause
from tornadio.errors import ConnectionClosed, ProtocolError
from tornadio.net.linger import LingeringCloses, close_after
from tornadio.net.wire import Wire
from tornadio.websocket.framer import Framer

# Seconds for a client to do what a test waits for.
TIMEOUT: Final = 10.0
_MAX_QUOTED: Final = 1000  # characters


class Peer:
    """One client of a manual server, from the end of its handshake on.

    Waiting takes ``timeout`` seconds at most, 10 by default, then raises :exc:`TimeoutError`. After the end of the
    connection, :exc:`tornadio.errors.ConnectionClosed` is raised where something was still to come.

    :ivar request: the handshake: path, headers, cookies.
    :ivar session_id: the id that was sent as the first frame; empty with another greeting.
    :ivar received: all payloads that have come from the client, WebSocket messages, in their order.
    :ivar heartbeats_sent: their number.
    :ivar heartbeats_answered: how many of them the client has echoed.
    :ivar close_code: that of the client's close frame, 1005 where it has none, 1006 if the connection ended without a
        close frame; ``None`` while it is open.
    :ivar close_reason: the reason beside it.
    """

    def __init__(
        self,
        wire: Wire,
        framer: Framer,
        fd: int,
        request: HTTPServerRequest,
        json: proto.JSONFormat,
        lingering: LingeringCloses,
        on_end: Callable[["Peer"], None],
    ) -> None:
        self.request = request
        self.session_id = ""
        self.received: list[str | bytes] = []
        self.heartbeats_sent = 0
        self.heartbeats_answered = 0
        self.close_code: int | None = None
        self.close_reason = ""
        self._wire = wire
        self._framer = framer
        self._json = json
        self._lingering = lingering
        self._on_end = on_end
        self._fd = fd
        self._payloads: collections.deque[str | bytes] = collections.deque()  # that nobody has received
        self._messages: collections.deque[Any] = collections.deque()  # of the last payload
        self._unanswered: list[str] = []
        self._other_answers: list[str] = []
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.uri}, {'open' if self.close_code is None else 'closed'}>"

    # -- To the client -------------------------------------------------------------------------------------------

    def send(self, message: Any) -> None:
        """Send a message in frames, as :meth:`tornadio.SocketConnection.send` does, in a WebSocket message of its own.

        :raises tornadio.errors.EncodeError: the message can't be sent.
        """
        self.send_raw(proto.encode(message, self._json))

    def send_raw(self, payload: str) -> None:
        """Send text as it is, without framing, in a WebSocket message of its own. Heartbeats in it count.

        :raises tornadio.errors.ConnectionClosed: the connection has ended.
        """
        self._check_open()
        with contextlib.suppress(ProtocolError):
            for each in proto.parse(payload, self._json):
                if isinstance(each, proto.Heartbeat):
                    self.heartbeats_sent += 1
                    self._unanswered.append(each.number)
        self.write(self._framer.encode(payload))

    def write(self, data: bytes) -> None:
        """Send bytes as they are, without WebSocket's framing.

        :raises tornadio.errors.ConnectionClosed: the connection has ended.
        """
        self._check_open()
        self._wire.write(data)

    async def heartbeat(self, timeout: float = TIMEOUT) -> None:
        """Send a heartbeat, and wait until the client has echoed it.

        :raises TimeoutError: it has not; the message says what it has sent instead.
        :raises tornadio.errors.ConnectionClosed: the connection has ended before.
        """
        number = str(self.heartbeats_sent + 1)
        self.send_raw(proto.encode_heartbeat(number))
        await self._wait(lambda: number not in self._unanswered, timeout, lambda: self._about_heartbeat(number))

    def _about_heartbeat(self, number: str) -> str:
        other = f"; it has sent the heartbeats {', '.join(self._other_answers)}" if self._other_answers else ""
        return f"the client has not answered heartbeat {number}{other}"

    # -- From the client -----------------------------------------------------------------------------------------

    async def recv(self, timeout: float = TIMEOUT) -> Any:
        """Return the client's next message: a text, or the object that was sent as JSON. Heartbeats are not returned.

        :raises tornadio.errors.ProtocolError: what the client has sent breaks the protocol; the message says how.
        :raises TimeoutError: no message has come.
        :raises tornadio.errors.ConnectionClosed: the connection has ended, and no message is left.
        """
        while not self._messages:
            payload = await self._next_payload(timeout, "message")
            if isinstance(payload, bytes):
                raise ProtocolError("the client has sent a binary WebSocket message, which 0.6 does not know")
            self._decode(payload)
        return self._messages.popleft()

    async def recv_raw(self, timeout: float = TIMEOUT) -> str | bytes:
        """Return the client's next payload as it came, heartbeats included: ``bytes`` if it was binary. Messages that
        :meth:`recv` has left of the one before are dropped.

        :raises TimeoutError: none has come.
        :raises tornadio.errors.ConnectionClosed: the connection has ended, and none is left.
        """
        self._messages.clear()
        return await self._next_payload(timeout, "payload")

    async def _next_payload(self, timeout: float, what: str) -> str | bytes:
        await self._wait(lambda: self._payloads, timeout, lambda: f"the client has sent no {what}")
        return self._payloads.popleft()

    def _decode(self, payload: str) -> None:
        try:
            parsed = list(proto.parse(payload, self._json))
        except ProtocolError as error:
            error.add_note(f"The client's payload: {payload[:_MAX_QUOTED]!r}")
            raise
        for each in parsed:
            if isinstance(each, proto.TextMessage):
                self._messages.append(each.text)
            elif isinstance(each, proto.JSONMessage):
                self._messages.append(each.value)

    async def _wait(self, condition: Callable[[], object], timeout: float, about: Callable[[], str]) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    if self.close_code is not None:
                        raise ConnectionClosed(self.close_code, self.close_reason)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"{about()} within {timeout:g} s") from None

    def pause_reading(self) -> None:
        """Read nothing more, as a server that hangs: the client's messages fill the buffers of TCP, pings included."""
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._wire.resume_reading()

    # -- Ends ----------------------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self.close_code is not None

    async def wait_closed(self, timeout: float = TIMEOUT) -> None:
        """Wait until the connection has ended."""
        with contextlib.suppress(ConnectionClosed):
            await self._wait(lambda: False, timeout, lambda: "the client has not closed the connection")

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame. The connection ends when the client answers it: see :meth:`wait_closed`.

        :param code: any, also one that no server may send.
        :raises tornadio.errors.ConnectionClosed: the connection has ended.
        """
        self.write(self._framer.close(code, reason))

    def drop(self, *, reset: bool = False) -> None:
        """End the TCP connection at once, without a close frame.

        :param reset: by a RST; else by a FIN, as for a server process that ends.
        """
        if self.close_code is not None:
            return
        if reset:
            with socket.socket(fileno=os.dup(self._fd)) as duplicate:  # which has the options of the same socket
                duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._wire.close()
        self._end(Cause(1006, "dropped by the test"))

    def _check_open(self) -> None:
        if self.close_code is not None:
            raise ConnectionClosed(self.close_code, self.close_reason)

    def _end(self, cause: Cause) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = cause
            self._on_end(self)
            self._changed.set()

    # -- The wire's receiver -------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse bytes from the client; see :class:`tornadio.net.wire.Receiver`."""
        framer = self._framer
        messages = framer.feed(data)
        while framer.has_more:
            messages += framer.feed(b"")
        for message in messages:
            self.received.append(message)
            self._payloads.append(message)
            if isinstance(message, str):
                self._count_heartbeats(message)
        self._changed.set()
        if framer.error is not None:
            self._close_after(framer.close(framer.error.close_code, str(framer.error)))
            self._end(Cause(framer.error.close_code, str(framer.error)))
        elif framer.closed:
            self._close_after(framer.data_to_send())
            self._end(framer.peer_close or CONNECTION_BROKE)
        elif framer.has_data_to_send:
            self._wire.write(framer.data_to_send())

    def _close_after(self, final_bytes: bytes) -> None:
        # The server closes TCP first (RFC 6455, section 7.1.1).
        close_after(self._wire, final_bytes, self._lingering)

    def _count_heartbeats(self, payload: str) -> None:
        with contextlib.suppress(ProtocolError):
            for each in proto.parse(payload, self._json):
                if not isinstance(each, proto.Heartbeat):
                    continue
                if each.number in self._unanswered:
                    self._unanswered.remove(each.number)
                    self.heartbeats_answered += 1
                else:
                    self._other_answers.append(each.number)

    def connection_lost(self, error: BaseException | None) -> None:
        """Note that the client has ended the connection; see :class:`tornadio.net.wire.Receiver`."""
        self._end(NO_CLOSE_FRAME if error is None else CONNECTION_BROKE)
        self._wire.close()
