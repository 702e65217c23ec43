"""permessage-deflate (RFC 7692): what is agreed on, what goes over the wire, what a peer may not do."""

from __future__ import annotations

import itertools
import random
import re
import sys
import time
import tracemalloc
import zlib
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients import deflated, frame
from tests.support import PROCESSOR_SECONDS, fed
from tests.websocket_peers import PEERS, WebSocketsPeer, WsprotoPeer
from tornadio.errors import ProtocolError, TooLargeError
from tornadio.settings import Compression
from tornadio.websocket import rfc6455
from tornadio.websocket.deflate import (
    Compressor,
    Deflate,
    TakeoverCompressor,
    accept_offer,
    check_response,
    inflate,
    make_offer,
    parse_extensions,
)
from tornadio.websocket.frames import BINARY, CONTINUATION, PING, RSV1, TEXT
from tornadio.websocket.rfc6455 import ClientFramer, Framer

LIMIT = 1 << 20
ALL = Compression(threshold=0)
TAKEOVER = Compression(threshold=0, context_takeover=True)

COMPRESSIBLE = "".join(f"~m~{len(text)}~m~{text}" for text in (f'{{"price": {number}}}' for number in range(200)))


def accepted(offer: str, compression: Compression = ALL) -> tuple[Deflate, str]:
    found = accept_offer(offer, compression)
    assert found is not None
    return found


def inflated(inflating: Generator[None, None, bytes]) -> bytes:
    """The message that inflating ends with."""
    while True:
        try:
            next(inflating)
        except StopIteration as result:
            return bytes(result.value)


def server_framer(compression: Compression = ALL, limit: int = LIMIT, offer: str = "permessage-deflate") -> Framer:
    return Framer(limit, accepted(offer, compression)[0])


# -- Negotiation -----------------------------------------------------------------------------------------------------

DEFAULT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offer", "response"),
    [
        ("permessage-deflate", DEFAULT),
        ("permessage-deflate; client_max_window_bits", DEFAULT),  # Chromium's
        ("permessage-deflate; client_max_window_bits=9", DEFAULT),
        ("permessage-deflate;server_no_context_takeover;client_no_context_takeover", DEFAULT),
        ("permessage-deflate; server_max_window_bits=15", DEFAULT + "; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=14", DEFAULT + "; server_max_window_bits=12"),
        ('permessage-deflate; server_max_window_bits="12"', DEFAULT + "; server_max_window_bits=12"),
        ('permessage-deflate; server_max_window_bits = "1\\1"', DEFAULT + "; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=9", DEFAULT + "; server_max_window_bits=9"),
        ("x-webkit-deflate-frame, permessage-deflate", DEFAULT),
        ("permessage-bzip2; a=1; b, , permessage-deflate,", DEFAULT),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", DEFAULT),  # which zlib has not
        ("permessage-deflate; server_max_window_bits, permessage-deflate", DEFAULT),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate", DEFAULT),
        ("permessage-deflate; server_max_window_bits=16, permessage-deflate", DEFAULT),
        ("permessage-deflate; server_max_window_bits=09, permessage-deflate", DEFAULT),
        ("permessage-deflate; server_max_window_bits=9; server_max_window_bits=9, permessage-deflate", DEFAULT),
        ("permessage-deflate; client_max_window_bits=7, permessage-deflate", DEFAULT),
        ("permessage-deflate; client_max_window_bits=, permessage-deflate", None),
        ("permessage-deflate; server_no_context_takeover=1, permessage-deflate", DEFAULT),
        ("permessage-deflate; client_no_context_takeover=, permessage-deflate", None),
        ("permessage-deflate; unknown, permessage-deflate", DEFAULT),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; unknown", None),
        ("Permessage-Deflate", None),
        ("permessage-deflate-2", None),
        ("permessage-deflate client_max_window_bits", None),
        ('permessage-deflate; server_max_window_bits="9', None),
        ("é; permessage-deflate", None),
        ("; permessage-deflate", None),
        ("", None),
        (",", None),
    ],
)
def test_the_first_good_offer_is_accepted(offer: str, response: str | None) -> None:
    found = accept_offer(offer, ALL)
    assert (found and found[1]) == response


@pytest.mark.parametrize(
    ("offer", "response"),
    [
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        ("permessage-deflate; server_max_window_bits=10", "permessage-deflate; server_max_window_bits=9"),
    ],
)
def test_the_context_is_kept_where_both_sides_want_to(offer: str, response: str) -> None:
    assert accepted(offer, TAKEOVER)[1] == response


def test_only_what_is_a_connections_own_is_made_for_it() -> None:
    assert accepted("permessage-deflate")[0] is accepted("permessage-deflate; client_max_window_bits=10")[0]
    assert accepted("permessage-deflate", TAKEOVER)[0] is not accepted("permessage-deflate", TAKEOVER)[0]
    kept, _ = accepted("permessage-deflate; server_no_context_takeover", TAKEOVER)
    assert kept.compressor == Compressor(6, 8, 15, 0)
    assert isinstance(accepted("permessage-deflate", TAKEOVER)[0].compressor, TakeoverCompressor)


def test_clients_share_a_few_encoders_whatever_windows_they_ask_for() -> None:
    offers = [f"permessage-deflate; server_max_window_bits={bits}" for bits in range(9, 16)]
    assert len({Framer(LIMIT, accepted(offer)[0]).encode_text for offer in [*offers, "permessage-deflate"]}) == 3


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        ("a", [("a", {})]),
        ("a;b;c=d , e", [("a", {"b": None, "c": "d"}), ("e", {})]),
        ('a; b="c, d; \\"e\\"", f', [("a", {"b": 'c, d; "e"'}), ("f", {})]),
        ("a; b; b=1, c", [("a", None), ("c", {})]),
        ("a, b=c, d", [("a", {})]),
        ("a;, b", []),
    ],
)
def test_a_list_of_extensions_is_parsed_up_to_what_is_none(header: str, parsed: list[Any]) -> None:
    assert list(parse_extensions(header)) == parsed


@given(st.text(st.sampled_from('ab;=", \\\té')))
def test_whatever_comes_for_a_list_is_parsed(header: str) -> None:
    list(parse_extensions(header))
    accept_offer("permessage-deflate" + header, ALL)


@pytest.mark.parametrize("part", ["permessage-deflate; x=1,", "a;b", ' ;="', "\t", '"\\', "permessage-deflate; a; a,"])
@pytest.mark.bulk
def test_a_long_list_costs_time_in_proportion(part: str) -> None:
    before = time.process_time()
    accept_offer(part * 100_000, ALL)
    accept_offer("a" + part * 100_000, ALL)
    accept_offer('a;b="' + part * 100_000, ALL)
    assert time.process_time() - before < PROCESSOR_SECONDS


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("permessage-deflate; unknown", "it has the unknown parameter 'unknown'"),
        ("permessage-deflate; client_max_window_bits", "client_max_window_bits without a number from 8 to 15"),
        ("permessage-deflate; server_max_window_bits=16", "server_max_window_bits without a number from 8 to 15"),
        ("permessage-deflate; server_no_context_takeover=1", "server_no_context_takeover with a value"),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", "a parameter twice"),
        ("permessage-deflate, permessage-deflate", "was not asked for: 'permessage-deflate, permessage-deflate'"),
        ("x-webkit-deflate-frame", "was not asked for: 'x-webkit-deflate-frame'"),
        ("=", "was not asked for: '='"),
    ],
)
def test_a_response_that_fits_no_offer_is_refused(response: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(reason)):
        check_response(response, ALL)
    with pytest.raises(ProtocolError, match="was not asked for"):
        check_response(response, None)


def test_a_client_offers_what_it_wants_and_then_what_it_can_do() -> None:
    wanted = {"server_no_context_takeover": None, "client_no_context_takeover": None}
    can = ("permessage-deflate", {"client_max_window_bits": None})
    assert list(parse_extensions(make_offer(ALL))) == [(can[0], can[1] | wanted), can]
    assert list(parse_extensions(make_offer(TAKEOVER))) == [can]


def test_a_server_may_decline() -> None:
    assert check_response("", ALL) is None
    assert check_response(" ", None) is None


def test_a_server_that_keeps_its_context_all_the_same_is_understood() -> None:
    """It was asked not to (section 7.1.1.1)."""
    deflate = check_response("permessage-deflate", ALL)
    assert deflate is not None
    assert deflate.compressor == Compressor(6, 8, 15, 0)
    server = TakeoverCompressor(Compressor(6, 8, 15, 0))
    for _ in range(2):
        assert inflated(deflate.inflate(server.compress(COMPRESSIBLE.encode()) or b"", LIMIT)) == COMPRESSIBLE.encode()


def test_a_window_that_zlib_has_not_leaves_a_clients_messages_as_they_are() -> None:
    for compression in (ALL, TAKEOVER):
        deflate = check_response("permessage-deflate; client_max_window_bits=8", compression)
        framer = ClientFramer(LIMIT, deflate)
        sent = framer.encode("a" * 1000)
        assert sent[0] == 0x80 | TEXT
        assert fed(server_framer(), sent) == ["a" * 1000]


# -- The RFC's examples (section 7.2.3) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        "f248cdc9c90700",
        "000500faff48656c6c6f00",  # a block without compression
        "f348cdc9c9070000",  # a final block
        "f348cdc9c90700",  # and nothing behind it
        "f248050000 00ffffcac9c90700",  # two blocks
    ],
)
def test_hello_is_inflated(payload: str) -> None:
    data = bytes.fromhex(payload)
    for compression in (ALL, TAKEOVER):
        whole = server_framer(compression)
        assert fed(whole, frame(RSV1 | TEXT, data) * 3) == ["Hello"] * 3
        for cut in range(len(data) + 1):
            framer = server_framer(compression)
            parts = frame(RSV1 | TEXT, data[:cut], final=False) + frame(PING, "") + frame(CONTINUATION, data[cut:])
            assert fed(framer, parts) == ["Hello"]
            assert framer.error is None


def test_a_window_goes_on_where_it_may() -> None:
    second = bytes.fromhex("f200110000")
    sent = frame(RSV1 | TEXT, bytes.fromhex("f248cdc9c90700")) + frame(RSV1 | TEXT, second)
    assert fed(server_framer(TAKEOVER), sent) == ["Hello", "Hello"]
    framer = server_framer()
    assert fed(framer, sent) == ["Hello"]
    assert framer.error is not None
    assert framer.error.close_code == 1007


@pytest.mark.parametrize("compression", [ALL, TAKEOVER])
def test_empty_messages_are_inflated(compression: Compression) -> None:
    """zlib's flush leaves nothing of one behind another."""
    framer = server_framer(compression)
    sent = [frame(RSV1 | TEXT, data) for data in (b"\x00", b"", b"\x02\x00", b"", bytes.fromhex("f248cdc9c90700"))]
    assert fed(framer, b"".join(sent)) == ["", "", "", "", "Hello"]


# -- What we send ------------------------------------------------------------------------------------------------------


def test_all_receivers_share_one_frame() -> None:
    framers = [server_framer() for _ in range(2)]
    assert framers[0].is_encoding_shared
    assert framers[0].encode_text is framers[1].encode_text
    assert framers[0].encode(COMPRESSIBLE) == framers[1].encode_text(COMPRESSIBLE.encode())
    assert not server_framer(TAKEOVER).is_encoding_shared


def test_short_messages_go_as_they_are() -> None:
    framer = server_framer(Compression(threshold=100))
    assert framer.encode("a" * 99) == b"\x81\x63" + b"a" * 99
    assert framer.encode("é" * 50)[0] == RSV1 | 0x81
    assert len(framer.encode("é" * 50)) < 20
    assert framer.encode(b"a" * 100)[0] == RSV1 | 0x82


def test_what_would_not_become_shorter_goes_as_it_is() -> None:
    noise = random.Random(1).randbytes(5000)
    assert server_framer().encode(noise) == Framer(LIMIT).encode(noise)
    assert server_framer().encode("") == b"\x81\x00"
    assert server_framer(TAKEOVER).encode("") == b"\x81\x00"


def test_with_its_context_a_repeated_message_is_a_few_bytes() -> None:
    encode = server_framer(TAKEOVER).encode
    first, second = encode(COMPRESSIBLE), encode(COMPRESSIBLE)
    assert len(second) * 5 < len(first) < len(COMPRESSIBLE)


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_the_window_is_no_larger_than_agreed_on(bits: int) -> None:
    deflate, _ = accepted(f"permessage-deflate; server_max_window_bits={bits}")
    text = random.Random(1).randbytes(1 << bits) * 2
    compressed = deflate.compressor.compress(text[: len(text)] + COMPRESSIBLE.encode())
    assert compressed is not None
    zlib.decompressobj(-bits).decompress(compressed)  # refuses what is further back


# -- Others ------------------------------------------------------------------------------------------------------------

FLAGS = st.fixed_dictionaries(
    {}, optional={"server_no_context_takeover": st.booleans(), "client_no_context_takeover": st.booleans()}
)
WINDOWS = st.fixed_dictionaries(
    {}, optional={"server_max_window_bits": st.integers(9, 15), "client_max_window_bits": st.integers(9, 15)}
)
PARAMETERS = st.builds(lambda flags, windows: flags | windows, FLAGS, WINDOWS)
COMPRESSIONS = st.builds(
    Compression,
    level=st.integers(1, 9),
    memory_level=st.integers(1, 9),
    threshold=st.sampled_from([0, 20, 1024]),
    context_takeover=st.booleans(),
)
TEXTS = st.text() | st.sampled_from(["", "a" * 5000, COMPRESSIBLE, COMPRESSIBLE * 10, "é中😀" * 700])
BYTES = st.binary() | st.sampled_from([bytes(70_000), random.Random(1).randbytes(40_000)])
MESSAGES = st.lists(st.tuples(TEXTS | BYTES, st.lists(st.integers(0, 6000), max_size=3).map(sorted)), max_size=6)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, max([len(data), *cuts])])]


def check_both_ways(
    peer: WebSocketsPeer | WsprotoPeer,
    framer: Framer | ClientFramer,
    messages: list[tuple[str | bytes, list[int]]],
    cuts: list[int],
) -> None:
    sent = b"".join(peer.send(message, where) + peer.ping() for message, where in messages) + peer.close(1000, "")
    received, pongs = [], b""
    for piece in pieces(sent, cuts):
        received += fed(framer, piece)
        pongs += framer.data_to_send()
    assert framer.error is None
    assert received == [message for message, _ in messages]
    encode = framer.encode
    peer.feed(b"".join(encode(message) for message, _ in messages) + pongs)
    assert peer.received == received
    assert peer.pongs == len(messages)
    assert peer.close_code == 1000


@pytest.mark.parametrize("make_peer", PEERS)
@given(
    parameters=PARAMETERS, compression=COMPRESSIONS, messages=MESSAGES, cuts=st.lists(st.integers(0, 5000)).map(sorted)
)
def test_clients_of_others_speak_it_with_our_server(
    make_peer: type[WebSocketsPeer] | type[WsprotoPeer],
    parameters: dict[str, Any],
    compression: Compression,
    messages: list[tuple[str | bytes, list[int]]],
    cuts: list[int],
) -> None:
    peer = make_peer(parameters)
    request = peer.request()
    deflate, response = accepted(request["Sec-WebSocket-Extensions"], compression)
    peer.response_received(rfc6455.handshake_headers(request) | {"Sec-WebSocket-Extensions": response})
    check_both_ways(peer, Framer(LIMIT, deflate), messages, cuts)


@pytest.mark.parametrize("make_peer", PEERS)
@given(
    parameters=PARAMETERS, compression=COMPRESSIONS, messages=MESSAGES, cuts=st.lists(st.integers(0, 5000)).map(sorted)
)
def test_servers_of_others_speak_it_with_our_client(
    make_peer: type[WebSocketsPeer] | type[WsprotoPeer],
    parameters: dict[str, Any],
    compression: Compression,
    messages: list[tuple[str | bytes, list[int]]],
    cuts: list[int],
) -> None:
    peer = make_peer(parameters)
    key = rfc6455.new_key()
    response = peer.accept(rfc6455.client_request_headers(key, compression))
    deflate = rfc6455.check_client_response(response, key, compression)
    assert deflate is not None
    check_both_ways(peer, ClientFramer(LIMIT, deflate), messages, cuts)


@given(ours=COMPRESSIONS, theirs=COMPRESSIONS, messages=st.lists(TEXTS | BYTES))
def test_both_our_sides_speak_it(ours: Compression, theirs: Compression, messages: list[str | bytes]) -> None:
    server_deflate, response = accepted(make_offer(theirs), ours)
    server, client = Framer(LIMIT, server_deflate), ClientFramer(LIMIT, check_response(response, theirs))
    encode = server.encode
    assert fed(client, b"".join(encode(message) for message in messages)) == messages
    assert fed(server, b"".join(client.encode(message) for message in messages)) == messages


# -- What a peer may not do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [ALL, TAKEOVER])
@pytest.mark.parametrize(
    ("data", "close_code", "reason"),
    [
        (frame(RSV1 | PING, ""), 1002, "RSV1 that begins no message"),
        (frame(RSV1 | 8, ""), 1002, "RSV1 that begins no message"),
        (frame(TEXT, "a", final=False) + frame(RSV1 | CONTINUATION, ""), 1002, "RSV1 that begins no message"),
        (frame(RSV1 | TEXT, "", final=False) + frame(RSV1 | CONTINUATION, ""), 1002, "RSV1 that begins no message"),
        (frame(RSV1 | 3, ""), 1002, "begins no message"),
        (frame(0x20 | TEXT, ""), 1002, "reserved bits"),
        (frame(0x50 | TEXT, ""), 1002, "reserved bits"),
        (frame(RSV1 | TEXT, b"\xff"), 1007, "no DEFLATE"),
        (frame(RSV1 | TEXT, b"\x00\x05\x00\x00\x00Hello"), 1007, "no DEFLATE"),
        (frame(RSV1 | TEXT, deflated(b"\xff")), 1007, "not UTF-8"),
        (frame(RSV1 | TEXT, deflated("é".encode()[:1])), 1007, "not UTF-8"),
        (frame(RSV1 | TEXT, b"\x03\x00" * 20), 1007, "more than 16 DEFLATE streams"),
        (frame(RSV1 | TEXT, deflated(bytes(1001))), 1009, "more than 1000 bytes"),
        (frame(RSV1 | TEXT, b"\x03\x00" + deflated(bytes(1001))), 1009, "more than 1000 bytes"),
        (frame(RSV1 | BINARY, deflated(bytes(1 << 20))), 1009, "more than 1000 bytes"),
        (frame(RSV1 | BINARY, bytes(1315))[:10], 1009, "more than 1000 bytes"),
        (
            frame(RSV1 | BINARY, bytes(1000), final=False) + frame(CONTINUATION, bytes(315))[:10],
            1009,
            "more than 1000 bytes",
        ),
    ],
)
def test_what_is_wrong_ends_the_connection(compression: Compression, data: bytes, close_code: int, reason: str) -> None:
    good = frame(RSV1 | TEXT, deflated(b"before"))
    framer = server_framer(compression, 1000)
    assert fed(framer, good + data + good) == ["before"]
    assert framer.closed
    assert framer.error is not None
    assert reason in str(framer.error)
    assert framer.error.close_code == close_code
    assert isinstance(framer.error, TooLargeError) == (close_code == 1009)


def test_without_an_agreement_a_compressed_frame_is_none() -> None:
    framer = Framer(LIMIT)
    assert fed(framer, frame(RSV1 | TEXT, deflated(b"a"))) == []
    assert framer.error is not None
    assert framer.error.close_code == 1002


@pytest.mark.parametrize("text", [b"Hello" * 20, COMPRESSIBLE.encode(), bytes(5000)])
def test_a_message_that_is_cut_is_noticed(text: bytes) -> None:
    data = deflated(text)
    assert inflated(inflate(data, LIMIT)) == text
    for end in range(1, len(data)):
        with pytest.raises(ProtocolError, match=r"no DEFLATE|within a block"):
            inflated(inflate(data[:end], LIMIT))


@given(st.binary(max_size=50), st.booleans())
def test_whatever_comes_is_inflated_or_said_to_be_wrong(data: bytes, takeover: bool) -> None:
    framer = server_framer(TAKEOVER if takeover else ALL, 1000)
    received = fed(framer, frame(RSV1 | BINARY, data) + frame(RSV1 | TEXT, data))
    assert isinstance(framer.error, ProtocolError) or len(received) == 2
    assert all(len(message) <= 1000 for message in received)


@given(TEXTS, st.data())
def test_a_message_is_no_longer_than_it_may_be(text: str, data: st.DataObject) -> None:
    size = len(text.encode())
    limit = data.draw(st.sampled_from([max(size - 1, 1), size + 1, max(size, 1)]))
    framer = server_framer(limit=limit)
    received = fed(framer, frame(RSV1 | TEXT, deflated(text.encode())))
    assert (received == [text]) == (size <= limit)
    assert isinstance(framer.error, TooLargeError) == (size > limit)


# -- Cost --------------------------------------------------------------------------------------------------------------


def test_what_was_not_received_whole_takes_no_more_memory_than_its_bytes() -> None:
    """Else a peer would hold a thousand times the memory of what it has sent, on as many connections as it likes."""
    data = frame(RSV1 | TEXT, deflated(bytes(LIMIT)))
    framer = server_framer()
    tracemalloc.start()
    try:
        assert framer.feed(data[:-1]) == []
        assert tracemalloc.get_traced_memory()[1] < LIMIT // 20
    finally:
        tracemalloc.stop()
    assert fed(framer, data[-1:]) == ["\0" * LIMIT]


def test_a_bomb_takes_no_more_memory_than_a_message_may() -> None:
    bomb = frame(RSV1 | TEXT, deflated(bytes(200 << 20)))
    framer = server_framer()
    tracemalloc.start()
    try:
        assert fed(framer, bomb) == []
        assert tracemalloc.get_traced_memory()[1] < 3 * LIMIT + 3 * len(bomb)
    finally:
        tracemalloc.stop()
    assert isinstance(framer.error, TooLargeError)


def test_a_chunk_of_many_bombs_is_inflated_in_turns() -> None:
    bombs = frame(RSV1 | TEXT, deflated(bytes(LIMIT))) * 60
    framer = server_framer()
    numbers = [len(framer.feed(bombs))]
    while framer.has_more:
        numbers.append(len(framer.feed(b"")))
    assert max(numbers) == 1
    assert sum(numbers) == 60


def short_blocks(number: int) -> bytes:
    """DEFLATE blocks that hold nothing, each with codes of its own (RFC 1951, section 3.2.7)."""
    lengths = {18: 1, 1: 2, 0: 2}  # of the codes for code lengths: of two symbols, and of runs without any
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4), *((lengths.get(symbol, 0), 3) for symbol in order)]
    fields += [(0, 1), (138 - 11, 7), (0, 1), (118 - 11, 7), (3, 2), (3, 2), (0, 1)]
    block = bits = 0
    for value, width in fields:
        block |= value << bits
        bits += width
    pair = block | block << bits
    return pair.to_bytes(2 * bits // 8, "little") * (number // 2) + b"\x00"


@pytest.mark.parametrize("compression", [ALL, TAKEOVER])
@pytest.mark.parametrize(
    "data", [short_blocks(400_000), deflated(bytes(8 << 20)), b"\x03\x00" * 10 + deflated(bytes(8 << 20))]
)
def test_a_message_is_inflated_in_turns(compression: Compression, data: bytes) -> None:
    framer = server_framer(compression, limit=8 << 20)
    longest = 0.0
    messages: list[Any] = []
    framed = frame(RSV1 | TEXT, data)
    for start in range(0, len(framed), 1 << 16):
        chunk = framed[start : start + (1 << 16)]
        while chunk or framer.has_more:
            before = time.thread_time()
            messages += framer.feed(chunk)
            longest, chunk = max(longest, time.thread_time() - before), b""
    assert [message.strip("\0") for message in messages] == [""]
    assert longest < 0.25  # in one go: seconds for the blocks


@pytest.mark.parametrize(
    "data",
    [
        frame(RSV1 | TEXT, b"\x00") * 100_000,
        frame(RSV1 | TEXT, deflated(b"ab" * 100)) * 50_000,
        frame(RSV1 | TEXT, b"\x03\x00" * 400_000),
        frame(RSV1 | TEXT, (b"\x00\x00\x00\xff\xff" * 200_000)[:-4]),
        frame(RSV1 | TEXT, b"", final=False) + frame(CONTINUATION, b"\x02", final=False) * 100_000,
    ],
    ids=["empty messages", "tiny messages", "final blocks", "empty blocks", "tiny fragments"],
)
@pytest.mark.bulk
def test_a_megabyte_costs_little(data: bytes) -> None:
    for compression in (ALL, TAKEOVER):
        framer = server_framer(compression)
        before = time.process_time()
        for start in range(0, len(data), 1 << 16):
            fed(framer, data[start : start + (1 << 16)])
        assert time.process_time() - before < PROCESSOR_SECONDS


def test_a_connection_takes_memory_for_its_own_context_alone() -> None:
    framer, plain = server_framer(), Framer(LIMIT)
    for each in (framer, plain):
        fed(each, frame(TEXT, "a"))
    assert sys.getsizeof(framer) == sys.getsizeof(plain)
    tracemalloc.start()
    try:
        framers = [server_framer() for _ in range(100)]
        for each in framers:
            fed(each, frame(RSV1 | TEXT, deflated(b"a")))
            each.encode(COMPRESSIBLE)
        assert tracemalloc.get_traced_memory()[0] < 100 * 1000
    finally:
        tracemalloc.stop()
