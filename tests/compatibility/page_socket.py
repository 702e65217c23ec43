"""An `io.Socket` in a page, whoever wrote its client: the official one and ours have the same interface."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import ConsoleMessage, Error

from tests.browser_fixtures import ACTION_MILLISECONDS, note_exception
from tests.engines import Handle, Page, webkit

OpenSocket = Callable[..., "PageSocket"]

# Texts that a careless server or client takes for something else, loses or cuts off.
SCRIPT_TEXT = "</script><script>document.title = 'lost'</script>"
BOUNDARY_TEXT = "before\n--socketio\nbehind"
HOSTILE_TEXTS = (
    SCRIPT_TEXT,
    BOUNDARY_TEXT,
    "line separators \u2028 and \u2029",
    "\"double\" and 'single' quotes, a \\ backslash and a \\u0041",
    "~m~3~m~abc",
    "trailing blanks  \t ",
    "\n\na line\r\nanother\rand the last\n",
    "a+b=c&d%20e;f#g?h",
    '");io.JSONP[0]._("lost");',
    "\0 and other controls \x01\x7f",
)

_CREATE = """options => {
    const socket = new io.Socket('localhost', options);
    socket.log = [];
    for (const name of ['connect', 'message', 'disconnect', 'connect_failed', 'reconnect', 'reconnect_failed']) {
        socket.on(name, (...details) => { socket.log.push([name, ...details]); });
    }
    return socket;
}"""


_KEEP_ERRORS = """() => {
    if (!window.pageErrors) {
        window.pageErrors = [];
        addEventListener('error', (event) => event.error && pageErrors.push(event.error.message));
    }
}"""


class PageSocket:
    """A socket with a log of its events. It may use one transport alone, and has time to connect."""

    def __init__(self, page: Page, port: int, transport: str, **options: Any) -> None:
        self.page = page
        options = {
            "port": port,
            "transports": [transport],
            "rememberTransport": False,
            "connectTimeout": ACTION_MILLISECONDS,
            **options,
        }
        self.handle: Handle = page.evaluate_handle(_CREATE, options)

    def run(self, script: str, argument: Any = None) -> Any:
        """Run JavaScript that knows `socket` and `argument`, and give back its value."""
        return self.handle.evaluate(f"(socket, argument) => {script}", argument)

    def connect(self) -> None:
        """Begin to connect."""
        self.run("{ socket.connect(); }")

    def disconnect(self) -> None:
        self.run("{ socket.disconnect(); }")

    def send(self, *messages: Any) -> None:
        """Send messages one by one, all in one turn of the page's event loop."""
        self.run("argument.forEach(message => { socket.send(message); })", messages)

    def send_together(self, *messages: Any) -> None:
        """Send messages in one payload."""
        self.run("{ socket.send(argument); }", messages)

    def send_rapidly(self, *messages: Any) -> None:
        """Begin to send messages one by one, each in a turn of its own."""
        self.run(
            """{
                const messages = argument.values();
                const timer = setInterval(() => {
                    const { value, done } = messages.next();
                    done ? clearInterval(timer) : socket.send(value);
                });
            }""",
            messages,
        )

    def wait_for(self, event: str, count: int = 1) -> None:
        """Wait until an event has happened so many times."""
        self.page.wait_for_function(
            "([socket, event, count]) => socket.log.filter(([name]) => name === event).length >= count",
            arg=[self.handle, event, count],
        )

    def opened(self) -> PageSocket:
        """Connect and wait until that is done."""
        self.connect()
        self.wait_for("connect")
        return self

    def exchange(self, *messages: Any) -> list[Any]:
        """Send messages to a server that echoes; the messages that have come when as many came as were sent."""
        before = len(self.messages)
        self.send(*messages)
        self.wait_for("message", before + len(messages))
        return self.messages[before:]

    @property
    def log(self) -> list[list[Any]]:
        """All events so far, each with its arguments."""
        log: list[list[Any]] = self.run("socket.log")
        return log

    @property
    def events(self) -> list[str]:
        """The names of all events so far but messages."""
        return [event[0] for event in self.log if event[0] != "message"]

    @property
    def messages(self) -> list[Any]:
        return [event[1] for event in self.log if event[0] == "message"]

    @property
    def transport(self) -> str:
        return str(self.run("socket.transport.type"))

    @property
    def session_id(self) -> str:
        return str(self.run("socket.transport.sessionid"))


@contextlib.contextmanager
def sockets_in(page: Page, port: int, errors: list[str]) -> Iterator[OpenSocket]:
    """For one of several tests in one page: what makes sockets there, as PageSocket(transport, **options) does.

    At the end all are disconnected. `errors` gets a line for each uncaught exception and console error meanwhile.
    """
    sockets: list[PageSocket] = []

    def open_socket(transport: str, **options: Any) -> PageSocket:
        socket = PageSocket(page, port, transport, **options)
        sockets.append(socket)
        return socket

    def disconnect_all() -> None:
        for socket in sockets:
            socket.disconnect()

    if isinstance(page, webkit.Page):  # no driver sees its errors
        page.evaluate(_KEEP_ERRORS)
        yield open_socket
        disconnect_all()
        errors += [f"exception: {each}" for each in page.evaluate("() => pageErrors.splice(0)")]
        return

    def note_error(error: Error) -> None:
        note_exception(errors, str(error))

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"console: {message.text}")

    page.on("pageerror", note_error)
    page.on("console", note_console)
    yield open_socket
    disconnect_all()
    page.remove_listener("pageerror", note_error)
    page.remove_listener("console", note_console)
