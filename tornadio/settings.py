"""A router's settings: one frozen object, validated when the router is made."""

import dataclasses
import difflib
import functools
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from tornadio.errors import SettingsError
from tornadio.proto import JSONFormat, check_json_format

if TYPE_CHECKING:
    from tornadio.cluster.bus import Bus

__all__ = ["PROTOCOLS", "Compression", "Settings"]

logger = logging.getLogger(__name__)

# The one list of transports: the name in paths and settings, and the handler's module and class, by name, since this
# module imports no transport. The official client tries them in this order.
HANDLERS: Final = {
    "websocket": "tornadio.transports.websocket:WebSocketHandler",
    "flashsocket": "tornadio.transports.websocket:FlashSocketHandler",
    "xhr-multipart": "tornadio.transports.multipart:XHRMultipartHandler",
    "xhr-polling": "tornadio.transports.polling:XHRPollingHandler",
    "jsonp-polling": "tornadio.transports.polling:JSONPPollingHandler",
    "htmlfile": "tornadio.transports.htmlfile:HTMLFileHandler",
}
#: The names of all transports, in the order in which the official client tries them.
PROTOCOLS: Final = tuple(HANDLERS)
# Transports whose clients send on the connection itself: the others name their session in each POST.
WEBSOCKETS: Final = ("websocket", "flashsocket")
_POLLING: Final = frozenset({"xhr-polling", "jsonp-polling"})

# Seconds of silence after which 0.6 clients drop a persistent transport: the default of their option ``timeout``, in
# the official client as in static/socket.io.js.
_CLIENT_TIMEOUT: Final = 15.0
# Seconds without a response after which the official client drops a transport that polls: 10 more than that option.
# static/socket.io.js waits for 60.
_POLL_TIMEOUT: Final = 25.0

_BUS_URLS: Final = ("redis://", "rediss://", "unix://")
_BUS_METHODS: Final = ("publish", "subscribe", "unsubscribe", "close")
_DEFAULT_PAYLOAD_SIZE: Final = 8 << 20
_NODE: Final = re.compile("[0-9a-z]{0,16}")  # the characters of session ids, of which proxies route by the first
_APPLICATION_SETTINGS: Final = frozenset(
    {"socket_io_port", "socket_io_address", "flash_policy_port", "flash_policy_file"}
)

# -- Checks: what may be given for a setting, by its name. They return the value to keep, or raise SettingsError. -----


def _check_seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):  # bool is a subclass of int: True would be 1 s
        raise SettingsError(f"{name} must be a number of seconds, not {value!r}{_default(name)}")
    if not 0 < value <= sys.float_info.max:
        raise SettingsError(f"{name} must be above 0 seconds and finite, not {value!r}{_default(name)}")
    return float(value)


def _check_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{name} must be a whole number of at least 1, not {value!r}{_default(name)}")
    return value


def _check_count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else _check_count(name, value)


def _default(name: str) -> str:
    value = getattr(Settings(), name)
    if value is None:
        return " (the default is None)"
    return f" (the default is {value:,})" if isinstance(value, int) else f" (the default is {value:g})"


def _check_protocols(name: str, value: Any) -> tuple[str, ...]:
    protocols = _check_list("websocket", name, value)
    if not protocols:
        raise SettingsError(f"{name} must name at least one of {', '.join(PROTOCOLS)}")
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise SettingsError(f"{name}: no transport {protocol!r}{suggestion(protocol, PROTOCOLS)}")
    return protocols


def _check_list(example: str, name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise SettingsError(f"{name} must be a list, such as [{example!r}], not {value!r}")
    return tuple(value)


def _check_list_or_none(example: str, name: str, value: Any) -> tuple[Any, ...] | None:
    return None if value is None else _check_list(example, name, value)


def _check_bus(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        if not value.startswith(_BUS_URLS):
            raise SettingsError(f"{name} must be a URL that begins with {', '.join(_BUS_URLS)}, or an object")
        return value
    missing = [method for method in _BUS_METHODS if not callable(getattr(value, method, None))]
    if missing or isinstance(value, type):
        raise SettingsError(
            f"{name} must be a URL such as 'redis://host:6379', or an object with {', '.join(_BUS_METHODS)}: "
            f"{type(value).__name__} has no {', '.join(missing)}"
        )
    return value


def _check_node(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _NODE.fullmatch(value):
        raise SettingsError(f"{name} must be up to 16 of 0-9 and a-z, not {value!r}")
    return value


def _check_compression(name: str, value: Any) -> "Compression | None":
    if value is None or value is False:
        return None
    if value is True:
        return Compression()
    if isinstance(value, Compression):
        return value
    if not isinstance(value, Mapping):
        raise SettingsError(
            f"{name} must be True, tornadio.Compression or a dict of its fields, or None for none, not {value!r}"
        )
    fields = tuple(each.name for each in dataclasses.fields(Compression))
    for field_name in value:
        if field_name not in fields:
            raise SettingsError(f"{name}: no field {field_name!r}{suggestion(field_name, fields)}")
    return Compression(**value)


def _check_json(name: str, value: Any) -> JSONFormat:
    return check_json_format(value)


def _check_switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{name} must be True or False, not {value!r}")
    return value


def _fit_payload_size(max_message_size: int, max_payload_size: int) -> int:
    """Return the ``max_payload_size`` to use: a message of ``max_message_size`` has to fit, with its frame's header.

    :raises SettingsError: ``max_payload_size`` is not the default, which grows, and too small.
    """
    header = len("~m~~m~") + len(str(max_message_size))
    if max_payload_size == _DEFAULT_PAYLOAD_SIZE:
        # Twice: a form sends each newline of a message as two characters.
        return max(max_payload_size, 2 * max_message_size + header)
    if max_payload_size < max_message_size + header:
        raise SettingsError(
            f"max_payload_size, {max_payload_size}, has no room for a message of max_message_size, {max_message_size}, "
            f"with its frame's header: set it to at least {max_message_size + header}, or max_message_size lower"
        )
    return max_payload_size


def suggestion(wrong: object, right: tuple[str, ...]) -> str:
    """Return a hint for a wrong name: the right one that is most similar, or all right ones if none is."""
    close = difflib.get_close_matches(str(wrong).lower(), right, n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else f": there are {', '.join(right)}"


def _checked(check: Callable[[str, Any], Any]) -> dict[str, Callable[[str, Any], Any]]:
    """Return the metadata of a field: the function that checks its values."""
    return {"check": check}


# -- Compression -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How WebSocket messages are compressed for peers that speak permessage-deflate (RFC 7692).

    :ivar level: zlib's, from 1, the fastest, to 9, the smallest.
    :ivar memory_level: zlib's, from 1 to 9: 8 takes 260 kB while a message is compressed, 1 takes half of that.
    :ivar threshold: UTF-8 bytes below which a WebSocket message goes as it is.
    :ivar context_takeover: whether each message is compressed with those before it in view: short ones that resemble
        each other become several times as short, but each connection takes up to 300 kB, and a message is compressed
        for each receiver, not once for all.
    :raises tornadio.errors.SettingsError: a value out of range; the message says what is right.
    """

    level: int = 6
    memory_level: int = 8
    threshold: int = 1024
    context_takeover: bool = False

    def __post_init__(self) -> None:
        for name in ("level", "memory_level"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 9:
                raise SettingsError(f"compression: {name} must be a whole number from 1 to 9, not {value!r}")
        if isinstance(self.threshold, bool) or not isinstance(self.threshold, int) or self.threshold < 0:
            raise SettingsError(f"compression: threshold must be a whole number of bytes, not {self.threshold!r}")
        if not isinstance(self.context_takeover, bool):
            raise SettingsError(f"compression: context_takeover must be True or False, not {self.context_takeover!r}")


# -- The settings ------------------------------------------------------------------------------------------------------

_SECONDS: Final = _checked(_check_seconds)
_COUNT: Final = _checked(_check_count)
_ORIGINS: Final = _checked(functools.partial(_check_list_or_none, "example.com:*"))
_HOSTS: Final = _checked(functools.partial(_check_list_or_none, "example.com"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a router, for ``get_router``, which takes a dict with these keys as well. Times are seconds above
    zero, sizes bytes. Lists are kept as tuples.

    :ivar enabled_protocols: transports that this router serves; the others answer 403.
    :ivar session_check_interval: how much later than it has expired a session may be ended; a second at most counts.
    :ivar session_expiry: how long a polling session lives after its last request ended.
    :ivar heartbeat_interval: how long nothing was sent, or nothing received, before a persistent connection is sent a
        heartbeat.
    :ivar heartbeat_timeout: a client that has sent nothing for this long since an unanswered heartbeat is closed.
    :ivar open_timeout: how long an ``on_open`` that is a coroutine may take; then it is cancelled, and its client is
        told 503, or WebSocket close code 1013.
    :ivar xhr_polling_timeout: how long a poll waits for news before it is answered empty.
    :ivar origins: who may connect, as ``'host:port'`` (either may be ``*``) or full origins, in both with
        ``*.example.com`` for the hosts below one; those of apps, such as ``'capacitor://localhost'``; ``'null'`` for
        files and sandboxed frames. ``None`` stands for pages of the requested hostname, on any port.
    :ivar hosts: names that clients may ask for this server by, ``'*.example.com'`` for those below one, ``'*'`` for
        any; ``None`` for the hosts of ``origins``; without these, too, clients of a local network may ask for names of
        one alone, others for any.
    :ivar json: how JSON is written and read. ``"marked"``: with ``~j~`` in front, as the official client 0.6 does.
        ``"plain"``: an object is sent as bare JSON text, and a text that is a JSON object or array arrives as one;
        other texts arrive as they are, and what a client sends with the mark is read as JSON, too.
    :ivar one_frame_per_message: whether a WebSocket message holds one frame of Socket.IO, for clients that read no
        more of it. Else what was sent in one iteration of the event loop is one WebSocket message. The first frame,
        and each heartbeat, has one of its own in any case.
    :ivar max_message_size: UTF-8 bytes of one message from a client, the mark of JSON, ``~j~``, included.
    :ivar max_payload_size: UTF-8 bytes of one payload from a client, which may hold many messages: a WebSocket message,
        or the field ``data`` of a POST, percent-decoded. The default grows with ``max_message_size``, so that a message
        of that size always fits.
    :ivar max_send_buffer: UTF-8 bytes queued or unsent for one connection, or for the bus.
    :ivar max_sessions: sessions alive at once in one router.
    :ivar max_sessions_per_address: how many of them one client address may have, all addresses of an IPv6 ``/64``
        together. Whose address that is, ``xheaders`` of ``SocketServer`` decides. ``None`` stands for a tenth of
        ``max_sessions``, at least 100, for addresses of the Internet alone: a loopback, private, shared or link-local
        address is not limited, for behind a proxy that is not named in ``xheaders`` everybody has it. A number is for
        all addresses. A Unix socket's peer has none, and neither has a request of a named proxy that names no client.
    :ivar compression: how WebSocket messages are compressed for clients that offer that (permessage-deflate):
        :class:`Compression`, a dict of its fields, or ``True`` for its defaults; ``None`` for not at all.
    :ivar bus: what connects this router with those of the same resource in other processes: the URL of a Redis, or an
        object; ``None`` for nothing.
    :ivar node: what the ids of this router's sessions begin with, ``[0-9a-z]``.
    :raises tornadio.errors.SettingsError: a value out of range; the message says what is right.
    """

    enabled_protocols: Collection[str] = field(default=PROTOCOLS, metadata=_checked(_check_protocols))
    session_check_interval: float = field(default=15.0, metadata=_SECONDS)
    session_expiry: float = field(default=30.0, metadata=_SECONDS)
    heartbeat_interval: float = field(default=12.0, metadata=_SECONDS)
    heartbeat_timeout: float = field(default=30.0, metadata=_SECONDS)
    open_timeout: float = field(default=30.0, metadata=_SECONDS)
    xhr_polling_timeout: float = field(default=20.0, metadata=_SECONDS)
    origins: Collection[str] | None = field(default=None, metadata=_ORIGINS)
    hosts: Collection[str] | None = field(default=None, metadata=_HOSTS)
    json: JSONFormat = field(default="marked", metadata=_checked(_check_json))
    one_frame_per_message: bool = field(default=False, metadata=_checked(_check_switch))
    max_message_size: int = field(default=1 << 20, metadata=_COUNT)
    max_payload_size: int = field(default=_DEFAULT_PAYLOAD_SIZE, metadata=_COUNT)
    max_send_buffer: int = field(default=16 << 20, metadata=_COUNT)
    max_sessions: int = field(default=100_000, metadata=_COUNT)
    max_sessions_per_address: int | None = field(default=None, metadata=_checked(_check_count_or_none))
    compression: "Compression | Mapping[str, Any] | bool | None" = field(
        default=None, metadata=_checked(_check_compression)
    )
    # Not in the repr: there may be a password in it.
    bus: "str | Bus | None" = field(default=None, repr=False, metadata=_checked(_check_bus))
    node: str = field(default="", metadata=_checked(_check_node))

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        payload_size = _fit_payload_size(self.max_message_size, self.max_payload_size)
        object.__setattr__(self, "max_payload_size", payload_size)


_CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    each.name: each.metadata["check"] for each in dataclasses.fields(Settings)
}


# What is read from an application's settings as well: all but these names, which there may mean anything.
_OF_APPLICATIONS: Final = tuple(name for name in _CHECKS if name not in ("bus", "compression", "json", "node"))


def make_settings(given: Mapping[str, Any] | Settings | None) -> Settings:
    """Validate the settings that ``get_router`` was given.

    :raises SettingsError: an unknown name or a value out of range; the message says what is right.
    """
    if isinstance(given, Settings):
        settings = given
    elif given is None:
        settings = Settings()
    elif isinstance(given, Mapping):
        _check_names(given)
        settings = Settings(**given)
    else:
        raise SettingsError(f"settings must be a dict or tornadio.Settings, not {type(given).__name__}")
    for warning in _warnings(settings):
        logger.warning(warning)
    return settings


def names_given(given: Mapping[str, Any] | Settings | None) -> frozenset[str]:
    """Return the names of the settings that ``get_router`` was given: of a :class:`Settings` those that differ from the
    defaults.
    """
    if isinstance(given, Settings):
        default = Settings()
        return frozenset(name for name in _CHECKS if getattr(given, name) != getattr(default, name))
    return frozenset(given or ())


def with_application_settings(settings: Settings, own: frozenset[str], application: Mapping[str, Any]) -> Settings:
    """Return a router's settings with those of its application, where the router was given none of its own: TornadIO
    0.0.5 was often given them there. ``bus``, ``compression``, ``json`` and ``node`` are not read from an application.

    :param own: the names that the router was given.
    :param application: ``tornado.web.Application.settings``.
    :raises SettingsError: a value out of range; the message says that the application has it.
    """
    found = {name: application[name] for name in _OF_APPLICATIONS if name in application and name not in own}
    try:
        changed = dataclasses.replace(settings, **found)
    except SettingsError as error:
        raise of_application(error) from None
    told = _warnings(settings)
    for warning in _warnings(changed):
        if warning not in told:
            logger.warning(warning)
    return changed


def of_application(error: SettingsError) -> SettingsError:
    """Return the error for a wrong setting of a router that an application has."""
    return SettingsError(
        f"in the settings of tornado.web.Application, which count where get_router was given none: {error}"
    )


def _warnings(settings: Settings) -> list[str]:
    """Return what is to be said of settings by which clients with default options lose their connections."""
    protocols, warnings = set(settings.enabled_protocols), []
    if settings.heartbeat_interval >= _CLIENT_TIMEOUT and protocols - _POLLING:
        warnings.append(
            f"heartbeat_interval is {settings.heartbeat_interval:g} s, but 0.6 clients disconnect after "
            f"{_CLIENT_TIMEOUT:g} s of silence: set it lower"
        )
    if settings.xhr_polling_timeout >= _POLL_TIMEOUT and protocols & _POLLING:
        warnings.append(
            f"xhr_polling_timeout is {settings.xhr_polling_timeout:g} s, but 0.6 clients that poll disconnect after "
            f"{_POLL_TIMEOUT:g} s without a response: set it lower"
        )
    return warnings


def _check_names(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in _CHECKS:
            continue
        if name in _APPLICATION_SETTINGS:
            raise SettingsError(
                f"{name!r} is a setting of the application: tornado.web.Application([...], {name}={value!r})"
            )
        raise SettingsError(f"unknown setting {name!r}{suggestion(name, tuple(_CHECKS))}")
