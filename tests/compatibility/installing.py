"""Programs of others that tests install, each in a directory of its own below .venvs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.appserver import REPOSITORY

VENVS: Final = REPOSITORY / ".venvs"


def install_once(directory: Path, wanted: str, install: Callable[[Path], None]) -> None:
    """Have `install` fill a new directory, unless this one holds what is wanted.

    That is done aside, and moved into place when it is whole: another run may look for it.

    :param wanted: what tells an installation from others.
    """
    stamp = directory / "stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    VENVS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=VENVS, prefix=f"{directory.name}-") as aside:
        fresh = Path(aside, directory.name)
        install(fresh)
        (fresh / "stamp").write_text(wanted, encoding="utf-8")
        shutil.rmtree(directory, ignore_errors=True)
        fresh.rename(directory)


def run(*command: str | Path, environment: Mapping[str, str] | None = None, seconds: float | None = None) -> None:
    """Run a command; if it fails the test does, with what the command has said."""
    done = subprocess.run(
        command,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))} failed:\n{done.stdout}", pytrace=False)
