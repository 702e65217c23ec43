"""What other threads send, close and broadcast: in what order, up to which limits, and after the end of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import tornado.web
from tornado.platform.asyncio import AsyncIOLoop

import tornadio
from tests.clients import Client, greeted, open_client, received
from tests.internals import observe_closing, session_of, waiting
from tests.support import PERSISTENT, SECONDS, Recorder, Served, limit, shut_down, until
from tornadio.errors import CallerError, EncodeError
from tornadio.sessions.outbox import OVERHEAD

MANY = 1000  # more than are carried out in one turn of the event loop
BOUND = 100_000  # as max_send_buffer
KIBIBYTE = "x" * 1000


def in_thread(work: Callable[[], Any]) -> None:
    """Do some work in another thread, and wait for it with the event loop blocked: nothing is carried out meanwhile."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in errors:
        raise error


def together(*works: Callable[[], Any]) -> None:
    """Do some works in threads of their own at the same time."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def send_numbers(connection: tornadio.SocketConnection, count: int) -> None:
    for number in range(count):
        connection.send(number)


def send_padded(connection: tornadio.SocketConnection, count: int, padding: str) -> None:
    for number in range(count):
        connection.send(f"{number}{padding}")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def several(served: Served, count: int) -> tuple[list[Client], list[Recorder]]:
    """Clients, and the connections that the server has of them."""
    clients = [await greeted(served) for _ in range(count)]
    return clients, Recorder.opened[-count:]


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as they can.

    Not where coverage traces them: of two threads that begin at the same time CPython 3.11 fails to start one ("Cannot
    install a trace function while another trace function is being installed").
    """
    if threading.gettrace() is not None:
        yield
        return
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


# -- Order -------------------------------------------------------------------------------------------------------------


async def test_what_a_thread_does_keeps_its_order_over_connections_groups_and_broadcasts(serve):
    served = serve()
    [first, second], [one, two] = await several(served, 2)
    group = served.router.group("blue")

    def work() -> None:
        one.send(1)
        group.add(one)
        group.add(two)
        group.send(2)
        one.broadcast(3)
        group.discard(one)
        group.send(4, exclude=[])
        served.router.broadcast(5, exclude=[two])
        two.send(6)
        two.close()
        two.send("never")
        served.router.broadcast("last")

    in_thread(work)
    assert await received(first) == [1, 2, 5]
    assert await second.receive() == [2, 3, 4, 6]
    await second.ended()


class Awaiting(Recorder):
    async def on_message(self, message: Any) -> None:
        await asyncio.to_thread(self.work)
        self.send("last")

    def work(self) -> None:
        send_numbers(self, MANY)


async def test_what_a_handler_sends_after_it_has_awaited_a_thread_comes_after_what_that_has_sent(serve):
    client = await greeted(serve(Awaiting))
    for _ in range(3):
        await client.send("go")
        assert await received(client) == list(range(MANY))


class Ending(Awaiting):
    async def on_message(self, message: Any) -> None:
        await asyncio.to_thread(self.work)
        self.close()


async def test_a_close_on_the_loop_comes_after_what_an_awaited_thread_has_sent(serve):
    client = await greeted(serve(Ending))
    await client.send("go")
    assert await received(client, MANY - 1) == list(range(MANY - 1))
    await client.ended()


async def test_other_clients_have_their_turns_while_a_thread_floods(serve):
    """The loop carries out some calls in each turn: it is never blocked for as long as a thread sends."""
    [client, flooded], [_, connection] = await several(serve(), 2)
    in_thread(lambda: send_numbers(connection, 10 * MANY))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    assert await received(flooded, 10 * MANY - 1) == list(range(10 * MANY - 1))
    counting.cancel()
    assert turns > 10 * MANY // 256
    await client.send("echo")
    assert await client.receive() == ["echo"]


async def test_what_was_handed_over_before_a_shutdown_is_delivered(serve):
    served = serve()
    client = await greeted(served)
    in_thread(lambda: send_numbers(Recorder.opened[0], MANY))
    in_thread(lambda: Recorder.opened[0].send("last"))
    shutdown = asyncio.create_task(served.server.shutdown(30))
    assert await received(client) == list(range(MANY))
    await client.ended()
    await shutdown


# -- Errors ------------------------------------------------------------------------------------------------------------


async def test_errors_are_raised_in_the_thread_and_end_nothing(serve):
    served = serve()
    client = await greeted(served)
    connection, group = Recorder.opened[0], served.router.group("blue")
    for send in (connection.send, connection.broadcast, served.router.broadcast, group.send):
        with pytest.raises(EncodeError):
            in_thread(functools.partial(send, object()))
    somebody: Any = "somebody"
    with pytest.raises(CallerError, match="not 'somebody'"):
        in_thread(lambda: group.add(somebody))
    in_thread(lambda: group.discard(somebody))
    in_thread(lambda: connection.send("last"))
    assert await received(client) == []


async def test_a_call_that_fails_is_logged_and_the_others_are_carried_out(serve, monkeypatch, caplog):
    served = serve()
    [client, _], [connection, failing] = await several(served, 2)

    def fail(session: Any) -> None:
        if session is session_of(failing):
            raise RuntimeError("as the test asked")

    observe_closing(served.router, fail)
    in_thread(failing.close)
    in_thread(lambda: connection.send("last"))
    assert await received(client) == []
    assert "a call of another thread failed" in caplog.text
    assert "as the test asked" in caplog.text


# -- Limits ------------------------------------------------------------------------------------------------------------


async def test_a_thread_that_sends_more_than_max_send_buffer_ends_the_connection_as_too_slow(serve, caplog):
    [client, other], [connection, _] = await several(serve(settings={"max_send_buffer": BOUND}), 2)
    in_thread(lambda: send_numbers(connection, 10 * MANY))
    await connection.wait_closed()
    assert await client.peer.ended() == 1008  # type: ignore[attr-defined]
    [line] = warnings(caplog)
    assert line.endswith("closed, too slow: more than max_send_buffer (100000 bytes) unsent, of 127.0.0.1")
    await other.send("echo")
    assert await other.receive() == ["echo"]


async def test_up_to_max_send_buffer_all_of_it_is_delivered(serve):
    client = await greeted(serve(settings={"max_send_buffer": BOUND}))
    rest = BOUND - 98 * len(f"~m~1000~m~{KIBIBYTE}") - len("~m~1001~m~") - len("~m~4~m~last")
    in_thread(lambda: Recorder.opened[0].send([KIBIBYTE] * 98 + ["x" * rest, "last"]))
    assert await received(client) == [KIBIBYTE] * 98 + ["x" * rest]


@pytest.mark.parametrize("call", ["send", "close", "add", "discard"])
async def test_small_calls_are_bounded_by_their_number(serve, call):
    served = serve(settings={"max_send_buffer": BOUND})
    await greeted(served)
    connection, group = Recorder.opened[0], served.router.group("blue")
    calls = {
        "send": lambda: connection.send(""),
        "close": connection.close,
        "add": lambda: group.add(connection),
        "discard": lambda: group.discard(connection),
    }
    before = waiting(served.router)
    in_thread(lambda: [calls[call]() for _ in range(10 * MANY)])
    assert before == 0
    assert waiting(served.router) == BOUND // OVERHEAD + 1000 + 1
    await connection.wait_closed()


@pytest.mark.parametrize("place", ["settings", "application"])
async def test_broadcasts_past_max_send_buffer_end_those_who_would_have_got_them(serve, caplog, place):
    served = serve(**{place: {"max_send_buffer": BOUND}})
    clients, connections = await several(served, 3)
    caplog.clear()
    in_thread(lambda: [served.router.broadcast(KIBIBYTE, exclude=connections[2:]) for _ in range(10 * MANY)])
    assert waiting(served.router) < BOUND // 1000 + 2
    for connection in connections[:2]:
        await connection.wait_closed()
    await clients[2].send("echo")
    assert await clients[2].receive() == ["echo"]
    assert len(warnings(caplog)) == 2
    newcomer = await greeted(served)
    served.router.broadcast("last")
    assert await received(newcomer) == []


async def test_messages_to_a_group_past_max_send_buffer_end_its_members_and_those_added_meanwhile(serve):
    served = serve(settings={"max_send_buffer": BOUND})
    clients, connections = await several(served, 3)
    group = served.router.group("blue")
    group.add(connections[0])

    def work() -> None:
        for _ in range(MANY):
            group.send(KIBIBYTE)
        group.add(connections[1])
        group.send("lost")

    in_thread(work)
    for connection in connections[:2]:
        await connection.wait_closed()
    await clients[2].send("echo")
    assert await clients[2].receive() == ["echo"]


async def test_more_groups_than_can_be_noted_have_everybody_end(serve):
    served = serve(settings={"max_send_buffer": BOUND})
    _, [connection] = await several(served, 1)
    names = [f"group {number}" for number in range(3 * MANY)]
    in_thread(lambda: [served.router.group(name).send(KIBIBYTE) for name in names])
    assert waiting(served.router) < 1200
    await connection.wait_closed()


# -- The event loop ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(
    router: tornadio.Router, way: str = "drained", server: tornadio.SocketServer | None = None
) -> AsyncIterator[Served]:
    """A server on a loop that is not the test's. In the end it is shut down; or only its loop ends."""
    served = Served(server or server_of(router), router)
    yield served
    if way == "drained":
        await shut_down(served.server)
    for wire in served.wires:
        await wire.aclose()
    served.server.stop()
    await served.server.close_all_connections()


def server_of(router: tornadio.Router, loop: AsyncIOLoop | None = None) -> tornadio.SocketServer:
    app = tornado.web.Application([router.route()], socket_io_port=0, socket_io_address="127.0.0.1")
    return tornadio.SocketServer(app, io_loop=loop, auto_start=False)


@contextlib.contextmanager
def in_a_thread_of_its_own() -> Iterator[tuple[tornadio.Router, list[Any]]]:
    """A router with one client, on a loop in another thread; in the end, what the client was sent before "last"."""
    Recorder.opened.clear()
    router = tornadio.get_router(Recorder)
    connected = threading.Event()
    heard: list[Any] = []

    async def main() -> None:
        async with serving(router) as served:
            client = await greeted(served)
            connected.set()
            heard.extend(await received(client))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert connected.wait(SECONDS)
    yield router, heard
    thread.join(SECONDS)


def test_a_router_lives_on_a_loop_in_a_thread_of_its_own_while_the_main_thread_sends():
    with in_a_thread_of_its_own() as (router, heard):
        for number in range(MANY):
            Recorder.opened[0].send(number)
        router.broadcast("last")
    assert heard == [*range(MANY)]


@pytest.mark.parametrize("way", ["drained", "closed"])
def test_after_the_end_of_the_loop_calls_of_all_threads_do_nothing_and_one_line_says_so(caplog, way):
    Recorder.opened.clear()
    router = tornadio.get_router(Recorder)
    group = router.group("blue")

    async def main() -> None:
        async with serving(router, way) as served:
            await greeted(served, "xhr-polling")

    def work() -> None:
        connection.send("nothing")
        connection.broadcast("nothing")
        router.broadcast("nothing")
        group.add(connection)
        group.send("nothing")
        group.discard(connection)
        connection.close()

    asyncio.run(main())
    [connection] = Recorder.opened
    caplog.clear()
    connection.send("nothing")
    waits = connection.send_buffer_size
    for _ in range(MANY):
        connection.send("nothing")
    assert connection.send_buffer_size == waits
    work()  # on the thread that was the loop's
    in_thread(work)
    [line] = warnings(caplog)
    assert "the event loop has ended, or the server was shut down" in line
    assert waiting(router) == 0


def test_on_a_loop_that_was_stopped_calls_wait_until_it_runs_again(caplog):
    Recorder.opened.clear()
    router = tornadio.get_router(Recorder)
    with asyncio.Runner() as runner:
        context = serving(router)
        served = runner.run(context.__aenter__())
        client = runner.run(greeted(served))
        caplog.clear()
        Recorder.opened[0].send("on the loop's thread")
        in_thread(lambda: send_numbers(Recorder.opened[0], 3))
        in_thread(lambda: Recorder.opened[0].send("last"))
        [line] = warnings(caplog)
        assert "the event loop does not run" in line
        assert runner.run(received(client)) == ["on the loop's thread", 0, 1, 2]
        runner.run(context.__aexit__(None, None, None))


class Quiet(Recorder):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.opened.append(self)  # without a greeting: the event loop's thread sends nothing


@pytest.mark.parametrize("connected", ["before", "after"])
def test_a_loop_may_start_in_one_thread_and_go_on_in_another(connected):
    """As in programs that start the server by run_until_complete, and then give the loop a thread of its own."""
    Recorder.opened.clear()
    router = tornadio.get_router(Quiet)
    loop = asyncio.new_event_loop()
    loop.set_debug(True)  # then asyncio raises where a thread does what only the loop's may do
    context = serving(router)
    served = loop.run_until_complete(context.__aenter__())
    if connected == "before":
        client = loop.run_until_complete(open_client(served, "websocket"))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        if connected == "after":
            client = asyncio.run_coroutine_threadsafe(open_client(served, "websocket"), loop).result(SECONDS)
        send_numbers(Recorder.opened[0], 3)
        router.broadcast("last")
        assert asyncio.run_coroutine_threadsafe(received(client), loop).result(SECONDS) == [0, 1, 2]
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


class Holding(Quiet):
    """Holds its loop while it handles a message."""

    is_held, may_go_on = threading.Event(), threading.Event()

    def on_message(self, message: Any) -> None:
        self.is_held.set()
        assert self.may_go_on.wait(SECONDS)


def test_the_thread_that_a_loop_has_left_hands_over_while_the_loop_is_at_work_elsewhere():
    Recorder.opened.clear()
    router = tornadio.get_router(Holding)
    loop = asyncio.new_event_loop()
    context = serving(router)
    served = loop.run_until_complete(context.__aenter__())
    client = loop.run_until_complete(open_client(served, "websocket"))
    [connection] = Recorder.opened
    loop.call_soon(connection.send, "of the loop, in this thread")
    assert loop.run_until_complete(client.receive()) == ["of the loop, in this thread"]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(client.send("hold"), loop).result(SECONDS)
        assert Holding.is_held.wait(SECONDS)
        connection.send("last")
        assert connection.send_buffer_size == 0  # the loop's thread takes it over, which is held
        Holding.may_go_on.set()
        assert asyncio.run_coroutine_threadsafe(received(client), loop).result(SECONDS) == []
    finally:
        Holding.may_go_on.set()
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


def test_what_is_broadcast_before_the_loop_runs_reaches_nobody_who_comes_later(caplog):
    loop = AsyncIOLoop(make_current=True)
    router = tornadio.get_router(Recorder)
    router.broadcast("before there is a loop")
    server = server_of(router, loop)
    in_thread(lambda: router.broadcast("before the loop runs"))
    router.broadcast("on its thread")

    async def main() -> None:
        async with serving(router, server=server) as served:
            client = await greeted(served)
            in_thread(lambda: router.broadcast("last"))
            assert await received(client) == []

    loop.asyncio_loop.run_until_complete(main())
    loop.close()
    assert warnings(caplog) == []


# -- What threads share ------------------------------------------------------------------------------------------------


def test_threads_that_ask_for_a_group_at_the_same_time_get_the_same_one(switching):
    router = tornadio.get_router(Recorder)
    for number in range(200):
        barrier = threading.Barrier(4)
        groups: list[tornadio.Group] = []

        def ask(barrier: threading.Barrier = barrier, name: str = str(number), groups: Any = groups) -> None:
            barrier.wait(SECONDS)
            groups.append(router.group(name))

        together(*[ask] * 4)
        assert len(set(map(id, groups))) == 1


def test_routers_on_two_loops_send_the_same_text_at_the_same_time():
    """What is kept of the last message is shared by both, and by both framings."""
    text = "x" * 100
    results: dict[str, list[Any]] = {}

    class Talker(Recorder):
        def on_message(self, message: Any) -> None:
            for _ in range(MANY):
                self.send(text)
                self.send(self.transport)
            self.send("last")

    async def main(transport: str) -> None:
        async with serving(tornadio.get_router(Talker)) as served:
            client = await greeted(served, transport)
            await client.send("go")
            results[transport] = await received(client)

    together(*(functools.partial(asyncio.run, main(transport)) for transport in PERSISTENT))
    assert results == {transport: [text, transport] * MANY for transport in PERSISTENT}


async def test_the_list_of_connections_is_read_in_threads_while_connections_come_and_go(serve, switching):
    served = serve()
    stop = threading.Event()
    errors: list[BaseException] = []

    def look() -> None:
        try:
            while not stop.is_set():
                for connection in served.router.connections:
                    connection.send("news")
                for member in group:
                    member.send("news")
        except BaseException as error:
            errors.append(error)

    group = served.router.group("blue")
    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(30):
            client = await open_client(served, "websocket")
            group.add(Recorder.opened[-1])
            await client.leave()
            await until(lambda: Recorder.opened[-1].is_closed)
    finally:
        stop.set()
        async with limit():
            await asyncio.to_thread(looking.join)
    assert errors == []


class ToClients(logging.Handler):
    """Shows the log to all clients, as a program may that has a page for it."""

    def __init__(self, router: tornadio.Router) -> None:
        super().__init__(logging.WARNING)
        self.router = router

    def emit(self, record: logging.LogRecord) -> None:
        self.router.broadcast(record.getMessage())


async def test_a_logging_handler_may_send_while_threads_send_and_log(serve, switching):
    """A logging handler has a lock. A thread that sends must not wait for it with a lock of the library's held."""
    served = serve(settings={"max_send_buffer": BOUND})
    clients, [flooded, connection] = await several(served, 2)
    handler = ToClients(served.router)
    log = logging.getLogger("an.application")

    def work(thread: int) -> None:
        for number in range(100):
            log.warning("%d %d", thread, number)
            connection.send("news")
            flooded.send(KIBIBYTE)

    logging.getLogger().addHandler(handler)
    try:
        async with limit():
            await asyncio.gather(*(asyncio.to_thread(work, thread) for thread in range(4)))
        log.warning("last")
        lines = [line for line in await received(clients[1]) if line != "news"]
    finally:
        logging.getLogger().removeHandler(handler)
    for thread in range(4):
        assert [line for line in lines if line.startswith(f"{thread} ")] == [f"{thread} {n}" for n in range(100)]


async def test_a_destructor_may_log_in_the_middle_of_a_send_while_a_logging_handler_sends(serve):
    """As asyncio's do, of tasks whose exception nobody has retrieved. Here a profiler logs, at each call of a send."""
    served = serve()
    client = await greeted(served)
    [connection] = Recorder.opened
    log = logging.getLogger("an.application")
    is_sending = threading.Event()

    class Announcing(ToClients):
        def emit(self, record: logging.LogRecord) -> None:
            is_sending.set()
            super().emit(record)

    def on_call(*args: object) -> None:
        sys.setprofile(None)
        is_sending.clear()
        threading.Thread(target=log.warning, args=("of another thread",), daemon=True).start()
        is_sending.wait()
        log.warning("of the destructor")
        sys.setprofile(on_call)

    def work() -> None:
        sys.setprofile(on_call)
        connection.send("sent")
        served.router.broadcast("broadcast")
        sys.setprofile(None)

    handler = Announcing(served.router)
    logging.getLogger().addHandler(handler)
    try:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(SECONDS)
        assert not thread.is_alive()
    finally:
        logging.getLogger().removeHandler(handler)
    connection.send("last")
    lines = await received(client)
    assert [line for line in lines if line in ("sent", "broadcast")] == ["sent", "broadcast"]
    assert "of the destructor" in lines


async def test_what_a_call_logs_lets_no_later_call_overtake_it(serve):
    """The first broadcast ends a client as too slow, the line about that is broadcast, and the second waits behind."""
    served = serve(settings={"max_send_buffer": BOUND})
    clients, [flooded, _] = await several(served, 2)
    handler = ToClients(served.router)

    def work() -> None:
        flooded.send("x" * (BOUND - 20))
        served.router.broadcast("the first")
        served.router.broadcast("the second")

    logging.getLogger().addHandler(handler)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(SECONDS)  # which blocks the loop, so that all of it waits for it
        await until(lambda: flooded.is_closed)
        served.router.broadcast("last")
        lines = await received(clients[1])
    finally:
        logging.getLogger().removeHandler(handler)
    assert "too slow" in lines[0]
    assert lines[1:] == ["the first", "the second"]


def test_a_signal_handler_may_send_in_the_middle_of_a_send():
    """As a destructor may: both run between any two steps of a thread."""

    def on_signal(*args: object) -> None:
        Recorder.opened[0].send("signal")

    with in_a_thread_of_its_own() as (_, heard):
        before = signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        try:
            for number in range(10 * MANY):
                Recorder.opened[0].send(number)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        Recorder.opened[0].send("last")
    assert "signal" in heard
    assert [message for message in heard if message != "signal"] == [*range(10 * MANY)]


@pytest.mark.skipif(
    sys.gettrace() is not None,
    reason="under coverage signal handlers run between any two lines, in CPython only at calls and jumps: the tests "
    "without coverage run this one",
)
@pytest.mark.parametrize("padding", ["", KIBIBYTE], ids=["small", "several_batches"])
async def test_a_signal_handler_that_sends_while_calls_are_carried_out_lets_no_call_overtake_another(serve, padding):
    served = serve(settings={"max_send_buffer": 1 << 30, "heartbeat_interval": 3600.0})
    client = await greeted(served)
    [connection] = Recorder.opened
    before = signal.signal(signal.SIGALRM, lambda *args: connection.send("signal"))
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        await asyncio.to_thread(send_padded, connection, 50 * MANY, padding)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    connection.send("last")
    heard = await received(client)
    assert "signal" in heard
    assert [message for message in heard if message != "signal"] == [
        f"{number}{padding}" for number in range(50 * MANY)
    ]
