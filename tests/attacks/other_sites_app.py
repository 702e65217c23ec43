"""The server of the tests with other sites' pages: it serves those pages, too, and remembers who opened a session."""

from __future__ import annotations

import json
from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.app import options_of, report_at, serve

PAGE = """<!DOCTYPE html>
<meta charset="utf-8"><title>a page</title><link rel="icon" href="data:,">
<script>
  window.payloads = [];
  window.io = {JSONP: [{_: (payload) => { payloads.push(payload); }}]};
  function add(name, address) {
    const element = document.createElement(name);
    const outcome = new Promise((resolve) => { element.onload = element.onerror = (event) => resolve(event.type); });
    element.src = address;
    document.body.append(element);
    return outcome;
  }
  async function ask(method, address) {
    const options = method === 'POST' ? {method, body: 'data=~m~5~m~hello'} : {method};
    const response = await fetch(address, options);
    // A stream has no end: what its first piece says is enough.
    const {value} = await response.body.getReader().read();
    return [response.status, new TextDecoder().decode(value)];
  }
  function openSocket(address) {
    return new Promise((resolve) => {
      const socket = new WebSocket(address);
      socket.onmessage = (event) => resolve(event.data);
      socket.onclose = () => resolve('closed');
    });
  }
</script>
<body></body>
"""

opened: list[dict[str, Any]] = []
messages: list[Any] = []
answers: list[tuple[str, int]] = []


class Connection(tornadio.SocketConnection):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        opened.append({"transport": self.transport, "cookie": request.headers.get("Cookie")})
        self.send("secret")

    def on_message(self, message: Any) -> None:
        messages.append(message)


class PageHandler(tornado.web.RequestHandler):
    """`?policy=` is the page's Referrer-Policy."""

    def get(self) -> None:
        if policy := self.get_query_argument("policy", ""):
            self.set_header("Referrer-Policy", policy)
        self.write(PAGE)


class LoginHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.set_cookie("user", "visitor", httponly=True, samesite="Lax")


def log(handler: Any) -> None:
    answers.append((handler.request.uri, handler.get_status()))


def main() -> None:
    options = options_of(settings="{}")
    serve(
        (r"/", PageHandler),
        (r"/login", LoginHandler),
        report_at("/seen", lambda: {"opened": opened, "messages": messages, "answers": answers}),
        tornadio.get_router(Connection, json.loads(options.settings)).route(),
        port=options.port,
        address="",
        settings={"log_function": log},
    )


if __name__ == "__main__":
    main()
