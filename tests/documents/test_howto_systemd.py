"""docs/howto/systemd.rst: the units, as systemd reads them, and the program, which a socket of systemd's activates."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appserver import REPOSITORY, free_port, quiet_environment
from tests.deployment.fleet import Proxied, open_at
from tests.documents.pages import Page
from tests.redis_fixtures import RedisServer
from tests.support import limit, until

PAGE = Page("docs/howto/systemd.rst")
PROGRAM = PAGE.code("The program")
SOCKET, SERVICE = (PAGE.file(f"docs/howto/chat@.{kind}") for kind in ("socket", "service"))
INSTALL = PAGE.code("The units", language="bash")
RESTART = PAGE.code("Stop and restart", language="bash")
DIRECTORY = "/opt/chat"  # where the unit expects program and environment


def values_of(unit: Path, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.read_text("utf-8").splitlines() if line.startswith(f"{key}=")]


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units_and_little_that_they_may_do(tmp_path: Path) -> None:
    (tmp_path / "chat@.socket").write_text(SOCKET.read_text("utf-8"), "utf-8")
    service = tmp_path / "chat@.service"
    service.write_text(SERVICE.read_text("utf-8").replace(f"{DIRECTORY}/.venv/bin/python", sys.executable), "utf-8")
    units = [str(tmp_path / f"chat@a.{kind}") for kind in ("socket", "service")]
    for unit in units:
        Path(unit).symlink_to(Path(unit).name.replace("@a", "@"))
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert [line for line in (verified.stdout + verified.stderr).splitlines() if "chat" in line] == []
    assert verified.returncode == 0, verified.stderr
    secure = ["systemd-analyze", "security", "--offline=true", "--threshold=15", units[1]]  # 1.5 of 10
    assert subprocess.run(secure, capture_output=True, check=False).returncode == 0


def test_the_commands_are_about_these_units() -> None:
    for script in (INSTALL, RESTART):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "chat@{a,b,c}.socket chat@{a,b,c}.service" in INSTALL
    assert '"chat@$node.service"' in RESTART
    [file] = values_of(SERVICE, "EnvironmentFile")
    assert f" {file} " in INSTALL
    assert values_of(SERVICE, "ExecStart") == [f"{DIRECTORY}/.venv/bin/python {DIRECTORY}/server.py %i"]


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chat-") as name:  # pytest's is too long for a Unix socket's name
        yield Path(name)


@pytest.mark.needs("systemd-socket-activate")
async def test_it_serves_on_the_socket_and_tells_systemd_so(redis_server: RedisServer, directory: Path) -> None:
    script = directory / "server.py"
    script.write_text(PROGRAM.replace("10_000", "100"), encoding="utf-8")
    port = free_port()
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as told:
        told.bind(str(directory / "notify"))
        told.setblocking(False)
        command = [
            *("systemd-socket-activate", f"--listen=127.0.0.1:{port}"),
            *("--setenv=PYTHONPATH", f"--setenv=NOTIFY_SOCKET={directory}/notify", f"--setenv=BUS={redis_server.url}"),
            *(sys.executable, "-W", "error", str(script), "a"),
        ]
        process = await asyncio.create_subprocess_exec(*command, env=quiet_environment(), stderr=subprocess.DEVNULL)
        loop = asyncio.get_running_loop()
        try:
            async with contextlib.aclosing(Proxied.at(port)) as served:
                await until(lambda: accepts(port))
                client = await open_at(served, "websocket")  # which has waited for the process
                assert client.session_id.startswith("a")
                async with limit():
                    assert await loop.sock_recv(told, 100) == b"READY=1"
                    assert await loop.sock_recv(told, 100) == b"WATCHDOG=1"
                await client.send("hello")
                assert await client.receive() == ["hello"]
                process.send_signal(signal.SIGTERM)
                await client.ended()
            async with limit():
                assert await process.wait() == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def accepts(port: int) -> bool:
    with contextlib.closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_without_systemd_the_program_says_how_to_start_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, "a"]
    environment = quiet_environment() | {"BUS": "redis://127.0.0.1:9/0", "NOTIFY_SOCKET": str(tmp_path / "none")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert (result.returncode, result.stderr) == (1, "start this by its unit of systemd\n")
    assert shutil.which("bash")
