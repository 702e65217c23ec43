"""Market-data clients from PyPI, installed in a virtual environment of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.compatibility.installing import VENVS, install_once, run

REQUIREMENTS: Final = Path(__file__).with_name("feed_requirements.txt")
DIRECTORY: Final = VENVS / "feed"
SECONDS: Final = 300


def installed() -> Path:
    """The Python that has the clients, which are downloaded unless they are there.

    They stay as long as the requirements do, and the Python that they were installed for.
    """
    install_once(DIRECTORY, f"{sys.version}\n{REQUIREMENTS.read_text(encoding='utf-8')}", install)
    return python_of(DIRECTORY)


def python_of(directory: Path) -> Path:
    return directory / "bin" / "python"


def install(directory: Path) -> None:
    # None of it knows the path where it was made but scripts that nobody calls.
    run(sys.executable, "-m", "venv", "--without-pip", directory, seconds=SECONDS)
    options = ("--quiet", "--no-deps", "--no-compile", "--disable-pip-version-check", "--no-input")
    pip = (sys.executable, "-m", "pip", "--python", python_of(directory))
    run(*pip, "install", *options, "-r", REQUIREMENTS, seconds=SECONDS)
