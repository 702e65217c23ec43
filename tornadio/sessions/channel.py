"""The interface by which a session writes to its client, which each transport implements."""

import asyncio
from typing import Protocol

from tornadio.sessions.outbox import Payload


class Channel(Protocol):
    """The present way of a session's payloads to the client: a poll's response, a stream or a WebSocket.

    A transport attaches one with :meth:`~tornadio.sessions.base.BaseSession.attach`, and says with ``channel_lost``
    that its TCP connection has ended. The session writes one payload at a time.
    """

    def write(self, payload: Payload) -> "asyncio.Future[None] | None":
        """Send a payload. A channel of one response that can carry one payload alone ends the response with it.

        :returns: ``None`` if the kernel has accepted all bytes, else a future of that, which fails when the connection
            ends first.
        """

    def close(self, code: int, reason: str) -> None:
        """End the response or the WebSocket after what was written before.

        :param code: of a WebSocket's close frame (RFC 6455, section 7.4); other channels ignore it.
        :param reason: of that frame.
        """

    def replaced(self) -> None:
        """End this channel, which has no payload in flight: another request has replaced it."""

    def abort(self) -> None:
        """Close the TCP connection at once and discard what the kernel has not accepted."""
