"""How long a peer may take to take what it is sent."""

from typing import Final

# What is taken slower than this holds memory for nothing.
SLOWEST_BYTES_PER_SECOND: Final = 4096


def seconds_to_take(size: float, patience: float) -> float:
    """Seconds that a peer has for an answer.

    :param size: of the answer, in bytes.
    :param patience: seconds that it has for an answer of any size.
    """
    return patience + size / SLOWEST_BYTES_PER_SECOND
