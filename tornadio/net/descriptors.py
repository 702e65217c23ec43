"""A limit to the file descriptors that clients' connections may use, so that the application keeps some for itself."""

import contextlib
import os
import socket
import sys
from typing import Final

from tornadio.logs import get_logger

logger = get_logger(__name__)

# For the application's files, and its connections to other servers: a chosen number, not a measured one.
_RESERVED_DESCRIPTORS: Final = 32


class Descriptors:
    """The limit to file descriptors: RLIMIT_NOFILE when the object is made, less 32 for the application.

    :ivar refused: connections that were closed since there were too many.
    """

    def __init__(self) -> None:
        self._limit = _open_files_limit() - _RESERVED_DESCRIPTORS
        self.refused = 0

    @property
    def limit(self) -> int | None:
        """How many descriptors this process may have open; ``None`` where there is no limit."""
        limit = self._limit + _RESERVED_DESCRIPTORS
        return limit if limit < sys.maxsize else None

    def admit(self, newest: socket.socket) -> bool:
        """Return whether a new connection is accepted; count and log one that is not, which the caller closes.

        Without this limit accept(2) would fail with EMFILE again and again, without a pause.
        """
        if _least_in_use(newest) < self._limit:
            return True
        self.refused += 1
        logger.warning(
            "closed a new connection: this process has no file descriptors left for clients, allow it more than "
            "%d (ulimit -n, or LimitNOFILE of systemd)",
            self._limit + _RESERVED_DESCRIPTORS,
        )
        return False


def _least_in_use(newest: socket.socket) -> int:
    """Return a lower bound of the number of descriptors in use: the number of the newest one.

    POSIX gives a new descriptor the lowest number that is free (open(2)): every number below is in use. Windows does
    not, and has no RLIMIT_NOFILE either. Counting the entries of /proc/self/fd would cost more with each connection.
    """
    return newest.fileno()


def count_open_descriptors() -> int | None:
    """Return how many descriptors this process has open: since Linux 6.2 the size of the directory, see proc(5). Else a
    lower bound, the lowest number that is free; ``None`` on Windows.

    To list the directory would take 75 ms with 10,000 entries.
    """
    with contextlib.suppress(OSError):
        if size := os.stat("/proc/self/fd").st_size:
            return size
    if sys.platform == "win32":
        return None
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:  # none is free
        return _open_files_limit()
    os.close(lowest)
    return lowest


def _open_files_limit() -> int:
    """Return RLIMIT_NOFILE of this process, or a number that is never reached where there is no such limit."""
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
