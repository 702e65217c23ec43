"""Clients leave the application the last file descriptors, whatever way they come: else it could open nothing any more,
and accepting would fail again and again, a traceback each time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.appserver import AppServer, free_port
from tests.clients import KEYS, NONCE, UPGRADE, request
from tests.support import ClientStream, Elsewhere, until
from tests.tls import Certificate

APP = Path(__file__).with_name("descriptor_app.py")
DESCRIPTORS = 128
SPARE = 32
# A field that comes twice leaves a request to Tornado's HTTP.
TWICE = b"X: 1\r\nX: 2\r\n"
MODERN = {**UPGRADE, "Sec-WebSocket-Version": "13", **NONCE}


def left_to_tornado(path: str, headers: dict[str, str]) -> bytes:
    return request(headers, path).replace(b"\r\n\r\n", b"\r\n" + TWICE + b"\r\n")


def open_files(server: AppServer) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


@pytest.fixture
def policy_port() -> int:
    return free_port()


@pytest.fixture
def server(tmp_path: Path, policy_port: int) -> Iterator[AppServer]:
    limited = ("bash", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"', sys.executable)
    server = AppServer(APP, (f"--policy_port={policy_port}",), tmp_path / "output.txt", limited)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def served(server: AppServer) -> AsyncIterator[Elsewhere]:
    async with contextlib.aclosing(Elsewhere.of(server)) as served:
        yield served


async def assert_spared(server: AppServer, served: Elsewhere) -> None:
    """Some descriptors are free, and the process is not busy with failing."""
    assert open_files(server) <= DESCRIPTORS - SPARE + 2
    for _ in range(20):  # each of them would make it fail
        with contextlib.suppress(OSError):
            await (await served.connect()).read_to_end()
    assert open_files(server) <= DESCRIPTORS - SPARE + 2
    assert "Traceback" not in server.output()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/socket.io/websocket", MODERN),
        ("/socket.io/flashsocket", {**UPGRADE, **KEYS}),
        ("/socket.io/xhr-multipart/", {}),
        ("/socket.io/xhr-polling/", MODERN),  # refused, and the connection lingers
    ],
)
async def test_connections_that_leave_tornados_http_take_no_other_descriptor(server, served, path, headers):
    wires = [await served.connect() for _ in range(DESCRIPTORS)]
    await until(lambda: open_files(server) >= DESCRIPTORS - SPARE)
    for wire in wires[:60]:
        with contextlib.suppress(OSError):
            await wire.send(left_to_tornado(path, headers))
            await wire.read_until(b"\r\n\r\n")
            await served.connect()  # takes the lowest number, if that has become free
    await assert_spared(server, served)


async def test_the_policy_port_takes_no_spare_descriptor_either(server, served, policy_port):
    for _ in range(DESCRIPTORS - SPARE):
        await served.connect()
    await until(lambda: open_files(server) >= DESCRIPTORS - SPARE)
    silent = [await ClientStream.connect(policy_port) for _ in range(60)]
    for wire in silent:
        assert await wire.read_to_end() == b""
        await wire.aclose()
    await assert_spared(server, served)


async def test_connections_that_are_reset_before_their_tls_handshake_leave_nothing(tmp_path):
    certificate = Certificate()
    certificate.write(tmp_path / "certificate.pem")
    server = AppServer(APP, (f"--certificate={tmp_path / 'certificate.pem'}",), tmp_path / "output.txt")
    server.start()
    try:
        before = open_files(server)
        for number in range(400):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if number % 2:
                    connection.sendall(b"x")
        with (
            socket.create_connection(("127.0.0.1", server.port)) as connection,
            certificate.client.wrap_socket(connection, server_hostname="localhost") as encrypted,
        ):
            encrypted.sendall(request({"Connection": "close"}, "/socket.io/xhr-polling//1"))
            assert encrypted.recv(100).startswith(b"HTTP/1.1 200")
        await until(lambda: open_files(server) <= before + 2)
        assert "Traceback" not in server.output()
    finally:
        server.kill()
