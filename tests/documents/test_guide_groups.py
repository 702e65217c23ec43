"""docs/guide/groups.rst: a room, and rooms that clients choose."""

from __future__ import annotations

from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, connected, start_with

PAGE = Page("docs/guide/groups.rst")


@PAGE.runs("Groups")
async def test_a_group_is_a_room(serve_program, code):
    server = serve_program(SO_FAR + code + start_with("TalkRouter"))
    async with connected(server) as ann, connected(server) as bob:
        assert await ann.receive() == "1 are here"
        assert await ann.receive() == await bob.receive() == "2 are here"
        await bob.send("hello")
        assert await ann.receive() == "hello"
        await bob.socket.close()
        assert await ann.receive() == "1 are left"


@PAGE.runs("Rooms that clients choose")
async def test_clients_choose_rooms(serve_program, code):
    server = serve_program(code + "import tornado.web\n" + start_with("RoomsRouter"))
    async with connected(server) as ann, connected(server) as bob:
        for wrong in ("hello", {"say": "hello"}, {"join": "../x"}, {"join": "x" * 51}, {"join": 5}):
            await ann.send(wrong)
            assert list(await ann.receive()) == ["error"]
        for number, client in enumerate((ann, bob), 1):
            await client.send({"join": "tea"})
            assert await client.receive() == {"room": "tea", "people": number}
        assert await ann.receive() == {"room": "tea", "people": 2}
        await bob.send({"say": "hello"})
        assert await ann.receive() == await bob.receive() == {"said": "hello"}
        await bob.send({"join": "coffee"})
        assert await ann.receive() == {"room": "tea", "people": 1}
        assert await bob.receive() == {"room": "coffee", "people": 1}
        await ann.send({"join": "coffee"})
        assert await ann.receive() == await bob.receive() == {"room": "coffee", "people": 2}
        await bob.socket.close()
        assert await ann.receive() == {"room": "coffee", "people": 1}
