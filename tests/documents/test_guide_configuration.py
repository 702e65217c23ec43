"""docs/guide/configuration.rst: its program, and its tables against the code."""

from __future__ import annotations

import dataclasses

import docutils.nodes as nodes

from tests.documents.pages import Page, parse, section_title, table_rows
from tests.documents.programs import SO_FAR, assert_echoes, start_with, status_of
from tests.internals import APPLICATION_SETTINGS
from tornadio.settings import PROTOCOLS, Settings

PAGE = Page("docs/guide/configuration.rst")


@PAGE.runs("A router's settings")
async def test_the_settings(serve_program, code):
    server = serve_program(SO_FAR + code + start_with("MyRouter"))
    await assert_echoes(server)
    assert await status_of(server, "/socket.io/htmlfile/") == 403
    assert await status_of(server, "/socket.io/xhr-polling/") == 200
    assert await status_of(server, "/socket.io/xhr-polling/", Origin="http://www.example.com:8080") == 200
    assert await status_of(server, "/socket.io/xhr-polling/", Origin="http://www.example.org") == 403


def test_the_table_of_settings_is_true():
    defaults = {
        "all six": Settings().enabled_protocols,
        "see below": None,
        "1 MiB": 2**20,
        "8 MiB": 2**23,
        "16 MiB": 2**24,
        "100,000": 100_000,
        "none": None,
        "empty": "",
        "marked": "marked",
        "False": False,
    }
    table = {
        name: defaults[default] if default in defaults else float(default)
        for name, _unit, default, _meaning in table_rows("A router's settings", PAGE.path)
    }
    assert table == dataclasses.asdict(Settings())


def test_the_list_of_transports_is_true():
    terms = [term.astext() for term in parse(PAGE.path).findall(nodes.term) if section_title(term) == "Transports"]
    assert tuple(terms) == PROTOCOLS


def test_the_table_of_the_applications_settings_is_true():
    names = {name for name, _default, _meaning in table_rows("The application's settings", PAGE.path)}
    assert names == APPLICATION_SETTINGS
