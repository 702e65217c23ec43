"""The minimum throughput of a peer: how long it may take to read what it is sent. Knows no I/O."""

from typing import Final

# Bytes a second that a peer has to read, besides a fixed time: less is no network that a client of this protocol works
# on (GPRS had some 5000), and whoever reads slower holds memory for nothing.
MIN_THROUGHPUT: Final = 4096


def write_timeout(size: float, seconds: float) -> float:
    """Seconds that a peer has to read what it is sent.

    :param size: of that, in bytes.
    :param seconds: what it has for anything of whatever size.
    """
    return seconds + size / MIN_THROUGHPUT
