"""Servers for tests without an event loop: what is awaited of the others, these wait for.

They run on the event loop of :mod:`tornadio.sync`, in its thread, as the connections do that such tests have.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tornado.httputil import HTTPServerRequest

from tornadio import sync
from tornadio.conn import SocketConnection
from tornadio.router import Router
from tornadio.sync.loopthread import shared_thread

if TYPE_CHECKING:
    from tornadio.testing.manual import ManualServer
    from tornadio.testing.peer import Peer
    from tornadio.testing.serving import Server

P = ParamSpec("P")
T = TypeVar("T")


def _on_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function on the event loop's thread, and wait for its end."""

    async def run() -> T:
        return function(*args, **kwargs)

    return shared_thread().call(run)


class SyncServer:
    """A :class:`~tornadio.testing.Server` for tests without an event loop: what ``with testing.serve(...) as server``
    gives. The application's handlers run in another thread than the test.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server

    @property
    def port(self) -> int:
        """The port on which it listens, of 127.0.0.1."""
        return self._server.port

    @property
    def url(self) -> str:
        """As :attr:`tornadio.testing.Server.url`."""
        return self._server.url

    @property
    def websocket_url(self) -> str:
        """As :attr:`tornadio.testing.Server.websocket_url`."""
        return self._server.websocket_url

    @property
    def routers(self) -> tuple[Router, ...]:
        """The routers that it serves. They and their connections may be used from any thread, as always."""
        return self._server.routers

    @property
    def connections(self) -> tuple[SocketConnection, ...]:
        """The open connections, as the application has them."""
        return self._server.connections

    @property
    def errors(self) -> list[BaseException]:
        """The exceptions of handlers: as those of :class:`tornadio.testing.Server`."""
        return self._server.errors

    def connect(self, resource: str | None = None, **options: Any) -> sync.Connection:
        """Connect to this server: as :func:`tornadio.sync.connect`, with this server's URL.

        :param resource: of which router; ``None`` for the first one.
        :param options: those of :func:`tornadio.sync.connect`.
        :raises tornadio.errors.SettingsError: an option that can't be used.
        :raises tornadio.errors.ConnectError: the application has refused the connection.
        """
        return sync.connect(self._server.url_of(resource), **options)


class SyncPeer:
    """A :class:`~tornadio.testing.Peer` for tests without an event loop: one client of a :class:`SyncManualServer`.

    Methods, waiting and errors are those of :class:`~tornadio.testing.Peer`.
    """

    def __init__(self, peer: "Peer") -> None:
        self._peer = peer

    def __repr__(self) -> str:
        return repr(self._peer)

    @property
    def request(self) -> HTTPServerRequest:
        """The handshake."""
        return self._peer.request

    @property
    def session_id(self) -> str:
        """The id that was sent as the first frame; empty with another greeting."""
        return self._peer.session_id

    @property
    def received(self) -> list[str | bytes]:
        """All payloads that have come."""
        return self._peer.received

    @property
    def heartbeats_sent(self) -> int:
        """How many heartbeats were sent."""
        return self._peer.heartbeats_sent

    @property
    def heartbeats_answered(self) -> int:
        """How many of them the client has echoed."""
        return self._peer.heartbeats_answered

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self._peer.is_closed

    @property
    def close_code(self) -> int | None:
        """As that of :class:`tornadio.testing.Peer`."""
        return self._peer.close_code

    @property
    def close_reason(self) -> str:
        """The reason beside it."""
        return self._peer.close_reason

    def send(self, message: Any) -> None:
        """As :meth:`tornadio.testing.Peer.send`."""
        _on_loop(self._peer.send, message)

    def send_raw(self, payload: str) -> None:
        """As :meth:`tornadio.testing.Peer.send_raw`."""
        _on_loop(self._peer.send_raw, payload)

    def write(self, data: bytes) -> None:
        """As :meth:`tornadio.testing.Peer.write`."""
        _on_loop(self._peer.write, data)

    def heartbeat(self, timeout: float = 10.0) -> None:
        """As :meth:`tornadio.testing.Peer.heartbeat`."""
        shared_thread().call(self._peer.heartbeat, timeout)

    def recv(self, timeout: float = 10.0) -> Any:
        """As :meth:`tornadio.testing.Peer.recv`."""
        return shared_thread().call(self._peer.recv, timeout)

    def recv_raw(self, timeout: float = 10.0) -> str | bytes:
        """As :meth:`tornadio.testing.Peer.recv_raw`."""
        return shared_thread().call(self._peer.recv_raw, timeout)

    def pause_reading(self) -> None:
        """As :meth:`tornadio.testing.Peer.pause_reading`."""
        _on_loop(self._peer.pause_reading)

    def resume_reading(self) -> None:
        """As :meth:`tornadio.testing.Peer.resume_reading`."""
        _on_loop(self._peer.resume_reading)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """As :meth:`tornadio.testing.Peer.close`."""
        _on_loop(self._peer.close, code, reason)

    def drop(self, *, reset: bool = False) -> None:
        """As :meth:`tornadio.testing.Peer.drop`."""
        _on_loop(self._peer.drop, reset=reset)

    def wait_closed(self, timeout: float = 10.0) -> None:
        """As :meth:`tornadio.testing.Peer.wait_closed`."""
        shared_thread().call(self._peer.wait_closed, timeout)


class SyncManualServer:
    """A :class:`~tornadio.testing.ManualServer` for tests without an event loop: what ``with testing.manual_server(...)
    as server`` gives. Methods and errors are those of :class:`~tornadio.testing.ManualServer`.
    """

    def __init__(self, server: "ManualServer") -> None:
        self._server = server

    @property
    def port(self) -> int:
        """The port on which it listens, of 127.0.0.1."""
        return self._server.port

    @property
    def url(self) -> str:
        """As :attr:`tornadio.testing.ManualServer.url`."""
        return self._server.url

    @property
    def websocket_url(self) -> str:
        """As :attr:`tornadio.testing.ManualServer.websocket_url`."""
        return self._server.websocket_url

    @property
    def requests(self) -> list[HTTPServerRequest]:
        """All handshakes that have come."""
        return self._server.requests

    def accept(self, timeout: float = 10.0) -> SyncPeer:
        """As :meth:`tornadio.testing.ManualServer.accept`."""
        return SyncPeer(shared_thread().call(self._server.accept, timeout))

    def accept_handshakes(self) -> None:
        """As :meth:`tornadio.testing.ManualServer.accept_handshakes`."""
        _on_loop(self._server.accept_handshakes)

    def refuse_handshakes(
        self, status: int, text: str = "", *, headers: Mapping[str, str] | None = None, times: int | None = None
    ) -> None:
        """As :meth:`tornadio.testing.ManualServer.refuse_handshakes`."""
        _on_loop(self._server.refuse_handshakes, status, text, headers=headers, times=times)

    def ignore_handshakes(self, *, times: int | None = None) -> None:
        """As :meth:`tornadio.testing.ManualServer.ignore_handshakes`."""
        _on_loop(self._server.ignore_handshakes, times=times)

    def drop_handshakes(self, *, times: int | None = None) -> None:
        """As :meth:`tornadio.testing.ManualServer.drop_handshakes`."""
        _on_loop(self._server.drop_handshakes, times=times)
