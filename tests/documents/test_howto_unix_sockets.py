"""docs/howto/unix-sockets.rst: its program on a Unix socket, behind nginx and HAProxy as it configures them; Redis on
another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tornadio
from examples.cluster import cluster
from tests.appserver import free_port, quiet_environment
from tests.deployment.fleet import Proxied, daemon_of, open_at, with_own_places
from tests.documents.pages import Page
from tests.redis_fixtures import RedisServer
from tests.support import Recorder, until

PAGE = Page("docs/howto/unix-sockets.rst")
PROGRAM = PAGE.code("Unix sockets")
EDITS = {name: PAGE.code("The proxy", number, language="bash") for number, name in enumerate(("nginx", "haproxy"))}
BUS = PAGE.code("Redis", 0)
EMITTER = PAGE.code("Redis", 1)


@pytest.fixture
def directory() -> Iterator[Path]:
    """In the place of /run/chat. pytest's own has a longer name than the 107 bytes that a Unix socket's may have."""
    with tempfile.TemporaryDirectory(prefix="chat-") as name:
        yield Path(name)


@pytest.fixture
def path(directory: Path) -> Iterator[Path]:
    """The socket of the page's program, which runs, after another one that was killed."""
    path = directory / "a.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(path))
    for name in ("b.sock", "c.sock"):  # one process is enough
        (directory / name).symlink_to(path)
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(path), "a"]
    with subprocess.Popen(command, env=quiet_environment()) as process:
        yield path
        process.kill()


def configure(name: str, directory: Path, web: int, flash: int) -> Path:
    """The configuration, as the page's command has edited it."""
    file = directory / shutil.copy(cluster.HERE / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[name], directory)
    subprocess.run(["bash", "-ec", EDITS[name].replace("/run/chat", str(directory))], cwd=directory, check=True)
    text = cluster.adapted(file, {"web": web, "flash": flash})
    assert "127.0.0.1:800" not in text
    file.write_text(with_own_places(text) if name == "nginx" else text, encoding="utf-8")
    return file


@pytest.mark.needs("nginx", "haproxy")
@pytest.mark.parametrize("name", EDITS)
async def test_clients_have_their_addresses_behind_a_proxy(name: str, directory: Path, path: Path) -> None:
    web, flash = free_port(), free_port()
    file = configure(name, directory, web, flash)
    user = "user root;" if os.geteuid() == 0 else ""  # else nginx gives up root's rights, which the directory asks for
    main = f"daemon off; pid p; {user}"
    arguments = {"haproxy": ("-f",), "nginx": ("-p", str(directory), "-e", "stderr", "-g", main, "-c")}
    await until(lambda: accepts(path))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    proxy = daemon_of(name, *arguments[name], str(file), port=web, directory=directory)
    await asyncio.to_thread(proxy.start)
    try:
        ways = [(web, "websocket"), (web, "xhr-polling"), (flash if name == "haproxy" else web, "flashsocket")]
        for port, transport in ways:
            async with contextlib.aclosing(Proxied.at(port)) as served:
                client = await open_at(served, transport)
                assert client.session_id.startswith("a")
                assert await client.receive() == ["You come from 127.0.0.1, over http"]
                await client.send("hello")
                assert await client.receive() == ["hello"]
                await client.leave()
    finally:
        proxy.stop()


def accepts(path: Path) -> bool:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        return client.connect_ex(str(path)) == 0


async def test_redis_listens_on_one(serve: Any, redis_server: RedisServer) -> None:
    url = f"unix://{redis_server.path}"
    names: dict[str, Any] = {"tornadio": tornadio, "Chat": Recorder}
    exec(BUS.replace("unix:///run/redis/redis.sock", url), names)
    assert names["ChatRouter"]
    served = serve(settings={"bus": url})
    async with tornadio.connect(f"http://127.0.0.1:{served.port}/socket.io") as client:
        assert await client.recv() == "welcome"
        await redis_server.wait_for_subscribers("tornadio:socket.io", 1)
        await asyncio.to_thread(exec, EMITTER.replace("unix:///run/redis/redis.sock", url), names)
        assert await client.recv() == "Tea is ready"
