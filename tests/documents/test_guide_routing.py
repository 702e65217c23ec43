"""docs/guide/routing.rst: its servers. tests/browser/test_guide_pages.py has its scripts."""

from __future__ import annotations

from tests.documents.pages import Page
from tests.documents.programs import SO_FAR, assert_echoes, connected, start_with, status_of

PAGE = Page("docs/guide/routing.rst")


@PAGE.runs("Resources")
async def test_three_resources_on_one_server(serve_program, code):
    connections = "".join(f"class {name}Connection(MyConnection): pass\n" for name in ("Chat", "Ping", "Map"))
    server = serve_program(SO_FAR + connections + code + "tornadio.SocketServer(application)\n")
    for resource in ("chat", "ping", "map"):
        await assert_echoes(server, resource)
    assert await status_of(server, "/socket.io/xhr-polling/") == 404


@PAGE.runs("Extra parameters")
async def test_the_extra_parameter_is_printed(serve_program, code):
    server = serve_program(code)
    async with connected(server, "room/123"):
        assert server.output() == "Extra: 123\n"
    for path in ("/room/abc/xhr-polling/", "/room/xhr-polling/", "/room/12%0a3/xhr-polling/"):
        assert await status_of(server, path) == 404
    assert await status_of(server, "/room/socket.io.js") == 200


@PAGE.runs("A room for each address")
async def test_an_address_is_a_room(serve_program, code):
    server = serve_program(SO_FAR + code + start_with("TalkRouter"))
    async with (
        connected(server, "talk/tea") as ann,
        connected(server, "talk/coffee") as eve,
        connected(server, "talk/tea") as bob,
    ):
        await ann.send("hello")
        assert await ann.receive() == await bob.receive() == "hello"
        await eve.send("anybody here?")
        assert await eve.receive() == "anybody here?"
    assert await status_of(server, "/talk/Tea/xhr-polling/") == 404
