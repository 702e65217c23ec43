"""The body of a stream's response, as the channel of a session."""

import asyncio
from typing import TYPE_CHECKING

from tornadio.closecodes import CLIENT_CLOSED, CONNECTION_BROKE
from tornadio.net.linger import close_after
from tornadio.net.wire import Wire
from tornadio.sessions.base import BaseSession
from tornadio.sessions.outbox import Payload
from tornadio.transports.wirechannel import WireChannel

if TYPE_CHECKING:
    from tornadio.transports.streaming import StreamFormat


class StreamChannel(WireChannel):
    """The body of a streaming response: the session's channel."""

    __slots__ = ("__weakref__", "_epilogue", "_part_end", "_session")

    def __init__(self, wire: Wire, session: BaseSession, stream_format: "StreamFormat", head: bytes) -> None:
        super().__init__(wire, stream_format.encode, head + stream_format.preamble)
        self._session: BaseSession | None = session
        self._part_end = stream_format.part_end
        self._epilogue = stream_format.epilogue

    def data_received(self, data: bytes) -> None:
        """Discard what a client sends behind its GET: no other request is served on this connection."""

    def connection_lost(self, error: BaseException | None) -> None:
        """Tell the session that its channel is lost; see :class:`tornadio.net.wire.Receiver`."""
        session, self._session = self._session, None
        if session is not None:
            session.channel_lost(self, *(CLIENT_CLOSED if error is None else CONNECTION_BROKE))

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        data = payload.encoded(self._encode)
        if self._head:
            data, self._head = self._head + data, b""
        return self._wire.write(data + self._part_end)

    def close(self, code: int, reason: str) -> None:
        """End the response."""
        if self._session is None:
            return  # the connection was lost before
        lingering, self._session = self._session.registry.lingering, None
        close_after(self._wire, self._head + self._epilogue, lingering)
        self._head = b""

    def replaced(self) -> None:
        """End the response: another GET is the session's channel now."""
        self.close(1000, "")

    def abort(self) -> None:
        """Close the TCP connection at once."""
        self._session = None
        self._wire.close()
