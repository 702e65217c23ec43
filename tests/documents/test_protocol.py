"""docs/protocol.rst: its examples, compared with recordings and played with a server; its grammar and its programs.

Its vectors are tested in test_vectors.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import tornadio
from tests.appserver import AppServer, free_port
from tests.documents.conversations import Comparison, Player, Turn, to_bytes, to_pattern, turns
from tests.documents.grammar import Grammar
from tests.documents.pages import REPOSITORY, Page
from tests.documents.vectors import VECTORS
from tests.support import SECONDS, MovedLoop, Serve, Served

PAGE = Page("docs/protocol.rst")
pytestmark = pytest.mark.local
RECORDINGS: Final = REPOSITORY / "tests" / "recordings" / "recordings.jsonl"

OFFICIAL, ALONE, ORIGINAL, OURS = "official server", "official server alone", "TornadIO 0.0.5", "TornadIO"
FOLDERS: Final = {OFFICIAL: "socketio-node-0.6.18", ALONE: "socketio-node-0.6.18", ORIGINAL: "tornadio-0.0.5"}

_HEAD: Final = re.compile(r"# (?P<name>\S+): (?P<server>[^,]+?)(?:, after (?P<after>\S+))?")


class Example(NamedTuple):
    server: str
    after: str | None  # the example whose connections it goes on with
    block: str


def read_examples() -> dict[str, Example]:
    examples: dict[str, Example] = {}
    for section, number in PAGE.blocks("text"):
        if (section, number) != DIAGRAM:
            head, _, block = PAGE.code(section, number, language="text").partition("\n")
            found = _HEAD.fullmatch(head)
            assert found, f"{section}: an example begins with its name and server, not {head!r}"
            assert found["name"] not in examples, head
            examples[found["name"]] = Example(found["server"], found["after"], block)
    return examples


DIAGRAM: Final = ("Overview", 0)
DRAWN: Final = PAGE.code(*DIAGRAM, language="text")
EXAMPLES: Final = read_examples()
RECORDED: Final = {name: each for name, each in EXAMPLES.items() if each.server in FOLDERS}
FRAMING: Final = Grammar(PAGE.code("Framing", language="abnf"))
URLS: Final = Grammar(PAGE.code("URLs", language="abnf"))
SCRIPTS: Final = Grammar(PAGE.code("jsonp-polling", language="abnf"))
DRAFT76: Final = Grammar(PAGE.code("Drafts 75 and 76", language="abnf"))


def chain(name: str) -> list[Example]:
    """An example, behind those that it goes on with."""
    example = EXAMPLES[name]
    return [*(chain(example.after) if example.after else ()), example]


def recordings() -> dict[str, dict[str, Any]]:
    lines = RECORDINGS.read_text(encoding="utf-8").splitlines()
    return {recording["name"]: recording for recording in map(json.loads, lines)}


def each_of(names: set[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", sorted(names))


# -- Examples --------------------------------------------------------------------------------------------------------


@pytest.mark.pure
def test_each_example_has_a_server_and_each_recording_an_example() -> None:
    assert {example.server for example in EXAMPLES.values()} == {*FOLDERS, OURS}
    assert recordings().keys() == RECORDED.keys()


@pytest.mark.pure
@each_of(set(RECORDED))
def test_an_example_is_as_it_was_recorded(name: str) -> None:
    recording, example = recordings()[name], EXAMPLES[name]
    assert recording["server"] == FOLDERS[example.server]
    shown = turns(example.block)
    recorded = [
        Turn(seconds=data) if kind == "W" else Turn({"E": "S"}.get(kind, kind), connection, data, kind == "E")
        for connection, kind, data in recording["events"]
    ]
    assert [turn.seconds for turn in shown if turn.seconds] == [turn.seconds for turn in recorded if turn.seconds]
    for way in sorted({(turn.connection, turn.speaker) for turn in recorded if turn.speaker}):
        ours, theirs = ([t for t in those if (t.connection, t.speaker) == way] for those in (shown, recorded))
        data = "".join(turn.text for turn in theirs).encode("utf-8", "surrogateescape")
        pattern = to_pattern("".join(turn.text for turn in ours), {})
        assert pattern.fullmatch(data), f"{way}: {data!r}"
        assert any(turn.closes for turn in ours) == any(turn.closes for turn in theirs), way
    assert {turn.connection for turn in shown} == {turn.connection for turn in recorded}


class Application(tornadio.SocketConnection):
    """What runs on the page's servers."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.send("welcome")

    def on_message(self, message: Any) -> None:
        if message == "burst":
            self.send(["a", {"b": 1}, "é中😀", 3, True])
        elif message == "close":
            self.close()
        else:
            self.send(message)


class Feed(Application):
    def greeting(self) -> Any:
        return {"session": "a", "protocol": "json"}

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        pass


AS_RECORDED: Final = {
    "heartbeat_interval": 1.5,
    "heartbeat_timeout": 8,
    "xhr_polling_timeout": 2,
    "session_expiry": 3,
    "origins": ["*:*"],
}


@contextlib.asynccontextmanager
async def player(served: Served, clock: MovedLoop) -> AsyncIterator[Player]:
    playing = Player(served, clock)
    yield playing
    await playing.aclose()


@each_of({name for name, example in EXAMPLES.items() if example.server == OURS})
async def test_an_example_is_what_our_server_says(clock: MovedLoop, serve: Serve, name: str) -> None:
    served = serve(Feed, {"json": "plain"}) if name.startswith("feed") else serve(Application)
    async with player(served, clock) as playing:
        for example in chain(name):
            await playing.play(example.block)


@each_of({name for name, example in EXAMPLES.items() if example.server in (OFFICIAL, ALONE)})
async def test_our_server_means_the_same_where_the_page_says_so(clock: MovedLoop, serve: Serve, name: str) -> None:
    async with player(serve(Application, AS_RECORDED), clock) as playing:
        comparison = Comparison(playing, clock)
        for example in chain(name):
            await comparison.play(example.block)
        theirs, ours = comparison.meanings()
    assert (ours == theirs) == (EXAMPLES[name].server == OFFICIAL), (theirs, ours)


@pytest.mark.pure
def test_the_diagram_is_a_session_of_the_examples() -> None:
    """Each arrow, in order, is a request, or the body of a response, in the examples of TornadIO's xhr-polling."""
    arrows = re.findall(r"\|(--|<-) (.*?) -+>?\|", DRAWN)
    drawn = [("C" if way == "--" else "S", text.strip()) for way, text in arrows]
    shown = []
    for turn in (turn for example in chain("polling-tornadio") for turn in turns(example.block) if turn.text):
        head, _, body = to_bytes(turn.text, dict.fromkeys(("host", "date"), b"") | {"id": b"ID"}).partition(b"\r\n\r\n")
        request = head.partition(b" HTTP/1.1")[0].decode()
        shown.append(("C", re.sub("[0-9]{13}", "TS", request)) if turn.speaker == "C" else ("S", body.decode()))
    assert drawn == shown


# -- Grammar ---------------------------------------------------------------------------------------------------------


@pytest.mark.pure
def test_the_grammar_of_framing() -> None:
    for vector in VECTORS["payloads"]:
        assert FRAMING.matches("payload", vector["payload"]), vector
        if len(vector["messages"]) == 1:
            text = vector["payload"].split("~m~", 2)[2]
            kinds = {kind for kind in ("json", "heartbeat") if FRAMING.matches(f"{kind}-text", text)}
            assert kinds == vector["messages"][0].keys() - {"text"}, vector
    framing = ("no frame at all", "LENGTH is no number", "LENGTH is negative", "LENGTH in other digits", "no LENGTH")
    bad = {vector["name"]: vector["payload"] for vector in VECTORS["bad_payloads"]}
    assert not any(FRAMING.matches("payload", bad[name]) for name in framing)


@pytest.mark.pure
def test_the_grammar_of_urls() -> None:
    paths = {vector["path"].partition("?")[0]: vector["means"] for vector in VECTORS["paths"]}
    for example in EXAMPLES.values():
        for turn in turns(example.block):
            if found := re.match(r"(?:GET|POST|OPTIONS) (\S+) HTTP", turn.text):
                path = found[1].replace("{id}", "0123456789abcdef").partition("?")[0]
                paths[path] = "not found" if path == "/socket.io/1/" else "shown"
    assert len(paths) > 25
    for path, means in paths.items():
        if path.startswith("/socket.io/"):
            assert URLS.matches("path", path) == (means not in ("not found", "bad request")), path


@pytest.mark.pure
def test_the_grammar_of_scripts_and_of_draft_76() -> None:
    for vector in VECTORS["scripts"]:
        assert SCRIPTS.matches("script", vector["script"]) == (vector["transport"] == "jsonp-polling")
    for text in ('a"b', "\n", "\u2028"):
        assert not SCRIPTS.matches("script", f'io.JSONP[0]._("{text}");')
    for vector in VECTORS["websocket_messages"]:
        data = bytes.fromhex(vector["hex"]).decode("latin-1")
        assert vector["version"] != 76 or DRAFT76.matches("stream", data)
    for stream, taken in {"\x80\x03abc\x00a\xff\xff\x00": True, "\xff\x00": True, "\x00a": False, "a": False}.items():
        assert DRAFT76.matches("stream", stream) == taken, stream


# -- Programs --------------------------------------------------------------------------------------------------------

CLIENT: Final = PAGE.code("A minimal client")
SERVER: Final = PAGE.code("A minimal server")
SENT: Final = ("hello", "é中😀\n~m~3~m~abc", " 100% & + ")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The directory with the page's programs."""
    (tmp_path / "client.py").write_text(CLIENT, encoding="utf-8")
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    return tmp_path


@contextlib.asynccontextmanager
async def running(*command: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of the page's, until the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "utf8", *map(str, command), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            yield process
    finally:
        process.kill()
        await process.wait()
        await asyncio.sleep(0)  # its pipe closes


async def lines_of(process: asyncio.subprocess.Process, number: int) -> list[str]:
    assert process.stdout
    return [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(number)]


@pytest.mark.external
async def test_the_minimal_client_talks_to_our_server(serve: Serve, programs: Path) -> None:
    served = serve(Application)
    async with running(programs / "client.py", f"http://127.0.0.1:{served.port}/socket.io", *SENT) as client:
        assert await lines_of(client, 1 + len(SENT)) == list(map(repr, ("welcome", *SENT)))
        served.router.broadcast({"two": [2, None, "é😀"]})
        assert await lines_of(client, 1) == [repr({"two": [2, None, "é😀"]})]


@pytest.mark.external
async def test_the_minimal_client_talks_to_the_official_server(node: str, node_modules: Path, programs: Path) -> None:
    compatibility = REPOSITORY / "tests" / "compatibility"
    official = AppServer(
        compatibility / "official_server.js",
        (str(node_modules),),
        programs / "official.txt",
        program=(node, "--require", str(compatibility / "node_preload.js")),
    )
    official.start()
    try:
        async with running(programs / "client.py", f"{official.url}/socket.io", *SENT) as client:
            assert await lines_of(client, len(SENT)) == list(map(repr, SENT))
    finally:
        official.kill()


@pytest.mark.external
async def test_the_minimal_server_serves_our_client_and_the_minimal_one(programs: Path) -> None:
    port = free_port()
    async with running(programs / "server.py", port):
        url = f"http://127.0.0.1:{port}/socket.io"
        await listening(port)
        async with tornadio.connect(url, transports=["xhr-polling"]) as connection:
            for message in (*SENT, {"two": 2}):
                await connection.send(message)
                assert await connection.recv() == message
        async with running(programs / "client.py", url, *SENT) as client:
            assert await lines_of(client, len(SENT)) == list(map(repr, SENT))


async def listening(port: int) -> None:
    """Wait until somebody listens there."""
    while True:
        with contextlib.suppress(ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
