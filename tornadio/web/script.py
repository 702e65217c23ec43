"""The handler for the browser client, which every router serves at ``/R/socket.io.js``: the script, the same as an ES
module, and TypeScript declarations of both.
"""

import functools
import gzip
import hashlib
import importlib.resources
from typing import Final, NamedTuple

from tornadio.web.bodiless import BodilessHandler
from tornadio.web.negotiation import accepts_coding

_SCRIPT: Final = "socket.io.js"
_MODULE: Final = "socket.io.mjs"
_JAVASCRIPT: Final = "text/javascript; charset=UTF-8"
_TEXT: Final = "text/plain; charset=UTF-8"
# By their names, with their content types. No media type is registered for TypeScript; ".ts" by itself is MPEG's.
FILES: Final = {_SCRIPT: _JAVASCRIPT, _MODULE: _JAVASCRIPT, "socket.io.d.ts": _TEXT, "socket.io.d.mts": _TEXT}
# What makes a module of the script, which sets the global `io`.
_EXPORTS: Final = b"""
const { io } = globalThis;
export default io;
export const { Socket } = io;
"""


class _File(NamedTuple):
    """A file of the client, uncompressed and compressed by gzip, with the ETag of the former."""

    plain: bytes
    compressed: bytes
    etag: str


@functools.cache
def load_file(name: str) -> _File:
    """Load a file of ``tornadio/static``, or the ES module that is made of the script."""
    source = importlib.resources.files("tornadio").joinpath("static", name if name != _MODULE else _SCRIPT)
    plain = source.read_bytes() + (_EXPORTS if name == _MODULE else b"")
    # mtime=0: every process, and every start, has the same compressed bytes for one ETag.
    return _File(plain, gzip.compress(plain, mtime=0), hashlib.sha256(plain).hexdigest()[:32])


class ClientScriptHandler(BodilessHandler):
    """Serves a file of the client, with an ETag, and compressed if ``Accept-Encoding`` names gzip.

    :param name: one of :data:`FILES`.
    """

    def initialize(self, name: str) -> None:
        self._name = name

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "public, max-age=3600")
        self.set_header("Vary", "Accept-Encoding")
        self.set_header("Access-Control-Allow-Origin", "*")  # the script is public, and pages of other origins load it
        # In pages with a Cross-Origin-Embedder-Policy, too.
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        self.set_header("X-Content-Type-Options", "nosniff")

    def get(self, **kwargs: str) -> None:
        file = load_file(self._name)
        self.set_header("Content-Type", FILES[self._name])
        compressed = accepts_coding(self.request.headers.get("Accept-Encoding", ""), "gzip")
        self.set_header("Etag", f'"{file.etag}{"-gzip" if compressed else ""}"')
        if self.check_etag_header():
            self.set_status(304)
            return
        if compressed:
            self.set_header("Content-Encoding", "gzip")
        self.write(file.compressed if compressed else file.plain)

    head = get
