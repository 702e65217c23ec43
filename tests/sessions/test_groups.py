"""Groups: named sets of connections, in one process. Those over several are in test_relay.py and test_redis.py."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import tornadio
from tests.clients import Client, greeted, open_client, received
from tests.support import POLLING, Recorder, Served, until
from tornadio.conn import SocketConnection
from tornadio.errors import CallerError, EncodeError
from tornadio.sessions.groups import Group
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)


async def several(served: Served, count: int = 3) -> tuple[list[Client], list[Recorder]]:
    """Clients, and the connections that the server has of them."""
    clients = [await greeted(served) for _ in range(count)]
    return clients, Recorder.opened[-count:]


@every_transport
async def test_a_message_to_a_group_reaches_its_members_and_nobody_else(serve, transport):
    served = serve()
    clients = [await greeted(served, transport) for _ in range(3)]
    group = served.router.group("blue")
    for connection in Recorder.opened[:2]:
        group.add(connection)
    group.send("é中😀")
    group.send({"to": "the group"})
    served.router.broadcast("last")
    assert [await received(client) for client in clients] == [["é中😀", {"to": "the group"}]] * 2 + [[]]


async def test_some_of_the_members_can_be_left_out(serve):
    served = serve()
    clients, connections = await several(served)
    group = served.router.group("blue")
    for connection in connections:
        group.add(connection)
    group.send("not to the second", exclude=(connections[1],))
    group.send("to the second alone", exclude=[connections[0], connections[2]])
    served.router.broadcast("last")
    assert [await received(client) for client in clients] == [
        ["not to the second"],
        ["to the second alone"],
        ["not to the second"],
    ]


async def test_a_group_is_a_set_of_connections_oldest_first(serve):
    served = serve()
    _, (first, second, third) = await several(served)
    group = served.router.group("blue")
    assert (len(group), list(group), bool(group)) == (0, [], False)
    for connection in (second, first, second):
        group.add(connection)
    assert (len(group), list(group), bool(group)) == (2, [second, first], True)
    assert (first in group, third in group, "first" in group) == (True, False, False)
    group.discard(second)
    group.discard(second)
    group.discard(third)
    assert list(group) == [first]


def test_what_applications_see_of_groups_and_connections_takes_no_internal_objects():
    def public(each: type[object]) -> set[str]:
        return {name for name in dir(each) if not name.startswith("_")}

    assert public(Group) == {"add", "discard", "send"}  # besides name
    assert public(SocketConnection) == {
        "broadcast",
        "close",
        "close_code",
        "close_reason",
        "drain",
        "greeting",
        "is_closed",
        "on_close",
        "on_message",
        "on_open",
        "send",
        "send_buffer_size",
        "session_id",
        "transport",
    }


async def test_the_members_may_change_while_they_are_gone_through(serve):
    served = serve()
    _, connections = await several(served)
    group = served.router.group("blue")
    for connection in connections:
        group.add(connection)
    for connection in group:
        group.discard(connection)
    assert len(group) == 0


async def test_a_connection_may_be_in_several_groups(serve):
    served = serve()
    [client], [connection] = await several(served, 1)
    for name in ("blue", "green"):
        served.router.group(name).add(connection)
    served.router.group("blue").send("blue")
    served.router.group("green").send("green")
    served.router.group("blue").discard(connection)
    served.router.group("blue").send("blue")
    served.router.group("green").send("last")
    assert await received(client) == ["blue", "green"]


async def test_a_group_of_the_same_name_is_the_same_one_in_its_router_alone(serve):
    served, other = serve(), serve()
    group = served.router.group("blue")
    assert served.router.group("blue") is group
    assert served.router.group("Blue") is not group
    assert other.router.group("blue") is not group


async def test_a_group_with_members_is_kept_and_one_without_forgotten(serve):
    served = serve()
    _, [connection] = await several(served, 1)
    served.router.group("blue").add(connection)
    group = weakref.ref(served.router.group("blue"))
    gc.collect()
    assert connection in served.router.group("blue")
    served.router.group("blue").discard(connection)
    gc.collect()
    assert group() is None


@every_transport
async def test_a_connection_that_ends_leaves_its_groups_before_its_on_close(serve, transport):
    class Leaver(Recorder):
        def on_close(self) -> None:
            seen.append([self in group for group in groups])
            groups[0].send("somebody left")
            super().on_close()

    seen: list[list[bool]] = []
    served = serve(Leaver)
    groups = [served.router.group(name) for name in ("blue", "green")]
    leaving, staying = [await greeted(served, transport) for _ in range(2)]
    left, stayed = Recorder.opened
    for group in groups:
        group.add(left)
    groups[0].add(stayed)
    await leaving.send("close")
    await left.wait_closed()
    assert seen == [[False, False]]
    assert [list(group) for group in groups] == [[stayed], []]
    assert await staying.receive() == ["somebody left"]


async def test_a_connection_that_breaks_leaves_its_groups(serve):
    served = serve()
    [client], [connection] = await several(served, 1)
    served.router.group("blue").add(connection)
    await client.leave(reset=True)
    await until(lambda: connection not in served.router.group("blue"))
    await connection.wait_closed()


async def test_a_polling_session_that_expires_leaves_its_groups(serve, clock):
    served = serve(settings={"session_expiry": 30})
    client = await open_client(served, POLLING[0])
    assert await client.receive() == ["welcome"]
    group = served.router.group("blue")
    group.add(Recorder.opened[0])
    await clock.advance(5)
    assert len(group) == 1
    await clock.advance(60)
    assert len(group) == 0


async def test_a_closed_connection_can_not_be_added(serve):
    served = serve()
    _, [connection] = await several(served, 1)
    connection.close()
    served.router.group("blue").add(connection)
    assert len(served.router.group("blue")) == 0
    await connection.wait_closed()
    served.router.group("blue").add(connection)
    assert len(served.router.group("blue")) == 0


async def test_a_connection_that_is_closed_has_left_while_its_last_words_wait_for_a_poll(serve):
    served = serve()
    client = await greeted(served, "xhr-polling")
    group = served.router.group("blue")
    [connection] = Recorder.opened
    group.add(connection)
    connection.send("last")
    connection.close()
    assert list(group) == []
    assert await received(client) == []


async def test_a_connection_can_be_added_in_its_on_open(serve):
    class Joiner(Recorder):
        def on_open(self, request: Any, **kwargs: Any) -> Any:
            super().on_open(request, **kwargs)
            served.router.group("blue").add(self)
            served.router.group("blue").send("somebody came")
            return served.router.group("blue") is None

    served = serve(Joiner)
    assert (await served.request("GET", "/socket.io/xhr-polling/")).status == 403
    assert len(served.router.group("blue")) == 0


async def test_what_a_group_is_sent_in_on_open_arrives_in_order(serve):
    class Joiner(Recorder):
        def on_open(self, request: Any, **kwargs: Any) -> None:
            super().on_open(request, **kwargs)
            served.router.group("blue").add(self)
            served.router.group("blue").send("last")

    served = serve(Joiner)
    assert await received(await open_client(served, "websocket")) == ["welcome"]


async def test_what_is_no_connection_of_the_router_is_an_error(serve):
    served, other = serve(), serve()
    _, [connection] = await several(other, 1)
    group = served.router.group("blue")
    with pytest.raises(CallerError, match="of its own router"):
        group.add(connection)
    with pytest.raises(CallerError, match="from its on_open on"):
        group.add(Recorder())
    with pytest.raises(CallerError, match="not 'Ann'"):
        group.add("Ann")
    assert len(group) == 0
    for stranger in (connection, Recorder(), "Ann"):
        assert stranger not in group
        group.discard(stranger)


@pytest.mark.parametrize("name", ["x", "x" * 200, "é中😀", "a:b", "a group", "\n", "%", "*"])
async def test_a_name_is_any_short_text(serve, name):
    served = serve()
    [client], [connection] = await several(served, 1)
    served.router.group(name).add(connection)
    assert served.router.group(name).name == name
    assert repr(name) in repr(served.router.group(name))
    served.router.group(name).send("last")
    assert await received(client) == []


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("", "not empty"),
        (None, "not None"),
        (1, "not 1"),
        (b"blue", "not b'blue'"),
        ("x" * 201, "at most 200 characters, this one has 201"),
        ("\ud800", "surrogate"),
    ],
    ids=ascii,
)
def test_what_is_no_name_is_an_error(name, mistake):
    with pytest.raises(CallerError, match=mistake):
        tornadio.get_router(Recorder).group(name)


async def test_what_can_not_be_sent_is_an_error_and_nobody_gets_it(serve):
    served = serve()
    clients, connections = await several(served)
    group = served.router.group("blue")
    for connection in connections:
        group.add(connection)
    with pytest.raises(EncodeError):
        group.send(float("nan"))
    group.send(None)
    group.send([])
    group.send("last")
    assert [await received(client) for client in clients] == [[], [], []]


async def test_a_member_that_is_too_slow_is_closed_and_the_others_get_the_message(serve):
    served = serve(settings={"max_send_buffer": 1000})
    clients, connections = await several(served)
    group = served.router.group("blue")
    for connection in connections:
        group.add(connection)
    connections[1].send("x" * 900)
    group.send("y" * 200)
    group.send("last")
    assert list(group) == [connections[0], connections[2]]
    assert [await received(client) for client in (clients[0], clients[2])] == [["y" * 200]] * 2
