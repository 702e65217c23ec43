"""File descriptors: how many of a process's clients may have, so that its application keeps some for itself."""

import sys
from typing import Final

from tornado.iostream import IOStream

from tornadio.logs import get_logger

logger = get_logger(__name__)

# What clients leave to the application: for its files, its connections to other servers.
_SPARE: Final = 32


class Descriptors:
    """The file descriptors that clients may have: all that this process may open when this is made, but for 32."""

    def __init__(self) -> None:
        self._limit = _open_files_limit() - _SPARE

    def admit(self, stream: IOStream) -> bool:
        """Whether a new connection may stay; one that may not is closed, and that is logged.

        A new descriptor has the lowest number that is free, so its number tells how many are in use. Without any,
        accepting would fail again and again, without a pause.
        """
        if stream.socket.fileno() < self._limit:
            return True
        logger.warning(
            "closed a new connection: this process has no file descriptors left for clients, allow it more than "
            "%d (ulimit -n, or LimitNOFILE of systemd)",
            self._limit + _SPARE,
        )
        stream.close()
        return False


def _open_files_limit() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
