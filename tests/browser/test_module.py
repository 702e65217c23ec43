"""The browser client as an ES module, `/socket.io/socket.io.mjs`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.appserver import AppServer
from tests.engines import Page

APP = """
import tornado.web

import tornadio
from tests.app import Echo, options_of, serve

class Page(tornado.web.RequestHandler):
    def get(self):
        server = self.get_argument("server")
        self.write(f'''<!DOCTYPE html>
<title>A page with the module</title>
<link rel="icon" href="data:,">
<script>
  window.pageErrors = [];
  window.addEventListener('error', (event) => pageErrors.push(event.message));
</script>
<script type="module">
  import io, {{ Socket }} from '{server}/socket.io/socket.io.mjs';
  import * as all from '{server}/socket.io/socket.io.mjs';

  window.exported = [Object.keys(all), io === window.io, Socket === io.Socket, all.default === io];
  window.echo = (port, transport) => new Promise((resolve) => {{
    const options = {{ port, transports: [transport], rememberTransport: false, connectTimeout: 30000 }};
    const socket = new Socket('localhost', options);
    socket.on('message', (message) => {{
      socket.disconnect();
      resolve([socket.transport.type, message]);
    }});
    socket.on('connect', () => socket.send('hello'));
    socket.connect();
  }});
</script>''')

serve(tornadio.get_router(Echo).route(), (r"/page", Page), port=options_of().port, address="")
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[AppServer]]:
    """Two of them, to load the module from another origin, too."""
    directory = tmp_path_factory.mktemp("servers")
    (directory / "app.py").write_text(APP, encoding="utf-8")
    servers = [AppServer(directory / "app.py", (), directory / f"output{number}.txt") for number in range(2)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.kill()


@pytest.mark.engines
@pytest.mark.parametrize("origin", ["same origin", "other port"])
def test_a_page_imports_it_connects_and_is_echoed(page: Page, servers: list[AppServer], origin: str):
    server, other = servers
    page.goto(f"{(server if origin == 'same origin' else other).url}/page?server={server.url}")
    page.wait_for_function("() => window.exported !== undefined")
    assert page.evaluate("() => exported") == [["Socket", "default"], True, True, True]
    for transport in ("websocket", "xhr-multipart", "xhr-polling", "jsonp-polling"):
        assert page.evaluate("([port, transport]) => echo(port, transport)", [server.port, transport]) == [
            transport,
            "hello",
        ]
