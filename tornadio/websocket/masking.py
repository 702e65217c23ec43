"""Masking of WebSocket frames (RFC 6455, section 5.3): by Tornado's C extension where it was built, else in Python.

``tornado.speedups`` is not documented: so it is compared with the reference in Python, once at import, and not used if
it is missing or gives other results.
"""

from collections.abc import Callable
from typing import Final

Mask = Callable[[bytes, bytes], bytes]


def mask_in_python(key: bytes, data: bytes) -> bytes:
    """XOR data with the four bytes of ``key``, repeated, in one operation on large integers."""
    length = len(data)
    repeated = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


def matches_reference(mask: Mask) -> bool:
    """Whether a function returns the results of :func:`mask_in_python`, for all lengths up to some machine words."""
    key = b"\x01\x80\xff\x00"
    samples = [bytes((step * index) & 0xFF for index in range(length)) for length in range(40) for step in (1, 7, 255)]
    try:
        return all(mask(key, sample) == mask_in_python(key, sample) for sample in samples)
    except Exception:
        return False


def _select_mask() -> Mask:
    try:
        from tornado.speedups import websocket_mask
    except ImportError:
        return mask_in_python
    return websocket_mask if matches_reference(websocket_mask) else mask_in_python


mask: Final[Mask] = _select_mask()
