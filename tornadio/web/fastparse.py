"""A strict parser for simple requests: HTTP/1.1 in the form that nearly every request has, and no other. Knows no I/O.

A request that is not simple is not rejected: it is left unread for Tornado's HTTP. So the rules may be strict without
harm: each line in its simplest form, in printable ASCII, no header twice, a body only with a plain ``Content-Length``.
Nothing of that can be read in two ways, so no proxy in front has read it otherwise (request smuggling, RFC 9112,
section 11.2).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, overload

# The quantifiers are possessive: a head that does not match is not tried again in shorter pieces.
_HEAD: Final = re.compile(
    rb"(GET|POST|OPTIONS) (/[!-~]*+) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[ -~]*+\r\n)++)\r\n"
)
_STARTS: Final = (b"GET /", b"POST /", b"OPTIONS /")
# The end of a head for Tornado's HTTP (http1connection.py): a bare LF ends a line, too.
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_HOST: Final = re.compile(r"[0-9A-Za-z.-]+(?::[0-9]{1,5})?")
_LENGTH: Final = re.compile("[0-9]{1,6}")
# These ask for more than a response to this request, or announce another kind of body.
_UNSUPPORTED_HEADERS: Final = frozenset({"expect", "http2-settings", "te", "trailer", "transfer-encoding"})
_CONNECTION_VALUES: Final = frozenset({"keep-alive", "upgrade", "keep-alive, upgrade"})
# Tornado refuses a query with more arguments than tornado.httputil.set_parse_body_config allows, 1000 at first.
_MAX_ARGUMENTS: Final = 100


class Headers(Mapping[str, str]):
    """A request's headers, by their names in any case.

    :param headers: by their names in lower case.
    """

    __slots__ = ("_headers",)

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    @overload  # type: ignore[override]
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a header, or the default."""
        return self._headers.get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


class SimpleRequest:
    """One simple request, whose body may still be incomplete.

    :ivar uri: path and query, in ASCII.
    :ivar body: what was received of the body.
    :ivar total_bytes: of head and body, with the part of the body that was not received.
    """

    __slots__ = ("body", "headers", "method", "total_bytes", "uri")

    def __init__(self, method: str, uri: str, headers: Headers, body: bytes, total_bytes: int) -> None:
        self.method = method
        self.uri = uri
        self.headers = headers
        self.body = body
        self.total_bytes = total_bytes


def parse_simple_request(data: bytes) -> SimpleRequest | None:
    """Parse the simple request that ``data`` begins with.

    :returns: ``None`` if there is none, or not the whole head of one. The body is complete if ``data`` has as many
        bytes as the request's ``total_bytes``.
    """
    found = _HEAD.match(data)
    if found is None:
        return None
    lines = found[3].decode("ascii").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" ")
    # A duplicate header. Without one the counts agree: `lines` ends with "", for which `headers` has the key "".
    if len(headers) != len(lines):
        return None
    del headers[""]
    if not _UNSUPPORTED_HEADERS.isdisjoint(headers) or not _HOST.fullmatch(headers.get("host", "")):
        return None
    if headers.get("connection", "keep-alive").lower() not in _CONNECTION_VALUES:
        return None
    if found[2].count(b"&") > _MAX_ARGUMENTS:
        return None
    method, start = found[1].decode("ascii"), found.end()
    length = headers.get("content-length")
    if method == "POST":
        if length is None or not _LENGTH.fullmatch(length):
            return None
        end = start + int(length)
    elif length is not None:  # a body on GET or OPTIONS: nearly no request has one
        return None
    else:
        end = start
    return SimpleRequest(method, found[2].decode("ascii"), Headers(headers), data[start:end], end)


def may_become_simple(data: bytes) -> bool:
    """Whether ``data`` is the beginning of a head, the rest of which may make it that of a simple request.

    Waiting for the rest delays nothing: Tornado's HTTP could not parse it either before the head is complete.
    """
    is_start = data.startswith(_STARTS) or any(start.startswith(data) for start in _STARTS)
    return is_start and _HEAD_END.search(data) is None
