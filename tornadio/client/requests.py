"""HTTP requests to one server, over connections that are kept alive, with the cookies that the server sets."""

import asyncio
import email.utils
import math
import re
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from tornado.httputil import HTTPHeaders
from tornado.iostream import IOStream

from tornadio import version
from tornadio.client.options import Options
from tornadio.client.response import MAX_REFUSAL_SIZE, Receive, Response, exchange, quoted
from tornadio.client.streams import open_stream
from tornadio.errors import ConnectError
from tornadio.net.sockets import peer_has_closed

# Seconds that a connection may have been idle before another request: routers on the way forget those that are longer,
# and servers close them at about the time of the request.
_MAX_IDLE: Final = 30.0
# Statuses below 500 by which a server asks to try again later (RFC 9110, section 15.5.9; RFC 8470; RFC 6585).
_LATER: Final = (408, 425, 429)
_MAX_USER_TIMEOUT: Final = (1 << 31) - 1  # milliseconds
_REDIRECTS: Final = (301, 302, 303, 307, 308)
# What a client has to be able to keep for a site (RFC 6265, section 6.1). Of more the oldest are dropped.
_MAX_COOKIES: Final = 50
_MAX_COOKIE_SIZE: Final = 4096
_MAX_AGE: Final = re.compile("-?[0-9]+")


class Requests:
    """The HTTP requests of one connection to a server.

    Cookies that the server sets are sent back: a load balancer may choose by one among several servers, of which only
    one knows the session.

    :ivar step: what is being waited for.
    :ivar is_connected: whether the server could be connected to, by TCP and TLS.
    """

    def __init__(self, options: Options) -> None:
        self.step = ""
        self.is_connected = False
        self._options = options
        self._cookies = dict(options.cookies)
        self._idle: list[tuple[IOStream, float]] = []  # and since when
        self._busy: set[IOStream] = set()
        self._is_closed = False

    def begin_step(self, step: str) -> None:
        """Note what is being waited for, for the error of a timeout."""
        self.step = step

    async def open(self) -> IOStream:
        """Open a connection. The caller closes it, or passes it to :meth:`request`.

        :raises ConnectError: the server can't be reached.
        """
        stream = await open_stream(self._options, self.begin_step)
        self.is_connected = True
        # Nagle's algorithm would hold back the end of a request until its beginning is acknowledged.
        stream.set_nodelay(True)
        return stream

    def headers(self, more: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
        """Return the headers of a request."""
        names = {name.lower() for name, _ in self._options.headers}
        pairs = [*self._options.headers, *more]
        if "host" not in names:
            pairs.insert(0, ("Host", self._options.target.authority))
        if "user-agent" not in names:
            pairs.append(("User-Agent", f"TornadIO/{version}"))
        if self._cookies:
            pairs.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items())))
        return pairs

    async def request(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        max_body_size: int = MAX_REFUSAL_SIZE,
        stream_body: Callable[[HTTPHeaders], Receive] | None = None,
        on_progress: Callable[[], None] | None = None,
    ) -> Response:
        """Make a request; parameters and errors are those of :func:`tornadio.client.response.exchange`.

        A request is made once: whether the server has received one whose connection broke can't be known. A connection
        that was kept alive is used only if the server has not closed it so far.

        :raises ConnectError: the server can't be reached.
        """
        stream = self._idle_stream() or await self._open_for_requests()
        self._busy.add(stream)
        is_kept = False
        try:
            response = await exchange(
                stream,
                method,
                path,
                self.headers(headers),
                body,
                max_body_size=max_body_size,
                stream_body=stream_body,
                on_progress=on_progress,
            )
            is_kept = response.is_kept_alive and not self._is_closed
        finally:
            self._busy.discard(stream)
            if is_kept:
                self._idle.append((stream, asyncio.get_running_loop().time()))
            else:
                stream.close()
        self.keep_cookies(response.headers)
        return response

    async def _open_for_requests(self) -> IOStream:
        stream = await self.open()
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A request that nobody acknowledges, since a router on the way has forgotten the connection or the peer has
            # vanished, fails after so long (tcp(7)); else it would be sent again for a quarter of an hour. Not for
            # WebSockets: a server that does not read for so long is slow, its connection not lost.
            milliseconds = min(math.ceil(self._options.silence_timeout * 1000), _MAX_USER_TIMEOUT)
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return stream

    def _idle_stream(self) -> IOStream | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            stream, since = self._idle.pop()
            if now - since < _MAX_IDLE and not stream.closed() and not peer_has_closed(stream.socket):
                return stream
            stream.close()
        return None

    def keep_cookies(self, headers: HTTPHeaders) -> None:
        """Keep the cookies that a response sets (RFC 6265, section 5.2); one without a future is removed."""
        for line in headers.get_list("Set-Cookie"):
            pair, *attributes = line.split(";")
            name, separator, value = (part.strip() for part in pair.partition("="))
            if not separator or not name or len(pair) > _MAX_COOKIE_SIZE:
                continue
            if _is_expired(attributes):
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = value
                given = self._options.cookies
                if len(self._cookies) > len(given) + _MAX_COOKIES:
                    del self._cookies[next(each for each in self._cookies if each not in given)]

    def close(self) -> None:
        """Close all connections; requests that are under way fail."""
        self._is_closed = True
        for stream in [*(stream for stream, _ in self._idle), *self._busy]:
            stream.close()
        self._idle.clear()


def _is_expired(attributes: Iterable[str]) -> bool:
    """Whether a cookie with these attributes has no future; ``Max-Age`` counts before ``Expires``."""
    pairs = [attribute.partition("=") for attribute in attributes]
    values = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if _MAX_AGE.fullmatch(max_age := values.get("max-age", "")):
        return max_age.startswith("-") or not max_age.strip("0")
    try:
        return email.utils.parsedate_to_datetime(values.get("expires", "")).timestamp() <= time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return False  # a date that is none doesn't count


def refusal(response: Response, what: str) -> ConnectError:
    """Return the error for a response that is not the one that opens a connection.

    :param what: the request.
    """
    text = f"{what} was answered {response}"
    location = response.headers.get("Location", "")
    if response.status in _REDIRECTS and location:
        text += f"; it redirects to {quoted(location)}: give that URL, without the transport"
    elif response.status in (200, 404):  # as other web servers respond to any path, or to most
        text += "; is the path of the URL the server's resource?"
    is_permanent = 300 <= response.status < 500 and response.status not in _LATER
    return ConnectError(text, status=response.status, text=response.text, is_permanent=is_permanent)
