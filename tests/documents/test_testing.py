"""docs/testing.rst: every block runs, as the file that its text calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents.pages import Page
from tests.pytestruns import REPOSITORY, run_pytest

PAGE = Page("docs/testing.rst")
FILES = {
    ("A connection class", 0): "rooms.py",
    ("A connection class", 1): "test_rooms.py",
    ("A connection class", 2): "test_leaving.py",
    ("Time", 0): "test_time.py",
    ("A client", 0): "prices.py",
    ("A client", 1): "test_prices.py",
    ("Without an event loop", 0): "test_threads.py",
    ("unittest", 0): "unittest_rooms.py",
}
SETTINGS = PAGE.code("Testing with TornadIO", language="ini")
PYTHON = {place: PAGE.code(*place) for place in FILES}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with the blocks as files."""
    directory = tmp_path / "files"
    directory.mkdir()
    for block, name in FILES.items():
        (directory / name).write_text(PYTHON[block], encoding="utf-8")
    return directory


def test_the_tests_on_the_page_pass(tmp_path, files):
    output = run_pytest(tmp_path, files, settings=SETTINGS.partition("[pytest]\n")[2]).stdout
    number = sum(text.count("def test_") for block, text in PYTHON.items() if FILES[block].startswith("test_"))
    assert f"{number + 2} passed" in output, output  # one of them runs three times


def test_the_unittest_on_the_page_passes(files):
    command = [sys.executable, "-W", "error", "unittest_rooms.py"]
    result = subprocess.run(
        command, cwd=files, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False
    )
    assert "Ran 2 tests" in result.stderr, result.stderr
    assert result.returncode == 0, result.stderr
