"""The Flash policy server: Flash Player reads a policy file from it before it lets a movie open a socket."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpserver import TCPServer

from tornadio.logs import get_logger
from tornadio.net.descriptors import Descriptors

logger = get_logger(__name__)

DEFAULT_PORT: Final = 843  # Flash Player tries it for 3 s, before the port that it connects to
POLICY_REQUEST: Final = b"<policy-file-request/>\0"

# Longer than Flash Player waits for the response.
_REQUEST_TIMEOUT: Final = 5.0
# A policy connection lasts one round trip: so many at once come from no site's visitors.
_MAX_CONNECTIONS: Final = 200


class FlashPolicyServer(TCPServer):
    """Responds to ``<policy-file-request/>`` and a NUL with the policy file and a NUL, and closes the connection.
    Closes every other connection without a response.

    :param policy: the policy file's bytes.
    :param descriptors: the limit for the connections of clients.
    """

    def __init__(self, policy: bytes, descriptors: Descriptors) -> None:
        super().__init__(max_buffer_size=1 << 16)  # far more than a policy request, of 23 bytes
        self._policy = policy
        self._descriptors = descriptors
        self._streams: set[IOStream] = set()

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> Awaitable[None] | None:
        # Checked here and not in the coroutine, which runs later: connections that come together would all be kept.
        if not self._descriptors.admit(stream.socket):
            stream.close()
            return None
        if len(self._streams) >= _MAX_CONNECTIONS:
            logger.debug("dropped a policy request from %s: too many at once", address)
            stream.close()
            return None
        self._streams.add(stream)
        return self._serve(stream)

    async def _serve(self, stream: IOStream) -> None:
        try:
            await serve_policy(stream, self._policy)
        finally:
            self._streams.discard(stream)

    def stop(self) -> None:
        """Stop listening, and close all connections."""
        super().stop()
        for stream in tuple(self._streams):
            stream.close()


async def serve_policy(stream: IOStream, policy: bytes) -> None:
    """Read a policy request, respond to it, and close the connection; after 5 s in any case."""
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT):
            if await stream.read_bytes(len(POLICY_REQUEST)) == POLICY_REQUEST:
                await stream.write(policy + b"\0")
    except (StreamClosedError, TimeoutError):
        logger.debug("a policy connection ended without a request")
    finally:
        stream.close()
