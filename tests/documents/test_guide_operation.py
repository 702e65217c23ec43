"""docs/guide/operation.rst: the lines for nginx, before a server that believes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appserver import Daemon, free_port
from tests.clients import KEYS, UPGRADE, connect, request
from tests.deployment.fleet import daemon_of, with_own_places
from tests.documents.pages import REPOSITORY, Page
from tests.documents.programs import ServeProgram, connected, status_of
from tests.support import ClientStream, Elsewhere
from tornadio import proto

PAGE = Page("docs/guide/operation.rst")
LOCATION = PAGE.code("Behind a proxy", language="nginx")
INSTALLED = PAGE.code("Compiled", language="bash")

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


@pytest.mark.pure
def test_the_package_is_compiled_as_in_the_tests_of_all():
    variable, *install = INSTALLED.split()
    lines = (REPOSITORY / "tests" / "run.sh").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if f"{variable} " in line and "pip" in line and line.endswith(f" {install[-1]}"))
    assert line.split()[2] == install[1]


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


@pytest.mark.needs("nginx")
@pytest.mark.parametrize(
    ("transport", "version", "header"),
    [
        ("websocket", "76", "Sec-WebSocket-Location"),
        ("websocket", "75", "WebSocket-Location"),
        ("flashsocket", "76", "Sec-WebSocket-Location"),
    ],
)
async def test_drafts_are_told_the_address_that_they_have_asked_for(
    nginx: Daemon, transport: str, version: str, header: str
) -> None:
    """The proxy's port is none that goes without saying: a client of these drafts fails at another one."""
    path = f"/socket.io/{transport}"
    wire = await ClientStream.connect(nginx.port)
    origin, host = f"http://localhost:{nginx.port}", f"localhost:{nginx.port}"
    keys = KEYS if version == "76" else {}
    await wire.send(request({**UPGRADE, "Host": host, "Origin": origin, **keys}, path))
    head = await wire.read_head()
    await wire.aclose()
    assert head.status == 101
    assert head.headers[header.lower()] == f"ws://{host}{path}"
    assert head.headers[header.lower().replace("location", "origin")] == origin
    served = Elsewhere.of(nginx)  # type: ignore[arg-type]
    peer = await connect(served, version, path, {"Host": host, "Origin": origin})
    await peer.receive()
    assert await peer.receive() == proto.encode({"address": "127.0.0.1"})
    await peer.send(proto.encode("hello"))
    assert await peer.receive() == proto.encode("hello")
    await served.aclose()
