"""Plain requests: HTTP/1.1 in the form that nearly every request has, and no other, read in one go. Knows no I/O.

What is not plain is not refused, it is left unread for Tornado's HTTP. So the rules may be strict without harm: each
line in its simplest form, in printable ASCII, no name twice, a body only with a plain length. Nothing of that can be
read in two ways, so no proxy in front has read it otherwise (request smuggling, RFC 9112, section 11.2).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, overload

_HEAD: Final = re.compile(
    rb"(GET|POST|OPTIONS) (/[!-~]*+) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[ -~]*+\r\n)++)\r\n"
)
_HOST: Final = re.compile(r"[0-9A-Za-z.-]+(?::[0-9]{1,5})?")
_LENGTH: Final = re.compile("[0-9]{1,6}")
# What asks for more than a request and its answer, or for another kind of body.
_NOT_PLAIN: Final = frozenset({"expect", "http2-settings", "te", "trailer", "transfer-encoding"})
_MAX_ARGUMENTS: Final = 100  # Tornado refuses a query with too many
_KEPT: Final = frozenset({"keep-alive", "upgrade", "keep-alive, upgrade"})


class Fields(Mapping[str, str]):
    """Header fields, by their names in any case.

    :param fields: by their names in lower case.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    @overload  # type: ignore[override]
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a field, or the default."""
        return self._fields.get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class SimpleRequest:
    """One plain request.

    :ivar uri: path and query, in ASCII.
    :ivar size: bytes of the whole request.
    """

    __slots__ = ("body", "headers", "method", "size", "uri")

    def __init__(self, method: str, uri: str, fields: Fields, body: bytes, size: int) -> None:
        self.method = method
        self.uri = uri
        self.headers = fields
        self.body = body
        self.size = size


def parse(data: bytes) -> SimpleRequest | None:
    """The request that ``data`` begins with, if it is a plain one, and whole."""
    found = _HEAD.match(data)
    if found is None:
        return None
    lines = found[3].decode("ascii").split("\r\n")
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip(" ")
    if len(fields) != len(lines):  # a name came twice; behind the last line stands an empty one, as here
        return None
    del fields[""]
    if not _NOT_PLAIN.isdisjoint(fields) or not _HOST.fullmatch(fields.get("host", "")):
        return None
    if fields.get("connection", "keep-alive").lower() not in _KEPT:
        return None
    if found[2].count(b"&") > _MAX_ARGUMENTS:
        return None
    method, start = found[1].decode("ascii"), found.end()
    length = fields.get("content-length")
    if method == "POST":
        if length is None or not _LENGTH.fullmatch(length):
            return None
        end = start + int(length)
        if end > len(data):
            return None
    elif length is not None:
        return None
    else:
        end = start
    return SimpleRequest(method, found[2].decode("ascii"), Fields(fields), data[start:end], end)
