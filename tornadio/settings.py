"""The settings of a router: one frozen object, validated once."""

import dataclasses
import difflib
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tornadio.errors import SettingsError

if TYPE_CHECKING:
    from tornadio.cluster.bus import Bus

logger = logging.getLogger(__name__)

# The one list of transports, each with where its handler is. In this order the official client tries them.
HANDLERS: Final = {
    "websocket": "tornadio.transports.websocket:WebSocketHandler",
    "flashsocket": "tornadio.transports.websocket:FlashSocketHandler",
    "xhr-multipart": "tornadio.transports.multipart:XHRMultipartHandler",
    "xhr-polling": "tornadio.transports.polling:XHRPollingHandler",
    "jsonp-polling": "tornadio.transports.polling:JSONPPollingHandler",
    "htmlfile": "tornadio.transports.htmlfile:HTMLFileHandler",
}
PROTOCOLS: Final = tuple(HANDLERS)

# Silence after which the official 0.6 client considers a persistent transport dead.
_CLIENT_PATIENCE: Final = 15.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``get_router`` takes as its ``settings``. Times are seconds above zero, sizes bytes.

    :ivar enabled_protocols: transports that this router serves; the others answer 403.
    :ivar session_check_interval: how often expired sessions are looked for.
    :ivar session_expiry: how long a polling session lives after its last request ended.
    :ivar heartbeat_interval: silence after which a persistent connection is sent a heartbeat.
    :ivar heartbeat_timeout: a client that has sent nothing for this long since an unanswered heartbeat is closed.
    :ivar open_timeout: how long an ``on_open`` that is a coroutine may take; then it is cancelled, and its client is
        told 503, or WebSocket close code 1013.
    :ivar xhr_polling_timeout: how long a poll waits for news before it is answered empty.
    :ivar origins: who may connect, as ``'host:port'`` (either may be ``*``) or full origins; ``None`` stands for
        pages whose hostname is the requested hostname, on any port.
    :ivar hosts: names that clients may ask for this server by, ``'*.example.com'`` for those below one, ``'*'`` for
        any; ``None`` for the hosts of ``origins``; without these, too, clients of a local network may ask for names of
        one alone, others for any.
    :ivar max_message_size: UTF-8 bytes of one payload from a client.
    :ivar max_send_buffer: UTF-8 bytes queued or unsent for one connection, or for the bus.
    :ivar max_sessions: sessions alive at once in one router.
    :ivar max_sessions_per_address: how many of them one client address may have, all addresses of an IPv6 ``/64``
        together. Whose address that is, ``xheaders`` of ``SocketServer`` decides. ``None`` stands for a tenth of
        ``max_sessions``, at least 100, for addresses of the Internet alone: a loopback, private, shared or link-local
        address is not limited, for behind a proxy that is not named in ``xheaders`` everybody has it. A number is for
        all addresses. A Unix socket's peer has none, and neither has a request of a named proxy that names no client.
    :ivar bus: what connects this router with those of the same resource in other processes: the URL of a Redis, or an
        object; ``None`` for nothing.
    :ivar node: what the ids of this router's sessions begin with, ``[0-9a-z]``.
    """

    enabled_protocols: tuple[str, ...] = PROTOCOLS
    session_check_interval: float = 15.0
    session_expiry: float = 30.0
    heartbeat_interval: float = 12.0
    heartbeat_timeout: float = 30.0
    open_timeout: float = 30.0
    xhr_polling_timeout: float = 20.0
    origins: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    max_message_size: int = 1 << 20
    max_send_buffer: int = 16 << 20
    max_sessions: int = 100_000
    max_sessions_per_address: int | None = None
    bus: "str | Bus | None" = dataclasses.field(default=None, repr=False)  # there may be a password in it
    node: str = ""


_NAMES: Final = tuple(field.name for field in dataclasses.fields(Settings))
_TIMES: Final = frozenset(
    {
        "session_check_interval",
        "session_expiry",
        "heartbeat_interval",
        "heartbeat_timeout",
        "open_timeout",
        "xhr_polling_timeout",
    }
)
_APPLICATION_SETTINGS: Final = frozenset(
    {"socket_io_port", "socket_io_address", "flash_policy_port", "flash_policy_file"}
)
_LISTS: Final = {"origins": "example.com:*", "hosts": "example.com"}  # each with an example
_COUNTS: Final = frozenset({"max_message_size", "max_send_buffer", "max_sessions", "max_sessions_per_address"})
_BUS_URLS: Final = ("redis://", "rediss://", "unix://")
_BUS_METHODS: Final = ("publish", "subscribe", "unsubscribe", "close")
_NODE: Final = re.compile("[0-9a-z]{0,16}")


def make_settings(given: Mapping[str, Any] | None) -> Settings:
    """Validate what the user gave.

    :raises SettingsError: an unknown name or a value out of range; the message says what is right.
    """
    if given is None:
        return Settings()
    if not isinstance(given, Mapping):
        raise SettingsError(f"settings must be a dict, not {type(given).__name__}")
    settings = Settings(**{name: _validated(name, value) for name, value in given.items()})
    if settings.heartbeat_interval >= _CLIENT_PATIENCE:
        logger.warning(
            "heartbeat_interval is %g s, but 0.6 clients disconnect after %g s of silence: set it lower",
            settings.heartbeat_interval,
            _CLIENT_PATIENCE,
        )
    return settings


def _validated(name: str, value: Any) -> Any:
    if name in _TIMES:
        return _time(name, value)
    if name in _COUNTS:
        return None if value is None and name == "max_sessions_per_address" else _count(name, value)
    if name == "enabled_protocols":
        return _protocols(value)
    if name in _LISTS:
        return None if value is None else _tuple(name, value, _LISTS[name])
    if name == "bus":
        return _bus(value)
    if name == "node":
        return _node(value)
    if name in _APPLICATION_SETTINGS:
        raise SettingsError(
            f"{name!r} is a setting of the application: tornado.web.Application([...], {name}={value!r})"
        )
    raise SettingsError(f"unknown setting {name!r}{_nearest(name, _NAMES)}")


def _nearest(wrong: object, right: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(wrong).lower(), right, n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else f": there are {', '.join(right)}"


def _time(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{name} must be a number of seconds, not {value!r}{_default(name)}")
    if not 0 < value <= sys.float_info.max:
        raise SettingsError(f"{name} must be above 0 seconds and finite, not {value!r}{_default(name)}")
    return float(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{name} must be a whole number of at least 1, not {value!r}{_default(name)}")
    return value


def _default(name: str) -> str:
    value = getattr(Settings(), name)
    if value is None:
        return " (the default is None)"
    return f" (the default is {value:,})" if isinstance(value, int) else f" (the default is {value:g})"


def _protocols(value: Any) -> tuple[str, ...]:
    protocols = _tuple("enabled_protocols", value, "websocket")
    if not protocols:
        raise SettingsError("enabled_protocols must name at least one of " + ", ".join(PROTOCOLS))
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise SettingsError(f"enabled_protocols: no transport {protocol!r}{_nearest(protocol, PROTOCOLS)}")
    return protocols


def _bus(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        if not value.startswith(_BUS_URLS):
            raise SettingsError(f"bus must be a URL that begins with {', '.join(_BUS_URLS)}, or an object")
        return value
    missing = [method for method in _BUS_METHODS if not callable(getattr(value, method, None))]
    if missing or isinstance(value, type):
        raise SettingsError(
            f"bus must be a URL such as 'redis://host:6379', or an object with {', '.join(_BUS_METHODS)}: "
            f"{type(value).__name__} has no {', '.join(missing)}"
        )
    return value


def _node(value: Any) -> str:
    if not isinstance(value, str) or not _NODE.fullmatch(value):
        raise SettingsError(f"node must be up to 16 of 0-9 and a-z, not {value!r}")
    return value


def _tuple(name: str, value: Any, example: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        raise SettingsError(f"{name} must be a list, such as [{value!r}]")
    if not isinstance(value, Iterable):
        raise SettingsError(f"{name} must be a list, such as [{example!r}], not {value!r}")
    return tuple(value)
