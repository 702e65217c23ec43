"""Who is in the room, and what was said last: in the memory of one process, or in Redis for many."""

import itertools
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from tornado.ioloop import PeriodicCallback

NAME_LIMIT = 24
HISTORY_LENGTH = 50

T = TypeVar("T")


class Refused(Exception):
    """What came from a page can't be done; the text tells people why."""


class Room:
    """The room of a chatroom that is one process."""

    def __init__(self) -> None:
        self.people: dict[str, tuple[str, str]] = {}  # session id -> name and tab
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY_LENGTH)

    async def enter(self, session_id: str, wanted: str, tab: str) -> tuple[str, bool]:
        """The name that somebody gets, and whether they are new: a tab that was here a moment ago is not."""
        is_new = (wanted, tab) not in self.people.values()
        name = free_name(wanted, await self.names()) if is_new else wanted
        self.people[session_id] = name, tab
        return name, is_new

    async def leave(self, session_id: str) -> bool:
        """Whether nobody else has their name: the same tab may be here over a newer connection."""
        name, _ = self.people.pop(session_id)
        return name not in await self.names()

    async def names(self) -> Collection[str]:
        return {name for name, _ in self.people.values()}

    async def remember(self, said: dict[str, Any]) -> None:
        self.history.append(said)

    async def last_words(self) -> list[dict[str, Any]]:
        return list(self.history)


class SharedRoom(Room):
    """The room of a chatroom that is many processes.

    Whoever is here has a lease in Redis, which their process renews. When a process was killed, those that did not come
    back over another one are gone with their leases.
    """

    PEOPLE = "chatroom:people"  # JSON [session id, name, tab] -> when the lease ends
    HISTORY = "chatroom:history"
    LEASE_SECONDS = 15

    def __init__(self, url: str, lost: Callable[[str], None]) -> None:
        """`lost` is called with the name of somebody whose lease has ended, in one of the processes."""
        import redis.asyncio

        super().__init__()
        options = {"decode_responses": True, "socket_timeout": 2, "socket_connect_timeout": 2}
        self.redis: Any = redis.asyncio.from_url(url, **options)
        self.lost = lost
        self.errors = redis.RedisError
        self.leases: dict[str, str] = {}  # session id -> member of PEOPLE, of this process alone
        self.renewing = PeriodicCallback(self.renew, self.LEASE_SECONDS * 1000 / 3)
        self.renewing.start()

    async def enter(self, session_id: str, wanted: str, tab: str) -> tuple[str, bool]:
        return await self.ask(self._enter(session_id, wanted, tab))

    async def _enter(self, session_id: str, wanted: str, tab: str) -> tuple[str, bool]:
        async with self.redis.lock("chatroom:door", timeout=5, blocking_timeout=5):  # a name is for one tab
            people = await self.load()
            is_new = [wanted, tab] not in [person[1:] for person in people]
            name = free_name(wanted, {person[1] for person in people}) if is_new else wanted
            lease = json.dumps([session_id, name, tab])
            await self.redis.zadd(self.PEOPLE, {lease: time.time() + self.LEASE_SECONDS})
        self.leases[session_id] = lease
        return name, is_new

    async def leave(self, session_id: str) -> bool:
        lease = self.leases.pop(session_id)
        await self.ask(self.redis.zrem(self.PEOPLE, lease))
        return json.loads(lease)[1] not in await self.names()

    async def names(self) -> Collection[str]:
        return {name for _, name, _ in await self.ask(self.load())}

    async def load(self) -> list[list[str]]:
        return [json.loads(lease) for lease in await self.redis.zrangebyscore(self.PEOPLE, time.time(), "+inf")]

    async def remember(self, said: dict[str, Any]) -> None:
        pipeline = self.redis.pipeline()
        pipeline.rpush(self.HISTORY, json.dumps(said)).ltrim(self.HISTORY, -HISTORY_LENGTH, -1)
        await self.ask(pipeline.execute())

    async def last_words(self) -> list[dict[str, Any]]:
        return [json.loads(said) for said in await self.ask(self.redis.lrange(self.HISTORY, 0, -1))]

    async def renew(self) -> None:
        """Renew the leases of this process, and look for some that have ended."""
        now = time.time()
        try:
            if self.leases:
                await self.redis.zadd(self.PEOPLE, dict.fromkeys(self.leases.values(), now + self.LEASE_SECONDS))
            for lease in await self.redis.zrangebyscore(self.PEOPLE, 0, now):
                name = json.loads(lease)[1]
                if await self.redis.zrem(self.PEOPLE, lease) and name not in await self.names():
                    self.lost(name)
        except (self.errors, Refused) as error:
            logging.warning("No leases were renewed: %s", error)

    async def ask(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except self.errors as error:
            logging.warning("Redis: %s", error)
            raise Refused("The room can't be reached at the moment. Please try again.") from error


def free_name(name: str, names: Collection[str]) -> str:
    """The name itself, or if somebody has it, the name with a number."""
    taken = {name.casefold() for name in names}
    endings = itertools.chain([""], (f" {number}" for number in itertools.count(2)))
    candidates = (name[: NAME_LIMIT - len(ending)] + ending for ending in endings)
    return next(name for name in candidates if name.casefold() not in taken)
