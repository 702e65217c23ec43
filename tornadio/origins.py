"""Who may connect: one rule for every transport, for POSTs and preflights, and for the Flash policy.

The rule keeps other sites from using a visitor's cookies here (cross-site WebSocket hijacking). It looks at the
``Origin`` header, which browsers set and pages can't forge (RFC 6454); a request without one is no browser's
cross-site call. JSONP is the exception, script tags send no ``Origin``: there ``Sec-Fetch-Site`` and ``Referer``
stand in for it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from tornadio.errors import SettingsError

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_HOST_AND_PORT = re.compile(r"(\*|\[[0-9a-fA-F:.]+\]|[^\s/@:\[\]*]+):(\*|[0-9]{1,5})")


class Origin(NamedTuple):
    """A web page's origin; ``scheme`` and ``host`` are lower-case, IPv6 hosts stand without brackets."""

    scheme: str
    host: str
    port: int


def parse_origin(text: str) -> Origin | None:
    """An ``Origin`` header, or the start of a ``Referer``; ``None`` where it names no web page (``null``, a file)."""
    try:
        parts = urlsplit(text)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or port is None or "@" in parts.netloc or parts.netloc.endswith(":"):
        return None
    return Origin(parts.scheme, parts.hostname, port)


def host_of(header: str) -> str:
    """The hostname in a ``Host`` header, lower-case, without port and brackets; ``''`` where it is none."""
    if "@" in header:
        return ""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


class _Pattern(NamedTuple):
    """One entry of the setting ``origins``; ``None`` matches anything."""

    scheme: str | None
    host: str | None
    port: int | None

    def matches(self, origin: Origin) -> bool:
        return all(mine is None or mine == theirs for mine, theirs in zip(self, origin, strict=True))


class OriginRule:
    """The setting ``origins`` as a rule.

    :param origins: ``'host:port'`` entries (either side may be ``*``) and full origins such as
        ``'https://example.com'``; ``None`` for pages of the requested hostname, on any port.
    :raises SettingsError: an entry that is neither.
    """

    def __init__(self, origins: Iterable[str] | None) -> None:
        self._patterns = None if origins is None else tuple(_parse_pattern(entry) for entry in origins)
        self._anyone = self._patterns is not None and _Pattern(None, None, None) in self._patterns

    def allows(self, origin: str | None, host: str) -> bool:
        """Whether a request may go on.

        :param origin: its ``Origin`` header, ``None`` where it has none.
        :param host: its ``Host`` header.
        """
        if origin is None or self._anyone:
            return True
        page = parse_origin(origin)
        if page is None:
            return False
        if self._patterns is None:
            return page.host == host_of(host)
        return any(pattern.matches(page) for pattern in self._patterns)

    def allows_script(self, headers: Mapping[str, str], host: str) -> bool:
        """Whether a request that a ``<script>`` element may have made can go on: JSONP's side of the rule."""
        origin = headers.get("Origin")
        if origin is not None or self._anyone:
            return self.allows(origin, host)
        site = headers.get("Sec-Fetch-Site")
        if site in ("same-origin", "none"):
            return True
        referer = headers.get("Referer")
        if referer is None:
            return site is None
        return self.allows(referer, host)

    def policy_domains(self) -> list[str]:
        """Domains for ``allow-access-from`` of a Flash policy.

        A policy file can't say "the host that was asked", so the default rule becomes ``*`` here; the origin that the
        movie sends with its handshake is still held against the rule.
        """
        if self._patterns is None:
            return ["*"]
        return [pattern.host or "*" for pattern in self._patterns]


def _parse_pattern(entry: str) -> _Pattern:
    mistake = SettingsError(
        f"origins: {entry!r} is no origin: write 'host:port' ('*' for any), or 'https://example.com' without a path"
    )
    if not isinstance(entry, str):
        raise mistake
    if "//" in entry:
        origin = parse_origin(entry)
        if origin is None or entry.lower().rstrip("/").count("/") != 2 or any(mark in entry for mark in "*?#"):
            raise mistake
        return _Pattern(*origin)
    parts = _HOST_AND_PORT.fullmatch(entry)
    if parts is None or (parts[2] != "*" and not 0 < int(parts[2]) < 65536):
        raise mistake
    host, port = parts[1].strip("[]").lower(), parts[2]
    return _Pattern(None, None if host == "*" else host, None if port == "*" else int(port))


def cors_headers(origin: str) -> dict[str, str]:
    """Headers that let the page at ``origin``, which the rule allowed, read a response."""
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}


PREFLIGHT_HEADERS: Final = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "3600",
}


def flash_policy(rules: Iterable[OriginRule], port: int) -> bytes:
    """A Flash socket policy file: the union of several routers' rules, for connections to ``port``."""
    domains = dict.fromkeys(domain for rule in rules for domain in rule.policy_domains())
    lines = "".join(f'<allow-access-from domain={quoteattr(domain)} to-ports="{port}"/>' for domain in domains)
    return f'<?xml version="1.0"?><cross-domain-policy>{lines}</cross-domain-policy>'.encode()
