"""SocketServer: how it starts, listens, limits and stops."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tornado.web
from tornado.httpclient import AsyncHTTPClient
from tornado.netutil import bind_unix_socket
from tornado.routing import HostMatches, PathMatches, Rule, RuleRouter

import tornadio
from tests.appserver import REPOSITORY, AppServer, free_port
from tests.clients import open_client, opened_hybi, request
from tests.internals import flash_port, port_of
from tests.support import HTTP_TRANSPORTS, POLLING, Recorder, Served, limit, shut_down, until
from tornadio.errors import CallerError, SettingsError
from tornadio.server import SocketServer
from tornadio.settings import PROTOCOLS

every_transport = pytest.mark.parametrize("transport", PROTOCOLS)


def start(*routes: Any, **settings: Any) -> SocketServer:
    return SocketServer(tornado.web.Application(list(routes), **settings), auto_start=False)


# -- Start -------------------------------------------------------------------------------------------------------------


async def test_it_listens_where_the_settings_say():
    port = free_port()
    server = start(socket_io_port=port, socket_io_address="127.8.0.2")
    assert server.port == port
    _, writer = await asyncio.open_connection("127.8.0.2", port)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await shut_down(server)


async def test_the_port_is_8001_where_none_is_set():
    server = start(socket_io_address="127.8.0.1")  # an address of our own, where nobody else serves
    assert server.port == 8001
    await shut_down(server)


async def test_it_listens_on_all_addresses_where_none_is_set():
    server = start(socket_io_port=free_port())
    for address in ("127.0.0.1", "127.8.0.3", *(["::1"] if socket.has_dualstack_ipv6() else [])):
        _, writer = await asyncio.open_connection(address, server.port)
        writer.close()
    await shut_down(server)


async def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(caplog):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            start(socket_io_port=port, socket_io_address="127.0.0.1")
    [error] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"can't listen on port {port}" in error
    assert "socket_io_port" in error
    caplog.clear()
    gc.collect()


async def test_the_arguments_win_over_the_settings_of_the_application():
    settings = {"socket_io_port": free_port(), "socket_io_address": "127.8.0.4"}
    application = tornado.web.Application([], **settings)  # type: ignore[arg-type]
    server = SocketServer(application, auto_start=False, port=0, address="127.8.0.5")
    assert server.port != settings["socket_io_port"]
    _, writer = await asyncio.open_connection("127.8.0.5", server.port)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.8.0.4", server.port)
    await shut_down(server)


@pytest.mark.parametrize("argument", ["port", "address"])
async def test_one_argument_leaves_the_other_to_the_settings(argument):
    port = free_port()
    settings = {"socket_io_port": port, "socket_io_address": "127.8.0.6"}
    del settings[f"socket_io_{argument}"]
    application = tornado.web.Application([], **settings)  # type: ignore[arg-type]
    arguments: dict[str, Any] = {argument: {"port": port, "address": "127.8.0.6"}[argument]}
    server = SocketServer(application, auto_start=False, **arguments)
    assert server.port == port
    _, writer = await asyncio.open_connection("127.8.0.6", port)
    writer.close()
    await shut_down(server)


async def test_an_empty_address_is_all_addresses_whatever_the_settings_say():
    application = tornado.web.Application([], socket_io_address="127.8.0.7")
    server = SocketServer(application, auto_start=False, port=0, address="")
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.close()
    await shut_down(server)


async def test_the_flash_policy_server_listens_on_the_address_of_the_argument():
    application = tornado.web.Application([], flash_policy_port=free_port(), socket_io_address="127.8.0.8")
    server = SocketServer(application, auto_start=False, port=0, address="127.8.0.9")
    _, writer = await asyncio.open_connection("127.8.0.9", flash_port(server))
    writer.close()
    await shut_down(server)


@pytest.mark.parametrize("value", [80, b"127.0.0.1", ["127.0.0.1"], True])
async def test_a_wrong_address_of_the_settings_is_an_error_that_says_what_is_right(value):
    with pytest.raises(SettingsError, match="socket_io_address must be an address or host name, such"):
        start(socket_io_port=0, socket_io_address=value)


@pytest.mark.parametrize("name", ["socket_io_port", "flash_policy_port"])
@pytest.mark.parametrize("value", ["http", -1, 65536, [8001]])
async def test_a_wrong_port_is_an_error_before_anything_listens(name, value):
    port = free_port()
    with pytest.raises(SettingsError, match=f"{name} must be a port"):
        start(**{"socket_io_port": port, "socket_io_address": "127.0.0.1", name: value})
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_auto_start_in_a_running_loop_is_an_error_before_anything_listens():
    port = free_port()
    application = tornado.web.Application([], socket_io_port=port, socket_io_address="127.0.0.1")
    with pytest.raises(CallerError, match="auto_start=False"):
        SocketServer(application)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_name_of_the_original_is_the_same_class():
    assert tornadio.SocketServer is SocketServer


async def test_routers_are_found_wherever_they_are_in_the_rules():
    def router(resource: str) -> tornadio.Router:
        return tornadio.get_router(Recorder, resource=resource)

    Recorder.opened.clear()
    plain, nested, deep, of_host, of_host_nested = routers = [router(name) for name in "abcde"]
    inner_application = tornado.web.Application([deep.route()])
    application = tornado.web.Application(
        [
            plain.route(),
            (r"/b/.*", [nested.route()]),
            Rule(HostMatches("localhost"), RuleRouter([Rule(PathMatches("/c/.*"), inner_application)])),
        ],
        socket_io_port=0,
        socket_io_address="127.0.0.1",
    )
    application.add_handlers(r"localhost", [of_host.route(), (r"/e/.*", [of_host_nested.route()])])
    server = SocketServer(application, auto_start=False)
    served = Served(server, plain)
    assert set(server.routers) == set(routers)
    sessions = []
    for resource in "abcde":
        response = await served.request("GET", f"/{resource}/xhr-polling/", {"Host": "localhost"})
        sessions.append(response.status)
    assert sessions == [200] * 5
    await shut_down(server)
    assert all(recorder.is_closed for recorder in Recorder.opened)


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({}, ("127.0.0.1", "http")),
        ({"X-Real-Ip": "192.0.2.1"}, ("192.0.2.1", "http")),
        ({"X-Forwarded-For": "192.0.2.2"}, ("192.0.2.2", "http")),
        ({"X-Forwarded-For": "192.0.2.3, 2001:db8::1"}, ("2001:db8::1", "http")),
        ({"X-Forwarded-For": "192.0.2.2", "X-Real-Ip": "192.0.2.1"}, ("192.0.2.1", "http")),
        ({"X-Forwarded-For": "somewhere"}, ("127.0.0.1", "http")),
        ({"X-Real-Ip": "", "X-Forwarded-For": "192.0.2.2"}, ("192.0.2.2", "http")),  # what a client says hides no proxy
        ({"X-Scheme": "https"}, ("127.0.0.1", "https")),
        ({"X-Forwarded-Proto": "http, https"}, ("127.0.0.1", "https")),
        ({"X-Forwarded-Proto": "https, http"}, ("127.0.0.1", "http")),
        ({"X-Scheme": "http", "X-Forwarded-Proto": "https"}, ("127.0.0.1", "http")),
        ({"X-Scheme": "gopher"}, ("127.0.0.1", "http")),
    ],
)
@pytest.mark.parametrize("xheaders", [False, True])
async def test_xheaders_says_whether_a_proxy_is_believed(serve, each_http, headers, client, xheaders):
    served = serve(server={"xheaders": xheaders})
    await served.request("GET", "/socket.io/xhr-polling/", headers)
    request = Recorder.opened[0].request
    assert (request.remote_ip, request.protocol) == (client if xheaders else ("127.0.0.1", "http"))


# -- Time limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", b""),
        (b"G", b""),
        (b"GET /socket.io/xhr-polling/ HTTP/1.1\r\nHost:", b""),
        (b"POST /socket.io/xhr-polling/x/send HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\ndata=", b""),
        (b"POST /elsewhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\ndata=", b""),
        (request({"Host": "localhost"}, "/elsewhere"), b"HTTP/1.1 404 Not Found"),
    ],
    ids=["nothing", "one byte", "half of the headers", "half of a body", "elsewhere", "keep-alive"],
)
@pytest.mark.parametrize(
    ("server", "seconds"), [({}, 20), ({"header_timeout": 3, "body_timeout": 3}, 3)], ids=["default", "changed"]
)
async def test_headers_and_bodies_have_their_time(serve, clock, server, seconds, said, answer):
    wire = await serve(server=server).connect()
    await wire.send(said)
    await clock.advance(seconds - 0.1)
    assert not wire.reader.at_eof()
    await clock.advance(0.2)
    received = await wire.read_to_end()
    assert received.startswith(answer)
    assert received or not answer


async def test_a_tls_handshake_has_the_time_of_the_headers(serve, clock):
    wire = await serve(server={"ssl_options": ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)}).connect()
    await clock.advance(19.9)
    assert not wire.reader.at_eof()
    await clock.advance(0.2)
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize("server", [{}, {"fast_path": False}])
async def test_tls_on_a_port_without_it_is_told_at_once(serve, caplog, server):
    served = serve(server=server)
    async with limit():
        with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version"):
            await asyncio.open_connection("127.0.0.1", served.port, ssl=ssl.create_default_context())
    assert "closed a connection of 127.0.0.1: it speaks TLS, and this port does not" in caplog.text


async def test_the_limit_for_headers_is_not_one_for_polls_and_streams(serve, clock):
    served = serve(settings={"xhr_polling_timeout": 1000}, server={"header_timeout": 3, "body_timeout": 3})
    clients = [await open_client(served, transport) for transport in PROTOCOLS]
    for client in clients:
        await client.receive()
    receiving = [asyncio.ensure_future(client.receive()) for client in clients]
    await clock.advance(10)
    served.router.broadcast("news")
    for received in receiving:
        assert await received == ["news"]


async def test_silence_costs_no_more_than_the_limit_says(serve, clock):
    served = serve()
    wires = [await served.connect() for _ in range(100)]
    await clock.advance(21)
    for wire in wires:
        assert await wire.read_to_end() == b""
    await served.open()


# -- Shutdown ----------------------------------------------------------------------------------------------------------


class Farewell(Recorder):
    """Has much to say when it is asked to."""

    def on_message(self, message: Any) -> None:
        for number in range(100):
            self.send({"number": number, "text": 10_000 * "x"})


def numbers(received: list[Any]) -> list[int]:
    return [message["number"] for message in received]


@every_transport
async def test_shutdown_delivers_what_is_queued_and_closes_each_connection(serve, transport):
    served = serve(Farewell)
    clients = [await open_client(served, transport) for _ in range(3)]
    waiting = []
    for client in clients:
        await client.receive()
    if transport in POLLING:  # polls that wait have their connection, others could not come any more
        waiting = [asyncio.ensure_future(client.receive()) for client in clients]
        await served.barrier()
    for recorder in Recorder.opened:
        recorder.on_message("go")
    stopping = asyncio.ensure_future(served.server.shutdown())
    for index, client in enumerate(clients):
        received = numbers(await waiting[index]) if waiting else []
        while len(received) < 100:
            received += numbers(await client.receive())
        assert received == list(range(100))
        if not waiting:
            await client.ended()
    async with limit():
        await stopping
    assert [recorder.events for recorder in Recorder.opened] == 3 * [[("open", ""), ("close",)]]
    assert served.router.connections == ()


@pytest.mark.parametrize("transport", POLLING)
async def test_shutdown_leaves_open_connections_time_to_poll_for_what_is_queued(serve, transport):
    served = serve(Farewell)
    client = await open_client(served, transport)
    await client.receive()
    wire = await served.connect()
    await wire.send(request({}, "/elsewhere"))
    assert (await wire.read_response()).status == 404
    Recorder.opened[0].on_message("go")
    stopping = asyncio.ensure_future(served.server.shutdown())
    await until(lambda: Recorder.opened[0].is_closed)
    await wire.send(request({}, f"/socket.io/{transport}/{client.session_id}/1290000000000/0"))
    assert len((await wire.read_response()).body) > 1_000_000
    async with limit():
        await stopping


@every_transport
async def test_shutdown_answers_new_sessions_503(serve, transport):
    class Slow(Recorder):
        async def on_message(self, message: Any) -> None:
            await until(lambda: message == "go" and answered)

    answered: list[int] = []
    served = serve(Slow)
    peer = await opened_hybi(served)
    wire = await served.connect()
    await wire.send(request({}, "/elsewhere"))
    assert (await wire.read_response()).status == 404
    await peer.send("~m~2~m~go")
    stopping = asyncio.ensure_future(served.server.shutdown())
    await until(lambda: Recorder.opened[0].is_closed)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"} if transport not in HTTP_TRANSPORTS else {}
    tail = "" if upgrade else "//1290000000000/0"
    await wire.send(request(upgrade, f"/socket.io/{transport}{tail}"))
    response = await wire.read_response()
    assert response.status == 503
    assert "shutting down" in response.text
    answered.append(response.status)
    await peer.ended()
    async with limit():
        await stopping
    with pytest.raises(ConnectionRefusedError):
        await served.connect()


async def test_shutdown_tells_websockets_1001(serve):
    served = serve()
    peer = await opened_hybi(served)
    ending = asyncio.ensure_future(peer.ended())
    await served.server.shutdown()
    assert await ending == 1001


@every_transport
@pytest.mark.parametrize("handler", ["on_open", "on_message", "on_close"])
async def test_shutdown_cuts_off_what_hangs_at_the_deadline(serve, clock, transport, handler):
    cut_off: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(10_000)
        except asyncio.CancelledError:
            cut_off.append(handler)
            raise

    async def on_close(self: Recorder) -> None:
        Recorder.on_close(self)
        await hang()

    async def on_open(self: Recorder, request: Any, **kwargs: Any) -> None:
        Recorder.on_open(self, request, **kwargs)
        await hang()

    async def on_message(self: Recorder, message: Any) -> None:
        Recorder.on_message(self, message)
        await hang()

    methods: dict[str, Callable[..., Any]] = {"on_open": on_open, "on_message": on_message, "on_close": on_close}
    served = serve(type("Hanging", (Recorder,), {handler: methods[handler]}))

    async def live() -> None:
        client = await open_client(served, transport)
        await client.send("go")

    living = asyncio.gather(live(), return_exceptions=True)
    await until(lambda: Recorder.opened and (handler != "on_message" or len(Recorder.opened[0].events) == 2))
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=3))
    await clock.advance(2.9)
    assert cut_off == []
    assert not stopping.done()
    await clock.advance(2)
    assert cut_off == [handler]
    await stopping
    assert Recorder.opened[0].events.count(("close",)) == 1
    [outcome] = await living
    if handler == "on_open" and transport in HTTP_TRANSPORTS:
        assert "status=503" in str(outcome)


@every_transport
async def test_shutdown_cuts_off_who_takes_nothing_at_the_deadline(serve, clock, transport, caplog):
    served = serve(Farewell)
    client = await open_client(served, transport)
    await client.receive()
    for wire in served.wires:
        wire.writer.transport.pause_reading()
    for _ in range(15):  # more than the socket takes
        Recorder.opened[0].on_message("go")
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=3))
    await clock.advance(2.9)
    assert not stopping.done()
    await clock.advance(2)
    await stopping
    assert Recorder.opened[0].events == [("open", ""), ("close",)]
    assert "not done in time" in caplog.text
    assert clock.timers == []
    for wire in served.wires:
        wire.writer.transport.resume_reading()
        await wire.read_to_end()


@pytest.mark.parametrize("stays", [True, False])
async def test_shutdown_waits_for_a_client_whose_body_was_refused_before_its_end(serve, clock, stays):
    """It has a moment to read why, and not longer; it is still sending."""
    served = serve(settings={"max_message_size": 100, "max_payload_size": 109})
    session_id, _ = await served.open()
    wire = await served.connect()
    head = request({"Transfer-Encoding": "chunked"}, f"/socket.io/xhr-polling/{session_id}/send")
    await wire.send(head.replace(b"GET", b"POST", 1) + b"100000\r\n" + 8192 * b"x")
    assert (await wire.read_response()).status == 413
    stopping = asyncio.ensure_future(served.server.shutdown())
    await clock.advance(0.9)
    assert not stopping.done()
    if stays:
        await clock.advance(0.2)
    else:
        await wire.aclose()
    await until(stopping.done)
    assert clock.timers == []


async def test_shutdown_does_not_wait_for_handlers_of_the_application(serve, clock):
    class Hanging(tornado.web.RequestHandler):
        async def get(self) -> None:
            entered.set()
            await asyncio.sleep(10_000)

    entered = asyncio.Event()
    served = serve(handlers=((r"/hang", Hanging),))
    wire = await served.connect()
    await wire.send(request({}, "/hang"))
    await entered.wait()
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=3))
    await clock.advance(4)
    assert stopping.done()
    assert await wire.read_to_end() == b""


async def test_shutdown_closes_connections_that_wait(serve, clock):
    served = serve()
    silent, kept = await served.connect(), await served.connect()
    await kept.send(request({}, "/elsewhere"))
    assert (await kept.read_response()).status == 404
    await served.server.shutdown()
    assert await silent.read_to_end() == b""
    assert await kept.read_to_end() == b""


async def test_shutdown_twice_is_shutdown_once(serve, clock):
    served = serve()
    peer = await opened_hybi(served)
    ending = asyncio.ensure_future(peer.ended())
    await asyncio.gather(served.server.shutdown(), served.server.shutdown())
    await served.server.shutdown()
    assert await ending == 1001
    assert Recorder.opened[0].events == [("open", ""), ("close",)]


# -- Health ------------------------------------------------------------------------------------------------------------

HEALTH = (r"/health", tornadio.HealthHandler)


async def health(served: Served, method: str = "GET") -> tuple[int, str]:
    response = await served.request(method, "/health")
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert response.headers["cache-control"] == "no-store"
    return response.status, response.text


async def test_health_is_ok_while_the_server_serves(serve, caplog):
    caplog.set_level(logging.INFO)
    served = serve(handlers=(HEALTH,))
    assert await health(served) == (200, "ok")
    assert await health(served, "HEAD") == (200, "")
    assert [record for record in caplog.records if record.name == "tornado.access"] == []
    assert (await served.request("POST", "/health", body=b"x")).status == 405


async def test_health_fails_first_and_the_server_serves_for_the_drain_delay(serve, clock):
    served = serve(handlers=(HEALTH,), server={"drain_delay": 5})
    client = await open_client(served, "websocket")
    assert await client.receive() == ["welcome"]
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=3))
    await clock.advance(4.9)
    assert await health(served) == (503, "draining")
    assert await health(served, "HEAD") == (503, "")
    newcomer = await open_client(served, "websocket")
    assert await newcomer.receive() == ["welcome"]
    for each in (client, newcomer):
        await each.send("hello")
        assert await each.receive() == ["hello"]
    assert not any(connection.is_closed for connection in Recorder.opened)
    await clock.advance(0.2)
    assert (await served.request("GET", "/socket.io/xhr-polling/")).status == 503
    for each in (client, newcomer):
        await each.ended()
    await clock.wait_for(stopping)
    with pytest.raises(ConnectionRefusedError):
        await served.connect()


async def test_it_listens_on_the_sockets_that_it_is_given_and_on_no_port(serve, tmp_path):
    path = str(tmp_path / "server.sock")
    with socket.socket() as deaf, pytest.raises(SettingsError, match="that listen"):
        serve(server={"sockets": [deaf]})
    port = free_port()
    given = [bind_unix_socket(path), socket.create_server(("127.0.0.1", 0))]
    served = serve(application={"socket_io_port": port}, server={"sockets": given})
    tcp_port = given[1].getsockname()[1]
    with socket.create_server(("127.0.0.1", port)):
        assert served.port == 0
    streams = [await asyncio.open_unix_connection(path), await asyncio.open_connection("127.0.0.1", tcp_port)]
    for reader, writer in streams:
        for _ in range(2):  # the same connection, again on the fast path
            writer.write(b"GET /socket.io/xhr-polling/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with limit():
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
                assert (await reader.readexactly(len("~m~32~m~") + 32)).startswith(b"~m~32~m~")
        writer.close()
        await writer.wait_closed()
    await served.server.shutdown()
    assert [each.fileno() for each in given] == [-1, -1]


async def test_on_shutdown_is_awaited_once_after_the_delay_and_before_connections_are_closed(serve, clock):
    seen = []

    async def on_shutdown() -> None:
        await asyncio.sleep(1)
        seen.append((served.server.is_draining, Recorder.opened[0].is_closed))
        Recorder.opened[0].send("last words")

    served = serve(server={"drain_delay": 5, "on_shutdown": on_shutdown})
    client = await open_client(served, "websocket")
    assert await client.receive() == ["welcome"]
    stopping = asyncio.ensure_future(served.server.shutdown())
    await clock.advance(5.5)
    assert seen == []
    await clock.advance(1)
    assert await client.receive() == ["last words"]
    await client.ended()
    await clock.wait_for(stopping)
    await clock.wait_for(asyncio.ensure_future(served.server.shutdown()))
    assert seen == [(True, False)]


@pytest.mark.parametrize(("seconds", "error"), [(0, ZeroDivisionError), (0, asyncio.CancelledError), (60, Exception)])
async def test_a_shutdown_goes_on_when_on_shutdown_fails_or_takes_too_long(serve, clock, caplog, seconds, error):
    async def on_shutdown() -> None:
        await asyncio.sleep(seconds)
        raise error

    served = serve(server={"on_shutdown": on_shutdown})
    client = await open_client(served, "websocket")
    stopping = asyncio.ensure_future(served.server.shutdown(timeout=5))
    await clock.advance(5)
    await client.ended()
    await clock.wait_for(stopping)
    [line] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.getMessage() == "on_shutdown failed: the shutdown goes on"
    caplog.clear()


@pytest.mark.parametrize("transport", POLLING)
async def test_a_client_that_polls_fetches_its_last_messages_on_a_new_connection(serve, transport):
    served = serve()
    client = await open_client(served, transport)
    assert await client.receive() == ["welcome"]
    Recorder.opened[0].send("last words")
    stopping = asyncio.ensure_future(served.server.shutdown())
    await until(lambda: Recorder.opened[0].is_closed)
    assert await client.receive() == ["last words"]
    await stopping


async def test_health_fails_while_connections_are_drained(serve):
    class Slow(Recorder):
        async def on_message(self, message: Any) -> None:
            await until(lambda: told)

    told: list[int] = []
    served = serve(Slow, handlers=(HEALTH,))
    peer = await opened_hybi(served)
    wire = await served.connect()
    await wire.send(request({}, "/health"))
    assert (await wire.read_response()).status == 200
    await peer.send("~m~2~m~go")
    stopping = asyncio.ensure_future(served.server.shutdown())
    await until(lambda: Recorder.opened[0].is_closed)
    await wire.send(request({}, "/health"))
    told.append((await wire.read_response()).status)
    assert told == [503]
    await peer.ended()
    async with limit():
        await stopping


async def test_health_is_that_of_the_server_which_serves_the_application():
    application = tornado.web.Application([HEALTH], socket_io_port=0, socket_io_address="127.0.0.1")
    router = tornadio.get_router(Recorder)
    first = Served(SocketServer(application, auto_start=False), router)
    await shut_down(first.server)
    second = Served(SocketServer(application, auto_start=False), router)
    assert await health(second) == (200, "ok")
    await shut_down(second.server)


async def test_health_is_told_in_an_application_within_the_application(serve, clock):
    inner = tornado.web.Application([HEALTH])
    served = serve(handlers=((r"/.*", inner),), server={"drain_delay": 5})
    assert await health(served) == (200, "ok")
    stopping = asyncio.ensure_future(served.server.shutdown())
    await clock.advance(1)
    assert await health(served) == (503, "draining")
    await clock.wait_for(stopping)


async def test_health_is_ok_where_no_server_of_ours_serves():
    listener = tornado.web.Application([HEALTH]).listen(0, "127.0.0.1")
    served = Served(SimpleNamespace(port=port_of(listener)), None)  # type: ignore[arg-type]
    assert await health(served) == (200, "ok")
    listener.stop()
    await listener.close_all_connections()


def closed_socket() -> socket.socket:
    with socket.socket() as listener:
        listener.listen()
    return listener


NO_TIMES: list[Any] = [-5, -0.1, "5", "x", None, float("inf"), float("nan"), True, [5]]
NO_APPLICATIONS: list[Any] = [None, [], "app"]
NO_TLS: list[Any] = ["cert.pem", {}, {"keyfile": "key.pem"}, True]
TIMEOUTS = ("header_timeout", "body_timeout")
WRONG_ARGUMENTS: list[tuple[str, Any, str]] = [
    *((name, each, "a number of seconds above zero") for name in TIMEOUTS for each in [0, *NO_TIMES]),
    *(("drain_delay", value, "a number of seconds, 0 or more") for value in NO_TIMES),
    ("on_shutdown", 5, "on_shutdown must be a coroutine function without arguments, not 5"),
    *(
        ("sockets", value, "a list of socket.socket objects that listen")
        for value in (5, [], ["/run/a.sock"], [closed_socket()])
    ),
    *((name, value, "True or False") for name in ("no_keep_alive", "fast_path") for value in ("no", None, 2, 0.0)),
    *(("ssl_options", value, "certfile") for value in NO_TLS),
    *(
        ("port", value, "port must be a port from 0 (any that is free) to 65535")
        for value in ("http", -1, 65536, [8001])
    ),
    *(("address", value, "address must be an address or host name") for value in (80, b"127.0.0.1", ["127.0.0.1"])),
    *(("io_loop", each, "tornado.ioloop.IOLoop") for each in ("loop", False)),
    *(("application", each, "tornado.web.Application") for each in NO_APPLICATIONS),
]


@pytest.mark.parametrize(("name", "value", "what"), WRONG_ARGUMENTS)
async def test_a_wrong_argument_is_an_error_that_says_what_is_right_before_anything_listens(name, value, what):
    port = free_port()
    application = tornado.web.Application([], socket_io_port=port, socket_io_address="127.0.0.1")
    arguments: dict[str, Any] = {"application": application, "auto_start": False, name: value}
    with pytest.raises(SettingsError, match=re.escape(what)) as raised:
        SocketServer(**arguments)
    assert name in str(raised.value)
    assert repr(value) in str(raised.value)
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_arguments_may_be_numbers_of_any_kind():
    application = tornado.web.Application([], socket_io_port=0, socket_io_address="127.0.0.1")
    await shut_down(
        SocketServer(
            *(application, 1, None, (), None, False),  # type: ignore[arg-type]
            header_timeout=5,
            body_timeout=0.5,
            drain_delay=0,
        )
    )


# -- Whole programs ----------------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, logging, sys
import tornado.ioloop, tornado.web
import tornadio

class Connection(tornadio.SocketConnection):
    def on_open(self, *args, **kwargs):
        self.send("welcome")

    async def on_message(self, message):
        print("message", message)
        if message == "flood":
            for number in range(200):
                self.send(50_000 * "x")
        elif message == "hang":
            try:
                await asyncio.sleep(1000)
            finally:
                print("cut off")
        else:
            self.send(message)

    def on_close(self):
        print("close", self.transport)

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
port = int(sys.argv[1].removeprefix("--port="))
application = tornado.web.Application(
    [tornadio.get_router(Connection).route()], socket_io_port=port, socket_io_address="127.0.0.1"
)
"""

AUTO_START = "tornadio.SocketServer(application)\n"
OWN_LOOP = """
tornadio.SocketServer(application, auto_start=False)
tornado.ioloop.IOLoop.current().start()
"""
ASYNCIO_RUN = """
async def main():
    server = tornadio.SocketServer(application, auto_start=False)
    asyncio.get_running_loop().add_signal_handler(15, stop.set)
    await stop.wait()
    await server.shutdown()

stop = asyncio.Event()
asyncio.run(main())
"""
GIVEN_LOOP = """
loop = tornado.ioloop.IOLoop()
tornadio.SocketServer(application, io_loop=loop)
"""


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Callable[[str], tuple[AppServer, Served]]]:
    """Starts a program in a process of its own and waits until it serves: the process, and what clients need of it."""
    running: list[tuple[AppServer, Served]] = []

    def run(program: str) -> tuple[AppServer, Served]:
        script = tmp_path / "program.py"
        script.write_text(PROGRAM + program + 'print("end")\n', encoding="utf-8")
        process = AppServer(script, (), tmp_path / "output.txt")
        running.append((process, Served(SimpleNamespace(port=process.port), None)))  # type: ignore[arg-type]
        process.start()
        return running[-1]

    yield run
    for process, served in running:
        process.kill()
        print(process.output())
        for wire in served.wires:
            await wire.aclose()
        for wire in served.wires:
            await wire.aclose()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_program_gracefully(run, number):
    program, served = run(AUTO_START)
    socket_client = await open_client(served, "websocket")
    stream_client = await open_client(served, "xhr-multipart")
    session_id = await served.shake_hands("xhr-polling")
    assert (await served.poll(session_id)).text == "~m~7~m~welcome"
    for client in (socket_client, stream_client):
        assert await client.receive() == ["welcome"]
    poll = asyncio.ensure_future(served.poll(session_id))
    for client in (socket_client, stream_client):
        await client.send("flood")
    await stream_client.send("done")
    program.send_signal(number)
    for client in (socket_client, stream_client):
        received: list[Any] = []
        while len(received) < 200:
            received += await client.receive()
        assert set(received) <= {50_000 * "x", "done"}
        await client.ended()
    assert ((await poll).status, (await poll).text) == (200, "")
    assert await asyncio.to_thread(program.wait) == 0
    assert sorted(program.output().splitlines()) == [
        "close websocket",
        "close xhr-multipart",
        "close xhr-polling",
        "end",
        "message done",
        "message flood",
        "message flood",
    ]


async def test_a_second_signal_ends_the_program_at_once(run):
    program, served = run(AUTO_START)
    client = await open_client(served, "websocket")
    await client.receive()
    await client.send("hang")
    await until(lambda: "message hang" in program.output())
    program.send_signal(signal.SIGTERM)
    await client.ended()
    program.send_signal(signal.SIGTERM)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await asyncio.to_thread(program.wait) == 0
    assert loop.time() - started < 8  # the first one waits 10 s for the handler
    assert program.output().splitlines() == [
        "message hang",
        "WARNING SIGTERM again: stopping at once",
        "cut off",
        "end",
    ]


@pytest.mark.parametrize(
    "way", [AUTO_START, OWN_LOOP, ASYNCIO_RUN, GIVEN_LOOP], ids=["auto", "own", "asyncio", "given"]
)
async def test_the_ways_to_start(run, way):
    program, served = run(way)
    for transport in ("websocket", "xhr-polling"):
        client = await open_client(served, transport)
        assert await client.receive() == ["welcome"]
        await client.send("é中😀")
        assert await client.receive() == ["é中😀"]
        await client.leave()
    status = await asyncio.to_thread(program.terminate)
    assert status == (-signal.SIGTERM if way is OWN_LOOP else 0)


@pytest.mark.external
async def test_a_program_that_listens_where_another_does_says_so(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM + AUTO_START, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(script), f"--port={listener.getsockname()[1]}"),
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert process.returncode == 1
    assert b"can't listen on port" in output


async def test_nothing_is_left_open(run, monkeypatch):
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error::ResourceWarning")
    program, served = run(AUTO_START + "import gc; gc.collect()\n")
    for _ in range(3):
        for transport in PROTOCOLS:
            client = await open_client(served, transport)
            assert await client.receive() == ["welcome"]
            await client.send("hello")
            assert await client.receive() == ["hello"]
            await client.leave()
    for transport in PROTOCOLS:
        await open_client(served, transport)
    fetched = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{program.port}/socket.io/socket.io.js")
    assert fetched.code == 200
    assert await asyncio.to_thread(program.terminate) == 0
    lines = set(program.output().splitlines())
    assert lines == {"message hello", "end", *(f"close {transport}" for transport in PROTOCOLS)}
