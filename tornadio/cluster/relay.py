"""The relay between a router's sessions and its bus: publishes their broadcasts in order, delivers other processes'.

Sessions never wait for the bus, and its errors never reach the application: messages wait in a bounded queue, one task
publishes them in batches, and those that can't be published are dropped, counted and logged.
"""

import asyncio
import collections
import functools
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tornadio.cluster.bus import channel_name, pack, unpack
from tornadio.errors import ProtocolError
from tornadio.logs import error_text, get_logger
from tornadio.net.tasks import is_cancelled, loop_is_running

if TYPE_CHECKING:
    from tornadio.cluster.bus import Bus

logger = get_logger(__name__)

_BATCH_SIZE: Final = 1 << 18  # bytes published together, or one message that is larger
_RETRY_DELAY: Final = 1.0  # seconds between two attempts to subscribe
_CLOSE_TIMEOUT: Final = 1.0  # seconds for cancelled tasks, and then for the bus, to end

Deliver = Callable[[str], None]  # frames


class Relay:
    """Publishes a router's messages to all or to a group, and delivers those that other processes publish.

    :param bus: the router's; :meth:`close` closes it.
    :param resource: the router's.
    :param limit: bytes that one message may have on the bus, and that all messages in the queue may have together.
    :param deliver: called with the frames of each message for all connections of this router.
    :ivar limit: as given; may be changed.
    """

    def __init__(self, bus: "Bus", resource: str, limit: int, deliver: Deliver) -> None:
        self._bus = bus
        self._resource = resource
        self.limit = limit
        self._publisher = secrets.token_hex(8)
        # A bus delivers to its publisher, too. Messages that begin so are our own, and were delivered before: they are
        # recognized by their first bytes, without decoding JSON.
        self._own_prefix = pack(self._publisher, "").partition(b'"frames"')[0]
        self._is_started = False
        self._is_closed = False
        self._queue: collections.deque[tuple[str, bytes]] = collections.deque()
        self._queued_bytes = 0
        self._publish_task: asyncio.Task[None] | None = None
        self._in_flight = 0  # messages of the batch that the bus is publishing
        self._dropped = 0  # messages, since the bus last published one
        self._receivers: dict[str, Deliver] = {channel_name(resource): deliver}  # by wanted channel
        self._subscribed: set[str] = set()
        # Channels that became wanted or unwanted since the last sync: an ordered set.
        self._dirty: dict[str, None] = dict.fromkeys(self._receivers)
        self._sync_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Subscribe, and publish what is queued, on the running event loop. Starting twice does no harm."""
        if not self._is_started and not self._is_closed:
            self._is_started = True
            self._schedule_sync()
            self._schedule_publish()

    # -- Out -----------------------------------------------------------------------------------------------------

    def publish(self, frames: str, group: str | None = None) -> None:
        """Queue frames for the other processes' connections, or for those in a group. Never waits, never raises."""
        if self._is_closed:
            logger.debug("%s: published after the end: dropped", self._resource)
            return
        data = pack(self._publisher, frames)
        if len(data) > self.limit:
            logger.warning(
                "%s: a message reaches this process alone, on the bus it is %d bytes, max_send_buffer is %d",
                self._resource,
                len(data),
                self.limit,
            )
            return
        self._queue.append((channel_name(self._resource, group), data))
        self._queued_bytes += len(data)
        while self._queued_bytes > self.limit:  # never the newest: it was checked against the limit above
            self._queued_bytes -= len(self._queue.popleft()[1])
            self.drop(1, "too much waits for the bus")
        if loop_is_running():  # not at import time: then the first session, or the server, starts the relay
            self.start()
            self._schedule_publish()

    def _schedule_publish(self) -> None:
        """Start the publishing task, which runs in the loop's next iteration: what this one sends shares a batch."""
        if self._publish_task is None and self._queue:
            self._publish_task = asyncio.get_running_loop().create_task(self._publish_queued())

    async def _publish_queued(self) -> None:
        try:
            while self._queue:
                batch = self._next_batch()
                self._in_flight = len(batch)
                try:
                    await self._bus.publish(batch)
                except (Exception, asyncio.CancelledError) as error:  # a bus of the application's may leak the latter
                    if is_cancelled():
                        raise
                    self.drop(len(batch), error_text(error))
                else:
                    self._outage_over()
                self._in_flight = 0
        finally:
            self._publish_task = None

    def _next_batch(self) -> list[tuple[str, bytes]]:
        batch = [self._queue.popleft()]
        size = len(batch[0][1])
        while self._queue and size + len(self._queue[0][1]) <= _BATCH_SIZE:
            batch.append(self._queue.popleft())
            size += len(batch[-1][1])
        self._queued_bytes -= size
        return batch

    def drop(self, count: int, reason: str) -> None:
        """Count messages that are not published, and log the first of them since the bus last published one."""
        if not self._dropped:
            logger.warning("%s: messages for other processes are dropped: %s", self._resource, reason)
        self._dropped += count

    def _outage_over(self) -> None:
        if self._dropped:
            logger.warning("%s: messages reach other processes again, %d were dropped", self._resource, self._dropped)
            self._dropped = 0

    # -- In ------------------------------------------------------------------------------------------------------

    def join(self, group: str, deliver: Deliver) -> None:
        """Subscribe to a group's channel: the group has its first member in this process.

        :param deliver: called with each message for the group.
        """
        self._set_wanted(channel_name(self._resource, group), deliver)

    def leave(self, group: str) -> None:
        """Unsubscribe from a group's channel: the group has no member in this process any more."""
        self._set_wanted(channel_name(self._resource, group), None)

    def _set_wanted(self, channel: str, deliver: Deliver | None) -> None:
        if deliver is None:
            self._receivers.pop(channel, None)
        else:
            self._receivers[channel] = deliver
        self._dirty[channel] = None
        if self._is_started:
            self._schedule_sync()

    def _schedule_sync(self) -> None:
        if self._sync_task is None and self._dirty and not self._is_closed:
            self._sync_task = asyncio.get_running_loop().create_task(self._sync_subscriptions())

    async def _sync_subscriptions(self) -> None:
        """Subscribe and unsubscribe, one call at a time, until the bus has what is wanted.

        What is wanted of a channel is read when its turn comes: a group may be joined and left in one iteration.
        """
        try:
            while self._dirty:
                channel = next(iter(self._dirty))
                del self._dirty[channel]
                try:
                    await self._sync_subscription(channel)
                except (Exception, asyncio.CancelledError) as error:
                    if is_cancelled():
                        raise
                    logger.warning("the bus can't subscribe to %s, or unsubscribe: %s", channel, error_text(error))
                    self._dirty[channel] = None
                    await asyncio.sleep(_RETRY_DELAY)
        finally:
            self._sync_task = None

    async def _sync_subscription(self, channel: str) -> None:
        if channel in self._receivers:
            if channel not in self._subscribed:
                await self._bus.subscribe(channel, functools.partial(self._receive, channel))
                self._subscribed.add(channel)
        elif channel in self._subscribed:
            await self._bus.unsubscribe(channel)
            self._subscribed.discard(channel)

    def _receive(self, channel: str, data: bytes) -> None:
        """Check a message from the bus, and deliver it. Raises nothing into the bus: errors are logged."""
        deliver = self._receivers.get(channel)
        if deliver is None or self._is_closed or data.startswith(self._own_prefix):
            return
        try:
            if len(data) > self.limit:
                raise ProtocolError(f"{len(data)} bytes, max_send_buffer is {self.limit}")
            deliver(unpack(data))
        except ProtocolError as error:
            logger.warning("what came from the bus on %s is no message: %s", channel, error)
        except Exception:
            logger.exception("what came from the bus on %s can't be delivered", channel)

    # -- End -----------------------------------------------------------------------------------------------------

    async def close(self, seconds: float) -> None:
        """Publish what is queued, then close the bus.

        :param seconds: for publishing; what is still queued then is dropped. Closing may take 2 s more.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._publish_task is not None:
            await asyncio.wait({self._publish_task}, timeout=seconds)
        self._dropped += self._in_flight + len(self._queue)
        if self._dropped:
            logger.warning(
                "%s: at the end, %d messages for other processes were dropped", self._resource, self._dropped
            )
        self._queue.clear()
        tasks = {task for task in (self._publish_task, self._sync_task) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT)
        try:
            await asyncio.wait_for(self._bus.close(), _CLOSE_TIMEOUT)
        except Exception as error:
            logger.warning("%s: the bus can't be closed: %s", self._resource, error_text(error))
