"""The server of the script injection tests: it sends every client hostile messages, and has pages that receive them."""

from __future__ import annotations

from typing import Any

import tornado.options
import tornado.web

import tornadio
from tests.app import options_of, serve

RUN = "window.hacked = 1; top.hacked = 1; alert(1)"

HOSTILE = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"</SCRIPT\n><script>{RUN}</script\t>",
    f"<!--<script>{RUN}",
    f"--><script>{RUN}</script>",
    f"]]><script>{RUN}</script>",
    f"<img src=/hacked onerror='{RUN}'>",
    f"</body></html><svg onload='{RUN}'>",
    f'"); {RUN}; ("',
    f"'); {RUN}; ('",
    f'\\"); {RUN}; //',
    f"`${{{RUN}}}`",
    f"\u2028{RUN}\u2029{RUN}",
    f"\r\n{RUN}\r\n\n\r",
    f"*/{RUN}/*",
    f"&quot;); {RUN}; (&quot; &lt;img src=/hacked onerror=&quot;{RUN}&quot;&gt;",
    f"\\u003cscript\\u003e{RUN}\\u003c/script\\u003e \\x3cimg src=/hacked\\x3e \\",
    f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",  # UTF-7
    f"\x00<\x00script\x00>{RUN}\x00",
    f"\x1b(J\"); {RUN}; (\"",  # Shift out of ASCII in ISO-2022-JP
    f"\ufeff\"); {RUN}; //",
    f"javascript:{RUN}",
    f"~m~3~m~\n{RUN}",
    "__proto__",
    "\ufffe\uffff\x7f\x80\x9f é中😀",
)  # fmt: skip

MESSAGES = [*HOSTILE, {text: text for text in HOSTILE}, "end"]

# A page that takes messages with its own hands, as io.JSONP and parent.s of the client would.
PAGE = """<!DOCTYPE html>
<meta charset="utf-8"><title>untouched</title><link rel="icon" href="data:,">
<script nonce="page">
  window.payloads = [];
  window.all = new Promise((resolve) => {
    window.s = {_: (payload) => { payloads.push(payload); if (payload.endsWith('~m~3~m~end')) resolve(); }};
  });
  window.io = {JSONP: [s]};
  function add(name, address) {
    const element = document.createElement(name);
    const outcome = new Promise((resolve) => { element.onload = element.onerror = (event) => resolve(event.type); });
    element.src = address;
    document.body.append(element);
    return outcome;
  }
</script>
<body></body>
"""
CLIENT_PAGE = """<!DOCTYPE html>
<meta charset="utf-8"><title>untouched</title><link rel="icon" href="data:,">
<script src="/socket.io/socket.io.js"></script>
<script nonce="page">
  let messages = [];
  let received;
  function connect(transport) {
    window.socket = new io.Socket(null, {transports: [transport]});
    socket.on('message', (message) => { messages.push(message); received?.(); }).connect();
  }
  /** The next so many messages, as JSON. */
  async function receive(count) {
    while (messages.length < count) await new Promise((resolve) => { received = resolve; });
    return JSON.stringify(messages.splice(0, count));
  }
</script>
<body></body>
"""


class Connection(tornadio.SocketConnection):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.send(MESSAGES)

    def on_message(self, message: Any) -> None:
        self.send(message)


class ShortConnection(Connection):
    """Ends at once, so that a browser does not wait for the rest."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().on_open(request, *args, **kwargs)
        self.close()


class PageHandler(tornado.web.RequestHandler):
    """`?policy=` is the page's Content-Security-Policy."""

    def initialize(self, page: str) -> None:
        self._page = page

    def get(self) -> None:
        if policy := self.get_query_argument("policy", ""):
            self.set_header("Content-Security-Policy", policy)
        self.write(self._page)


class PlainHandler(tornado.web.RequestHandler):
    """What a browser runs as a script although it is none: text, without a word against sniffing."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.write("window.hacked = 1")


def main() -> None:
    serve(
        (r"/", PageHandler, {"page": PAGE}),
        (r"/client", PageHandler, {"page": CLIENT_PAGE}),
        (r"/plain", PlainHandler),
        tornadio.get_router(Connection).route(),
        tornadio.get_router(ShortConnection, resource="short").route(),
        port=options_of().port,
        address="",
    )


if __name__ == "__main__":
    main()
