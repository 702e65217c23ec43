"""A :class:`~tornadio.cluster.bus.Bus` over Redis pub/sub, through redis-py.

redis-py is an extra: its modules are imported when a bus is made, not with this module. A bus holds two connections,
one that publishes and one that is subscribed: a subscribed connection accepts no PUBLISH in Redis' protocol, RESP 2.
Both are read all the time, so that EOF is noticed at once, and pinged, so that a dead peer is. Both reconnect until the
bus is closed.
"""

import asyncio
import collections
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from tornadio.errors import BusError, SettingsError
from tornadio.logs import error_text, get_logger
from tornadio.net.tasks import start_task

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

logger = get_logger(__name__)

DEFAULT_PREFIX: Final = "tornadio"
DEFAULT_TIMEOUT: Final = 10.0  # seconds

# Exponential backoff with full jitter between attempts to connect: when Redis restarts, not all processes come back at
# the same moment. Seconds; the delay is doubled at most so many times, which is past the maximum.
_BACKOFF_BASE: Final = 0.1
_BACKOFF_MAX: Final = 5.0
_BACKOFF_STEPS: Final = 6
# Replies read in one iteration of the event loop. Between two, clients are written to, and other tasks run.
_REPLIES_PER_TICK: Final = 50

Command = tuple[str | bytes, ...]
# Done when all replies to a pipeline were received: with the first error among them, if there is one.
_ReplyFuture = asyncio.Future[Exception | None]


class RedisBus:
    """A :class:`tornadio.Bus` over Redis pub/sub, which connects at its first use and reconnects by itself.

    :param url: ``redis://[[user]:password@]host[:6379]``, ``rediss://...`` (TLS) or ``unix:///path``, as redis-py
        accepts them. A database number in it separates nothing: pub/sub has no databases.
    :param prefix: what the names of the channels begin with, ASCII text. Deployments that share a Redis need one each.
    :param timeout: seconds without a byte from Redis after which a connection counts as lost; also what
        :meth:`publish` may take.
    :raises tornadio.errors.SettingsError: ``url`` is not such a URL, ``prefix`` is empty or not ASCII, or redis-py is
        missing.
    """

    def __init__(self, url: str, prefix: str = DEFAULT_PREFIX, timeout: float = DEFAULT_TIMEOUT) -> None:
        connection_class, options = connection_options(url, timeout, asynchronous=True)
        self._address = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self._prefix = check_prefix(prefix)
        self._timeout = timeout
        self._receivers: dict[bytes, Callable[[bytes], None]] = {}
        self._disconnected: set[_RedisConnection] = set()
        self._outage_began = 0.0

        def connect() -> "AbstractConnection":
            connection: AbstractConnection = connection_class(**options)
            return connection

        self._publish_connection = _PublishConnection(connect, timeout, self)
        self._subscribe_connection = _SubscribeConnection(connect, timeout, self, self._receivers)

    def __repr__(self) -> str:
        return f"<RedisBus {self._address}>"

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish messages in one pipeline. Without a connection, wait up to ``timeout`` seconds for one.

        :param messages: pairs of a channel, without the prefix, and its data.
        :raises tornadio.errors.BusError: no connection or no reply in ``timeout`` seconds, the connection was lost
            before all replies were received, or one of them is an error. Any of the messages may be lost.
        """
        self._start()
        commands = [("PUBLISH", self._name(channel), data) for channel, data in messages]
        try:
            async with asyncio.timeout(self._timeout):
                await self._publish_connection.execute(commands)
        except TimeoutError:
            raise BusError(f"no answer from Redis at {self._address} in {self._timeout:g} s") from None
        except connection_errors() as error:
            raise BusError(f"Redis at {self._address}: {error}") from error

    async def subscribe(self, channel: str, receive: Callable[[bytes], None]) -> None:
        """Call ``receive`` with the data of each message on a channel.

        Raises no error of Redis: without a connection, the next one begins with the subscription. One that Redis
        rejects (its access control list may) is a warning in the log.
        """
        name = self._name(channel)
        self._receivers[name] = receive
        self._start()
        await self._subscribe_connection.send_if_connected(("SUBSCRIBE", name))

    async def unsubscribe(self, channel: str) -> None:
        """Stop receiving from a channel. Raises no error of Redis; no error either if it is not subscribed."""
        name = self._name(channel)
        if self._receivers.pop(name, None) is not None:
            await self._subscribe_connection.send_if_connected(("UNSUBSCRIBE", name))

    async def close(self) -> None:
        """Close both connections, and make no others. Raises no error of Redis. Closing twice does no harm.

        A :meth:`publish` that waits for replies then ends with :exc:`~tornadio.errors.BusError`, after its timeout.
        """
        self._receivers.clear()
        await asyncio.gather(self._publish_connection.close(), self._subscribe_connection.close())

    def _name(self, channel: str) -> bytes:
        return f"{self._prefix}:{channel}".encode()

    def _start(self) -> None:
        self._publish_connection.start()
        self._subscribe_connection.start()

    # -- For its connections -------------------------------------------------------------------------------------

    def connection_lost(self, connection: "_RedisConnection", error: Exception) -> None:
        """Log that a connection was lost, or could not be made: once an outage, which ends when both are connected."""
        if not self._disconnected:
            self._outage_began = asyncio.get_running_loop().time()
            logger.warning("no connection to Redis at %s: %s", self._address, error_text(error))
        self._disconnected.add(connection)

    def connection_made(self, connection: "_RedisConnection") -> None:
        """Log the end of an outage when both connections are made again."""
        if connection in self._disconnected:
            self._disconnected.discard(connection)
            if not self._disconnected:
                seconds = asyncio.get_running_loop().time() - self._outage_began
                logger.warning("connected to Redis at %s again, after %.1f s", self._address, seconds)


class _RedisConnection:
    """A connection to Redis that reconnects, with backoff, whenever it is lost: the base of the two below.

    :param connect: makes an object of redis-py's for a connection, which is not connected yet.
    :param timeout: seconds without a byte from Redis after which the connection is lost.
    :param bus: told of each connection made and lost.
    """

    def __init__(self, connect: "Callable[[], AbstractConnection]", timeout: float, bus: RedisBus) -> None:
        self._connect = connect
        self._timeout = timeout
        self._bus = bus
        self._connection: AbstractConnection | None = None
        self._connected = asyncio.Event()
        self._last_reply = 0.0  # when it was received, as the loop counts seconds
        self._task: asyncio.Task[None] | None = None

    # -- Hooks ---------------------------------------------------------------------------------------------------

    def initial_commands(self) -> list[Command]:
        """Return the commands that a new connection sends first."""
        return []

    def on_commands_sent(self, count: int, reply_future: "_ReplyFuture | None") -> None:
        """Called before ``count`` commands are written. ``reply_future``, if given, becomes done with their replies."""

    def reply_received(self, reply: Any) -> None:
        """Called with each reply: a value, or the error that Redis reply_future."""
        raise NotImplementedError

    def connection_lost(self, error: Exception) -> None:
        """Called when the connection is lost, or could not be made."""

    # -- Connecting, reading, writing ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the task that connects and reads. Starting twice does no harm."""
        if self._task is None:
            self._task = start_task(self._run())

    async def close(self) -> None:
        """Close the connection, and do not reconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def send(self, commands: Collection[Command], reply_future: "_ReplyFuture | None" = None) -> None:
        """Write commands, without waiting for their replies.

        :param reply_future: see :meth:`on_commands_sent`.
        :raises redis.RedisError, OSError: there is no connection, or writing failed.
        """
        connection = self._connection
        if connection is None or not connection.is_connected:  # redis-py would connect by itself, and not subscribe
            raise ConnectionError("not connected")
        packed = connection.pack_commands(commands)
        self.on_commands_sent(len(commands), reply_future)
        await connection.send_packed_command(packed, check_health=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        attempts = 0
        while True:
            begun = loop.time()
            try:
                await self._connect_and_read()
            except Exception as error:
                self._bus.connection_lost(self, error)
                self.connection_lost(error)
            # A connection that held for a while was a good one; one that Redis accepts and closes must not reset this.
            if loop.time() - begun > _BACKOFF_MAX:
                attempts = 0
            await asyncio.sleep(random.uniform(0, min(_BACKOFF_MAX, _BACKOFF_BASE * 2**attempts)))
            attempts = min(attempts + 1, _BACKOFF_STEPS)

    async def _connect_and_read(self) -> None:
        """Connect, send the initial commands, and read until the connection fails.

        :raises redis.RedisError, OSError: always, but for cancellation: how the connection ended.
        """
        connection = self._connect()
        is_lost = True
        pinging = None
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            # One deadline, which the pings move, in place of redis-py's for each reply and each write. Those take a
            # third of a message's time: on Python 3.11 each write had a task of its own.
            connection.socket_timeout = None
            async with asyncio.timeout(self._timeout) as deadline:
                self._connection = connection
                # First, so that the end of an outage is logged after the subscriptions were sent.
                if commands := self.initial_commands():
                    await self.send(commands)
                self._connected.set()
                self._bus.connection_made(self)
                self._last_reply = asyncio.get_running_loop().time()
                pinging = start_task(self._ping(deadline))
                await self._read(connection)
        except TimeoutError:
            raise ConnectionError(f"not a byte in {self._timeout:g} s") from None
        except asyncio.CancelledError:
            is_lost = False
            raise
        finally:
            self._connection = None
            self._connected.clear()
            if pinging is not None:
                pinging.cancel()
            with contextlib.suppress(*connection_errors()):
                await connection.disconnect(nowait=is_lost)  # a lost peer is not waited for

    async def _read(self, connection: "AbstractConnection") -> None:
        from redis.exceptions import ResponseError

        loop = asyncio.get_running_loop()
        while True:
            for _ in range(_REPLIES_PER_TICK):
                try:
                    reply = await connection.read_response()
                except ResponseError as error:  # an error reply: the connection goes on
                    reply = error
                self._last_reply = loop.time()
                self.reply_received(reply)
            await asyncio.sleep(0)

    async def _ping(self, deadline: asyncio.Timeout) -> None:
        """Send PING every third of the timeout: a live connection is never silent. Errors surface in the reader.

        :param deadline: is moved to the timeout's end after the last reply.
        """
        with contextlib.suppress(*connection_errors()):
            while True:
                await asyncio.sleep(self._timeout / 3)
                if deadline.expired():
                    return
                deadline.reschedule(self._last_reply + self._timeout)
                await self.send([("PING",)])


class _PublishConnection(_RedisConnection):
    """The connection that publishes: each pipeline's replies complete its future, in order."""

    def __init__(self, connect: "Callable[[], AbstractConnection]", timeout: float, bus: RedisBus) -> None:
        super().__init__(connect, timeout, bus)
        self._pipelines: collections.deque[_Pipeline] = collections.deque()

    async def execute(self, commands: Collection[Command]) -> None:
        """Wait for a connection, send commands as one pipeline, and wait for all replies.

        :raises redis.RedisError, OSError: the connection was lost before that, or one of the replies is an error.
        """
        await self._connected.wait()
        reply_future: _ReplyFuture = asyncio.get_running_loop().create_future()
        await self.send(commands, reply_future)
        error = await reply_future
        if error is not None:
            raise error

    def on_commands_sent(self, count: int, reply_future: "_ReplyFuture | None") -> None:
        self._pipelines.append(_Pipeline(count, reply_future))

    def reply_received(self, reply: Any) -> None:
        pipeline = self._pipelines[0]  # Redis replies to commands in their order
        pipeline.pending -= 1
        if pipeline.error is None and isinstance(reply, Exception):
            pipeline.error = reply
        if not pipeline.pending:
            self._pipelines.popleft().complete()

    def connection_lost(self, error: Exception) -> None:
        while self._pipelines:
            self._pipelines.popleft().complete(error)


class _Pipeline:
    """Commands that were sent together.

    :ivar pending: how many replies are still to come.
    :ivar error: the first reply that was an error.
    """

    __slots__ = ("_reply_future", "error", "pending")

    def __init__(self, pending: int, reply_future: "_ReplyFuture | None") -> None:
        self.pending = pending
        self.error: Exception | None = None
        self._reply_future = reply_future

    def complete(self, error: Exception | None = None) -> None:
        """Set the future's result: all replies are there, or ``error`` has ended the connection before."""
        if self._reply_future is not None and not self._reply_future.done():
            self._reply_future.set_result(error or self.error)


class _SubscribeConnection(_RedisConnection):
    """The connection that is subscribed: after each reconnect to all channels anew."""

    def __init__(
        self,
        connect: "Callable[[], AbstractConnection]",
        timeout: float,
        bus: RedisBus,
        receivers: dict[bytes, Callable[[bytes], None]],
    ) -> None:
        super().__init__(connect, timeout, bus)
        self._receivers = receivers

    async def send_if_connected(self, command: Command) -> None:
        """Send a command, if connected. If not, nothing is lost: the next connection begins with all subscriptions."""
        with contextlib.suppress(*connection_errors()):
            async with asyncio.timeout(self._timeout):
                await self.send([command])

    def initial_commands(self) -> list[Command]:
        # A command for each channel: an access control list that forbids one rejects a whole command.
        return [("SUBSCRIBE", name) for name in self._receivers]

    def reply_received(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            logger.warning("Redis refuses to let a channel be heard: %s", reply)
        elif isinstance(reply, list) and reply[0] == b"message":
            _, channel, data = reply
            receive = self._receivers.get(channel)
            if receive is not None:  # None: unsubscribed, and Redis has not read that yet
                receive(data)


def connection_errors() -> tuple[type[Exception], ...]:
    """Return the exception classes that a connection to Redis raises. A function, for redis-py may be missing."""
    from redis.exceptions import RedisError

    return RedisError, OSError


def check_prefix(prefix: object) -> str:
    """Return ``prefix``, checked.

    :raises SettingsError: it is empty, or not ASCII text.
    """
    if not isinstance(prefix, str) or not prefix or not prefix.isascii():
        raise SettingsError(f"prefix must be ASCII text for the names of channels to begin with, not {prefix!r}")
    return prefix


def connection_options(url: str, timeout: float, *, asynchronous: bool) -> tuple[Any, dict[str, Any]]:
    """Return redis-py's class of connections for a URL, and its keyword arguments.

    :param timeout: seconds to connect in, and without a byte from Redis.
    :param asynchronous: whether the class is that of ``redis.asyncio``.
    :raises SettingsError: not a URL of Redis, or redis-py is missing. The message never quotes the URL, which may hold
        a password.
    """
    try:
        if asynchronous:
            from redis.asyncio.connection import Connection, parse_url
            from redis.asyncio.retry import Retry
        else:
            from redis.connection import Connection, parse_url  # type: ignore[assignment]
            from redis.retry import Retry  # type: ignore[assignment]
        from redis.backoff import NoBackoff
    except ImportError:
        raise SettingsError("a bus over Redis needs redis-py: pip install redis") from None
    if not isinstance(url, str):
        raise SettingsError(f"the URL of Redis is a text, such as 'redis://host:6379', not {type(url).__name__}")
    try:
        options: dict[str, Any] = dict(parse_url(url))
        connection_class = options.pop("connection_class", Connection)
        options |= {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "decode_responses": False,
            "health_check_interval": 0,  # redis-py's own PING is sent only with another command
            "protocol": 2,  # of RESP: in version 3 messages are pushed, and arrive as other objects
            # At most once: a command that was sent, and perhaps executed, is not sent again.
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
            "retry_on_timeout": False,
        }
        connection_class(**options)  # connects nothing yet: the options of the URL are checked by the constructor
    except (TypeError, ValueError):  # whose messages may quote a password
        raise SettingsError("that is no URL of Redis as redis-py takes them, such as redis://host:6379") from None
    return connection_class, options
