"""Validation of a server's arguments and of an application's settings, with errors that say what is right."""

import ssl
import sys
from typing import Any

from tornadio.errors import SettingsError


def checked_seconds(name: str, value: Any, zero: bool = False) -> float:
    """Check a time in seconds, and return it as ``float``.

    :param zero: whether 0 is allowed.
    :raises SettingsError: not a finite number, or too small.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= sys.float_info.max or not (value or zero):
        least = ", 0 or more" if zero else " above zero"
        raise SettingsError(f"{name} must be a number of seconds{least}, not {value!r}")
    return float(value)


def checked_flag(name: str, value: Any) -> bool:
    """Check a switch, and return it as ``bool``; 1 and 0 are ``True`` and ``False``.

    :raises SettingsError: any other value.
    """
    if not isinstance(value, int) or value not in (True, False):
        raise SettingsError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def checked_port(name: str, value: Any, default: int) -> int:
    """Check a port, and return it as ``int``; the default for ``None``.

    :raises SettingsError: not a port.
    """
    if value is None:
        return default
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = -1
    if not 0 <= port < 1 << 16:
        raise SettingsError(f"{name} must be a port from 0 (any that is free) to 65535, not {value!r}")
    return port


def checked_address(name: str, value: Any) -> str:
    """Check an address to listen on, and return it; ``''``, all addresses, for ``None``.

    :raises SettingsError: not a text.
    """
    if value is not None and not isinstance(value, str):
        raise SettingsError(
            f"{name} must be an address or host name, such as '127.0.0.1', or '' for all, not {value!r}"
        )
    return value or ""


def checked_tls(value: Any) -> dict[str, Any] | ssl.SSLContext | None:
    """Check the argument ``ssl_options``, and return it as Tornado's ``TCPServer`` accepts it.

    :raises SettingsError: another type, or a dict without a certificate.
    """
    if value is None or isinstance(value, ssl.SSLContext) or (isinstance(value, dict) and "certfile" in value):
        return value
    raise SettingsError(f"ssl_options must be an ssl.SSLContext, or a dict with at least 'certfile', not {value!r}")
