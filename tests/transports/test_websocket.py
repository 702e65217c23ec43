"""The transports websocket and flashsocket: handshakes and framing of RFC 6455 (version 13), of its drafts with the
versions 8 and 7, and of the drafts 76 and 75."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any

import pytest
from tornado.netutil import bind_sockets
from websockets.frames import Opcode

from tests import texts
from tests.clients import (
    ACCEPT,
    ANSWER,
    HIXIE,
    HYBI,
    KEY3,
    KEYS,
    NONCE,
    PATH,
    UPGRADE,
    HixiePeer,
    HybiPeer,
    connect,
    frame,
    opened,
    opened_hybi,
    request,
)
from tests.slow_clients import resume_reading, stop_reading
from tests.support import ClientStream, Recorder, Response, Served, limit, until
from tests.tls import Certificate, TlsClientStream
from tornadio import proto
from tornadio.net.socketwire import SocketWire
from tornadio.net.streamwire import StreamWire

# What depends on who has read the handshake, and on what carries the bytes. What is the framing's alone (the frames,
# their order and limits) runs once here, and through each cut of its bytes in tests/websocket.
every_way = pytest.mark.usefixtures("each_way")
every_version = pytest.mark.parametrize("version", [*HYBI, *HIXIE])


# -- Handshakes --------------------------------------------------------------------------------------------------------

PATHS = [PATH, PATH + "/", "/socket.io/flashsocket", "/socket.io/flashsocket/", PATH + "?a=b"]

both_transports = pytest.mark.parametrize("path", PATHS)


@every_way
@pytest.mark.parametrize("version", HYBI)
async def test_rfc6455_handshake(serve, version):
    served = serve()
    for path in PATHS:
        await shake_hands(served, version, path)


async def shake_hands(served: Served, version: str, path: str) -> None:
    """A handshake of RFC 6455, byte for byte."""
    wire = await served.connect()
    await wire.send(request({**UPGRADE, **NONCE, "Sec-WebSocket-Version": version}, path))
    assert await wire.read_until(b"\r\n\r\n") == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
    )


@every_way
@both_transports
async def test_draft_76_handshake(serve, path):
    wire = await serve().connect()
    await wire.send(request({"Host": "localhost:8001", "Origin": "http://localhost", **UPGRADE, **KEYS}, path) + KEY3)
    assert await wire.read_until(b"\r\n\r\n") == (
        b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Origin: http://localhost\r\n"
        b"Sec-WebSocket-Location: ws://localhost:8001" + path.encode() + b"\r\n\r\n"
    )
    assert await wire.read_exactly(16) == ANSWER


@every_way
@both_transports
async def test_draft_75_handshake(serve, path):
    wire = await serve().connect()
    await wire.send(request({"Host": "localhost:8001", "Origin": "http://localhost", **UPGRADE}, path))
    assert await wire.read_until(b"\r\n\r\n") == (
        b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"WebSocket-Origin: http://localhost\r\n"
        b"WebSocket-Location: ws://localhost:8001" + path.encode() + b"\r\n\r\n"
    )


@every_way
async def test_draft_76_gets_the_101_before_it_has_sent_key3(serve):
    wire = await serve().connect()
    await wire.send(request({**UPGRADE, **KEYS}))
    assert (await wire.read_head()).status == 101
    for byte in KEY3:
        await wire.send(bytes([byte]))
    assert await wire.read_exactly(16) == ANSWER


@every_way
@pytest.mark.parametrize("headers", [{}, {"Content-Length": "8"}], ids=["without length", "with length"])
async def test_draft_76_key3_and_messages_may_come_with_the_request(serve, headers):
    peer = HixiePeer(await serve().connect())
    await peer.wire.send(request({**UPGRADE, **KEYS, **headers}) + KEY3 + b"\x00~m~2~m~hi\xff")
    assert (await peer.wire.read_head()).status == 101
    assert await peer.wire.read_exactly(16) == ANSWER
    await peer.receive()
    assert [await peer.receive(), await peer.receive()] == ["~m~7~m~welcome", "~m~2~m~hi"]


@every_way
async def test_rfc6455_messages_may_come_with_the_request(serve):
    peer = HybiPeer(await serve().connect(), PATH)
    peer.protocol.send_request(peer.protocol.connect())
    await peer.wire.send(b"".join(peer.protocol.data_to_send()) + frame(Opcode.TEXT, b"~m~2~m~hi"))
    await peer.next_event()
    await peer.receive()
    assert [await peer.receive(), await peer.receive()] == ["~m~7~m~welcome", "~m~2~m~hi"]


def record_writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is handed to wires from now on, write by write."""
    written: list[bytes] = []
    for kind in (SocketWire, StreamWire):

        def write(self: Any, data: bytes, original: Any = kind.write) -> Any:
            written.append(bytes(data))
            return original(self, data)

        monkeypatch.setattr(kind, "write", write)
    return written


@every_way
@pytest.mark.parametrize("version", HYBI)
async def test_rfc6455_sends_the_101_and_the_session_id_in_one_piece(serve, monkeypatch, version):
    written = record_writes(monkeypatch)
    peer = await connect(serve(), version)
    session_id = (await peer.receive()).encode()
    head, end, first = written[0].partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], end) == (b"HTTP/1.1 101 Switching Protocols", b"\r\n\r\n")
    assert first == bytes([0x81, len(session_id)]) + session_id
    assert await peer.receive() == "~m~7~m~welcome"
    assert b"HTTP/" not in b"".join(written[1:])


@every_way
@pytest.mark.parametrize("version", HIXIE)
async def test_the_drafts_before_send_the_101_by_itself(serve, monkeypatch, version):
    written = record_writes(monkeypatch)
    await opened(serve(), version)
    assert written[0].startswith(b"HTTP/1.1 101 ")
    assert written[0].endswith(b"\r\n\r\n")


@every_way
async def test_key3_has_ten_seconds(serve, clock):
    wire = await serve().connect()
    await wire.send(request({**UPGRADE, **KEYS}))
    assert (await wire.read_head()).status == 101
    await wire.send(KEY3[:7])
    await clock.advance(9.9)
    assert not wire.reader.at_eof()
    await clock.advance(0.2)
    assert await wire.read_to_end() == b""
    assert Recorder.opened == []


@every_way
async def test_a_client_that_leaves_before_key3_was_never_there(serve, caplog):
    served = serve()
    wire = await served.connect()
    await wire.send(request({**UPGRADE, **KEYS}))
    assert (await wire.read_head()).status == 101
    await wire.aclose()
    await served.server.shutdown()
    assert Recorder.opened == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@every_way
async def test_wss_in_the_location_behind_tls_and_behind_a_proxy_that_ends_it(serve):
    certificate = Certificate()
    served = serve(server={"ssl_options": certificate.server})
    served.wires.append(await TlsClientStream.connect_to(served.port, certificate))
    peer = HixiePeer(served.wires[-1])
    await peer.wire.send(request({"Host": "localhost", **UPGRADE, **KEYS}) + KEY3)
    head = await peer.wire.read_head()
    assert head.headers["sec-websocket-location"] == "wss://localhost/socket.io/websocket"
    assert await peer.wire.read_exactly(16) == ANSWER
    await peer.receive()
    assert await peer.receive() == "~m~7~m~welcome"
    await peer.send("~m~5~m~close")
    assert await peer.ended() is None

    wire = await serve(settings={"hosts": ["example.com"]}, server={"xheaders": True}).connect()
    await wire.send(request({"Host": "example.com", "X-Scheme": "https", **UPGRADE, **KEYS}))
    assert (await wire.read_head()).headers["sec-websocket-location"] == "wss://example.com/socket.io/websocket"


@every_way
@pytest.mark.parametrize(("keys", "name"), [(KEYS, "sec-websocket-protocol"), ({}, "websocket-protocol")], ids=HIXIE)
async def test_the_drafts_echo_a_subprotocol(serve, keys, name):
    wire = await serve().connect()
    await wire.send(request({**UPGRADE, **keys, name: "sample"}))
    assert (await wire.read_head()).headers[name] == "sample"


@every_way
@pytest.mark.parametrize("version", [*HYBI, *HIXIE])
async def test_a_program_without_an_origin_may_connect(serve, version):
    wire = await serve().connect()
    handshake = {"75": {}, "76": KEYS}.get(version, {**NONCE, "Sec-WebSocket-Version": version})
    await wire.send(request({**UPGRADE, **handshake}))
    assert (await wire.read_head()).status == 101


@every_way
@pytest.mark.parametrize("version", ["0", "6", "9", "14", "x", ""])
async def test_another_version_is_told_those_that_are_spoken(serve, version):
    response = await refused(serve(), {**UPGRADE, **NONCE, "Sec-WebSocket-Version": version})
    assert response.status == 426
    assert response.headers["sec-websocket-version"] == "13, 8, 7"


@every_way
@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "Upgrade", **NONCE, "Sec-WebSocket-Version": "13"},
        {"Upgrade": "h2c", "Connection": "Upgrade", **NONCE, "Sec-WebSocket-Version": "13"},
        {"Upgrade": "websocket", **NONCE, "Sec-WebSocket-Version": "13"},
        {"Upgrade": "websocket", "Connection": "keep-alive", **NONCE, "Sec-WebSocket-Version": "13"},
        {**UPGRADE, "Sec-WebSocket-Version": "13"},
        {**UPGRADE, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dG9vIHNob3J0"},
        {**UPGRADE, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "no base64 at all"},
        {**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13", "Content-Length": "8"},
        {**UPGRADE, "Content-Length": "8"},
        {**UPGRADE, **KEYS, "Content-Length": "9"},
        {**UPGRADE, **KEYS, "Transfer-Encoding": "chunked"},
        {**UPGRADE, "Sec-WebSocket-Key1": KEYS["Sec-WebSocket-Key1"]},
        {**UPGRADE, **KEYS, "Sec-WebSocket-Key2": "1299853100"},
        {**UPGRADE, **KEYS, "Sec-WebSocket-Key2": "no  digits"},
        {**UPGRADE, **KEYS, "Sec-WebSocket-Key2": "1 2 3"},
        {**UPGRADE, **KEYS, "Sec-WebSocket-Key2": "99999999999 9"},
    ],
)
async def test_a_broken_handshake_is_a_400_that_says_why(serve, headers):
    response = await refused(serve(), headers)
    assert response.status == 400
    assert response.text


async def refused(served: Served, headers: dict[str, str], path: str = PATH) -> Response:
    """The answer to a handshake; the connection must end behind it, or an unread key3 would pass for a request."""
    wire = await served.connect()
    await wire.send(request(headers, path) + KEY3)
    response = await wire.read_response()
    assert await wire.read_to_end() == b""
    assert Recorder.opened == []
    return response


RFC6455 = {**UPGRADE, **NONCE, "Sec-WebSocket-Version": "13"}


@every_way
@pytest.mark.parametrize(
    "headers",
    [
        {**RFC6455, "Origin": "http://example.com"},
        {**RFC6455, "Origin": "null"},
        {**RFC6455, "Sec-WebSocket-Version": "8", "Sec-WebSocket-Origin": "http://example.com"},
        {**RFC6455, "Sec-WebSocket-Version": "7", "Sec-WebSocket-Origin": "http://example.com"},
        {**RFC6455, "Origin": "http://127.0.0.1", "Sec-WebSocket-Origin": "http://example.com"},
        {**RFC6455, "Origin": "http://example.com", "Sec-WebSocket-Origin": "http://127.0.0.1"},
        {**UPGRADE, **KEYS, "Origin": "http://example.com"},
        {**UPGRADE, "Origin": "http://example.com"},
    ],
)
async def test_a_page_of_another_host_is_refused(serve, headers):
    assert (await refused(serve(), headers)).status == 403


@every_way
async def test_a_transport_that_is_not_enabled_is_refused(serve):
    served = serve(settings={"enabled_protocols": ["websocket"]})
    assert (await refused(served, RFC6455, "/socket.io/flashsocket")).status == 403


@every_way
async def test_no_more_than_max_sessions_come_in(serve):
    served = serve(settings={"max_sessions": 1})
    peer = await opened(served)
    Recorder.opened.clear()
    assert (await refused(served, RFC6455)).status == 503
    await peer.close()
    await peer.ended()
    await opened(served)


@every_way
async def test_a_post_is_not_a_websocket(serve):
    response = await serve().request("POST", PATH, UPGRADE, b"data=")
    assert response.status == 405
    assert response.headers["allow"] == "GET, OPTIONS"


@every_way
@every_version
async def test_extra_and_another_resource(serve, version):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep="/")
    await opened(served, version, "/chat/123/websocket")
    assert Recorder.opened[0].events == [("open", "123")]


TAILS = ["/123", "/123/456/", "/123?a=b", "//1290000000000", "/%C3%A9", "/xhr-polling/", "/websocket"]


@every_way
@every_version
@pytest.mark.parametrize("transport", ["websocket", "flashsocket"])
@pytest.mark.parametrize("tail", TAILS)
async def test_a_url_with_something_behind_it_opens_a_websocket(serve, version, transport, tail):
    served = serve()
    peer = await opened(served, version, f"/socket.io/{transport}{tail}")
    await peer.send("~m~2~m~hi")
    assert await peer.receive() == "~m~2~m~hi"
    [connection] = served.router.connections
    assert (connection.transport, Recorder.opened[0].events[0]) == (transport, ("open", ""))


@every_way
@every_version
@pytest.mark.parametrize("transport", ["websocket", "flashsocket"])
async def test_something_behind_a_url_with_an_extra(serve, version, transport):
    served = serve(resource="chat", extra_re=r"\d+", extra_sep="/")
    await opened(served, version, f"/chat/7/{transport}/123/456?a=b")
    assert Recorder.opened[0].events == [("open", "7")]
    assert Recorder.opened[0].transport == transport


@every_way
async def test_something_behind_the_url_is_no_session(serve):
    served = serve()
    await opened(served)
    of_socket = served.router.connections[0].session_id
    of_polling, _ = await served.open()
    for session_id in (of_socket, of_polling):
        await opened(served, path=f"{PATH}/{session_id}")
        response = await served.request("POST", f"{PATH}/{session_id}/send", UPGRADE, b"data=" + 5 * b"x")
        assert response.status == 405
        huge = {"Content-Length": str(1 << 40)}
        assert (await served.request("POST", f"{PATH}/{session_id}", huge)).status == 405
    assert len(served.router.connections) == 4
    assert all(not connection.is_closed for connection in Recorder.opened)


@every_way
@pytest.mark.parametrize("path", [f"{PATH}/123", "/socket.io/flashsocket/123/456?a=b"])
@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "DELETE"])
async def test_another_method_behind_the_url_is_405(serve, path, method):
    response = await serve().request(method, path)
    assert (response.status, response.headers["allow"]) == (405, "GET, OPTIONS")


# -- Messages ----------------------------------------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize("transport", ["websocket", "flashsocket"])
async def test_the_session_id_comes_first_and_alone(serve, version, transport):
    peer = await connect(serve(), version, f"/socket.io/{transport}")
    greeting = await peer.receive()
    assert await peer.receive() == "~m~7~m~welcome"
    [recorder] = Recorder.opened
    assert greeting == f"~m~32~m~{recorder.session_id}"
    assert recorder.transport == transport


@every_version
async def test_messages_come_back_as_they_were_sent(serve, version):
    peer = await opened(serve(), version)
    for message in ("é中😀", "", " \r\n </script>\u2028", {"a": [1, None, "é"]}, 1.5, "x" * 70_000):
        await peer.send(proto.encode(message))
        assert proto.decode(await peer.receive()) == [("~m~", message)]


@every_way
@every_version
async def test_many_messages_in_one_write_arrive_in_order(serve, version):
    peer = await opened(serve(), version)
    await peer.send(*(proto.encode(number) for number in range(1000)))
    received = 0
    while received < 1000:
        for _, number in proto.decode(await peer.receive()):
            assert number == received
            received += 1


@every_version
async def test_many_frames_in_one_message_arrive_in_order(serve, version):
    peer = await opened(serve(), version)
    await peer.send(proto.encode("one") + "~m~4~m~~h~1" + proto.encode([{"two": 2}, "three"]))
    frames: list[Any] = []
    while len(frames) < 3:
        frames += proto.decode(await peer.receive())
    assert frames == [("~m~", "one"), ("~m~", {"two": 2}), ("~m~", "three")]


@every_way
@pytest.mark.parametrize(
    ("version", "data"),
    [("13", frame(Opcode.TEXT, "~m~4~m~é中😀".encode())), ("76", b"\x00" + "~m~4~m~é中😀".encode() + b"\xff")],
    ids=["13", "76"],
)
async def test_a_message_may_come_byte_by_byte(serve, version, data):
    peer = await opened(serve(), version)
    for byte in data:
        await peer.wire.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await peer.receive() == "~m~4~m~é中😀"


async def test_a_message_may_come_in_fragments_with_a_ping_between(serve):
    peer = await opened_hybi(serve())
    text = "~m~4~m~é中😀".encode()
    await peer.wire.send(frame(Opcode.TEXT, text[:8], final=False) + frame(Opcode.PING, b"there?"))
    pong = await peer.next_frame()
    assert (pong.opcode, pong.data) == (Opcode.PONG, b"there?")
    await peer.wire.send(frame(Opcode.CONT, text[8:9], final=False) + frame(Opcode.CONT, text[9:]))
    assert await peer.receive() == "~m~4~m~é中😀"


@every_version
async def test_all_that_is_sent_in_one_turn_travels_together(serve, version):
    class Talkative(Recorder):
        def on_message(self, message: Any) -> None:
            for word in ("one", "two"):
                self.send(word)
            self.broadcast("three")
            self.send(["four", {"five": 5}])

    served = serve(Talkative)
    speaker, listener = await opened(served, version), await opened(served, version)
    await speaker.send(proto.encode("go"))
    assert await speaker.receive() == '~m~3~m~one~m~3~m~two~m~4~m~four~m~14~m~~j~{"five": 5}'
    assert await listener.receive() == "~m~5~m~three"


# -- What the peer does wrong ------------------------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize(
    "payload", ["no frame", "~m~5~m~four", "~m~6~m~~j~{]}", "~m~6~m~~j~NaN", "~m~1~m~😀", "~m~٣~m~abc"]
)
async def test_bad_frames_end_the_connection_with_1007(serve, version, payload):
    peer = await opened(serve(), version)
    await peer.send("~m~4~m~good" + payload)
    assert await peer.ended() == (1007 if version in HYBI else None)
    [recorder] = Recorder.opened
    await recorder.closed.wait()
    assert recorder.events == [("open", ""), ("message", "good"), ("close",)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(Opcode.BINARY, b"~m~2~m~hi"), 1003),
        (b"\x81\x09~m~2~m~hi", 1002),  # not masked
        (frame(Opcode.TEXT, b"~m~2~m~\xff\xff"), 1007),
        (frame(Opcode.TEXT, b"~m~2~m~hi", final=False) + frame(Opcode.TEXT, b"~m~2~m~hi"), 1002),
        (frame(Opcode.CONT, b"~m~2~m~hi"), 1002),
        (frame(0x40 | Opcode.TEXT, b"~m~2~m~hi"), 1002),  # compressed, as nobody agreed
        (frame(0x3, b""), 1002),
        (frame(Opcode.PING, b"there?", final=False), 1002),
        (frame(Opcode.PING, 126 * b"x"), 1002),
        (frame(Opcode.CLOSE, b"\x03"), 1002),
        (frame(Opcode.CLOSE, b"\x03\xed"), 1002),  # 1005 may not travel
    ],
    ids=lambda value: value if isinstance(value, int) else "",
)
async def test_a_frame_that_rfc6455_forbids_ends_the_connection(serve, data, code):
    peer = await opened_hybi(serve())
    await peer.wire.send(frame(Opcode.TEXT, b"~m~4~m~good") + data + frame(Opcode.TEXT, b"~m~4~m~more"))
    assert await peer.ended() == code
    [recorder] = Recorder.opened
    await recorder.closed.wait()
    assert recorder.events == [("open", ""), ("message", "good"), ("close",)]


@pytest.mark.parametrize("data", [b"\x01\xff", b"\x00~m~2~m~\xfe\xfe\xff", b"\x80" + 9 * b"\xff" + b"\x00"])
async def test_a_frame_that_the_drafts_forbid_ends_the_connection(serve, data):
    peer = await opened(serve(), "76")
    await peer.wire.send(data)
    await peer.ended()
    await Recorder.opened[0].closed.wait()


@every_version
@pytest.mark.parametrize(
    "text", [2000 * "x", 1000 * "é", 500 * "😀", '~j~{"a": "' + 1988 * "x" + '"}'], ids=["ASCII", "é", "emoji", "JSON"]
)
async def test_max_message_size_is_of_one_message(serve, version, text):
    served = serve(settings={"max_message_size": 2000})
    peer = await opened(served, version)
    assert len(text.encode()) == 2000
    await peer.send(texts.frame(text))
    assert await peer.receive() == texts.frame(text)
    await peer.send(proto.encode("good") + texts.frame(text + " ") + proto.encode("behind it"))
    assert await peer.receive() == proto.encode("good")
    assert await peer.ended() == (1009 if version in HYBI else None)
    await Recorder.opened[0].wait_closed()
    assert [event[0] for event in Recorder.opened[0].events] == ["open", "message", "message", "close"]


@every_version
async def test_max_payload_size_is_of_one_websocket_message(serve, version):
    served = serve(settings={"max_message_size": 1000, "max_payload_size": 2000})
    peer = await opened(served, version)
    await peer.send(200 * "~m~3~m~abc")
    assert (await peer.receive()).startswith("~m~3~m~abc")
    await peer.send(200 * "~m~3~m~abc" + "~")
    await Recorder.opened[0].wait_closed()
    assert [event[0] for event in Recorder.opened[0].events] == ["open", *(200 * ["message"]), "close"]


@every_way
async def test_a_message_that_is_too_large_is_refused_at_its_header(serve):
    peer = await opened_hybi(serve())
    await peer.wire.send(b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"mask")
    assert await peer.ended() == 1009


# -- Ends --------------------------------------------------------------------------------------------------------------


@every_way
@every_version
async def test_the_client_closes(serve, version):
    peer = await opened(serve(), version)
    await peer.close()
    assert await peer.ended() == (1000 if version in HYBI else None)
    await Recorder.opened[0].closed.wait()


@every_way
@pytest.mark.parametrize(
    ("sent", "answer"),
    [(b"", b"\x88\x00"), (b"\x03\xe9bye", b"\x88\x02\x03\xe9"), (b"\x0f\xa0", b"\x88\x02\x0f\xa0")],
)
async def test_a_close_frame_is_answered_before_the_connection_ends(serve, sent, answer):
    peer = await opened_hybi(serve())
    await peer.wire.send(frame(Opcode.CLOSE, sent))
    assert await peer.wire.read_to_end() == answer


@every_way
@every_version
async def test_the_server_closes_after_what_it_has_sent(serve, version):
    class Abortable(Recorder):
        def on_message(self, message: Any) -> None:
            self.send("bye")
            self.close()

    peer = await opened(serve(Abortable), version)
    await peer.send("~m~2~m~go")
    assert await peer.receive() == "~m~3~m~bye"
    await Recorder.opened[0].closed.wait()
    assert await peer.ended() == (1000 if version in HYBI else None)


@every_way
async def test_the_bytes_of_the_servers_close(serve):
    peer = await opened_hybi(serve())
    await peer.wire.send(frame(Opcode.TEXT, b"~m~5~m~close"))
    assert await peer.wire.read_exactly(4) == b"\x88\x02\x03\xe8"


@every_way
@every_version
async def test_what_comes_after_the_servers_close_is_not_handled(serve, version, caplog):
    peer = await opened(serve(), version)
    await peer.send(proto.encode(["close", "more"]), "~m~4~m~more")
    await Recorder.opened[0].closed.wait()
    await peer.send("~m~4~m~more", "nonsense")
    await peer.ended()
    assert Recorder.opened[0].events == [("open", ""), ("message", "close"), ("close",)]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@every_way
@every_version
async def test_a_client_that_never_answers_our_close_is_cut_off(serve, clock, version):
    peer = await opened(serve(), version)
    await peer.send("~m~5~m~close")
    await Recorder.opened[0].closed.wait()
    await clock.advance(4)
    await peer.send("~m~10~m~still here")
    await clock.advance(0.9)
    assert not peer.wire.reader.at_eof()
    await clock.advance(0.2)
    await peer.wire.read_to_end()
    assert peer.wire.reader.at_eof()


@every_way
@every_version
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_connection_that_breaks(serve, version, reset):
    peer = await opened(serve(), version)
    if reset:
        peer.wire.reset()
    else:
        await peer.wire.aclose()
    async with limit():
        await Recorder.opened[0].closed.wait()
    assert Recorder.opened[0].events == [("open", ""), ("close",)]


@every_way
@every_version
@pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
async def test_on_open_that_returns_false_refuses_with_1008(serve, version, asynchronous):
    class Refusing(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            super().on_open(request, *args, **kwargs)
            return refuse_later() if asynchronous else False

    async def refuse_later() -> bool:
        await asyncio.sleep(0)
        return False

    peer = await connect(serve(Refusing), version)
    assert await peer.ended() == (1008 if version in HYBI else None)
    [recorder] = Recorder.opened
    await recorder.closed.wait()
    assert recorder.events == [("open", ""), ("close",)]


@every_way
@every_version
async def test_on_open_that_raises_ends_with_1011(serve, version, caplog):
    class Failing(Recorder):
        def on_open(self, request: Any, *args: Any, **kwargs: Any) -> None:
            super().on_open(request, *args, **kwargs)
            raise RuntimeError("as the test asked")

    peer = await connect(serve(Failing), version)
    assert await peer.ended() == (1011 if version in HYBI else None)
    await Recorder.opened[0].closed.wait()
    assert "RuntimeError: as the test asked" in caplog.text


@every_way
@every_version
async def test_on_message_that_raises_ends_with_1011_what_was_sent_before_arrives(serve, version, caplog):
    class Failing(Recorder):
        def on_message(self, message: Any) -> None:
            self.send("before")
            raise RuntimeError("as the test asked")

    served = serve(Failing)
    peer, other = await opened(served, version), await opened(served, version)
    await peer.send("~m~4~m~fail", "~m~4~m~more")
    assert await peer.receive() == "~m~6~m~before"
    assert await peer.ended() == (1011 if version in HYBI else None)
    assert "RuntimeError: as the test asked" in caplog.text
    assert served.router.connections == (Recorder.opened[1],)
    await other.close()


@every_way
async def test_an_error_behind_a_handler_is_told_although_the_client_goes_on_sending(serve):
    class Slow(Recorder):
        async def on_message(self, message: Any) -> None:
            await asyncio.sleep(0)

    served = serve(Slow)
    peer = await opened_hybi(served)
    await peer.send("~m~4~m~work", "nonsense")
    assert (await peer.wire.read_exactly(4))[2:] == b"\x03\xef"
    for _ in range(2):
        await peer.wire.send(frame(Opcode.PING, b"still here"))
        await served.barrier()
    assert not peer.wire.writer.is_closing()  # no reset has come, which would have overtaken the error


# -- Slow peers --------------------------------------------------------------------------------------------------------


@every_way
async def test_a_ping_is_answered_byte_for_byte(serve):
    peer = await opened_hybi(serve())
    await peer.wire.send(frame(Opcode.PING, b"") + frame(Opcode.PONG, b"unasked"))
    assert await peer.wire.read_exactly(2) == b"\x8a\x00"
    await peer.wire.send(frame(Opcode.PING, 125 * b"x"))
    assert await peer.wire.read_exactly(127) == b"\x8a\x7d" + 125 * b"x"


class Firehose(Recorder):
    """Answers every message with 64 KiB."""

    def on_message(self, message: Any) -> None:
        self.events.append(("message", message))
        self.send(65536 * "x")


@every_way
@every_version
async def test_a_peer_that_takes_too_little_is_dropped_at_max_send_buffer(serve, version, caplog):
    served = serve(Firehose, {"max_send_buffer": 1 << 20})
    slow, other = await opened(served, version), await opened(served, version)
    stop_reading(slow.wire)
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            await slow.send("~m~4~m~more")
            await asyncio.sleep(0)
    await until(Recorder.opened[0].closed.is_set)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert f"session {Recorder.opened[0].session_id[:8]} (websocket): closed, too slow" in warnings[0]
    assert served.router.connections == (Recorder.opened[1],)
    await other.send("~m~4~m~more")
    assert len(await other.receive()) > 65536
    await slow.wire.read_to_end()  # what was still in our own buffers


@every_way
async def test_a_peer_that_takes_its_time_is_not_dropped_below_max_send_buffer(serve):
    peer = await opened_hybi(serve(Firehose, {"max_send_buffer": 100 << 20}))
    stop_reading(peer.wire)
    await peer.send(*(300 * ["~m~4~m~more"]))
    await until(lambda: len(Recorder.opened[0].events) == 301)
    resume_reading(peer.wire)
    received = 0
    while received < 300:
        received += len(proto.decode(await peer.receive()))


@every_way
@every_version
async def test_what_was_sent_before_an_exception_arrives_also_at_a_slow_peer(serve, version):
    class Failing(Recorder):
        def on_message(self, message: Any) -> None:
            for _ in range(150):
                self.send(65536 * "x")
            raise RuntimeError("as the test asked")

    peer = await opened(serve(Failing), version)
    stop_reading(peer.wire)
    await peer.send("~m~4~m~fail", "~m~4~m~more")
    await Recorder.opened[0].closed.wait()
    resume_reading(peer.wire)
    received = 0
    while received < 150:
        received += len(proto.decode(await peer.receive()))
    assert await peer.ended() == (1011 if version in HYBI else None)


@every_way
async def test_a_closed_connection_whose_peer_takes_nothing_is_cut_off_after_session_expiry(serve, clock):
    served = serve(Firehose, {"max_send_buffer": 100 << 20, "session_expiry": 10, "session_check_interval": 1})
    peer = await opened_hybi(served)
    stop_reading(peer.wire)
    await peer.send(*(300 * ["~m~4~m~more"]))
    await until(lambda: len(Recorder.opened[0].events) == 301)
    Recorder.opened[0].close()
    await Recorder.opened[0].closed.wait()
    await clock.advance(9)
    assert clock.timers != []
    await clock.advance(2)
    assert clock.timers == []
    resume_reading(peer.wire)
    assert len(await peer.wire.read_to_end()) < 300 * 65536


@every_way
async def test_of_many_pings_from_a_peer_that_takes_nothing_the_last_ones_are_answered_when_it_does(serve):
    peer = await opened_hybi(serve(Firehose, {"max_send_buffer": 100 << 20}))
    stop_reading(peer.wire)
    await peer.send(*(300 * ["~m~4~m~more"]))
    for number in range(1000):
        await peer.wire.send(frame(Opcode.PING, b"%d" % number))
        await asyncio.sleep(0)
    await peer.send("~m~4~m~last")
    await until(lambda: Recorder.opened[0].events[-1] == ("message", "last"))
    resume_reading(peer.wire)
    received, pongs = 0, []
    while received < 301 or b"999" not in pongs:
        incoming = await peer.next_frame()
        if incoming.opcode is Opcode.PONG:
            pongs.append(bytes(incoming.data))
        else:
            received += len(proto.decode(bytes(incoming.data).decode()))
    assert len(pongs) < 1000
    await peer.wire.send(frame(Opcode.PING, b"and on"))
    assert bytes((await peer.next_frame()).data) == b"and on"


@every_way
async def test_a_peer_that_takes_nothing_not_even_our_close_frame_is_cut_off(serve, clock):
    served = serve()
    [listener] = bind_sockets(0, "127.0.0.1")
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections, too, hold little on their way
    served.server.add_socket(listener)
    connection = socket.create_connection(listener.getsockname())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    wire = ClientStream(*await asyncio.open_connection(sock=connection))
    served.wires.append(wire)
    await HybiPeer(wire, PATH).shake_hands("13", {})
    stop_reading(wire)
    for _ in range(500):  # pongs, a few kilobytes at a time, fill what is between the two
        await wire.send(30 * frame(Opcode.PING, 125 * b"x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await wire.send(frame(Opcode.BINARY, b""))
    await until(Recorder.opened[0].closed.is_set)
    await clock.advance(5.1)
    resume_reading(wire)
    assert b"\x03\xeb" not in await wire.read_to_end()
