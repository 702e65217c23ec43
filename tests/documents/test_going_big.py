"""docs/going-big.rst and the systemd units: what they say to do works as it stands there."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tornadio
from examples.cluster import cluster
from tests.appserver import REPOSITORY, STOP_SECONDS, AppServer
from tests.deployment.fleet import NODES, Proxied, open_at
from tests.documents.pages import Page, local_files
from tests.redis_fixtures import RedisServer, StartRedis
from tests.support import limit

PAGE = Page("docs/going-big.rst")
SETTINGS = PAGE.code("Three lines of settings")
INSTALL = PAGE.code("systemd", language="bash")
RESTART = PAGE.code("Rolling restarts", language="bash")
ACCOUNT = PAGE.code("Adding a process", language="text")
UNITS = ("chatroom@.service", "chatroom.target")
# Where the units expect a checkout and its Python.
CHECKOUT = "/opt/tornadio"
PYTHON = f"{CHECKOUT}/.venv/bin/python"


def unit(name: str) -> str:
    """A unit as it would be with the checkout here."""
    text = (cluster.HERE / name).read_text(encoding="utf-8")
    return text.replace(PYTHON, sys.executable).replace(CHECKOUT, str(REPOSITORY))


def values_of(key: str) -> list[str]:
    """What the service's unit says of a key, on however many lines."""
    lines = unit("chatroom@.service").replace("\\\n", " ").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def command(key: str, port: int) -> list[str]:
    [line] = values_of(key)
    return shlex.split(line.replace("%i", "a").replace("${PORT}", str(port)))


def test_the_files_that_the_page_links_to_exist():
    files = {(PAGE.path.parent / name).resolve() for name in local_files(PAGE.path)}
    assert files >= {cluster.HERE / name for name in ("haproxy.cfg", "nginx.conf", *UNITS)}
    assert {path for path in files if not path.is_file()} == set()


def test_the_settings_make_a_router(redis_server: RedisServer) -> None:
    names = {"tornadio": tornadio, "Chat": tornadio.SocketConnection}
    exec(SETTINGS, names)
    assert isinstance(names["ChatRouter"], tornadio.Router)


async def test_the_account_may_do_what_is_needed(start_redis: StartRedis) -> None:
    server = start_redis()
    _user, name, *rules = ACCOUNT.replace("PASSWORD", "secret").split()
    await server.tell("ACL", "SETUSER", name, *rules)
    url = f"redis://{name}:secret@127.0.0.1:{server.port}/0"
    received: asyncio.Queue[bytes] = asyncio.Queue()
    bus = tornadio.RedisBus(url, timeout=3)  # it pings three times as often
    await bus.subscribe("chat", received.put_nowait)
    await server.wait_for_subscribers("tornadio:chat", 1)
    await bus.publish([("chat", b"from the bus")])
    async with limit():
        assert await received.get() == b"from the bus"
    with tornadio.Emitter(url, "chat") as emitter:
        emitter.broadcast("from elsewhere")
    async with limit():
        assert b"from elsewhere" in await received.get()
    await bus.unsubscribe("chat")
    await server.wait_for_subscribers("tornadio:chat", 0)
    async with limit():
        while "cmdstat_ping" not in str(await server.tell("INFO", "commandstats")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await bus.close()
    assert "'ping'" not in str(await server.tell("ACL", "LOG"))


def test_the_shell_commands_are_sound_and_their_files_exist():
    for script in (INSTALL, RESTART):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert set(re.findall(r"examples/\S+", INSTALL)) == {f"examples/cluster/{name}" for name in UNITS}
    assert {node: cluster.DOCUMENTED[node] for node in NODES} == {
        node: int(port) for node, port in re.findall(r"\b([a-z]):(\d+)", INSTALL)
    }
    assert f"for node in {' '.join(NODES)}; do" in RESTART
    assert f"chatroom@{{{','.join(NODES)}}}" in INSTALL


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for name in UNITS:
        (tmp_path / name).write_text(unit(name).replace("/usr/bin/curl", "/bin/true"), encoding="utf-8")
    verify = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)]
    result = subprocess.run(verify, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    # The machine's own units are looked at, too.
    ours = [line for line in result.stdout.splitlines() if "chatroom" in line]
    assert ours == []
    assert result.returncode == 0, result.stdout


async def test_the_unit_starts_a_process_that_ends_in_time(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUS", redis_server.url)
    [python, script, *arguments] = command("ExecStart", 0)
    # AppServer chooses the port.
    server = AppServer(Path(script), tuple(a for a in arguments if a != "--port=0"), tmp_path / "output.txt", (python,))
    assert "--port=0" in arguments
    await asyncio.to_thread(server.start)
    served = Proxied.at(server.port)
    try:
        client = await open_at(served, "websocket")
        assert client.session_id.startswith("a")
        await redis_server.wait_for_subscribers("tornadio:socket.io", 1)
        if shutil.which("curl") is not None:
            healthy = await asyncio.create_subprocess_exec(*command("ExecStartPost", server.port))
            assert await healthy.wait() == 0
        assert "tornadio_bus_up" in (await served.request("GET", "/metrics")).text
        [seconds] = values_of("TimeoutStopSec")
        assert float(seconds) <= STOP_SECONDS
        async with asyncio.timeout(float(seconds)):
            status, _ = await asyncio.gather(asyncio.to_thread(server.terminate), client.ended())
        assert status == 0
    finally:
        server.kill()
        await served.aclose()
