"""The formats of the streams ``xhr-multipart`` and ``htmlfile``: payloads from the body of a response. Knows no I/O."""

import json
import re
from collections.abc import Iterator
from typing import Final, Protocol

from tornadio.errors import ProtocolError, TooLargeError

_BOUNDARY: Final = re.compile(r'multipart/[^;]*;.*boundary="?([^";,\s]+)"?', re.IGNORECASE)
_MAX_HEADERS: Final = 4096  # bytes of a part's
_SCRIPT: Final = b"<script>parent.s._("
_SCRIPT_END: Final = b'", document);</script>'  # with the quote that ends the string
_BACKSLASH: Final = ord("\\")
_ESCAPE_LENGTH: Final = 6  # a character may be written as \uXXXX


class StreamParser(Protocol):
    """Finds the payloads in the body of a stream.

    :param content_type: the response's.
    :param max_payload_size: UTF-8 bytes of a payload, about.
    :raises ProtocolError: a stream of this format has another content type.
    """

    def __init__(self, content_type: str, max_payload_size: int) -> None: ...

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the payloads that are whole with these bytes.

        :raises ProtocolError: from the iterator: a payload is not UTF-8, or no string.
        :raises TooLargeError: from the iterator: a payload is larger than ``max_payload_size``.
        """


class MultipartParser:
    """``xhr-multipart``: the parts of a ``multipart/x-mixed-replace`` body. Its lines end with LF alone."""

    def __init__(self, content_type: str, max_payload_size: int) -> None:
        boundary = _BOUNDARY.match(content_type)
        if boundary is None:
            raise ProtocolError(f"the stream is no multipart with a boundary, but {content_type!r}")
        self._delimiter = f"\n--{boundary[1]}\n".encode("latin-1")
        self._max_payload_size = max_payload_size
        self._buffer = bytearray(b"\n")  # so that the first boundary, which begins the body, is one as the others are
        self._searched = 0
        self._is_preamble = True

    def feed(self, data: bytes) -> Iterator[str]:
        buffer = self._buffer
        buffer += data
        while (end := buffer.find(self._delimiter, self._searched)) >= 0:
            part = bytes(buffer[:end])
            del buffer[: end + len(self._delimiter)]
            self._searched = 0
            if self._is_preamble:
                self._is_preamble = False
            else:
                yield _utf8(part.partition(b"\n\n")[2])
        self._searched = max(0, len(buffer) - len(self._delimiter) + 1)
        if len(buffer) > self._max_payload_size + _MAX_HEADERS:
            raise _too_large(self._max_payload_size)


class HTMLFileParser:
    """``htmlfile``: the string in each script element of an endless page."""

    def __init__(self, content_type: str, max_payload_size: int) -> None:
        if "html" not in content_type:
            raise ProtocolError(f"the stream is no HTML page, but {content_type!r}")
        self._max_payload_size = max_payload_size
        self._buffer = bytearray()
        self._searched = 0
        self._is_script = False  # whether the buffer begins with a script's string

    def feed(self, data: bytes) -> Iterator[str]:
        buffer = self._buffer
        buffer += data
        while True:
            if not self._is_script:
                start = buffer.find(_SCRIPT)
                if start < 0:
                    del buffer[: 1 - len(_SCRIPT)]  # of what is between scripts only the end is kept
                    return
                del buffer[: start + len(_SCRIPT)]
                self._is_script, self._searched = True, 1  # behind the quote that begins the string
            end = buffer.find(_SCRIPT_END, self._searched)
            if end < 0:
                self._searched = max(1, len(buffer) - len(_SCRIPT_END) + 1)
                if len(buffer) > _ESCAPE_LENGTH * self._max_payload_size + _MAX_HEADERS:
                    raise _too_large(self._max_payload_size)
                return
            if _is_escaped(buffer, end):  # the string holds what looks like its end: JSON leaves </script> as it is
                self._searched = end + 1
                continue
            payload = parse_js_string(_utf8(bytes(buffer[: end + 1])))
            if payload is None:
                raise ProtocolError('a script of the stream is no call of the form parent.s._("...", document);')
            del buffer[: end + len(_SCRIPT_END)]
            self._is_script = False
            yield payload


def _is_escaped(buffer: bytearray, quote: int) -> bool:
    """Whether a quote in a string literal, which begins the buffer, has a backslash that escapes it."""
    before = quote
    while before > 0 and buffer[before - 1] == _BACKSLASH:
        before -= 1
    return (quote - before) % 2 == 1


def parse_js_string(literal: str) -> str | None:
    """Return the text of a JavaScript string literal as servers write it, which is JSON; ``None`` if it is none.

    An escaped half of a surrogate pair becomes U+FFFD, as a browser would send it on.
    """
    if not literal.startswith('"'):
        return None
    try:
        text: str = json.loads(literal, strict=False)
    except ValueError:
        return None
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("a payload of the stream is not UTF-8") from None


def _too_large(max_payload_size: int) -> TooLargeError:
    return TooLargeError(f"a payload of the stream has more than {max_payload_size} bytes (max_payload_size)")
