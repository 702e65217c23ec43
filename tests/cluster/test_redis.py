"""Routers that a real Redis connects: all of their connections hear all of them, whatever becomes of Redis."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import tornadio
from tests.appserver import REPOSITORY, AppServer, free_port
from tests.clients import Client, greeted
from tests.documents.pages import Page
from tests.internals import disconnect_redis, publish_connection_of, resource_of, settings_of
from tests.redis_fixtures import RedisServer, eventually
from tests.support import Elsewhere, Recorder, Served, brief, limit, until
from tornadio.errors import BusError, SettingsError
from tornadio.settings import PROTOCOLS

CHANNEL = "tornadio:socket.io"
RECIPES = Page("docs/recipes.rst")
PUBLISH = RECIPES.code("Sending from any language", language="bash")
WATCH = RECIPES.code("Sending from any language", 1, language="bash")
DEBUGGED = ("env", "PYTHONASYNCIODEBUG=1", sys.executable, "-W", "error::ResourceWarning")

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)


async def connected(serve: Any, redis_server: RedisServer, count: int = 2, **settings: Any) -> list[Served]:
    """So many routers that are subscribed."""
    routers = [serve(settings={"bus": redis_server.url, **settings}) for _ in range(count)]
    await redis_server.wait_for_subscribers(CHANNEL, count)
    return routers


async def received(client: Client, last: Any = "last") -> list[Any]:
    """What a client is sent before the last message."""
    messages: list[Any] = []
    while last not in messages:
        messages += [message for message in await client.receive() if not str(message).startswith("~h~")]
    assert messages.pop() == last
    return messages


async def heard(client: Client, count: int) -> list[Any]:
    """The next messages that a client is sent, at least so many."""
    messages: list[Any] = []
    while len(messages) < count:
        messages += [message for message in await client.receive() if not str(message).startswith("~h~")]
    return messages


async def exchange(sender: Served, *clients: Client) -> None:
    """Broadcast until all of the clients have got one, which shows that they are connected again."""
    marks = (f"mark {number}" for number in itertools.count())
    waiting = [asyncio.ensure_future(_hear_mark(client)) for client in clients]
    async with limit():
        while not all(task.done() for task in waiting):
            sender.router.broadcast(next(marks))
            await asyncio.wait(waiting, timeout=0.05)


async def _hear_mark(client: Client) -> None:
    while not any(str(message).startswith("mark") for message in await client.receive()):
        pass


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


# -- Everybody is reached ----------------------------------------------------------------------------------------------


@every_transport
async def test_a_broadcast_reaches_each_connection_of_all_processes_once(serve, redis_server, transport):
    routers = await connected(serve, redis_server, 3)
    clients = [await greeted(served, transport) for served in routers for _ in range(2)]
    routers[0].router.broadcast({"é中😀": "</script>"}, exclude=[Recorder.opened[0]])
    Recorder.opened[2].broadcast("from a connection")
    for number, served in enumerate(routers):
        served.router.broadcast(f"end {number}")
    for number, client in enumerate(clients):
        expected: list[Any] = [{"é中😀": "</script>"}, "from a connection", "end 0", "end 1", "end 2"]
        if number in (0, 2):
            del expected[number // 2]
        messages = await heard(client, len(expected))
        assert sorted(messages, key=str) == sorted(expected, key=str)


async def test_what_one_process_sends_arrives_in_its_order(serve, redis_server):
    routers = await connected(serve, redis_server, 3)
    client = await greeted(routers[2])
    group = routers[2].router.group("tea")
    group.add(Recorder.opened[0])
    await redis_server.wait_for_subscribers(f"{CHANNEL}:group:tea", 1)
    for number in range(1000):
        for sender in (0, 1):
            message = {"sender": sender, "number": number}
            if number % 3:
                routers[sender].router.broadcast(message)
            else:
                routers[sender].router.group("tea").send(message)
        if number % 50 == 0:
            await asyncio.sleep(0)
    messages = await heard(client, 2000)
    for sender in (0, 1):
        assert [message["number"] for message in messages if message["sender"] == sender] == list(range(1000))


async def test_what_threads_broadcast_arrives_in_the_order_of_each(serve, redis_server):
    routers = await connected(serve, redis_server, 2)
    client = await greeted(routers[1])

    def work(thread: int) -> None:
        for number in range(500):
            routers[0].router.broadcast({"thread": thread, "number": number})

    await asyncio.gather(*(asyncio.to_thread(work, thread) for thread in range(4)))
    messages = await heard(client, 2000)
    for thread in range(4):
        assert [message["number"] for message in messages if message["thread"] == thread] == list(range(500))


async def test_a_group_has_members_in_several_processes(serve, redis_server):
    routers = await connected(serve, redis_server, 3)
    ann, bob, eve = [await greeted(served) for served in routers]
    for served, connection in zip(routers[:2], Recorder.opened, strict=False):
        served.router.group("tea: ✓").add(connection)
    await redis_server.wait_for_subscribers(f"{CHANNEL}:group:tea: ✓", 2)
    for served in routers:  # the third one is no member, and sends all the same
        served.router.group("tea: ✓").send(served.port)
    routers[0].router.broadcast("last")
    for client in (ann, bob):
        assert set(await heard(client, 4)) == {served.port for served in routers} | {"last"}
    assert await received(eve) == []


async def test_a_channel_is_subscribed_to_from_the_first_member_to_the_last(serve, redis_server):
    [served] = await connected(serve, redis_server, 1)
    clients = [await greeted(served) for _ in range(2)]
    channel = f"{CHANNEL}:group:tea"
    assert await redis_server.subscribers(channel) == 0
    for connection in Recorder.opened:
        served.router.group("tea").add(connection)
    await redis_server.wait_for_subscribers(channel, 1)
    served.router.group("tea").discard(Recorder.opened[0])
    await clients[0].send("hello")
    assert await clients[0].receive() == ["hello"]
    assert await redis_server.subscribers(channel) == 1
    await clients[1].leave()
    await redis_server.wait_for_subscribers(channel, 0)
    await served.server.shutdown()
    await redis_server.wait_for_subscribers(CHANNEL, 0)


async def test_large_messages_and_many_arrive(serve, redis_server):
    first, second = await connected(serve, redis_server)
    client = await greeted(second)
    large = "é中😀" * 100_000
    for number in range(3000):
        first.router.broadcast(f"{number}")
        if number % 1000 == 0:
            first.router.broadcast(large)
    first.router.broadcast("last")
    messages = await received(client)
    assert [message for message in messages if message != large] == [str(number) for number in range(3000)]
    assert messages.count(large) == 3


async def test_a_loop_that_receives_a_flood_has_turns_for_others(redis_server):
    bus = tornadio.RedisBus(redis_server.url)
    received: list[bytes] = []
    await bus.subscribe("socket.io", received.append)
    await redis_server.wait_for_subscribers(CHANNEL, 1)
    publishing = asyncio.ensure_future(bus.publish(10_000 * [("socket.io", b"x")]))
    counts = [0]
    async with limit():
        while counts[-1] < 10_000:
            await asyncio.sleep(0)
            counts.append(len(received))
    await publishing
    assert max(later - earlier for earlier, later in itertools.pairwise(counts)) <= 100
    await bus.close()


# -- Addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["password", "user", "unix", "tls"])
async def test_redis_is_found_by_its_url(serve, start_redis, tmp_path, kind):
    authority = trustme.CA()
    if kind == "tls":
        (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        (tmp_path / "cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
        (tmp_path / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        port = free_port()
        files = ("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"))
        start_redis(
            "--tls-port", str(port), *files, "--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no"
        )
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
    else:
        server = start_redis("--requirepass", "s:e/c@ret", "--user", "ann", "on", ">p%ss", "~*", "&*", "+@all")
        url = {
            "password": f"redis://:s%3Ae%2Fc%40ret@127.0.0.1:{server.port}",
            "user": f"redis://ann:p%25ss@localhost:{server.port}/5",
            "unix": f"unix://:s%3Ae%2Fc%40ret@{server.path}?db=2",
        }[kind]
    first, second = (serve(settings={"bus": url}) for _ in range(2))
    client = await greeted(second)
    await exchange(first, client)


async def test_deployments_on_one_redis_stay_apart_by_their_prefixes(serve, redis_server):
    def bus(prefix: str) -> tornadio.RedisBus:
        return tornadio.RedisBus(redis_server.url, prefix)

    first, second, other = (serve(settings={"bus": bus(prefix)}) for prefix in ("blue", "blue", "green"))
    await redis_server.wait_for_subscribers("blue:socket.io", 2)
    await redis_server.wait_for_subscribers("green:socket.io", 1)
    ann, eve = await greeted(second), await greeted(other)
    first.router.broadcast("hello")
    assert await ann.receive() == ["hello"]
    other.router.broadcast("last")
    assert await received(eve) == []


async def test_resources_stay_apart(serve, redis_server):
    chat, group = "chat", "chat:group:tea"
    routers = [serve(settings={"bus": redis_server.url}, resource=name) for name in (chat, chat, group, group)]
    await redis_server.wait_for_subscribers("tornadio:chat", 2)
    await redis_server.wait_for_subscribers("tornadio:chat%3Agroup%3Atea", 2)
    polls = []
    for served in routers[1:3]:
        session_id, _ = await served.open(resource=resource_of(served.router))
        polls.append((served, f"/{resource_of(served.router)}/xhr-polling/{session_id}/1290000000000"))
    routers[0].router.group("tea").send("hello")
    routers[0].router.broadcast("hello")
    served, path = polls[0]
    assert (await served.request("GET", path)).text == "~m~5~m~hello"
    routers[3].router.broadcast("own")  # it comes behind what was published before
    served, path = polls[1]
    assert (await served.request("GET", path)).text == "~m~3~m~own"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@host:port",
        "redis://:sec/ret@host:6379",
        "redis://host?secret=1",
        "redis://host?db=secret",
        "http://:secret@host",
        "secret",
    ],
)
def test_a_wrong_url_is_an_error_that_tells_no_password(url):
    with pytest.raises(SettingsError, match="redis://") as caught:
        tornadio.get_router(Recorder, {"bus": url})
    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("prefix", ["", None, "é", 1])
def test_a_wrong_prefix_is_an_error(prefix):
    with pytest.raises(SettingsError, match="prefix must be ASCII text"):
        tornadio.RedisBus("redis://localhost", prefix)


@pytest.mark.parametrize("url", [None, 5, b"redis://localhost"], ids=brief)
def test_what_is_no_text_is_no_url(url):
    with pytest.raises(SettingsError, match="the URL of Redis is a text"):
        tornadio.RedisBus(url)


def test_the_password_is_not_shown():
    router = tornadio.get_router(Recorder, {"bus": "redis://:secret@127.0.0.1"})
    assert "secret" not in repr(settings_of(router))
    assert "secret" not in repr(tornadio.RedisBus("redis://:secret@127.0.0.1:7000"))
    assert "127.0.0.1:7000" in repr(tornadio.RedisBus("redis://:secret@127.0.0.1:7000"))


@pytest.mark.external
def test_without_a_bus_redis_py_is_neither_needed_nor_imported():
    program = """
import sys
sys.modules["redis"] = None
import tornadio
tornadio.get_router(tornadio.SocketConnection).route()
for need in (lambda: tornadio.get_router(tornadio.SocketConnection, {"bus": "redis://localhost"}),
             lambda: tornadio.Emitter("redis://localhost"), lambda: tornadio.AsyncEmitter("redis://localhost")):
    try:
        need()
    except tornadio.errors.SettingsError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.splitlines() == 3 * ["a bus over Redis needs redis-py: pip install redis"]


# -- Trouble -----------------------------------------------------------------------------------------------------------


async def test_while_redis_is_away_everybody_hears_their_own_process(serve, start_redis, caplog):
    redis_server = start_redis()
    first, second = await connected(serve, redis_server)
    ann, bob = await greeted(first), await greeted(second)
    redis_server.kill()
    await until(lambda: len(lines(caplog, "no connection to Redis")) == 2)
    for number in range(100):
        first.router.broadcast(number)
        assert await ann.receive() == [number]
    redis_server.start()
    await until(lambda: len(lines(caplog, "connected to Redis")) == 2)
    await redis_server.wait_for_subscribers(CHANNEL, 2)
    await exchange(first, bob)
    await exchange(second, ann)
    # One line each for what was lost, and one when it was there again.
    assert len(lines(caplog, "no connection to Redis")) == 2
    assert len(lines(caplog, "connected to Redis")) == 2
    assert re.search(rf"127\.0\.0\.1:{redis_server.port} again, after \d+\.\d s", caplog.text)


async def test_groups_are_subscribed_to_as_they_are_when_redis_comes_back(serve, start_redis, caplog):
    redis_server = start_redis()
    [served] = await connected(serve, redis_server, 1)
    for _ in range(2):
        await greeted(served)
    ann, bob = Recorder.opened
    served.router.group("before").add(ann)
    served.router.group("throughout").add(bob)
    await redis_server.wait_for_subscribers(f"{CHANNEL}:group:throughout", 1)
    redis_server.kill()
    await until(lambda: lines(caplog, "no connection to Redis"))
    served.router.group("before").discard(ann)
    served.router.group("meanwhile").add(ann)
    redis_server.start()
    for group, count in {"before": 0, "meanwhile": 1, "throughout": 1}.items():
        await redis_server.wait_for_subscribers(f"{CHANNEL}:group:{group}", count)


async def test_nothing_arrives_twice_or_in_another_order_when_redis_is_lost_in_between(serve, start_redis, caplog):
    redis_server = start_redis()
    first, second = await connected(serve, redis_server)
    client = await greeted(second)
    numbers: list[int] = []

    async def listen() -> None:
        while True:
            numbers.extend(await client.receive())

    async def talk() -> None:
        for number in itertools.count():
            first.router.broadcast(number)
            await asyncio.sleep(0.0005)

    tasks = [asyncio.create_task(talk()), asyncio.create_task(listen())]
    for returns in range(1, 4):
        so_far = len(numbers)
        await until(lambda: len(numbers) > so_far + 100)  # noqa: B023 - done before the next turn
        redis_server.kill()
        redis_server.start()
        await until(lambda: len(lines(caplog, "connected to Redis")) == 2 * returns)  # noqa: B023
    so_far = len(numbers)
    await until(lambda: len(numbers) > so_far + 100)
    for task in tasks:
        task.cancel()
    assert numbers == sorted(set(numbers))


async def test_what_redis_did_not_take_is_counted_and_never_tried_again(serve, start_redis, caplog):
    redis_server = start_redis()
    bus = tornadio.RedisBus(redis_server.url, timeout=0.5)
    first, second = serve(settings={"bus": bus}), serve(settings={"bus": redis_server.url})
    client = await greeted(second)
    await redis_server.wait_for_subscribers(CHANNEL, 2)
    redis_server.kill()
    for number in range(5):
        first.router.broadcast(f"lost {number}")
    await until(lambda: lines(caplog, "messages for other processes are dropped"))
    redis_server.start()
    await exchange(first, client)
    [over] = lines(caplog, "messages reach other processes again")
    dropped = int(re.search(r", (\d+) were dropped", over)[1])  # type: ignore[index]
    assert dropped >= 5
    assert len(lines(caplog, "messages for other processes are dropped")) == 1
    first.router.broadcast("last")
    assert not [message for message in await received(client) if "lost" in message]


async def test_what_redis_did_not_answer_is_not_sent_again(serve, redis_server, lose_answers, caplog):
    [second] = await connected(serve, redis_server, 1)
    first = serve(settings={"bus": await lose_answers(redis_server)})
    client = await greeted(second)
    for number in range(3):
        first.router.broadcast([f"once {number}", f"and once {number}"])
        assert await heard(client, 2) == [f"once {number}", f"and once {number}"]
        await until(lambda: len(lines(caplog, "no connection to Redis")) == number + 1)  # noqa: B023
    second.router.broadcast("last")
    assert await received(client) == []
    assert lines(caplog, "messages for other processes are dropped")


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_a_connection_that_redis_kills_is_made_again(serve, redis_server, caplog, kind):
    first, second = await connected(serve, redis_server)
    ann, bob = await greeted(first), await greeted(second)
    # Publishing connections are made with the first need, and then watched, too.
    await exchange(first, bob)
    await exchange(second, ann)
    caplog.clear()
    assert await redis_server.tell("CLIENT", "KILL", "TYPE", kind) >= 2
    await until(lambda: len(lines(caplog, "connected to Redis")) == 2)
    await redis_server.wait_for_subscribers(CHANNEL, 2)
    for served, client in ((first, bob), (second, ann)):
        served.router.broadcast("last")
        assert {str(message)[:4] for message in await received(client)} <= {"mark", "last"}


async def test_a_redis_that_is_slow_blocks_nobody(serve, redis_server, caplog):
    first, second = await connected(serve, redis_server)
    ann, bob = await greeted(first), await greeted(second)
    await exchange(first, bob)
    await redis_server.tell("CLIENT", "PAUSE", "60000", "WRITE")
    hearing = asyncio.ensure_future(received(bob, 299))
    try:
        for number in range(300):
            first.router.broadcast(number)
            assert number in await ann.receive() or number == 0
        assert not hearing.done()
    finally:
        await redis_server.tell("CLIENT", "UNPAUSE")
    assert [message for message in await hearing if type(message) is int] == list(range(299))
    assert not lines(caplog, "dropped")


async def test_a_redis_that_says_nothing_any_more_is_noticed(serve, start_redis, caplog):
    redis_server = start_redis()
    first, second = (serve(settings={"bus": tornadio.RedisBus(redis_server.url, timeout=0.5)}) for _ in range(2))
    await redis_server.wait_for_subscribers(CHANNEL, 2)
    ann, bob = await greeted(first), await greeted(second)
    redis_server.freeze()
    await until(lambda: len(lines(caplog, "no connection to Redis")) == 2)
    first.router.broadcast("here")
    assert await ann.receive() == ["here"]
    redis_server.thaw()
    await redis_server.wait_for_subscribers(CHANNEL, 2)
    await exchange(first, bob)
    await exchange(second, ann)


async def test_nobody_waits_for_a_redis_that_reads_nothing_any_more(start_redis, caplog):
    redis_server = start_redis()
    bus = tornadio.RedisBus(redis_server.url, timeout=0.5)
    await bus.subscribe("first", lambda data: None)
    await redis_server.wait_for_subscribers("tornadio:first", 1)
    redis_server.freeze()
    async with limit():
        for letter in "abcdefgh":  # more than the buffers of both sockets hold
            await bus.subscribe(letter * (1 << 20), lambda data: None)
    [lost] = lines(caplog, "no connection to Redis")
    assert "not a byte in 0.5 s" in lost
    redis_server.thaw()
    await redis_server.wait_for_subscribers("tornadio:" + "h" * (1 << 20), 1)
    await bus.close()


async def test_a_quiet_connection_is_not_a_lost_one(serve, redis_server, caplog):
    [served] = [serve(settings={"bus": tornadio.RedisBus(redis_server.url, timeout=2)})]
    await redis_server.wait_for_subscribers(CHANNEL, 1)
    await redis_server.tell("CONFIG", "RESETSTAT")

    async def is_pinged() -> bool:
        commands = await redis_server.tell("INFO", "commandstats")
        return bool(commands.get("cmdstat_ping", {}).get("calls", 0) >= 8)

    await eventually(is_pinged, True)  # 2.7 s, four pings of both connections
    assert not lines(caplog, "no connection to Redis")
    assert served.router.connections == ()


async def test_a_connection_that_is_lost_while_it_is_written_to_says_so(redis_server):
    bus = tornadio.RedisBus(redis_server.url)
    await bus.publish([("channel", b"connected")])
    connection = publish_connection_of(bus)
    sending = asyncio.ensure_future(connection.send([("PING",)]))
    await asyncio.sleep(0)
    await disconnect_redis(connection)
    [outcome] = await asyncio.gather(sending, return_exceptions=True)
    await bus.close()
    assert outcome is None or isinstance(outcome, ConnectionError), outcome


async def test_a_redis_that_comes_later_is_found(serve, start_redis, caplog):
    redis_server = start_redis()
    redis_server.kill()
    first, second = (serve(settings={"bus": redis_server.url}) for _ in range(2))
    ann, bob = await greeted(first), await greeted(second)
    first.router.broadcast("here")
    assert await ann.receive() == ["here"]
    await until(lambda: len(lines(caplog, "no connection to Redis")) == 2)
    redis_server.start()
    await redis_server.wait_for_subscribers(CHANNEL, 2)
    await exchange(first, bob)


async def test_a_wrong_password_is_said_and_costs_nobody_their_connection(serve, start_redis, caplog):
    redis_server = start_redis("--requirepass", "right")
    url = f"redis://:wrong@127.0.0.1:{redis_server.port}"
    first, second = (serve(settings={"bus": url}) for _ in range(2))
    ann, bob = await greeted(first), await greeted(second)
    await until(lambda: len(lines(caplog, "invalid username-password pair")) == 2)
    first.router.broadcast("here")
    assert await ann.receive() == ["here"]
    assert "wrong@" not in caplog.text
    await redis_server.tell("CONFIG", "SET", "requirepass", "wrong", password="right")
    await exchange(first, bob)


async def test_what_redis_does_not_allow_is_said(serve, start_redis, caplog):
    redis_server = start_redis("--user", "ann", "on", ">secret", "resetchannels", "&tornadio:socket.io", "+@all")
    served = serve(settings={"bus": f"redis://ann:secret@127.0.0.1:{redis_server.port}"})
    await greeted(served)
    served.router.group("tea").add(Recorder.opened[0])
    await until(lambda: lines(caplog, "Redis refuses to let a channel be heard"))
    served.router.group("tea").send("hello")
    await until(lambda: lines(caplog, "messages for other processes are dropped"))
    assert len(lines(caplog, "no permissions to access")) == 2
    served.router.broadcast("hello")
    await until(lambda: lines(caplog, "messages reach other processes again, 1 were dropped"))
    # What is allowed comes back, beside what is not.
    await redis_server.tell("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: len(lines(caplog, "Redis refuses to let a channel be heard")) == 2)
    await redis_server.wait_for_subscribers(CHANNEL, 1)


@pytest.fixture
async def hanging_up() -> AsyncIterator[tuple[int, list[float]]]:
    """The port of a server that hangs up on everybody, and the times at which somebody came."""
    loop = asyncio.get_running_loop()
    times: list[float] = []

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(loop.time())
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], times
    server.close()


async def test_attempts_to_connect_become_rarer_and_do_not_end(serve, clock, hanging_up):
    port, times = hanging_up
    serve(settings={"bus": f"redis://127.0.0.1:{port}"})
    await clock.advance(10)
    begun = len(times)
    assert begun >= 2 * 4
    await clock.advance(100)
    # Two connections, of which each is tried again after up to 5 seconds, 2.5 on average.
    assert 2 * 20 <= len(times) - begun <= 2 * 90
    assert len(set(times)) > len(times) * 0.9  # not all at the same moment


# -- A bus of one's own ------------------------------------------------------------------------------------------------


async def test_publishing_raises_when_redis_is_away(start_redis):
    redis_server = start_redis()
    redis_server.kill()
    bus = tornadio.RedisBus(redis_server.url, timeout=0.2)
    with pytest.raises(BusError, match=rf"no answer from Redis at 127.0.0.1:{redis_server.port} in 0.2 s"):
        await bus.publish([("x", b"1")])
    redis_server.start()
    async with limit():
        while True:
            try:
                await bus.publish([("x", b"2")])
            except BusError:
                continue
            break
    await bus.close()


async def test_a_bus_that_was_never_used_can_be_closed():
    await tornadio.RedisBus("redis://127.0.0.1:1").close()


@pytest.mark.needs("redis-cli")
async def test_the_recipe_sends_from_any_language(serve, redis_server):
    [served] = await connected(serve, redis_server, 1)
    client = await greeted(served)
    served.router.group("tea").add(Recorder.opened[0])
    await redis_server.wait_for_subscribers(f"{CHANNEL}:group:tea", 1)
    with_port = f"redis-cli -p {redis_server.port}"
    watching = await asyncio.create_subprocess_shell(
        "exec " + WATCH.replace("redis-cli", with_port), stdout=subprocess.PIPE
    )
    assert watching.stdout is not None
    async with limit():
        assert b"psubscribe" in await watching.stdout.readline()
    process = await asyncio.create_subprocess_shell(PUBLISH.replace("redis-cli", with_port), stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert output == b"2\n2\n"  # the router, and who watches
    assert await heard(client, 2) == ["hello", {"it": "is"}]
    async with limit():
        await watching.stdout.readuntil(b'{"v": 1, "from": "cron", "frames": "~m~15~m~~j~{\\"it\\": \\"is\\"}"}')
    watching.kill()
    await watching.communicate()


# -- Processes ---------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys

import tornado.web
from tornado.options import define, options, parse_command_line

import tornadio

define("port", type=int)
define("bus")


class Everybody(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        router.group("tea").add(self)
        self.send("welcome")

    def on_message(self, message):
        router.broadcast(message)

    def on_close(self):
        router.group("tea").send(f"left {options.port}")


options.logging = None
parse_command_line()
router = tornadio.get_router(Everybody, {"bus": options.bus, "node": "n1"})
tornadio.SocketServer(
    tornado.web.Application([router.route()], socket_io_port=options.port, socket_io_address="127.0.0.1")
)
"""


@pytest.fixture
def processes(redis_server: RedisServer, tmp_path: Path) -> Iterator[list[AppServer]]:
    """Three servers in processes of their own."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    servers = [
        AppServer(script, (f"--bus={redis_server.url}",), tmp_path / f"output {number}", DEBUGGED)
        for number in range(3)
    ]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.kill()


async def test_three_processes_of_which_one_is_killed_and_one_ends(processes, redis_server):
    served = [Elsewhere.of(process) for process in processes]
    await redis_server.wait_for_subscribers(CHANNEL, 3)
    first, second, third = [await greeted(each) for each in served]
    await redis_server.wait_for_subscribers(f"{CHANNEL}:group:tea", 3)
    await first.send("hello")
    for client in (first, second, third):
        assert client.session_id.startswith("n1")
        assert len(client.session_id) == 2 + 32
        assert await client.receive() == ["hello"]
    processes[2].kill()
    await second.send("still here?")
    for client in (first, second):
        assert await client.receive() == ["still here?"]
    # Whoever is closed says goodbye to those in the other processes.
    status = asyncio.ensure_future(asyncio.to_thread(processes[0].terminate))
    assert await second.receive() == [f"left {processes[0].port}"]
    await first.ended()
    assert await status == 0
    assert processes[0].output() == ""
    assert await redis_server.subscribers(CHANNEL) == 1
    processes[1].kill()
    for each in served:
        await each.aclose()


# -- The end -----------------------------------------------------------------------------------------------------------


class Abortable(Recorder):
    """Says goodbye to everybody else."""

    def on_close(self) -> None:
        self.broadcast("goodbye")
        super().on_close()


async def test_what_on_close_sends_at_a_shutdown_reaches_the_others(serve, redis_server):
    first, second = (serve(Abortable, {"bus": redis_server.url}) for _ in range(2))
    await redis_server.wait_for_subscribers(CHANNEL, 2)
    for _ in range(3):
        await greeted(first, "xhr-polling")
    client = await greeted(second)
    async with limit():
        await first.server.shutdown()
    assert await heard(client, 3) == 3 * ["goodbye"]
    assert await redis_server.subscribers(CHANNEL) == 1


async def test_a_shutdown_leaves_no_connection_to_redis(serve, redis_server):
    await eventually(redis_server.connections, 0)  # those of earlier tests
    [served] = await connected(serve, redis_server, 1)
    served.router.broadcast("hello")
    await eventually(redis_server.connections, 2)
    await served.server.shutdown()
    await eventually(redis_server.connections, 0)
    served.router.broadcast("too late")
    assert not [task for task in asyncio.all_tasks() if "tornadio/re" in repr(task)]


async def test_a_shutdown_ends_in_time_while_redis_is_away(serve, start_redis, caplog):
    redis_server = start_redis()
    [served] = await connected(serve, redis_server, 1)
    redis_server.kill()
    await until(lambda: lines(caplog, "no connection to Redis"))
    served.router.broadcast("to whom?")
    loop = asyncio.get_running_loop()
    started = loop.time()
    await served.server.shutdown(timeout=0.5)
    assert loop.time() - started < 9  # publishing itself would wait for 10 s
    assert lines(caplog, "at the end, 1 messages for other processes were dropped")
