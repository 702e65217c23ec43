"""README.rst: its two commands, its programs, its headings, and that what it shows of the guide is the guide's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import docutils.nodes as nodes
import pytest
import tornado

from tests.appserver import REPOSITORY, Daemon, free_port
from tests.documents.pages import Page, parse
from tests.documents.programs import SO_FAR, assert_echoes, connected, fetch, start_with, status_of

PAGE = Page("README.rst")
START = PAGE.code("See it work", language="bash")
RUN_TESTS = PAGE.code("See it work", 1, language="bash")
HTML = PAGE.code("The smallest server", language="html")
METHODS = PAGE.code("Goodies")
SETTINGS = PAGE.code("Configuration")

# What the guide has, too, where it runs: the page, its section, the number of the block there, and the block here.
SHOWN: Final = [
    ("docs/guide/routing.rst", "Resources", 0, "python", PAGE.code("Resources")),
    ("docs/guide/routing.rst", "Resources", 0, "javascript", PAGE.code("Resources", language="javascript")),
    ("docs/guide/starting.rst", "Three ways to start", 1, "python", PAGE.code("Best Way: SocketServer")),
]

# Those of TornadIO 0.0.5, under which its readers find things.
ORIGINAL_HEADINGS: Final = {
    "TornadIO",
    "Contributors",
    "Credits",
    "Short Background",
    "Introduction",
    "Goodies",
    "Configuration",
    "Resources",
    "Extra parameters",
    "Starting Up",
    "Best Way: SocketServer",
    "Going big",
    "Examples",
    "Chatroom Example",
    "Ping Example",
    "Transports Example",
}


async def test_one_command_starts_the_chatroom(tmp_path):
    """As in a fresh checkout, but that pip finds what TornadIO depends on here, and downloads nothing."""
    checkout = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "examples", checkout / "examples")
    shutil.copytree(REPOSITORY / "tornadio", checkout / "tornadio")
    for name in ("README.rst", "LICENSE", "compiling.py", "pyproject.toml", "setup.py"):
        shutil.copy(REPOSITORY / name, checkout)
    here = Path(tornado.__file__).parents[1]
    # The first has it build with the setuptools that are here: the name says the contrary of what the value does.
    pip = "export PIP_NO_BUILD_ISOLATION=0 PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1"
    port = free_port()
    before, last = START.strip().rsplit("&& ", 1)
    shell = f"cd {checkout} && export PYTHONPATH={here} && {pip} && {before} && exec {last} --port={port}"
    chatroom = Daemon("README's command", ["bash", "-c", shell], port, tmp_path / "output.txt")
    try:
        chatroom.start()
        assert b"<title>" in (await fetch(chatroom, "/")).body
        async with connected(chatroom) as client:
            assert client.session_id
    finally:
        chatroom.kill()
        print(chatroom.output())
    assert (checkout / ".venv" / "bin" / "tornadio").exists()


@pytest.mark.pure
def test_one_command_runs_all_tests():
    """It is the one that CI runs: here it would run this test, too."""
    assert RUN_TESTS in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines(keepends=True)


@PAGE.runs("The smallest server")
async def test_the_smallest_server_is_a_chat_with_a_page(serve_program, code, tmp_path):
    (tmp_path / "page.html").write_text(HTML, encoding="utf-8")
    server = serve_program(code)
    assert b"<script" in (await fetch(server, "/")).body
    assert (await fetch(server, "/socket.io/socket.io.js")).code == 200
    async with connected(server) as ann, connected(server) as bob:
        await ann.send("hello")
        assert await ann.receive() == "hello"
        assert await bob.receive() == "hello"


@PAGE.runs("Introduction", 0, 1, 2)
async def test_the_four_steps_are_a_server(serve_program, code):
    await assert_echoes(serve_program(code + "tornadio.SocketServer(application)\n"))


async def test_the_three_methods_and_the_settings(serve_program):
    server = serve_program(SO_FAR + METHODS + SETTINGS + start_with("MyRouter"))
    async with connected(server) as client:
        assert await client.receive() == "Welcome!"
        await client.send("hi")
        assert await client.receive() == "You said:"
        assert await client.receive() == {"text": "hi"}
        assert await status_of(server, "/socket.io/xhr-polling/", Origin="http://www.example.com:8080") == 200
        assert await status_of(server, "/socket.io/xhr-polling/", Origin="http://www.example.org") == 403
        assert server.terminate() == 0
    assert "1001 the server is shutting down\n" in server.output()


@pytest.mark.pure
@pytest.mark.parametrize(("page", "section", "number", "language", "code"), SHOWN)
def test_what_the_guide_has_is_the_same_there(page, section, number, language, code):
    assert code == Page(page).blocks(language)[section, number]


@pytest.mark.pure
def test_the_headings_of_the_original_are_there():
    headings = {title.astext() for title in parse(PAGE.path).findall(nodes.title)}
    assert ORIGINAL_HEADINGS - headings == set()
