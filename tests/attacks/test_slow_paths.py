"""A path costs no more than `extra_re` itself does: the transport's name is found first, the expression is held against
the piece before it alone, and there is a bound on both. What was matched is what `on_open` gets, decoded as well.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import tornadio
from tests.support import Recorder, Served
from tornadio.transports.paths import ResourcePaths

# Expressions that take linear time by themselves, and paths that made more of it of those around them.
EXPRESSIONS = [r".+/.+", r".*-.*", r".+@.+", r".*", r".+", r"[^/]+", r"(?:[^/]+/)*[^/]+", r".*?x", r"\w+(?:/\w+)*"]
LENGTH = 15_000
PATHS = {
    "one long name": "a" * LENGTH,
    "slashes": "/" * LENGTH,
    "dashes": "-" * LENGTH,
    "at signs": "@" * LENGTH,
    "short names": "a/" * (LENGTH // 2),
    "transports": "xhr-polling/" * (LENGTH // 12),
    "sockets": "websocket/" * (LENGTH // 10),
    "newer clients": "1/" * (LENGTH // 2),
    "separators": "a-@x/" * (LENGTH // 5),
    "escapes": "%2F%2f%20" * (LENGTH // 9),
    "separators and a transport": "a-@x/" * (LENGTH // 5) + "xhr-polling/",
    "transports and none": "xhr-polling/" * (LENGTH // 12) + "x" * 100,
}
MAX_PATH = 4096
SECONDS = 0.05  # as that is what a poll may wait for another one's path

every_expression = pytest.mark.parametrize("extra_re", EXPRESSIONS)
every_path = pytest.mark.parametrize("tail", PATHS.values(), ids=PATHS)


def seconds_of(work: Callable[[], Any]) -> float:
    """Of the processor; the best of three."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.pure
@every_expression
@pytest.mark.parametrize("separator", ["/", "-", ""])
def test_a_path_takes_no_time(extra_re, separator):
    rule: Any = tornadio.get_router(Recorder, resource="chat", extra_re=extra_re, extra_sep=separator).route()
    for name, tail in PATHS.items():
        for path in (f"/chat{separator}{tail}", f"/chat{separator}{tail}"[:MAX_PATH]):
            request = SimpleNamespace(path=path, query="")
            assert seconds_of(functools.partial(rule.find_fast_handler, request)) < SECONDS, name


class Counted:
    """An expression that counts what it is held against."""

    def __init__(self, extra_re: str) -> None:
        self._extra = re.compile(extra_re)
        self.pieces: list[str] = []

    def fullmatch(self, piece: str) -> re.Match[str] | None:
        self.pieces.append(piece)
        return self._extra.fullmatch(piece)


@pytest.mark.pure
@every_path
@pytest.mark.parametrize("separator", ["/", "-", ""])
def test_an_expression_is_tried_a_few_times_only(monkeypatch, tail, separator):
    paths = ResourcePaths("chat", r"\d{10}", separator)
    counted = Counted(r"\d{10}")
    monkeypatch.setattr(paths, "_extra", counted)
    paths.match(f"/chat{separator}{tail}"[:MAX_PATH], "")
    assert len(counted.pieces) <= 2 * 8  # transports, and what newer clients ask for
    counted.pieces.clear()
    paths.match(f"/chat{separator}0123456789/xhr-polling/0123456789/1290000000000", "")
    assert counted.pieces == ["0123456789"]


@every_expression
async def test_a_request_of_a_long_path_holds_nobody_up(serve, extra_re):
    served = serve(resource="chat", extra_re=extra_re, extra_sep="/")
    for tail in PATHS.values():
        start = time.process_time()
        response = await served.request("GET", f"/chat/{tail}")
        assert time.process_time() - start < 1  # of both sides, and the machine may be busy
        assert response.status == 414
        assert response.text == "the path is longer than 4096 characters"
    assert Recorder.opened == []


async def status_of(served: Served, path: str) -> int:
    wire = await served.connect()
    await wire.send_request("GET", path)
    return (await wire.read_head()).status


@pytest.mark.parametrize("extra", [{}, {"extra_re": ".*", "extra_sep": "/"}], ids=["no extra", "extra"])
@pytest.mark.usefixtures("each_http")
async def test_a_path_has_a_bound(serve, extra):
    served = serve(resource="chat", **extra)
    start = "/chat/x/xhr-polling//" if extra else "/chat/xhr-polling//"
    longest = start + "1" * (MAX_PATH - len(start))
    assert await status_of(served, longest) == 200
    assert await status_of(served, f"{longest}?{'x' * 5000}") == 200  # the query is none of the path
    assert await status_of(served, f"{longest}1") == 414
    assert len(Recorder.opened) == 2


async def test_long_paths_elsewhere_are_the_applications(serve):
    served = serve(resource="chat", extra_re=".*", extra_sep="-")
    assert await status_of(served, "/chat-" + 5000 * "x") == 404
    assert await status_of(served, "/elsewhere/" + 5000 * "x") == 404
    assert await status_of(served, "/chat/" + 5000 * "x") == 414


# -- What was matched, decoded -----------------------------------------------------------------------------------------

HOSTILE = [
    "..%2F..%2Fetc%2Fpasswd",
    "%2e%2e%2f",
    "a%2Fb",
    "%00",
    "a%00b",
    "a%0d%0aSet-Cookie:x=1",
    "%0A",
    "%09",
    "%1b[2J",
    "%7F",
    "%C2%80",
    "%C2%85",
    "%C2%9F",
]


@pytest.mark.parametrize("transport", ["xhr-polling", "htmlfile", "websocket"])
@pytest.mark.usefixtures("each_http")
async def test_an_extra_is_what_was_matched(serve, transport):
    served = serve(resource="chat", extra_re="[^/]+", extra_sep="/")
    for extra in HOSTILE:
        response = await served.request("GET", f"/chat/{extra}/{transport}/")
        assert (response.status, response.text) == (
            404,
            "what stands between resource and transport, the extra, is not what extra_re matches",
        ), extra
    assert Recorder.opened == []


@pytest.mark.parametrize("extra_re", ["[^/]+", ".+", "(?s:.*)", r"[\s\S]*"])
async def test_an_extra_has_no_controls_whatever_matches(serve, extra_re):
    served = serve(resource="chat", extra_re=extra_re, extra_sep="/")
    for control in (*range(0x20), *range(0x7F, 0xA0)):
        escaped = "".join(f"%{byte:02x}" for byte in chr(control).encode())
        assert await status_of(served, f"/chat/a{escaped}/xhr-polling/") == 404, control
    assert Recorder.opened == []


@pytest.mark.parametrize(
    ("extra_re", "extra", "opened"),
    [
        (".+", "..%2F..%2Fetc", "../../etc"),
        ("[^/]+", "%C3%A9%20%25", "é %"),
        ("[^/]+", "%252F", "%2F"),  # decoded once
        (r"[\w%]+", "a%C3%A9", "aé"),
        ("[^/]+", "%C2%A0", "\xa0"),
        ("(?:[^/]+/?)+", "a%2Fb", "a/b"),
    ],
)
async def test_what_matches_decoded_as_well_is_taken(serve, extra_re, extra, opened):
    served = serve(resource="chat", extra_re=extra_re, extra_sep="/")
    assert await status_of(served, f"/chat/{extra}/xhr-polling/") == 200
    assert Recorder.opened[-1].events == [("open", opened)]
