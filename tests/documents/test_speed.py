"""docs/speed.rst: its settings are what the text says, and so are their defaults."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import tornadio
from tests.documents.pages import Page, table_rows
from tests.internals import settings_of

PAGE = Page("docs/speed.rst")


@pytest.mark.pure
@PAGE.runs("Compression")
def test_compression_is_set(code):
    names: dict[str, Any] = {"tornadio": tornadio, "ChatConnection": tornadio.SocketConnection}
    exec(code, names)
    assert settings_of(names["ChatRouter"]).compression == tornadio.Compression(level=1, threshold=512)


@pytest.mark.pure
def test_the_table_of_compression_is_true():
    defaults = {name: str(value) for name, value in dataclasses.asdict(tornadio.Compression()).items()}
    table = {name: default for name, default, *_ in table_rows("Compression", PAGE.path)}
    assert {name: table.get(name) for name in defaults} == defaults
