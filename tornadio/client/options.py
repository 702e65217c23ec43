"""The options of a client's connection: one frozen object, validated when it is made."""

import dataclasses
import functools
import re
import ssl
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

from tornadio.client.url import Proxy, Target, parse_proxy, parse_url
from tornadio.errors import SettingsError
from tornadio.proto import JSONFormat, check_json_format
from tornadio.settings import Compression, Settings, suggestion

TRANSPORTS: Final = ("websocket", "xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile")
FIRST_FRAMES: Final = ("session_id", "message")

FirstFrame = Literal["session_id", "message"]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Trace = Callable[[Literal["in", "out"], str], object]

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_FORBIDDEN_IN_VALUE: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")  # section 5.5, and Latin-1
_FORBIDDEN_IN_COOKIE: Final = re.compile("[\x00-\x20\x7f;,]|[^\x00-\x7f]")  # RFC 6265, section 4.1.1
# Headers that frame a message, or belong to the handshake: the client makes them.
_OWN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What :func:`tornadio.connect` was given; its parameters are described there.

    :ivar target: ``url`` and ``extra``.
    :ivar headers: as pairs, with ``origin`` and without cookies.
    :ivar cookies: with those of a header ``Cookie``.
    :ivar ssl: the context of a TLS connection, ``None`` without TLS.
    """

    target: Target
    transports: tuple[str, ...]
    json: JSONFormat
    headers: tuple[tuple[str, str], ...] = dataclasses.field(repr=False)  # with passwords and tokens, as cookies
    cookies: dict[str, str] = dataclasses.field(repr=False)
    ssl: ssl.SSLContext | None
    proxy: Proxy | None
    compression: Compression | None
    first_frame: FirstFrame
    open_timeout: float
    silence_timeout: float
    close_timeout: float
    max_message_size: int
    max_payload_size: int
    max_send_buffer: int
    min_delay: float
    max_delay: float
    trace: Trace | None


def make_options(
    url: str,
    *,
    transports: Iterable[str],
    json: JSONFormat,
    origin: str | None,
    headers: Headers | None,
    cookies: Mapping[str, str] | None,
    extra: str,
    ssl: ssl.SSLContext | None,
    proxy: str | None,
    compression: Compression | Mapping[str, Any] | bool | None,
    first_frame: FirstFrame,
    open_timeout: float,
    silence_timeout: float,
    close_timeout: float,
    max_message_size: int,
    max_payload_size: int,
    max_send_buffer: int,
    min_delay: float,
    max_delay: float,
    trace: Trace | None,
) -> Options:
    """Validate the arguments of :func:`tornadio.connect`.

    :raises SettingsError: one of them can't be used; the message says what is right.
    """
    target = parse_url(url, extra)
    names = _check_transports(transports)
    check_json_format(json)
    if first_frame not in FIRST_FRAMES:
        raise SettingsError(f"first_frame must be {' or '.join(map(repr, FIRST_FRAMES))}, not {first_frame!r}")
    if first_frame == "message" and names != ("websocket",):
        raise SettingsError(
            "first_frame='message' needs transports=['websocket']: the others name the session in each request, by the "
            "id in its first frame"
        )
    pairs = _check_headers(headers)
    jar = _cookies_of(pairs) | _check_cookies(cookies)
    pairs = [pair for pair in pairs if pair[0].lower() != "cookie"]
    if origin is not None:
        pairs += _check_headers({"Origin": origin})
    if sum(name.lower() == "origin" for name, _ in pairs) > 1:
        raise SettingsError("Origin is sent once: give it as the option origin, or in headers")
    if target.authorization and not any(name.lower() == "authorization" for name, _ in pairs):
        pairs.append(("Authorization", target.authorization))
    if trace is not None and not callable(trace):
        raise SettingsError(f"trace must be a function of a direction and a payload, not {trace!r}")
    delays = _check_seconds("min_delay", min_delay), _check_seconds("max_delay", max_delay)
    if delays[0] > delays[1]:
        raise SettingsError(f"min_delay, {min_delay:g}, is larger than max_delay, {max_delay:g}")
    return Options(
        target=target,
        transports=names,
        json=json,
        headers=tuple(pairs),
        cookies=jar,
        ssl=_check_ssl(ssl, target),
        proxy=None if proxy is None else parse_proxy(proxy),
        compression=_check_compression(compression),
        first_frame=first_frame,
        open_timeout=_check_seconds("open_timeout", open_timeout),
        silence_timeout=_check_seconds("silence_timeout", silence_timeout),
        close_timeout=_check_seconds("close_timeout", close_timeout),
        max_message_size=_check_count("max_message_size", max_message_size),
        max_payload_size=_check_count("max_payload_size", max_payload_size),
        max_send_buffer=_check_count("max_send_buffer", max_send_buffer),
        min_delay=delays[0],
        max_delay=delays[1],
        trace=trace,
    )


def _check_transports(transports: Iterable[str]) -> tuple[str, ...]:
    if isinstance(transports, str) or not isinstance(transports, Iterable):
        raise SettingsError(f"transports must be a list, such as ['websocket'], not {transports!r}")
    names = tuple(dict.fromkeys(transports))
    if not names:
        raise SettingsError(f"transports must name at least one of {', '.join(TRANSPORTS)}")
    for name in names:
        if name not in TRANSPORTS:
            raise SettingsError(f"transports: this client has no transport {name!r}{suggestion(name, TRANSPORTS)}")
    return names


def _check_seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise SettingsError(f"{name} must be a number of seconds, above 0 and finite, not {value!r}")
    return float(value)


def _check_count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def _check_compression(compression: Compression | Mapping[str, Any] | bool | None) -> Compression | None:
    checked = Settings(compression=compression).compression  # as of a server: the field has the checked value
    assert checked is None or isinstance(checked, Compression)
    return checked


def _check_ssl(context: object, target: Target) -> ssl.SSLContext | None:
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise SettingsError(f"ssl must be an ssl.SSLContext, as ssl.create_default_context() makes it, not {context!r}")
    if context is not None and not target.is_secure:
        raise SettingsError("ssl is for wss:// and https:// URLs; this one is without TLS")
    if context is None and target.is_secure:
        return _default_context()
    return context


@functools.cache
def _default_context() -> ssl.SSLContext:
    # One for all connections: it holds the certificates of all authorities, which take 20 ms to load.
    return ssl.create_default_context()


def _check_headers(headers: Headers | None) -> list[tuple[str, str]]:
    """Check headers: names and values that can be sent, and that the client doesn't make itself."""
    if headers is None:
        return []
    try:
        pairs = [(name, value) for name, value in (headers.items() if isinstance(headers, Mapping) else headers)]
    except (TypeError, ValueError):
        raise SettingsError("headers must be a dict, or a list of pairs of a name and a value") from None
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            raise SettingsError(f"headers: names and values are str; {name!r} has {type(value).__name__}")
        if not _TOKEN.fullmatch(name):
            raise SettingsError(f"headers: {name!r} is no name of a header")
        if name.lower() in _OWN_HEADERS:
            raise SettingsError(f"headers: {name} is made by the client itself: leave it away")
        if _FORBIDDEN_IN_VALUE.search(value):
            raise SettingsError(f"headers: the value of {name} has a newline, or another character that no header has")
    return pairs


def _check_cookies(cookies: Mapping[str, str] | None) -> dict[str, str]:
    if cookies is None:
        return {}
    if not isinstance(cookies, Mapping):
        raise SettingsError(f"cookies must be a dict of names and values, not {type(cookies).__name__}")
    for name, value in cookies.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise SettingsError(f"cookies: {name!r} is no name of a cookie")
        if not isinstance(value, str) or _FORBIDDEN_IN_COOKIE.search(value):
            raise SettingsError(
                f"cookies: the value of {name} must be ASCII without blanks, commas and semicolons: percent-encode it"
            )
    return dict(cookies)


def _cookies_of(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the cookies that headers ``Cookie`` hold, such as a browser's tools show."""
    values = [value for name, value in headers if name.lower() == "cookie"]
    pairs = [pair.strip().partition("=") for value in values for pair in value.split(";") if pair.strip()]
    return {name: value for name, _, value in pairs}
