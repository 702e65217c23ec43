"""What tests see and change inside the library: the only place among them that knows its private names.

Tests ask here, so that a private name can change without them. What tests of one module need of that module alone (the
heap of `Deadlines`, say) stays with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import tornado.iostream
import tornado.routing
import tornado.tcpserver
import tornado.web
from tornado.httputil import HTTPServerRequest

import tornadio
import tornadio.logs
import tornadio.net.wire
import tornadio.transports.bodies
from tornadio import SocketConnection
from tornadio.client.connect import Connector
from tornadio.client.connection import ClientConnection
from tornadio.client.options import Options
from tornadio.client.session import ClientSession
from tornadio.client.websocket import WebSocketChannel as ClientWebSocketChannel
from tornadio.cluster.redis import RedisBus, _RedisConnection
from tornadio.cluster.relay import Relay
from tornadio.logs import RateLimiter, _Window
from tornadio.net.looplag import LoopLag
from tornadio.net.poller import Poller
from tornadio.net.timers import DeadlineTimer, Periodic, _Entry
from tornadio.observability.health import SERVERS
from tornadio.sessions.base import BaseSession
from tornadio.sessions.counters import Traffic
from tornadio.sessions.outbox import Payload
from tornadio.sessions.polling import PollingSession
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import _APPLICATION_SETTINGS, Compression, Settings
from tornadio.transports.base import TransportHandler
from tornadio.transports.endpoint import Endpoint, TransportPath
from tornadio.transports.websocket import WebSocketHandler
from tornadio.transports.websocketchannel import WebSocketChannel
from tornadio.web.fastconnection import FastConnection
from tornadio.web.hosts import HostRule
from tornadio.web.origins import Origin, OriginRule
from tornadio.web.script import _File
from tornadio.web.tornadohttp import TornadoExchange, TornadoMessageDelegate
from tornadio.websocket import hixie, rfc6455
from tornadio.websocket.framer import Framer, ServerFramer

if TYPE_CHECKING:
    import pytest

# The names of the settings that only an application has: SocketServer reads them.
APPLICATION_SETTINGS = _APPLICATION_SETTINGS


# -- Timers ------------------------------------------------------------------------------------------------------------


def measures_lag(timer: asyncio.TimerHandle) -> bool:
    """Whether a server measures by this timer how late its event loop is."""
    callback = timer._callback  # type: ignore[attr-defined]
    return getattr(callback, "__func__", None) is LoopLag._measure


# -- Sessions ----------------------------------------------------------------------------------------------------------


def sessions_of(router: tornadio.Router) -> list[BaseSession]:
    """The sessions that a router knows."""
    return list(router._sessions)


def session_of(connection: tornadio.SocketConnection) -> BaseSession:
    session: BaseSession = connection._tornadio_session
    return session


def callbacks_at_work(router: tornadio.Router) -> int:
    """How many of the application's callbacks run at the moment."""
    return router._sessions.tasks.running_handlers


def sessions_by_address(router: tornadio.Router) -> dict[Any, int]:
    """How many sessions each client address has."""
    return dict(router._sessions._counts)


def start_draining(router: tornadio.Router) -> None:
    """From now on the router refuses new sessions, as at the beginning of a shutdown."""
    router._sessions.draining = True


def unflushed(router: tornadio.Router) -> int:
    """How many sessions have something to send as soon as this turn of the loop is over."""
    return len(router._sessions.unflushed)


def waiting(router: tornadio.Router) -> int:
    """How many calls of other threads wait for the event loop."""
    return len(router._sessions.handover._calls)


def observe_closing(router: tornadio.Router, observer: Callable[[BaseSession], None]) -> None:
    """From now on `observer` is called with each session that begins to end."""
    router._sessions.on_closing.append(observer)


def checks_expiry(router: tornadio.Router) -> bool:
    """Whether the timer runs that looks for expired sessions."""
    timer = router._sessions._expiry_timer
    return timer is not None and timer._handle is not None


def is_writing(connection: tornadio.SocketConnection) -> bool:
    """Whether a write of the connection's session is under way."""
    return session_of(connection)._writing_channel is not None


def is_waiting(connection: tornadio.SocketConnection) -> bool:
    """Whether somebody waits in the connection's `drain()`."""
    return session_of(connection)._drain_waiters is not None


def has_channel(session: BaseSession) -> bool:
    """Whether something is there that a session could write to."""
    return session._channel is not None


def encoder_of(connection: tornadio.SocketConnection) -> object:
    """The function that makes a WebSocket connection's bytes of payloads: one that is shared encodes them once."""
    channel = session_of(connection)._channel
    assert isinstance(channel, WebSocketChannel)
    return channel._encode


def posts_of(session: BaseSession) -> int:
    """How many POSTs to a session are not answered yet."""
    return len(session._posts)


def queue_length(session: BaseSession) -> int:
    """How many entries a session's send queue has."""
    return session.queue_length


def replaced_polls_of(session: BaseSession) -> int:
    """How many polls wait that newer ones of their session have replaced."""
    assert isinstance(session, PollingSession)
    return len(session._replaced_polls or ())


def has_queued(session: BaseSession) -> bool:
    return session.head is not None


def settings_of(router: tornadio.Router) -> Settings:
    return router._endpoint.settings


def resource_of(router: tornadio.Router) -> str:
    """The first part of the router's URLs."""
    return router._endpoint.resource


def factory_of(router: tornadio.Router) -> Callable[[], SocketConnection]:
    """What makes the router's connections."""
    return router._endpoint.make_connection


def change_settings(router: tornadio.Router, settings: dict[str, Any]) -> None:
    """As if the router were added to an application that has some of its settings."""
    router._use_application_settings(settings)


def rules_of(router: tornadio.Router) -> tuple[OriginRule, HostRule]:
    return router._endpoint.origins, router._endpoint.hosts


async def drain(router: tornadio.Router) -> None:
    """End a router's sessions, without waiting for clients that come no more: for one whose server is not ours."""
    await router._drain(0.01)


def relay_of(router: tornadio.Router) -> Relay | None:
    """What carries broadcasts between the router and its bus."""
    return router._sessions.relay


def is_subscribing(relay: Relay) -> bool:
    return relay._sync_task is not None


def publish_connection_of(bus: RedisBus) -> _RedisConnection:
    return bus._publish_connection


async def disconnect_redis(connection: _RedisConnection) -> None:
    """Disconnect as redis-py does by itself when a reply doesn't come."""
    assert connection._connection is not None
    await connection._connection.disconnect(nowait=True)


# -- The monitor -------------------------------------------------------------------------------------------------------


def onlookers_of(server: tornadio.SocketServer) -> int:
    """How many pages look on, at all monitors of a server."""
    return sum(len(monitor._onlookers) for monitor in server._monitors)


def admissions_of(server: tornadio.SocketServer) -> int:
    """How many requests that were let in are remembered, at all monitors of a server."""
    return sum(len(monitor._admissions) for monitor in server._monitors)


def takes_samples(server: tornadio.SocketServer) -> bool:
    """Whether the timer runs that samples the counters for onlookers."""
    return any(monitor._sampling is not None for monitor in server._monitors)


def fill_with_sessions(router: tornadio.Router, count: int) -> None:
    """Give a router so many polling sessions, of as many addresses, without a client."""
    for number in range(count):
        address = f"10.0.{number // 100}.{number % 100}"
        session = router._sessions.create(PollingSession, router._endpoint.make_connection(), "xhr-polling", address)
        session.open(cast(Any, None), "")
        session.request_received()


# -- The server --------------------------------------------------------------------------------------------------------


def connections_on_fast_path(server: tornadio.SocketServer) -> int:
    """How many connections are neither Tornado's nor a transport's."""
    return len(server._fast_path)


def has_fast_path(server: tornadio.SocketServer) -> bool:
    return server._fast_path.enabled


def close_fast_path(server: tornadio.SocketServer) -> None:
    """As a shutdown does, before it closes Tornado's connections."""
    server._fast_path.close()


def peers_on_fast_path(server: tornadio.SocketServer) -> list[int]:
    """The ports of the clients whose connections are neither Tornado's nor a transport's."""
    return [connection._address[1] for connection in server._fast_path._connections]


def tornados_streams(server: tornadio.SocketServer) -> list[tornado.iostream.IOStream]:
    """The streams of the connections that Tornado's HTTP reads."""
    connections: Any = server._connections
    return [each.stream for each in connections]


def http_streams(server: tornadio.SocketServer) -> list[tornado.iostream.IOStream]:
    """The streams of the connections that are HTTP's, whoever reads them: on the fast path, of those that write."""
    connections = [connection.stream for connection in server._fast_path._connections]
    return [*tornados_streams(server), *filter(None, connections)]


def listeners(server: tornado.tcpserver.TCPServer) -> list[socket.socket]:
    """The sockets that a server listens on."""
    return list(server._sockets.values())


def port_of(server: tornado.tcpserver.TCPServer) -> int:
    port: int = listeners(server)[0].getsockname()[1]
    return port


def servers_of(application: tornado.web.Application) -> set[tornadio.SocketServer]:
    """The servers that serve an application."""
    return set(application.settings.get(SERVERS, ()))


def started(application: tornado.web.Application) -> bool:
    """Whether a server has begun to serve an application: its loop runs."""
    return any(server._lag._handle is not None for server in servers_of(application))


def flash_port(server: tornadio.SocketServer) -> int:
    """The port of the server for Flash policies."""
    assert server._flash_server is not None
    return port_of(server._flash_server)


def without_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on each `SocketServer` that is not told otherwise leaves all requests to Tornado's HTTP."""
    monkeypatch.setitem(vars(tornadio.SocketServer)["__init__"].__kwdefaults__, "fast_path", False)


def without_watching_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on connections stay on Tornado's streams, as on a loop that can't watch sockets."""
    monkeypatch.setattr(tornadio.net.wire, "can_watch_sockets", lambda loop: False)


def serve_by(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on Tornado reads all requests ("tornado"), and connections stay on its streams ("stream")."""
    if way in ("tornado", "stream"):
        without_fast_path(monkeypatch)
    if way == "stream":
        without_watching_sockets(monkeypatch)


def count_peeks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows from now on whenever the fast path peeks at what a connection has sent."""
    peeks: list[None] = []
    peek = FastConnection.peek_request

    def counted(connection: FastConnection) -> None:
        peeks.append(None)
        peek(connection)

    monkeypatch.setattr(FastConnection, "peek_request", counted)
    return peeks


def count_body_chunks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows from now on with each chunk of a body that Tornado hands to a transport."""
    chunks: list[None] = []
    receive = TornadoMessageDelegate._chunk_received

    def counted(delegate: TornadoMessageDelegate, chunk: bytes) -> None:
        chunks.append(None)
        receive(delegate, chunk)

    monkeypatch.setattr(TornadoMessageDelegate, "_chunk_received", counted)
    return chunks


def fail_on_bodies(monkeypatch: pytest.MonkeyPatch, fail: Callable[..., Any]) -> None:
    """From now on a POST's body is read by `fail`."""
    monkeypatch.setattr(tornadio.transports.bodies, "parse_post_body", fail)
    monkeypatch.setattr(tornadio.transports.bodies.UrlencodedDecoder, "finish", fail)


def without_unsent_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system doesn't tell how much of what was written a peer has taken."""
    monkeypatch.setattr("tornadio.web.timeouts.sys.platform", "other")


def handler_of(delegate: TornadoMessageDelegate) -> object:
    return delegate._handler


def kept_of_body(delegate: TornadoMessageDelegate) -> int:
    """Bytes that a delegate's handler holds of a request's body."""
    decoder = cast(TransportHandler, delegate._handler)._body_decoder
    return decoder.size if decoder is not None else 0


# -- Framings, logs ----------------------------------------------------------------------------------------------------


def held_by(framer: rfc6455.Framer | hixie.Framer) -> int:
    """How many bytes a framer keeps that are no message yet."""
    return len(framer._buffer)


def is_compressing(connection: SocketConnection) -> bool:
    """Whether a WebSocket's messages may be compressed."""
    framer = cast(WebSocketChannel, connection._tornadio_session._channel)._framer
    return isinstance(framer, rfc6455.Framer) and framer._deflate is not None


@contextlib.contextmanager
def later(log_limit: RateLimiter) -> Iterator[None]:
    """For the limit of log lines it is one window later."""
    clock = log_limit._clock
    log_limit._clock = lambda: clock() + tornadio.logs.WINDOW_SECONDS
    try:
        yield
    finally:
        log_limit._clock = clock


def observe_payloads(observer: Callable[[object, list[str]], None]) -> None:
    """From now on `observer` is called with what each framer for version 13 has received, the framer first."""
    feed = rfc6455.Framer.feed

    def observed(framer: rfc6455.Framer, data: bytes) -> list[str | bytes]:
        messages = feed(framer, data)
        observer(framer, [message for message in messages if isinstance(message, str)])
        return messages

    rfc6455.Framer.feed = observed  # type: ignore[method-assign, assignment]


def framer_of(connection: tornadio.SocketConnection) -> Framer:
    """The framer of a connection over WebSocket."""
    return cast(WebSocketChannel, session_of(connection)._channel)._framer


def compresses(framer: Framer) -> bool:
    """Whether a framer speaks permessage-deflate."""
    return isinstance(framer, rfc6455.Framer) and framer._deflate is not None


# What a router makes for its first session, and what the process makes once, or for the last message, and keep.
KEPT = (DeadlineTimer, Origin, Periodic, Poller, _Entry, _Window, _File, Payload, Traffic)


# -- The WebSocket layer alone -----------------------------------------------------------------------------------------


class EchoChannel(WebSocketChannel):
    """Carries no session: what it receives goes back."""

    def _open(self, handshake: Any) -> None:
        self.write_head()
        self._handshake = None

    def data_received(self, data: bytes) -> None:
        if self._handshake is not None:
            super().data_received(data)
            return
        messages = self._framer.feed(data)
        if self._framer.has_data_to_send and not self._framer.closed:
            self._send_pongs()
        for message in messages:
            self._wire.write(self._framer.encode(message))
        self._dispatch(iter(()))


class EchoHandler(WebSocketHandler):
    """Shakes hands as ever."""

    def _start(self, framer: ServerFramer, head: bytes, keys: tuple[int, int] | None) -> None:
        EchoChannel(self.exchange.detach(), framer, self.endpoint, self.transport).start(head, keys, self.request, "")


class EchoRouter(tornado.routing.Router):
    """Every path is the echo's, with this compression."""

    def __init__(self, compression: Compression | None = None) -> None:
        settings = Settings(compression=compression)
        sessions = SessionRegistry(settings)
        self._endpoint = Endpoint("echo", SocketConnection, settings, OriginRule(None), HostRule(["*"], ""), sessions)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> TornadoMessageDelegate:
        exchange = TornadoExchange(request)
        return TornadoMessageDelegate(
            EchoHandler(self._endpoint, exchange, TransportPath()), exchange, self._endpoint.sessions.lingering
        )


# -- Client ------------------------------------------------------------------------------------------------------------


def client_options(connector: Connector) -> Options:
    """What tornadio.connect was given, as it is kept."""
    return connector._options


def client_session(connection: ClientConnection) -> ClientSession:
    """The state of a client's connection."""
    return connection._session


def client_compresses(connection: ClientConnection) -> bool:
    """Whether both sides of a client's WebSocket have agreed on compression."""
    channel = connection._session._channel
    assert isinstance(channel, ClientWebSocketChannel)
    framer = channel._framer
    assert isinstance(framer, rfc6455.ClientFramer)
    return framer._deflate is not None
