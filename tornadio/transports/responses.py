"""HTTP responses of the transports: heads, CORS, error texts, and the access log's line for each.

Built as bytes, without Tornado's ``RequestHandler``: what that does for a page (arguments, cookies, templates, ETags,
XSRF tokens, buffers) would be half of a poll's time, and no client of these responses has a use for it.
"""

import email.utils
import functools
import http
import logging
import time
from collections.abc import Mapping
from typing import ClassVar, Final

from tornado.httputil import HTTPServerRequest

from tornadio.errors import PeerError
from tornadio.logs import RATE_LIMITER, get_logger, keys_of_request, printable, without_ids
from tornadio.net.addresses import network_of
from tornadio.transports.endpoint import Endpoint, TransportPath
from tornadio.web.exchange import Exchange
from tornadio.web.origins import cors_headers, header_once

logger = get_logger(__name__)

TEXT_PLAIN: Final = "text/plain; charset=UTF-8"

_MAX_METHOD: Final = 20  # characters in a line of the log: a client may send any name
_MAX_URL: Final = 120  # characters in a line of the log, beside the reason and its note

_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
# no-store: a poll's response must come from no cache. nosniff: no browser may take a client's text for a script or page
# of this host. X-Accel-Buffering: nginx passes a stream on as it comes. Vary: the CORS headers depend on the Origin.
_COMMON_HEADERS: Final = (
    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\nVary: Origin\r\n"
)

# Tells a client that it need not try its other transports: it would be refused over each of them. Pages of other
# origins may read such a header only if it is exposed to them (Fetch standard, CORS protocol).
_REFUSED_EVERYWHERE: Final = {
    "Socket-IO-Refusal": "every-transport",
    "Access-Control-Expose-Headers": "Socket-IO-Refusal",
}


class Responder:
    """Sends the one response to a request, and passes the request to the access log.

    :ivar endpoint: the router's.
    :ivar exchange: the request, and its connection.
    :ivar path: the parts of the request's path.
    :ivar is_refusal_logged: whether the log has a line about this request already, which says why it was refused.
    """

    transport: ClassVar[str]
    methods: ClassVar[tuple[str, ...]] = ("GET", "POST", "OPTIONS")

    is_refusal_logged = False
    _status = 0

    def __init__(self, endpoint: Endpoint, exchange: Exchange, path: TransportPath) -> None:
        self.endpoint = endpoint
        self.exchange = exchange
        self.path = path

    def respond(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response, if the client is still connected; log it in any case.

        :param headers: headers besides those of every response.
        """
        if not self.exchange.is_closed:
            raw_lines = f"Content-Length: {len(body)}\r\n{self.exchange.connection_header()}"
            head = self.build_head(status, content_type, raw_lines, headers)
            response = head + body if self.exchange.method != "HEAD" else head
            self.exchange.send_response(response, self.endpoint.settings.heartbeat_timeout)
        self.log(status)

    def respond_error(self, error: PeerError) -> None:
        """Log a refusal, and respond with an error's status and text."""
        self.log_refused_request(error)
        self.respond(error.http_status, TEXT_PLAIN, str(error).encode("utf-8"), self._error_headers(error))

    def respond_internal_error(self) -> None:
        """Log the exception that is being handled, and respond 500."""
        self.respond_error(self.internal_error())

    def internal_error(self) -> PeerError:
        """Log the exception that is being handled, and return the error 500 for it."""
        logger.exception("%s: failed on %s %s", self.transport, self.exchange.method, self.exchange.path)
        return server_failed_error()

    def _error_headers(self, error: PeerError) -> Mapping[str, str] | None:
        """Return what the response to a refused request has besides the headers of every response."""
        if error.http_status == 405:
            return {"Allow": ", ".join(self.methods)}  # RFC 9110, section 15.5.6
        return _REFUSED_EVERYWHERE if error.is_for_every_transport else None

    def closing_response(self, error: PeerError, headers: Mapping[str, str] | None = None) -> bytes:
        """Build an error response with ``Connection: close``: the rest of the request is not read.

        :param headers: headers besides those of every response.
        """
        text = str(error).encode("utf-8")
        raw_lines = f"Content-Length: {len(text)}\r\nConnection: close\r\n"
        head = self.build_head(error.http_status, TEXT_PLAIN, raw_lines, headers or self._error_headers(error))
        return head if self.exchange.method == "HEAD" else head + text  # no body: RFC 9110, section 9.3.2

    def build_head(
        self, status: int, content_type: str, raw_lines: str, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Build the head of a response, CORS headers included.

        :param raw_lines: header lines about the body and the connection, each with its CRLF.
        :param headers: more headers.
        """
        more = self._cors_headers()
        if headers:
            more |= headers
        added = "".join([f"{name}: {value}\r\n" for name, value in more.items()]) if more else ""
        start = _head_start(status, content_type, int(time.time()))
        return f"{start}{raw_lines}{added}\r\n".encode("latin-1")

    def _cors_headers(self) -> dict[str, str]:
        """Return the CORS headers, if the origin is allowed. Error responses have them, too: without them a page of
        another origin sees status 0 instead of the status.
        """
        origin = self.exchange.headers.get("Origin")
        if origin is not None and "," in origin:
            origin = header_once(self.exchange.headers, "Origin")
        if origin is None or not self.endpoint.origins.allows(origin, self.exchange.host):
            return {}
        return cors_headers(origin)

    def log_refused_request(self, error: PeerError) -> None:
        """Log that this request was refused, and why, unless the log says it already."""
        self.endpoint.sessions.counters.count_refusal(error)
        if error.http_status == 500:
            return  # a failure, which has its traceback
        self.is_refusal_logged = True
        if not error.is_logged:
            exchange = self.exchange
            log_refused(error.http_status, exchange.method, exchange.uri, exchange.remote_ip, error)

    # -- For the access log: what a log_function may use of a RequestHandler -----------------------------------------

    def log(self, status: int) -> None:
        """Call the application's ``log_function`` for this request."""
        self._status = status
        try:
            self.endpoint.log_request(self)
        except Exception:  # the response was sent: this error must neither send another nor abort a session
            logger.exception("%s: log_function failed", self.transport)

    @property
    def request(self) -> HTTPServerRequest:
        """The request as a Tornado application knows it."""
        return self.exchange.request

    def get_status(self) -> int:
        """The response's status."""
        return self._status

    def _request_summary(self) -> str:
        return f"{self.exchange.method} {without_ids(self.exchange.uri)} ({self.request.remote_ip})"


def log_refused(code: int, method: str, uri: str, address: str, error: PeerError) -> None:
    """Write the one line about a request that was refused: what was asked, by whom, and why it was refused.

    It counts for the limits of the access log, which leaves these requests out.

    :param code: the response's status, or the close code of a WebSocket.
    """
    # By a 401 each client of a polling transport learns that its session has ended: nothing may be wrong.
    level = logging.INFO if error.http_status == 401 else logging.WARNING
    if not logger.isEnabledFor(level):
        return
    note = RATE_LIMITER.count_line(*keys_of_request(error.http_status, network_of(address)))
    if note is not None:  # else in a flood of them nothing is built for a line that is not written
        what = f"{method[:_MAX_METHOD]} {printable(uri, _MAX_URL)}"
        why = f"{error} ({printable(error.note, _MAX_URL)})" if error.note else str(error)
        logger.log(level, "%d %s (%s): %s", code, what, address, why, extra={"limit_note": note})


def server_failed_error() -> PeerError:
    """Return the error for an exception of this library, or of the application where that is not told apart."""
    return PeerError("the server failed on this request", http_status=500, close_code=1011)


@functools.lru_cache(maxsize=16)
def _head_start(status: int, content_type: str, now: int) -> str:
    """Return the lines of a head that responses have in common.

    :param now: the Unix time of the ``Date`` header (RFC 9110, section 5.6.7).
    """
    date = email.utils.formatdate(now, usegmt=True)
    return f"HTTP/1.1 {status} {_PHRASES[status]}\r\nDate: {date}\r\n{_COMMON_HEADERS}Content-Type: {content_type}\r\n"
