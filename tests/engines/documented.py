"""The table of docs/compatibility.rst: what runs in which engine, by the tests' parameters and markers alone.

    python -m tests.engines.documented

prints it as it has to stand there.
"""

from __future__ import annotations

import contextlib
import io
import textwrap
from typing import Final

import pytest

DIRECTORIES: Final = ("tests/browser", "tests/compatibility")
WIDTH: Final = 115


class Collected:
    """A plugin of pytest that keeps the table of all tests."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        from tests.table_fixtures import collected_table  # here, as pytest loads it as a plugin

        for line in collected_table(session.items).lines():
            self.lines += textwrap.wrap(line, WIDTH, subsequent_indent="    ") if len(line) > WIDTH else [line]


def main() -> None:
    collected, output = Collected(), io.StringIO()
    with contextlib.redirect_stdout(output):
        status = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *DIRECTORIES], plugins=[collected])
    if status:
        raise SystemExit(output.getvalue())
    print(*collected.lines, sep="\n")


if __name__ == "__main__":
    main()
