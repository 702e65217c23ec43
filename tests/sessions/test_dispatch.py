"""Calling handlers one at a time: a session alone, without a channel or a server."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tornadio
from tests.support import limit
from tornadio import proto
from tornadio.closecodes import SHUTDOWN
from tornadio.errors import HandlerError, ProtocolError, RefusedError
from tornadio.net.tasks import Tasks
from tornadio.sessions.persistent import PersistentSession
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import Settings


class Connection(tornadio.SocketConnection):
    """Notes what is called, and answers with what the test has given it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.opened: Callable[[], Any] = lambda: None
        self.received: Callable[[Any], Any] = lambda message: None
        self.closed: Callable[[], Any] = lambda: None

    def on_open(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append("open")
        return self.opened()

    def on_message(self, message: Any) -> Any:
        self.calls.append(message)
        return self.received(message)

    def on_close(self) -> Any:
        self.calls.append("close")
        return self.closed()


def session_of(connection: Connection) -> PersistentSession:
    return SessionRegistry(Settings()).create(PersistentSession, connection, "websocket", version="13")


@pytest.fixture
async def connection() -> Connection:
    return Connection()


@pytest.fixture
async def session(connection: Connection) -> PersistentSession:
    return session_of(connection)


def frames(*messages: Any) -> Iterator[tuple[str, Any]]:
    return iter([(proto.FRAME, message) for message in messages])


def task_of(outcome: bool | asyncio.Task[bool]) -> asyncio.Task[bool]:
    assert isinstance(outcome, asyncio.Task)
    return outcome


async def result_of(outcome: bool | asyncio.Task[bool]) -> bool:
    async with limit():
        return await task_of(outcome)


async def finished(session: PersistentSession) -> None:
    async with limit():
        await session.registry.tasks.wait()
    assert session.on_close_has_run


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


async def test_on_close_comes_after_whoever_has_closed_and_costs_no_task(session, connection):
    session.close()
    assert connection.calls == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(0)
    assert connection.calls == ["close"]
    assert session.on_close_has_run
    assert not session.is_handling


async def test_what_on_close_returns_is_awaited(session, connection):
    gate = asyncio.Event()
    connection.closed = gate.wait
    session.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert connection.calls == ["close"]
    assert session.is_handling
    assert not session.on_close_has_run
    gate.set()
    await finished(session)
    assert session.on_close_has_run
    assert not session.is_handling


async def test_on_close_waits_for_an_on_open_that_has_closed_and_goes_on(session, connection):
    gate = asyncio.Event()

    def close_and_wait() -> Any:
        session.abort(*SHUTDOWN)
        return gate.wait()

    connection.opened = close_and_wait
    opened = session.open(None, "")
    for _ in range(3):
        await asyncio.sleep(0)
    assert connection.calls == ["open"]
    gate.set()
    with pytest.raises(RefusedError):
        await result_of(opened)
    await finished(session)
    assert connection.calls == ["open", "close"]


@pytest.mark.parametrize("as_coroutine", [False, True])
async def test_an_on_close_that_fails_is_logged_and_over(session, connection, caplog, as_coroutine):
    async def fail_in_task() -> None:
        fail()

    def fail() -> None:
        raise RuntimeError("as the test asked")

    connection.closed = fail_in_task if as_coroutine else fail
    session.close()
    await finished(session)
    assert caplog.text.count(f"{session}: on_close failed") == 1
    assert session.on_close_has_run
    assert session.traffic.counters.errors["on_close"] == 1


async def test_a_shutdown_waits_for_an_on_close_that_is_to_come():
    calls: list[str] = []
    tasks = Tasks(lambda: calls.append("done"))

    async def close() -> None:
        await asyncio.sleep(0)
        calls.append("close")

    tasks.call_on_close(lambda: tasks.spawn_on_close(close()))
    assert tasks.running_handlers == 1
    assert tasks.cut_off == 1
    await tasks.wait()
    assert (calls.count("close"), tasks.running_handlers, tasks.cut_off) == (1, 0, 0)
    assert calls[-1] == "done"
    tasks.is_last_moment = True
    tasks.call_on_close(lambda: calls.append("at once"))
    assert calls[-1] == "at once"


async def test_a_refused_connection_is_aborted(session, connection):
    connection.opened = lambda: False
    assert session.open(None, "") is False
    assert session.is_closed
    await finished(session)
    assert connection.calls == ["open", "close"]


async def test_a_session_that_ends_in_its_on_open_is_refused(session, connection):
    connection.opened = lambda: session.abort(*SHUTDOWN)
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
    assert f"{session}: on_message failed" in caplog.text


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


# -- Handlers that block the event loop --------------------------------------------------------------------------------


class Blocking(Connection):
    """Its handlers are the base class's, or coroutines; they take the seconds that the test has given them."""

    def __init__(self, block: Callable[[], None]) -> None:
        super().__init__()
        self.block = block
        self.opened = block
        self.received = lambda message: block()

    def on_close(self) -> None:
        self.block()


class BlockingCoroutines(Blocking):
    async def on_open(self, *args: Any, **kwargs: Any) -> None:
        await self.work()

    async def on_message(self, message: Any) -> None:
        await self.work()

    async def on_close(self) -> None:  # type: ignore[override]
        await self.work()

    async def work(self) -> None:
        self.tick(0.9)
        await asyncio.sleep(0)
        self.block()
        await asyncio.sleep(0)
        self.tick(0.9)

    def tick(self, seconds: float) -> None:
        raise NotImplementedError


class Clock:
    """The dispatcher's clock, which the handlers advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tornadio.sessions.dispatch.monotonic", clock)
    return clock


async def live(session: PersistentSession) -> None:
    """All three handlers, and two messages."""
    opened = session.open(None, "")  # type: ignore[arg-type]
    assert await result_of(opened) if isinstance(opened, asyncio.Task) else opened
    handled = session.receive(frames("a", "b"))
    assert await result_of(handled) if isinstance(handled, asyncio.Task) else handled
    session.close()
    await finished(session)


@pytest.mark.parametrize("kind", [Blocking, BlockingCoroutines])
async def test_a_handler_that_blocks_the_loop_for_more_than_a_second_is_logged_by_its_name(caplog, monotonic, kind):
    connection = kind(lambda: monotonic.advance(2.34))
    connection.tick = monotonic.advance
    session = session_of(connection)
    await live(session)
    owner = {Blocking: "Connection", BlockingCoroutines: "BlockingCoroutines"}[kind]
    names = [f"{owner}.on_open", f"{owner}.on_message", f"{owner}.on_message", f"{kind.__name__}.on_close"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{session}: {name} blocked the event loop for 2.3 s: await, or run it with asyncio.to_thread" for name in names
    ]


@pytest.mark.parametrize("kind", [Blocking, BlockingCoroutines])
async def test_a_handler_that_takes_less_than_a_second_between_two_awaits_is_not_logged(caplog, monotonic, kind):
    connection = kind(lambda: monotonic.advance(1.0))
    connection.tick = monotonic.advance
    await live(session_of(connection))
    assert caplog.records == []


@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_a_handler_that_blocks_and_fails_is_logged_for_both(session, connection, caplog, monotonic, is_coroutine):
    def fail(message: str) -> None:
        monotonic.advance(2)
        raise ZeroDivisionError

    async def fail_later(message: str) -> None:
        fail(message)

    connection.received = fail_later if is_coroutine else fail
    with pytest.raises(HandlerError):
        await result_of(session.receive(frames("a")))
    assert "Connection.on_message blocked the event loop for 2.0 s" in caplog.text
    assert f"{session}: on_message failed" in caplog.text


# -- Coroutines are awaited as by await --------------------------------------------------------------------------------


async def test_a_coroutine_gets_the_results_and_errors_of_what_it_awaits(session, connection):
    loop = asyncio.get_running_loop()
    results = [loop.create_future() for _ in range(3)]
    seen: list[Any] = []

    async def handle(message: str) -> None:
        for each in results:
            try:
                seen.append(await each)
            except ZeroDivisionError as error:
                seen.append(error)

    connection.received = handle
    handled = session.receive(frames("a"))
    error = ZeroDivisionError()
    for future, set_result in ((results[0], "one"), (results[1], error), (results[2], "three")):
        await asyncio.sleep(0)
        if isinstance(set_result, Exception):
            future.set_exception(set_result)
        else:
            future.set_result(set_result)
    assert await result_of(handled) is True
    assert seen == ["one", error, "three"]


async def test_a_coroutine_may_catch_its_cancellation_and_goes_on(session, connection):
    async def handle(message: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            connection.calls.append("cancelled")
            await asyncio.sleep(0)
            connection.calls.append("cleaned up")
            raise

    connection.received = handle
    handled = task_of(session.receive(frames("a")))
    await asyncio.sleep(0)
    handled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handled
    await finished(session)
    assert connection.calls == ["a", "cancelled", "cleaned up", "close"]


async def test_the_result_of_a_coroutine_refuses_a_connection(session, connection):
    async def refuse() -> bool:
        await asyncio.sleep(0)
        return False

    connection.opened = refuse
    assert await result_of(session.open(None, "")) is False


async def test_a_coroutine_that_is_dropped_is_closed(session, connection):
    """The loop has ended, and what waited is collected: GeneratorExit reaches the handler's finally."""

    async def handle(message: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            connection.calls.append("finally")

    waiting = session._result_of(handle("a"), "on_message")
    waiting.send(None)
    waiting.close()
    assert connection.calls == ["finally"]


class Failure(Exception):
    """Unlike the built-in ones it can be referred to weakly."""


async def test_an_error_that_a_coroutine_awaited_leaves_no_reference_cycle(session, connection):
    async def fail() -> weakref.ref[Failure]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        futures, error = [future], Failure()

        async def handle(message: str) -> None:
            await futures.pop()  # the handler itself must not refer to it

        connection.received = handle
        handled = task_of(session.receive(frames("a")))
        await asyncio.sleep(0)
        future.set_exception(error)
        await asyncio.wait({handled})  # not raised here: this frame refers to the task
        connection.received = lambda message: None
        return weakref.ref(error)

    logging.disable(logging.CRITICAL)  # records hold tracebacks, as long as pytest holds them
    gc.disable()
    try:
        reference = await fail()
        await finished(session)
        assert reference() is None
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


# -- Payloads that take long -------------------------------------------------------------------------------------------


async def turns_during(handled: bool | asyncio.Task[bool]) -> int:
    """How often others had a turn of the loop before all was handled."""
    turns = 0
    while not isinstance(handled, bool) and not handled.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


@pytest.mark.parametrize("as_coroutine", [False, True])
@pytest.mark.parametrize(("seconds", "turns"), [(0.02, 30), (0.003, 7), (0.0001, 0)])
async def test_slow_frames_leave_others_their_turns(session, connection, monotonic, seconds, turns, as_coroutine):
    """Messages of milliseconds, by their handlers or their JSON: no payload holds the loop for the sum."""

    async def coroutine() -> None:
        """Waits for nothing."""

    def received(message: Any) -> Any:
        monotonic.advance(seconds)
        return coroutine() if as_coroutine else None

    connection.received = received
    seen = await turns_during(session.receive(frames(*range(30))))
    assert turns <= seen <= turns + 3
    assert connection.calls == list(range(30))


async def test_the_time_of_decoding_counts(session, connection, monotonic):
    def decoded() -> Iterator[tuple[str, Any]]:
        for number in range(30):
            monotonic.advance(0.02)
            yield proto.FRAME, number

    assert await turns_during(session.receive(decoded())) >= 29
    assert connection.calls == list(range(30))
