"""The client's side of RFC 6455, held against the servers of `websockets` and wsproto."""

from __future__ import annotations

import base64
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders
from websockets.frames import Frame, Opcode

from tests.clients import frame
from tests.support import brief, fed
from tests.websocket_peers import PEERS, WebSocketsPeer, WsprotoPeer
from tornadio.errors import ProtocolError, TooLargeError
from tornadio.websocket import rfc6455
from tornadio.websocket.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tornadio.websocket.rfc6455 import ClientFramer, Framer

LIMIT = 1 << 20


def server_frame(opcode: int, payload: bytes | str, final: bool = True) -> bytes:
    """A frame that is not masked."""
    data = payload.encode() if isinstance(payload, str) else payload
    return Frame(Opcode(opcode), data, final).serialize(mask=False)


# -- Handshake -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_server", PEERS)
def test_servers_accept_the_handshake_and_their_response_is_accepted(
    make_server: type[WebSocketsPeer] | type[WsprotoPeer],
) -> None:
    connected(make_server())


def test_our_own_server_accepts_it() -> None:
    key = rfc6455.new_key()
    response = rfc6455.handshake_headers(rfc6455.client_request_headers(key))
    rfc6455.check_client_response(response, key)


def test_each_key_is_sixteen_new_bytes() -> None:
    keys = [rfc6455.new_key() for _ in range(100)]
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}
    assert len(set(keys)) == 100


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"Upgrade": None}, 'no "Upgrade: websocket"'),
        ({"Upgrade": "h2c"}, "'h2c'"),
        ({"Connection": None}, 'no "Connection: Upgrade"'),
        ({"Connection": "keep-alive"}, "'keep-alive'"),
        ({"Sec-WebSocket-Accept": None}, "Sec-WebSocket-Accept is ''"),
        ({"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, "s3pPLMBiTxaQ9kYGzzhZRbK"),
        ({"Sec-WebSocket-Extensions": "permessage-deflate"}, "extension that was not asked for: 'permessage-deflate'"),
        ({"Sec-WebSocket-Protocol": "chat"}, "subprotocol that was not asked for: 'chat'"),
    ],
)
def test_another_response_is_refused(changed: dict[str, str | None], reason: str) -> None:
    key = rfc6455.new_key()
    headers = HTTPHeaders(rfc6455.handshake_headers(rfc6455.client_request_headers(key)))
    for name, value in changed.items():
        headers.pop(name, "")
        if value is not None:
            headers[name] = value
    with pytest.raises(ProtocolError, match=re.escape(reason)):
        rfc6455.check_client_response(headers, key)


def test_case_and_lists_in_the_response_do_not_matter() -> None:
    key = rfc6455.new_key()
    accept = rfc6455.handshake_headers(rfc6455.client_request_headers(key))["Sec-WebSocket-Accept"]
    headers = {"upgrade": "WebSocket", "CONNECTION": "keep-alive, UPGRADE", "sec-websocket-accept": f" {accept} "}
    rfc6455.check_client_response(HTTPHeaders(headers), key)


# -- Frames ----------------------------------------------------------------------------------------------------------


def connected(server: WebSocketsPeer | WsprotoPeer) -> ClientFramer:
    """A client of a server."""
    key = rfc6455.new_key()
    assert rfc6455.check_client_response(server.accept(rfc6455.client_request_headers(key)), key) is None
    return ClientFramer(LIMIT)


MESSAGES = st.lists(st.tuples(st.text() | st.binary(), st.lists(st.integers(0, 30), max_size=3).map(sorted)))
CUTS = st.lists(st.integers(0, 300)).map(sorted)


@pytest.mark.parametrize("make_server", PEERS)
@given(messages=MESSAGES, cuts=CUTS)
def test_messages_go_both_ways(
    make_server: type[WebSocketsPeer] | type[WsprotoPeer],
    messages: list[tuple[str | bytes, list[int]]],
    cuts: list[int],
) -> None:
    server = make_server()
    client = connected(server)
    sent = b"".join(server.send(message, where) + server.ping() for message, where in messages)
    sent += server.close(1000, "done")
    received, answer = [], b""
    for start, end in itertools.pairwise([0, *cuts, max([len(sent), *cuts])]):
        received += fed(client, sent[start:end])
        answer += client.data_to_send()
    assert client.error is None
    assert received == [message for message, _ in messages]
    assert client.peer_close == (1000, "done")
    assert client.closed
    server.feed(answer)
    assert server.pongs == len(messages)
    assert server.close_code == 1000


@pytest.mark.parametrize("make_server", PEERS)
@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 100_001])
def test_frames_of_any_length_go_both_ways(make_server: type[WebSocketsPeer] | type[WsprotoPeer], length: int) -> None:
    server = make_server()
    client = connected(server)
    sent: list[str | bytes] = ["a" * length, bytes(range(256)) * (length // 256)]
    for message in sent:
        assert server.feed(client.encode(message)) == b""
        assert fed(client, server.send(message, [])) == [message]
    assert server.received == sent
    answer = server.feed(client.close(1001, "é" * 100))
    assert server.close_code == 1001
    assert (fed(client, answer), client.closed, client.error) == ([], True, None)
    assert client.peer_close is not None
    assert client.peer_close.code == 1001
    assert client.data_to_send() == b""  # ours was the first


@pytest.mark.parametrize("text", ["a" * 65_536, "é" * 40_000, "a" * 70_000 + "😀"], ids=brief)
def test_large_texts_are_messages_in_whatever_pieces_they_come(text: str) -> None:
    data = server_frame(TEXT, "before") + server_frame(TEXT, text) * 2 + server_frame(TEXT, "behind")
    start = len(server_frame(TEXT, "before"))
    for cut in [*range(start, start + 16), len(data) // 2, len(data) - 10]:
        client = ClientFramer(LIMIT)
        assert fed(client, data[:cut]) + fed(client, data[cut:]) == ["before", text, text, "behind"]
        assert client.error is None


def test_each_frame_has_a_new_key() -> None:
    client = ClientFramer(LIMIT)
    masks = {client.encode("a")[2:6] for _ in range(100)}
    assert len(masks) > 90
    framer = Framer(LIMIT)
    assert fed(framer, client.encode("a") + client.close(1000, "")) == ["a"]
    assert framer.peer_close == (1000, "")


@pytest.mark.parametrize(
    ("data", "close_code", "reason"),
    [
        (frame(TEXT, "masked"), 1002, "a frame from a server must not be masked"),
        (frame(TEXT, "m" * 126), 1002, "a frame from a server must not be masked"),
        (frame(PING, ""), 1002, "a frame from a server must not be masked"),
        (b"\x81\x7e\x00\x7d", 1002, "shortest form"),
        (b"\x81\x7e\x00\x7d" + bytes(125), 1002, "shortest form"),
        (b"\x81\x7f" + (65535).to_bytes(8, "big"), 1002, "shortest form"),
        (b"\x81\x7f" + (1000).to_bytes(8, "big") + bytes(1000), 1002, "shortest form"),
        (b"\xc1\x00", 1002, "reserved bits"),
        (b"\x83\x00", 1002, "unknown opcode"),
        (b"\x09\x00", 1002, "control frame must be whole"),
        (server_frame(CONTINUATION, ""), 1002, "continues nothing"),
        (server_frame(BINARY, "", final=False) + server_frame(TEXT, ""), 1002, "inside another"),
        (server_frame(CLOSE, b"\x03\xee"), 1002, "illegal code"),
        (server_frame(TEXT, b"\xff"), 1007, "not UTF-8"),
        (b"\x81\x7e\x04\x01", 1009, "more than 1024 bytes"),
        (server_frame(TEXT, "a" * 1000, final=False) + b"\x00\x19", 1009, "more than 1024 bytes"),
    ],
)
def test_a_server_that_breaks_the_rules_is_told_which(data: bytes, close_code: int, reason: str) -> None:
    for size in (1 << 16, 1):
        client = ClientFramer(1024)
        sent = server_frame(TEXT, "before") + data + server_frame(TEXT, "behind")
        received: list[str | bytes] = []
        for start in range(0, len(sent), size):
            received += fed(client, sent[start : start + size])
        assert received == ["before"]
        assert client.closed
        assert client.error is not None
        assert reason in str(client.error)
        assert client.error.close_code == close_code
        assert isinstance(client.error, TooLargeError) == (close_code == 1009)


def test_a_flood_of_frames_comes_in_portions() -> None:
    client = ClientFramer(LIMIT)
    first = client.feed(server_frame(TEXT, "a") * 100_000)
    assert client.has_more
    assert len(first) < 1000
    assert len(first) + len(fed(client, b"")) == 100_000


def test_pongs_are_masked() -> None:
    client = ClientFramer(LIMIT)
    fed(client, server_frame(PING, "p"))
    answer = client.data_to_send()
    assert answer[:2] == bytes((0x80 | PONG, 0x80 | 1))
    assert len(answer) == 7
