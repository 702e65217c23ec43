"""The Flash policy server: without its answer a Flash movie opens no socket to this machine."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpserver import TCPServer

from tornadio.logs import get_logger
from tornadio.net.descriptors import Descriptors

logger = get_logger(__name__)

DEFAULT_PORT: Final = 843  # Flash Player asks there first
POLICY_REQUEST: Final = b"<policy-file-request/>\0"

_REQUEST_SECONDS: Final = 5.0
_MAX_CONNECTIONS: Final = 200


class FlashPolicyServer(TCPServer):
    """Answers ``<policy-file-request/>`` and a NUL with a policy and a NUL, and closes. Drops everything else.

    :param policy: the policy file.
    :param descriptors: those that clients may have.
    """

    def __init__(self, policy: bytes, descriptors: Descriptors) -> None:
        super().__init__(max_buffer_size=1 << 16)
        self._policy = policy
        self._descriptors = descriptors
        self._streams: set[IOStream] = set()

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> Awaitable[None] | None:
        # At once, and not in a task: of many that come together none may be kept before it was looked at.
        if not self._descriptors.admit(stream):
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
        """Stop listening, and drop those who are connected."""
        super().stop()
        for stream in tuple(self._streams):
            stream.close()


async def serve_policy(stream: IOStream, policy: bytes) -> None:
    """Answer a connection's policy request, if it makes one in time; then close it."""
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            if await stream.read_bytes(len(POLICY_REQUEST)) == POLICY_REQUEST:
                await stream.write(policy + b"\0")
    except (StreamClosedError, TimeoutError):
        logger.debug("a policy connection ended without a request")
    finally:
        stream.close()
