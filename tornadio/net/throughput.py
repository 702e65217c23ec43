"""The minimum throughput of a peer: the time limit for reading what was written to it. Knows no I/O."""

from typing import Final

# Bytes a second that a peer has to read, besides a fixed time: less is no network that a client of this protocol works
# on (GPRS had some 5000), and whoever reads slower holds memory for nothing.
MIN_THROUGHPUT: Final = 4096


def write_timeout(size: float, seconds: float) -> float:
    """Return the seconds that a peer has to read what was written to it.

    :param size: bytes written.
    :param seconds: the part of the limit that does not depend on the size.
    """
    return seconds + size / MIN_THROUGHPUT
