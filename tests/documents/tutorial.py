"""Somebody who follows the tutorial: types what its pages say, in a directory beside a checkout.

Commands run as they stand there, but for ports, /etc and /opt, and for what would download or install: `.venv`
has this interpreter, and `pip` only looks whether there is what it is told to install.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.appserver import REPOSITORY, START_SECONDS, STOP_SECONDS, accepts_connections, free_port
from tests.pytestruns import NAME, install_plugin

CODE: Final = REPOSITORY / "docs" / "tutorial" / "code"
STEPS: Final = sorted(path.name for path in CODE.glob("[0-9]-*"))
# What the pages copy from.
CHECKOUT: Final = ("docs/tutorial/code", "examples/cluster")
# The ports of the pages, and of the files that they copy.
PORTS: Final = ("80", "443", "6379", "8001", "8002", "8003", "8080", "8443", "8843")

PROGRAMS: Final = {
    "bin/python3": '[ "$1 $2" = "-m venv" ] || exec "$PYTHON" "$@"\nmkdir "$3"\ncp -r "$READER/venv-bin" "$3/bin"',
    "bin/sudo": 'exec "$@"',
    "bin/apt": '[ "$1" = install ] && for each in "${@:2}"; do command -v "$each" || exit 1; done',
    "bin/systemctl": f'exec "$PYTHON" {Path(__file__).with_name("systemctl.py")} "$HOME_OF_ROOT" "$@"',
    "venv-bin/python": 'exec "$PYTHON" "$@"',
    "venv-bin/pytest": f'exec "$PYTHON" -m pytest -p no:{NAME} -p no:cacheprovider "$@"',
    "venv-bin/pip": """
        [ "$1" = install ] || exit 1
        for each in "${@:2}"; do
            case $each in
                */*) [ -f "${each%[*}/setup.py" ] ;;
                *) "$PYTHON" -c 'import sys, importlib.metadata as m; m.version(sys.argv[1])' "$each" ;;
            esac || exit 1
        done""",
}


class Reader:
    """Types commands in a terminal of their own each, which have the same environment.

    :param home: a directory that is empty yet; `tornadio` in it, the checkout, has what the pages use of it.
    :param page: the number of the page to be read next. The files of those before are there.
    """

    def __init__(self, home: Path, page: int) -> None:
        self.ports = {number: free_port() for number in PORTS}
        self.project = home / "chat"
        self.home = home
        self._terminals: list[Terminal] = []
        self._files = home / "reader"
        install_plugin(self._files / "site")
        # With these variables of build servers pytest shortens no line of its summary.
        inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}
        self.environment = inherited | {
            "PATH": f"{self._files / 'bin'}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin",
            "PYTHONPATH": f"{self._files / 'site'}{os.pathsep}{REPOSITORY}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHON": sys.executable,
            "READER": str(self._files),
            "HOME_OF_ROOT": str(home),
            "COLUMNS": "80",
            "PWD": str(home),
        }
        for name, text in PROGRAMS.items():
            self.add_program(name, f"#!/usr/bin/env bash\n{text}\n")
        for folder in CHECKOUT:
            shutil.copytree(REPOSITORY / folder, home / "tornadio" / folder)
        (home / "tornadio" / "setup.py").touch()
        for path in (home / "tornadio").rglob("*.*"):
            if path.is_file():
                path.write_text(self.here(path.read_text(encoding="utf-8")), encoding="utf-8")
        if page > 1:
            self.project.mkdir()
            self.environment["PWD"] = str(self.project)
            self.type("$ python3 -m venv .venv")
            for step in STEPS[: page - 1]:
                shutil.copytree(home / "tornadio" / "docs/tutorial/code" / step, self.project, dirs_exist_ok=True)

    def add_program(self, name: str, text: str) -> None:
        path = self._files / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    @property
    def port(self) -> int:
        """The port of the page's server."""
        return self.ports["8001"]

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def here(self, text: str) -> str:
        """A text of the pages or of their files, with ports and directories that are there."""
        text = re.sub(r"(?<![\w.])/(etc|opt)/", rf"{self.home}/\1/", text)
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: str(self.ports[match[0]]), text)

    def type(self, block: str, status: int = 0) -> str:
        """Type the commands of a block. What the block shows of their output is compared with it.

        :param status: with what the last one is expected to end.
        :returns: the output.
        """
        commands, shown = read(block)
        state = self._files / "state"
        script = f"set -e\ntrap 'env -0 > \"{state}\"' EXIT\n{self.here(commands)}\n"
        command = ["bash", "-c", script]
        result = subprocess.run(
            command,
            cwd=self.environment["PWD"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(f"{block}\n{result.stdout}")
        assert result.returncode == status, result.stdout
        assert [line for line in shown if line not in result.stdout] == []
        self.environment = dict(each.split("=", 1) for each in state.read_text("utf-8").split("\0") if each)
        return result.stdout

    def serve(self, block: str, *ports: str) -> Terminal:
        """Type a block whose last command serves, and wait until it does.

        :param ports: on which, as the page says; by default on the server's.
        """
        commands, _ = read(block)
        output = self._files / f"terminal{len(self._terminals)}.txt"
        terminal = Terminal(f"{self.here(commands)}\nwait", self.environment, output)
        self._terminals.append(terminal)
        terminal.wait_for([self.ports[port] for port in ports or ("8001",)])
        return terminal

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.close()
            print(terminal.output())


class Terminal:
    """Commands that run until somebody stops them."""

    def __init__(self, script: str, environment: dict[str, str], output: Path) -> None:
        self._output = output
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=environment["PWD"],
                env=environment | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, ports: list[int]) -> None:
        """Wait until all of these ports are served."""
        wait_for_ports(ports, lambda: self._process.poll() is not None, self.output)

    def press_ctrl_c(self) -> None:
        """Interrupt what runs, and wait until it has ended."""
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(STOP_SECONDS)

    def close(self) -> None:
        """End what still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def output(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")


def wait_for_ports(ports: list[int], has_failed: Callable[[], bool], output: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not all(map(accepts_connections, ports)):
        if has_failed() or time.monotonic() > deadline:
            pytest.fail(f"not all of {ports} are served:\n{output()}", pytrace=False)
        time.sleep(0.05)


def read(block: str) -> tuple[str, list[str]]:
    """The commands of a console's block, and the lines of output that it shows."""
    commands, shown = [], []
    is_continued = False
    for line in block.splitlines():
        if line.startswith("$ ") or is_continued:
            commands.append(line.removeprefix("$ "))
            is_continued = line.endswith("\\")
        elif line:
            shown.append(line)
    return "\n".join(commands), shown
