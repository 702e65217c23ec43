"""Between a router's sessions and its bus: what they send goes out in order, what comes in is checked.

Here nothing waits for the bus, and nothing that happens to it reaches the application: messages gather in a bounded
queue, one task publishes what has gathered, and what can't be published is dropped, counted and said.
"""

import asyncio
import collections
import functools
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tornadio.cluster.bus import channel_of, pack, unpack
from tornadio.errors import ProtocolError
from tornadio.logs import get_logger
from tornadio.net.tasks import is_cancelled, loop_is_running

if TYPE_CHECKING:
    from tornadio.cluster.bus import Bus

logger = get_logger(__name__)

_BATCH_SIZE: Final = 1 << 18  # bytes published together, or one message that is larger
_RETRY_SECONDS: Final = 1.0  # between two attempts to subscribe
_GRACE_SECONDS: Final = 1.0  # at the end, for the bus to close

Deliver = Callable[[str], None]  # frames


class Relay:
    """Publishes what a router sends to all or to a group, and delivers what other processes publish.

    :param bus: which it closes.
    :param resource: the router's.
    :param limit: bytes of one message on the bus, and of those that wait for it together.
    :param deliver: called with the frames that are for every connection here.
    """

    def __init__(self, bus: "Bus", resource: str, limit: int, deliver: Deliver) -> None:
        self._bus = bus
        self._resource = resource
        self._limit = limit
        self._publisher = secrets.token_hex(8)
        self._ours = pack(self._publisher, "").partition(b'"frames"')[0]  # what our own messages begin with
        self._is_started = False
        self._is_closed = False
        self._queue: collections.deque[tuple[str, bytes]] = collections.deque()
        self._queued = 0  # bytes
        self._sending: asyncio.Task[None] | None = None
        self._under_way = 0  # messages that the bus has at the moment
        self._dropped = 0  # messages, in this outage
        self._delivers: dict[str, Deliver] = {channel_of(resource): deliver}  # by the channels that are wanted
        self._subscribed: set[str] = set()
        self._changed: dict[str, None] = dict.fromkeys(self._delivers)  # channels that were not looked at since
        self._subscribing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Subscribe, and publish what waits already, on the loop that runs now. Starting twice does no harm."""
        if not self._is_started and not self._is_closed:
            self._is_started = True
            self._subscribe_soon()
            self._send_soon()

    # -- Out -----------------------------------------------------------------------------------------------------

    def publish(self, frames: str, group: str | None = None) -> None:
        """Send frames to the other processes' connections, or to those in a group. Never waits, never raises."""
        if self._is_closed:
            logger.debug("%s: published after the end: dropped", self._resource)
            return
        data = pack(self._publisher, frames)
        if len(data) > self._limit:
            logger.warning(
                "%s: a message reaches this process alone, on the bus it is %d bytes, max_send_buffer is %d",
                self._resource,
                len(data),
                self._limit,
            )
            return
        self._queue.append((channel_of(self._resource, group), data))
        self._queued += len(data)
        while self._queued > self._limit:
            self._queued -= len(self._queue.popleft()[1])
            self._drop(1, "too much waits for the bus")
        if loop_is_running():
            self.start()
            self._send_soon()

    def _send_soon(self) -> None:
        """At the end of this turn: all that is sent in one turn travels together."""
        if self._sending is None and self._queue:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._queue:
                batch = self._take()
                self._under_way = len(batch)
                try:
                    await self._bus.publish(batch)
                except (Exception, asyncio.CancelledError) as error:
                    if is_cancelled():
                        raise
                    self._drop(len(batch), str(error) or type(error).__name__)
                else:
                    self._went_out()
                self._under_way = 0
        finally:
            self._sending = None

    def _take(self) -> list[tuple[str, bytes]]:
        batch = [self._queue.popleft()]
        size = len(batch[0][1])
        while self._queue and size + len(self._queue[0][1]) <= _BATCH_SIZE:
            batch.append(self._queue.popleft())
            size += len(batch[-1][1])
        self._queued -= size
        return batch

    def _drop(self, count: int, reason: str) -> None:
        if not self._dropped:
            logger.warning("%s: messages for other processes are dropped: %s", self._resource, reason)
        self._dropped += count

    def _went_out(self) -> None:
        if self._dropped:
            logger.warning("%s: messages reach other processes again, %d were dropped", self._resource, self._dropped)
            self._dropped = 0

    # -- In ------------------------------------------------------------------------------------------------------

    def join(self, group: str, deliver: Deliver) -> None:
        """A group has members here: ``deliver`` what comes for it."""
        self._want(channel_of(self._resource, group), deliver)

    def leave(self, group: str) -> None:
        """A group has no members here any more."""
        self._want(channel_of(self._resource, group), None)

    def _want(self, channel: str, deliver: Deliver | None) -> None:
        if deliver is None:
            self._delivers.pop(channel, None)
        else:
            self._delivers[channel] = deliver
        self._changed[channel] = None
        if self._is_started:
            self._subscribe_soon()

    def _subscribe_soon(self) -> None:
        if self._subscribing is None and self._changed and not self._is_closed:
            self._subscribing = asyncio.get_running_loop().create_task(self._subscribe())

    async def _subscribe(self) -> None:
        """Bring the bus's subscriptions to what is wanted, one after the other: a group may come and go at once."""
        try:
            while self._changed:
                channel = next(iter(self._changed))
                del self._changed[channel]
                try:
                    await self._bring(channel)
                except (Exception, asyncio.CancelledError) as error:
                    if is_cancelled():
                        raise
                    reason = str(error) or type(error).__name__
                    logger.warning("the bus can't subscribe to %s, or unsubscribe: %s", channel, reason)
                    self._changed[channel] = None
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._subscribing = None

    async def _bring(self, channel: str) -> None:
        if channel in self._delivers:
            if channel not in self._subscribed:
                await self._bus.subscribe(channel, functools.partial(self._receive, channel))
                self._subscribed.add(channel)
        elif channel in self._subscribed:
            await self._bus.unsubscribe(channel)
            self._subscribed.discard(channel)

    def _receive(self, channel: str, data: bytes) -> None:
        """Something has come. Whatever it is, the bus hears of no error."""
        deliver = self._delivers.get(channel)
        if deliver is None or self._is_closed or data.startswith(self._ours):
            return
        try:
            if len(data) > self._limit:
                raise ProtocolError(f"{len(data)} bytes, max_send_buffer is {self._limit}")
            deliver(unpack(data))
        except ProtocolError as error:
            logger.warning("what came from the bus on %s is no message: %s", channel, error)
        except Exception:
            logger.exception("what came from the bus on %s can't be delivered", channel)

    # -- End -----------------------------------------------------------------------------------------------------

    async def close(self, seconds: float) -> None:
        """Close the bus, once what waits for it has gone out.

        :param seconds: what has not gone out then is dropped.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=seconds)
        self._dropped += self._under_way + len(self._queue)
        if self._dropped:
            logger.warning(
                "%s: at the end, %d messages for other processes were dropped", self._resource, self._dropped
            )
        self._queue.clear()
        tasks = {task for task in (self._sending, self._subscribing) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
        try:
            await asyncio.wait_for(self._bus.close(), _GRACE_SECONDS)
        except Exception as error:
            logger.warning("%s: the bus can't be closed: %s", self._resource, str(error) or type(error).__name__)
