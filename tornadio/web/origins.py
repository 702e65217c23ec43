"""The check of a request's origin: the setting ``origins``, for every transport, for preflights, for Flash's policy.

The check keeps other sites from connecting with a visitor's cookies (cross-site WebSocket hijacking). The ``Origin``
header, which browsers set and pages can't forge (RFC 6454), names the page. GETs of images, frames and scripts have
none, whatever page they are in: for these ``Sec-Fetch-Site`` (W3C Fetch Metadata) and ``Referer`` are read.
"""

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from tornadio.errors import SettingsError
from tornadio.net.addresses import parse_address

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_HOST_AND_PORT = re.compile(r"(\*|\[[0-9a-fA-F:.]+\]|(?:\*\.)?[^\s/@:\[\]*]+):(\*|[0-9]{1,5})")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a field's name (RFC 9110, section 5.1)
# What may stand behind "*.": a name, in ASCII; no part of it is empty.
_DOMAIN: Final = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")

# The origin of a page that no web server has: of an app or an extension. In a Referer the rest of a URL may follow.
_APP = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/?#@\\]*)(?:[/?#].*)?")
_NO_APPS: Final = frozenset({*_DEFAULT_PORTS, "about", "blob", "data", "ftp", "javascript"})
_UNNAMED: Final = "null"  # what browsers say for a page without an origin: a sandboxed frame, a file

# Sec-Fetch-Site of requests by pages of this origin, and by no page: a URL typed, a bookmark.
_OWN_SITES: Final = frozenset({"same-origin", "none"})

# Characters of a header whose parsed form is cached: longer ones are parsed each time, so no client fills the memory.
_MAX_KEPT: Final = 300
_MAX_NAME: Final = 255  # characters of a host name (RFC 1035, section 2.3.4)
# Python's codec implements IDNA 2003, which maps these to other names than browsers do (UTS 46, section 7).
_DEVIATIONS: Final = frozenset("ß\u03c2\u200c\u200d")

REFUSED: Final = "this origin may not connect: see the setting 'origins'"
_UNTOLD_PAGE: Final = (
    "a request of another origin must say whose: let the page send a Referer, of an origin in the setting 'origins'"
)
_UNTOLD_SCRIPT: Final = (
    "a script's request must carry a Referer: let the page send it (see its Referrer-Policy), or use xhr-polling"
)


class Origin(NamedTuple):
    """A web page's origin; ``scheme`` and ``host`` are lower-case, IPv6 hosts stand without brackets."""

    scheme: str
    host: str
    port: int


def parse_origin(text: str) -> Origin | None:
    """Parse an ``Origin`` header, or the start of a ``Referer``; ``None`` if that is no page's (``null``, a file)."""
    return _parsed(text) if len(text) <= _MAX_KEPT else _parsed.__wrapped__(text)


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> Origin | None:
    try:
        parts = urlsplit(_decoded(text))
        default_port = _DEFAULT_PORTS.get(parts.scheme)
        port = parts.port or default_port
    except ValueError:
        return None
    host = ascii_name(parts.hostname or "")
    # No origin has credentials, or an empty port (RFC 6454, section 6.2): a text that does was not made by a browser.
    if not host or port is None or default_port is None or "@" in parts.netloc or parts.netloc.endswith(":"):
        return None
    return Origin(parts.scheme, host, port)


def _app_origin(text: str) -> str | None:
    """Return the origin of an app, such as ``capacitor://localhost``, or ``null``; ``None`` if the text is neither.

    :param text: an ``Origin`` header, a ``Referer`` or an entry of the setting.
    """
    if text == _UNNAMED:
        return text
    parts = _APP.fullmatch(text.lower())
    if parts is None or parts[1] in _NO_APPS or bool(parts[2]) is (parts[1] == "file"):
        return None
    return f"{parts[1]}://{parts[2]}"


def host_of(header: str) -> str:
    """Return the hostname in a ``Host`` header, lower-case, without port and brackets; ``''`` if it has none."""
    return _host_of(header) if len(header) <= _MAX_KEPT else _host_of.__wrapped__(header)


@functools.lru_cache(maxsize=1024)
def _host_of(header: str) -> str:
    if "@" in header:
        return ""
    try:
        return ascii_name(urlsplit(f"//{_decoded(header)}").hostname or "")
    except ValueError:
        return ""


def _decoded(header: str) -> str:
    """Decode a header that is UTF-8, and was decoded as Latin-1 by Tornado."""
    if header.isascii():
        return header
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def ascii_name(name: str) -> str:
    """Return a host name as browsers send it: an internationalized one in its ASCII form, ``xn--...`` (RFC 5891);
    ``''`` if that is not certain.

    :param name: in lower case.
    """
    if name.isascii():
        return name
    if len(name) > _MAX_NAME or not _DEVIATIONS.isdisjoint(name):
        return ""
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""


def header_once(headers: Mapping[str, str], name: str) -> str | None:
    """Return the value of a header that says where a request comes from; identical ones count as one.

    Tornado's ``HTTPHeaders`` joins repeated headers with a comma, as proxies may (RFC 9110, section 5.3).
    """
    value = headers.get(name)
    return value if value is None or "," not in value else _once(value)


def _once(value: str) -> str:
    """Return one of the values that a comma joins, if all are the same, else the whole."""
    values = {each.strip() for each in value.split(",")}
    return values.pop() if len(values) == 1 else value


def _is_several(value: str) -> bool:
    """Whether the value of an ``Origin`` header was joined from different ones: no browser sends a comma in one."""
    return "," in value and all("://" in each or each.strip() == "null" for each in value.split(","))


def page_header(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the name and value of the header that says which page made a request; ``None`` without one: then a program
    made it, or, over HTTP without TLS, a page with ``Referrer-Policy: no-referrer``.
    """
    origin = headers.get("Origin")
    if origin is not None:
        return "Origin", (origin if "," not in origin else _once(origin))
    site = headers.get("Sec-Fetch-Site")
    if site in _OWN_SITES:  # before the Referer, which a Referrer-Policy may have cut
        return "Sec-Fetch-Site", site
    if site is not None and "," in site and (site := _once(site)) in _OWN_SITES:
        return "Sec-Fetch-Site", site
    referer = header_once(headers, "Referer")
    if referer is not None:
        return "Referer", referer
    return None if site is None else ("Sec-Fetch-Site", site)


class _Pattern(NamedTuple):
    """One entry of the setting ``origins``; ``None`` matches anything, the host ``*.name`` what is below ``name``."""

    scheme: str | None
    host: str | None
    port: int | None

    def matches(self, origin: Origin) -> bool:
        if self.scheme not in (None, origin.scheme) or self.port not in (None, origin.port):
            return False
        if self.host is None or self.host == origin.host:
            return True
        domain = self.host.removeprefix("*")  # ".name", which is no host by itself
        return domain != self.host and origin.host.endswith(domain) and origin.host != domain


class OriginRule:
    """The setting ``origins``, parsed.

    :param origins: ``'host:port'`` entries (either side may be ``*``) and full origins such as
        ``'https://example.com'``; in both the host may be ``*.example.com``, for all names below that one. Origins of
        apps, such as ``'capacitor://localhost'``, ``'moz-extension://*'`` for all of a scheme, and ``'null'``. ``None``
        for pages of the requested hostname, on any port.
    :raises SettingsError: an entry that is none of these.
    """

    def __init__(self, origins: Iterable[str] | None) -> None:
        entries = () if origins is None else tuple(origins)
        apps = [_parse_app(entry) for entry in entries]
        self._apps = frozenset(filter(None, apps))
        patterns = tuple(_parse_pattern(entry) for entry, app in zip(entries, apps, strict=True) if app is None)
        self._patterns = None if origins is None else patterns
        self._anyone = self._patterns is not None and _Pattern(None, None, None) in self._patterns

    def refusal(self, headers: Mapping[str, str], host: str, is_script: bool) -> str | None:
        """Return why a request must be refused, and what to do about that; ``None`` if the request is allowed.

        :param headers: its headers.
        :param host: its ``Host`` header.
        :param is_script: whether a page of any site could read the response, as a ``<script>`` element does. Such a
            request must name its page; one of another kind that does not is a program's.
        """
        told = page_header(headers)
        if told is None:
            return _UNTOLD_SCRIPT if is_script and not self._lets_unnamed_in else None
        name, value = told
        if name == "Sec-Fetch-Site":
            return None if value in _OWN_SITES or self._lets_unnamed_in else _UNTOLD_PAGE
        if "," in value:
            return self.refusal_of(name, value, host)
        return None if self.allows(value, host) else REFUSED

    @property
    def _lets_unnamed_in(self) -> bool:
        """Whether pages may connect that do not say which: any site can make such a page, whose origin is ``null``."""
        return self._anyone or _UNNAMED in self._apps

    def refusal_of(self, name: str, value: str, host: str) -> str | None:
        """Return why a request that names its page in a header must be refused; ``None`` if the page may connect.

        :param name: the header's, ``value`` its value by :func:`header_once`.
        :param host: the request's ``Host`` header.
        """
        if _is_several(value) and name != "Referer":  # none of the two could be named in the response
            return f"this request has two different {name} headers: send one"
        return None if self.allows(value, host) else REFUSED

    def allows(self, origin: str, host: str) -> bool:
        """Whether pages of an origin may connect.

        :param origin: an ``Origin`` header, or a ``Referer``.
        :param host: the request's ``Host`` header.
        """
        if self._anyone or (self._apps and self._allows_app(origin)):
            return True
        page = parse_origin(origin)
        if page is None:
            return False
        # Any port and scheme: pages of 0.6 applications are served on port 80, and their sockets on another one.
        if self._patterns is None:
            return page.host == host_of(host)
        return any(pattern.matches(page) for pattern in self._patterns)

    def _allows_app(self, origin: str) -> bool:
        app = _app_origin(origin)
        return app is not None and (app in self._apps or f"{app.partition('://')[0]}://*" in self._apps)

    @property
    def hosts(self) -> list[str] | None:
        """The host names of the entries, ``'*'`` for any; ``None`` for the default rule, and where all are of apps."""
        if self._patterns is None or (self._apps and not self._patterns):
            return None
        return [pattern.host or "*" for pattern in self._patterns]


def _parse_app(entry: str) -> str | None:
    """Return an entry that is the origin of an app, ``scheme://*`` for all of a scheme; ``None`` for other entries."""
    app = _app_origin(entry) if isinstance(entry, str) else None
    if app is None or entry.lower() not in (app, f"{app}/"):
        return None
    scheme, _, host = app.partition("://")
    # A scheme that resembles those of the web is a mistake.
    if ("*" in host and host != "*") or difflib.get_close_matches(scheme, ("http", "https"), n=1, cutoff=0.7):
        return None
    return app


def _parse_pattern(entry: str) -> _Pattern:
    mistake = SettingsError(
        f"origins: {entry!r} is no origin: write 'host:port' ('*' for any), '*.example.com:port' for names below one, "
        "or 'https://example.com' without a path, 'capacitor://localhost' for an app, 'null' for pages that have no "
        "origin; an internationalized name may need its ASCII form, 'xn--...'"
    )
    if not isinstance(entry, str):
        raise mistake
    if "//" in entry:
        origin = parse_origin(entry.replace("//*.", "//", 1))
        if origin is None or entry.lower().rstrip("/").count("/") != 2 or any(mark in entry for mark in "?#"):
            raise mistake
        pattern = _Pattern(origin.scheme, origin.host, origin.port)
        is_domain = "//*." in entry
    else:
        parts = _HOST_AND_PORT.fullmatch(entry)
        if parts is None or (parts[2] != "*" and not 0 < int(parts[2]) < 65536):
            raise mistake
        is_domain = parts[1].startswith("*.")
        host, port = ascii_name(parts[1].removeprefix("*.").strip("[]").lower()), parts[2]
        if not host:
            raise mistake
        pattern = _Pattern(None, None if host == "*" else host, None if port == "*" else int(port))
    if not is_domain:
        if "*" in (pattern.host or ""):
            raise mistake
        return pattern
    if pattern.host is None or not _DOMAIN.fullmatch(pattern.host) or parse_address(pattern.host) is not None:
        raise mistake
    return pattern._replace(host=f"*.{pattern.host}")


def cors_headers(origin: str) -> dict[str, str]:
    """Return the CORS headers with which the page at ``origin``, which was allowed, can read a response."""
    # The one origin: browsers accept no "*" together with credentials (Fetch standard, CORS protocol).
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}


def preflight_headers(asked_for: str) -> dict[str, str]:
    """Return the headers with which a page that was allowed may send its request.

    :param asked_for: the preflight's ``Access-Control-Request-Headers``. All are allowed, since none means anything
        here: scripts for tracing and the like add theirs to every request of a page.
    """
    names = [name.strip() for name in asked_for.split(",")]
    added = [name for name in names if _TOKEN.fullmatch(name) and name.lower() != "content-type"]
    return {
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Allow-Headers": ", ".join(["Content-Type", *added]),
        "Access-Control-Max-Age": "3600",  # seconds; Chromium caps it at 7200
    }


def flash_policy(domains: Iterable[str], port: int) -> bytes:
    """Build a Flash socket policy file, for connections of movies from these domains to ``port``."""
    entries = dict.fromkeys(domains)
    lines = "".join(f'<allow-access-from domain={quoteattr(domain)} to-ports="{port}"/>' for domain in entries)
    return f'<?xml version="1.0"?><cross-domain-policy>{lines}</cross-domain-policy>'.encode()
