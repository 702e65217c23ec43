"""A bus over NATS, for the setting ``bus`` of TornadIO."""

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tornadio.errors import BusError

logger = logging.getLogger(__name__)


class NatsBus:
    """A :class:`tornadio.Bus` over core NATS, which connects at its first use and
    reconnects by itself.

    :param servers: URLs, such as ``["nats://user:password@localhost:4222"]``: the
        members of one cluster.
    :param prefix: what the subjects begin with. Deployments that share a NATS need one
        each.
    :param timeout: seconds that :meth:`publish` may take.
    """

    def __init__(
        self,
        servers: Sequence[str],
        prefix: str = "tornadio",
        timeout: float = 10.0,
    ) -> None:
        self._servers = list(servers)
        self._prefix = prefix
        self._timeout = timeout
        self._connecting: asyncio.Task[Client] | None = None
        self._online = asyncio.Event()
        self._is_outage_told = False
        self._subscriptions: dict[str, Subscription] = {}

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish messages, and wait until the server has read them. While it is away,
        wait for it.

        :raises tornadio.errors.BusError: there was no server for ``timeout`` seconds,
            or it has refused a message.
        """
        try:
            async with asyncio.timeout(self._timeout):
                client = await self._connected()
                # Else the client keeps the messages, and sends them late.
                await self._online.wait()
                for channel, data in messages:
                    await client.publish(self._subject(channel), data)
                await client.flush()
        except TimeoutError:
            raise BusError(f"no answer from NATS in {self._timeout:g} s") from None
        except (nats.errors.Error, OSError) as error:
            raise BusError(f"NATS took no message: {error!r}") from error

    async def subscribe(self, channel: str, receive: Callable[[bytes], None]) -> None:
        """Call ``receive`` with the data of each message on a channel. While the server
        is away, wait for it.
        """

        async def deliver(message: Msg) -> None:
            receive(message.data)

        client = await self._connected()
        subscription = await client.subscribe(self._subject(channel), cb=deliver)
        self._subscriptions[channel] = subscription

    async def unsubscribe(self, channel: str) -> None:
        """Stop receiving from a channel."""
        await self._subscriptions.pop(channel).unsubscribe()

    async def close(self) -> None:
        """Close the connection, and make no other."""
        self._is_outage_told = True
        if self._connecting is not None:
            self._connecting.cancel()
            [client] = await asyncio.gather(self._connecting, return_exceptions=True)
            if isinstance(client, Client):
                await client.close()

    def _subject(self, channel: str) -> str:
        # The name of a group may be any text, but in a subject ".", " ", "*" and ">"
        # mean something.
        token = base64.urlsafe_b64encode(channel.encode()).decode().rstrip("=")
        return f"{self._prefix}.{token}"

    async def _connected(self) -> Client:
        """The connection, which all callers share. One that stops to wait does not end
        it for the others.
        """
        task = self._connecting
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting = task
        return await asyncio.shield(task)

    async def _connect(self) -> Client:
        client = Client()
        await client.connect(
            self._servers,
            name="tornadio",
            max_reconnect_attempts=-1,  # without an end
            reconnect_time_wait=1,  # seconds
            ping_interval=10,  # a server that says nothing for twice as long is lost
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            error_cb=self._failed,
        )
        self._online.set()
        self._is_outage_told = False
        return client

    def _tell_outage(self, reason: str) -> None:
        if not self._is_outage_told:
            self._is_outage_told = True
            logger.warning("no connection to NATS: %s", reason)

    async def _disconnected(self) -> None:
        self._online.clear()
        self._tell_outage("it has ended")

    async def _reconnected(self) -> None:
        self._online.set()
        self._is_outage_told = False
        logger.warning("connected to NATS again")

    async def _failed(self, error: Exception) -> None:
        if self._online.is_set() and not isinstance(error, OSError):
            # A subscriber that is too slow, a subject that is not allowed.
            logger.warning("NATS: %r", error)
        else:
            # This comes with each attempt to connect.
            self._tell_outage(repr(error))
