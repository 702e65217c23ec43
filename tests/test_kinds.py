"""What holds for the tests themselves: a test does what its kind allows, and misses no program in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.appserver import REPOSITORY

pytestmark = pytest.mark.external

PROGRAM = """
import socket
import subprocess
import sys

import pytest


@pytest.mark.pure
def test_that_connects():
    socket.socket().connect_ex(("127.0.0.1", 9))


@pytest.mark.local
def test_that_starts_a_process():
    subprocess.run([sys.executable, "-c", ""])


@pytest.mark.local
def test_that_listens():
    socket.create_server(("127.0.0.1", 0)).close()


@pytest.mark.needs("cc")
def test_that_needs_a_compiler():
    pass


@pytest.mark.needs("namespaces")
def test_that_needs_namespaces():
    pass


@pytest.fixture
def browser():
    pass


@pytest.mark.parametrize("browser", ["firefox", "webkit"], indirect=True)
def test_in_engines(browser):
    pass


def test_in_a_browser(browser):
    pass
"""

Outcomes = Callable[..., list[str]]


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    """Runs pytest on the program, on a PATH without anything: the lines that say what came of it."""
    (tmp_path / "test_program.py").write_text(PROGRAM, encoding="utf-8")

    def outcomes(*options: str, **environment: str) -> list[str]:
        bare = [
            "-c",
            os.devnull,
            "--rootdir",
            str(tmp_path),
            "-p",
            "tests.kinds",
            "-p",
            "no:cacheprovider",
            "-q",
            "-rA",
        ]
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *bare, *options, str(tmp_path)],
            env={"PATH": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "COLUMNS": "300", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout.splitlines()

    return outcomes


def test_a_test_does_no_more_than_its_kind_allows(outcomes: Outcomes) -> None:
    lines = outcomes()
    for name, event in [("test_that_connects", "socket.connect"), ("test_that_starts_a_process", "subprocess.Popen")]:
        assert any(line.startswith("FAILED") and name in line and event in line for line in lines), lines
    assert any(line.startswith("PASSED") and "test_that_listens" in line for line in lines), lines


def test_a_test_without_its_program_is_skipped_with_the_reason(outcomes: Outcomes) -> None:
    lines = [line for line in outcomes() if line.startswith("SKIPPED")]
    assert [line for line in lines if line.endswith("cc is missing: sudo apt-get install gcc libc6-dev")]


def test_where_programs_are_required_it_fails(outcomes: Outcomes) -> None:
    lines = outcomes(REQUIRE_PROGRAMS="1")
    [skipped] = [line for line in lines if line.startswith("SKIPPED")]
    assert skipped.endswith(
        "no network namespaces can be made here: that needs Linux and root"
    )  # pip can't bring these
    assert any(line.startswith("ERROR") and "needs_a_compiler - Failed: cc is missing" in line for line in lines), lines


@pytest.mark.parametrize(
    ("options", "packages"),
    [
        ([], ["chromium", "firefox-esr", "gcc", "libc6-dev", "webkit2gtk-driver", "xvfb"]),
        (["-k", "listens"], []),
        (["-k", "in_a_browser"], ["chromium"]),
        (["-k", "in_engines and firefox"], ["firefox-esr"]),
        (["-k", "in_engines and webkit"], ["webkit2gtk-driver", "xvfb"]),
    ],
)
def test_the_packages_are_those_that_the_selected_tests_miss(
    outcomes: Outcomes, tmp_path: Path, options: list[str], packages: list[str]
) -> None:
    outcomes("--missing-packages", str(tmp_path / "packages"), *options)
    assert (tmp_path / "packages").read_text(encoding="utf-8").splitlines() == packages


def test_the_tests_of_the_codec_load_neither_a_browsers_driver_nor_redis() -> None:
    program = (
        "import sys, pytest; pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', 'tests/test_proto.py']);"
        "print(*(name for name in sys.modules if '.' not in name))"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.splitlines()[-1].split())
    assert {"pytest", "hypothesis", "tornado"} <= loaded
    assert not {"playwright", "redis", "trustme", "docutils"} & loaded
