"""What threads have: ``connect``, ``reconnecting``, and the connections that they give."""

import asyncio
import inspect
import queue
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from tornadio import proto
from tornadio.client.connect import Connector
from tornadio.client.connect import connect as connect_async
from tornadio.client.connection import NORMAL_CLOSE_CODES, ClientConnection, check_payload
from tornadio.errors import ConnectionClosed, SettingsError
from tornadio.sync.bridge import END, Bridge
from tornadio.sync.loopthread import LoopThread, shared_thread

P = ParamSpec("P")
T = TypeVar("T")


class Connection:
    """An open connection to a Socket.IO 0.6 server, made by :func:`connect` or :func:`reconnecting`.

    Any number of threads may call its methods at once, but for one that runs an event loop. Iteration yields messages,
    and ends with the connection: silently at a normal end (close codes 1000, 1001 and 1005), else with
    :exc:`~tornadio.errors.ConnectionClosed`. ``with connection:`` closes it at the end of the block.
    """

    def __init__(self, thread: LoopThread, bridge: Bridge, json: proto.JSONFormat) -> None:
        self._thread = thread
        self._bridge = bridge
        self._client = bridge.client
        self._json = json

    def __repr__(self) -> str:
        state = "open" if self.close_code is None else f"ended with {self.close_code}"
        return f"<tornadio.sync.{type(self).__name__} {self._client}, {state}>"

    # -- State --

    @property
    def transport(self) -> str:
        """The name of the transport that was chosen."""
        return self._client.transport

    @property
    def session_id(self) -> str | None:
        """The id that the server has given; ``None`` with ``first_frame="message"``."""
        return self._client.session_id

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended. Messages that were received before may still be there."""
        return self._client.is_closed

    @property
    def close_code(self) -> int | None:
        """The close code (RFC 6455, section 7.4.1), ``None`` while the connection is open."""
        return self._client.close_code

    @property
    def close_reason(self) -> str:
        """The close reason, or what has ended the connection; empty while it is open, or if nothing is known."""
        return self._client.close_reason

    @property
    def unsent(self) -> tuple[Any, ...]:
        """The messages that were given to :meth:`send` and not handed over to the server."""
        return self._bridge.unsent

    # -- Messages --

    def send(self, message: Any) -> None:
        """Send a message: ``str`` and UTF-8 ``bytes`` as text, a list as its elements, one message each, ``None`` as
        nothing, all else as JSON.

        Returns when the message is on its way or waits for that; waits itself while ``max_send_buffer`` bytes are
        waiting. A message is on its way also when that wait is interrupted.

        :raises EncodeError: the message can't be sent; the connection stays open.
        :raises ConnectionClosed: the connection has ended.
        :raises CallerError: this thread runs an event loop, or the connection is one of the process before a fork.
        """
        self._send(message, proto.encode(message, self._json))

    def send_raw(self, payload: str) -> None:
        """Send a payload as it is, without framing: for tests of servers. Errors are those of :meth:`send`."""
        check_payload(payload)
        self._send(payload, payload)

    def _send(self, message: Any, payload: str) -> None:
        self._thread.check_caller()
        if self._client.is_closed:
            raise self._closed_error()
        if payload and not self._bridge.put(message, payload):
            self._thread.call(self._bridge.wait_for_room)

    def flush(self) -> None:
        """Wait until all messages were handed over: the kernel has accepted their bytes, or POSTs were answered 200.

        :raises ConnectionClosed: the connection has ended before.
        """
        try:
            self._thread.call(self._bridge.flush)
        except ConnectionClosed:
            raise self._closed_error() from None  # with all that is unsent

    def recv(self, timeout: float | None = None) -> Any:
        """Return the next message; wait for it.

        :param timeout: seconds, 0 for a message that waits already; ``None`` for as long as it takes.
        :raises TimeoutError: none has come in that time. One that comes later is the next call's.
        :raises ConnectionClosed: the connection has ended, and all messages that came before were returned.
        :raises CallerError: as :meth:`send`.
        """
        self._thread.check_caller()
        if timeout is not None and not timeout >= 0:
            raise SettingsError(f"timeout must be None or a number of seconds, 0 or above, not {timeout!r}")
        try:
            message = self._bridge.get(timeout)
        except queue.Empty:
            raise TimeoutError(f"no message for {timeout:g} seconds") from None
        if message is END:
            raise self._closed_error()
        return message

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self.recv()
        except ConnectionClosed as error:
            if error.code in NORMAL_CLOSE_CODES:
                raise StopIteration from None
            raise

    # -- End --

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection: send what waits to be sent, tell the server, and wait for its answer; all that for
        ``close_timeout`` at most. Does nothing if the connection has ended.

        :param code: a close code that may be sent, as is ``reason``; the server is told them by a WebSocket alone.
        :raises CloseError: code or reason can't be sent.
        """
        if self._thread.is_usable:
            self._thread.call(self._bridge.close, code, reason)

    def wait_closed(self) -> None:
        """Wait until the connection has ended. Received messages are not waited for."""
        self._thread.call(self._client.wait_closed)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread.is_usable:
            self._thread.call(self._bridge.leave, kind, error, traceback)

    def __del__(self) -> None:
        if self._thread.is_usable:
            if not self._client.is_closed:
                warnings.warn(f"unclosed connection {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._thread.loop.call_soon_threadsafe(self._bridge.forget)

    def _closed_error(self) -> ConnectionClosed:
        code = self._client.close_code
        return ConnectionClosed(1006 if code is None else code, self._client.close_reason, self.unsent)


def _with_parameters_of(model: Callable[P, Any]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Return a decorator: to type checkers and ``help`` a function's parameters are those of another."""

    def decorate(function: Callable[..., T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        parameters = list(inspect.signature(model).parameters.values())
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate


@_with_parameters_of(connect_async)
def connect(url: str, **options: Any) -> Connection:
    """Connect to a Socket.IO 0.6 server.

    Parameters are those of :func:`tornadio.connect`. ``trace`` is called on the event loop's thread.

    :raises SettingsError: an argument that can't be used; says what is right.
    :raises ConnectError: no transport has worked.
    :raises CallerError: this thread runs an event loop.
    """

    async def open_client() -> ClientConnection:
        return await connector

    connector = connect_async(url, **options)
    return _open(shared_thread(), open_client, options)


@_with_parameters_of(connect_async)
def reconnecting(url: str, **options: Any) -> "Reconnecting":
    """Iterate over connections to a Socket.IO 0.6 server: each time that the body of the loop is left the connection is
    closed, and after a pause there is the next one, until the loop is left, or ``close`` of the iterator is called.

    Parameters, pauses and errors are those of :func:`tornadio.connect` and its ``async for``.

    :raises SettingsError: an argument that can't be used; says what is right. At once, not when it is iterated over.
    """
    return Reconnecting(connect_async(url, **options), options)


class Reconnecting(Iterator[Connection]):
    """What :func:`reconnecting` returns: an iterator over connections, one at a time."""

    def __init__(self, connector: Connector, options: dict[str, Any]) -> None:
        self._thread = shared_thread()
        self._clients = connector.__aiter__()
        self._options = options
        self._opening: asyncio.Task[Any] | None = None  # on the event loop: the pause, or the attempt
        self._connection: Connection | None = None
        self._closed = threading.Event()
        self._is_ending = False  # on the event loop

    def __next__(self) -> Connection:
        self._close_connection()
        if self._closed.is_set():
            raise StopIteration
        try:
            self._connection = connection = _open(self._thread, self._open_client, self._options)
        except BaseException as error:
            was_closed = self._closed.is_set()
            self._closed.set()
            if was_closed and isinstance(error, asyncio.CancelledError):
                raise StopIteration from None
            raise
        if self._closed.is_set():  # by another thread, just now
            self._close_connection()
            raise StopIteration
        return connection

    async def _open_client(self) -> ClientConnection:
        self._opening = asyncio.current_task()
        try:
            if self._closed.is_set():
                raise asyncio.CancelledError
            return await anext(self._clients)
        finally:
            self._opening = None

    def close(self) -> None:
        """End the iteration, from any thread: close the connection, or give up the pause or the attempt to connect that
        is under way. The thread that iterates goes on behind its loop.
        """
        self._closed.set()
        if self._thread.is_usable:
            self._thread.loop.call_soon_threadsafe(self._end)
        self._close_connection()

    def _end(self) -> None:
        """End the connections of the event loop's side, on its thread, at the first call: several threads may close."""
        if self._is_ending:
            return
        self._is_ending = True
        if self._opening is not None:
            self._opening.cancel()
        else:
            self._thread.create_task(_close(self._clients))

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        if not self._closed.is_set():
            self.close()


async def _close(clients: AsyncGenerator[ClientConnection, None]) -> None:
    await clients.aclose()


def _open(
    thread: LoopThread, open_client: Callable[[], Coroutine[Any, Any, ClientConnection]], options: dict[str, Any]
) -> Connection:
    bridges: list[Bridge] = []

    async def open_bridge() -> None:
        bridges.append(Bridge(thread, await open_client()))

    def forget() -> None:
        for bridge in bridges:
            bridge.forget()

    thread.check_caller()
    try:
        thread.call(open_bridge)
    except BaseException:
        thread.loop.call_soon_threadsafe(forget)  # opened in the moment in which this thread was interrupted
        raise
    return Connection(thread, bridges[0], options.get("json", "marked"))
