"""Sessions and the time they live: ids, the registry, expiry and heartbeats, on a clock that the tests move."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

import tornadio
from tests.clients import StreamClient, frame, greeted, opened_hybi
from tests.internals import sessions_of
from tests.support import FORM, PERSISTENT, POLLING, MovedLoop, Recorder, limit
from tornadio import proto
from tornadio.errors import RefusedError
from tornadio.sessions.base import BaseSession
from tornadio.sessions.outbox import Payload
from tornadio.sessions.persistent import PersistentSession
from tornadio.sessions.polling import PollingSession
from tornadio.sessions.registry import SessionRegistry
from tornadio.settings import make_settings

every_transport = pytest.mark.parametrize("transport", PERSISTENT + POLLING)
every_persistent_transport = pytest.mark.parametrize("transport", PERSISTENT)
every_polling_transport = pytest.mark.parametrize("transport", POLLING)


def heartbeat(number: int) -> list[str]:
    return [f"~h~{number}"]


# -- The registry ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def registry(clock: MovedLoop) -> SessionRegistry:
    return SessionRegistry(make_settings(None), clock)


def test_session_ids_have_128_random_bits_in_the_alphabet_of_urls():
    async def create_many() -> set[str]:
        registry = SessionRegistry(make_settings(None))
        sessions = [registry.create(PersistentSession, Recorder(), "websocket") for _ in range(1000)]
        for session in sessions:
            registry.remove(session)
        return {session.session_id for session in sessions}

    ids = asyncio.run(create_many())
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", session_id) for session_id in ids)
    for position in range(32):
        assert {session_id[position] for session_id in ids} == set("0123456789abcdef")


@every_transport
async def test_session_ids_begin_with_the_node(serve, transport):
    served = serve(settings={"node": "machine1process2"})
    client = await greeted(served, transport)
    assert re.fullmatch("machine1process2[0-9a-f]{32}", client.session_id)
    await client.send("hello")
    assert await client.receive() == ["hello"]
    assert Recorder.opened[0].session_id == client.session_id


@pytest.mark.parametrize("session_class", [PersistentSession, PollingSession])
def test_every_session_is_one_by_the_name_of_the_original(session_class):
    assert issubclass(session_class, tornadio.session.Session)


async def test_a_session_is_found_by_its_id_and_transport(registry):
    session = registry.create(PersistentSession, Recorder(), "websocket")
    assert registry.get(session.session_id, "websocket") is session
    assert registry.get(session.session_id, "flashsocket") is None
    assert registry.get("unknown", "websocket") is None
    assert registry.get("", "websocket") is None


async def test_a_removed_session_is_found_no_more(registry):
    first, second = (registry.create(PersistentSession, Recorder(), "websocket") for _ in range(2))
    assert (len(registry), list(registry)) == (2, [first, second])
    registry.remove(first)
    registry.remove(first)
    assert registry.get(first.session_id, "websocket") is None
    assert (len(registry), list(registry)) == (1, [second])


async def test_expire_ends_the_sessions_that_are_due_at_the_given_time(registry, clock):
    connections = [Recorder(), Recorder()]
    first = registry.create(PollingSession, connections[0], "xhr-polling")
    await clock.advance(10)
    second = registry.create(PollingSession, connections[1], "xhr-polling")
    for session in (first, second):
        assert session.open(None, "") is True
    registry.expire(clock.time() + 19)
    assert list(registry) == [first, second]
    registry.expire(clock.time() + 20)
    assert list(registry) == [second]
    assert first.is_closed
    registry.expire()
    assert list(registry) == [second]
    registry.expire(clock.time() + 30)
    assert list(registry) == []
    for connection in connections:
        await connection.closed.wait()


async def test_there_are_no_more_than_max_sessions(clock):
    registry = SessionRegistry(make_settings({"max_sessions": 2}), clock)
    first = registry.create(PersistentSession, Recorder(), "websocket")
    registry.create(PersistentSession, Recorder(), "websocket")
    with pytest.raises(RefusedError) as refusal:
        registry.create(PersistentSession, Recorder(), "websocket")
    assert refusal.value.http_status == 503
    registry.remove(first)
    registry.create(PersistentSession, Recorder(), "websocket")


# -- Expiry ------------------------------------------------------------------------------------------------------------


@every_polling_transport
async def test_a_polling_session_ends_when_no_request_has_come_for_session_expiry(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1})
    await greeted(served, transport)
    await clock.advance(9.9)
    assert not Recorder.opened[0].is_closed
    await clock.advance(1.2)
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    assert served.router.connections == ()
    assert (await served.poll(Recorder.opened[0].session_id, transport)).status == 401


@every_polling_transport
@pytest.mark.parametrize(("settings", "seconds"), [({"session_check_interval": 0.25}, 0.25), ({}, 1)])
async def test_a_session_outlives_its_expiry_by_session_check_interval_or_a_second(
    serve, clock, transport, settings, seconds
):
    served = serve(settings={"session_expiry": 30.3, **settings})
    await clock.advance(7)  # nobody is there, and no timer runs
    client = await greeted(served, transport)
    await client.send("back")
    await clock.advance(30.3)
    assert not Recorder.opened[0].is_closed
    await clock.advance(seconds)
    assert Recorder.opened[0].is_closed


async def test_sessions_that_expire_within_session_check_interval_end_together(serve, clock):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 0.5})
    for _ in range(4):
        await (await greeted(served, "xhr-polling")).send("back")
        await clock.advance(0.125)
    await clock.advance(9.9)
    assert {recorder.is_closed for recorder in Recorder.opened} == {False}
    await clock.advance(0.1)
    assert {recorder.is_closed for recorder in Recorder.opened} == {True}


@every_polling_transport
async def test_a_poll_that_waits_keeps_the_session_alive(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1, "xhr_polling_timeout": 100})
    client = await greeted(served, transport)
    poll = asyncio.ensure_future(served.poll(client.session_id, transport))
    await clock.advance(99)
    assert not poll.done()
    await clock.advance(1)
    assert (await poll).status == 200
    await clock.advance(9)
    assert not Recorder.opened[0].is_closed
    await clock.advance(2)
    assert Recorder.opened[0].is_closed


@every_polling_transport
async def test_a_poll_that_was_answered_keeps_the_session_alive_from_then_on(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1, "xhr_polling_timeout": 100})
    client = await greeted(served, transport)
    poll = asyncio.ensure_future(served.poll(client.session_id, transport))
    await clock.advance(57)
    served.router.broadcast("news")
    assert "news" in (await poll).text
    await clock.advance(9)
    assert not Recorder.opened[0].is_closed
    await clock.advance(2)
    assert Recorder.opened[0].is_closed


@every_polling_transport
async def test_a_handshake_that_nobody_comes_back_for_ends_early(serve, clock, transport):
    served = serve(settings={"session_expiry": 600, "session_check_interval": 600})
    returning, abandoned = await greeted(served, transport), await served.shake_hands(transport)
    await returning.send("back")
    await clock.advance(9.9)
    assert not Recorder.opened[1].is_closed
    await clock.advance(0.2)
    assert Recorder.opened[1].events == [("open", ""), ("close",)]
    assert (await served.poll(abandoned, transport)).status == 401
    await clock.advance(500)
    assert not Recorder.opened[0].is_closed


@every_polling_transport
async def test_what_on_open_has_sent_before_it_closed_waits_no_longer_for_a_client(serve, clock, transport):
    class Farewell(Recorder):
        def on_open(self, request, *args, **kwargs):
            super().on_open(request, *args, **kwargs)
            self.close(4000, "full")

    served = serve(Farewell, settings={"session_expiry": 600, "session_check_interval": 600})
    session_id = await served.shake_hands(transport)
    await clock.advance(9.9)
    assert [session.session_id for session in sessions_of(served.router)] == [session_id]
    await clock.advance(0.2)
    assert sessions_of(served.router) == []
    assert Recorder.opened[0].close_code == 4000


@every_polling_transport
async def test_a_poll_counts_as_coming_back(serve, clock, transport):
    served = serve(settings={"session_expiry": 600, "xhr_polling_timeout": 5})
    client = await greeted(served, transport)
    poll = asyncio.ensure_future(served.poll(client.session_id, transport))
    await clock.advance(100)
    assert (await poll).status == 200
    assert not Recorder.opened[0].is_closed


@every_polling_transport
async def test_a_post_counts_as_coming_back_while_its_body_arrives(serve, clock, transport):
    served = serve(settings={"session_expiry": 600})
    client = await greeted(served, transport)
    body = urlencode({"data": proto.encode("a large one")}).encode()
    wire = await served.connect()
    headers = FORM | {"Content-Length": str(len(body))}
    await wire.send_request("POST", f"/socket.io/{transport}/{client.session_id}/send/0", headers, body[:-1])
    await served.barrier()
    await clock.advance(15)  # a client has 10 to come back
    await wire.send(body[-1:])
    assert (await wire.read_response()).status == 200
    assert Recorder.opened[0].events[-1] == ("message", "a large one")


@every_polling_transport
async def test_an_answer_that_is_not_taken_is_cut_off_and_goes_to_the_next_poll(serve, clock, transport):
    size = 15 << 20  # more than the sockets hold
    served = serve(settings={"session_expiry": 10, "heartbeat_timeout": 30})
    client = await greeted(served, transport)
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}/{client.session_id}/1290000000000/0")
    await served.barrier()
    served.router.broadcast("x" * size)
    await clock.advance(30 + size / 4096)
    assert not Recorder.opened[0].is_closed
    await clock.advance(1)
    assert len(await wire.read_to_end()) < size
    served.router.broadcast("behind it")
    assert await client.receive() == ["x" * size]
    assert await client.receive() == ["behind it"]


@every_polling_transport
async def test_a_post_keeps_the_session_alive(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1})
    client = await greeted(served, transport)
    for _ in range(10):
        await clock.advance(9)
        await client.send("still here")
    assert not Recorder.opened[0].is_closed
    await clock.advance(11)
    assert Recorder.opened[0].is_closed


@every_polling_transport
async def test_a_post_that_is_handled_keeps_the_session_alive(serve, clock, transport):
    class Slow(Recorder):
        async def on_message(self, message: Any) -> None:
            await asyncio.sleep(100)
            self.send("done")

    served = serve(Slow, {"session_expiry": 10, "session_check_interval": 1})
    client = await greeted(served, transport)
    post = asyncio.ensure_future(served.post(client.session_id, "go", transport=transport))
    await clock.advance(99)
    assert not Recorder.opened[0].is_closed
    await clock.advance(1)
    assert (await post).text == "ok"
    assert await client.receive() == ["done"]


@every_polling_transport
async def test_a_poll_that_breaks_keeps_the_session_alive_until_then(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1})
    client = await greeted(served, transport)
    wire = await served.connect()
    await wire.send_request("GET", f"/socket.io/{transport}/{client.session_id}/1290000000000/0")
    await clock.advance(8)
    wire.reset()
    await clock.advance(9)
    assert not Recorder.opened[0].is_closed
    await clock.advance(2)
    assert Recorder.opened[0].is_closed


@every_polling_transport
async def test_what_waits_for_a_client_does_not_keep_its_session_alive(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1})
    await greeted(served, transport)
    for _ in range(10):
        served.router.broadcast("news")
        await clock.advance(1)
    await clock.advance(1)
    assert Recorder.opened[0].is_closed


@every_persistent_transport
async def test_a_session_over_a_stream_does_not_expire(serve, clock, transport):
    served = serve(settings={"session_expiry": 1, "session_check_interval": 1, "heartbeat_timeout": 1000})
    client = await greeted(served, transport)
    await clock.advance(900)
    assert not Recorder.opened[0].is_closed
    await client.leave()
    await served.barrier()


@every_polling_transport
async def test_what_a_closed_session_still_holds_is_forgotten_when_nobody_fetches_it(serve, clock, transport):
    served = serve(settings={"session_expiry": 10, "session_check_interval": 1})
    client = await greeted(served, transport)
    assert (await served.post(client.session_id, "last words", "close", transport=transport)).text == "ok"
    assert clock.timers != []
    await clock.advance(11)
    assert clock.timers == []
    assert (await served.poll(client.session_id, transport)).status == 401


@every_transport
async def test_an_ended_connection_is_forgotten_at_once(serve, transport):
    served = serve()
    staying, leaving = await greeted(served, transport), await greeted(served, transport)
    await leaving.send("close")
    await leaving.ended()
    await Recorder.opened[1].closed.wait()
    await served.barrier()
    ended = weakref.ref(Recorder.opened[1])
    Recorder.opened.clear()
    gc.collect()
    assert ended() is None
    await staying.leave()


# -- Heartbeats --------------------------------------------------------------------------------------------------------


@every_persistent_transport
async def test_a_heartbeat_comes_after_an_interval_of_silence_and_not_before(serve, clock, transport):
    client = await greeted(serve(), transport)
    arriving = asyncio.ensure_future(client.receive())
    await clock.advance(11.9)
    assert not arriving.done()
    await clock.advance(0.1)
    assert await arriving == heartbeat(1)


@every_persistent_transport
async def test_heartbeats_that_are_echoed_go_on(serve, clock, transport):
    client = await greeted(serve(), transport)
    for number in range(1, 100):
        await clock.advance(12)
        assert await client.receive() == heartbeat(number)
        await client.echo(number)
    assert Recorder.opened[0].events == [("open", "")]


@every_persistent_transport
async def test_heartbeats_come_also_when_only_the_server_talks(serve, clock, transport):
    served = serve()
    client = await greeted(served, transport)
    received = []
    for second in range(1, 61):
        await clock.advance(1)
        served.router.broadcast(second)
        received += await client.receive()
        if received[-1] in (f"~h~{number}" for number in range(6)):
            await client.echo(int(received[-1][3:]))
            received += await client.receive()
    assert [item for item in received if isinstance(item, int)] == list(range(1, 61))
    beats = [received[index - 1] for index, item in enumerate(received) if isinstance(item, str)]
    assert beats == [11, 23, 35, 47, 59]


@every_persistent_transport
async def test_heartbeats_come_also_when_only_the_client_talks(serve, clock, transport):
    class Silent(Recorder):
        def on_message(self, message: Any) -> None:
            self.events.append(("message", message))

    client = await greeted(serve(Silent), transport)
    for _ in range(11):
        await clock.advance(1)
        await client.send("talk")
    arriving = asyncio.ensure_future(client.receive())
    await clock.advance(0.9)
    assert not arriving.done()
    await clock.advance(0.1)
    assert await arriving == heartbeat(1)


@every_persistent_transport
async def test_no_heartbeats_while_both_sides_talk(serve, clock, transport):
    client = await greeted(serve(), transport)
    for number in range(100):
        await clock.advance(6)
        await client.send(number)
        assert await client.receive() == [number]


@every_persistent_transport
async def test_a_client_that_answers_nothing_is_closed_after_heartbeat_timeout(serve, clock, transport):
    served = serve()
    client = await greeted(served, transport)
    await clock.advance(12 + 29.9)
    for number in (1, 2, 3):
        assert await client.receive() == heartbeat(number)
    assert not Recorder.opened[0].is_closed
    await clock.advance(0.1)
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    assert served.router.connections == ()
    await client.ended()


@every_persistent_transport
async def test_the_settings_say_when(serve, clock, transport):
    client = await greeted(serve(settings={"heartbeat_interval": 2.5, "heartbeat_timeout": 4}), transport)
    await clock.advance(2.4)
    arriving = asyncio.ensure_future(client.receive())
    await clock.advance(0.1)
    assert await arriving == heartbeat(1)
    await clock.advance(3.9)
    assert not Recorder.opened[0].is_closed
    await clock.advance(0.1)
    assert Recorder.opened[0].is_closed


@every_persistent_transport
async def test_whatever_the_client_sends_counts_as_an_answer(serve, clock, transport):
    class Silent(Recorder):
        def on_message(self, message: Any) -> None:
            pass

    client = await greeted(serve(Silent), transport)
    for number in range(1, 30):
        await clock.advance(12)
        assert await client.receive() == heartbeat(number)
        if number % 3 == 0:
            await client.send("no echo")
    assert not Recorder.opened[0].is_closed


async def test_half_a_message_counts_as_an_answer(serve, clock):
    peer = await opened_hybi(serve())
    message = frame(0x1, b"~m~100~m~" + 100 * b"x")
    for byte in message:
        await clock.advance(10)
        await peer.wire.send(bytes([byte]))
    await clock.advance(0)
    assert Recorder.opened[0].events == [("open", ""), ("message", 100 * "x")]


@every_persistent_transport
async def test_a_handler_that_takes_long_is_not_taken_for_a_silent_client(serve, clock, transport):
    class Slow(Recorder):
        async def on_message(self, message: Any) -> None:
            await asyncio.sleep(100)
            self.send("done")

    served = serve(Slow)
    client = await greeted(served, transport)
    sending = asyncio.ensure_future(client.send("go"))
    for number in range(1, 9):
        await clock.advance(12)
        assert await client.receive() == heartbeat(number)
        echoing = asyncio.ensure_future(client.echo(number))
        await clock.advance(0)
        if isinstance(client, StreamClient):
            echoing.cancel()
    await clock.advance(4)
    await sending
    assert await client.receive() == ["done"]
    assert not Recorder.opened[0].is_closed


@every_polling_transport
async def test_there_are_no_heartbeats_on_polling_transports(serve, clock, transport):
    served = serve()
    client = await greeted(served, transport)
    for _ in range(5):
        poll = asyncio.ensure_future(served.poll(client.session_id, transport))
        await clock.advance(20)
        assert (await poll).text in ("", 'io.JSONP[0]._("");')


# -- Timers ------------------------------------------------------------------------------------------------------------


@every_transport
async def test_messages_set_no_timers(serve, clock, transport, monkeypatch):
    served = serve()
    idle = await served.connect()  # the entrance has one timer for all connections that are silent there
    await idle.send_request("OPTIONS", "/socket.io/xhr-polling")
    assert (await idle.read_response()).status == 200
    client = await greeted(served, transport)
    timers: list[Any] = []
    set_timer = clock.call_at

    def call_at(when: float, callback: Callable[..., Any], *args: Any, **context: Any) -> asyncio.TimerHandle:
        if callback.__module__.startswith("tornadio"):
            timers.append(callback)
        timer: asyncio.TimerHandle = set_timer(when, callback, *args, **context)
        return timer

    monkeypatch.setattr(clock, "call_at", call_at)
    for number in range(100):
        await client.send(number)
        if transport in PERSISTENT:
            assert await client.receive() == [number]
    assert timers == []


@every_transport
async def test_timers_stop_with_the_last_session(serve, clock, transport):
    served = serve(settings={"session_expiry": 1, "session_check_interval": 1})
    assert clock.timers == []
    for _ in range(2):  # and start again with the next
        clients = [await greeted(served, transport) for _ in range(3)]
        assert clock.timers != []
        for client in clients:
            assert clock.timers != []
            await client.leave()
        await clock.advance(2)
        assert served.router.connections == ()
        assert clock.timers == []


class Line:
    """A channel whose socket takes everything at once."""

    def __init__(self) -> None:
        self.payloads: list[str] = []

    def write(self, payload: Payload) -> None:
        self.payloads.append(payload.text)

    def close(self, code: int, reason: str) -> None:
        self.payloads.append(f"end {code}")

    def replaced(self) -> None:
        raise AssertionError("nobody took over")

    def abort(self) -> None:
        raise AssertionError("nothing was under way")


def open_on_line(
    registry: SessionRegistry, session_class: type[BaseSession] = PersistentSession
) -> tuple[BaseSession, Line]:
    session, line = registry.create(session_class, Recorder(), "websocket"), Line()
    assert session.open(None, "") is True  # type: ignore[arg-type]
    session.attach(line)
    return session, line


@pytest.mark.bulk
async def test_ten_thousand_sessions_share_two_timers(registry, clock):
    pairs = []
    for index in range(10_000):
        pairs.append(open_on_line(registry))
        if index % 100 == 0:
            await clock.advance(0.01)
    assert len(clock.timers) <= 2
    for number in (1, 2):
        await clock.advance(12)
        assert len(clock.timers) <= 2
        expected = proto.encode_heartbeat(number)
        assert all(line.payloads[-1] == expected for _, line in pairs)
        for session, _ in pairs:
            assert session.receive(iter([("~h~", str(number))])) is True
    assert len(clock.timers) <= 2
    for session, _ in pairs:
        session.close()
    assert clock.timers == []


async def test_an_echo_counts_at_the_very_time_of_its_heartbeat_where_clocks_are_coarse(registry, clock):
    session: BaseSession
    asyncio.get_running_loop().call_later(12, lambda: session.record_received(5))  # before the heartbeat is sent
    session, line = open_on_line(registry)
    await clock.advance(12)
    assert line.payloads[-1] == proto.encode_heartbeat(1)
    session.record_received(5)
    await clock.advance(30)
    assert not session.is_closed  # the second one is unanswered for 18 seconds
    await clock.advance(12)
    assert session.is_closed


@pytest.mark.skipif(tornadio.is_compiled, reason="what is compiled can't be a base class of what is not")
async def test_a_session_that_fails_does_not_stop_the_timers_of_the_others(registry, clock, caplog):
    class Failing(PersistentSession):
        def on_timer(self, now: float) -> float | None:
            raise RuntimeError("as the test asked")

    class FailingToExpire(PollingSession):
        def check_expiry(self, now: float) -> float | None:
            raise RuntimeError("as the test asked")

    _, before = open_on_line(registry)
    open_on_line(registry, Failing)
    registry.create(FailingToExpire, Recorder(), "xhr-polling")
    expiring = registry.create(PollingSession, Recorder(), "xhr-polling")
    assert expiring.open(None, "") is True
    _, behind = open_on_line(registry)
    await clock.advance(12)
    await clock.advance(12)
    for line in (before, behind):
        assert line.payloads[-2:] == [proto.encode_heartbeat(1), proto.encode_heartbeat(2)]
    await clock.advance(12)
    assert expiring.is_closed
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 2


async def test_one_that_fails_to_be_written_to_does_not_take_the_others_along(registry, clock, caplog):
    class Broken(Line):
        def write(self, payload: Payload) -> None:
            if proto.encode("news") in payload.text:
                raise RuntimeError("as the test asked")

        def abort(self) -> None:
            self.payloads.append("abort")

    connection = Recorder()
    broken = registry.create(PersistentSession, connection, "websocket")
    assert broken.open(None, "") is True
    broken.attach(Broken())
    _, line = open_on_line(registry)
    registry.broadcast("news")
    await clock.advance(0)
    assert line.payloads[-1] == proto.encode("news")
    assert broken.is_closed
    assert "RuntimeError: as the test asked" in caplog.text
    async with limit():
        await connection.closed.wait()


async def test_a_batch_that_another_poll_finds_written_wakes_who_waits_for_that(registry):
    """The write is done, its callback is outstanding, when the next poll is attached."""

    class Slow(Line):
        def __init__(self) -> None:
            super().__init__()
            self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def write(self, payload: Payload) -> Any:
            super().write(payload)
            return self.written

        def abort(self) -> None:
            self.payloads.append("abort")

    session = registry.create(PollingSession, Recorder(), "xhr-polling")
    assert session.open(None, "") is True
    session.attach(Line())  # takes the session id and, as the next one, the welcome
    session.attach(Line())
    first = Slow()
    session.send(Payload(proto.encode(100_000 * "x")))
    session.attach(first)
    waiting = asyncio.create_task(session.drain())
    await asyncio.sleep(0)
    first.written.set_result(None)
    session.attach(Slow())
    assert session.send_buffer_size == 0
    async with limit():
        await waiting


# -- Handlers that block the event loop --------------------------------------------------------------------------------


@every_transport
async def test_a_handler_that_blocks_the_loop_is_logged_with_its_session(serve, monkeypatch, caplog, transport):
    now = 1000.0
    monkeypatch.setattr("tornadio.sessions.dispatch.monotonic", lambda: now)

    class Blocking(Recorder):
        def on_message(self, message: Any) -> None:
            nonlocal now
            now += 2.3
            self.send(message)

    client = await greeted(serve(Blocking), transport)
    await client.send("hello")
    assert await client.receive() == ["hello"]
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == (
        f"session {client.session_id[:8]} ({transport}): {Blocking.__qualname__}.on_message blocked the event loop for "
        "2.3 s: await, or run it with asyncio.to_thread"
    )
