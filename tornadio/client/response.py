"""One HTTP request on a stream, and its response."""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final, NamedTuple

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from tornadio.errors import TooLargeError
from tornadio.logs import error_text

# Bytes of a refusal's body that are read, and characters of what a server has sent that a message quotes.
MAX_REFUSAL_SIZE: Final = 4096
_MAX_QUOTED: Final = 200
_MAX_INTERIM: Final = 10  # responses 1xx before the response itself
_READ_SIZE: Final = 1 << 16
_PARAMETERS: Final = HTTP1ConnectionParameters(max_body_size=1 << 62)  # _Reader has limits of its own

# A status line without a reason phrase, and without the blank before it, which some servers and proxies leave out.
_NO_REASON: Final = re.compile(r"HTTP/1\.[0-9] [0-9]{3}")

Receive = Callable[[bytes], Awaitable[None] | None]


class ResponseLostError(Exception):
    """The connection ended before the whole response was received, or what was received is no response."""


class Response(NamedTuple):
    """An HTTP response.

    :ivar body: empty if it was streamed; at most :data:`MAX_REFUSAL_SIZE` bytes of it unless the status is 200.
    :ivar is_kept_alive: whether the connection may carry another request.
    """

    status: int
    reason: str
    headers: HTTPHeaders
    body: bytes
    is_kept_alive: bool

    @property
    def text(self) -> str:
        """The body as text, for people to read."""
        return self.body.decode("utf-8", "replace")

    def __str__(self) -> str:
        """Return the status, and what the body says, as one line."""
        status = f"{self.status} {quoted(self.reason)}".rstrip()
        text = " ".join(self.text.split())
        if not text or "html" in self.headers.get("Content-Type", ""):  # a page that is quoted as one line says little
            return status
        return f"{status}: {quoted(text)}"


def quoted(text: str) -> str:
    """Return as much of what a server has sent as a message quotes."""
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."


async def exchange(
    stream: IOStream,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    body: bytes = b"",
    *,
    max_body_size: int = MAX_REFUSAL_SIZE,
    detached: Collection[int] = (),
    stream_body: Callable[[HTTPHeaders], Receive] | None = None,
    on_progress: Callable[[], None] | None = None,
) -> Response:
    """Send a request, and read the response. The caller closes the stream, at an error or a cancellation, too.

    :param max_body_size: bytes that the body of a response 200 may have, unless it is streamed.
    :param detached: statuses after whose headers nothing more is read: what follows on the stream is no HTTP.
    :param stream_body: called with the headers of a response 200, returns what is called with each piece of its body;
        an awaitable that this returns is awaited before more is read.
    :param on_progress: called with each piece of a body that is not streamed.
    :raises ResponseLostError: there is no whole response. The request may have been received.
    :raises TooLargeError: the body of a response 200 is larger than ``max_body_size``.
    """
    connection = _Connection(stream, True, _PARAMETERS)
    reader = _Reader(connection, max_body_size, detached, stream_body, on_progress)
    fields = HTTPHeaders()
    for name, value in headers:
        fields.add(name, value)
    if body or method == "POST":
        fields["Content-Length"] = str(len(body))
    reason = "what the server sent is no HTTP response"
    try:
        connection.write_headers(RequestStartLine(method, path, "HTTP/1.1"), fields, body or None)
        connection.finish()
        await connection.read_response(reader)
        for _ in range(_MAX_INTERIM):
            if not reader.is_interim:
                break
            # Tornado 6.5 would wait for the end of the connection after the response that follows.
            reader.connection = connection = _Connection(stream, True, _PARAMETERS)
            connection.finish()
            await connection.read_response(reader)
        if reader.undelimited_body is not None:
            await _read_to_end(stream, reader.undelimited_body)
            reader.finish()
    except StreamClosedError as error:
        if isinstance(error.real_error, UnsatisfiableReadError):
            reason = "the headers of the response are too large"
        elif error.real_error is not None:
            reason = f"the connection broke before the response was whole ({error_text(error.real_error)})"
        else:
            reason = "the server closed the connection before the response was whole"
    if reader.is_too_large:
        raise TooLargeError(f"a payload from the server has more than {max_body_size} bytes (max_payload_size)")
    start_line = reader.start_line
    if start_line is None or not reader.is_finished:
        raise ResponseLostError(reason)
    return Response(
        start_line.code, start_line.reason, reader.headers, bytes(reader.body), reader.is_kept_alive(start_line)
    )


async def _read_to_end(stream: IOStream, receive: Receive) -> None:
    """Read a body that ends with the connection. Tornado 6.5 would pass on none of it before the end.

    :raises StreamClosedError: the connection broke.
    """
    while True:
        try:
            data = await stream.read_bytes(_READ_SIZE, partial=True)
        except StreamClosedError:
            if stream.error is not None:
                raise
            return
        waiting = receive(data)
        if waiting is not None:
            await waiting


class _Connection(HTTP1Connection):
    """Tornado's connection, which also reads a status line without a reason phrase."""

    def _parse_headers(self, data: bytes) -> tuple[str, HTTPHeaders]:
        start_line, headers = super()._parse_headers(data)
        if _NO_REASON.fullmatch(start_line):
            start_line += " "  # which RFC 9112, section 4, asks for
        return start_line, headers


class _Reader(HTTPMessageDelegate):
    """The delegate that collects a response. Parameters as of :func:`exchange`.

    :ivar connection: detached when this has read what it wants.
    :ivar start_line: once the headers were received.
    :ivar is_interim: whether what was read is one of those that may precede the response (RFC 9110, section 15.2).
    :ivar is_finished: whether the response is whole, or as much of it was read as is wanted.
    :ivar undelimited_body: what receives the body of a stream that ends with the connection: it is not read here.
    """

    def __init__(
        self,
        connection: HTTP1Connection,
        max_body_size: int,
        detached: Collection[int],
        stream_body: Callable[[HTTPHeaders], Receive] | None,
        on_progress: Callable[[], None] | None,
    ) -> None:
        self._on_progress = on_progress
        self.connection = connection
        self._max_body_size = max_body_size
        self._detached = detached
        self._stream_body = stream_body
        self._receive: Receive | None = None
        self.start_line: ResponseStartLine | None = None
        self.headers = HTTPHeaders()
        self.body = bytearray()
        self.is_interim = self.is_finished = self.is_too_large = False
        self.undelimited_body: Receive | None = None

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        assert isinstance(start_line, ResponseStartLine)
        self.is_interim = False
        if start_line.code in self._detached:
            self.connection.detach()
            self.is_finished = True
        elif 100 <= start_line.code < 200:
            self.is_interim = True
            self.connection.detach()
            return
        elif start_line.code == 200 and self._stream_body is not None:
            self._receive = self._stream_body(headers)
            if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
                self.undelimited_body = self._receive
                self.connection.detach()
        self.start_line, self.headers = start_line, headers

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._receive is not None:
            return self._receive(chunk)
        if self._on_progress is not None:
            self._on_progress()
        self.body += chunk
        is_wanted = self.start_line is not None and self.start_line.code == 200
        if len(self.body) > (self._max_body_size if is_wanted else MAX_REFUSAL_SIZE):
            self.is_too_large = is_wanted
            self.is_finished = not is_wanted
            del self.body[MAX_REFUSAL_SIZE:]
            self.connection.close()
        return None

    def finish(self) -> None:
        self.is_finished = True

    def is_kept_alive(self, start_line: ResponseStartLine) -> bool:
        options = {option.strip().lower() for option in self.headers.get("Connection", "").split(",")}
        if start_line.version == "HTTP/1.1":
            return "close" not in options
        return "keep-alive" in options
