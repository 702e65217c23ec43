"""Redis as the bus: its pub/sub, through redis-py, which is imported when a bus is asked for.

A bus has two connections, one that publishes and one that is subscribed. Each is read all the time, so that its end is
noticed at once, and pinged, so that silence is, too. Either is made again until the bus is closed.
"""

import asyncio
import collections
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from tornadio.errors import BusError, SettingsError
from tornadio.logs import get_logger

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

logger = get_logger(__name__)

PREFIX: Final = "tornadio"
TIMEOUT: Final = 10.0  # seconds

# Pauses between attempts to connect: exponential, with full jitter, so that not all processes come back at once.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_DOUBLINGS: Final = 6
# So many are received before others get their turn, and clients what has come.
_MESSAGES_A_TURN: Final = 50

Command = tuple[str | bytes, ...]
# What a command comes to: an error, if one.
Answered = asyncio.Future[Exception | None]


class RedisBus:
    """A :class:`~tornadio.cluster.bus.Bus` over Redis.

    :param url: ``redis://[[user]:password@]host[:6379]``, ``rediss://...`` (TLS) or ``unix:///path``, as redis-py takes
        them. A database number in it keeps nothing apart: pub/sub knows none.
    :param prefix: what the names of the channels begin with. Deployments that share a Redis take one each.
    :param timeout: seconds of silence after which a connection counts as lost, and that publishing may take.
    :raises tornadio.errors.SettingsError: not such a URL, or redis-py is missing.
    """

    def __init__(self, url: str, prefix: str = PREFIX, timeout: float = TIMEOUT) -> None:
        connection_class, options = connection_options(url, timeout, asynchronous=True)
        self._address = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self._prefix = check_prefix(prefix)
        self._timeout = timeout
        self._receivers: dict[bytes, Callable[[bytes], None]] = {}
        self._lost: set[_Line] = set()
        self._lost_at = 0.0

        def connect() -> "AbstractConnection":
            connection: AbstractConnection = connection_class(**options)
            return connection

        self._publishing = _Publishing(connect, timeout, self)
        self._subscribed = _Subscribed(connect, timeout, self, self._receivers)

    def __repr__(self) -> str:
        return f"<RedisBus {self._address}>"

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish messages together. While Redis is away this waits for it, for a while.

        :raises tornadio.errors.BusError: they did not go out; any of them may be lost.
        """
        self._start()
        commands = [("PUBLISH", self._name(channel), data) for channel, data in messages]
        try:
            async with asyncio.timeout(self._timeout):
                await self._publishing.ask(commands)
        except TimeoutError:
            raise BusError(f"no answer from Redis at {self._address} in {self._timeout:g} s") from None
        except failures() as error:
            raise BusError(f"Redis at {self._address}: {error}") from error

    async def subscribe(self, channel: str, receive: Callable[[bytes], None]) -> None:
        """Call ``receive`` with the data of each message on a channel: soon, and again after each loss of Redis."""
        name = self._name(channel)
        self._receivers[name] = receive
        self._start()
        await self._subscribed.tell(("SUBSCRIBE", name))

    async def unsubscribe(self, channel: str) -> None:
        """No more messages from a channel."""
        name = self._name(channel)
        if self._receivers.pop(name, None) is not None:
            await self._subscribed.tell(("UNSUBSCRIBE", name))

    async def close(self) -> None:
        """Close the connections."""
        self._receivers.clear()
        await asyncio.gather(self._publishing.close(), self._subscribed.close())

    def _name(self, channel: str) -> bytes:
        return f"{self._prefix}:{channel}".encode()

    def _start(self) -> None:
        self._publishing.start()
        self._subscribed.start()

    # -- What its connections tell -------------------------------------------------------------------------------

    def lost(self, line: "_Line", error: Exception) -> None:
        """A connection was lost, or can't be made: said once, until both are there again."""
        if not self._lost:
            self._lost_at = asyncio.get_running_loop().time()
            logger.warning("no connection to Redis at %s: %s", self._address, str(error) or type(error).__name__)
        self._lost.add(line)

    def found(self, line: "_Line") -> None:
        """A connection was made."""
        if line in self._lost:
            self._lost.discard(line)
            if not self._lost:
                seconds = asyncio.get_running_loop().time() - self._lost_at
                logger.warning("connected to Redis at %s again, after %.1f s", self._address, seconds)


class _Line:
    """A connection to Redis that is made again whenever it is lost.

    :param connect: a new connection that is not connected yet.
    :param timeout: seconds of silence after which it is lost.
    :param bus: to be told.
    """

    def __init__(self, connect: "Callable[[], AbstractConnection]", timeout: float, bus: RedisBus) -> None:
        self._connect = connect
        self._timeout = timeout
        self._bus = bus
        self._connection: AbstractConnection | None = None
        self._found = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # -- What its kinds do otherwise -----------------------------------------------------------------------------

    def greeting(self) -> list[Command]:
        """What a new connection begins with."""
        return []

    def asked(self, count: int, answered: "Answered | None") -> None:
        """So many commands go out now. Who waits for their answers, if somebody does."""

    def received(self, reply: Any) -> None:
        """Something has come, be it an error."""
        raise NotImplementedError

    def lost(self, error: Exception) -> None:
        """There is no connection, or no more."""

    # -- What they share -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, soon. Starting twice does no harm."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Close the connection. No other is made."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def send(self, commands: Collection[Command], answered: "Answered | None" = None) -> None:
        """:raises redis.RedisError, OSError: there is no connection, or it can't be written to."""
        connection = self._connection
        if connection is None or not connection.is_connected:  # it would connect by itself
            raise ConnectionError("not connected")
        packed = connection.pack_commands(commands)
        self.asked(len(commands), answered)
        await connection.send_packed_command(packed, check_health=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        attempts = 0
        while True:
            begun = loop.time()
            try:
                await self._live()
            except Exception as error:
                self._bus.lost(self, error)
                self.lost(error)
            if loop.time() - begun > _LONGEST_PAUSE:
                attempts = 0
            await asyncio.sleep(random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempts)))
            attempts = min(attempts + 1, _DOUBLINGS)

    async def _live(self) -> None:
        """A connection from its beginning to its end, which is an error."""
        connection = self._connect()
        is_lost = True
        pinging = None
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            self._connection = connection
            if greeting := self.greeting():
                await self.send(greeting)
            self._found.set()
            self._bus.found(self)
            pinging = asyncio.get_running_loop().create_task(self._ping())
            await self._read(connection)
        except asyncio.CancelledError:
            is_lost = False
            raise
        finally:
            self._connection = None
            self._found.clear()
            if pinging is not None:
                pinging.cancel()
            with contextlib.suppress(*failures()):
                await connection.disconnect(nowait=is_lost)

    async def _read(self, connection: "AbstractConnection") -> None:
        from redis.exceptions import ResponseError

        while True:
            for _ in range(_MESSAGES_A_TURN):
                try:
                    reply = await connection.read_response()
                except ResponseError as error:
                    reply = error
                self.received(reply)
            await asyncio.sleep(0)

    async def _ping(self) -> None:
        """Have Redis say something, well before its silence counts. What goes wrong, the reader hears."""
        with contextlib.suppress(*failures()):
            while True:
                await asyncio.sleep(self._timeout / 3)
                await self.send([("PING",)])


class _Publishing(_Line):
    """The connection that asks, and is answered."""

    def __init__(self, connect: "Callable[[], AbstractConnection]", timeout: float, bus: RedisBus) -> None:
        super().__init__(connect, timeout, bus)
        self._unanswered: collections.deque[_Question] = collections.deque()

    async def ask(self, commands: Collection[Command]) -> None:
        """Wait for a connection, send commands, and wait for their answers.

        :raises redis.RedisError, OSError: the connection was lost meanwhile, or one of the answers is an error.
        """
        await self._found.wait()
        answered: Answered = asyncio.get_running_loop().create_future()
        await self.send(commands, answered)
        error = await answered
        if error is not None:
            raise error

    def asked(self, count: int, answered: "Answered | None") -> None:
        self._unanswered.append(_Question(count, answered))

    def received(self, reply: Any) -> None:
        question = self._unanswered[0]
        question.left -= 1
        if question.error is None and isinstance(reply, Exception):
            question.error = reply
        if not question.left:
            self._unanswered.popleft().end()

    def lost(self, error: Exception) -> None:
        while self._unanswered:
            self._unanswered.popleft().end(error)


class _Question:
    """Commands that went out together: how many answers are still to come."""

    __slots__ = ("_answered", "error", "left")

    def __init__(self, left: int, answered: "Answered | None") -> None:
        self.left = left
        self.error: Exception | None = None
        self._answered = answered

    def end(self, error: Exception | None = None) -> None:
        """All answers are here, or none will come any more."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(error or self.error)


class _Subscribed(_Line):
    """The connection that listens."""

    def __init__(
        self,
        connect: "Callable[[], AbstractConnection]",
        timeout: float,
        bus: RedisBus,
        receivers: dict[bytes, Callable[[bytes], None]],
    ) -> None:
        super().__init__(connect, timeout, bus)
        self._receivers = receivers

    async def tell(self, command: Command) -> None:
        """Send a command, if there is a connection; a new one begins with what is to be heard."""
        with contextlib.suppress(*failures()):
            await self.send([command])

    def greeting(self) -> list[Command]:
        return [("SUBSCRIBE", name) for name in self._receivers]  # one that is refused leaves the others

    def received(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            logger.warning("Redis refuses to let a channel be heard: %s", reply)
        elif isinstance(reply, list) and reply[0] == b"message":
            _, channel, data = reply
            receive = self._receivers.get(channel)
            if receive is not None:
                receive(data)


def failures() -> tuple[type[Exception], ...]:
    """The errors of a connection to Redis."""
    from redis.exceptions import RedisError

    return RedisError, OSError


def check_prefix(prefix: object) -> str:
    """:raises SettingsError: nothing for the names of channels to begin with."""
    if not isinstance(prefix, str) or not prefix or not prefix.isascii():
        raise SettingsError(f"prefix must be ASCII text for the names of channels to begin with, not {prefix!r}")
    return prefix


def connection_options(url: str, timeout: float, *, asynchronous: bool) -> tuple[Any, dict[str, Any]]:
    """A URL as redis-py's class for connections, and its arguments.

    :raises SettingsError: not a URL of Redis, or redis-py is missing. The URL's password is not told.
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
        raise SettingsError("a bus over Redis needs redis-py: pip install TornadIO[redis]") from None
    if not isinstance(url, str):
        raise SettingsError(f"the URL of Redis is a text, such as 'redis://host:6379', not {type(url).__name__}")
    try:
        options: dict[str, Any] = dict(parse_url(url))
        connection_class = options.pop("connection_class", Connection)
        options |= {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "decode_responses": False,
            "health_check_interval": 0,
            "protocol": 2,
            # What was sent once, and perhaps went out, is not sent again.
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
            "retry_on_timeout": False,
        }
        connection_class(**options)
    except (TypeError, ValueError):  # the words of which may quote a password
        raise SettingsError("that is no URL of Redis as redis-py takes them, such as redis://host:6379") from None
    return connection_class, options
