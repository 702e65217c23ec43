"""Whether a peer has closed, and who is told."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import select
import socket
import ssl
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tornadio.net.hangups
from tests.support import until
from tornadio.net.hangups import hangups_of, peer_has_closed

Sockets = tuple[socket.socket, socket.socket]


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


def has_hung_up_elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[socket.socket], bool]:
    """The function as a system without POLLRDHUP has it."""
    monkeypatch.delattr(select, "POLLRDHUP")
    spec = importlib.util.spec_from_file_location("hangups_elsewhere", tornadio.net.hangups.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[[socket.socket], bool] = module.peer_has_closed
    return function


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


async def test_who_watches_is_told_once(sockets):
    ours, peer = sockets
    told: list[bool] = []
    hangups = hangups_of(asyncio.get_running_loop())
    hangups.watch(ours.fileno(), told.append)
    hangups.watch(ours.fileno(), told.append)
    peer.send(b"unread")
    await asyncio.sleep(0.01)
    assert told == []
    peer.close()
    await until(lambda: told)
    await asyncio.sleep(0.01)
    assert told == [False]
    hangups.watch(ours.fileno(), told.append)  # it is so already
    await until(lambda: len(told) == 2)


async def test_who_watches_no_more_is_not_told_and_others_can_not_unwatch(sockets):
    ours, peer = sockets
    told: list[Any] = []

    def other(is_reset: bool) -> None:
        told.append("other")

    hangups = hangups_of(asyncio.get_running_loop())
    hangups.watch(ours.fileno(), other)
    hangups.watch(ours.fileno(), told.append)  # it has changed hands
    hangups.unwatch(ours.fileno(), other)
    reset(peer)
    await until(lambda: told)
    assert told == [True]
    hangups.watch(ours.fileno(), told.append)
    hangups.unwatch(ours.fileno(), told.append)
    await asyncio.sleep(0.01)
    assert told == [True]


async def test_a_descriptor_that_was_closed_without_a_word_may_be_used_again(sockets):
    ours, _ = sockets
    told: list[Any] = []
    hangups = hangups_of(asyncio.get_running_loop())
    number = ours.fileno()
    hangups.watch(number, lambda is_reset: told.append("old"))
    ours.close()
    one, other = socket.socketpair()
    assert one.fileno() == number
    hangups.watch(number, told.append)
    other.close()
    await until(lambda: told)
    assert told == [True]  # both directions are closed
    one.close()


async def test_one_that_fails_keeps_nobody_else_from_being_told():
    pairs = [socket.socketpair() for _ in range(100)]
    told: list[int] = []
    errors: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: errors.append(context["exception"]))

    def tell(number: int) -> None:
        told.append(number)
        if number % 10 == 0:
            raise RuntimeError("as the test asked")

    for number, (ours, peer) in enumerate(pairs):
        hangups_of(loop).watch(ours.fileno(), lambda is_reset, number=number: tell(number))  # type: ignore[misc]
        peer.close()
    await until(lambda: len(told) == 100)
    assert sorted(told) == list(range(100))
    assert len(errors) == 10
    for ours, _ in pairs:
        ours.close()


def test_nothing_is_left_of_a_loop_that_is_over(sockets):
    ours, _ = sockets

    async def watch() -> weakref.ref[Any]:
        hangups = hangups_of(asyncio.get_running_loop())
        hangups.watch(ours.fileno(), lambda is_reset: None)
        return weakref.ref(hangups)

    left = asyncio.run(watch())
    gc.collect()
    assert left() is None
