"""docs/guide/operation.rst: the lines for nginx, before a server that believes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appserver import Daemon, free_port
from tests.deployment.fleet import daemon_of, with_own_places
from tests.documents.pages import Page
from tests.documents.programs import ServeProgram, connected, status_of

PAGE = Page("docs/guide/operation.rst")
LOCATION = PAGE.code("Behind a proxy", language="nginx")

SERVER = """
import tornado.web
import tornadio

class Echo(tornadio.SocketConnection):
    def on_open(self, request, *args, **kwargs):
        self.send({"address": request.remote_ip})

    def on_message(self, message):
        self.send(message)

router = tornadio.get_router(Echo)
application = tornado.web.Application([router.route()], socket_io_port=8001, socket_io_address="127.0.0.1")
tornadio.SocketServer(application, xheaders=["127.0.0.1"])
"""


@pytest.fixture
def nginx(serve_program: ServeProgram, tmp_path: Path) -> Iterator[Daemon]:
    """nginx with the page's lines, before a server that is started as the page says."""
    server = serve_program(SERVER)
    port = free_port()
    location = LOCATION.replace("127.0.0.1:8001", f"127.0.0.1:{server.port}")
    text = f"events {{}}\nhttp {{\naccess_log off; server {{ listen {port};\n{location} }}\n}}\n"
    path = tmp_path / "nginx.conf"
    path.write_text(with_own_places(text), encoding="utf-8")
    arguments = ("-p", str(tmp_path), "-c", str(path), "-e", "stderr", "-g", "daemon off; pid nginx.pid;")
    nginx = daemon_of("nginx", *arguments, port=port, directory=tmp_path)
    nginx.start()
    yield nginx
    nginx.stop()
    print(nginx.output())


@pytest.mark.needs("nginx")
async def test_nginx_with_these_lines_passes_all_on(nginx: Daemon) -> None:
    async with connected(nginx, **{"X-Real-Ip": "203.0.113.9"}) as client:
        assert await client.receive() == {"address": "127.0.0.1"}  # the proxy's word, not the client's
        await client.send("é中😀")
        assert await client.receive() == "é中😀"
    own = f"http://localhost:{nginx.port}"
    assert await status_of(nginx, "/socket.io/xhr-polling/", Origin=own) == 200
    assert await status_of(nginx, "/socket.io/xhr-polling/", Origin="http://www.example.com") == 403
