"""docs/compatibility.rst against the tests that run in the engines of browsers."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.browser_fixtures import TITLES
from tests.documents.pages import REPOSITORY, Page
from tests.engines import CANNOT

TABLE = Page("docs/compatibility.rst").code("Engines", language="text")
SECTION = re.compile(r"\nEngines\n-+\n(.*?)\n[^\n]+\n---", re.DOTALL)


def documented() -> str:
    found = SECTION.search((REPOSITORY / "docs/compatibility.rst").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def test_the_documents_table_is_that_of_the_tests() -> None:
    """By the tests' parameters; that they pass is what a run of them shows."""
    command = [sys.executable, "-m", "tests.engines.documented"]
    table = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip("\n")
    assert TABLE.strip("\n") == table, "put in what python -m tests.engines.documented prints"


def test_the_documents_say_what_the_drivers_of_engines_can_not_do() -> None:
    lines = " ".join(documented().split())
    for engine, cannot in CANNOT.items():
        if cannot:
            [item] = re.findall(rf"- {TITLES[engine]}, by [^:]*: (.*?)\.(?= - | What)", lines)
            assert item == "; ".join(cannot)
