"""A page with the browser client, as a test drives it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest

from tests.appserver import AppServer
from tests.browser_fixtures import ACTION_MILLISECONDS
from tests.engines import Page

APP = Path(__file__).with_name("client_app.py")


def shows(*scenarios: str, **keywords: Any) -> pytest.MarkDecorator:
    """What a test shows of the client, for the table of tests/table_fixtures.py; several by the fixture `scenario`."""
    named = {"scenarios": scenarios} if len(scenarios) > 1 else {"scenario": scenarios[0]}
    return pytest.mark.compatibility(client="TornadIO's own client", **named, **keywords)


# For sockets that have to notice by itself what has ended: no test waits until one has been silent for so long.
NEVER_SILENT: Final = {"timeout": 600_000}


class Client:
    """A socket in a page. On a busy machine it has time to connect."""

    def __init__(self, page: Page, port: int, *transports: str, **options: Any) -> None:
        self.page = page
        if transports:
            options["transports"] = transports
        options = {"port": port, "connectTimeout": ACTION_MILLISECONDS, **options}
        self.socket = page.evaluate_handle("(options) => createSocket('localhost', options)", options)

    def run(self, script: str, argument: Any = None) -> Any:
        """Run JavaScript that knows `socket` and `argument`, and give back its value."""
        return self.socket.evaluate(f"(socket, argument) => {script}", argument)

    def connect(self) -> Client:
        self.run("{ socket.connect(); }")
        return self

    def disconnect(self) -> None:
        self.run("{ socket.disconnect(); }")

    def send(self, *messages: Any) -> None:
        """Send messages one by one, all in one turn of the page's event loop."""
        self.run("argument.forEach((message) => { socket.send(message); })", messages)

    def wait_for(self, event: str, count: int = 1) -> None:
        self.page.wait_for_function(
            "([socket, event, count]) => socket.log.filter(([name]) => name === event).length >= count",
            arg=[self.socket, event, count],
        )

    def wait_for_messages(self, count: int) -> list[Any]:
        self.wait_for("message", count)
        return self.messages

    @property
    def log(self) -> list[list[Any]]:
        """All events so far, each with its arguments."""
        log: list[list[Any]] = self.run("socket.log")
        return log

    @property
    def messages(self) -> list[Any]:
        return [event[1] for event in self.log if event[0] == "message"]

    @property
    def state(self) -> list[bool]:
        state: list[bool] = self.run("[socket.connected, socket.connecting, socket.reconnecting]")
        return state

    @property
    def type(self) -> str:
        return str(self.run("socket.transport.type"))

    @property
    def session_id(self) -> str:
        return str(self.run("socket.transport.sessionid"))


def session(server: AppServer, session_id: str) -> dict[str, Any]:
    """What the server knows of a session."""
    with urllib.request.urlopen(f"{server.url}/sessions/{session_id}") as response:
        known: dict[str, Any] = json.load(response)
    return known
