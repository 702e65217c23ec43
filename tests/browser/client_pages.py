"""A page with the browser client, as a test drives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

APP = Path(__file__).with_name("client_app.py")


class Client:
    """A socket in a page."""

    def __init__(self, page: Page, port: int, *transports: str, **options: Any) -> None:
        self.page = page
        if transports:
            options["transports"] = transports
        self.socket = page.evaluate_handle("(options) => createSocket('localhost', options)", {"port": port, **options})

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
