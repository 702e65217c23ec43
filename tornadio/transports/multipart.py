"""``xhr-multipart``: a stream whose payloads are the parts of a ``multipart/x-mixed-replace`` response, or of a
``multipart/mixed`` one for a client that prefers that.
"""

import secrets
from collections.abc import Callable
from typing import Final

from tornadio.transports.streaming import LAST_CHUNK, StreamingHandler, chunk
from tornadio.web.negotiation import prefers_media_type

# What official clients read: in the browsers of their time XMLHttpRequest gave the parts of this type to the page.
_REPLACE: Final = "multipart/x-mixed-replace"
# WebKit cancels each load of the type above that is neither an image nor a page: fetch() reads this one there, too.
_MIXED: Final = "multipart/mixed"


class MultipartFormat:
    """The format of ``xhr-multipart``: each payload is a part, with the boundary behind it rather than before the next:
    a browser passes a part to the page when it sees the boundary that ends the part.

    :param is_chunked: whether each part is a chunk, too.
    :param media_type: the response's; the body is the same.
    """

    __slots__ = ("content_type", "encode", "epilogue", "part_end", "preamble")

    def __init__(self, is_chunked: bool, media_type: str = _REPLACE) -> None:
        # Random: a boundary that a message could hold would let one client forge parts in the streams of others.
        boundary = f"socketio-{secrets.token_hex(16)}"
        self.content_type = f'{media_type};boundary="{boundary}"'
        line = f"--{boundary}\n".encode("ascii")
        self.preamble = chunk(line) if is_chunked else line
        self.epilogue = LAST_CHUNK if is_chunked else b""
        # The encoders know no boundary, so that what they make of a broadcast is shared by all streams.
        self.encode: Callable[[bytes], bytes] = _part_in_chunk if is_chunked else _part
        self.part_end = line + b"\r\n" if is_chunked else line  # CRLF ends the chunk


# A chunk begins with its size, which the boundary behind the part counts towards: all boundaries have one length.
_BOUNDARY_LENGTH: Final = len("--socketio-") + 2 * 16 + len("\n")


def _part(text: bytes) -> bytes:
    """Encode a part, without the boundary behind it."""
    return b"Content-Type: text/plain; charset=UTF-8\n\n%b\n" % text


def _part_in_chunk(text: bytes) -> bytes:
    """Encode the beginning of a chunk, which the boundary and CRLF end."""
    part = _part(text)
    return b"%x\r\n%b" % (len(part) + _BOUNDARY_LENGTH, part)


class XHRMultipartHandler(StreamingHandler):
    """A GET of ``xhr-multipart``: a multipart response whose parts are the payloads. No ``Vary: Accept`` is needed: by
    its ``no-store`` it is never selected from a cache.
    """

    transport = "xhr-multipart"

    def make_format(self, is_chunked: bool) -> MultipartFormat:
        prefers_mixed = prefers_media_type(self.exchange.headers.get("Accept", ""), _MIXED, _REPLACE)
        return MultipartFormat(is_chunked, _MIXED if prefers_mixed else _REPLACE)
