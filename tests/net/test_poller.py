"""The epoll object for all sockets of an event loop: who can read, whose peer has closed, and who is told."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import importlib.util
import select
import socket
import ssl
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tornadio.net.poller
import tornadio.net.sockets
from tests.support import until
from tornadio.net.poller import Poller, poller_of
from tornadio.net.sockets import peer_has_closed

Sockets = tuple[socket.socket, socket.socket]

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="empty")


@pytest.fixture
def make_pairs() -> Iterator[Callable[[int], list[Sockets]]]:
    """Makes so many pairs of sockets: ours and the peer's."""
    made: list[Sockets] = []

    def make(number: int) -> list[Sockets]:
        pairs = [socket.socketpair() for _ in range(number)]
        made.extend(pairs)
        return pairs

    yield make
    for pair in made:
        for each in pair:
            each.close()


@pytest.fixture(params=["epoll", "Tornado's loop"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Poller]:
    """Makes a poller for the running loop, with epoll and as a system without it has one."""

    def make() -> Poller:
        if request.param == "epoll":
            return Poller(asyncio.get_running_loop())
        monkeypatch.delattr(select, "epoll")
        monkeypatch.delattr(select, "EPOLLRDHUP")
        made: Poller = elsewhere(tornadio.net.poller).Poller(asyncio.get_running_loop())
        return made

    return make


async def turns(number: int = 10) -> None:
    """So many iterations of the event loop."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    yield ours, peer
    ours.close()
    peer.close()


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()


def elsewhere(module: types.ModuleType) -> types.ModuleType:
    """A module as it is where the system lacks what was taken out of ``select``."""
    assert module.__file__ is not None
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_elsewhere", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    another = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(another)
    return another


def has_hung_up_elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[socket.socket], bool]:
    """The function as a system without POLLRDHUP has it."""
    monkeypatch.delattr(select, "POLLRDHUP")
    function: Callable[[socket.socket], bool] = elsewhere(tornadio.net.sockets).peer_has_closed
    return function


# -- Whether a peer has closed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", [socket.socket.close, reset])
def test_a_peer_that_has_closed_has_hung_up(sockets, close):
    ours, peer = sockets
    assert not peer_has_closed(ours)
    peer.send(b"unread")
    assert not peer_has_closed(ours)
    close(peer)
    assert peer_has_closed(ours)


def test_on_a_unix_socket_too():
    ours, peer = socket.socketpair()
    peer.send(b"unread")
    assert not peer_has_closed(ours)
    peer.close()
    assert peer_has_closed(ours)
    ours.close()


@pytest.mark.parametrize("close", [socket.socket.close, reset])
def test_elsewhere_a_peer_that_has_closed_has_hung_up_if_nothing_is_unread(sockets, monkeypatch, close):
    ours, peer = sockets
    hung_up = has_hung_up_elsewhere(monkeypatch)
    assert not hung_up(ours)
    close(peer)
    assert hung_up(ours)


def test_elsewhere_nobody_knows_what_is_behind_something_unread_or_under_tls(sockets, monkeypatch):
    ours, peer = sockets
    hung_up = has_hung_up_elsewhere(monkeypatch)
    peer.send(b"unread")
    peer.close()
    assert not hung_up(ours)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False) as encrypted:
        assert not hung_up(encrypted)


# -- Reading -----------------------------------------------------------------------------------------------------------


async def test_who_watches_reading_is_called_until_all_is_read_and_again_for_more(sockets, poller):
    ours, peer = sockets
    read: list[bytes] = []
    watching = poller()
    watching.watch_reading(ours.fileno(), lambda: read.append(ours.recv(2)))
    assert len(watching) == 1
    for data in (b"hello", b"world"):
        peer.send(data)
        await until(lambda: b"".join(read).endswith(data))  # noqa: B023
        await turns()
    assert read == [b"he", b"ll", b"o", b"wo", b"rl", b"d"]
    peer.close()
    await until(lambda: read[-1] == b"")


async def test_who_watches_last_is_called_and_only_that_one_can_unwatch(sockets, poller):
    ours, peer = sockets
    called: list[str] = []

    def first() -> None:
        called.append("first")

    def second() -> None:
        called.append("second")

    watching = poller()
    watching.watch_reading(ours.fileno(), first)
    watching.watch_reading(ours.fileno(), second)  # it has changed hands
    watching.unwatch(ours.fileno(), first)
    peer.send(b"unread")
    await until(lambda: called)
    watching.unwatch(ours.fileno(), second)
    assert set(called) == {"second"}
    number = len(called)
    await turns()
    assert len(called) == number
    assert len(watching) == 0


async def test_a_socket_that_is_watched_for_its_end_alone_is_not_read_and_may_be_read_again(sockets, poller):
    ours, peer = sockets
    read: list[bytes] = []
    watching = poller()

    def hung_up(is_reset: bool) -> None:
        raise AssertionError("the peer is there")

    def on_readable() -> None:
        read.append(ours.recv(100))

    watching.watch_reading(ours.fileno(), on_readable)
    watching.watch_hangup(ours.fileno(), hung_up)
    peer.send(b"hello")
    await turns()
    assert read == []
    watching.watch_reading(ours.fileno(), on_readable)
    await until(lambda: read)
    assert read == [b"hello"]
    watching.unwatch(ours.fileno(), on_readable)
    assert len(watching) == 0


async def test_callbacks_run_without_context_variables(sockets, poller):
    ours, peer = sockets
    seen: list[str] = []
    variable.set("of who has made it")
    watching = poller()
    watching.watch_reading(ours.fileno(), lambda: seen.append(variable.get() + ours.recv(10).decode()))
    peer.send(b"!")
    await until(lambda: seen)
    assert seen == ["empty!"]


async def test_one_that_fails_is_reported_and_keeps_nobody_else_from_being_called(make_pairs, poller):
    pairs = make_pairs(300)  # more than one iteration of the loop takes
    read: list[int] = []
    errors: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: errors.append(context["exception"]))
    watching = poller()

    def on_readable(number: int, ours: socket.socket) -> None:
        read.append(number)
        ours.recv(10)
        if number % 10 == 0:
            raise RuntimeError("as the test asked")

    for number, (ours, peer) in enumerate(pairs):
        watching.watch_reading(ours.fileno(), functools.partial(on_readable, number, ours))
        peer.send(b"hello")
    await until(lambda: len(read) == len(pairs))
    assert sorted(read) == list(range(len(pairs)))
    assert len(errors) == 30
    for ours, _ in pairs:
        watching.unwatch(ours.fileno(), watching._readers[ours.fileno()])


async def test_many_ready_sockets_leave_the_loop_its_turns(make_pairs):
    pairs = make_pairs(300)
    called: list[str] = []
    watching = Poller(asyncio.get_running_loop())
    for ours, peer in pairs:
        watching.watch_reading(ours.fileno(), lambda: called.append("socket"))
        peer.send(b"unread")
    await until(lambda: called)
    number = len(called)
    asyncio.get_running_loop().call_soon(called.append, "the loop's")
    await until(lambda: "the loop's" in called)
    assert called.index("the loop's") <= number + 256


# -- The end of a batch ------------------------------------------------------------------------------------------------


async def test_what_is_called_at_the_end_is_called_once_all_ready_sockets_were_handled(make_pairs):
    pairs = make_pairs(3)
    called: list[str] = []
    watching = Poller(asyncio.get_running_loop())

    def fail() -> None:
        called.append("fails")
        watching.call_at_end(lambda: called.append("later"))
        raise RuntimeError("as the test asked")

    def on_readable(ours: socket.socket) -> None:
        called.append("socket")
        ours.recv(10)
        if len(called) == 1:
            watching.call_at_end(fail)
            watching.call_at_end(lambda: called.append("end"))

    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))
    for ours, peer in pairs:
        watching.watch_reading(ours.fileno(), functools.partial(on_readable, ours))
        peer.send(b"hello")
    await until(lambda: "later" in called)
    assert called == ["socket", "socket", "socket", "fails", "end", "later"]
    assert len(errors) == 1


async def test_outside_of_a_batch_it_is_called_soon(poller):
    called: list[str] = []
    poller().call_at_end(lambda: called.append("end"))
    assert called == []
    await asyncio.sleep(0)
    assert called == ["end"]


def test_an_interrupted_batch_loses_nothing(sockets):
    ours, peer = sockets
    called: list[str] = []

    def on_readable() -> None:
        called.append("socket")
        ours.recv(10)
        watching.call_at_end(lambda: called.append("end"))
        raise KeyboardInterrupt

    loop = asyncio.new_event_loop()
    watching = Poller(loop)
    watching.watch_reading(ours.fileno(), on_readable)
    peer.send(b"hello")
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.sleep(60))
    assert called == ["socket"]
    loop.run_until_complete(asyncio.sleep(0))
    assert called == ["socket", "end"]
    watching.call_at_end(lambda: called.append("afterwards"))
    loop.run_until_complete(asyncio.sleep(0))
    assert called[-1] == "afterwards"
    loop.close()


# -- Hangups -----------------------------------------------------------------------------------------------------------


async def test_who_watches_is_told_once(sockets):
    ours, peer = sockets
    told: list[bool] = []
    watching = poller_of(asyncio.get_running_loop())
    watching.watch_hangup(ours.fileno(), told.append)
    watching.watch_hangup(ours.fileno(), told.append)
    peer.send(b"unread")
    await asyncio.sleep(0.01)
    assert told == []
    peer.close()
    await until(lambda: told)
    await asyncio.sleep(0.01)
    assert told == [False]
    watching.watch_hangup(ours.fileno(), told.append)  # it is so already
    await until(lambda: len(told) == 2)


async def test_who_watches_no_more_is_not_told_and_others_can_not_unwatch(sockets):
    ours, peer = sockets
    told: list[Any] = []

    def other(is_reset: bool) -> None:
        told.append("other")

    watching = poller_of(asyncio.get_running_loop())
    watching.watch_hangup(ours.fileno(), other)
    watching.watch_hangup(ours.fileno(), told.append)  # it has changed hands
    watching.unwatch(ours.fileno(), other)
    reset(peer)
    await until(lambda: told)
    assert told == [True]
    watching.watch_hangup(ours.fileno(), told.append)
    watching.unwatch(ours.fileno(), told.append)
    await asyncio.sleep(0.01)
    assert told == [True]


async def test_a_descriptor_that_was_closed_without_a_word_may_be_used_again(sockets):
    ours, _ = sockets
    told: list[Any] = []
    watching = poller_of(asyncio.get_running_loop())
    number = ours.fileno()
    watching.watch_hangup(number, lambda is_reset: told.append("old"))
    ours.close()
    one, other = socket.socketpair()
    assert one.fileno() == number
    watching.watch_hangup(number, told.append)
    other.close()
    await until(lambda: told)
    assert told == [True]  # both directions are closed
    one.close()


async def test_one_that_fails_keeps_nobody_else_from_being_told(make_pairs):
    pairs = make_pairs(100)
    told: list[int] = []
    errors: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: errors.append(context["exception"]))

    def tell(number: int, is_reset: bool) -> None:
        told.append(number)
        if number % 10 == 0:
            raise RuntimeError("as the test asked")

    for number, (ours, peer) in enumerate(pairs):
        poller_of(loop).watch_hangup(ours.fileno(), functools.partial(tell, number))
        peer.close()
    await until(lambda: len(told) == 100)
    assert sorted(told) == list(range(100))
    assert len(errors) == 10


def test_nothing_is_left_of_a_loop_that_is_over(sockets):
    ours, _ = sockets

    async def watch() -> weakref.ref[Any]:
        watching = poller_of(asyncio.get_running_loop())
        watching.watch_hangup(ours.fileno(), lambda is_reset: None)
        return weakref.ref(watching)

    left = asyncio.run(watch())
    gc.collect()
    assert left() is None
