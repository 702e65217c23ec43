"""docs/tutorial/7-deployment.rst: three processes with Redis, HAProxy and TLS, and a restart that nobody notices."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tornado.web import create_signed_value

import tornadio
from tests.documents.pages import Page
from tests.documents.tutorial import Reader, wait_for_ports
from tests.engines import Context
from tests.engines import Page as Tab
from tests.engines.expecting import expect
from tests.redis_fixtures import RedisServer
from tests.support import limit
from tests.tls import Certificate

PAGE = Page("docs/tutorial/7-deployment.rst")
PROJECT = PAGE.code("If you come here first", language="console")
INSTALL = PAGE.code("Redis and HAProxy", language="console")
PROCESSES, PROXY, METRICS = (PAGE.code("On your own machine", number, language="console") for number in (0, 1, 2))
HAPROXY, PROGRAM, UNITS = (PAGE.code("On a server", number, language="console") for number in (0, 1, 2))
RESTART = PAGE.code("A restart that nobody notices", language="console")
for _name in ("server.py", "store.py", "chat.conf", "static/chat.js"):
    PAGE.file(f"docs/tutorial/code/7-deployment/{_name}")

pytestmark = pytest.mark.needs("curl", "haproxy", "openssl")

PASSWORD, OPERATOR_PASSWORD, SECRET = "a password", "another password", "a secret"


Start = Callable[[int], Reader]


@pytest.fixture
def start_at(reader_at: Start, redis_server: RedisServer) -> Iterator[Start]:
    """As `reader_at`: somebody who has secrets, and a Redis. On page 1 they come from nowhere to this one."""
    readers: list[Reader] = []

    def start_at(page: int) -> Reader:
        reader = reader_at(page)
        readers.append(reader)
        if page == 1:
            reader.type(PROJECT)
        reader.ports["6379"] = redis_server.port
        secrets = {"PASSWORD": PASSWORD, "OPERATOR_PASSWORD": OPERATOR_PASSWORD, "SECRET": SECRET}
        lines = [f'CHAT_{name}="{value}"\n' for name, value in secrets.items()]
        (reader.project / "chat.env").write_text("".join(lines), encoding="utf-8")
        return reader

    yield start_at
    for reader in readers:
        reader.type(f"$ sudo systemctl stop {' '.join(pids(reader))}")
        for path in (reader.home / "log").glob("*.txt"):
            print(f"-- {path.stem}\n{path.read_text(encoding='utf-8')}")


async def test_three_processes_on_ones_own_machine_are_one_chat(start_at: Start) -> None:
    reader = start_at(1)
    reader.type(INSTALL)
    reader.serve(PROCESSES, "8001", "8002", "8003")
    reader.serve(PROXY, "8443")
    trust = ssl.create_default_context(cafile=str(reader.project / "chat.crt"))
    resource = f"https://localhost:{reader.ports['8443']}/socket.io"

    def connect(name: str) -> Any:
        cookie = create_signed_value(SECRET, "name", name).decode()
        return tornadio.connect(resource, ssl=trust, cookies={"name": cookie})

    async def hear(person: tornadio.ClientConnection, **wanted: Any) -> None:
        async for message in person:
            if message.items() >= wanted.items():
                return

    async with limit(), connect("Ann") as ann, connect("Bob") as bob, connect("Cem") as cem:
        people = {person.session_id[0]: person for person in (ann, bob, cem)}
        assert sorted(people) == ["a", "b", "c"]
        for person in people.values():
            await person.send({"type": "enter", "room": "Kitchen"})
        # Who enters while their process subscribes as yet is told within five seconds.
        await asyncio.gather(*(hear(each, type="people", names=["Ann", "Bob", "Cem"]) for each in people.values()))
        await ann.send({"type": "say", "id": "1", "text": "hello"})
        await asyncio.gather(*(hear(each, type="said", name="Ann", text="hello") for each in people.values()))
        metrics = await asyncio.to_thread(reader.type, METRICS)
        assert len(re.findall(r"(?m)^tornadio_connections\{.*websocket.* 1.0$", metrics)) == 3
        await cem.close()
        await asyncio.gather(*(hear(each, type="people", names=["Ann", "Bob"]) for each in (ann, bob)))


@pytest.mark.page_errors("WebSocket connection to", "Failed to load resource")
def test_a_restart_of_all_processes_loses_nothing(start_at: Start, new_context: Callable[..., Context]) -> None:
    reader = start_at(8)
    url = f"https://localhost:{reader.ports['443']}"
    certificate = reader.home / "etc/haproxy/chat.example.com.pem"
    certificate.parent.mkdir(parents=True)
    Certificate().write(certificate)
    reader.type(PROGRAM)
    (reader.home / "etc/systemd/system").mkdir(parents=True)
    reader.type(UNITS.replace("https://chat.example.com", url))
    assert (reader.home / "etc/chatroom/bus").stat().st_mode & 0o777 == 0o600
    systemd_finds_nothing_wrong(reader.home / "etc/systemd/system")
    reader.type(HAPROXY)
    wait_for_ports([reader.ports["80"], reader.ports["443"]], lambda: False, lambda: "see below")
    plain = HTTPConnection("localhost", reader.ports["80"], timeout=10)
    plain.request("GET", "/login")
    assert str(plain.getresponse().getheader("Location")).startswith("https://localhost:")
    plain.close()
    before = pids(reader)
    assert before.keys() == {"chatroom@a", "chatroom@b", "chatroom@c", "haproxy"}

    def log_in(name: str) -> Tab:
        page = new_context(ignore_https_errors=True).new_page()
        page.goto(url)
        page.get_by_label("Your name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="Garden").click()
        expect(page.locator("#say")).to_be_visible()
        return page

    ann, bob = log_in("Ann"), log_in("Bob")
    for page in (ann, bob):
        expect(page.locator("#people")).to_have_text("Here: Ann, Bob")
    said: list[str] = []
    with ThreadPoolExecutor(1) as thread:
        restart = thread.submit(reader.type, RESTART)
        while not restart.done():
            for page, name in ((ann, "Ann"), (bob, "Bob")):
                text = f"{len(said)}"
                page.get_by_label("Message", exact=True).fill(text)
                page.get_by_label("Message", exact=True).press("Enter")
                said.append(f"{name} {text}")
            time.sleep(0.4)
        restart.result()
    after = pids(reader)
    assert [name for name in before if before[name] == after[name]] == ["haproxy"]
    for page in (ann, bob):
        expect(page.locator("#people")).to_have_text("Here: Ann, Bob")
        expect(page.locator("li")).to_have_count(len(said))
        assert sorted(page.locator("li").all_text_contents()) == sorted(said)


def pids(reader: Reader) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((reader.home / "run").glob("*.pid"))}


def systemd_finds_nothing_wrong(units: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        return
    result = subprocess.run(
        ["systemd-analyze", "verify", "chatroom@a.service"],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{units}:"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert [line for line in result.stdout.splitlines() if re.search("chat", line)] == []
