"""What it takes to open a connection, and what the error says when that fails."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tornado.iostream import IOStream
from websockets.asyncio.server import ServerConnection

import tornadio
from tests.leaks import without_collector
from tests.peers import Request, connect_proxy, http_peer, response, tcp_peer, websocket_peer
from tests.support import MovedLoop, Recorder, Serve, Served, limit
from tests.tls import Certificate
from tornadio import ConnectError, proto

TRANSPORTS = ("websocket", "xhr-polling", "jsonp-polling", "xhr-multipart", "htmlfile")
POLLING = ["xhr-polling"]


def url_of(served: Served, scheme: str = "ws", host: str = "127.0.0.1") -> str:
    return f"{scheme}://{host}:{served.port}/socket.io"


async def failure(url: str, **options: Any) -> ConnectError:
    async with limit():
        with pytest.raises(ConnectError) as raised:
            await tornadio.connect(url, **options)
    return raised.value


class Refusing(Recorder):
    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        return False


class Closing(tornadio.SocketConnection):
    """Says farewell at once."""

    def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.send("farewell")
        self.close(4000, "no more")


# -- The request ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_request_has_what_the_options_say(serve: Serve, transport):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep="/", settings={"origins": ["*:*"]})
    options: dict[str, Any] = {
        "origin": "https://www.example.com",
        "headers": [("X-Token", "a"), ("X-Token", "b")],
        "cookies": {"who": "me"},
        "extra": "/123",
    }
    url = f"http://user:pw@127.0.0.1:{served.port}/chat?a=b"
    async with limit(), tornadio.connect(url, transports=[transport], **options) as client:
        assert await client.recv() == "welcome"
        [connection] = Recorder.opened
        request = connection.request
        assert connection.events[0] == ("open", "123")
        assert request.query == "a=b"
        assert request.headers["Origin"] == "https://www.example.com"
        assert request.headers["X-Token"] == "a,b"
        assert request.headers["Cookie"] == "who=me"
        assert request.headers["Authorization"] == "Basic dXNlcjpwdw=="
        await client.send("hello")
        assert await client.recv() == "hello"


async def test_cookies_that_the_server_sets_are_sent_back():
    def respond(request: Request) -> bytes:
        if len(peer.requests) == 1:
            return response("200 OK", "~m~2~m~id", "Set-Cookie: node=a1; Path=/", "Set-Cookie: old=; Max-Age=0")
        return response("401 Unauthorized")

    async with http_peer(respond) as peer, limit():
        async with tornadio.connect(peer.url, transports=POLLING, cookies={"mine": "1", "old": "x"}) as client:
            assert [message async for message in client] == []
        assert [request.headers["cookie"] for request in peer.requests] == ["mine=1; old=x", "mine=1; node=a1"]


@pytest.mark.parametrize(
    ("attributes", "is_kept"),
    [
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/", False),  # as Tornado's clear_cookie says it
        ("expires=Fri, 31 Dec 9999 23:59:59 GMT", True),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", True),
        ("Max-Age=-60", False),
        ("Max-Age=00", False),
        ("Expires=never", True),
        ("Expires=Thu, 99 Jan 99999999999 00:00:00 GMT", True),
        (f"Max-Age={'9' * 9999}", True),
    ],
)
async def test_a_cookie_without_a_future_is_removed(attributes, is_kept):
    def respond(request: Request) -> bytes:
        if len(peer.requests) == 1:
            return response("200 OK", "~m~2~m~id", f"Set-Cookie: a=1; {attributes}")
        return response("401 Unauthorized")

    async with http_peer(respond) as peer, limit():
        async with tornadio.connect(peer.url, transports=POLLING, cookies={"a": "0"}) as client:
            await client.wait_closed()
        assert peer.requests[1].headers.get("cookie") == ("a=1" if is_kept else None)


async def test_the_first_transport_that_works_is_used(serve: Serve):
    served = serve(settings={"enabled_protocols": ["htmlfile", "jsonp-polling"]})
    order = ["websocket", "xhr-polling", "jsonp-polling", "htmlfile"]
    async with limit(), tornadio.connect(url_of(served), transports=order) as client:
        assert (client.transport, await client.recv()) == ("jsonp-polling", "welcome")


async def test_a_server_that_does_not_answer_a_websocket_handshake_is_asked_by_the_next_transport(clock: MovedLoop):
    """As the official server 0.6 does with a handshake of RFC 6455, which it takes for one of draft-76."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Upgrade" not in head:
            writer.write(response("200 OK", "~m~2~m~id"))
        await reader.read()

    async with tcp_peer(handle) as peer:
        since = clock.time()
        connecting = asyncio.ensure_future(tornadio.connect(peer.url))
        await clock.advance(4.9)
        assert not connecting.done()
        client = await clock.wait_for(connecting)
        assert clock.time() < since + 6
        assert (client.transport, client.session_id) == ("xhr-polling", "id")
        await client.close()


# -- Refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_refusal_by_the_application_is_told(serve: Serve, transport):
    error = await failure(url_of(serve(Refusing)), transports=[transport])
    assert "the application refused this connection" in str(error)
    assert "the application refused this connection" in error.text
    assert error.status == (None if transport == "websocket" else 403)
    assert error.is_permanent
    assert error.attempts.keys() == {transport}


async def test_an_http_refusal_has_its_status_and_text_for_each_transport(serve: Serve):
    served = serve(settings={"origins": ["http://example.com"]})
    error = await failure(url_of(served), origin="http://evil.example")
    assert error.status == 403
    assert error.attempts.keys() == {"websocket", "xhr-polling"}
    for attempt in error.attempts.values():
        assert isinstance(attempt, ConnectError)
        assert attempt.status == 403
        assert "origin" in attempt.text
    assert str(error).startswith(f"ws://127.0.0.1:{served.port}/socket.io: websocket: the WebSocket handshake was ")
    assert "403 Forbidden: " in str(error)


@pytest.mark.parametrize(
    ("answer", "status", "text", "is_permanent"),
    [
        (response("404 Not Found", "nothing here"), 404, r"404 Not Found: nothing here; is the path", True),
        (response("302 Found", "", "Location: http://x.example/s"), 302, r"redirects to http://x\.example/s", True),
        (response("302 Found", "", f"Location: /{'x' * 9999}"), 302, r"redirects to /x{199}\.\.\.: give", True),
        (response(f"500 {'x' * 9999}"), 500, r"500 x{200}\.\.\.$", False),
        (response("429 Too Many Requests"), 429, "429 Too Many Requests", False),
        (response("503 Service Unavailable", "<p>", "Content-Type: text/html"), 503, "503 Service Unavailable$", False),
        (response("200 OK", ""), None, "has no session id", True),
        (response("200 OK", '0{"sid":"abc"}'), None, "server of a later Socket.IO", True),
        (response("200 OK", "~m~210~m~" + "x " * 105), None, r"no session id, but '(x ){99}x\.\.\.$", True),
        (response("200 OK", "~m~5~m~a"), None, "none of Socket.IO 0.6", True),
        (response("200 OK", "~m~7~m~~j~[{}]"), None, r"no session id, but \[\{\}\]$", True),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", None, "no HTTP response", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n~m~", None, "before the response was whole", False),
        (None, None, "closed the connection before the response was whole", False),
    ],
)
async def test_other_answers_than_a_session_are_told(answer, status, text, is_permanent):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is not None:
            writer.write(answer)

    async with tcp_peer(handle) as peer:
        error = await failure(peer.url, transports=POLLING)
    assert error.status == status
    assert error.is_permanent == is_permanent
    with pytest.raises(ConnectError, match=text):
        raise error


@pytest.mark.parametrize("blank", ["", " "])
async def test_a_status_line_needs_no_reason_phrase(blank):
    async def respond(request: Request) -> bytes:
        if len(server.requests) > 2:
            await asyncio.Event().wait()
        payload = proto.encode("0123abcd" if len(server.requests) == 1 else "hello")
        return f"HTTP/1.1 200{blank}\r\nContent-Length: {len(payload)}\r\n\r\n{payload}".encode()

    async with http_peer(respond) as server, limit(), tornadio.connect(server.url, transports=POLLING) as client:
        assert await client.recv() == "hello"


async def test_responses_that_precede_the_response_are_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3
    answers = [interim + response("200 OK", "~m~2~m~id"), interim + response("401 Unauthorized")]
    async with limit(), http_peer(lambda request: answers.pop(0)) as peer:
        client = await tornadio.connect(peer.url, transports=POLLING)
        await client.wait_closed()
        assert client.close_code == 1005


async def test_a_web_server_of_another_kind_is_told():
    async with http_peer(lambda request: response("200 OK", "<!doctype html>")) as peer:
        error = await failure(peer.url)
    assert "the WebSocket handshake was answered 200 OK: <!doctype html>; is the path of the URL" in str(error)
    assert "none of Socket.IO 0.6" in str(error)


async def test_a_long_refusal_is_read_in_part():
    async with http_peer(lambda request: response("400 Bad Request", "no! " * 1_000_000)) as peer:
        error = await failure(peer.url, transports=POLLING)
    assert error.text == "no! " * 1024
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["Upgrade: websocket", "Connection: Upgrade"], "Sec-WebSocket-Accept"),
        (["Upgrade: h2c", "Connection: Upgrade"], "Upgrade: websocket"),
    ],
)
async def test_a_wrong_response_to_the_handshake_is_told(lines, message):
    async with http_peer(lambda request: "\r\n".join(["HTTP/1.1 101 Yes", *lines, "", ""]).encode()) as peer:
        error = await failure(peer.url, transports=["websocket"])
    assert message in str(error)
    assert error.is_permanent


async def test_a_first_frame_that_is_no_id_can_be_received_as_a_message():
    async def handler(connection: ServerConnection) -> None:
        await connection.send('~m~14~m~{"session": 5}')
        await connection.wait_closed()

    async with websocket_peer(handler) as peer, limit():
        for json in ("marked", "plain"):
            error = await failure(peer.url, transports=["websocket"], json=json)
            assert "to receive it as a message, say first_frame='message'" in str(error)
        options: dict[str, Any] = {"transports": ["websocket"], "json": "plain", "first_frame": "message"}
        async with tornadio.connect(peer.url, **options) as client:
            assert client.session_id is None
            assert await client.recv() == {"session": 5}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_a_server_sends_before_it_closes_at_once_is_received(serve: Serve, transport):
    async with limit(), tornadio.connect(url_of(serve(Closing)), transports=[transport]) as client:
        assert await client.recv() == "farewell"
        with pytest.raises(tornadio.ConnectionClosed):
            await client.recv()
    assert client.close_code == (4000 if transport == "websocket" else 1005)


# -- Networks --------------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_told_once():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await failure(f"ws://localhost:{port}/socket.io")
    assert str(error).endswith(f"can't connect to localhost:{port}: Connection refused")
    assert error.attempts.keys() == {"websocket"}  # another transport would find the same
    error = await failure("ws://nothing.invalid/socket.io")
    assert "can't resolve nothing.invalid: " in str(error)
    assert not error.is_permanent


async def test_a_timeout_says_what_took_so_long(clock: MovedLoop):
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def say_nothing(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with tcp_peer(handle) as silent, websocket_peer(say_nothing) as mute:
        proxy = f"http://127.0.0.1:{silent.port}"
        cases: list[tuple[str, dict[str, Any], str]] = [
            (silent.url, {}, "waiting for the response to the WebSocket handshake"),
            (mute.url, {}, "waiting for the first frame, which is the session id,"),
            (silent.url.replace("ws", "wss"), {}, f"the TLS handshake with 127.0.0.1:{silent.port}"),
            (mute.url, {"proxy": proxy}, f"waiting for the proxy 127.0.0.1:{silent.port}"),
        ]
        for url, options, step in cases:
            connecting = tornadio.connect(url, transports=["websocket"], open_timeout=7, **options)
            with pytest.raises(ConnectError, match=rf"{step} took longer than 7 s \(open_timeout\)"):
                await clock.wait_for(connecting)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("proxied", [False, True])
async def test_a_connection_may_be_encrypted_and_go_by_way_of_a_proxy(serve: Serve, transport, proxied):
    certificate = Certificate()
    served = serve(server={"ssl_options": certificate.server})
    async with connect_proxy("me:secret") as proxy, limit():
        async with tornadio.connect(
            url_of(served, "wss", "localhost"),
            transports=[transport],
            ssl=certificate.client,
            proxy=f"http://me:secret@127.0.0.1:{proxy.port}" if proxied else None,
        ) as client:
            assert await client.recv() == "welcome"
            for message in ("é😀", "x" * 1_000_000):
                await client.send(message)
                assert await client.recv() == message
        assert {request.path for request in proxy.requests} == ({f"localhost:{served.port}"} if proxied else set())


async def test_a_connection_without_tls_goes_by_way_of_a_proxy_too(serve: Serve):
    served = serve()
    async with connect_proxy() as proxy, limit():
        async with tornadio.connect(url_of(served), proxy=f"http://127.0.0.1:{proxy.port}") as client:
            assert await client.recv() == "welcome"
        assert "proxy-authorization" not in proxy.requests[0].headers


async def test_a_proxy_that_refuses_is_told(serve: Serve):
    async with connect_proxy("me:secret") as proxy:
        for user, hint in (("", "name a user"), ("me:wrong@", "user or password")):
            error = await failure(url_of(serve()), proxy=f"http://{user}127.0.0.1:{proxy.port}")
            assert (error.status, error.text) == (407, "who are you?")
            assert hint in str(error)
            assert "407 Proxy Authentication Required: who are you?" in str(error)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_that_is_not_accepted_is_told(serve: Serve, host):
    certificate = Certificate()
    served = serve(server={"ssl_options": certificate.server})
    error = await failure(url_of(served, "wss", host), ssl=None if host == "localhost" else certificate.client)
    assert f"the certificate of {host}:{served.port} was not accepted" in str(error)
    # The second one is of an authority that is trusted, for another name.
    assert ("give its certificate: ssl=" in str(error)) == (host == "localhost")
    assert not str(error).endswith(".")
    assert error.is_permanent


async def test_a_name_with_a_dot_at_its_end_is_the_one_of_the_certificate(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    look_up = socket.getaddrinfo

    def as_a_name_server(host: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        return look_up("localhost" if host == "localhost." and not kwargs.get("flags") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", as_a_name_server)
    certificate = Certificate()
    served = serve(server={"ssl_options": certificate.server})
    async with limit(), tornadio.connect(url_of(served, "wss", "localhost."), ssl=certificate.client) as client:
        assert await client.recv() == "welcome"
    [connection] = Recorder.opened
    assert connection.request.host == f"localhost:{served.port}"
    assert asked[-1] == "localhost."  # which no search list of the resolver is to be added to


async def test_a_link_local_address_has_its_zone_on_this_side_alone(serve: Serve):
    address = link_local_address()
    served = serve(server={"address": ""})
    async with limit(), tornadio.connect(url_of(served, "ws", f"[{address.replace('%', '%25')}]")) as client:
        assert await client.recv() == "welcome"
    [connection] = Recorder.opened
    assert connection.request.host == f"[{address.partition('%')[0]}]:{served.port}"


def link_local_address() -> str:
    """An address of this machine's that needs its zone, as fe80::1%eth0."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, _, _, scope, _, interface = line.split()
        if scope == "20":
            return f"{ipaddress.IPv6Address(int(digits, 16))}%{interface}"
    pytest.skip("this machine has no link-local address of IPv6")


async def test_tls_to_a_server_without_it_is_told():
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(response("400 Bad Request"))

    async with tcp_peer(handle) as peer:
        error = await failure(peer.url.replace("ws", "wss"))
    assert f"TLS with 127.0.0.1:{peer.port} failed: " in str(error)
    assert str(error).endswith("; the URL of a server without TLS begins with ws:// or http://")


async def test_a_tls_handshake_that_fails_leaves_nothing_to_the_collector(serve: Serve):
    served = serve()
    with without_collector():
        await failure(url_of(served, "wss"))
        assert [each for each in gc.get_objects() if isinstance(each, IOStream)] == []


async def test_no_tls_to_a_server_with_it_is_told(serve: Serve):
    error = await failure(url_of(serve(server={"ssl_options": Certificate().server})), transports=["websocket"])
    assert str(error).endswith("; the URL of a server with TLS begins with wss:// or https://")


# -- Nothing stays behind ----------------------------------------------------------------------------------------------


def descriptors() -> set[str]:
    return {entry for entry in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{entry}")}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_call_that_is_cancelled_leaves_no_socket(transport, scheme):
    connected = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        connected.set()
        await reader.read()
        closed.set()

    async with tcp_peer(handle) as peer, limit():
        for _ in range(2):
            connected.clear()
            closed = asyncio.Event()
            url = peer.url.replace("ws", scheme)
            connecting = asyncio.ensure_future(tornadio.connect(url, transports=[transport]))
            await connected.wait()
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await connecting
            await closed.wait()
    assert len(asyncio.all_tasks()) == 1
