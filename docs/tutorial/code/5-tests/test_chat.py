import pytest
import tornadio
import tornado.web

from server import SECRET, application


@pytest.fixture
async def connect(tornadio_serve):
    """A function that connects somebody who has logged in."""
    server = await tornadio_serve(application)

    def connect(name):
        cookie = tornado.web.create_signed_value(SECRET, "name", name)
        return server.connect(cookies={"name": cookie.decode()})

    return connect


async def enter(person, room):
    """Enter a room; returns what was said there, and who is there."""
    await person.send({"type": "enter", "room": room})
    entered, people = await person.recv(), await person.recv()
    assert (entered["type"], people["type"]) == ("entered", "people")
    return entered["said"], people["names"]


async def test_who_is_in_a_room_hears_what_is_said_there(connect):
    async with connect("Ann") as ann, connect("Bob") as bob, connect("Eve") as eve:
        await enter(ann, "Kitchen")
        await enter(bob, "Kitchen")
        await enter(eve, "Garden")
        assert await ann.recv() == {"type": "people", "names": ["Ann", "Bob"]}
        await ann.send({"type": "say", "text": "Tea is ready"})
        said = {"type": "said", "name": "Ann", "text": "Tea is ready"}
        assert await ann.recv() == await bob.recv() == said
        # Of all that Eve has got nothing. What she hears next is that Bob comes.
        await bob.send({"type": "enter", "room": "Garden"})
        assert await eve.recv() == {"type": "people", "names": ["Bob", "Eve"]}
        assert await ann.recv() == {"type": "people", "names": ["Ann"]}


async def test_who_comes_later_sees_what_was_said(connect):
    async with connect("Ann") as ann:
        await enter(ann, "Attic")
        await ann.send({"type": "say", "text": "Is anybody there?"})
        said = await ann.recv()
        async with connect("Bob") as bob:
            assert await enter(bob, "Attic") == ([said], ["Ann", "Bob"])


async def test_who_closes_the_page_has_left(connect):
    async with connect("Ann") as ann:
        await enter(ann, "Kitchen")
        async with connect("Bob") as bob:
            await enter(bob, "Kitchen")
            assert await ann.recv() == {"type": "people", "names": ["Ann", "Bob"]}
        assert await ann.recv() == {"type": "people", "names": ["Ann"]}


@pytest.mark.parametrize("cookies", [{}, {"name": "Ann"}])
async def test_nobody_comes_in_without_a_login(tornadio_serve, cookies):
    server = await tornadio_serve(application)
    with pytest.raises(tornadio.ConnectError) as refusal:
        await server.connect(cookies=cookies)
    assert refusal.value.status == 403


@pytest.mark.parametrize(
    "message",
    [
        "a text",
        {"type": "dance"},
        {"type": "enter", "room": "Cellar"},
        {"type": "say", "text": 7},
        {"type": "say", "text": "  "},
        {"type": "say", "text": "x" * 1001},
    ],
)
async def test_nonsense_is_a_problem_for_nobody_else(connect, message):
    async with connect("Ann") as ann, connect("Eve") as eve:
        await enter(ann, "Kitchen")
        await enter(eve, "Kitchen")
        assert await ann.recv() == {"type": "people", "names": ["Ann", "Eve"]}
        await eve.send(message)
        assert (await eve.recv())["type"] == "problem"
        await eve.send({"type": "say", "text": "Sorry"})
        assert (await ann.recv())["text"] == "Sorry"


async def test_who_says_nothing_for_ten_minutes_has_left(connect, tornadio_clock):
    async with connect("Ann") as ann, connect("Bob") as bob:
        await enter(bob, "Garden")
        await enter(ann, "Garden")
        assert await bob.recv() == {"type": "people", "names": ["Ann", "Bob"]}
        await tornadio_clock.advance(599)
        await ann.send({"type": "say", "text": "Are you there?"})
        assert (await bob.recv())["text"] == "Are you there?"
        await tornadio_clock.advance(1)
        await ann.send({"type": "say", "text": "Bob?"})
        assert await bob.recv() == {"type": "left"}
