"""One message to many sessions: by a loop of sends, by broadcast, and what happens to them in the middle of that."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable

import pytest

from tests.internals import queue_length
from tests.support import MovedLoop, Recorder
from tornadio import proto
from tornadio.sessions.base import BaseSession
from tornadio.sessions.outbox import Payload
from tornadio.sessions.persistent import PersistentSession
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import make_settings

RECEIVERS = 3


class Line:
    """A channel that takes what it is given at once, or when `taken` is done."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.taken: asyncio.Future[None] | None = None
        self.has_ended = False

    def write(self, payload: Payload) -> asyncio.Future[None] | None:
        self.written.append(payload.text)
        return self.taken

    def close(self, code: int, reason: str) -> None:
        self.has_ended = True

    def replaced(self) -> None:
        raise AssertionError("nobody took over")

    def abort(self) -> None:
        self.has_ended = True


class Receiver:
    """A session whose line has carried the greeting."""

    def __init__(self, registry: SessionRegistry) -> None:
        self.connection, self.line = Recorder(), Line()
        self.session: BaseSession = registry.create(PersistentSession, self.connection, "websocket")
        assert self.session.open(None, "") is True  # type: ignore[arg-type]
        self.session.attach(self.line)
        self.line.written.clear()
        self.written_before = self.session.bytes_out, self.session.messages_out

    def check(self, messages: list[str], accepted: int | None = None) -> None:
        """Check what was written, in this order, and that as much was counted, or as much of it as was accepted."""
        frames = [proto.encode(message) for message in messages]
        counted = frames[:accepted]
        assert "".join(self.line.written) == "".join(frames)
        assert self.session.bytes_out - self.written_before[0] == sum(map(len, counted))
        assert self.session.messages_out - self.written_before[1] == len(counted)


@pytest.fixture
async def registry(clock: MovedLoop) -> SessionRegistry:
    return SessionRegistry(make_settings(None), clock)


@pytest.fixture
async def receivers(registry: SessionRegistry) -> list[Receiver]:
    return [Receiver(registry) for _ in range(RECEIVERS)]


def loop_of_sends(registry: SessionRegistry, receivers: list[Receiver], message: str) -> None:
    for receiver in receivers:
        receiver.connection.send(message)


def broadcast(registry: SessionRegistry, receivers: list[Receiver], message: str) -> None:
    registry.broadcast(message)


every_way = pytest.mark.parametrize("fan_out", [loop_of_sends, broadcast])


@every_way
@pytest.mark.parametrize("count", [1, 2, 5])
async def test_each_receiver_is_written_all_of_it_at_once_and_in_order(registry, receivers, clock, fan_out, count):
    messages = [f"news {number}" for number in range(count)]
    for message in messages:
        fan_out(registry, receivers, message)
    queued = sum(len(proto.encode(message)) for message in messages)
    assert [receiver.session.send_buffer_size for receiver in receivers] == [queued] * RECEIVERS
    await clock.advance(0)
    for receiver in receivers:
        receiver.check(messages)
        assert len(receiver.line.written) == 1
        assert (receiver.session.send_buffer_size, queue_length(receiver.session)) == (0, 0)


@every_way
async def test_the_batch_of_a_receiver_that_is_slow_counts_until_it_is_taken(registry, receivers, clock, fan_out):
    slow = receivers[1]
    slow.line.taken = clock.create_future()
    for message in ("one", "two"):
        fan_out(registry, receivers, message)
        await clock.advance(0)
    for receiver in receivers:
        if receiver is not slow:
            receiver.check(["one", "two"])
    slow.check(["one"], accepted=0)
    assert slow.session.send_buffer_size == len(proto.encode("one") + proto.encode("two"))
    taken, slow.line.taken = slow.line.taken, None
    taken.set_result(None)
    await clock.advance(0)
    slow.check(["one", "two"])
    assert slow.session.send_buffer_size == 0


@every_way
async def test_a_receiver_is_sent_the_next_heartbeat_an_interval_after_the_flush(registry, receivers, clock, fan_out):
    receiver = receivers[0]
    await clock.advance(11)
    receiver.session.touch()
    fan_out(registry, receivers, "news")
    await clock.advance(11.9)
    receiver.check(["news"])
    await clock.advance(0.1)
    assert receiver.line.written[1:] == [proto.encode_heartbeat(1)]


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("before", [[], ["news"], ["news", "more"]], ids=len)
async def test_a_receiver_that_has_a_byte_too_much_queued_is_ended(registry, receivers, before, excess):
    receiver, most = receivers[0], registry.settings.max_send_buffer
    for message in before:
        receiver.connection.send(message)
    header = len(f"~m~{most}~m~")
    size = most - receiver.session.send_buffer_size - header + excess
    assert len(proto.encode(size * "x")) == size + header
    receiver.connection.send(size * "x")
    assert receiver.connection.is_closed == (excess > 0)


def interrupted(work: Callable[[], None], step: int, handler: Callable[[], None]) -> bool:
    """Have a signal handler run at a step of some work. Such a handler runs between any two calls; here in place of a
    profiler. Returns whether there was that step.
    """
    calls = itertools.count()

    def on_call(*args: object) -> None:
        if next(calls) == step:
            handler()

    sys.setprofile(on_call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return next(calls) > step


def flush_now(registry: SessionRegistry) -> None:
    """Do at once what is due at the end of the loop's iteration."""
    registry._flush()


@every_way
@pytest.mark.parametrize("count", [1, 2])
async def test_what_a_signal_handler_sends_meanwhile_is_lost_nowhere(registry, receivers, clock, fan_out, count):
    def work() -> None:
        for number in range(count):
            fan_out(registry, receivers, f"news {number}")
        flush_now(registry)

    def handler() -> None:
        for receiver in receivers:
            receiver.connection.send("late")

    messages = [f"news {number}" for number in range(count)]
    for step in itertools.count():
        was_interrupted = interrupted(work, step, handler)
        await clock.advance(0)
        for receiver in receivers:
            written = list(proto.decode("".join(receiver.line.written)))
            texts = [text for _, text in written]
            assert sorted(texts) == sorted(messages + was_interrupted * ["late"]), step
            assert [text for text in texts if text != "late"] == messages
            receiver.check(texts)
            assert (receiver.session.send_buffer_size, queue_length(receiver.session)) == (0, 0)
            receiver.line.written.clear()
            receiver.written_before = receiver.session.bytes_out, receiver.session.messages_out
        if not was_interrupted:
            break
    assert step > 20


@every_way
async def test_a_receiver_that_a_signal_handler_ends_meanwhile_takes_no_other_along(clock, fan_out):
    for step in itertools.count():
        registry = SessionRegistry(make_settings(None), clock)
        receivers = [Receiver(registry) for _ in range(RECEIVERS)]
        ended = receivers[1]

        def work() -> None:
            fan_out(registry, receivers, "news")  # noqa: B023
            flush_now(registry)  # noqa: B023

        was_interrupted = interrupted(work, step, lambda: ended.session.abort(1008, "too slow"))  # noqa: B023
        await clock.advance(0)
        for receiver in (receivers[0], receivers[2]):
            receiver.check(["news"])
        assert ended.line.has_ended == was_interrupted
        assert (ended.session.send_buffer_size, queue_length(ended.session)) == (0, 0)
        assert len(ended.line.written) <= 1
        assert ended.session.messages_out - ended.written_before[1] <= len(ended.line.written)
        if not was_interrupted:
            break
    assert step > 20
