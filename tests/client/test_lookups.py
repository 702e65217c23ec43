"""Lookups of names, which take long when no name server answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

import tornadio
from tests.support import SECONDS, until
from tornadio import ConnectError
from tornadio.client.lookups import LookupThreads


class NameServer:
    """Answers nothing until it is told to, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answered = 0
        self.may_answer = threading.Event()
        self._look_up = socket.getaddrinfo

    def look_up(self, host: str, *args: Any, **kwargs: Any) -> Any:
        if host.startswith("127.") or kwargs.get("flags"):
            return self._look_up(host, *args, **kwargs)
        self.asked.append(host)
        self.may_answer.wait(20)
        self.answered += 1
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    name_server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", name_server.look_up)
    yield name_server
    name_server.may_answer.set()


def test_a_program_may_end_while_a_name_server_does_not_answer(name_server: NameServer):
    async def main() -> None:
        with pytest.raises(ConnectError, match=r"connecting to example\.invalid took longer than 0\.1 s"):
            await tornadio.connect("ws://example.invalid/socket.io", open_timeout=0.1)

    asyncio.run(main())  # at whose end it waits for the threads of the loop's executor
    assert (len(name_server.asked), name_server.answered) == (1, 0)


async def test_many_connections_to_a_name_ask_once_and_hold_up_nothing_else(name_server: NameServer):
    connecting = [
        asyncio.ensure_future(
            anext(aiter(tornadio.connect("ws://example.invalid/socket.io", max_delay=50, min_delay=50)))
        )
        for _ in range(100)
    ]
    await until(lambda: bool(name_server.asked))
    assert await asyncio.to_thread(lambda: "at once") == "at once"
    for task in connecting[1:]:
        task.cancel()
    await asyncio.wait(connecting[1:])
    assert not connecting[0].done()
    other = asyncio.ensure_future(tornadio.connect("ws://example.invalid/socket.io").__aenter__())
    await asyncio.sleep(0)  # it asks
    name_server.may_answer.set()
    with pytest.raises(ConnectError, match=r"can't resolve example\.invalid: Temporary failure in name resolution"):
        await other
    assert name_server.asked == ["example.invalid"]
    connecting[0].cancel()
    await asyncio.wait(connecting)


def test_no_thread_is_an_error_and_the_next_lookup_is_made(monkeypatch: pytest.MonkeyPatch):
    threads = LookupThreads()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: (_ for _ in ()).throw(RuntimeError("can't start")))
        with pytest.raises(OSError, match="can't start"):
            threads.submit(str, 5).result()
    assert threads.submit(str, 5).result() == "5"


def test_no_thread_is_an_error_for_those_that_ask_the_same_meanwhile(monkeypatch: pytest.MonkeyPatch):
    threads = LookupThreads()
    others: list[Future[Any]] = []

    def start(thread: threading.Thread) -> None:
        others.append(threads.submit(str, 5))
        raise RuntimeError("can't start")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="can't start"):
        threads.submit(str, 5).result(SECONDS)
    with pytest.raises(OSError, match="can't start"):
        others[0].result(SECONDS)
