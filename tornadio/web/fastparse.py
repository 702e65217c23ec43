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
_REQUEST_LINE: Final = re.compile(rb"(GET|POST|OPTIONS) (/[!-~]*+) HTTP/1\.1\r\n")
_HEADERS: Final = re.compile(rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[ -~]*+\r\n)++)\r\n")
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
    :param data: the bytes that they were parsed from, with the empty line behind them.
    :ivar data: as given.
    :ivar body_size: what ``Content-Length`` says; ``None`` without one.
    :ivar accepted_for: what has accepted a request with these headers, by its access checks; ``None`` if nothing has.
    """

    __slots__ = ("_headers", "accepted_for", "body_size", "data")

    def __init__(self, headers: dict[str, str], data: bytes = b"") -> None:
        self._headers = headers
        self.data = data
        length = headers.get("content-length")
        self.body_size = None if length is None else int(length)
        self.accepted_for: object = None

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


def parse_simple_request(data: bytes, last: Headers | None = None) -> SimpleRequest | None:
    """Parse the simple request that ``data`` begins with.

    :param last: the headers of the connection's request before. Those of a client's polls are the same each time: they
        are not parsed again.
    :returns: ``None`` if there is none, or not the whole head of one. The body is complete if ``data`` has as many
        bytes as the request's ``total_bytes``.
    """
    line = _REQUEST_LINE.match(data)
    if line is None:
        return None
    method, uri = line[1].decode("ascii"), line[2].decode("ascii")
    start = line.end()
    headers = last if last is not None and data.startswith(last.data, start) else _parse_headers(data, start)
    # A POST has a body; that of another request, which nearly none has, is Tornado's.
    if headers is None or (method == "POST") is (headers.body_size is None) or uri.count("&") > _MAX_ARGUMENTS:
        return None
    start += len(headers.data)
    end = start + (headers.body_size or 0)
    return SimpleRequest(method, uri, headers, data[start:end], end)


def _parse_headers(data: bytes, start: int) -> Headers | None:
    """Parse the headers from ``start`` on; ``None`` where they are not those of a simple request, or incomplete."""
    found = _HEADERS.match(data, start)
    if found is None:
        return None
    lines = found[1].decode("ascii").split("\r\n")
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
    if not _LENGTH.fullmatch(headers.get("content-length", "0")):
        return None
    return Headers(headers, found[0])


def may_become_simple(data: bytes) -> bool:
    """Whether ``data`` is the beginning of a head, the rest of which may make it that of a simple request.

    Waiting for the rest delays nothing: Tornado's HTTP could not parse it either before the head is complete.
    """
    is_start = data.startswith(_STARTS) or any(start.startswith(data) for start in _STARTS)
    return is_start and _HEAD_END.search(data) is None
