"""The Flash policy: on a port of its own, inline on the main port, from a file or from the routers' origins."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import tornado.web

import tornadio
from tests.appserver import free_port
from tests.support import ClientStream, Recorder, shut_down

REQUEST = b"<policy-file-request/>\0"


def policy(port: int, *domains: str) -> bytes:
    lines = "".join(f'<allow-access-from domain="{domain}" to-ports="{port}"/>' for domain in domains)
    return f'<?xml version="1.0"?><cross-domain-policy>{lines}</cross-domain-policy>'.encode()


async def answer(port: int, *pieces: bytes) -> bytes:
    """All that the server says to somebody who says this."""
    async with contextlib.aclosing(await ClientStream.connect(port)) as wire:
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0)
        return await wire.read_to_end()


@pytest.fixture(params=["its own port", "the main port"])
def ask_at(request: pytest.FixtureRequest, serve: Any) -> Any:
    """Starts a server; gives the main port, and the one that is to be asked."""

    def start(settings: dict[str, Any] | None = None, **application: Any) -> tuple[int, int]:
        if request.param == "the main port":
            served = serve(settings=settings, application=application)
            return served.port, served.port
        flash_policy_port = free_port()
        served = serve(settings=settings, application={"flash_policy_port": flash_policy_port, **application})
        return served.port, flash_policy_port

    return start


async def test_the_policy_answers_the_request_and_ends_the_connection(ask_at):
    main, port = ask_at()
    assert await answer(port, REQUEST) == policy(main, "*") + b"\0"


async def test_the_log_says_where_the_policy_is_served(serve, caplog):
    caplog.set_level(logging.INFO)
    port = free_port()
    serve(application={"flash_policy_port": port})
    assert f"the Flash policy is served on port {port}" in caplog.text


async def test_the_request_may_come_byte_by_byte(ask_at):
    main, port = ask_at()
    assert await answer(port, *(bytes([byte]) for byte in REQUEST)) == policy(main, "*") + b"\0"


@pytest.mark.parametrize("said", [b"<policy-file-request/>\n", b"<Policy-File-Request/>\0", b"<" + 10_000_000 * b"x"])
async def test_other_bytes_are_dropped(ask_at, said):
    _, port = ask_at()
    with contextlib.suppress(ConnectionError):
        assert await answer(port, said) == b""


async def test_half_a_request_has_five_seconds(ask_at, clock):
    _, port = ask_at()
    async with contextlib.aclosing(await ClientStream.connect(port)) as wire:
        await wire.send(REQUEST[:-1])
        await clock.advance(4.9)
        assert not wire.reader.at_eof()
        await clock.advance(0.2)
        assert await wire.read_to_end() == b""


async def test_silence_on_the_policy_port_has_five_seconds(serve, clock):
    port = free_port()
    serve(application={"flash_policy_port": port})
    async with contextlib.aclosing(await ClientStream.connect(port)) as wire:
        await clock.advance(4.9)
        assert not wire.reader.at_eof()
        await clock.advance(0.2)
        assert await wire.read_to_end() == b""


async def test_who_leaves_early_does_no_harm(ask_at, caplog):
    main, port = ask_at()
    for said in (b"", REQUEST[:5], REQUEST):
        wire = await ClientStream.connect(port)
        await wire.send(said)
        wire.reset()
    assert await answer(port, REQUEST) == policy(main, "*") + b"\0"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_flood_of_connections_is_dropped_and_the_port_answers_again_after_it(serve, clock):
    port = free_port()
    served = serve(application={"flash_policy_port": port})
    wires = [await ClientStream.connect(port) for _ in range(300)]
    await served.barrier()
    await wires[0].send(REQUEST)
    assert await wires[0].read_to_end() == policy(served.port, "*") + b"\0"
    assert await wires[-1].read_to_end() == b""
    for wire in wires:
        await wire.aclose()
    assert await answer(port, REQUEST) == policy(served.port, "*") + b"\0"


async def test_the_main_port_serves_http_as_ever(serve):
    served = serve()
    assert await answer(served.port, REQUEST) == policy(served.port, "*") + b"\0"
    wire = await served.connect()
    for byte in b"GET /socket.io/xhr-polling/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n":
        await wire.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await wire.read_response()).status == 200


async def test_a_policy_file_is_sent_as_it_is(ask_at, tmp_path):
    file = tmp_path / "policy.xml"
    file.write_bytes(b"<cross-domain-policy>\n  \xc3\xa9\r\n</cross-domain-policy>\n")
    _, port = ask_at(flash_policy_file=str(file))
    assert await answer(port, REQUEST) == file.read_bytes() + b"\0"


async def test_a_policy_file_alone_is_served_on_port_843(tmp_path, caplog):
    file = tmp_path / "policy.xml"
    file.write_bytes(b"<cross-domain-policy/>")
    # An address of our own, where nobody else serves.
    application = tornado.web.Application(
        [], socket_io_port=0, socket_io_address="127.8.4.3", flash_policy_file=str(file)
    )
    server = tornadio.SocketServer(application, auto_start=False)
    if "no Flash policy server on port 843" not in caplog.text:  # as it is for all but root
        reader, writer = await asyncio.open_connection("127.8.4.3", 843)
        writer.write(REQUEST)
        assert await reader.read() == b"<cross-domain-policy/>\0"
        writer.close()
        await writer.wait_closed()
    await shut_down(server)


@pytest.mark.parametrize(
    ("origins", "domains"),
    [
        (["*:*"], ["*"]),
        (["example.com:*", "example.com:8001"], ["example.com"]),
        (["www.example.com:80", "https://example.org"], ["www.example.com", "example.org"]),
        (["*:80"], ["*"]),
    ],
)
async def test_without_a_file_the_policy_names_the_hosts_of_the_origins(ask_at, origins, domains):
    main, port = ask_at({"origins": origins})
    assert await answer(port, REQUEST) == policy(main, *domains) + b"\0"


@pytest.mark.parametrize(
    ("settings", "domains"),
    [
        ({"enabled_protocols": ["websocket", "xhr-polling"]}, []),
        ({"enabled_protocols": ["websocket"], "origins": ["*:*"]}, []),
        ({"hosts": ["chat.example.com", "*.example.org"]}, ["chat.example.com", "*.example.org"]),
        ({"hosts": ["chat.example.com"], "origins": ["www.example.com:*"]}, ["www.example.com"]),
        ({"hosts": ["*"]}, ["*"]),
    ],
)
async def test_the_policy_lets_in_no_more_than_the_router_does(ask_at, settings, domains):
    main, port = ask_at(settings)
    assert await answer(port, REQUEST) == policy(main, *domains) + b"\0"


async def test_the_policy_is_the_union_of_all_routers():
    def router(resource: str, *origins: str) -> Any:
        return tornadio.get_router(Recorder, {"origins": origins}, resource=resource).route()

    application = tornado.web.Application(
        [
            router("chat", "a.example.com:*", "b.example.com:*"),
            ("/nested/.*", [router("nested", "b.example.com:*", "c.example.com:*")]),
        ],
        socket_io_port=0,
        socket_io_address="127.0.0.1",
    )
    application.add_handlers(r"www\.example\.com", [router("ping", "d.example.com:*")])
    server = tornadio.SocketServer(application, auto_start=False)
    received = await answer(server.port, REQUEST)
    await shut_down(server)
    prefix, *lines, suffix = received.decode().replace("<allow", "\n<allow").replace("/><", "/>\n<").split("\n")
    assert sorted(lines) == [
        f'<allow-access-from domain="{letter}.example.com" to-ports="{server.port}"/>' for letter in "abcd"
    ]
    assert (prefix, suffix) == ('<?xml version="1.0"?><cross-domain-policy>', "</cross-domain-policy>\0")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# Tornado leaves the socket that it can't bind to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")
async def test_a_policy_port_that_cannot_be_bound_is_one_warning_and_the_server_runs_on(serve, taken_port, caplog):
    served = serve(application={"flash_policy_port": taken_port})
    [warning] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"no Flash policy server on port {taken_port}" in warning
    for advice in ("root", "flash_policy_port", str(served.port)):
        assert advice in warning
    assert await answer(served.port, REQUEST) == policy(served.port, "*") + b"\0"
    await served.open()
    caplog.clear()
    gc.collect()


async def test_a_policy_file_that_is_not_there_is_an_error_before_anything_listens(serve, tmp_path):
    port = free_port()
    with pytest.raises(FileNotFoundError, match=r"missing\.xml"):
        serve(application={"flash_policy_file": str(tmp_path / "missing.xml"), "socket_io_port": port})
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_shutdown_drops_those_who_still_ask(serve, clock):
    port = free_port()
    served = serve(application={"flash_policy_port": port})
    wires = [await ClientStream.connect(port), await ClientStream.connect(served.port)]
    for wire in wires:
        await wire.send(REQUEST[:5])
    await served.barrier()
    await served.server.shutdown()
    for wire in wires:
        assert await wire.read_to_end() == b""
        await wire.aclose()
    with pytest.raises(ConnectionRefusedError):
        await ClientStream.connect(port)
