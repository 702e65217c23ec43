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
        return self.write_text(payload.text)

    def write_text(self, text: str) -> asyncio.Future[None] | None:
        self.written.append(text)
        return self.taken

    def close(self, code: int, reason: str) -> None:
        self.has_ended = True

    def replaced(self) -> None:
        raise AssertionError("nobody took over")

    def abort(self) -> None:
        self.has_ended = True


class LineWire:
    """The wire of such a channel."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def write(self, data: bytes) -> asyncio.Future[None] | None:
        return self.line.write_text(data.decode())


def encode(frames: bytes) -> bytes:
    return frames[:]


class Receiver:
    """A session whose line has carried the greeting.

    :param is_direct: whether what follows is written to the wire of its channel.
    """

    def __init__(self, registry: SessionRegistry, is_direct: bool) -> None:
        self.connection, self.line = Recorder(), Line()
        self.session: BaseSession = registry.create(PersistentSession, self.connection, "websocket")
        assert self.session.open(None, "") is True  # type: ignore[arg-type]
        self.session.attach(self.line)
        if is_direct:
            self.session.write_directly(LineWire(self.line), encode)
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


WAYS = {"channel": [False] * RECEIVERS, "wire": [True] * RECEIVERS, "either": [True, False, True]}


@pytest.fixture(params=WAYS)
async def receivers(request: pytest.FixtureRequest, registry: SessionRegistry) -> list[Receiver]:
    return [Receiver(registry, is_direct) for is_direct in WAYS[request.param]]


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
    receiver.session.record_received(0)
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
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("which", range(RECEIVERS))
async def test_a_receiver_that_a_signal_handler_ends_meanwhile_takes_no_other_along(clock, fan_out, way, which):
    for step in itertools.count():
        registry = SessionRegistry(make_settings(None), clock)
        receivers = [Receiver(registry, is_direct) for is_direct in WAYS[way]]
        ended = receivers[which]

        def work() -> None:
            fan_out(registry, receivers, "news")  # noqa: B023
            flush_now(registry)  # noqa: B023

        was_interrupted = interrupted(work, step, lambda: ended.session.abort(1008, "too slow"))  # noqa: B023
        await clock.advance(0)
        for receiver in receivers:
            if receiver is not ended:
                receiver.check(["news"])
        assert ended.line.has_ended == was_interrupted
        assert (ended.session.send_buffer_size, queue_length(ended.session)) == (0, 0)
        assert len(ended.line.written) <= 1
        assert ended.session.messages_out - ended.written_before[1] <= len(ended.line.written)
        if not was_interrupted:
            break
    assert step > 20


@every_way
async def test_a_receiver_whose_channel_was_replaced_is_written_to_the_new_one(registry, clock, fan_out):
    class Replaced(Line):
        def replaced(self) -> None:
            self.has_ended = True

    receiver = Receiver(registry, True)
    receiver.session._channel = old = Replaced()
    receiver.session.write_directly(LineWire(old), encode)
    fan_out(registry, [receiver], "before")
    receiver.session.attach(receiver.line)
    for message in ("after", "that"):
        fan_out(registry, [receiver], message)
        await clock.advance(0)
    assert old.has_ended
    assert old.written == []
    receiver.check(["before", "after", "that"])


@every_way
async def test_a_wire_that_fails_takes_no_other_receiver_along(registry, clock, fan_out, caplog):
    class Broken(LineWire):
        def write(self, data: bytes) -> None:
            raise RuntimeError("as the test asked")

    receivers = [Receiver(registry, True) for _ in range(RECEIVERS)]
    receivers[1].session.write_directly(Broken(receivers[1].line), encode)
    fan_out(registry, receivers, "news")
    await clock.advance(0)
    for receiver in (receivers[0], receivers[2]):
        receiver.check(["news"])
    assert receivers[1].session.is_closed
    assert receivers[1].line.has_ended
    assert "RuntimeError: as the test asked" in caplog.text


async def test_after_its_end_a_session_has_no_wire(registry, clock):
    closed, aborted = (Receiver(registry, True).session for _ in range(2))
    closed.close()
    aborted.abort(1008, "too slow")
    for session in (closed, aborted):
        assert session._wire is None
        session.write_directly(LineWire(Line()), encode)
        assert session._wire is None


async def test_receivers_of_several_encoders_get_each_their_own_bytes(registry, clock):
    def shout(frames: bytes) -> bytes:
        return frames.upper()

    receivers = [Receiver(registry, True) for _ in range(4)]
    for receiver in receivers[1:3]:
        receiver.session.write_directly(LineWire(receiver.line), shout)
    for message in ("one", "two"):
        registry.broadcast(message)
        await clock.advance(0)
    expected = [proto.encode("one"), proto.encode("two")]
    for receiver in (receivers[0], receivers[3]):
        assert receiver.line.written == expected
    for receiver in receivers[1:3]:
        assert receiver.line.written == [frame.upper() for frame in expected]


async def test_receivers_of_different_messages_in_one_flush_get_each_their_own(registry, receivers, clock):
    for number, receiver in enumerate(receivers):
        receiver.connection.send(f"for {number}")
    await clock.advance(0)
    for number, receiver in enumerate(receivers):
        receiver.check([f"for {number}"])


async def test_a_receiver_that_is_being_written_to_already_waits_for_the_end_of_that(registry, receivers, clock):
    receiver = receivers[0]
    receiver.line.taken = taken = clock.create_future()
    receiver.connection.send("one")
    receiver.session.flush(clock.time())
    receiver.connection.send("two")
    await clock.advance(0)
    receiver.check(["one"], accepted=0)
    receiver.line.taken = None
    taken.set_result(None)
    await clock.advance(0)
    receiver.check(["one", "two"])


async def test_who_waits_in_drain_goes_on_when_a_flush_has_written_what_was_queued(registry, receivers):
    receiver = receivers[0]
    receiver.connection.send(100_000 * "x")
    draining = receiver.connection.drain()
    waiter = draining.send(None)
    assert not waiter.done()
    flush_now(registry)
    assert waiter.done()
    with pytest.raises(StopIteration):
        draining.send(None)
