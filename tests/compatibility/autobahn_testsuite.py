"""The Autobahn testsuite, which runs on Python 2.7 alone, installed where there is one."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.compatibility.installing import VENVS, install_once, run

REQUIREMENT: Final = "autobahntestsuite==25.10.1"
DIRECTORY: Final = VENVS / "autobahn"


@dataclasses.dataclass(frozen=True)
class Autobahn:
    """A Python 2.7, and the directory in which it finds the testsuite, its user's packages so to say.

    A Python 2.7 brings nothing along that makes virtual environments.
    """

    python: str
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONUSERBASE": str(self.directory)}

    @property
    def wstest(self) -> Path:
        return self.directory / "bin" / "wstest"


def installed() -> Autobahn:
    """The testsuite, downloaded unless it is there. Where there is no Python 2.7 the test is skipped."""
    python = find_python()
    if python is None:
        pytest.skip("Autobahn runs on Python 2.7, and there is none: pyenv install 2.7.18")
    install_once(DIRECTORY, f"{REQUIREMENT} {python}", lambda fresh: install(Autobahn(python, fresh)))
    return Autobahn(python, DIRECTORY)


@functools.cache
def find_python() -> str | None:
    """A Python 2.7 that has pip."""
    return next(filter(has_pip, candidates()), None)


def candidates() -> Iterator[str]:
    if python := shutil.which("python2.7"):
        yield python
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob("versions/2.7*/bin/python2.7")))


def has_pip(python: str) -> bool:
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def install(autobahn: Autobahn) -> None:
    options = ("--user", "--quiet", "--disable-pip-version-check")
    run(autobahn.python, "-m", "pip", "install", *options, REQUIREMENT, environment=autobahn.environment)
