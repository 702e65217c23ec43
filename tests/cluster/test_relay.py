"""What stands between a router and its bus, with a bus in memory that does whatever a test wants."""

from __future__ import annotations

import asyncio
import collections
import json
import logging
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import tornado.web
from tornado.ioloop import IOLoop

import tornadio
from tests.clients import greeted, received
from tests.internals import is_subscribing, port_of, relay_of, sessions_of
from tests.support import MovedLoop, Recorder, Served, brief, limit, shut_down, until
from tests.texts import NO_JSON, json_frame
from tornadio import proto
from tornadio.cluster.bus import channel_name, pack
from tornadio.cluster.relay import Relay
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)

ALL = "socket.io"
BLUE = "socket.io:group:blue"


class MemoryBus:
    """A bus over a dictionary, which several share. It remembers what it was asked for, and fails when told so."""

    def __init__(self, channels: dict[str, list[Callable[[bytes], None]]] | None = None) -> None:
        self.channels = collections.defaultdict(list) if channels is None else channels
        self.batches: list[list[tuple[str, bytes]]] = []
        self.asked: list[tuple[str, ...]] = []
        self.error: BaseException | None = None  # what publishing comes to
        self.refusal: BaseException | None = None  # what subscribing and unsubscribing come to
        self.gate = asyncio.Event()  # publishing waits for it
        self.gate.set()
        self._own: dict[str, Callable[[bytes], None]] = {}

    def another(self) -> MemoryBus:
        return MemoryBus(self.channels)

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        self.batches.append(list(messages))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        for channel, data in messages:
            self.say(data, channel)

    def say(self, data: bytes, channel: str = ALL) -> None:
        """What somebody else publishes."""
        for receive in tuple(self.channels[channel]):
            receive(data)

    async def subscribe(self, channel: str, receive: Callable[[bytes], None]) -> None:
        self.asked.append(("subscribe", channel))
        if self.refusal is not None:
            raise self.refusal
        self._own[channel] = receive
        self.channels[channel].append(receive)

    async def unsubscribe(self, channel: str) -> None:
        self.asked.append(("unsubscribe", channel))
        if self.refusal is not None:
            raise self.refusal
        self.channels[channel].remove(self._own.pop(channel))

    async def close(self) -> None:
        self.asked.append(("close",))
        for channel, receive in self._own.items():
            self.channels[channel].remove(receive)
        self._own.clear()

    @property
    def published(self) -> list[str]:
        """The frames that it was asked to publish, in order, whether it could or not."""
        return [json.loads(data)["frames"] for batch in self.batches for _, data in batch]


@pytest.fixture
async def bus() -> MemoryBus:
    return MemoryBus()


def frames(*messages: Any) -> list[str]:
    return [proto.encode(message) for message in messages]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def subscribed(bus: MemoryBus, count: int, channel: str = ALL) -> None:
    await until(lambda: len(bus.channels[channel]) == count)


async def published(bus: MemoryBus, batches: int) -> None:
    await until(lambda: len(bus.batches) == batches)


async def bus_is_settled(served: Served) -> None:
    """Wait until the bus was asked for all that it is to be asked for."""
    relay = relay_of(served.router)
    assert relay is not None
    await until(lambda: not is_subscribing(relay))


async def listener(bus: MemoryBus, bound: int = 1 << 20) -> tuple[Relay, list[str]]:
    """Another process, as the bus sees it: what it delivers to all of its connections."""
    heard: list[str] = []
    count = len(bus.channels[ALL])
    relay = Relay(bus.another(), ALL, bound, heard.append)
    relay.start()
    await subscribed(bus, count + 1)
    return relay, heard


# -- Between routers ---------------------------------------------------------------------------------------------------


@every_transport
async def test_a_message_reaches_all_connections_of_all_routers_once_and_in_order(serve, bus, transport):
    routers = [serve(settings={"bus": each}) for each in (bus, bus.another(), bus.another())]
    await subscribed(bus, 3)
    clients = [await greeted(served, transport) for served in routers for _ in range(2)]
    for number in range(20):
        routers[0].router.broadcast(number)
        routers[0].router.broadcast(f"é中😀 {number}")
        await asyncio.sleep(0)
    routers[0].router.broadcast("last")
    expected = [each for number in range(20) for each in (number, f"é中😀 {number}")]
    for client in clients:
        assert await received(client) == expected


async def test_a_connection_that_broadcasts_is_left_out_and_so_are_those_excluded(serve, bus):
    here, there = (serve(settings={"bus": each}) for each in (bus, bus.another()))
    await subscribed(bus, 2)
    clients = [await greeted(here) for _ in range(3)]
    far = await greeted(there)
    first, second, _, _ = Recorder.opened
    first.broadcast("from the first")
    here.router.broadcast("not to the second", exclude=[second])
    here.router.broadcast("last")
    assert [await received(client) for client in (*clients, far)] == [
        ["not to the second"],
        ["from the first"],
        ["from the first", "not to the second"],
        ["from the first", "not to the second"],
    ]


async def test_a_group_has_its_members_in_all_routers(serve, bus):
    here, there, elsewhere = (serve(settings={"bus": each}) for each in (bus, bus.another(), bus.another()))
    await subscribed(bus, 3)
    clients = [await greeted(served) for served in (here, here, there, there)]
    for served, connection in zip((here, there), Recorder.opened[::2], strict=True):
        served.router.group("blue").add(connection)
    await subscribed(bus, 2, BLUE)
    here.router.group("blue").send("from a member's process", exclude=list(here.router.group("blue")))
    elsewhere.router.group("blue").send("from one without members")
    here.router.group("green").send("to nobody")
    elsewhere.router.broadcast("last")
    assert [await received(client) for client in clients] == [
        ["from one without members"],
        [],
        ["from a member's process", "from one without members"],
        [],
    ]


async def test_a_group_is_subscribed_to_from_its_first_member_to_its_last_one(serve, bus):
    served = serve(settings={"bus": bus})
    await subscribed(bus, 1)
    clients = [await greeted(served) for _ in range(2)]
    group = served.router.group("blue")
    for connection in Recorder.opened:
        group.add(connection)
    await subscribed(bus, 1, BLUE)
    group.discard(Recorder.opened[0])
    await clients[0].send("still there")
    assert await clients[0].receive() == ["still there"]
    assert len(bus.channels[BLUE]) == 1
    await clients[1].leave()
    await subscribed(bus, 0, BLUE)
    assert bus.asked == [("subscribe", ALL), ("subscribe", BLUE), ("unsubscribe", BLUE)]


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has eager tasks first")
async def test_where_tasks_are_eager_a_bus_that_needs_no_waiting_works_more_than_once(serve, bus):
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    served = serve(settings={"bus": bus})
    await greeted(served)
    for name in ("blue", "green"):
        served.router.group(name).add(Recorder.opened[0])
        await subscribed(bus, 1, f"socket.io:group:{name}")
    for number in range(2):
        served.router.broadcast("first")
        served.router.broadcast("second")
        await published(bus, number + 1)


async def test_a_group_that_comes_and_goes_ends_as_it_should(serve, bus):
    served = serve(settings={"bus": bus})
    await subscribed(bus, 1)
    await greeted(served)
    group, [connection] = served.router.group("blue"), Recorder.opened
    for _ in range(100):
        group.add(connection)
        group.discard(connection)
    group.add(connection)
    await subscribed(bus, 1, BLUE)
    for _ in range(100):
        group.discard(connection)
        group.add(connection)
    await bus_is_settled(served)
    assert len(bus.asked) == 2
    group.discard(connection)
    await subscribed(bus, 0, BLUE)
    assert len(bus.asked) == 3


async def test_resources_and_groups_are_apart():
    names = [
        channel_name(resource, group)
        for resource, group in [
            ("a", None),
            ("a", "b"),
            ("a:group:b", None),
            ("a%3Agroup%3Ab", None),
            ("a", "b:group:c"),
        ]
    ]
    assert names[:2] == ["a", "a:group:b"]
    assert len(set(names)) == len(names)


async def test_a_router_without_sessions_broadcasts(serve, bus):
    _, heard = await listener(bus)
    served = serve(settings={"bus": bus.another()})
    served.router.broadcast("news")
    await until(lambda: heard == frames("news"))


async def test_what_is_broadcast_before_the_loop_runs_goes_out_later():
    channels: dict[str, list[Callable[[bytes], None]]] = collections.defaultdict(list)
    bus = MemoryBus(channels)
    router = tornadio.get_router(Recorder, {"bus": bus})
    await asyncio.to_thread(router.broadcast, "early")  # a thread without a loop, as a module that is imported
    assert bus.batches == []
    router.broadcast("later")
    await until(lambda: bus.published == frames("early", "later"))
    await router._drain(1)


def broadcast_in_threads(router: tornadio.Router, count: int) -> None:
    """Four threads broadcast at the same time, with the event loop, if one runs, blocked until they have."""

    def work(thread: int) -> None:
        for number in range(count):
            router.broadcast([f"{thread} {number}"])

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def by_thread(messages: list[str]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = collections.defaultdict(list)
    for message in messages:
        thread, number = message.split()
        numbers[thread].append(int(number))
    return dict(numbers)


def test_threads_that_broadcast_before_there_is_a_loop_lose_nothing_and_keep_their_order():
    channels: dict[str, list[Callable[[bytes], None]]] = collections.defaultdict(list)
    bus = MemoryBus(channels)
    router = tornadio.get_router(Recorder, {"bus": bus})
    broadcast_in_threads(router, 500)

    async def main() -> None:
        router._start(IOLoop.current())
        await until(lambda: len(bus.published) == 2000)
        await router._drain(1)

    asyncio.run(main())
    [*messages] = [message for frames in bus.published for _, message in proto.decode(frames)]
    assert by_thread(messages) == {str(thread): list(range(500)) for thread in range(4)}


async def test_what_threads_broadcast_reaches_the_other_processes_too(serve, bus):
    here, there = (serve(settings={"bus": each}) for each in (bus, bus.another()))
    await subscribed(bus, 2)
    client = await greeted(there)
    broadcast_in_threads(here.router, 500)
    await asyncio.to_thread(here.router.broadcast, "last")
    assert by_thread(await received(client)) == {str(thread): list(range(500)) for thread in range(4)}


async def test_what_a_thread_sends_to_a_group_and_who_it_adds_are_known_to_the_other_processes(serve, bus):
    here, there = (serve(settings={"bus": each}) for each in (bus, bus.another()))
    client = await greeted(there)
    await asyncio.to_thread(there.router.group("blue").add, Recorder.opened[0])
    await subscribed(bus, 1, BLUE)
    await asyncio.to_thread(here.router.group("blue").send, "last")
    assert await received(client) == []
    await asyncio.to_thread(there.router.group("blue").discard, Recorder.opened[0])
    await subscribed(bus, 0, BLUE)


async def test_what_threads_broadcast_before_a_shutdown_is_published(serve, bus):
    _, heard = await listener(bus)
    served = serve(settings={"bus": bus.another()})
    broadcast_in_threads(served.router, 500)
    await shut_down(served.server)
    await until(lambda: len(heard) == 2000)


async def test_more_than_max_send_buffer_of_threads_is_dropped_and_counted(serve, bus, caplog):
    served = serve(settings={"bus": bus, "max_send_buffer": 100_000})
    await subscribed(bus, 1)

    def flood() -> None:
        for _ in range(100):
            served.router.broadcast("x" * 10_000)

    thread = threading.Thread(target=flood)
    thread.start()
    thread.join()
    await until(lambda: len(bus.published) == 9)
    served.router.broadcast("later")
    await until(lambda: len(bus.published) == 10)
    assert warnings(caplog) == [
        "socket.io: messages for other processes are dropped: too much waits for the event loop",
        "socket.io: messages reach other processes again, 91 were dropped",
    ]


async def test_without_our_server_the_first_session_is_where_the_bus_begins(bus):
    router = tornadio.get_router(Recorder, {"bus": bus})
    listening = tornado.web.Application([router.route()]).listen(0, "127.0.0.1")
    served = Served(SimpleNamespace(port=port_of(listening)), router)  # type: ignore[arg-type]
    assert bus.asked == []
    await served.open()
    await subscribed(bus, 1)
    listening.stop()
    await router._drain(0.1)
    await listening.close_all_connections()
    assert bus.asked[-1] == ("close",)


# -- Out ---------------------------------------------------------------------------------------------------------------


async def test_what_is_sent_in_one_turn_is_published_together(serve, bus):
    served = serve(settings={"bus": bus})
    for number in range(50):
        served.router.broadcast(str(number))
        served.router.group("blue").send({"number": number})
    await until(lambda: bus.batches)
    [batch] = bus.batches
    assert [channel for channel, _ in batch] == 50 * [ALL, BLUE]
    assert bus.published == [each for number in range(50) for each in frames(str(number), {"number": number})]
    assert {json.loads(data)["v"] for _, data in batch} == {1}
    assert len({json.loads(data)["from"] for _, data in batch}) == 1


async def test_local_delivery_does_not_wait_for_the_bus(serve, bus):
    served = serve(settings={"bus": bus})
    bus.gate.clear()
    client = await greeted(served)
    for number in range(100):
        served.router.broadcast(number)
        assert await client.receive() == [number]
    assert len(bus.batches) == 1
    bus.gate.set()
    await until(lambda: bus.published == frames(*range(100)))


async def test_what_waits_for_the_bus_is_bounded_and_the_oldest_is_dropped(serve, bus, caplog):
    served = serve(settings={"bus": bus, "max_send_buffer": 10_000})
    bus.gate.clear()
    served.router.broadcast("under way")
    await until(lambda: bus.batches)
    for number in range(1000):
        served.router.broadcast(f"{number:04} {'x' * 95}")
    assert warnings(caplog) == ["socket.io: messages for other processes are dropped: too much waits for the bus"]
    bus.gate.set()
    await until(lambda: len(warnings(caplog)) == 2)
    await until(lambda: bus.published[-1].endswith("x" * 95))
    await until(lambda: bus.published[-1] == proto.encode(f"0999 {'x' * 95}"))
    sent = bus.published[1:]
    assert 30 < len(sent) < 100
    assert sent == frames(*(f"{number:04} {'x' * 95}" for number in range(1000 - len(sent), 1000)))
    dropped = 1000 - len(sent)
    assert warnings(caplog)[1] == f"socket.io: messages reach other processes again, {dropped} were dropped"


async def test_a_batch_that_failed_is_dropped_and_counted_and_never_published_again(serve, bus, caplog):
    served = serve(settings={"bus": bus})
    client = await greeted(served)
    bus.error = ConnectionError("as the test asked")
    for number in range(5):
        served.router.broadcast(number)
        assert await client.receive() == [number]
        await published(bus, number + 1)
    bus.error = None
    served.router.broadcast("again")
    await until(lambda: len(warnings(caplog)) == 2)
    assert bus.published == frames(*range(5), "again")
    assert warnings(caplog) == [
        "socket.io: messages for other processes are dropped: as the test asked",
        "socket.io: messages reach other processes again, 5 were dropped",
    ]


@pytest.mark.parametrize("error", [RuntimeError(), asyncio.CancelledError()], ids=brief)
async def test_whatever_the_bus_raises_the_next_message_is_published(serve, bus, caplog, error):
    served = serve(settings={"bus": bus})
    bus.error = error
    served.router.broadcast("lost")
    await until(lambda: warnings(caplog))
    bus.error = None
    served.router.broadcast("news")
    await until(lambda: len(warnings(caplog)) == 2)
    assert bus.published == frames("lost", "news")
    assert "1 were dropped" in warnings(caplog)[1]


async def test_a_message_too_large_for_the_bus_reaches_this_process_alone(serve, bus, caplog):
    served = serve(settings={"bus": bus, "max_send_buffer": 1000})
    client = await greeted(served)
    large = "x" * 970
    served.router.broadcast(large)
    served.router.broadcast("last")
    assert await received(client) == [large]
    await until(lambda: bus.batches)
    assert bus.published == frames("last")
    [warning] = warnings(caplog)
    assert "reaches this process alone" in warning


async def test_what_can_not_be_encoded_or_is_nothing_is_not_published(serve, bus):
    served = serve(settings={"bus": bus})
    for send in (served.router.broadcast, served.router.group("blue").send):
        with pytest.raises(tornadio.errors.EncodeError):
            send(float("nan"))
        send(None)
        send([])
    served.router.broadcast("last")
    await until(lambda: bus.batches)
    assert bus.published == frames("last")


# -- In ----------------------------------------------------------------------------------------------------------------


GOOD = {"v": 1, "from": "somebody", "frames": proto.encode("hello")}
RUBBISH = [
    b"",
    b"hello",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"1",
    b'"text"',
    b"{}",
    b"{",
    b"[" * 100_000,
    b"1" * 5000,
    *(
        json.dumps(message).encode()
        for message in [
            GOOD | {"more": 1},
            {"v": 1, "from": "somebody"},
            {"from": "somebody", "frames": "~m~1~m~x"},
            GOOD | {"v": 2},
            GOOD | {"v": True},
            GOOD | {"v": 1.0},
            GOOD | {"v": "1"},
            GOOD | {"v": None},
            GOOD | {"from": 1},
            GOOD | {"from": ""},
            GOOD | {"from": "x" * 65},
            GOOD | {"from": ["somebody"]},
            GOOD | {"frames": None},
            GOOD | {"frames": ["~m~1~m~x"]},
            GOOD | {"frames": ""},
            GOOD | {"frames": "hello"},
            GOOD | {"frames": "~m~5~m~hell"},
            GOOD | {"frames": "~m~5~m~hello~m~"},
            GOOD | {"frames": "~m~-1~m~x"},
            GOOD | {"frames": proto.encode_heartbeat(1)},
            GOOD | {"frames": proto.encode("x") + proto.encode_heartbeat(1)},
            GOOD | {"frames": "~m~1~m~\ud800"},
            *(GOOD | {"frames": proto.encode("x") + json_frame(text)} for text in NO_JSON),
            GOOD | {"frames": json_frame("{") + proto.encode("x")},
            [GOOD],
        ]
    ),
    pack("somebody", proto.encode("x" * 200_000)),
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=brief)
async def test_rubbish_on_the_bus_is_one_line_and_nothing_else(serve, bus, caplog, rubbish):
    served = serve(settings={"bus": bus, "max_send_buffer": 200_000})
    await subscribed(bus, 1)
    client = await greeted(served)
    bus.say(rubbish)
    bus.say(pack("somebody", proto.encode("last")))
    assert await received(client) == []
    [warning] = warnings(caplog)
    assert "what came from the bus on socket.io is no message: " in warning
    assert len(warning) < 500


async def test_a_flood_of_rubbish_is_a_few_lines(serve, bus, caplog):
    served = serve(settings={"bus": bus})
    await subscribed(bus, 1)
    client = await greeted(served)
    for number in range(10_000):
        bus.say(b"rubbish %d" % number)
    bus.say(pack("somebody", proto.encode("last")))
    assert await received(client) == []
    assert len(warnings(caplog)) == 10


@pytest.mark.parametrize(
    "message",
    ["hello", "é中😀", {"a": ["b", 1.5, None]}, ["several", {"at": "once"}], "~h~1", "\u2028</script>"],
    ids=brief,
)
async def test_a_message_arrives_as_it_was_sent(serve, bus, message):
    served = serve(settings={"bus": bus})
    await subscribed(bus, 1)
    client = await greeted(served)
    bus.say(pack("somebody", proto.encode(message)))
    bus.say(json.dumps(GOOD | {"frames": proto.encode("last")}).encode("ascii"))  # in another way of writing JSON
    assert await received(client) == (message if isinstance(message, list) else [message])


async def test_a_connection_that_can_not_be_delivered_to_leaves_the_bus_as_it_is(serve, bus, caplog, monkeypatch):
    served = serve(settings={"bus": bus})
    await subscribed(bus, 1)
    client = await greeted(served)
    session = sessions_of(served.router)[0]
    with monkeypatch.context() as patch:
        patch.setattr(type(session), "send", lambda self, payload: 1 / 0)
        bus.say(pack("somebody", proto.encode("lost")))
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    bus.say(pack("somebody", proto.encode("last")))
    assert await received(client) == []


async def test_what_comes_for_a_group_that_was_left_is_nothing(serve, bus, caplog):
    served = serve(settings={"bus": bus})
    await subscribed(bus, 1)
    client = await greeted(served)
    group = served.router.group("blue")
    group.add(Recorder.opened[0])
    await subscribed(bus, 1, BLUE)
    group.discard(Recorder.opened[0])
    bus.say(pack("somebody", proto.encode("late")), BLUE)
    bus.say(pack("somebody", proto.encode("last")))
    assert await received(client) == []
    assert warnings(caplog) == []


@pytest.mark.parametrize("error", [ConnectionError, asyncio.CancelledError])
async def test_a_subscription_that_failed_is_asked_for_again(clock: MovedLoop, bus, caplog, error):
    bus.refusal = error()
    relay = Relay(bus, ALL, 1000, lambda payload: None)
    relay.start()
    relay.join("blue", lambda payload: None)
    await clock.advance(0.5)
    assert bus.channels[ALL] == []
    bus.refusal = None
    await clock.advance(1)
    assert [len(bus.channels[channel]) for channel in (ALL, BLUE)] == [1, 1]
    bus.refusal = error()
    relay.leave("blue")
    await clock.advance(0.5)
    bus.refusal = None
    await clock.advance(1)
    assert [len(bus.channels[channel]) for channel in (ALL, BLUE)] == [1, 0]
    assert [warning.rpartition(": ")[2] for warning in warnings(caplog)] == 2 * [error.__name__]
    await clock.wait_for(relay.close(1))


# -- End ---------------------------------------------------------------------------------------------------------------


async def test_what_on_close_broadcasts_at_shutdown_reaches_the_others_and_the_bus_is_closed(serve, bus):
    class Leaver(Recorder):
        async def on_close(self) -> None:
            await asyncio.sleep(0.01)
            served.router.broadcast("somebody left")
            super().on_close()

    _, heard = await listener(bus)
    own = bus.another()
    served = serve(Leaver, settings={"bus": own})
    clients = [await greeted(served) for _ in range(3)]
    async with limit():
        _, *_ = await asyncio.gather(served.server.shutdown(), *(client.ended() for client in clients))
    assert heard == 3 * frames("somebody left")
    assert own.asked[-1] == ("close",)
    served.router.broadcast("too late")
    await asyncio.sleep(0)
    assert own.published == 3 * frames("somebody left")
    assert own.asked.count(("close",)) == 1


async def test_shutdown_gives_what_is_queued_for_the_bus_its_chance(serve, clock, bus):
    served = serve(settings={"bus": bus})
    bus.gate.clear()
    served.router.broadcast("first")
    await until(lambda: bus.batches)
    served.router.broadcast("second")
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=5))
    await clock.advance(4)
    assert not stopping.done()
    assert ("close",) not in bus.asked
    bus.gate.set()
    await clock.advance(0)
    assert bus.published == frames("first", "second")
    await clock.wait_for(stopping)
    assert bus.asked[-1] == ("close",)


async def test_shutdown_waits_for_a_slow_bus_until_its_deadline_and_says_what_was_lost(serve, clock, bus, caplog):
    served = serve(settings={"bus": bus})
    bus.gate.clear()
    served.router.broadcast("first")
    await until(lambda: bus.batches)
    for _ in range(3):
        served.router.broadcast("more")
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=3))
    await clock.advance(2.9)
    assert not stopping.done()
    await clock.advance(0.2)
    assert stopping.done()
    assert bus.asked[-1] == ("close",)
    assert warnings(caplog) == ["socket.io: at the end, 4 messages for other processes were dropped"]


@pytest.mark.parametrize("bus_is", ["slow", "hanging"])
async def test_what_is_sent_at_the_deadline_has_a_second_more(serve, clock, bus, caplog, bus_is):
    class Hanging(Recorder):
        async def on_message(self, message: Any) -> None:
            await asyncio.sleep(1000)

        def on_close(self) -> None:
            served.router.broadcast("cut off")
            super().on_close()

    served = serve(Hanging, settings={"bus": bus})
    client = await greeted(served)
    await client.send("go")
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=3))
    await clock.advance(2.9)
    bus.gate.clear()
    await clock.advance(0.2)
    assert bus.published == frames("cut off")
    assert not stopping.done()
    await clock.advance(0.5)
    assert not stopping.done()
    if bus_is == "slow":
        bus.gate.set()
    await clock.advance(1.5)
    assert stopping.done()
    assert ("at the end, 1 messages" in caplog.text) == (bus_is == "hanging")
    await client.leave()


@pytest.mark.parametrize("how", ["hangs", "fails"])
async def test_a_bus_that_can_not_be_closed_does_not_hold_up_the_shutdown(serve, clock, caplog, how):
    class Unclosable(MemoryBus):
        async def close(self) -> None:
            if how == "fails":
                raise ConnectionError("as the test asked")
            await asyncio.sleep(1000)

    served = serve(settings={"bus": Unclosable()})
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=3))
    await clock.advance(1.1)
    assert stopping.done()
    [warning] = warnings(caplog)
    assert "the bus can't be closed" in warning


async def test_nothing_is_left_of_a_router_that_was_shut_down(serve, bus):
    before = asyncio.all_tasks()
    served: Served = serve(settings={"bus": bus})
    client = await greeted(served)
    served.router.group("blue").add(Recorder.opened[0])
    served.router.broadcast("news")
    await subscribed(bus, 1, BLUE)
    await asyncio.gather(shut_down(served.server), client.ended())
    await until(lambda: asyncio.all_tasks() <= before)
    assert not any(bus.channels.values())


async def test_without_a_bus_nothing_but_the_router_works(serve):
    served = serve()
    client = await greeted(served)
    tasks = asyncio.all_tasks()
    served.router.group("blue").add(Recorder.opened[0])
    served.router.group("blue").send("to the group")
    served.router.broadcast("last")
    assert asyncio.all_tasks() == tasks
    assert relay_of(served.router) is None
    assert await received(client) == ["to the group"]


# -- Figures -------------------------------------------------------------------------------------------------------


class DistantBus(MemoryBus):
    """What is published comes back after 0.2 s."""

    def say(self, data: bytes, channel: str = ALL) -> None:
        asyncio.get_running_loop().call_later(0.2, super().say, data, channel)


def figures(served: Served) -> tornadio.stats.BusStats:
    stats = served.router.stats().bus
    assert stats is not None
    return stats


async def test_a_process_measures_the_delay_of_its_bus(serve, clock, caplog):
    bus = DistantBus()
    served = serve(settings={"bus": bus})
    await clock.advance(9.9)
    assert bus.batches == []
    assert figures(served).is_up is None
    await clock.advance(10.3)  # at 10, 15 and 20 s
    stats = figures(served)
    assert (stats.is_up, stats.delay.count) == (True, 3)
    assert stats.delay.sum == pytest.approx(0.6)
    [channel] = {channel for batch in bus.batches for channel, _ in batch}
    assert channel.startswith(f"{ALL}:delay:")
    assert bus.asked == [("subscribe", ALL), ("subscribe", channel)]
    assert (stats.published, stats.received, stats.rejected, stats.queued_messages) == (0, 0, 0, 0)
    assert warnings(caplog) == []


@pytest.mark.parametrize("bus_is", ["failing", "hanging"])
async def test_a_bus_that_brings_nothing_back_is_down_and_costs_nothing_else(serve, clock, bus, caplog, bus_is):
    served = serve(settings={"bus": bus})
    if bus_is == "failing":
        bus.error = ConnectionError("no bus")
    else:
        bus.gate.clear()
    await clock.advance(14)
    assert figures(served).is_up is None
    await clock.advance(12)
    stats = figures(served)
    assert (stats.is_up, stats.delay.count, stats.dropped, stats.outages) == (False, 0, 0, 0)
    assert len(bus.batches) == (4 if bus_is == "failing" else 1)
    if bus_is == "failing":
        bus.error = None
        await clock.advance(5)
        assert figures(served).is_up
    # Only its own message waits for the bus: the end of the server does not.
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=5))
    await clock.advance(2.1)
    assert stopping.done()
    assert warnings(caplog) == []


async def test_what_the_bus_does_is_counted(serve, bus):
    served = serve(settings={"bus": bus, "max_send_buffer": 1000})
    await subscribed(bus, 1)
    _, heard = await listener(bus)
    served.router.broadcast("one")
    served.router.broadcast(["two", "three"])  # one message on the bus
    await until(lambda: len(heard) == 2)
    bus.say(pack("somebody", proto.encode("from another")))
    bus.say(b"rubbish")
    served.router.broadcast("x" * 2000)  # too large
    bus.gate.clear()
    served.router.broadcast("waits")
    await published(bus, 2)
    for _ in range(3):
        served.router.broadcast("y" * 400)
    stats = figures(served)
    assert (stats.published, stats.received, stats.rejected) == (2, 1, 1)
    assert (stats.dropped, stats.outages, stats.queued_messages) == (2, 1, 3)
    assert 800 < stats.queued_bytes <= 1000
    bus.error = ConnectionError("no bus")
    bus.gate.set()
    await until(lambda: figures(served).dropped == 5)
    bus.error = None
    served.router.broadcast("again")
    await until(lambda: figures(served).published == 3)
    bus.error = ConnectionError("no bus")
    served.router.broadcast("lost")
    await until(lambda: figures(served).dropped == 6)
    assert figures(served).outages == 2
