"""A browser that sleeps, and a server that hangs: processes that are stopped for longer than the other side waits."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.appserver import AppServer
from tests.browser.client_pages import shows
from tests.browser.intermediary import Intermediary
from tests.browser.scenes import APP, Scene, report_of
from tests.browser_fixtures import ENGINES
from tests.engines import Context
from tests.support import OF_BROWSERS

ASLEEP_SECONDS = 70  # longer than a server waits for a client, whatever the transport
HANGING_SECONDS = 12
AT_ONCE_SECONDS = 12  # less than the 15 of silence after which a client gives up

BROWSERS = ("chromium", "firefox-esr", "MiniBrowser")


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Have these processes do nothing for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def processes_of_browsers() -> list[int]:
    """All processes of the browsers that the tests have started, parents first."""
    names: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            head, _, rest = stat.read_text(encoding="utf-8").rpartition(")")
            pid, _, names[int(stat.parent.name)] = head.partition(" (")
            children.setdefault(int(rest.split()[1]), []).append(int(pid))

    def below(pid: int) -> list[int]:
        return [each for child in children.get(pid, []) for each in (child, *below(child))]

    return [each for root in below(os.getpid()) if names[root] in BROWSERS for each in (root, *below(root))]


@shows("a page that slept is back at once", transports=OF_BROWSERS, engines=ENGINES)
def test_pages_of_a_browser_that_slept_are_back_at_once_over_the_transport_that_they_had(
    contexts: dict[str, Context], app_server: Callable[..., AppServer]
) -> None:
    """Each browser has one page that hears from the server what it has missed, and one that doesn't, as its connections
    have got lost."""
    server = app_server(APP, "--logging=warning")
    with Intermediary(server.port) as line:
        scenes: dict[str, Scene] = {}
        for engine, context in contexts.items():
            scenes[f"{engine}, direct"] = Scene(context.new_page(), server, reconnectionDelay=50)
            scenes[f"{engine}, lost"] = Scene(context.new_page(), server, through=line, reconnectionDelay=50)
        for scene in scenes.values():
            scene.open()
            scene.wait_until_connected()
        ids = {name: scene.ids for name, scene in scenes.items()}
        pids = processes_of_browsers()
        line.lose_connections()
        with stopped(*pids):
            time.sleep(ASLEEP_SECONDS)
            woken_at = time.time()
        for name, scene in scenes.items():
            scene.wait_until_back(ids[name], OF_BROWSERS)
            events = [
                [f"{event} {at / 1000 - woken_at:.1f}" for at, event, *_ in log if at / 1000 > woken_at]
                for log in scene.logs
            ]
            print(name, *events, sep="\n  ")
            for log in scene.logs:
                (noticed_at,) = [at / 1000 for at, event, *_ in log if event == "disconnect"]
                assert noticed_at - woken_at < AT_ONCE_SECONDS, name
                assert log[-1][1] == "reconnect", name
            scene.send("awake")
            scene.wait_for_messages("awake")
            scene.page.goto("about:blank")
        scene.wait_for_connections(0)
    assert server.output() == ""


@shows("after a server hung pages come back", transports=OF_BROWSERS, engines=ENGINES)
def test_after_a_server_hung_pages_come_back_over_the_transport_that_they_had(
    contexts: dict[str, Context], app_server: Callable[..., AppServer]
) -> None:
    server = app_server(APP, "--logging=warning")
    impatient = {"resource": "brisk", "timeout": 2000, "reconnectionDelay": 50}
    scenes = {engine: Scene(context.new_page(), server, impatient).open() for engine, context in contexts.items()}
    for scene in scenes.values():
        scene.wait_until_connected()
        scene.page.evaluate("() => { sockets[0].options.connectTimeout = 1000; }")  # the first had all its time
    ids = {engine: scene.ids for engine, scene in scenes.items()}
    with stopped(server.pid):
        for engine, scene in scenes.items():
            scene.send(f"{engine}, while it hangs")
        time.sleep(HANGING_SECONDS)
    for engine, scene in scenes.items():
        scene.wait_until_back(ids[engine], ["websocket"])
        print(engine, *(" ".join(map(str, event)) for event in scene.logs[0]), sep="\n  ")
        (cookie,) = scene.page.context.cookies()
        assert (cookie["name"], cookie["value"]) == ("socketio", "websocket")
    messages = sorted(message for _, message in report_of(server)["received"])
    assert messages == sorted(f"{engine}, while it hangs" for engine in contexts)
