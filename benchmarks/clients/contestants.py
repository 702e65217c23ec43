"""The clients that are compared. Each is written as its library's documentation has it, without compression."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Protocol

from benchmarks.clients import framing
from benchmarks.clients.load import Load


class AsyncClient(Protocol):
    async def send(self, message: str) -> None: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...


class SyncClient(Protocol):
    def send(self, message: str) -> None: ...

    def __iter__(self) -> Iterator[Any]: ...


async def _run(client: AsyncClient, load: Load) -> None:
    for text in load.first():
        await client.send(text)
    async for message in client:
        text_to_send = load.received(message)
        if text_to_send is not None:
            await client.send(text_to_send)
        elif load.is_over:
            return


def _run_sync(client: SyncClient, load: Load) -> None:
    for text in load.first():
        client.send(text)
    for message in client:
        text_to_send = load.received(message)
        if text_to_send is not None:
            client.send(text_to_send)
        elif load.is_over:
            return


# -- TornadIO ----------------------------------------------------------------------------------------------------------


def _tornadio(url: str, load: Load) -> None:
    import tornadio

    async def main() -> None:
        async with tornadio.connect(url, json="plain") as client:
            await _run(client, load)

    asyncio.run(main())


def _tornadio_sync(url: str, load: Load) -> None:
    import tornadio.sync

    with tornadio.sync.connect(url, json="plain") as client:
        _run_sync(client, load)


# -- WebSocket clients with framing by hand ----------------------------------------------------------------------------


class _Websockets:
    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send(self, message: str) -> None:
        await self._socket.send(framing.frame(message))

    async def __aiter__(self) -> AsyncIterator[Any]:
        is_first = True
        async for payload in self._socket:
            for text in framing.texts(payload):
                if text.startswith(framing.HEARTBEAT):
                    await self._socket.send(framing.frame(text))
                elif is_first:
                    is_first = False
                else:
                    yield framing.message(text)


class _Synchronous:
    """`receive()` returns the next WebSocket message."""

    def __init__(self, send: Callable[[str], object], receive: Callable[[], str]) -> None:
        self._send = send
        self._receive = receive

    def send(self, message: str) -> None:
        self._send(framing.frame(message))

    def __iter__(self) -> Iterator[Any]:
        is_first = True
        while True:
            for text in framing.texts(self._receive()):
                if text.startswith(framing.HEARTBEAT):
                    self._send(framing.frame(text))
                elif is_first:
                    is_first = False
                else:
                    yield framing.message(text)


def _websockets(url: str, load: Load) -> None:
    import websockets.asyncio.client

    async def main() -> None:
        async with websockets.asyncio.client.connect(url + "/websocket", compression=None, proxy=None) as socket:
            await _run(_Websockets(socket), load)

    asyncio.run(main())


def _websockets_sync(url: str, load: Load) -> None:
    import websockets.sync.client

    def receive() -> str:
        payload = socket.recv()
        assert isinstance(payload, str)
        return payload

    with websockets.sync.client.connect(url + "/websocket", compression=None, proxy=None) as socket:
        _run_sync(_Synchronous(socket.send, receive), load)


def _websocket_client(url: str, load: Load) -> None:
    import websocket

    def receive() -> str:
        payload = socket.recv()
        assert isinstance(payload, str)
        return payload

    socket = websocket.create_connection(url + "/websocket")
    try:
        _run_sync(_Synchronous(socket.send, receive), load)
    finally:
        socket.close()


@dataclasses.dataclass(frozen=True)
class Contestant:
    """`baseline` is the name of the contestant that its ratios are to."""

    title: str
    run: Callable[[str, Load], None]
    baseline: str


CONTESTANTS: Final = {
    "websockets": Contestant("websockets", _websockets, "websockets"),
    # How far its ratio is from 1 is the noise of a run.
    "websockets-again": Contestant("websockets again", _websockets, "websockets"),
    "tornadio": Contestant("TornadIO", _tornadio, "websockets"),
    "websockets-sync": Contestant("websockets, sync", _websockets_sync, "websockets-sync"),
    "websocket-client": Contestant("websocket-client", _websocket_client, "websockets-sync"),
    "tornadio-sync": Contestant("TornadIO, sync", _tornadio_sync, "websockets-sync"),
}
