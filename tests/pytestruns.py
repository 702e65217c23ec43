"""pytest in a process of its own, with TornadIO's plugin loaded as where TornadIO is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

# The plugin's name where TornadIO is installed, as it may be here, and the one by which it is loaded in these runs.
NAME = "tornadio"
NAME_HERE = "tornadio_under_test"

AUTO = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function"
STRICT = AUTO.replace("auto", "strict")


def install_plugin(site: Path) -> None:
    """Make a directory that is to be on the path: the plugin's entry point is in it, as where TornadIO is installed."""
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    [module] = re.findall(rf'"pytest11": \["{NAME} = (.+?)"\]', setup)
    installed = site / "tornadio_under_test-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tornadio-under-test\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[pytest11]\n{NAME_HERE} = {module}\n")


def run_pytest(
    tmp_path: Path, directory: Path, *arguments: str, settings: str = AUTO
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory, to which it writes nothing; warnings are errors.

    :param tmp_path: where the plugin's entry point and pytest's configuration are put.
    :param settings: lines of that configuration.
    """
    install_plugin(tmp_path / "site")
    configuration = tmp_path / "pytest.ini"
    configuration.write_text(f"[pytest]\nfilterwarnings = error\n{settings}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-c", str(configuration), "--rootdir", str(directory)]
    return subprocess.run(
        [*command, "-p", f"no:{NAME}", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{REPOSITORY}", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
