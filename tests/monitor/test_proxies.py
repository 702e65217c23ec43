"""Through real proxies on this machine, which name their clients or don't: without authorize nobody comes in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.appserver import Daemon, free_port
from tests.deployment.fleet import daemon_of, with_own_places
from tests.monitor.test_door import answers, assert_refused, monitored
from tests.support import Serve, Served

# As they are without a thought: nginx names no client, and asks for the host that it connects to.
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    option forwardfor
listen web
    bind 127.0.0.1:{web}
    server a 127.0.0.1:{port}
"""
NGINX = """
events {{}}
http {{
    server {{
        listen 127.0.0.1:{web};
        location / {{ proxy_pass http://127.0.0.1:{port}; }}
    }}
}}
"""
# With the three lines of its documentation for WebSockets.
NGINX_FOR_WEBSOCKETS = NGINX.replace(
    "proxy_pass",
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_pass',
)
CONFIGURATIONS = {"haproxy": HAPROXY, "nginx": NGINX, "nginx for WebSockets": NGINX_FOR_WEBSOCKETS}


@contextlib.contextmanager
def behind(name: str, served: Served, directory: Path) -> Iterator[Served]:
    """A server through a proxy."""
    web = free_port()
    text = CONFIGURATIONS[name].format(web=web, port=served.port)
    name = name.split()[0]
    path = directory / name
    path.write_text(with_own_places(text), encoding="utf-8")
    main = ("-p", str(directory), "-c", str(path), "-e", "stderr", "-g", "daemon off; pid nginx.pid;")
    arguments = main if name == "nginx" else ("-f", str(path))
    proxy: Daemon = daemon_of(name, *arguments, port=web, directory=directory)
    proxy.start()
    try:
        yield Served(cast(Any, SimpleNamespace(port=web)), served.router, served.wires)
    finally:
        proxy.stop()


@pytest.mark.external
@pytest.mark.needs("haproxy", "nginx")
@pytest.mark.parametrize("name", CONFIGURATIONS)
async def test_without_authorize_nobody_comes_in(name: str, serve: Serve, tmp_path: Path) -> None:
    with behind(name, monitored(serve), tmp_path) as proxied:
        for host in ("localhost", "127.0.0.1", "example.com"):
            await assert_refused(proxied, {"Host": host})


@pytest.mark.external
@pytest.mark.needs("haproxy")
async def test_whom_authorize_lets_in_comes_in(serve: Serve, tmp_path: Path) -> None:
    def authorize(handler: Any) -> str | None:
        return "read" if handler.get_cookie("name") == "ann" else None

    with behind("haproxy", monitored(serve, authorize), tmp_path) as proxied:
        await assert_refused(proxied)
        found = await answers(proxied, {"Cookie": "name=ann"})
        assert found["GET "].status == found["GET monitor.js"].status == found["GET xhr-polling"].status == 200
        assert found["GET websocket"].status == 101
