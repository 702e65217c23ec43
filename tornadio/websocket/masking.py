"""Masking of WebSocket frames (RFC 6455, section 5.3): by the C extension of websockets or of Tornado, else in Python.

That of the package websockets, which need not be installed, uses SIMD instructions: with it a large message is unmasked
in a tenth of the time that Tornado's takes. Neither function is documented: so each is compared with the reference in
Python, once at import, and not used if it is missing or gives other results.
"""

import contextlib
from collections.abc import Callable
from typing import Final

Mask = Callable[[bytes, bytes], bytes]


def mask_in_python(key: bytes, data: bytes) -> bytes:
    """XOR data with the four bytes of ``key``, repeated, in one operation on large integers."""
    length = len(data)
    repeated = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


def matches_reference(mask: Mask) -> bool:
    """Whether a function returns the results of :func:`mask_in_python`, for all lengths up to several vectors of SIMD,
    each with what is left behind them, and for a longer one.
    """
    key = b"\x01\x80\xff\x00"
    octets = bytes(7 * index & 0xFF for index in range(1023))
    samples = [octets[:length] for length in (*range(131), len(octets))]
    try:
        return all(mask(key, sample) == mask_in_python(key, sample) for sample in samples)
    except Exception:
        return False


def _import_from_websockets() -> Mask:
    from websockets.speedups import apply_mask

    return _swap_arguments(apply_mask)


def _swap_arguments(mask: Mask) -> Mask:
    """Return the function with its arguments in our order: with this call it still takes no longer than Tornado's."""
    # A variable of this call: a name that a function imports becomes the module's where mypyc compiles it.
    return lambda key, data: mask(data, key)


def _import_from_tornado() -> Mask:
    from tornado.speedups import websocket_mask

    return websocket_mask


def _select_mask() -> Mask:
    for import_mask in (_import_from_websockets, _import_from_tornado):
        with contextlib.suppress(Exception):  # a package that is broken is as good as none
            candidate = import_mask()
            if matches_reference(candidate):
                return candidate
    return mask_in_python


mask: Final[Mask] = _select_mask()
