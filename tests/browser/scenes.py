"""Scenes: a page with a socket over each transport, side by side, as a test drives it, and what the server knows of it.

The page (scenes_page.html) connects its sockets by itself, each time it is loaded.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.appserver import AppServer
from tests.browser.intermediary import Intermediary
from tests.engines import Page
from tests.support import OF_BROWSERS

APP = Path(__file__).with_name("scenes_app.py")
EVENTUALLY_SECONDS = 60  # longer than what makes a server miss a client
# htmlfile is for the own origin alone.
FROM_OTHER_ORIGINS = tuple(transport for transport in OF_BROWSERS if transport != "htmlfile")


def eventually(read: Callable[[], Any], wanted: Any) -> None:
    deadline = time.monotonic() + EVENTUALLY_SECONDS
    while (found := read()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found == wanted, f"{found!r} is not {wanted!r}"


def report_of(server: AppServer) -> dict[str, Any]:
    """What the server knows: `connections`, `opened`, `closed` and `received`."""
    with urllib.request.urlopen(f"{server.url}/report") as response:
        report: dict[str, Any] = json.load(response)
    return report


class Scene:
    """A page with sockets.

    `sockets` are the options of each; without any, there is one over each transport that the page's origin allows for.
    The page is of `origin`, and its sockets connect `through` another server, where these are named.
    """

    def __init__(
        self,
        page: Page,
        server: AppServer,
        *sockets: dict[str, Any],
        origin: AppServer | None = None,
        through: Intermediary | None = None,
        reloads: int = 0,
        **options: Any,
    ) -> None:
        self.page = page
        self.server = server
        entrance = through or server
        origin_of_page = origin or entrance
        if not sockets:
            types = OF_BROWSERS if origin is None or origin is server else FROM_OTHER_ORIGINS
            sockets = tuple({"transports": [each], "rememberTransport": False} for each in types)
        wanted = {"sockets": [{"port": entrance.port, **options, **each} for each in sockets], "reloads": reloads}
        self.url = f"{origin_of_page.url}/?{quote(json.dumps(wanted))}"
        self.other_url = f"{origin_of_page.url}/other"

    def open(self) -> Scene:
        self.page.goto(self.url)
        return self

    def wait_until_connected(self) -> None:
        self.page.wait_for_function("sockets.every((each) => each.connected)")

    def wait_until_back(self, ids: list[str], types: Sequence[str]) -> None:
        """Wait until each socket has a session that is none of these, over its transport of those."""
        eventually(
            lambda: (self.connected, bool({*self.ids} & {*ids}), self.types), ([True] * len(ids), False, [*types])
        )

    def wait_for_messages(self, *messages: Any) -> None:
        """Wait until each socket has got these since the page was loaded, and no others."""
        self.page.wait_for_function(
            "(count) => sockets.every(({ log }) => log.filter(([, name]) => name === 'message').length >= count)",
            arg=len(messages),
        )
        assert self.messages == [list(messages)] * len(self.messages)

    def send(self, *messages: Any) -> None:
        """Send messages on each socket."""
        self.page.evaluate(
            "(messages) => sockets.forEach((each) => messages.forEach((one) => each.send(one)))", messages
        )

    @property
    def messages(self) -> list[list[Any]]:
        """By socket: the messages since the page was loaded."""
        return [[details[0] for _, name, *details in log if name == "message"] for log in self.logs]

    @property
    def logs(self) -> list[list[list[Any]]]:
        """By socket: its events, each as `[MILLISECONDS, NAME, ARGUMENTS...]`."""
        logs: list[list[list[Any]]] = self.page.evaluate("sockets.map((each) => each.log)")
        return logs

    @property
    def connected(self) -> list[bool]:
        connected: list[bool] = self.page.evaluate("sockets.map((each) => each.connected)")
        return connected

    @property
    def types(self) -> list[str]:
        types: list[str] = self.page.evaluate("sockets.map((each) => each.transport.type)")
        return types

    @property
    def ids(self) -> list[str]:
        """By socket: the id of its session."""
        ids: list[str] = self.page.evaluate("sockets.map((each) => each.transport.sessionid)")
        return ids

    # -- What the server knows

    def wait_for_connections(self, count: int) -> None:
        eventually(lambda: report_of(self.server)["connections"], count)

    def wait_until_asked(self, path: str) -> None:
        eventually(lambda: path in report_of(self.server)["asked"], True)

    def wait_until_closed(self, ids: set[str]) -> dict[str, float]:
        """Wait until these sessions have ended: when they did, as `time.time()` has it."""
        eventually(lambda: ids - report_of(self.server)["closed"].keys(), set())
        closed: dict[str, float] = report_of(self.server)["closed"]
        return closed
