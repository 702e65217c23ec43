"""Emitters: send messages, over Redis, to the clients of other processes, from a worker or a cron job."""

import secrets
from types import TracebackType
from typing import Any, Self

from tornadio import proto
from tornadio.cluster.bus import channel_name, check_group_name, check_resource, pack
from tornadio.cluster.redis import DEFAULT_PREFIX, DEFAULT_TIMEOUT, check_prefix, connection_errors, connection_options
from tornadio.errors import BusError


class _PublishCommands:
    """Builds the PUBLISH commands of both kinds of emitter.

    :raises SettingsError: ``resource``, ``prefix`` or ``json`` is not valid.
    """

    def __init__(self, resource: str, prefix: str, json: proto.JSONFormat) -> None:
        self._resource = check_resource(resource)
        self._prefix = check_prefix(prefix)
        self._json = proto.check_json_format(json)
        self._publisher = secrets.token_hex(8)

    def build(self, message: Any, group: str | None) -> tuple[str, str, bytes] | None:
        """Encode a message, and return the command that publishes it; ``None`` if the message is empty.

        :raises EncodeError: the message can't be sent.
        """
        frames = proto.encode(message, self._json)
        if not frames:
            return None
        return "PUBLISH", f"{self._prefix}:{channel_name(self._resource, group)}", pack(self._publisher, frames)


class Emitter:
    """Sends to the connections of all routers of a resource that share a Redis, from a program without a server.

    Delivery is at most once: a message reaches the connections that are open, in processes that are subscribed, when
    Redis executes the command. A method that sends blocks until Redis has replied; threads may share an emitter.
    An emitter connects when it first sends. ``with tornadio.Emitter(...) as emitter:`` closes it.

    :param url: the routers' setting ``bus``, see :class:`tornadio.RedisBus`.
    :param resource: the routers' ``resource``.
    :param prefix: of the channels, the routers' :class:`tornadio.RedisBus` has the same.
    :param timeout: seconds that connecting may take, and each reply.
    :param json: the routers' setting ``json``: how objects are sent.
    :raises tornadio.errors.SettingsError: ``url`` is not a URL of Redis, ``prefix`` is empty or not ASCII,
        ``resource`` is empty, ``json`` is no such setting, or redis-py is missing.
    """

    def __init__(
        self,
        url: str,
        resource: str = "socket.io",
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = DEFAULT_TIMEOUT,
        json: proto.JSONFormat = "marked",
    ) -> None:
        connection_class, options = connection_options(url, timeout, asynchronous=False)
        from redis import ConnectionPool, Redis  # redis-py is an extra: connection_options has found it

        self._commands = _PublishCommands(resource, prefix, json)
        self._pool = ConnectionPool(connection_class=connection_class, **options)
        self._redis = Redis(connection_pool=self._pool)

    def broadcast(self, message: Any) -> None:
        """Send a message to every connection.

        :param message: as :meth:`tornadio.SocketConnection.send` takes it.
        :raises tornadio.errors.EncodeError: the message can't be sent.
        :raises tornadio.errors.BusError: Redis has replied with an error, or not at all: the message may be lost, and
            is not sent again.
        """
        self._send(message, None)

    def group(self, name: str) -> "EmitterGroup":
        """Return a group, to send to its members in all processes.

        :param name: text of 1 to 200 characters.
        :raises tornadio.errors.CallerError: ``name`` is not such a text.
        """
        return EmitterGroup(self, check_group_name(name))

    def _send(self, message: Any, group: str | None) -> None:
        command = self._commands.build(message, group)
        if command is not None:
            try:
                self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
            except connection_errors() as error:
                raise BusError(f"Redis took no message: {error}") from error

    def close(self) -> None:
        """Close the connections to Redis."""
        self._pool.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EmitterGroup:
    """A group that an :class:`Emitter` sends to.

    :ivar name: the group's name.
    """

    def __init__(self, emitter: Emitter, name: str) -> None:
        self.name = name
        self._emitter = emitter

    def send(self, message: Any) -> None:
        """Send a message to every member. Errors are those of :meth:`tornadio.Emitter.broadcast`."""
        self._emitter._send(message, self.name)


class AsyncEmitter:
    """An :class:`Emitter` whose methods are coroutines: sends from an asyncio program without a server.

    Delivery is at most once, as an :class:`Emitter`'s. An emitter belongs to one event loop; tasks may share it.
    ``async with tornadio.AsyncEmitter(...) as emitter:`` closes it.

    :param url: the routers' setting ``bus``, see :class:`tornadio.RedisBus`.
    :param resource: the routers' ``resource``.
    :param prefix: of the channels, the routers' :class:`tornadio.RedisBus` has the same.
    :param timeout: seconds that connecting may take, and each reply.
    :param json: the routers' setting ``json``: how objects are sent.
    :raises tornadio.errors.SettingsError: ``url`` is not a URL of Redis, ``prefix`` is empty or not ASCII,
        ``resource`` is empty, ``json`` is no such setting, or redis-py is missing.
    """

    def __init__(
        self,
        url: str,
        resource: str = "socket.io",
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout: float = DEFAULT_TIMEOUT,
        json: proto.JSONFormat = "marked",
    ) -> None:
        connection_class, options = connection_options(url, timeout, asynchronous=True)
        from redis.asyncio import ConnectionPool, Redis  # as in Emitter

        self._commands = _PublishCommands(resource, prefix, json)
        self._pool = ConnectionPool(connection_class=connection_class, **options)
        self._redis = Redis(connection_pool=self._pool)

    async def broadcast(self, message: Any) -> None:
        """Send a message to every connection, and wait for Redis' reply.

        :param message: as :meth:`tornadio.SocketConnection.send` takes it.
        :raises tornadio.errors.EncodeError: the message can't be sent.
        :raises tornadio.errors.BusError: Redis has replied with an error, or not at all: the message may be lost, and
            is not sent again.
        """
        await self._send(message, None)

    def group(self, name: str) -> "AsyncEmitterGroup":
        """Return a group, to send to its members in all processes.

        :param name: text of 1 to 200 characters.
        :raises tornadio.errors.CallerError: ``name`` is not such a text.
        """
        return AsyncEmitterGroup(self, check_group_name(name))

    async def _send(self, message: Any, group: str | None) -> None:
        command = self._commands.build(message, group)
        if command is not None:
            try:
                await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
            except connection_errors() as error:
                raise BusError(f"Redis took no message: {error}") from error

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncEmitterGroup:
    """A group that an :class:`AsyncEmitter` sends to.

    :ivar name: the group's name.
    """

    def __init__(self, emitter: AsyncEmitter, name: str) -> None:
        self.name = name
        self._emitter = emitter

    async def send(self, message: Any) -> None:
        """Send a message to every member. Errors are those of :meth:`tornadio.AsyncEmitter.broadcast`."""
        await self._emitter._send(message, self.name)
