"""Who a client is, only those say who are believed: forged fields and forged PROXY lines count for nothing."""

from __future__ import annotations

import contextlib
import logging

import pytest
import tornado.netutil

import tornadio
from tests.clients import HixiePeer, handshake, opened, request
from tests.internals import connections_on_fast_path, count_peeks
from tests.support import HTTP_TRANSPORTS, ClientStream, Recorder, Served, brief, until
from tests.tls import Certificate, TlsClientStream
from tornadio.errors import SettingsError
from tornadio.settings import PROTOCOLS
from tornadio.web.peers import Peers

HEALTH = ("/health", tornadio.HealthHandler)
FORGED = {"X-Real-Ip": "192.0.2.66", "X-Forwarded-For": "192.0.2.66", "X-Scheme": "https"}
LINE = b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n"
OF_LINE = ("192.0.2.7", "http")
POLICY_REQUEST = b"<policy-file-request/>\0"


async def ask(served: Served, data: bytes, source: str = "127.0.0.1") -> bytes:
    """All that is answered to these bytes."""
    async with contextlib.aclosing(await ClientStream.connect_from(source, served.port)) as wire:
        await wire.send(data)
        wire.writer.write_eof()
        return await wire.read_to_end()


def seen() -> tuple[str, str]:
    """Whom the last on_open saw."""
    last = Recorder.opened[-1].request
    return last.remote_ip, last.protocol


# -- Which peers are believed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xheaders", "believed", "not_believed"),
    [
        (True, ["192.0.2.1", "::1", ""], []),
        (False, [], ["127.0.0.1", "::1", ""]),
        ([], [], ["127.0.0.1", "::1", ""]),
        (["127.0.0.1"], ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1", ""]),
        (("10.0.0.0/8", "2001:db8::/32"), ["10.1.2.3", "2001:db8:1::1"], ["11.0.0.1", "2001:db9::1", ""]),
        (["fe80::/10"], ["fe80::1%eth0"], ["fd00::1"]),
        (["0.0.0.0"], [""], ["127.0.0.1"]),
    ],
)
def test_xheaders_names_the_peers_that_are_believed(xheaders, believed, not_believed):
    peers = Peers(xheaders)
    for host in believed:
        assert peers.trusts((host, 1234) if host else "")
    for host in not_believed:
        assert not peers.trusts((host, 1234) if host else "")


@pytest.mark.parametrize(
    ("xheaders", "problem"),
    [
        ("127.0.0.1", "xheaders must be True, False or a list such as"),
        (b"127.0.0.1", "xheaders must be True, False or a list such as"),
        (1, "xheaders must be True, False or a list such as"),
        (None, "xheaders must be True, False or a list such as"),
        (["localhost"], "xheaders lists addresses and networks, such as .* not 'localhost'"),
        (["10.0.0.1/8"], "10.0.0.1/8 has host bits set"),
        ([""], "xheaders lists addresses and networks"),
        ([True], "xheaders lists addresses and networks"),
        ([2130706433], "xheaders lists addresses and networks"),
    ],
)
def test_what_names_no_peers_is_told(serve, xheaders, problem):
    with pytest.raises(SettingsError, match=problem):
        serve(server={"xheaders": xheaders})


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize(("source", "is_believed"), [("127.0.0.1", False), ("127.0.0.2", True)])
async def test_only_a_named_peers_fields_count(serve, each_http, transport, source, is_believed):
    served = serve(server={"xheaders": ["127.0.0.2"]})
    path, headers = handshake(transport)
    wire = await ClientStream.connect_from(source, served.port)
    served.wires.append(wire)
    await wire.send(request({**headers, **FORGED}, path) + b"^n:ds[4U" * (transport == "flashsocket"))
    await until(lambda: Recorder.opened)
    assert seen() == (("192.0.2.66", "https") if is_believed else (source, "http"))


@pytest.mark.parametrize(
    "address",
    ["somewhere", "", "127.1", "2130706433", "0x7f000001", "192.0.2.07", "fe80::1%\x1b", "fe80::1%x", "x" * 60000],
    ids=brief,
)
async def test_what_is_no_address_names_nobody(serve, each_http, address):
    served = serve(server={"xheaders": True})
    await served.request("GET", "/socket.io/xhr-polling/", {"X-Real-Ip": address})
    assert [recorder.request.remote_ip for recorder in Recorder.opened] in (["127.0.0.1"], [])


async def test_one_request_of_a_connection_does_not_name_the_client_of_the_next(serve, each_http):
    served = serve(server={"xheaders": ["127.0.0.1"]})
    wire = await served.connect()
    for fields, client in [(FORGED, ("192.0.2.66", "https")), ({}, ("127.0.0.1", "http"))]:
        await wire.send_request("GET", "/socket.io/xhr-polling//1", fields)
        assert (await wire.read_response()).status == 200
        assert seen() == client


# -- PROXY lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forged", [{}, FORGED], ids=["plain", "forged"])
@pytest.mark.parametrize("transport", HTTP_TRANSPORTS)
async def test_a_proxy_line_says_who_the_client_is(serve, each_http, transport, forged):
    served = serve(server={"xheaders": ["127.0.0.1"]}, handlers=[HEALTH])
    wire = await served.connect()
    await wire.send(LINE + request(forged, handshake(transport)[0]))
    assert (await wire.read_head()).status == 200
    assert seen() == OF_LINE


@pytest.mark.parametrize("version", ["13", "76"])
async def test_a_websocket_may_follow_a_proxy_line(serve, version, monkeypatch):
    async def announced(served: Served) -> ClientStream:
        wire = await connect_plain(served)
        await wire.send(LINE)
        return wire

    connect_plain = Served.connect
    monkeypatch.setattr(Served, "connect", announced)
    served = serve(server={"xheaders": True})
    peer = await opened(served, version)
    assert seen() == OF_LINE
    await peer.send("~m~2~m~hi")
    assert await peer.receive() == "~m~2~m~hi"


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1234 443\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN whatever\r\n", "127.0.0.1"),
    ],
)
async def test_a_proxy_line_of_every_kind_is_taken(serve, line, address):
    served = serve(server={"xheaders": True})
    wire = await served.connect()
    await wire.send(line + request(FORGED, "/socket.io/xhr-polling//1"))
    assert (await wire.read_response()).status == 200
    assert seen() == (address, "http")


@pytest.mark.parametrize(
    ("rest", "beginning"),
    [
        (request({}, "/socket.io/xhr-polling//1"), b"HTTP/1.1 200"),
        (request({}, "/page"), b"HTTP/1.1 404"),
        (POLICY_REQUEST, b"<?xml"),
    ],
)
async def test_a_proxy_line_may_come_in_pieces(serve, rest, beginning):
    served = serve(server={"xheaders": True})
    for size in range(1, len(LINE) + 2):
        wire = await served.connect()
        await wire.send((LINE + rest)[:size])
        await served.barrier()
        await wire.send((LINE + rest)[size:])
        assert await wire.read_exactly(len(beginning)) == beginning
        await wire.aclose()


async def test_a_method_that_begins_like_a_proxy_line_may_come_in_pieces(serve):
    served = serve(server={"xheaders": True})
    for size in range(1, 5):
        wire = await served.connect()
        await wire.send(b"PROPFIND"[:size])
        await served.barrier()
        await wire.send(b"PROPFIND"[size:] + b" / HTTP/1.1\r\n")
        await served.barrier()
        await wire.send(b"Host: x\r\n\r\n")  # a socket that waits for much would not hear of so little
        assert (await wire.read_response()).status == 405
        await wire.aclose()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_half_a_proxy_line_keeps_nobody_busy(serve, reset):
    served = serve(server={"xheaders": True})
    for size in (1, 6, 20, len(LINE) - 1, len(LINE)):
        wire = await served.connect()
        await wire.send(LINE[:size])
        await served.barrier()
        if reset:
            wire.reset()
        else:
            wire.writer.write_eof()
            assert await wire.read_to_end() == b""
        await until(lambda: connections_on_fast_path(served.server) == 0)


async def test_the_rest_of_a_proxy_line_is_waited_for_without_looking_again_and_again(serve, monkeypatch):
    served = serve(server={"xheaders": True})
    wire = await served.connect()
    await wire.send(LINE[:20])
    await served.barrier()
    peeks = count_peeks(monkeypatch)
    for _ in range(20):
        await served.barrier()
    assert len(peeks) <= 2 * 20 * 2  # each barrier makes two connections, which are looked at when they come and speak
    await wire.send(LINE[20:] + request({}, "/socket.io/xhr-polling//1"))
    assert (await wire.read_response()).status == 200


async def test_a_proxy_line_has_the_time_of_a_header(serve, clock):
    served = serve(server={"xheaders": True})
    wire = await served.connect()
    for byte in LINE[:19]:  # a byte each second does not help
        await wire.send(bytes([byte]))
        await clock.advance(1)
    assert not wire.reader.at_eof()
    await wire.send(LINE[19:20])
    await clock.advance(1.1)
    assert await wire.read_to_end() == b""


@pytest.mark.parametrize("rest", [b"GET /socket.io/xhr-polling//1 HTTP/1.1\r\nHost: x\r\n\r\n", POLICY_REQUEST, b""])
@pytest.mark.parametrize("xheaders", [False, ["10.0.0.0/8"], ["127.0.0.2"]])
async def test_a_proxy_line_of_a_peer_that_is_not_named_ends_the_connection(serve, caplog, xheaders, rest):
    caplog.set_level(logging.INFO)
    served = serve(server={"xheaders": xheaders})
    for _ in range(50):
        assert await ask(served, LINE + rest) == b""
    lines = [record.getMessage() for record in caplog.records if "PROXY" in record.getMessage()]
    assert len(lines) == 10
    assert "SocketServer(xheaders=['127.0.0.1'])" in lines[0]
    assert Recorder.opened == []


@pytest.mark.parametrize("line", [b"PROXY nonsense\r\n", b"PROXY " + b"x" * 101, b"PROXY TCP4 x y 1 2\r\n"])
async def test_a_bad_proxy_line_ends_the_connection(serve, caplog, line):
    caplog.set_level(logging.INFO)
    served = serve(server={"xheaders": True})
    for _ in range(50):
        assert await ask(served, line + request({}, "/socket.io/xhr-polling//1")) == b""
    lines = [record.getMessage() for record in caplog.records if "PROXY" in record.getMessage()]
    assert len(lines) == 10
    assert Recorder.opened == []


async def test_only_the_first_bytes_of_a_connection_are_a_proxy_line(serve):
    served = serve(server={"xheaders": True})
    poll = request({}, "/socket.io/xhr-polling//1")
    forged = b"PROXY TCP4 192.0.2.66 192.0.2.1 1 2\r\n"
    for data in (poll + forged + poll, LINE + forged + poll, request({}, "/") + forged + poll):
        Recorder.opened.clear()
        async with contextlib.aclosing(await served.connect()) as wire:
            await wire.send(data)
            assert b"400 Bad Request" in await wire.read_to_end()
        assert "192.0.2.66" not in [recorder.request.remote_ip for recorder in Recorder.opened]


async def test_over_tls_nobody_is_announced(serve, caplog):
    certificate = Certificate()
    served = serve(server={"xheaders": ["127.0.0.1"], "ssl_options": certificate.server})
    assert not (await ask(served, LINE + request({}, "/socket.io/xhr-polling//1"))).startswith(b"HTTP")
    for line, fields, expected in [(LINE, {}, None), (b"", FORGED, "192.0.2.66"), (b"", {}, "127.0.0.1")]:
        Recorder.opened.clear()
        async with contextlib.aclosing(await TlsClientStream.connect_to(served.port, certificate)) as wire:
            await wire.send(line + request(fields, "/socket.io/xhr-polling//1"))
            assert (await wire.read_head()).status == (400 if expected is None else 200)
        assert [recorder.request.remote_ip for recorder in Recorder.opened] == ([expected] if expected else [])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_health_check_is_not_for_whom_a_proxy_announces(serve, method):
    served = serve(server={"xheaders": ["127.0.0.1"]}, handlers=[HEALTH])
    assert (await served.request(method, "/health")).status == 200
    for line in (LINE, b"PROXY UNKNOWN\r\n"):
        answer = await ask(served, line + request({}, "/health").replace(b"GET", method.encode(), 1))
        assert answer.startswith(b"HTTP/1.1 404")
    assert served.server.is_draining is False


async def test_on_a_unix_socket_a_proxy_may_announce_too(serve, tmp_path):
    served = serve(server={"xheaders": ["0.0.0.0"]})
    path = str(tmp_path / "socket")
    served.server.add_socket(tornado.netutil.bind_unix_socket(path))
    asked = request({}, "/socket.io/xhr-polling//1")
    for data, address in [(LINE + asked, "192.0.2.7"), (b"PROXY UNKNOWN\r\n" + asked, "0.0.0.0"), (asked, "0.0.0.0")]:
        wire = await ClientStream.connect_unix(path)
        await wire.send(data)
        assert (await wire.read_response()).status == 200
        assert seen() == (address, "http")
        await wire.aclose()


async def test_a_draft_76_peer_behind_a_proxy_line_gets_its_answer(serve):
    served = serve(server={"xheaders": ["127.0.0.1"]})
    wire = await served.connect()
    await wire.send(LINE)
    await HixiePeer(wire).shake_hands("76", "/socket.io/flashsocket", FORGED)
    await until(lambda: Recorder.opened)
    assert seen() == OF_LINE
