"""Calling handlers one at a time: the dispatcher alone, without a channel, a registry or a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import tornadio
from tests.support import limit
from tornadio import proto
from tornadio.errors import HandlerError, ProtocolError, RefusedError
from tornadio.net.tasks import Tasks
from tornadio.sessions.dispatch import Dispatcher


class Connection(tornadio.SocketConnection):
    """Notes what is called, and answers with what the test has given it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.opened: Callable[[], Any] = lambda: None
        self.received: Callable[[Any], Any] = lambda message: None

    def on_open(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append("open")
        return self.opened()

    def on_message(self, message: Any) -> Any:
        self.calls.append(message)
        return self.received(message)

    def on_close(self) -> None:
        self.calls.append("close")


class Session(Dispatcher):
    """What the dispatcher needs of a session, and no more."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, Tasks(lambda: None))
        self.finished = asyncio.Event()

    def __str__(self) -> str:
        return "the session"

    def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.is_closed:
            self.is_closed = True
            self._start_on_close()

    def abort(self, code: int = 1008, reason: str = "") -> None:
        self.close()

    def _accept(self) -> None:
        if self.is_closed:
            raise RefusedError(401, "closed meanwhile")

    def _on_close_finished(self) -> None:
        self.finished.set()


@pytest.fixture
async def connection() -> Connection:
    return Connection()


@pytest.fixture
async def session(connection: Connection) -> Session:
    return Session(connection)


def frames(*messages: Any) -> list[tuple[str, Any]]:
    return [(proto.FRAME, message) for message in messages]


def task_of(outcome: bool | asyncio.Task[bool]) -> asyncio.Task[bool]:
    assert isinstance(outcome, asyncio.Task)
    return outcome


async def result_of(outcome: bool | asyncio.Task[bool]) -> bool:
    async with limit():
        return await task_of(outcome)


async def finished(session: Session) -> None:
    async with limit():
        await session.finished.wait()


async def test_plain_functions_are_called_at_once_and_cost_no_task(session, connection):
    assert session.open(None, "") is True
    assert session.receive(frames("a", "b")) is True
    assert connection.calls == ["open", "a", "b"]
    assert not session.is_handling
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_payload_waits_for_the_handlers_of_those_before_it(session, connection):
    gate = asyncio.Event()

    async def handle(message: str) -> None:
        if message == "a":
            await gate.wait()
        connection.calls.append(f"{message} done")

    connection.received = handle
    first, second = session.receive(frames("a", "b")), session.receive(frames("c"))
    assert session.is_handling
    gate.set()
    assert await result_of(second) is True
    assert await result_of(first) is True
    assert connection.calls == ["a", "a done", "b", "b done", "c", "c done"]
    await asyncio.sleep(0)  # for the callback that releases the lock
    assert not session.is_handling


async def test_messages_wait_for_on_open(session, connection):
    gate = asyncio.Event()
    connection.opened = gate.wait
    opened, handled = session.open(None, ""), session.receive(frames("a"))
    await asyncio.sleep(0)
    assert connection.calls == ["open"]
    gate.set()
    assert await result_of(opened) is True
    assert await result_of(handled) is True
    assert connection.calls == ["open", "a"]


async def test_on_close_waits_for_the_running_handler_and_the_others_never_run(session, connection):
    gate = asyncio.Event()
    connection.received = lambda message: gate.wait()
    running, waiting = session.receive(frames("a", "b")), session.receive(frames("c"))
    await asyncio.sleep(0)
    session.close()
    await asyncio.sleep(0)
    assert connection.calls == ["a"]
    gate.set()
    assert (await result_of(running), await result_of(waiting)) == (False, False)
    await finished(session)
    assert connection.calls == ["a", "close"]
    assert session.on_close_has_run


async def test_a_refused_connection_is_aborted(session, connection):
    connection.opened = lambda: False
    assert session.open(None, "") is False
    assert session.is_closed
    await finished(session)
    assert connection.calls == ["open", "close"]


async def test_a_session_that_ends_in_its_on_open_is_refused(session, connection):
    connection.opened = session.close
    with pytest.raises(RefusedError):
        session.open(None, "")


@pytest.mark.parametrize("is_coroutine", [False, True])
@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()], ids=repr)
async def test_a_handler_that_fails_ends_the_session(session, connection, caplog, is_coroutine, error):
    def fail(message: str) -> None:
        raise error

    async def fail_later(message: str) -> None:
        raise error

    connection.received = fail_later if is_coroutine else fail
    with pytest.raises(HandlerError):
        await result_of(session.receive(frames("a", "b")))
    await finished(session)
    assert connection.calls == ["a", "close"]
    assert "the session: on_message failed" in caplog.text


async def test_a_bad_frame_is_an_error_behind_the_good_ones_and_ends_nothing(session, connection):
    with pytest.raises(ProtocolError):
        session.receive(proto.iter_decode(proto.encode("a") + "bad"))
    assert connection.calls == ["a"]
    assert not session.is_closed


async def test_many_frames_leave_others_their_turns(session, connection):
    handled = session.receive(frames(*range(250)))
    assert len(connection.calls) < 100
    assert session.is_handling
    assert await result_of(handled) is True
    assert connection.calls == list(range(250))
