"""Lines of standard input: of a pipe, a file, a terminal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import limit
from tornadio.cli.lines import InputError, read_lines


@pytest.fixture
async def pipe() -> AsyncIterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


async def lines_of(path: Path) -> list[str]:
    file = os.open(path, os.O_RDONLY)
    async with limit():
        lines = [line async for line in read_lines(file)]
    os.close(file)
    return lines


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("", []),
        ("one\ntwo\n", ["one", "two"]),
        ("one\r\n\ntwo", ["one", "", "two"]),
        ("é" * 100_000 + "\n" + "😀" * 50_000, ["é" * 100_000, "😀" * 50_000]),
    ],
    ids=["empty", "lines", "Windows", "long"],
)
async def test_a_file(tmp_path, content, lines):
    (tmp_path / "input").write_bytes(content.encode())
    assert await lines_of(tmp_path / "input") == lines


async def test_a_line_of_a_pipe_comes_when_it_is_there(pipe):
    reading, writing = pipe
    lines = read_lines(reading)
    async with limit():
        os.write(writing, b"one\ntw")
        assert await anext(lines) == "one"
        second = asyncio.ensure_future(anext(lines))
        os.write(writing, b"o\n")
        assert await second == "two"
        os.close(writing)
        assert [line async for line in lines] == []


async def test_a_line_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "input").write_bytes(b"one\n\xff\n")
    with pytest.raises(InputError, match="line 2 of the input is not UTF-8: invalid start byte at byte 0"):
        await lines_of(tmp_path / "input")
