"""``connect``: options, the choice of a transport, and connecting again."""

import asyncio
import ssl as ssl_module
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Final

from tornadio.client.backoff import Backoff
from tornadio.client.connection import ClientConnection
from tornadio.client.options import FirstFrame, Headers, Options, Trace, make_options
from tornadio.client.outbox import Outbox
from tornadio.client.polling import JSONPChannel, PollingChannel
from tornadio.client.requests import Requests
from tornadio.client.session import ClientSession
from tornadio.client.streaming import HTMLFileChannel, MultipartChannel, StreamingChannel
from tornadio.client.streams import UnreachableError
from tornadio.client.websocket import open_websocket
from tornadio.errors import CallerError, ConnectError
from tornadio.logs import get_logger
from tornadio.proto import JSONFormat
from tornadio.settings import Compression

logger = get_logger(__name__)

# Seconds that a server has to answer a WebSocket handshake while there are other transports to try: the official server
# 0.6 leaves that of RFC 6455, which is later than it, without any answer. Its own client's connectTimeout is as long.
_UPGRADE_TIMEOUT: Final = 5.0

_CHANNELS: Final[dict[str, type[PollingChannel] | type[StreamingChannel]]] = {
    "xhr-polling": PollingChannel,
    "jsonp-polling": JSONPChannel,
    "xhr-multipart": MultipartChannel,
    "htmlfile": HTMLFileChannel,
}


def connect(
    url: str,
    *,
    transports: Iterable[str] = ("websocket", "xhr-polling"),
    json: JSONFormat = "marked",
    origin: str | None = None,
    headers: Headers | None = None,
    cookies: Mapping[str, str] | None = None,
    extra: str = "",
    ssl: ssl_module.SSLContext | None = None,
    proxy: str | None = None,
    compression: Compression | Mapping[str, Any] | bool | None = None,
    first_frame: FirstFrame = "session_id",
    open_timeout: float = 20.0,
    silence_timeout: float = 30.0,
    close_timeout: float = 5.0,
    max_message_size: int = 1 << 20,
    max_payload_size: int = 8 << 20,
    max_send_buffer: int = 16 << 20,
    min_delay: float = 1.0,
    max_delay: float = 60.0,
    trace: Trace | None = None,
) -> "Connector":
    """Connect to a Socket.IO 0.6 server.

    ``await connect(url)`` returns a :class:`~tornadio.client.connection.ClientConnection`; ``async with connect(url) as
    socket:`` closes it at the end of the block; ``async for socket in connect(url):`` connects again each time that the
    body of the loop is left, for ever, after a pause that grows as long as connections fail or don't stand.

    Times are seconds above zero, sizes bytes.

    :param url: of the resource, ``wss://example.com/socket.io``; ``ws``, ``wss``, ``http`` and ``https`` serve for all
        transports. A user and password in it are sent as Basic authorization.
    :param transports: tried in this order, the first that works is used: ``websocket``, ``xhr-polling``,
        ``jsonp-polling``, ``xhr-multipart`` and ``htmlfile``.
    :param json: ``"marked"``: objects travel as ``~j~`` and JSON; ``"plain"``: as bare JSON text, and text that is a
        JSON object or array is received as one (:data:`tornadio.proto.JSONFormat`).
    :param origin: the header ``Origin``, for servers that want one; programs send none.
    :param headers: more headers, of each request; a dict, or a list of pairs.
    :param cookies: names and values. Cookies that the server sets while it is connected to are sent back.
    :param extra: what stands between the resource and the transport, with its separator, such as ``"/123"``.
    :param ssl: the context of TLS connections, in place of ``ssl.create_default_context()``.
    :param proxy: ``http://user:password@host:port``, an HTTP proxy that is asked to CONNECT. The environment is not
        looked at.
    :param compression: whether compression of WebSocket messages is offered to the server (permessage-deflate), and how
        this side compresses: ``True``, :class:`tornadio.Compression`, or a dict of its fields.
    :param first_frame: ``"message"`` for a server whose first frame is no session id: it is received as a message.
        Only with the transport ``websocket``.
    :param open_timeout: for each transport: connecting, TLS, handshake, and the first frame.
    :param silence_timeout: a connection on which nothing was received for so long is ended, with code 1006. It has to
        be longer than the server's heartbeat interval (12 s by default) and than a poll takes at most (20 s).
    :param close_timeout: for sending what waits and the closing handshake, in ``close``.
    :param max_message_size: UTF-8 bytes of one message from the server.
    :param max_payload_size: UTF-8 bytes of one payload from the server, which may hold many messages.
    :param max_send_buffer: of payloads that wait to be handed over; with more ``send`` waits.
    :param min_delay: the first bound of the pause before connecting again. The pause is random below the bound.
    :param max_delay: the last bound: it doubles each time.
    :param trace: called with ``"in"`` or ``"out"`` and the payload, for each payload on the wire.
    :raises SettingsError: an argument that can't be used; says what is right. At once, not when it is awaited.
    :raises ConnectError: when awaited: no transport has worked. ``async for`` raises it for the first connection alone,
        and only if it ``is_permanent``: trying again would not help. Other failures are logged, at INFO.
    """
    return Connector(
        make_options(
            url,
            transports=transports,
            json=json,
            origin=origin,
            headers=headers,
            cookies=cookies,
            extra=extra,
            ssl=ssl,
            proxy=proxy,
            compression=compression,
            first_frame=first_frame,
            open_timeout=open_timeout,
            silence_timeout=silence_timeout,
            close_timeout=close_timeout,
            max_message_size=max_message_size,
            max_payload_size=max_payload_size,
            max_send_buffer=max_send_buffer,
            min_delay=min_delay,
            max_delay=max_delay,
            trace=trace,
        )
    )


class Connector:
    """What :func:`tornadio.connect` returns: opens connections when it is awaited, entered or iterated over."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._connection: ClientConnection | None = None
        self._is_entered = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._options.target}>"

    def __await__(self) -> Generator[Any, None, ClientConnection]:
        return _open(self._options).__await__()

    async def __aenter__(self) -> ClientConnection:
        if self._is_entered:
            raise CallerError(
                "this connect(...) is being used by another 'async with': call connect once more for another connection"
            )
        self._is_entered = True
        try:
            self._connection = await _open(self._options)
        except BaseException:
            self._is_entered = False
            raise
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        self._is_entered = False
        await connection.__aexit__(kind, error, traceback)

    async def __aiter__(self) -> AsyncGenerator[ClientConnection, None]:
        options = self._options
        loop = asyncio.get_running_loop()
        backoff = Backoff(options.min_delay, options.max_delay)
        has_succeeded = False
        while True:
            try:
                connection = await _open(options)
            except ConnectError as error:
                if not has_succeeded and error.is_permanent:
                    raise
                delay = backoff.next()
                logger.info("%s; trying again in %.1f s", error, delay)
            else:
                has_succeeded = True
                since = loop.time()
                async with connection:
                    try:
                        yield connection
                    except GeneratorExit:  # the loop was left, not the connection given up: send what is queued
                        await connection.close()
                        raise
                delay = backoff.next(loop.time() - since)
                logger.info(
                    "%s: the connection has ended with code %s%s; connecting again in %.1f s",
                    connection,
                    connection.close_code,
                    f" ({connection.close_reason})" if connection.close_reason else "",
                    delay,
                )
                del connection
            await asyncio.sleep(delay)


async def _open(options: Options) -> ClientConnection:
    """Open a connection by the first transport that works.

    :raises ConnectError: none has worked.
    """
    attempts: dict[str, ConnectError] = {}
    for transport in options.transports:
        requests = Requests(options)
        is_last = transport == options.transports[-1]
        try:
            async with asyncio.timeout(options.open_timeout):
                return ClientConnection(await _open_by(transport, options, requests, is_last))
        except TimeoutError:
            attempts[transport] = ConnectError(
                f"{requests.step} took longer than {options.open_timeout:g} s (open_timeout)"
            )
            if not requests.is_connected:
                break
        except ConnectError as error:
            attempts[transport] = error.with_traceback(None)
            if isinstance(error, UnreachableError):
                break  # by another transport, too
    raise _combined(options, attempts)


async def _open_by(transport: str, options: Options, requests: Requests, is_last: bool) -> ClientSession:
    if transport == "websocket":
        return await open_websocket(options, requests, None if is_last else _UPGRADE_TIMEOUT)
    outbox = Outbox(options.max_send_buffer)
    session = ClientSession(options, transport, outbox)
    channel = _CHANNELS[transport](transport, options, requests, session, outbox)
    try:
        await channel.open()
    except BaseException:
        session.leave()
        channel.abort(1001)  # the session may not have begun
        await channel.wait_closed()
        raise
    return session


def _combined(options: Options, attempts: dict[str, ConnectError]) -> ConnectError:
    """Return the error that tells why no transport has worked."""
    errors = list(attempts.values())
    refusals = [error for error in errors if error.status is not None] or errors
    if len(attempts) == 1:
        reason = str(errors[0])
    else:
        reason = "; ".join(f"{transport}: {error}" for transport, error in attempts.items())
    return ConnectError(
        f"{options.target}: {reason}",
        status=refusals[-1].status,
        text=refusals[-1].text,
        attempts=attempts,
        is_permanent=all(error.is_permanent for error in errors),
    )
