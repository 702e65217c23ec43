"""The relay between a router's sessions and its bus: publishes their broadcasts in order, delivers other processes'.

Sessions never wait for the bus, and its errors never reach the application: messages wait in a bounded queue, one task
publishes them in batches, and those that can't be published are dropped, counted and logged.
"""

import asyncio
import collections
import functools
import secrets
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from tornadio.cluster.bus import channel_name, pack, unpack
from tornadio.cluster.probe import INTERVAL, Probe
from tornadio.errors import ProtocolError
from tornadio.logs import error_text, get_logger
from tornadio.net.tasks import is_cancelled, loop_is_running, start_task
from tornadio.stats import BusStats

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
        self._published = self._received = self._all_dropped = self._outages = self._rejected = 0
        self._probe = Probe(resource, self._publisher)
        self._probe_timer: asyncio.TimerHandle | None = None
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
            self._probe_timer = asyncio.get_running_loop().call_later(INTERVAL, self._subscribe_probe)

    # -- Figures -------------------------------------------------------------------------------------------------

    def stats(self) -> BusStats:
        """Return what was counted."""
        return BusStats(
            published=self._published,
            received=self._received,
            dropped=self._all_dropped,
            outages=self._outages,
            rejected=self._rejected,
            queued_messages=self._in_flight + self._messages_in(list(self._queue)),
            queued_bytes=self._queued_bytes,
            is_up=self._probe.is_up,
            delay=self._probe.delay.copy(),
        )

    def _messages_in(self, batch: Collection[tuple[str, bytes]]) -> int:
        """Return how many messages of the application a batch holds."""
        return len([channel for channel, _ in batch if channel != self._probe.channel])

    def _subscribe_probe(self) -> None:
        self._set_wanted(self._probe.channel, lambda frames: None)
        self._probe_timer = asyncio.get_running_loop().call_later(INTERVAL, self._send_probe)

    def _send_probe(self) -> None:
        """Publish a message to this process, behind what is queued, as the next one would be that is broadcast."""
        loop = asyncio.get_running_loop()
        self._probe_timer = loop.call_later(INTERVAL, self._send_probe)
        data = self._probe.next(loop.time())
        if data is not None:
            self._queue.append((self._probe.channel, data))
            self._queued_bytes += len(data)
            self._schedule_publish()

    # -- Out -----------------------------------------------------------------------------------------------------

    def publish(self, frames: str, group: str | None = None) -> None:
        """Queue frames for the other processes' connections, or for those in a group. Never waits, never raises."""
        self.publish_on(channel_name(self._resource, group), frames)

    def publish_on(self, channel: str, frames: str) -> None:
        """Queue frames for a channel, as :meth:`publish` does."""
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
            self._all_dropped += 1
            return
        self._queue.append((channel, data))
        self._queued_bytes += len(data)
        while self._queued_bytes > self.limit:  # never the newest: it was checked against the limit above
            oldest = self._queue.popleft()
            self._queued_bytes -= len(oldest[1])
            self._batch_lost([oldest], "too much waits for the bus")
        if loop_is_running():  # not at import time: then the first session, or the server, starts the relay
            self.start()
            self._schedule_publish()

    def _schedule_publish(self) -> None:
        """Start the publishing task, which runs in the loop's next iteration: what this one sends shares a batch."""
        if self._publish_task is None and self._queue:
            self._publish_task = start_task(self._publish_queued())

    async def _publish_queued(self) -> None:
        try:
            while self._queue:
                batch = self._next_batch()
                self._in_flight = self._messages_in(batch)
                try:
                    await self._bus.publish(batch)
                except (Exception, asyncio.CancelledError) as error:  # a bus of the application's may leak the latter
                    if is_cancelled():
                        raise
                    self._batch_lost(batch, error_text(error))
                else:
                    self._published += self._in_flight
                    self._batch_done(batch)
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

    def _batch_done(self, batch: Collection[tuple[str, bytes]]) -> None:
        if self._messages_in(batch) < len(batch):
            self._probe.is_queued = False

    def _batch_lost(self, batch: Collection[tuple[str, bytes]], reason: str) -> None:
        self._batch_done(batch)
        if messages := self._messages_in(batch):
            self.drop(messages, reason)

    def drop(self, count: int, reason: str) -> None:
        """Count messages that are not published, and log the first of them since the bus last published one."""
        if not self._dropped:
            self._outages += 1
            logger.warning("%s: messages for other processes are dropped: %s", self._resource, reason)
        self._dropped += count
        self._all_dropped += count

    def _outage_over(self) -> None:
        if self._dropped:
            logger.warning("%s: messages reach other processes again, %d were dropped", self._resource, self._dropped)
            self._dropped = 0

    # -- In ------------------------------------------------------------------------------------------------------

    def join(self, group: str, deliver: Deliver) -> None:
        """Subscribe to a group's channel: the group has its first member in this process.

        :param deliver: called with each message for the group.
        """
        self.listen(channel_name(self._resource, group), deliver)

    def listen(self, channel: str, deliver: Deliver) -> None:
        """Subscribe to a channel: ``deliver`` is called with the frames of each message on it."""
        self._set_wanted(channel, deliver)

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
            self._sync_task = start_task(self._sync_subscriptions())

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
        if channel == self._probe.channel:
            self._probe.received(data, asyncio.get_running_loop().time())
            return
        deliver = self._receivers.get(channel)
        if deliver is None or self._is_closed or data.startswith(self._own_prefix):
            return
        try:
            if len(data) > self.limit:
                raise ProtocolError(f"{len(data)} bytes, max_send_buffer is {self.limit}")
            deliver(unpack(data))
            self._received += 1
        except ProtocolError as error:
            self._rejected += 1
            logger.warning("what came from the bus on %s is no message: %s", channel, error)
        except Exception:
            logger.exception("what came from the bus on %s can't be delivered", channel)

    # -- End -----------------------------------------------------------------------------------------------------

    def reopen(self, bus: "Bus") -> None:
        """Begin again after :meth:`close`, not started yet, with a bus that is not closed. The members of groups stay.

        :param bus: as for the constructor.
        """
        self._bus = bus
        self._is_started = self._is_closed = False
        self._probe.reopen()
        self._dropped = self._in_flight = self._queued_bytes = 0
        self._subscribed.clear()
        self._receivers.pop(self._probe.channel, None)
        self._dirty = dict.fromkeys(self._receivers)

    async def close(self, seconds: float) -> None:
        """Publish what is queued, then close the bus.

        :param seconds: for publishing; what is still queued then is dropped. Closing may take 2 s more.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._probe_timer is not None:
            self._probe_timer.cancel()
        if self._publish_task is not None and (self._in_flight or self._messages_in(self._queue)):
            await asyncio.wait({self._publish_task}, timeout=seconds)
        lost = self._in_flight + self._messages_in(self._queue)
        self._dropped += lost
        self._all_dropped += lost
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
