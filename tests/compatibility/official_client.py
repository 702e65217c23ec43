"""The official browser client in a page, as a test drives it."""

from __future__ import annotations

from typing import Any

from tests.engines import Page

CLIENT = "socket.io/support/socket.io-client/socket.io.js"


class Socket:
    """An `io.Socket` in a page."""

    def __init__(self, page: Page, port: int, transport: str, **options: Any) -> None:
        self.page = page
        self.transport = transport
        options["transports"] = [transport]
        self.handle = page.evaluate_handle("([port, options]) => createSocket(port, options)", [port, options])

    def run(self, script: str, argument: Any = None) -> Any:
        """Run JavaScript that knows `socket` and `argument`, and give back its value."""
        return self.handle.evaluate(f"(socket, argument) => {script}", argument)

    def connect(self) -> Socket:
        self.run("{ socket.connect(); }")
        return self

    def disconnect(self) -> None:
        self.page.wait_for_function("postsUnderWay === 0")
        self.run("{ socket.disconnect(); }")

    def send(self, *messages: Any) -> None:
        """Send messages one by one, all in one turn of the page's event loop."""
        self.run("argument.forEach((message) => { socket.send(message); })", messages)

    def send_batch(self, *messages: Any) -> None:
        """Send messages in one payload, on a connected socket; of a list in its queue the client makes one text."""
        self.run("{ socket.send(argument); }", messages)

    def wait_for(self, event: str, count: int = 1) -> None:
        self.page.wait_for_function(
            "([socket, event, count]) => socket.log.filter(([name]) => name === event).length >= count",
            arg=[self.handle, event, count],
        )

    def wait_for_messages(self, count: int) -> list[Any]:
        self.wait_for("message", count)
        return self.messages

    def wait_for_last_message(self, message: Any) -> None:
        self.page.wait_for_function(
            "([socket, message]) => socket.log.filter(([name]) => name === 'message').at(-1)?.[1] === message",
            arg=[self.handle, message],
        )

    @property
    def log(self) -> list[list[Any]]:
        """All events so far, each with its arguments."""
        log: list[list[Any]] = self.run("socket.log")
        return log

    @property
    def events(self) -> list[str]:
        return [event[0] for event in self.log]

    @property
    def messages(self) -> list[Any]:
        return [event[1] for event in self.log if event[0] == "message"]

    @property
    def session_id(self) -> str:
        return str(self.run("socket.transport.sessionid"))
