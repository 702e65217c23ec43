"""docs/migrating.rst: every "after" runs and does what the text says, and every "before" is what it says it is."""

from __future__ import annotations

import ast
import asyncio
import base64
import dataclasses
import multiprocessing.pool
import pkgutil
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import docutils.nodes as nodes
import pytest
import tornado.gen
import tornado.ioloop
import tornado.web
from tornado.httpclient import AsyncHTTPClient
from tornado.web import create_signed_value

from tests.appserver import REPOSITORY, AppServer
from tests.clients import Client, connect, open_client
from tests.documents.pages import Page, on_given_port, parse
from tests.support import Elsewhere, limit
from tornadio import proto
from tornadio.settings import PROTOCOLS, Settings

PAGE = Page("docs/migrating.rst")
BEFORE = PAGE.blocks("python2")

Start = Callable[..., Elsewhere]


def start_of(connection: str) -> str:
    """What the other parts of a program are, for a block that has a connection class alone."""
    return f"""
import tornado.web
router = tornadio.get_router({connection})
application = tornado.web.Application([router.route()], socket_io_port=8001)
tornadio.SocketServer(application)
"""


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """`start(program)` in a process of its own, whose working directory is `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    running: list[tuple[AppServer, Elsewhere]] = []

    def start(program: str) -> Elsewhere:
        script = tmp_path / "server.py"
        script.write_text(on_given_port(program), encoding="utf-8")
        server = AppServer(script, (), tmp_path / "output.txt")
        running.append((server, Elsewhere.of(server)))
        server.start()
        return running[-1][1]

    yield start
    for server, served in running:
        await served.aclose()
        server.kill()
        print(server.output())


async def answers(client: Client, message: object, number: int = 1) -> list[object]:
    """What is sent back for a message."""
    await client.send(message)
    got: list[object] = []
    async with limit():
        while len(got) < number:
            got += await client.receive()
    return got


# -- After -------------------------------------------------------------------------------------------------------------


@PAGE.runs("Python 2 to Python 3", 0)
async def test_texts_and_prints(start, code, tmp_path):
    client = await open_client(start(code + start_of("Chat")), "websocket")
    assert await answers(client, "Ann") == ["Ann is here"]
    await client.send(1)
    assert await answers(client, "Zoë") == ["Zoë is here"]
    assert (tmp_path / "output.txt").read_text() == "not a text: 1\n"


@PAGE.runs("Python 2 to Python 3", 1)
async def test_bytes(start, code, tmp_path):
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\x00")
    client = await open_client(start(code + start_of("Camera")), "websocket")
    assert await answers(client, "please") == [base64.b64encode(b"\xff\xd8\x00").decode()]


@PAGE.runs("Tornado 2 to Tornado 6", 0)
async def test_a_coroutine_that_fetches(start, code):
    served = start(code + start_of("Fetcher"))
    client = await open_client(served, "websocket")
    for path, status in [("socket.io.js", 200), ("nonsense", 404)]:
        url = f"http://127.0.0.1:{served.port}/socket.io/{path}"
        assert await answers(client, url) == [{"status": status}]


@PAGE.runs("Tornado 2 to Tornado 6", 1)
async def test_the_loop_and_its_timeouts(start, code):
    client = await open_client(start(code + start_of("Reminder")), "websocket")
    assert await answers(client, "tea") == ["later: tea"]


@PAGE.runs("Your connection class", 0)
async def test_a_constructor(start, code):
    client = await open_client(start(code + start_of("Player")), "websocket")
    assert await answers(client, {"points": 2}) == [{"score": 2}]
    assert await answers(client, {"points": 3}) == [{"score": 5}]


@PAGE.runs("Your connection class", 1)
async def test_a_signed_cookie(start, code):
    served = start(code + start_of("Members"))
    [secret] = re.findall('COOKIE_SECRET = "(.*)"', code)
    for version in (1, 2):  # that of Tornado 2, and today's
        cookie = f"user={create_signed_value(secret, 'user', 'Ann', version=version).decode()}"
        peer = await connect(served, headers={"Cookie": cookie})
        [_, *greeting] = [await peer.receive(), await peer.receive()]
        assert [text for _, text in proto.decode(greeting[0])] == ["Hello Ann"]
    for headers in ({}, {"Cookie": "user=Ann"}):
        assert (await served.request("GET", "/socket.io/xhr-polling//1", headers)).status == 403


@PAGE.runs("Settings", 0)
async def test_settings_of_the_router(start, code):
    served = start(code)
    client = await open_client(served, "xhr-polling")
    assert await answers(client, "hello") == ["hello"]
    assert (await served.request("GET", "/socket.io/htmlfile//1")).status == 403


@PAGE.runs("Threads", 0)
async def test_a_thread_that_sends(start, code):
    client = await open_client(start(code + start_of("Sensor")), "websocket")
    async with limit():
        assert await client.receive() == [{"temperature": 21.5}]


@PAGE.runs("Stricter defaults", 0)
async def test_as_open_as_it_was(start, code):
    served = start(code)
    for origin in ("http://evil.example", "null"):
        headers = {"Origin": origin, "Host": "anything.example"}
        for transport in ("xhr-polling", "jsonp-polling"):
            response = await served.request("GET", f"/socket.io/{transport}//1/0", headers)
            assert response.status == 200
            assert response.headers["access-control-allow-origin"] == origin
    message = "x" * (2 << 20)
    assert await answers(await open_client(served, "xhr-polling"), message) == [message]


@PAGE.runs("Behind a proxy", 0)
async def test_a_proxy_by_its_address(start, code):
    application = start_of("Address").replace("tornadio.SocketServer(application)", "")
    connection = """
import tornadio
class Address(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        self.send(request.remote_ip)
"""
    served = start(connection + application + code)
    response = await served.request("GET", "/socket.io/xhr-polling//1", {"X-Real-Ip": "192.0.2.1"})
    [(_, session_id)] = proto.decode(response.text)
    assert (await served.poll(session_id)).text == "~m~9~m~192.0.2.1"


# -- Before ------------------------------------------------------------------------------------------------------------

# What Python 3 or Tornado 6 makes of each; None where it works as it is, and the text says so.
FAILURES: dict[tuple[str, int], object] = {
    ("Python 2 to Python 3", 0): SyntaxError,
    ("Python 2 to Python 3", 1): "no encoding",
    ("Tornado 2 to Tornado 6", 0): "fetch takes no callback",
    ("Tornado 2 to Tornado 6", 1): "gen.engine",
    ("Your connection class", 0): None,
    ("Your connection class", 1): "bytes",
    ("Settings", 0): None,
    ("Threads", 0): "another loop",
    ("Behind a proxy", 0): None,
}
for section, number in FAILURES:
    PAGE.code(section, number, language="python2")


@pytest.mark.pure
def test_every_block_before_has_its_reason():
    assert set(FAILURES) == set(BEFORE)


@pytest.mark.pure
@pytest.mark.parametrize("block", BEFORE, ids=str)
def test_a_block_before_is_python_2_only_where_that_is_its_subject(block):
    if FAILURES[block] is SyntaxError:
        with pytest.raises(SyntaxError):
            ast.parse(BEFORE[block])
    else:
        ast.parse(BEFORE[block])


@pytest.mark.pure
def test_what_fails_in_the_blocks_before():
    with pytest.raises((AttributeError, LookupError)):
        "picture".encode("base64")
    assert not hasattr(tornado.gen, "engine")
    assert not hasattr(tornado.gen, "Task")
    assert not hasattr(tornado.web, "asynchronous")
    assert not hasattr(tornado.ioloop.IOLoop, "set_blocking_log_threshold")
    assert "callback" not in AsyncHTTPClient.fetch.__annotations__


def test_what_a_converter_leaves():
    """The table of the section on Python 3: what is silent there, and what -bb makes of it."""
    program = "print('%s is here' % b'Ann', 3 / 2)"
    silent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert silent.stdout == "b'Ann' is here 1.5\n"
    assert silent.stderr == ""
    strict = subprocess.run([sys.executable, "-bb", "-c", program], capture_output=True, text=True)
    assert strict.returncode == 1
    assert "BytesWarning: str() on a bytes instance" in strict.stderr
    for leftover in ("sorted([2, 1], lambda a, b: a - b)", "'Ann'.encode('utf-8') in 'Ann is here'"):
        with pytest.raises(TypeError):
            eval(leftover)


async def test_a_server_under_bb_serves(tmp_path):
    server = AppServer(
        REPOSITORY / "tests" / "old_programs" / "any_arguments.py",
        (),
        tmp_path / "output.txt",
        (sys.executable, "-bb"),
    )
    served = Elsewhere.of(server)
    try:
        server.start()
        for transport in PROTOCOLS:
            client = await open_client(served, transport)
            await client.send("hello")
            async with limit():
                assert await client.receive()
        await served.aclose()
        assert server.terminate() == 0
    finally:
        server.kill()
    assert "BytesWarning" not in server.output()


@pytest.mark.pure
def test_a_pool_keeps_an_error_to_itself(capfd):
    errors: list[BaseException] = []
    with multiprocessing.pool.ThreadPool(1) as pool:
        pool.apply_async(int, ("no number",), callback=print).wait()
        pool.apply_async(int, ("no number",), callback=print, error_callback=errors.append).wait()
        pool.close()
        pool.join()
    assert capfd.readouterr() == ("", "")
    assert [type(error) for error in errors] == [ValueError]


async def test_in_a_thread_the_instance_is_another_loop():
    loop = tornado.ioloop.IOLoop.current()

    def look() -> bool:
        other = tornado.ioloop.IOLoop.instance()
        try:
            return other is loop
        finally:
            other.close(all_fds=True)

    assert not await asyncio.to_thread(look)


@pytest.mark.pure
def test_each_pair_says_which_is_which():
    """A block of 2011 follows a paragraph that ends in "Before:", or goes on from it; the block of today is "After"."""
    for block in parse(PAGE.path).findall(nodes.literal_block):
        said = block.parent[block.parent.index(block) - 1].astext()
        if "python2" in block["classes"]:
            assert said.endswith(("Before:", "Before, with a callback:", "or with a generator:")), said
        elif "python" in block["classes"]:
            assert said.startswith(("After", "The loop is asyncio's", "A server as open")), said


# -- The rest of the page ----------------------------------------------------------------------------------------------


@pytest.mark.pure
def test_the_page_names_no_setting_that_is_not_there():
    text = PAGE.path.read_text(encoding="utf-8")
    named = set(re.findall(r"``(max_\w+|\w+_interval|\w+_expiry|open_timeout|heartbeat_timeout)``", text))
    assert named - {field.name for field in dataclasses.fields(Settings)} == set()
    assert "enabled_protocols" in text


@pytest.mark.pure
def test_the_links_within_the_page_have_their_sections():
    document = parse(PAGE.path)  # docutils finds a reference without its target
    sections = {section["names"][0] for section in document.findall(nodes.section) if section["names"]}
    linked = {node["refid"] for node in document.findall(nodes.reference) if "refid" in node}
    assert len(linked) >= 6
    ids = {each for section in document.findall(nodes.section) for each in section["ids"]}
    assert linked <= ids
    assert "check-list" in sections


SCRIPTS = [PAGE.code("The client script", number, language="html") for number in range(2)]


@pytest.mark.pure
def test_the_clients_script_is_loaded_from_the_server():
    before, after = SCRIPTS
    assert "/socket.io/socket.io.js" in after
    assert before.split("</script>", 1)[1] == after.split("</script>", 1)[1]


async def test_texts_of_refusals_that_the_page_quotes(serve):
    text = " ".join(PAGE.path.read_text(encoding="utf-8").split())
    served = serve(settings={"max_sessions": 1, "hosts": ["x.example"]})
    path = "/socket.io/xhr-polling//1"
    quoted = [
        await served.request("GET", path, {"Origin": "http://evil.example"}),
        await served.request("GET", path, {"Host": "evil.example"}),
    ]
    await served.open()
    quoted.append(await served.request("GET", path))
    for response, quote in zip(
        quoted, ["see the setting 'origins'", "add it to the setting 'hosts'", "too many sessions"], strict=True
    ):
        assert quote in response.text
        assert f"{response.status}, ``{quote}``" in text


@pytest.mark.pure
def test_names_of_0_0_5_are_there():
    version = pkgutil.resolve_name("tornadio:__version__")
    assert version >= (1, 0)
    assert pkgutil.resolve_name("tornadio:version") == ".".join(map(str, version))
    assert list(pkgutil.resolve_name("tornadio.router:PROTOCOLS")) == list(PROTOCOLS)
    assert pkgutil.resolve_name("tornadio.router:DEFAULT_SETTINGS")["heartbeat_interval"] == 12
