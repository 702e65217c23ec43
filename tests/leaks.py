"""What of the library's objects is left when nothing should be: found without the garbage collector."""

from __future__ import annotations

import collections
import contextlib
import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import tornadio
from tests.internals import KEPT, handler_of, kept_of_body
from tests.support import MovedLoop, Served
from tornadio.sessions.base import BaseSession
from tornadio.transports.base import TransportHandler
from tornadio.transports.streamchannel import StreamChannel
from tornadio.transports.websocketchannel import WebSocketChannel
from tornadio.web.tornadohttp import TornadoMessageDelegate


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Nothing is collected, and the log is off: its records hold tracebacks, as long as pytest holds them."""
    gc.disable()
    gc.freeze()
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        gc.unfreeze()
        gc.enable()


def ours() -> list[Any]:
    """The objects of the library's classes, and of the application's connection class, made `without_collector`."""
    return [
        each
        for each in gc.get_objects()
        if (type(each).__module__.startswith("tornadio.") or isinstance(each, tornadio.SocketConnection))
        and not isinstance(each, KEPT)
    ]


def left_behind() -> dict[str, int]:
    return dict(collections.Counter(type(each).__name__ for each in ours()))


def tornados_circles() -> list[object]:
    """Handlers of requests whose body broke off, with nothing of size."""
    delegates = [each for each in ours() if isinstance(each, TornadoMessageDelegate)]
    assert [kept_of_body(each) for each in delegates] == [0] * len(delegates)
    return [handler_of(each) for each in delegates]


class Watched:
    """Weak references to all that carries a connection now."""

    def __init__(self) -> None:
        kinds = (tornadio.SocketConnection, BaseSession, TransportHandler, StreamChannel, WebSocketChannel)
        self._references = [(type(each).__name__, weakref.ref(each)) for each in ours() if isinstance(each, kinds)]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self._references}

    @property
    def alive(self) -> list[str]:
        return [name for name, reference in self._references if reference() is not None]


async def hang_up(served: Served, clock: MovedLoop) -> None:
    """Close the clients' sides of all connections, and wait until the server has seen it."""
    for wire in served.wires:
        await wire.aclose()
    served.wires.clear()
    with contextlib.suppress(ConnectionRefusedError):  # by a server that has shut down
        await served.barrier()
    served.wires.clear()
    await clock.advance(60)  # whoever waits for a peer's last bytes, or last poll, has given up
