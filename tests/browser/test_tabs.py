"""Several tabs of one browser, and a server that is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.appserver import AppServer
from tests.browser.scenes import APP, Scene
from tests.engines import Context

TABS = 3
AWAY_SECONDS = 10


def test_after_an_outage_all_tabs_come_back_over_the_transport_that_they_had(
    contexts: dict[str, Context], app_server: Callable[..., AppServer]
) -> None:
    """Firefox holds a site's WebSockets back when some have failed (RFC 6455, 7.2.3), over all its tabs."""
    server = app_server(APP, "--logging=warning")
    tabs = {
        engine: [Scene(context.new_page(), server, {}).open() for _ in range(TABS)]
        for engine, context in contexts.items()
    }
    scenes = [scene for each in tabs.values() for scene in each]
    for scene in scenes:
        scene.wait_until_connected()
    ids = {scene: scene.ids for scene in scenes}
    server.kill()
    time.sleep(AWAY_SECONDS)
    server.start()
    back_at = time.time()
    for engine, each in tabs.items():
        for scene in each:
            scene.wait_until_back(ids[scene], ["websocket"])
        for log in (scene.logs[0] for scene in each):
            tried = " ".join(details[0] for _, event, *details in log if event == "connecting")
            print(f"{engine}: back after {log[-1][0] / 1000 - back_at:.1f} s; tried {tried}")
    for context in contexts.values():
        assert [cookie["value"] for cookie in context.cookies() if cookie["name"] == "socketio"] == ["websocket"]
