"""A small `systemctl`, for readers of pages who have no systemd: starts and restarts what units say.

``python systemctl.py ROOT COMMAND UNIT...``, with units below ``ROOT/etc/systemd/system``. It knows the keys
Environment, EnvironmentFile, ExecStart and ExecStartPost of a template, and of drop-ins. `haproxy` is the one unit that
it brings along.
Process ids are in ``ROOT/run``, outputs in ``ROOT/log``.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

STOP_SECONDS = 30

Lines = list[tuple[str, str]]


class Service:
    def __init__(self, root: Path, name: str) -> None:
        self._name = name
        self._ending = 0
        for folder in ("run", "log"):
            (root / folder).mkdir(exist_ok=True)
        self._pid_file = root / "run" / f"{name}.pid"
        self._log = root / "log" / f"{name}.txt"
        if name == "haproxy":
            self._lines: Lines = [("ExecStart", f"/usr/sbin/haproxy -f {root}/etc/haproxy/haproxy.cfg")]
        else:
            template, _, self._instance = name.partition("@")
            units = root / "etc/systemd/system"
            paths = [units / f"{template}@.service", *sorted((units / f"{template}@.service.d").glob("*.conf"))]
            self._lines = [line for path in paths for line in lines_of(path, self._instance)]

    def start(self) -> None:
        environment = dict(os.environ)
        for value in self._values("EnvironmentFile"):
            environment |= dict(shlex.split(line)[0].split("=", 1) for line in Path(value).read_text().splitlines())
        environment |= dict(value.split("=", 1) for value in self._values("Environment"))
        [command] = self._values("ExecStart")
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                expand(command, environment),
                env=environment | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(str(process.pid), encoding="utf-8")
        for command in self._values("ExecStartPost"):
            subprocess.run(expand(command, environment), check=True)

    def terminate(self) -> None:
        """Tell its process to end, if there is one."""
        if self._pid_file.exists():
            self._ending = int(self._pid_file.read_text(encoding="utf-8"))
            self._pid_file.unlink()
            os.kill(self._ending, signal.SIGTERM)

    def wait(self) -> None:
        """Wait until the process has ended that was told to."""
        pid = self._ending
        deadline = time.monotonic() + STOP_SECONDS
        while pid and runs(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                sys.exit(f"{self._name} did not end in time")
            time.sleep(0.02)

    def _values(self, key: str) -> list[str]:
        """What the unit and its drop-ins say of a key; an empty value forgets what was said before."""
        values = [value for name, value in self._lines if name == key]
        return values[len(values) - values[::-1].index("") :] if "" in values else values


def lines_of(path: Path, instance: str) -> Lines:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ").replace("%i", instance)
    return re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)


def expand(command: str, environment: dict[str, str]) -> list[str]:
    return [re.sub(r"\$\{(\w+)\}", lambda match: environment[match[1]], word) for word in shlex.split(command)]


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may be waited for by nobody."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


def main(root: str, command: str, *arguments: str) -> None:
    services = [Service(Path(root), name) for name in arguments if name == "haproxy" or "@" in name]
    if command in ("reload", "restart", "stop"):
        for service in services:
            service.terminate()
        for service in services:
            service.wait()
    if command in ("reload", "restart", "enable"):
        for service in services:
            service.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
