"""Fixtures: Node, and the packages from npm that tests use.

`node`
    The path of Node.
`node_modules`
    The directory with the npm packages of tests/compatibility/package.json.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest

from tests.programs import path_of

HERE: Final = Path(__file__).resolve().parent / "compatibility"
VENVS: Final = HERE.parents[1] / ".venvs"
NPM_SECONDS: Final = 300


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node."""
    path = path_of("node")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def node_modules(node: str) -> Path:
    """The directory with the npm packages of package.json. They stay as long as package-lock.json does."""
    target = VENVS / "npm"
    stamp = target / "stamp"
    wanted = (HERE / "package-lock.json").read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        npm = path_of("npm")
        assert npm is not None
        VENVS.mkdir(exist_ok=True)
        # Aside, and into place when it is whole: another run may look for it.
        with tempfile.TemporaryDirectory(dir=VENVS, prefix="npm-") as aside:
            fresh = Path(aside, "npm")
            install(npm, fresh)
            (fresh / "stamp").write_text(wanted, encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    return target / "node_modules"


def install(npm: str, directory: Path) -> None:
    directory.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, directory)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier"]
    environment = os.environ | {"NO_COLOR": "1"}
    npm_run = subprocess.run(
        command, cwd=directory, env=environment, text=True, capture_output=True, timeout=NPM_SECONDS, check=False
    )
    if npm_run.returncode != 0:
        pytest.fail(f"{' '.join(command)} failed:\n{npm_run.stdout}{npm_run.stderr}", pytrace=False)
