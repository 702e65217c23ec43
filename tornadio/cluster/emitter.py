"""Emitters: for programs without a server, a worker or a cron job, to send to the clients of those that have one."""

import secrets
from types import TracebackType
from typing import Any, Self

from tornadio import proto
from tornadio.cluster.bus import channel_of, check_group_name, pack
from tornadio.cluster.redis import PREFIX, TIMEOUT, check_prefix, connection_options, failures
from tornadio.errors import BusError, SettingsError


class _Names:
    """What both kinds of emitters say in the same way."""

    def __init__(self, resource: str, prefix: str) -> None:
        if not isinstance(resource, str) or not resource.strip("/"):
            raise SettingsError(f"resource must be that of the router, such as 'socket.io', not {resource!r}")
        self._resource = resource.strip("/")
        self._prefix = check_prefix(prefix)
        self._publisher = secrets.token_hex(8)

    def command(self, message: Any, group: str | None) -> tuple[str, str, bytes] | None:
        """What Redis is to be told, ``None`` where there is nothing to send.

        :raises EncodeError: the message can't be sent.
        """
        frames = proto.encode(message)
        if not frames:
            return None
        return "PUBLISH", f"{self._prefix}:{channel_of(self._resource, group)}", pack(self._publisher, frames)


class Emitter:
    """Sends to the connections of all routers of a resource that share a Redis, from a program without a server.

    At most once: what Redis takes reaches who is connected, and subscribed, at that moment. It blocks until Redis has
    answered, and may be used by several threads. ``with tornadio.Emitter(...) as emitter:`` closes it.

    :param url: the routers' setting ``bus``.
    :param resource: the routers'.
    :param prefix: as :class:`tornadio.RedisBus` has it.
    :param timeout: seconds that Redis may take, to be connected to and to answer.
    :raises tornadio.errors.SettingsError: not a URL of Redis, or redis-py is missing.
    """

    def __init__(
        self, url: str, resource: str = "socket.io", *, prefix: str = PREFIX, timeout: float = TIMEOUT
    ) -> None:
        connection_class, options = connection_options(url, timeout, asynchronous=False)
        from redis import ConnectionPool, Redis

        self._names = _Names(resource, prefix)
        self._pool = ConnectionPool(connection_class=connection_class, **options)
        self._redis = Redis(connection_pool=self._pool)

    def broadcast(self, message: Any) -> None:
        """Send a message to every connection.

        :param message: as :meth:`tornadio.SocketConnection.send` takes it.
        :raises tornadio.errors.EncodeError: the message can't be sent.
        :raises tornadio.errors.BusError: Redis did not take it, or did not say so.
        """
        self._send(message, None)

    def group(self, name: str) -> "EmitterGroup":
        """Those connections that are members of a group, wherever.

        :raises tornadio.errors.CallerError: that is no name.
        """
        return EmitterGroup(self, check_group_name(name))

    def _send(self, message: Any, group: str | None) -> None:
        command = self._names.command(message, group)
        if command is not None:
            try:
                self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
            except failures() as error:
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
    """A group, as an :class:`Emitter` sees it.

    :ivar name: the group's name.
    """

    def __init__(self, emitter: Emitter, name: str) -> None:
        self.name = name
        self._emitter = emitter

    def send(self, message: Any) -> None:
        """Send a message to every member. Errors are those of :meth:`Emitter.broadcast`."""
        self._emitter._send(message, self.name)


class AsyncEmitter:
    """An :class:`Emitter` for asyncio: its methods are coroutines, and ``async with`` closes it."""

    def __init__(
        self, url: str, resource: str = "socket.io", *, prefix: str = PREFIX, timeout: float = TIMEOUT
    ) -> None:
        connection_class, options = connection_options(url, timeout, asynchronous=True)
        from redis.asyncio import ConnectionPool, Redis

        self._names = _Names(resource, prefix)
        self._pool = ConnectionPool(connection_class=connection_class, **options)
        self._redis = Redis(connection_pool=self._pool)

    async def broadcast(self, message: Any) -> None:
        """As :meth:`Emitter.broadcast`."""
        await self._send(message, None)

    def group(self, name: str) -> "AsyncEmitterGroup":
        """As :meth:`Emitter.group`."""
        return AsyncEmitterGroup(self, check_group_name(name))

    async def _send(self, message: Any, group: str | None) -> None:
        command = self._names.command(message, group)
        if command is not None:
            try:
                await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
            except failures() as error:
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
    """A group, as an :class:`AsyncEmitter` sees it.

    :ivar name: the group's name.
    """

    def __init__(self, emitter: AsyncEmitter, name: str) -> None:
        self.name = name
        self._emitter = emitter

    async def send(self, message: Any) -> None:
        """Send a message to every member. Errors are those of :meth:`AsyncEmitter.broadcast`."""
        await self._emitter._send(message, self.name)
