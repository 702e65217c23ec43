"""Timeouts that Tornado's HTTP lacks: for headers, and for peers that do not read their responses.

Tornado has a timeout for headers of its own, which begins when a connection is passed to it. For a connection that was
idle on the fast path the time began before.
"""

import asyncio
import socket
import struct
import sys
from typing import Final, NamedTuple

from tornado.iostream import IOStream

from tornadio.logs import get_logger
from tornadio.net.throughput import MIN_THROUGHPUT
from tornadio.net.timers import Periodic

logger = get_logger(__name__)

_CHECK_SECONDS: Final = 10.0  # seconds between two checks
# Seconds over which a peer's throughput is measured, at least: between two acknowledgements it is zero.
_MEASURED_SECONDS: Final = 30.0
# Seconds for a response where the system does not tell what was acknowledged: a peer may be reading a large one slowly.
_UNMEASURED_SECONDS: Final = 300.0
# tcpi_bytes_acked in the struct tcp_info of linux/tcp.h, since Linux 4.2.
_BYTES_ACKED: Final = struct.Struct("120xQ")


class _Backlog(NamedTuple):
    """A connection that had something to send at every check.

    :ivar since: the first of these checks, in the loop's time.
    :ivar acked: bytes that the peer's system had acknowledged then, if that is known.
    """

    since: float
    acked: int | None


class ConnectionTimeouts:
    """The connections that Tornado's HTTP serves: closes those whose peers do not send headers or read responses."""

    def __init__(self) -> None:
        self._clients: dict[IOStream, object] = {}
        self._backlogs: dict[IOStream, _Backlog] = {}
        self._header_timers: dict[IOStream, asyncio.TimerHandle] = {}
        self._checks: Periodic | None = None

    # -- Headers -------------------------------------------------------------------------------------------------

    def set_header_deadline(self, stream: IOStream, when: float) -> None:
        """Close a connection if the headers of its next request have not come by then.

        :param when: in the loop's time.
        """
        self._header_timers[stream] = asyncio.get_running_loop().call_at(when, stream.close)

    def headers_received(self, stream: IOStream) -> None:
        """Cancel the deadline that :meth:`set_header_deadline` has set, if there is one."""
        timer = self._header_timers.pop(stream, None)
        if timer is not None:
            timer.cancel()

    # -- Responses -----------------------------------------------------------------------------------------------

    def add(self, stream: IOStream, client: object) -> None:
        """Check from now on that the peer of a connection reads its responses; nothing changes for a known one.

        :param client: whose text says in the log who it is.
        """
        if stream not in self._clients:
            self._clients[stream] = client
            if self._checks is None:
                self._checks = Periodic(asyncio.get_running_loop(), self._check, _CHECK_SECONDS)
            self._checks.start()

    def discard(self, stream: IOStream) -> None:
        """Forget a connection that is closed, or not Tornado's any more."""
        self.headers_received(stream)
        self._backlogs.pop(stream, None)
        self._clients.pop(stream, None)
        if not self._clients and self._checks is not None:
            self._checks.stop()

    def _check(self) -> None:
        now = asyncio.get_running_loop().time()
        for stream in tuple(self._clients):
            backlog = self._backlogs.get(stream)
            if not stream.writing():
                self._backlogs.pop(stream, None)
            elif backlog is None:
                self._backlogs[stream] = _Backlog(now, _bytes_acked(stream))
            elif (acked := _acked_since(backlog, stream)) is None:
                if now - backlog.since >= _UNMEASURED_SECONDS:
                    self._close(stream)
            elif now - backlog.since >= _MEASURED_SECONDS:
                if acked < MIN_THROUGHPUT * (now - backlog.since):
                    self._close(stream)
                else:
                    self._backlogs[stream] = _Backlog(now, _bytes_acked(stream))

    def _close(self, stream: IOStream) -> None:
        logger.info("closed a connection of %s: its peer does not take its answers", self._clients.get(stream))
        stream.close()


def _acked_since(backlog: _Backlog, stream: IOStream) -> int | None:
    """Return the bytes that a peer has acknowledged since its backlog began; ``None`` if unknown."""
    acked = _bytes_acked(stream)
    return None if acked is None or backlog.acked is None else acked - backlog.acked


def _bytes_acked(stream: IOStream) -> int | None:
    """Return the bytes that the peer's TCP has acknowledged on the connection; ``None`` if the system does not tell."""
    # Not what the kernel has accepted: its send buffer may hold megabytes for a peer that reads nothing.
    if sys.platform != "linux" or stream.socket is None or stream.socket.family == socket.AF_UNIX:
        return None
    try:
        info = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack(info)[0])
    except (OSError, struct.error):
        return None
