"""``htmlfile``: a stream whose payloads are scripts in a page that never finishes loading, in a hidden frame."""

from collections.abc import Callable
from typing import Final

from tornadio.transports.javascript import js_string_literal
from tornadio.transports.streaming import LAST_CHUNK, StreamingHandler, chunk

_PAGE: Final = b"<html><body>".ljust(256)  # Internet Explorer renders nothing before 256 bytes have come


class HTMLFileFormat:
    """The format of ``htmlfile``: each payload is a script element that calls the page around the frame.

    :param is_chunked: whether each element is a chunk, too.
    """

    __slots__ = ("encode", "epilogue", "preamble")

    content_type = "text/html; charset=UTF-8"
    part_end = b""

    def __init__(self, is_chunked: bool) -> None:
        self.preamble = chunk(_PAGE) if is_chunked else _PAGE
        self.epilogue = LAST_CHUNK if is_chunked else b""
        self.encode: Callable[[bytes], bytes] = _script_in_chunk if is_chunked else _script


def _script(text: bytes) -> bytes:
    return f"<script>parent.s._({js_string_literal(text.decode())}, document);</script>".encode("ascii")


def _script_in_chunk(text: bytes) -> bytes:
    return chunk(_script(text))


class HTMLFileHandler(StreamingHandler):
    """A GET of ``htmlfile``: an HTML page whose scripts carry the payloads."""

    transport = "htmlfile"

    def make_format(self, is_chunked: bool) -> HTMLFileFormat:
        return HTMLFileFormat(is_chunked)
