"""A request to a transport from its headers to its handler: access checks, and when a rejection is sent.

There are two kinds of transport. A :class:`RequestTransport` responds to a GET within HTTP; a
:class:`DetachingTransport` detaches its connection from HTTP, for a stream or a WebSocket. The steps of a request, on
Tornado's HTTP as on the fast path (:class:`tornadio.web.exchange.ExchangeHandler`)::

    headers_received -> check_access -> try_detach -> (body) -> handle -> handle_post | handle_bodiless
"""

from collections.abc import Awaitable, Mapping
from typing import ClassVar

from tornadio.errors import PeerError, RefusedError, TooLargeError
from tornadio.net.linger import close_after
from tornadio.transports.posts import PostHandler
from tornadio.transports.responses import TEXT_PLAIN
from tornadio.web.origins import REFUSED, page_header, preflight_headers


class TransportHandler(PostHandler):
    """One request to a transport, and its response.

    :cvar transport: the transport's name in paths and in the setting ``enabled_protocols``.
    :cvar is_websocket: whether a request may ask for ``Upgrade: websocket``.
    :cvar is_script: whether a GET's response is a script: any page can run it, and so read it.
    """

    is_websocket: ClassVar[bool] = False
    is_script: ClassVar[bool] = False

    _refusal: PeerError | None = None
    _received = 0  # bytes of a body that comes in pieces

    # -- The request's life --------------------------------------------------------------------------------------

    def headers_received(self) -> Awaitable[None] | None:
        """Check the headers. The response to a refused request is sent when the body was read, for a client that still
        writes may never read it; an upgrade, and a body that is too large, are refused at once and their connection is
        closed.

        :returns: what has to be awaited before the body is read.
        """
        exchange = self.exchange
        # All that the headers are checked against, besides themselves: the rules were made of the settings.
        checked = (type(self), exchange.method, self.endpoint.settings)
        # Nearly all polls and POSTs of a client have the same headers: they are checked once.
        if exchange.accepted_for != checked:
            rejection = self._check_headers()
            if rejection is not None:
                self.reject_and_linger(rejection)
                return None
            if self._refusal is None:
                exchange.accepted_for = checked
        if self._refusal is None and exchange.method == "POST":
            try:
                self.begin_post()
            except RefusedError as refusal:
                self.reject_and_linger(refusal)
                return None
        return self.try_detach()

    def _check_headers(self) -> PeerError | None:
        """Check the headers: by nothing but themselves, the request's method, the connection and the settings.

        :returns: the error of a request that is to be refused at once; ``_refusal`` is that for which the body is read.
        """
        try:
            self.check_access()
        except RefusedError as refusal:
            self._refusal = refusal
        headers = self.exchange.headers
        if not self.is_websocket and asks_for_websocket(headers):
            return self.upgrade_not_allowed_error()
        declared = headers.get("Content-Length", "")
        # int() of thousands of digits raises; 20 of them are above any limit. Other values than digits HTTP rejects.
        size = int(declared[:20]) if declared.isdecimal() else 0
        # A body that is no larger than a payload never is too large: then the limit need not be computed.
        if size > self.endpoint.settings.max_payload_size and size > self.max_body_size:
            return self._refusal or self.too_large_error()
        return None

    def try_detach(self) -> Awaitable[None] | None:
        """Hook: the headers were checked, the body is unread. The only point at which Tornado can detach a connection.

        :returns: what has to be awaited before the body is read.
        """
        return None

    def body_received(self, data: bytes) -> None:
        """Decode the next piece of the body, for :meth:`handle`.

        :raises PeerError: the rest of it must not be read.
        """
        self._received += len(data)
        if self._received > self.max_body_size:
            raise self._refusal or self.too_large_error()
        self.decode_body(data)

    def handle(self, body: bytes = b"") -> None:
        """Respond to the request, the whole of which was received.

        :param body: empty where :meth:`body_received` was given it in pieces.
        """
        try:
            if self._refusal is not None:
                self.raise_refusal()
            if self.exchange.method == "POST":
                self.handle_post(body)
            else:
                self.handle_bodiless()
        except PeerError as error:
            self.respond_error(error)
        except Exception:
            self.respond_internal_error()

    def handle_bodiless(self) -> None:
        """Respond to a request without a body: to OPTIONS, the CORS preflight request of a page.

        :raises PeerError: the response.
        """
        asked_for = self.exchange.headers.get("Access-Control-Request-Headers", "")
        self.respond(200, TEXT_PLAIN, b"", preflight_headers(asked_for))

    def on_connection_close(self) -> None:
        """Hook: the client has disconnected before its response was sent."""

    # -- Who may connect -----------------------------------------------------------------------------------------

    def check_access(self) -> None:
        """Check the request's host, method, origin and transport.

        :raises RefusedError: one of them is not allowed.
        """
        self.check_host()
        if self.exchange.method not in self.methods:
            # The text repeats nothing that the client chose: with that at its beginning it could be a Flash movie.
            raise RefusedError(405, f"this method is not for {self.transport}: use {', '.join(self.methods)}")
        self.check_origin()
        if self.transport not in self.endpoint.settings.enabled_protocols:
            raise RefusedError(403, f"{self.transport} is not enabled here", label="transport")

    def check_host(self) -> None:
        """Check the ``Host`` header against DNS rebinding (:mod:`tornadio.web.hosts`).

        :raises RefusedError: a client may not use that name for this server.
        """
        hosts, host = self.endpoint.hosts, self.exchange.headers.get("Host", "")  # exchange.host is never empty
        if hosts.allows_name(host):
            return
        client = self.exchange.remote_ip
        if not hosts.allows_client(client, self.exchange.own_ip):
            reason = "this server is not asked for by that name: add it to the setting 'hosts'"
            raise RefusedError(403, reason, note=f"host {host!r}", label="host", is_for_every_transport=True)

    def check_origin(self) -> None:
        """Check the origin of the page that sent this request (:mod:`tornadio.web.origins`).

        :raises RefusedError: the page may not connect.
        """
        headers = self.exchange.headers
        is_script = self.is_script and self.exchange.method == "GET"
        reason = self.endpoint.origins.refusal(headers, self.exchange.host, is_script)
        if reason is not None:
            raise self.refused_page(reason, *(page_header(headers) or ("Referer", None)))

    def refused_page(self, reason: str, name: str, value: str | None) -> RefusedError:
        """Return the error for a request of a page that may not connect.

        :param name: the header that names the page, ``value`` its value.
        """
        note = f"{name.lower()} {value!r}" if value is not None else ""
        # The page of an opaque origin, "null", may be named by the Referer of a request that has no Origin.
        is_for_every_transport = reason == REFUSED and value != "null"
        return RefusedError(403, reason, note=note, label="origin", is_for_every_transport=is_for_every_transport)

    # -- Refusals ------------------------------------------------------------------------------------------------

    def raise_refusal(self) -> None:
        """Raise the error with which :meth:`headers_received` has refused this request, if it has.

        :raises PeerError: that error.
        """
        refusal, self._refusal = self._refusal, None
        try:
            if refusal is not None:
                raise refusal
        finally:
            del refusal  # its traceback holds this frame: break the reference cycle

    def upgrade_not_allowed_error(self) -> PeerError:
        """Return the error for ``Upgrade: websocket`` on another transport. What follows such a request may be
        WebSocket frames, so the connection is not read as HTTP any more.
        """
        return RefusedError(400, f"there is no WebSocket here: its address is /{self.endpoint.resource}/websocket")

    def reject_and_linger(self, error: PeerError, headers: Mapping[str, str] | None = None) -> None:
        """Respond with an error before the body was read, and close the connection with a lingering close.

        :param headers: headers besides those of every response.
        """
        self.drop_post()
        self._log_refusal(error)
        close_after(self.exchange.detach(), self.closing_response(error, headers), self.endpoint.sessions.lingering)

    def early_error_response(self, error: PeerError) -> bytes:
        """End the POST; returns the response to a body that is not read to its end."""
        self.drop_post()
        self._log_refusal(error)
        return self.closing_response(error)

    def _log_refusal(self, error: PeerError) -> None:
        """Log a refusal; a :class:`TooLargeError` also closes the session."""
        self.log_refused_request(error)
        session = self._lookup_session()
        if session is not None and isinstance(error, TooLargeError):
            session.close(error.close_code, str(error))


class RequestTransport(TransportHandler):
    """A transport that responds to a GET within HTTP: the connection stays for the next request."""

    def handle_bodiless(self) -> None:
        if self.exchange.method == "GET":
            self.handle_get()
        else:
            super().handle_bodiless()

    def handle_get(self) -> None:
        """Respond to a GET, now or later.

        :raises PeerError: the response.
        """
        raise NotImplementedError


class DetachingTransport(TransportHandler):
    """A transport that detaches the connection of a GET from HTTP, which reads nothing more on it."""

    def try_detach(self) -> Awaitable[None] | None:
        return self.detach() if self.exchange.method == "GET" else None

    def detach(self) -> Awaitable[None] | None:
        """Detach the connection, or refuse the GET; called before the body is read, else Tornado can't detach it.

        :returns: what has to be awaited before Tornado reads on.
        """
        raise NotImplementedError


def asks_for_websocket(headers: Mapping[str, str]) -> bool:
    """Whether ``Upgrade`` names WebSocket. Other protocols may be ignored, as may ``Connection: upgrade`` alone, which
    some proxies add to everything (RFC 9110, section 7.8)."""
    return has_token(headers, "Upgrade", "websocket")


def has_token(headers: Mapping[str, str], name: str, token: str) -> bool:
    """Whether a header, a list of tokens between commas, has one of them, in any case."""
    value = headers.get(name, "").lower()
    return value == token or ("," in value and token in map(str.strip, value.split(",")))
