"""Fixtures for tests with a real redis-server on 127.0.0.1.

`redis_server`
    A `RedisServer` that runs, for all tests of a module: none stops it or changes its configuration for good.
`start_redis(*options)`
    Starts one more, with these options of redis-server.
`await lose_answers(redis_server)`
    The URL of a way to a Redis that breaks whenever something was published: Redis has it, the publisher is not told.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.appserver import Daemon, free_port
from tests.programs import path_of
from tests.support import limit

StartRedis = Callable[..., "RedisServer"]


class RedisServer(Daemon):
    """A redis-server on a port of its own, which it keeps over restarts. It keeps nothing else."""

    def __init__(self, directory: Path, *options: str) -> None:
        port = free_port()
        self.path = directory / f"redis-{port}.sock"
        self.url = f"redis://127.0.0.1:{port}/0"
        command = [
            path_of("redis-server") or "redis-server",
            *("--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(self.path)),
            *("--save", "", "--appendonly", "no", "--dir", str(directory), *options),
        ]
        super().__init__("redis-server", command, port, directory / f"redis-{port}.txt")

    def freeze(self) -> None:
        """It accepts connections, and says nothing."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send_signal(signal.SIGCONT)

    async def tell(self, *words: Any, **options: Any) -> Any:
        """What it answers to a command."""
        # Here, since these fixtures are known to all tests, of which few speak to Redis.
        import redis.asyncio

        async with limit(), redis.asyncio.Redis.from_url(self.url, **options) as client:
            return await client.execute_command(*words)

    async def subscribers(self, channel: str) -> int:
        """How many are subscribed to a channel."""
        [_, count] = await self.tell("PUBSUB", "NUMSUB", channel)
        return int(count)

    async def wait_for_subscribers(self, channel: str, count: int) -> None:
        await eventually(lambda: self.subscribers(channel), count)

    async def connections(self) -> int:
        """How many are connected, besides the one who asks."""
        return len((await self.tell("CLIENT", "LIST")).splitlines()) - 1


async def eventually(ask: Callable[[], Awaitable[Any]], answer: Any) -> None:
    """Ask until this is the answer."""
    async with limit():
        while await ask() != answer:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    servers: list[RedisServer] = []

    def start_redis(*options: str) -> RedisServer:
        servers.append(RedisServer(tmp_path, *options))
        servers[-1].start()
        return servers[-1]

    yield start_redis
    for server in servers:
        server.kill()


@pytest.fixture
async def lose_answers() -> AsyncIterator[Callable[[RedisServer], Awaitable[str]]]:
    proxies: list[asyncio.Server] = []

    async def lose_answers(server: RedisServer) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", server.port)
            while request := await reader.read(1 << 16):
                there_writer.write(request)
                answer = await there_reader.read(1 << 16)
                if b"PUBLISH" in request:
                    break
                writer.write(answer)
            for each in (writer, there_writer):
                each.close()

        proxies.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return f"redis://127.0.0.1:{proxies[-1].sockets[0].getsockname()[1]}"

    yield lose_answers
    for proxy in proxies:
        proxy.close()
