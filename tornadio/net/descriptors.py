"""A limit to the file descriptors that clients' connections may use, so that the application keeps some for itself."""

import socket
import sys
from typing import Final

from tornado.iostream import IOStream

from tornadio.logs import get_logger

logger = get_logger(__name__)

# For the application's files, and its connections to other servers.
_RESERVED_DESCRIPTORS: Final = 32


class Descriptors:
    """The limit: what RLIMIT_NOFILE allows this process when the object is made, less 32 for the application."""

    def __init__(self) -> None:
        self._limit = _open_files_limit() - _RESERVED_DESCRIPTORS

    def admit(self, stream: IOStream) -> bool:
        """Whether a new connection may stay; one that may not is closed and logged.

        Without this limit accept(2) would fail with EMFILE again and again, without a pause.
        """
        if _least_in_use(stream.socket) < self._limit:
            return True
        logger.warning(
            "closed a new connection: this process has no file descriptors left for clients, allow it more than "
            "%d (ulimit -n, or LimitNOFILE of systemd)",
            self._limit + _RESERVED_DESCRIPTORS,
        )
        stream.close()
        return False


def _least_in_use(newest: socket.socket) -> int:
    """How many descriptors this process uses at least, by the number of the newest one.

    POSIX gives a new descriptor the lowest number that is free (open(2)): every number below is in use. Where that is
    not so, on Windows, there is no limit either.
    """
    return newest.fileno()


def _open_files_limit() -> int:
    """RLIMIT_NOFILE, or a number that is never reached."""
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
