"""The URL of a server's resource, and the URLs of the transports below it. Knows no I/O."""

import base64
import re
import urllib.parse
from typing import Final, NamedTuple

from tornadio.errors import SettingsError
from tornadio.settings import PROTOCOLS

_PORTS: Final = {"ws": 80, "wss": 443, "http": 80, "https": 443}
_SECURE: Final = ("wss", "https")
_EXAMPLE: Final = "wss://example.com/socket.io"
_SAFE: Final = "/%:@!$&'()*+,;=~"  # characters of a path besides letters, digits and -._ (RFC 3986, section 3.3)
_SAFE_IN_QUERY: Final = _SAFE + "?"
_UNSAFE: Final = re.compile("[\x00-\x20\x7f-\x9f]")
# Characters that Python's codec "idna" (RFC 3490) replaces or removes, and browsers don't (RFC 5892, appendix A.1): the
# name is another domain then, which may be another's.
_AMBIGUOUS: Final = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")


class Target(NamedTuple):
    """The resource of a server.

    :ivar is_secure: whether connections are TLS.
    :ivar host: a name in ASCII, or an address: IPv6 without brackets, with the zone of a link-local one.
    :ivar path: of the resource and what is between it and the transport, percent-encoded.
    :ivar query: as it is behind the ``?``; empty if there is none.
    :ivar authorization: the value of the header ``Authorization``, for a URL with a user; else empty.
    """

    is_secure: bool
    host: str
    port: int
    path: str
    query: str
    authorization: str

    @property
    def authority(self) -> str:
        """Host and port, as in the header ``Host``, where a scheme's own port is left out."""
        return self._host if self.port == (443 if self.is_secure else 80) else self.connect_authority

    @property
    def connect_authority(self) -> str:
        """Host and port, as the method CONNECT names them (RFC 9110, section 9.3.6)."""
        return f"{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.server_name}]" if ":" in self.host else self.server_name

    @property
    def server_name(self) -> str:
        """The host as the server and its certificate have it: without an IPv6 address's zone, which this machine alone
        knows (RFC 6874, section 4), and without the dot at the end of a name that is looked up as it is (RFC 6066,
        section 3).
        """
        return self.host.partition("%")[0] if ":" in self.host else self.host.removesuffix(".")

    def request_target(self, transport: str, tail: str = "") -> str:
        """Return path and query of a transport's request.

        :param tail: what is behind the transport's name, with its slash.
        """
        query = f"?{self.query}" if self.query else ""
        return f"{self.path}/{transport}{tail}{query}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"  # no password, no token in the query

    def __str__(self) -> str:
        return f"{'wss' if self.is_secure else 'ws'}://{self.authority}{self.path}"


class Proxy(NamedTuple):
    """An HTTP proxy.

    :ivar authorization: the value of the header ``Proxy-Authorization``; empty without a user.
    """

    host: str
    port: int
    authorization: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"  # no password

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_url(url: str, extra: str = "") -> Target:
    """Parse the URL of a resource.

    :param url: ``ws``, ``wss``, ``http`` or ``https``; its path is the resource.
    :param extra: what is between the resource and the transport, with its separator in front.
    :raises SettingsError: the URL can't be that of a resource; says what is right.
    """
    parts, host, port, authorization = _split(url, "url", _PORTS, _EXAMPLE)
    if parts.fragment or url.endswith("#"):
        raise SettingsError(f"url has a fragment, which no server is sent: leave #{parts.fragment} away")
    segments = parts.path.strip("/").split("/")
    if segments == [""]:
        raise SettingsError(f"url has no path: it is the resource, as in {_EXAMPLE!r}")
    if len(segments) > 1 and segments[-1] in PROTOCOLS:
        raise SettingsError(
            f"url ends with a transport: leave '/{segments[-1]}' away, and say transports=[{segments[-1]!r}]"
        )
    if not isinstance(extra, str) or _UNSAFE.search(extra) or "?" in extra or "#" in extra:
        raise SettingsError(f"extra must be a part of a path, as '/123', not {extra!r}")
    path = urllib.parse.quote(parts.path.rstrip("/") + extra, safe=_SAFE)
    query = urllib.parse.quote(parts.query, safe=_SAFE_IN_QUERY)
    return Target(parts.scheme in _SECURE, host, port, path, query, authorization)


def parse_proxy(proxy: str) -> Proxy:
    """Parse the URL of a proxy, ``http://user:password@host:port``.

    :raises SettingsError: it is none; says what is right.
    """
    example = "http://proxy.example.com:3128"
    parts, host, port, authorization = _split(proxy, "proxy", {"http": 80}, example)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsError(f"proxy has nothing behind its port, as in {example!r}")
    return Proxy(host, port, authorization)


def _split(url: str, name: str, ports: dict[str, int], example: str) -> tuple[urllib.parse.SplitResult, str, int, str]:
    """Return a URL's parts, host, port and the value of its ``Authorization`` header.

    Errors don't quote the URL: there may be a password in it.
    """
    if not isinstance(url, str):
        raise SettingsError(f"{name} must be a str, as {example!r}, not {type(url).__name__}")
    if _UNSAFE.search(url):
        raise SettingsError(f"{name} has a blank or control character in it: percent-encode it")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:  # whose text may quote a password
        raise SettingsError(f"{name} is no URL, as {example!r} is: host or port are wrong") from None
    if parts.scheme not in ports or not parts.hostname:
        schemes = ", ".join(f"{scheme}://" for scheme in ports)
        raise SettingsError(f"{name} must begin with {schemes} and a host, as {example!r}")
    if port == 0:
        raise SettingsError(f"{name} has the port 0, which no server has")
    return parts, _ascii_host(parts.hostname, name), port or ports[parts.scheme], _basic(parts)


def _ascii_host(host: str, name: str) -> str:
    if ":" in host:
        address, separator, zone = host.partition("%")  # which is %25 in a URL (RFC 6874), and often %
        return address + separator + (zone.removeprefix("25") or zone)
    if host.isascii():
        return host
    if ambiguous := _AMBIGUOUS.search(host):
        raise SettingsError(
            f"{name} has the host {host!r}: for its character U+{ord(ambiguous[0]):04X} it is one domain to browsers "
            "and another one to Python; write it in ASCII, as xn--..."
        )
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise SettingsError(f"{name} has the host {host!r}, which is no domain name: {error}") from None


def _basic(parts: urllib.parse.SplitResult) -> str:
    """Return the value of an ``Authorization`` header (RFC 7617) for the user of a URL; empty if it has none."""
    if parts.username is None:
        return ""
    credentials = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(credentials.encode("utf-8")).decode("ascii")
