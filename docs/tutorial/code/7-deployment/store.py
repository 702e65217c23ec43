"""Who is in which room, and what was said there: in memory, or in Redis."""

import json
import time
from collections import defaultdict, deque

import redis.asyncio

LEASE = 15  # seconds for which somebody is in a room, unless it is renewed
KEPT = 50  # messages of a room


class MemoryStore:
    def __init__(self):
        self.people = {}  # (room, session id) -> name
        self.messages = defaultdict(lambda: deque(maxlen=KEPT))  # room -> the last ones

    async def enter(self, room, session_id, name):
        self.people[room, session_id] = name

    async def leave(self, room, session_id, name):
        self.people.pop((room, session_id), None)

    async def names(self, room):
        people = self.people.items()
        return sorted({name for (where, _), name in people if where == room})

    async def keep(self, room, message):
        if message not in self.messages[room]:
            self.messages[room].append(message)

    async def said(self, room):
        return list(self.messages[room])


class RedisStore:
    def __init__(self, url):
        self.redis = redis.asyncio.from_url(url, decode_responses=True)

    async def enter(self, room, session_id, name):
        """Begin a lease, or renew it."""
        lease = {f"{session_id} {name}": time.time() + LEASE}
        await self.redis.zadd(f"chat:people:{room}", lease)

    async def leave(self, room, session_id, name):
        await self.redis.zrem(f"chat:people:{room}", f"{session_id} {name}")

    async def names(self, room):
        """The names of those whose lease has not ended, each once."""
        key = f"chat:people:{room}"
        people = await self.redis.zrangebyscore(key, time.time(), "inf")
        return sorted({person.partition(" ")[2] for person in people})

    async def keep(self, room, message):
        """Keep a message, unless it is there already."""
        if message not in await self.said(room):
            await self.redis.rpush(f"chat:said:{room}", json.dumps(message))
            await self.redis.ltrim(f"chat:said:{room}", -KEPT, -1)

    async def said(self, room):
        """The last messages, the oldest first."""
        messages = await self.redis.lrange(f"chat:said:{room}", 0, -1)
        return [json.loads(message) for message in messages]
