"""A server whose every frame a test sends by hand, for authors of clients: ``manual_server``.

HTTP, the WebSocket handshake, and framing are the real server's. There is no session behind them: no id but the one in
the greeting, no heartbeats but those that the test sends.
"""

import asyncio
import functools
import http
import secrets
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

import tornado.web
from tornado.httputil import HTTPServerRequest
from tornado.routing import AnyMatches, Router, Rule

from tornadio import proto
from tornadio.conn import SocketConnection
from tornadio.errors import SettingsError
from tornadio.net.wire import Wire
from tornadio.server import SocketServer
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import Compression, Settings
from tornadio.sync.loopthread import shared_thread
from tornadio.testing.clocks import clock_of
from tornadio.testing.handshake import Handshake
from tornadio.testing.peer import TIMEOUT, Peer
from tornadio.testing.threads import SyncManualServer
from tornadio.transports.endpoint import Endpoint, TransportPath
from tornadio.web.hosts import HostRule
from tornadio.web.origins import OriginRule
from tornadio.web.tornadohttp import TornadoExchange, TornadoMessageDelegate
from tornadio.websocket.rfc6455 import Framer

# Bytes of a WebSocket message, more than clients have reason to send: a test shall see what its client does.
_MAX_PAYLOAD_SIZE: Final = 1 << 28
_LINGER_SECONDS: Final = 0.1

#: The greeting that is a session id, another one for each client.
SESSION_ID: Final = object()


class ManualServer:
    """A server for clients, run by hand within ``async with``, or within ``with``, which gives a
    :class:`SyncManualServer`. Made by :func:`tornadio.testing.manual_server`.

    :ivar port: on which it listens, of 127.0.0.1; free before.
    :ivar requests: all handshakes that have come, also those that were not accepted: their paths, headers, cookies.
    """

    def __init__(self, greeting: Any, settings: Settings, ssl_context: ssl.SSLContext | None) -> None:
        self.port = 0
        self.requests: list[HTTPServerRequest] = []
        self._greeting = greeting
        self._json = settings.json
        self._ssl_context = ssl_context
        rules = OriginRule(["*:*"]), HostRule(["*"], "")
        self._endpoint = Endpoint("socket.io", SocketConnection, settings, *rules, SessionRegistry(settings))
        self._server: SocketServer | None = None
        self._answer: _Answer = Handshake.accept
        self._times: int | None = None  # that it is given; None for always
        self._accepted: asyncio.Queue[Peer] = asyncio.Queue()
        self._peers: set[Peer] = set()
        self._unanswered: list[Wire] = []

    async def __aenter__(self) -> "ManualServer":
        application = tornado.web.Application([Rule(AnyMatches(), _AnyPath(self))])
        self._server = SocketServer(
            application, ssl_options=self._ssl_context, auto_start=False, port=0, address="127.0.0.1"
        )
        self.port = self._server.port
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        for peer in tuple(self._peers):
            peer.drop()
        for wire in self._unanswered:
            wire.close()
        closing = self._close(self._server)
        clock = clock_of(asyncio.get_running_loop())
        await (closing if clock is None else clock.wait_for(closing))

    async def _close(self, server: SocketServer) -> None:
        await self._endpoint.sessions.lingering.wait_closed(_LINGER_SECONDS)
        await server.shutdown()

    def __enter__(self) -> SyncManualServer:
        shared_thread().call(self.__aenter__)
        return SyncManualServer(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shared_thread().call(self.__aexit__, kind, error, trace)

    @property
    def url(self) -> str:
        """The URL of the resource, for :func:`tornadio.connect`: ``http://127.0.0.1:PORT/socket.io``. Other paths work
        as well.
        """
        return f"{'http' if self._ssl_context is None else 'https'}://127.0.0.1:{self.port}/socket.io"

    @property
    def websocket_url(self) -> str:
        """The URL of the WebSocket, for other clients: ``ws://127.0.0.1:PORT/socket.io/websocket``. Other paths work as
        well.
        """
        return websocket_url(self.url)

    async def accept(self, timeout: float = TIMEOUT) -> Peer:
        """Return the next client that has connected, in the order in which they did.

        :raises TimeoutError: none has; the message says how many handshakes have come.
        """
        try:
            return await asyncio.wait_for(self._accepted.get(), timeout)
        except TimeoutError:
            raise TimeoutError(
                f"no client has connected within {timeout:g} s; handshakes that have come so far: {len(self.requests)}"
            ) from None

    # -- Handshakes ----------------------------------------------------------------------------------------------

    def accept_handshakes(self) -> None:
        """Accept clients from now on, as at the beginning."""
        self._set_answer(Handshake.accept, None)

    def refuse_handshakes(
        self,
        status: int,
        text: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
    ) -> None:
        """Refuse clients from now on, by an HTTP response.

        :param status: of the response, 300 or above.
        :param text: its body.
        :param headers: more headers.
        :param times: how many clients are refused, before others are accepted; ``None`` for all.
        :raises tornadio.errors.SettingsError: there is no such status.
        """
        if status not in tuple(http.HTTPStatus) or status < 300:
            raise SettingsError(f"status must be one of HTTP's from 300 on, which refuse a client, not {status!r}")
        self._set_answer(functools.partial(Handshake.refuse, status=status, text=text, headers=headers), times)

    def ignore_handshakes(self, *, times: int | None = None) -> None:
        """Leave handshakes without any response from now on.

        :param times: as for :meth:`refuse_handshakes`.
        """
        self._set_answer(self._ignore, times)

    def drop_handshakes(self, *, times: int | None = None) -> None:
        """Close the TCP connection in place of a response from now on.

        :param times: as for :meth:`refuse_handshakes`.
        """
        self._set_answer(Handshake.drop, times)

    def _set_answer(self, answer: "_Answer", times: int | None) -> None:
        if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
            raise SettingsError(f"times must be a whole number of at least 1, or None for always, not {times!r}")
        self._answer, self._times = answer, times

    def _next_answer(self) -> "_Answer":
        answer = self._answer
        if self._times is not None:
            self._times -= 1
            if not self._times:
                self.accept_handshakes()
        return answer

    def _on_handshake(self, handshake: Handshake) -> None:
        self.requests.append(handshake.request)
        self._next_answer()(handshake)

    def _ignore(self, handshake: Handshake) -> None:
        self._unanswered.append(handshake.exchange.detach())

    def _on_accepted(self, wire: Wire, framer: Framer, fd: int, request: HTTPServerRequest) -> None:
        lingering = self._endpoint.sessions.lingering
        peer = Peer(wire, framer, fd, request, self._json, lingering, self._peers.discard)
        wire.start(peer)
        greeting = self._greeting
        if greeting is SESSION_ID:
            greeting = peer.session_id = secrets.token_hex(16)
        if greeting is not None:
            peer.send(greeting)
        self._peers.add(peer)
        self._accepted.put_nowait(peer)


_Answer = Callable[[Handshake], None]


class _AnyPath(Router):
    """Every path is that of the WebSocket."""

    def __init__(self, manual: ManualServer) -> None:
        self._manual = manual

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> TornadoMessageDelegate:
        exchange = TornadoExchange(request)
        handler = Handshake(self._manual._endpoint, exchange, TransportPath())
        handler.answer = self._manual._on_handshake
        handler.on_accepted = self._manual._on_accepted
        return TornadoMessageDelegate(handler, exchange, self._manual._endpoint.sessions.lingering)


def websocket_url(url: str) -> str:
    """Return the URL of the WebSocket below a resource, whose URL is one of HTTP."""
    return f"ws{url.removeprefix('http')}/websocket"


def check_context(ssl_context: object) -> None:
    """:raises tornadio.errors.SettingsError: it is neither ``None`` nor a context."""
    if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
        raise SettingsError(f"ssl_context must be an ssl.SSLContext, or None for none, not {ssl_context!r}")


def manual_server(
    *,
    greeting: Any = SESSION_ID,
    json: proto.JSONFormat = "marked",
    compression: Compression | Mapping[str, Any] | bool | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> ManualServer:
    """A server whose every frame a test sends by hand, for authors of clients, within ``async with``: on a free port of
    127.0.0.1, for WebSocket clients in this program, in its threads, or in other processes. In tests without an event
    loop, within ``with``: then nothing is awaited.

    ::

        async with testing.manual_server() as server:
            client = asyncio.create_task(my_client(server.websocket_url))
            peer = await server.accept()
            peer.send({"price": 17})
            await peer.heartbeat()
            peer.drop(reset=True)
            peer = await server.accept()  # it connects again

    :param greeting: the first message: by default a session id, as servers of 0.6 send it. ``None`` for none, so that
        the test sends the first frame itself; anything else is sent as :meth:`Peer.send` does.
    :param json: how JSON is written and read, see :data:`tornadio.proto.JSONFormat`.
    :param compression: permessage-deflate for clients that offer it, as the setting of that name.
    :param ssl_context: to serve ``wss``.
    :raises tornadio.errors.SettingsError: ``json``, ``compression`` or ``ssl_context`` is not valid.
    :raises tornadio.errors.EncodeError: the greeting can't be sent.
    """
    check_context(ssl_context)
    if greeting is not SESSION_ID:
        proto.encode(greeting, json=json)
    settings = Settings(json=json, compression=compression, max_payload_size=_MAX_PAYLOAD_SIZE)
    return ManualServer(greeting, settings, ssl_context)
