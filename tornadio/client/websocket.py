"""The transport ``websocket``: the handshake of RFC 6455, and the channel on the wire that follows."""

import asyncio
from typing import Any, Final

from tornado.iostream import IOStream

from tornadio.client.options import Options
from tornadio.client.outbox import Outbox
from tornadio.client.requests import Requests, refusal
from tornadio.client.response import ResponseLostError, exchange
from tornadio.client.session import ClientSession
from tornadio.closecodes import Cause
from tornadio.errors import ConnectError, ProtocolError
from tornadio.logs import error_text
from tornadio.net.wire import Wire, open_wire
from tornadio.websocket import rfc6455
from tornadio.websocket.framer import Framer

_NO_CLOSE_FRAME: Final = Cause(1006, "the server closed the connection without a close frame")


async def open_websocket(options: Options, requests: Requests, upgrade_timeout: float | None) -> ClientSession:
    """Connect by a WebSocket.

    :param upgrade_timeout: seconds for the response to the handshake. The official server 0.6 gives none: the version
        of the protocol is later than it.
    :raises ConnectError: no connection; says why.
    """
    stream = await requests.open()
    try:
        framer = await _shake_hands(stream, options, requests, upgrade_timeout)
        wire = open_wire(stream)
    except BaseException:
        stream.close()
        raise
    outbox = Outbox(options.max_send_buffer)
    session = ClientSession(options, "websocket", outbox)
    channel = WebSocketChannel(wire, framer, session, outbox, options.close_timeout)
    requests.begin_step("waiting for the first frame, which is the session id,")
    session.attach(channel)
    try:
        wire.start(channel)
        await session.wait_open()
    except BaseException:
        session.leave()
        raise
    return session


async def _shake_hands(stream: IOStream, options: Options, requests: Requests, timeout: float | None) -> Framer:
    requests.begin_step("waiting for the response to the WebSocket handshake")
    key = rfc6455.new_key()
    headers = requests.headers(rfc6455.client_request_headers(key, options.compression).items())
    path = options.target.request_target("websocket")
    try:
        async with asyncio.timeout(timeout):
            response = await exchange(stream, "GET", path, headers, detached=(101,))
    except ResponseLostError as error:
        hint = "; the URL of a server with TLS begins with wss:// or https://" if options.ssl is None else ""
        raise ConnectError(f"the WebSocket handshake had no response: {error}{hint}") from None
    except TimeoutError:
        raise ConnectError(f"the WebSocket handshake had no response for {timeout:g} s") from None
    if response.status != 101:
        raise refusal(response, "the WebSocket handshake")
    try:
        deflate = rfc6455.check_client_response(response.headers, key, options.compression)
    except ProtocolError as error:
        raise ConnectError(str(error), is_permanent=True) from None
    return rfc6455.ClientFramer(options.max_payload_size, deflate)


class WebSocketChannel:
    """A WebSocket after its handshake: the wire's receiver and the session's channel.

    What the wire has not accepted at once is followed by nothing until it has: so it is known which messages were
    sent when a connection ends.
    """

    __slots__ = (
        "__weakref__",
        "_close_sent",
        "_close_timeout",
        "_closed",
        "_continue_scheduled",
        "_encode",
        "_flushing",
        "_framer",
        "_is_paused",
        "_outbox",
        "_session",
        "_timer",
        "_wire",
    )

    def __init__(
        self, wire: Wire, framer: Framer, session: ClientSession, outbox: Outbox, close_timeout: float
    ) -> None:
        self._wire = wire
        self._outbox = outbox
        self._framer = framer
        self._encode = framer.encode
        self._session: ClientSession | None = session  # until the connection has ended
        self._close_timeout = close_timeout
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # the TCP connection is
        self._flushing: asyncio.Future[None] | None = None  # what the wire has not accepted yet
        self._close_sent = self._is_paused = self._continue_scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    # -- From the server -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse bytes from the server; see :class:`tornadio.net.wire.Receiver`."""
        session = self._session
        if session is None:
            return  # the connection has ended: discard what the server sent meanwhile
        session.heard()
        framer = self._framer
        for message in framer.feed(data):
            if not isinstance(message, str):
                self.fail(Cause(1003, "binary messages are not part of Socket.IO 0.6"))
            else:
                session.payload_received(message)
            if self._session is None:
                return
        if framer.has_data_to_send and not framer.closed:
            self.wake()
        if framer.has_more:
            self._continue_soon()
        elif framer.closed:
            self._framer_closed()

    def _continue_soon(self) -> None:
        """Parse the rest of many frames in the next iteration of the loop; reading is paused until then."""
        self._wire.pause_reading()
        if not self._continue_scheduled:
            self._continue_scheduled = True
            asyncio.get_running_loop().call_soon(self._continue)

    def _continue(self) -> None:
        self._continue_scheduled = False
        if self._session is not None and not self._is_paused:
            self.data_received(b"")
            if not self._continue_scheduled and not self._is_paused:
                self._wire.resume_reading()

    def pause_reading(self) -> None:
        self._is_paused = True
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        self._is_paused = False
        if self._framer.has_more:
            self._continue_soon()
        else:
            self._wire.resume_reading()

    def connection_lost(self, error: BaseException | None) -> None:
        """End the connection; see :class:`tornadio.net.wire.Receiver`."""
        while self._framer.has_more and self._session is not None:
            self.data_received(b"")
        if self._session is not None:
            cause = _NO_CLOSE_FRAME
            if error is not None:
                cause = Cause(1006, f"the connection broke: {error_text(error)}")
            self._end(cause)
        self._close_wire()

    def _framer_closed(self) -> None:
        """End the connection: the framer has parsed the server's close frame, or has failed."""
        framer = self._framer
        if framer.error is not None:
            self.fail(Cause(framer.error.close_code, str(framer.error)))
            return
        assert framer.peer_close is not None
        if framer.has_data_to_send and self._flushing is None:
            self._wire.write(framer.data_to_send())
        self._end(framer.peer_close)
        self._linger()

    # -- To the server ---------------------------------------------------------------------------------------------

    def write(self, message: Any, payload: str) -> bool:
        if self._flushing is not None:
            return False
        session = self._session
        assert session is not None
        session.trace("out", payload)
        flushing = self._wire.write(self._encode(payload))
        if flushing is not None:
            self._outbox.begin(message, payload)
            self._wait(flushing)
        return True

    def send_heartbeat(self, payload: str) -> None:
        if self._session is not None:
            self._outbox.put_heartbeat(payload)
            self.wake()

    def wake(self) -> None:
        session, framer, outbox = self._session, self._framer, self._outbox
        while self._flushing is None and session is not None:
            is_message = False
            if framer.has_data_to_send and not framer.closed:  # pongs
                data = framer.data_to_send()
            else:
                payload = outbox.pop_heartbeat()
                if not payload:
                    payload = outbox.begin_next()
                    is_message = True
                if not payload:
                    return
                session.trace("out", payload)
                data = self._encode(payload)
            flushing = self._wire.write(data)
            if flushing is not None:
                self._wait(flushing)
            elif is_message:
                outbox.sent()

    def _wait(self, flushing: "asyncio.Future[None]") -> None:
        self._flushing = flushing
        flushing.add_done_callback(self._on_flushed)

    def _on_flushed(self, flushing: "asyncio.Future[None]") -> None:
        self._flushing = None
        if self._session is not None and not flushing.cancelled() and flushing.exception() is None:
            self._outbox.sent()
            self.wake()

    # -- Ends ------------------------------------------------------------------------------------------------------

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame, and wait for the server's and the end of the TCP connection (RFC 6455, section 7.1.2)."""
        if self._session is not None:
            self._close_sent = True
            self._wire.write(self._framer.close(code, reason))
            self._is_paused = False
            self._wire.resume_reading()
        await self.wait_closed()

    def fail(self, cause: Cause) -> None:
        """Fail the WebSocket connection (RFC 6455, section 7.1.7)."""
        if self._flushing is None:
            self._wire.write(self._framer.close(cause.code, cause.reason))
        self._end(cause)
        self._linger()

    def abort(self, code: int) -> None:
        if self._session is not None and self._flushing is None and not self._close_sent and code != 1006:
            self._wire.write(self._framer.close(code, ""))
        self._session = None
        self._close_wire()

    async def wait_closed(self) -> None:
        await asyncio.shield(self._closed)

    def _end(self, cause: Cause) -> None:
        session, self._session = self._session, None
        if session is not None and not self._close_sent:  # else it ends by the code that close() was given
            session.ended(cause)

    def _linger(self) -> None:
        """Wait for the server to close the TCP connection, as it has to (RFC 6455, section 7.1.1), a limited time."""
        self._wire.resume_reading()
        if self._timer is None and not self._closed.done():
            self._timer = asyncio.get_running_loop().call_later(self._close_timeout, self._close_wire)

    def _close_wire(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wire.close()
        if not self._closed.done():
            self._closed.set_result(None)
