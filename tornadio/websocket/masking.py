"""The masking of WebSocket frames (RFC 6455, section 5.3): by Tornado's C code where it is built, else by our own.

Tornado doesn't document that module. So it is held against our own once, when it is imported, and left if it is not
there, or does something else.
"""

from collections.abc import Callable
from typing import Final

Mask = Callable[[bytes, bytes], bytes]


def mask_in_python(key: bytes, data: bytes) -> bytes:
    """XOR with the four bytes of ``key``, in one operation on large integers."""
    length = len(data)
    repeated = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


def is_right(mask: Mask) -> bool:
    """Whether a function masks as :func:`mask_in_python` does: for every length around what machine words hold."""
    key = b"\x01\x80\xff\x00"
    samples = [bytes((step * index) & 0xFF for index in range(length)) for length in range(40) for step in (1, 7, 255)]
    try:
        return all(mask(key, sample) == mask_in_python(key, sample) for sample in samples)
    except Exception:
        return False


def _fastest() -> Mask:
    try:
        from tornado.speedups import websocket_mask
    except ImportError:
        return mask_in_python
    return websocket_mask if is_right(websocket_mask) else mask_in_python


mask: Final[Mask] = _fastest()
