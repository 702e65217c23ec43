"""The examples as programs: their option for the Flash policy, over plain sockets. Their pages: tests/browser."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.appserver import AppServer, free_port

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
REQUEST = b"<policy-file-request/>\0"
every_example = pytest.mark.parametrize("name", ["chatroom", "ping", "transports"])

StartServer = Callable[..., AppServer]


def script(name: str) -> Path:
    return EXAMPLES / name / f"{name}.py"


def answer(port: int, request: bytes) -> bytes:
    """All that a server says to a request, until it closes the connection."""
    with socket.create_connection(("localhost", port), timeout=30) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as received:
            return received.read()


def assert_serves(server: AppServer) -> None:
    """Pages, and the Flash policy on the main port."""
    page = answer(server.port, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert page.startswith(b"HTTP/1.1 200 OK")
    assert b"<!DOCTYPE html>" in page or b"<!doctype html>" in page
    assert b"<cross-domain-policy>" in answer(server.port, REQUEST)


@every_example
def test_the_flash_policy_is_served_on_the_port_that_is_asked_for(name: str, app_server: StartServer) -> None:
    port = free_port()
    server = app_server(script(name), f"--flash-policy-port={port}")
    policy = answer(port, REQUEST)
    assert f'<allow-access-from domain="*" to-ports="{server.port}"/>'.encode() in policy
    assert_serves(server)
    assert "WARNING" not in server.output().upper()


@every_example
def test_a_policy_port_that_can_not_be_bound_is_told_and_the_example_runs_on(
    name: str, app_server: StartServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = app_server(script(name), f"--flash-policy-port={port}")
        assert_serves(server)
    assert f"no Flash policy server on port {port}" in server.output()
    assert server.terminate() == 0


def test_the_transports_example_asks_for_the_port_of_flash_and_runs_on_without_it(app_server: StartServer) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # it is taken, or not for us: nor is it for the example, then
            stack.enter_context(socket.create_server(("127.0.0.1", 843)))
        server = app_server(script("transports"))
        assert_serves(server)
    output = server.output()
    assert "no Flash policy server on port 843" in output
    assert "start as root" in output


@pytest.mark.parametrize("name", ["chatroom", "ping"])
def test_the_others_serve_the_policy_on_their_own_port_alone(name: str, app_server: StartServer) -> None:
    server = app_server(script(name))
    assert_serves(server)
    assert "Flash" not in server.output()
