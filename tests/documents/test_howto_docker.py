"""docs/howto/docker.rst, as far as it goes without Docker: with what the Dockerfile copies, its ENTRYPOINT runs as
process 1 of a namespace; HAProxy reads its configuration; the compose file is held against both.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import tornadio
from tests.appserver import REPOSITORY, free_port, quiet_environment
from tests.deployment.fleet import NODES
from tests.documents.pages import Page
from tests.programs import NAMESPACES, path_of
from tests.redis_fixtures import RedisServer, eventually
from tests.support import limit

PAGE = Page("docs/howto/docker.rst")
FOLDER = REPOSITORY / "docs" / "howto" / "docker"
DOCKERFILE = PAGE.file("docs/howto/docker/Dockerfile").read_text("utf-8").replace("\\\n", " ")
IGNORE = PAGE.file("docs/howto/docker/Dockerfile.dockerignore").read_text("utf-8").splitlines()
COMPOSE = yaml.safe_load(PAGE.file("docs/howto/docker/compose.yaml").read_text("utf-8"))
RESOLVERS = PAGE.file("docs/howto/docker/haproxy/00-docker.cfg")
CONFIGURE = PAGE.code("Three processes", 0, language="bash")
COMMANDS = PAGE.code("Three processes", 1, 2, language="bash")
SERVICES: dict[str, Any] = COMPOSE["services"]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^\s*{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def command(text: str, opt: Path, port: int) -> list[str]:
    """A command of the Dockerfile, in the form of a list, with other places."""
    [python, *arguments] = json.loads(text)
    assert python == "python"
    return [sys.executable, *(each.replace("/opt/", f"{opt}/").replace("8001", str(port)) for each in arguments)]


def build(directory: Path) -> Path:
    """Do below this directory what the Dockerfile does, but for pip: the package stays in `src`. Returns its /opt."""
    everything, *rules = IGNORE
    assert everything == "*"
    for name in (rule.removeprefix("!") for rule in rules if rule.startswith("!")):
        copy(REPOSITORY / name, directory / "src" / name)
    assert instructions("RUN")[0] == "pip install --no-cache-dir '/src[redis]'"
    subprocess.run([sys.executable, "setup.py", "--quiet", "--version"], cwd=directory / "src", check=True)
    opt = directory / "opt"
    for line in instructions("COPY")[1:]:
        *sources, place = line.split()
        for name in sources:
            target = directory / place.lstrip("/")
            copy(directory / "src" / name, target / Path(name).name if place.endswith("/") else target)
    return opt


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


@pytest.mark.needs(NAMESPACES)
async def test_the_image_serves_as_process_1_and_ends_gracefully(redis_server: RedisServer, tmp_path: Path) -> None:
    opt = await asyncio.to_thread(build, tmp_path)
    port = free_port()
    [entrypoint], [check] = instructions("ENTRYPOINT"), instructions("HEALTHCHECK .* CMD")
    environment = quiet_environment() | {"PYTHONPATH": str(tmp_path / "src"), "BUS": redis_server.url}
    arguments = [each.replace(COMPOSE_PROXY, "127.0.0.1") for each in SERVICES["a"]["command"]]
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--pid", "--fork", "--kill-child", *command(entrypoint, opt, port), *arguments),
        env=environment,
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )

    async def is_healthy() -> bool:
        probe = await asyncio.create_subprocess_exec(*command(check, opt, port), stderr=asyncio.subprocess.DEVNULL)
        return await probe.wait() == 0

    try:
        await eventually(is_healthy, True)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as browser:
            for path in ("/", "/chatroom.js", "/common.css", "/icon.svg"):
                assert (await browser.get(path)).status_code == 200
        async with tornadio.connect(f"http://127.0.0.1:{port}/socket.io") as socket, limit():
            assert socket.session_id is not None
            assert socket.session_id.startswith("a")
            os.kill(child_of(process.pid), signal.SIGTERM)
            await eventually(is_healthy, False)
            await socket.wait_closed()
            assert socket.close_code == 1001
            _, errors = await process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in errors
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def child_of(process_id: int) -> int:
    [child] = Path(f"/proc/{process_id}/task/{process_id}/children").read_text("ascii").split()
    return int(child)


# -- The compose file --------------------------------------------------------------------------------------------------

COMPOSE_PROXY = SERVICES["haproxy"]["networks"]["inner"]["ipv4_address"]


def test_the_compose_file_fits_the_image_and_the_proxy() -> None:
    assert set(SERVICES) == {*NODES, "redis", "haproxy"}
    for node in NODES:
        service = SERVICES[node]
        assert (FOLDER / service["build"]["context"]).resolve() == REPOSITORY
        assert (REPOSITORY / service["build"]["dockerfile"]).is_file()
        name, proxy, delay = service["command"]
        assert (name, proxy) == (f"--node={node}", f"--xheaders={COMPOSE_PROXY}")
        assert int(service["stop_grace_period"].rstrip("s")) > float(delay.removeprefix("--drain_delay=")) + 10
        assert service["environment"] == {"BUS": "redis://redis:6379/0"}
    [network] = COMPOSE["networks"]["inner"]["ipam"]["config"]
    assert ipaddress.ip_address(COMPOSE_PROXY) in ipaddress.ip_network(network["subnet"])
    assert SERVICES["haproxy"]["volumes"] == [f"./{RESOLVERS.parent.name}:/etc/chat:ro"]
    assert SERVICES["haproxy"]["command"] == ["haproxy", "-f", "/etc/chat"]


@pytest.mark.needs("haproxy")
def test_haproxy_reads_its_configuration(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER.relative_to(REPOSITORY)
    shutil.copytree(FOLDER, folder)
    shutil.copytree(REPOSITORY / "examples" / "cluster", tmp_path / "examples" / "cluster")
    subprocess.run(["bash", "-euc", CONFIGURE], cwd=tmp_path, check=True)
    configuration = (folder / "haproxy" / "50-haproxy.cfg").read_text("utf-8")
    for node in NODES:
        assert len(re.findall(rf"^ +server {node} {node}:8001 resolvers docker ", configuration, re.MULTILINE)) == 2
    result = subprocess.run(
        [path_of("haproxy") or "", "-c", "-f", str(folder / "haproxy")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_commands_name_what_is_there(tmp_path: Path) -> None:
    """A program in Docker's place writes down its arguments."""
    for name, text in {"docker": f'echo "$*" >> {tmp_path}/said', "sleep": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euc", COMMANDS], env=environment, check=True)
    first, *others = (tmp_path / "said").read_text("utf-8").splitlines()
    assert first == "compose up --build --detach --wait"
    assert others == [f"compose up --detach --wait --no-deps --force-recreate {node}" for node in NODES]
