"""docs/tutorial/code: what the pages mark in a file is what has changed since the step before."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
from sphinx.config import Config
from sphinx.directives.code import LiteralIncludeReader
from sphinx.util import parselinenos

from tests.documents.tutorial import CODE, STEPS

pytestmark = pytest.mark.pure

PAGES = sorted(CODE.parent.glob("*.rst"))


def included(page: Path) -> list[tuple[str, dict[str, str]]]:
    """The files that a page includes, with the options."""
    found = re.findall(r"^\.\. literalinclude:: (\S+)\n((?:   :.*\n)*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [(name, dict(re.findall(r":([\w-]+): (.*)", options))) for name, options in found]


def lines_of(path: Path, options: dict[str, str]) -> list[str]:
    kept = {key: value for key, value in options.items() if key not in ("language", "emphasize-lines", "dedent")}
    text, _ = LiteralIncludeReader(str(path), kept, Config()).read()
    return text.splitlines()


def changed(path: Path, shown: list[str]) -> list[int]:
    """The numbers, from 1, of those lines that are new since the file was last in a step."""
    step, name = path.relative_to(CODE).as_posix().split("/", 1)
    before = [CODE / each / name for each in STEPS if each < step and (CODE / each / name).exists()]
    old = before[-1].read_text(encoding="utf-8").splitlines()
    matches = difflib.SequenceMatcher(None, old, shown, autojunk=False).get_matching_blocks()
    same = {match.b + offset for match in matches for offset in range(match.size)}
    return [number + 1 for number, line in enumerate(shown) if number not in same and line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_marked_is_what_has_changed(page):
    for name, options in included(page):
        if "emphasize-lines" in options:
            shown = lines_of(page.parent / name, options)
            marked = [number + 1 for number in parselinenos(options["emphasize-lines"], len(shown))]
            assert marked == changed(page.parent / name, shown), (name, options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_shown_fits_the_page(page):
    shown = [line for name, options in included(page) for line in lines_of(page.parent / name, options)]
    typed = re.findall(r"^   (\$ .*|      .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [line for line in [*shown, *typed] if len(line) > 88] == []
