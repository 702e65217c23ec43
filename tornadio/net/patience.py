"""How long peers, and what is left at a shutdown, may take."""

from typing import Final

# Bytes a second that a peer has to read, besides a fixed time: less is no network that a client of this protocol works
# on (GPRS had some 5000), and whoever reads slower holds memory for nothing.
MIN_THROUGHPUT: Final = 4096

# Seconds at the end of a shutdown, beyond its timeout: for peers to read their close frames, for handlers that were
# cancelled to end, for the bus to send what on_close has published.
GRACE_SECONDS: Final = 1.0


def write_timeout(size: float, seconds: float) -> float:
    """Seconds that a peer has to read what it is sent.

    :param size: of that, in bytes.
    :param seconds: what it has for anything of whatever size.
    """
    return seconds + size / MIN_THROUGHPUT
