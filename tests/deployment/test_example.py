"""examples/cluster as people use it: one command, one address, a chatroom on three processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from room import SharedRoom

from examples.cluster.cluster import program
from tests.appserver import AppServer
from tests.browser.chatroom_pages import expect_messages, expect_people, join, say
from tests.deployment.fleet import NODES, Fleet, with_own_places
from tests.documents.pages import Page as Document
from tests.support import until

COMMAND = Document("docs/going-big.rst").code("Going big", language="bash")
CLUSTER = Path(__file__).resolve().parents[2] / "examples" / "cluster"

NewContext = Callable[..., BrowserContext]


@pytest.fixture
def cluster(app_server: object, tmp_path: Path) -> Iterator[AppServer]:
    assert COMMAND == "python3 examples/cluster/cluster.py\n"
    server = AppServer(CLUSTER / "cluster.py", ("--browser=false",), tmp_path / "output.txt")
    server.start()
    yield server
    status = server.terminate()
    print(server.output())
    assert status == 0
    for process_id in map(int, re.findall(r" is process (\d+)", server.output())):
        assert not Path(f"/proc/{process_id}").exists()


def process_of(person: str, cluster: AppServer) -> str:
    """The name of the process that somebody is connected to."""
    [*_, name] = re.findall(rf"^ *(chat \w) \| .*\b{person} joined over", cluster.output(), re.MULTILINE)
    return str(name)


@pytest.mark.needs("redis-server", "haproxy")
@pytest.mark.page_errors("ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "status of 40[0134]", "WebSocket connection to")
def test_the_chatroom_is_one_room_on_three_processes(cluster: AppServer, new_context: NewContext) -> None:
    pages: dict[str, Page] = {}
    for person in ("Ann", "Bob", "Cem"):
        pages[person] = join(new_context().new_page(), cluster, person)
    assert {process_of(person, cluster) for person in pages} == {f"chat {node}" for node in NODES}
    for person, page in pages.items():
        expect_people(page, *pages)
        say(page, f"I am {person}")
        for other in pages.values():
            expect(other.get_by_text(f"I am {person}")).to_be_visible()

    # Operators see all three processes, whichever the proxy has sent them to; others see nothing.
    operator = new_context().new_page()
    operator.goto(f"{cluster.url}/monitor/")
    expect(operator.get_by_text("you may not look at this")).to_be_visible()
    [link] = re.findall(r"^Monitor: open (\S+)$", cluster.output(), re.MULTILINE)
    operator.goto(link)
    expect(operator.locator("#rights")).to_have_text("You may act")
    expect(operator.locator("#processes tbody tr")).to_have_count(len(NODES))
    expect(operator.locator("#position")).to_have_text("1 to 3 of 3")
    operator.close()

    [process_id] = re.findall(rf"^{process_of('Bob', cluster)} is process (\d+)", cluster.output(), re.MULTILINE)
    os.kill(int(process_id), signal.SIGKILL)
    expect(pages["Bob"].get_by_text("Connected again")).to_be_visible()
    say(pages["Bob"], "I am back")
    said = [*(f"I am {person}" for person in pages), "I am back"]
    for page in pages.values():
        expect_messages(page, *said)
        expect_people(page, *pages)
        expect(page.get_by_text("Bob left")).to_have_count(0)

    newcomer = join(new_context().new_page(), cluster, "Bob", "xhr-polling")
    expect_people(newcomer, *pages, "Bob 2")
    expect_messages(newcomer, *said)
    pages.pop("Cem").close()
    expect(pages["Ann"].get_by_text("Cem left")).to_be_visible()
    expect_people(newcomer, "Ann", "Bob", "Bob 2")


class ShortLease(SharedRoom):
    PEOPLE = "test:people"
    HISTORY = "test:history"
    LEASE_SECONDS = 1


async def test_who_does_not_come_back_from_a_killed_process_has_left(fleet: Fleet) -> None:
    lost: list[str] = []
    killed, alive, third = (ShortLease(f"redis://127.0.0.1:{fleet.redis.port}/0", lost.append) for _ in range(3))
    assert await killed.enter("a1", "Ann", "tab of Ann") == ("Ann", True)
    assert await killed.enter("a2", "Bob", "tab of Bob") == ("Bob", True)
    killed.renewing.stop()
    # A tab that comes back is nobody new, another one is.
    assert await alive.enter("b1", "Ann", "tab of Ann") == ("Ann", False)
    assert await third.enter("c1", "Ann", "another tab") == ("Ann 2", True)
    started = time.monotonic()
    await until(lambda: lost)
    assert time.monotonic() - started > 0.5
    assert lost == ["Bob"]  # told by one of the two, and Ann is not lost
    assert await alive.names() == {"Ann", "Ann 2"}
    assert await alive.leave("b1")
    for room in (killed, alive, third):
        room.renewing.stop()
        await room.redis.aclose()


@pytest.mark.parametrize("missing", ["redis-server", "haproxy"])
def test_what_is_missing_is_named_with_the_command_that_installs_it(missing: str, tmp_path: Path) -> None:
    for name in {"redis-server", "haproxy"} - {missing}:
        (tmp_path / name).symlink_to("/bin/true")
    script = tmp_path / "cluster.py"
    text = (CLUSTER / "cluster.py").read_text(encoding="utf-8")
    script.write_text(text.replace('"/usr/sbin:/usr/local/sbin"', '""'), encoding="utf-8")
    shutil.copy(CLUSTER / "haproxy.cfg", tmp_path)
    result = subprocess.run(
        [sys.executable, str(script), "--port=0"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.strip() == f"cluster.py: {missing} is missing. Install it with: sudo apt-get install {missing}"


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("haproxy", "nginx")])
def test_the_documented_configurations_pass_their_programs_own_check(name: str, tmp_path: Path) -> None:
    """As they stand, but for nginx's directories, which need root."""
    if name == "haproxy":
        command = ["-c", "-f", str(CLUSTER / "haproxy.cfg")]
    else:
        text = (CLUSTER / "nginx.conf").read_text(encoding="utf-8")
        (tmp_path / "nginx.conf").write_text(with_own_places(text), encoding="utf-8")
        command = [
            "-t",
            "-p",
            str(tmp_path),
            "-c",
            str(tmp_path / "nginx.conf"),
            "-e",
            "stderr",
            "-g",
            "pid nginx.pid;",
        ]
    result = subprocess.run(
        [program(name), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    assert "warn" not in result.stdout.lower()
