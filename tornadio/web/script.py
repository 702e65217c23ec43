"""The handler for the browser client's script, which every router serves at ``/R/socket.io.js``."""

import functools
import gzip
import hashlib
import importlib.resources
from typing import NamedTuple

from tornadio.web.bodiless import BodilessHandler


class _Script(NamedTuple):
    """The script's file, uncompressed and compressed by gzip, with the ETag of the former."""

    plain: bytes
    compressed: bytes
    etag: str


@functools.cache
def _script() -> _Script:
    # mtime=0: every process, and every start, has the same compressed bytes for one ETag.
    plain = importlib.resources.files("tornadio").joinpath("static/socket.io.js").read_bytes()
    return _Script(plain, gzip.compress(plain, mtime=0), hashlib.sha256(plain).hexdigest()[:32])


class ClientScriptHandler(BodilessHandler):
    """Serves the client's script, with an ETag, and compressed if ``Accept-Encoding`` names gzip."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=UTF-8")
        self.set_header("Cache-Control", "public, max-age=3600")
        self.set_header("Vary", "Accept-Encoding")
        self.set_header("Access-Control-Allow-Origin", "*")  # the script is public, and pages of other origins load it
        self.set_header("X-Content-Type-Options", "nosniff")

    def get(self, **kwargs: str) -> None:
        script = _script()
        compressed = _accepts_gzip(self.request.headers.get("Accept-Encoding", ""))
        self.set_header("Etag", f'"{script.etag}{"-gzip" if compressed else ""}"')
        if self.check_etag_header():
            self.set_status(304)
            return
        if compressed:
            self.set_header("Content-Encoding", "gzip")
        self.write(script.compressed if compressed else script.plain)

    head = get


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether an ``Accept-Encoding`` header names gzip, with a weight above zero."""
    for coding in accept_encoding.lower().split(","):
        name, _, parameters = coding.partition(";")
        if name.strip() == "gzip":
            weight = parameters.strip().removeprefix("q=")
            # q=0 and q=0.0 mean "not acceptable" (RFC 9110, section 12.4.2).
            return weight.strip("0.") != "" or not parameters
    return False
