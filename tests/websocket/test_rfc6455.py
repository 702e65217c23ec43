"""WebSocket framing by RFC 6455: bytes in, messages out."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients import MASK, frame, header
from tests.support import PROCESSOR_SECONDS, brief, fed
from tornadio.errors import ProtocolError, TooLargeError
from tornadio.websocket import rfc6455
from tornadio.websocket.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tornadio.websocket.rfc6455 import Framer

LIMIT = 1 << 20


def fragments(opcode: int, *parts: bytes | str) -> bytes:
    """A message in several frames."""
    opcodes = [opcode] + [CONTINUATION] * (len(parts) - 1)
    last = len(parts) - 1
    return b"".join(frame(opcodes[index], part, final=index == last) for index, part in enumerate(parts))


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def feed(data: bytes, limit: int = LIMIT) -> tuple[list[str | bytes], Framer]:
    """What a new framer makes of bytes, and that framer."""
    framer = Framer(limit)
    return fed(framer, data), framer


# -- Handshake -------------------------------------------------------------------------------------------------------


def test_the_rfcs_handshake_is_accepted():
    assert rfc6455.handshake_headers({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}) == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZTE3",
        "dGhlIHNhbXBsZSBub25jZQ==!",
        "dGhl IHNhbXBsZSBub25jZQ==",
        "é中😀",
        "A" * 10_000,
    ],
    ids=brief,
)
def test_a_key_must_be_sixteen_bytes_in_base64(key):
    with pytest.raises(ProtocolError, match="Sec-WebSocket-Key must be 16 bytes in base64") as caught:
        rfc6455.handshake_headers({} if key is None else {"Sec-WebSocket-Key": key})
    assert caught.value.http_status == 400


def test_the_versions_are_those_that_differ_in_nothing_here():
    assert rfc6455.VERSIONS == ("13", "8", "7")


# -- Messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        ("818537fa213d7f9f4d5158", ["Hello"]),  # the RFC's example
        ("818000000000", [""]),
        ("8182000000006162", ["ab"]),
        ("828237fa213d37fa", [b"\0\0"]),
        ("828037fa213d", [b""]),
    ],
)
def test_a_masked_frame_is_a_message(data, messages):
    received, framer = feed(bytes.fromhex(data))
    assert received == messages
    assert framer.error is None
    assert not framer.closed


@pytest.mark.parametrize("length", [0, 1, 3, 4, 125, 126, 127, 65535, 65536, 100_001])
@pytest.mark.parametrize("mask", [MASK, bytes(4), b"\xff" * 4])
def test_a_frame_of_any_length_is_unmasked(length, mask):
    payload = bytes(range(256)) * (length // 256 + 1)
    assert feed(frame(BINARY, payload[:length], mask=mask))[0] == [payload[:length]]


LARGE = ["a" * 65_536, "a" * 100_001, "é" * 40_000, "a" * 70_000 + "😀"]


@pytest.mark.parametrize("text", LARGE, ids=brief)
def test_large_texts_are_messages_in_whatever_pieces_they_come(text):
    data = frame(TEXT, "before") + frame(TEXT, text) + frame(TEXT, text[::-1]) + frame(TEXT, "behind")
    start = len(frame(TEXT, "before"))
    for cut in [*range(start, start + 20), len(data) // 2, len(data) - 10]:
        framer = Framer(LIMIT)
        received = fed(framer, data[:cut]) + fed(framer, data[cut:])
        assert received == ["before", text, text[::-1], "behind"]
        assert framer.error is None


@pytest.mark.parametrize(("length", "size"), [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65_535, 8)])
def test_a_whole_frame_whose_length_is_not_in_its_shortest_form_is_refused(length, size):
    data = bytes((0x81, 0xFE if size == 2 else 0xFF)) + length.to_bytes(size, "big") + bytes(4 + length)
    received, framer = feed(frame(TEXT, "before") + data + frame(TEXT, "behind"))
    assert received == ["before"]
    assert framer.error is not None
    assert "shortest form" in str(framer.error)


@pytest.mark.parametrize(
    ("opcode", "parts", "message"),
    [
        (TEXT, ["Hel", "lo"], "Hello"),
        (TEXT, ["", "", ""], ""),
        (TEXT, ["", "a", ""], "a"),
        (TEXT, list("fragments"), "fragments"),
        (TEXT, [b"\xc3", b"\xa9\xe4\xb8", b"\xad\xf0\x9f", b"\x98", b"\x80"], "é中😀"),
        (BINARY, [b"\xff", b"\xfe"], b"\xff\xfe"),
    ],
)
def test_fragments_are_one_message(opcode, parts, message):
    received, framer = feed(fragments(opcode, *parts) + frame(TEXT, "next"))
    assert received == [message, "next"]
    assert framer.error is None


def test_messages_come_out_in_order():
    numbers = [str(number) for number in range(1000)]
    assert feed(b"".join(frame(TEXT, number) for number in numbers))[0] == numbers


# -- Control frames --------------------------------------------------------------------------------------------------


def test_a_ping_is_answered_with_its_payload():
    received, framer = feed(bytes.fromhex("898537fa213d7f9f4d5158"))
    assert received == []
    assert framer.data_to_send() == b"\x8a\x05Hello"
    assert framer.data_to_send() == b""


def test_pings_are_answered_in_order():
    _, framer = feed(b"".join(frame(PING, str(number)) for number in range(10)))
    assert framer.data_to_send() == b"".join(b"\x8a\x01%d" % number for number in range(10))


def test_of_a_flood_of_pings_the_last_ones_are_answered():
    _, framer = feed(frame(PING, "p" * 125) * 10_000 + frame(PING, "last"))
    outgoing = framer.data_to_send()
    assert outgoing.endswith(b"\x8a\x04last")
    assert len(outgoing) < 1 << 13


def test_a_pong_is_ignored():
    received, framer = feed(bytes.fromhex("8a8537fa213d7f9f4d5158") + frame(TEXT, "a"))
    assert received == ["a"]
    assert framer.data_to_send() == b""


def test_control_frames_may_come_between_fragments():
    received, framer = feed(
        frame(TEXT, "Hel", final=False) + frame(PING, "p") + frame(PONG, "") + frame(CONTINUATION, "lo")
    )
    assert received == ["Hello"]
    assert framer.data_to_send() == b"\x8a\x01p"


def test_a_control_frame_holds_at_most_125_bytes():
    _, framer = feed(frame(PING, b"p" * 125))
    assert framer.data_to_send() == b"\x8a\x7d" + b"p" * 125
    _, framer = feed(header(PING, 126)[:2])
    assert framer.error is not None
    assert framer.error.close_code == 1002


# -- Closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
@pytest.mark.parametrize("reason", ["", "away", "é中😀", "a" * 123])
def test_a_close_frame_is_answered_with_its_code(code, reason):
    _, framer = feed(close_frame(code, reason.encode()))
    assert framer.closed
    assert framer.error is None
    assert framer.peer_close == (code, reason)
    assert framer.data_to_send() == b"\x88\x02" + code.to_bytes(2, "big")
    assert framer.data_to_send() == b""


def test_an_empty_close_frame_is_answered_with_an_empty_one():
    _, framer = feed(frame(CLOSE, ""))
    assert framer.closed
    assert framer.error is None
    assert framer.peer_close == (1005, "")
    assert framer.data_to_send() == b"\x88\x00"


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_codes_that_may_not_travel_are_refused(code):
    _, framer = feed(close_frame(code))
    assert framer.closed
    assert framer.error is not None
    assert framer.error.close_code == 1002
    assert framer.data_to_send() == b""


def test_half_a_close_code_is_refused():
    _, framer = feed(frame(CLOSE, b"\x03"))
    assert framer.error is not None
    assert framer.error.close_code == 1002


def test_a_close_reason_must_be_utf8():
    _, framer = feed(close_frame(1000, b"\xff"))
    assert framer.error is not None
    assert framer.error.close_code == 1007


def test_a_connection_without_a_close_frame_has_no_code_of_the_peer():
    for data in (b"", frame(TEXT, "a"), close_frame(1006), close_frame(1000, b"\xff"), frame(PING, "p")):
        _, framer = feed(data)
        assert framer.peer_close is None


def test_nothing_is_read_behind_a_close_frame():
    received, framer = feed(frame(TEXT, "a") + close_frame(1000) + frame(TEXT, "b") + frame(PING, "p"))
    assert received == ["a"]
    assert framer.feed(frame(TEXT, "c")) == []
    assert framer.data_to_send() == b"\x88\x02\x03\xe8"


def test_nothing_is_kept_of_what_came_before_and_behind_a_close_frame():
    """Found by the fuzzer: it stayed for as long as the connection lingered."""
    framer = Framer(LIMIT)
    tracemalloc.start()
    try:
        framer.feed(frame(BINARY, bytes(LIMIT), final=False))
        framer.feed(close_frame(1000) + bytes(LIMIT))
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert framer.closed


def test_a_pong_goes_out_before_the_answer_to_a_close_frame():
    _, framer = feed(frame(PING, "p") + close_frame(1000))
    assert framer.data_to_send() == b"\x8a\x01p\x88\x02\x03\xe8"


def test_our_close_frame_has_a_code_and_a_reason():
    assert Framer(LIMIT).close(1009, "too large") == b"\x88\x0b\x03\xf1too large"


@pytest.mark.parametrize(("reason", "sent"), [("a" * 200, "a" * 123), ("中" * 100, "中" * 41), ("😀" * 100, "😀" * 30)])
def test_a_close_reason_is_cut_between_characters(reason, sent):
    frame = Framer(LIMIT).close(1000, reason)
    assert frame == bytes([0x88, 2 + len(sent.encode())]) + b"\x03\xe8" + sent.encode()


def test_our_close_frame_is_the_last_frame_of_this_side():
    _, framer = feed(frame(PING, "p"))
    assert framer.close(1000, "") == b"\x88\x02\x03\xe8"
    assert framer.close(1001, "") == b""
    framer.feed(frame(PING, "q") + close_frame(1000))
    assert framer.data_to_send() == b""


def test_what_was_on_its_way_when_we_closed_still_arrives():
    framer = Framer(LIMIT)
    framer.close(1000, "")
    assert framer.feed(frame(TEXT, "a") + close_frame(1000)) == ["a"]
    assert framer.closed


# -- Our frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "8100"),
        (1, "8101"),
        (125, "817d"),
        (126, "817e007e"),
        (65535, "817effff"),
        (65536, "817f0000000000010000"),
    ],
)
def test_our_frames_are_unmasked_and_have_the_shortest_length(length, head):
    assert Framer(LIMIT).encode("a" * length) == bytes.fromhex(head) + b"a" * length
    assert Framer(LIMIT).encode_text(b"a" * length) == bytes.fromhex(head) + b"a" * length


def test_text_goes_out_as_utf8_and_bytes_as_binary():
    assert Framer(LIMIT).encode("é中😀") == b"\x81\x09" + "é中😀".encode()
    assert Framer(LIMIT).encode(b"\xff") == b"\x82\x01\xff"


# -- What a peer may not do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes.fromhex("810548656c6c6f"), "must be masked"),
        (b"\x81\x00", "must be masked"),
        (b"\x89\x00", "must be masked"),
        *[(bytes([0x80 | bits | TEXT, 0x80]), "reserved bits") for bits in (0x40, 0x20, 0x10, 0x70)],
        *[(bytes([0x80 | opcode, 0x80]), "unknown opcode") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
        *[(bytes([opcode, 0x80]), "control frame must be whole") for opcode in (CLOSE, PING, PONG)],
        *[(bytes([0x80 | opcode, 0xFE]), "control frame must be whole") for opcode in (CLOSE, PING, PONG)],
        (frame(CONTINUATION, "a"), "continues nothing"),
        (frame(CONTINUATION, "", final=False), "continues nothing"),
        (fragments(TEXT, "a", "b") + frame(CONTINUATION, "c"), "continues nothing"),
        (frame(TEXT, "a", final=False) + frame(TEXT, "b"), "inside another"),
        (frame(BINARY, "", final=False) + frame(TEXT, ""), "inside another"),
        (frame(TEXT, "", final=False) + frame(BINARY, "", final=False), "inside another"),
        (bytes([0x81, 0xFE, 0, 125]) + MASK, "shortest form"),
        (bytes([0x81, 0xFE, 0, 0]) + MASK, "shortest form"),
        (bytes([0x81, 0xFF]) + (0).to_bytes(8, "big") + MASK, "shortest form"),
        (bytes([0x81, 0xFF]) + (65535).to_bytes(8, "big") + MASK, "shortest form"),
        (bytes([0x81, 0xFF]) + (1 << 63).to_bytes(8, "big") + MASK, "shortest form"),
    ],
)
def test_illegal_frames_end_the_connection_with_1002(data, reason):
    received, framer = feed(frame(TEXT, "before") + data + frame(TEXT, "behind"))
    assert received[0] == "before"
    assert "behind" not in received
    assert framer.closed
    assert reason in str(framer.error)
    assert framer.error is not None
    assert framer.error.close_code == 1002
    assert framer.feed(frame(TEXT, "behind")) == []


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"a\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8", b"\xf0\x9f\x98", b"\xc3\x28"],
)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_text_must_be_utf8(text, cut):
    received, framer = feed(frame(TEXT, "before") + fragments(TEXT, text[:cut], text[cut:]) + frame(TEXT, "behind"))
    assert received == ["before"]
    assert framer.closed
    assert framer.error is not None
    assert framer.error.close_code == 1007


@pytest.mark.parametrize("text", [b"abc\xff", b"\xce\xba\xf4\x90", b"\xe0\x80", b"\xc1"])
@pytest.mark.parametrize("final", [True, False])
def test_bad_utf8_ends_the_connection_before_the_message_is_whole(text, final):
    begun = header(TEXT, 1000, final, mask=bytes(4)) + text
    framer = Framer(LIMIT)
    assert (framer.feed(begun[:-1]), framer.closed) == ([], False)
    assert (framer.feed(begun[-1:]), framer.closed) == ([], True)
    assert framer.error is not None
    assert framer.error.close_code == 1007


# -- Limits ----------------------------------------------------------------------------------------------------------


def test_a_message_at_the_limit_is_taken():
    assert feed(frame(TEXT, "中" * 10), limit=30)[0] == ["中" * 10]
    assert feed(fragments(TEXT, *["中"] * 10), limit=30)[0] == ["中" * 10]
    assert feed(frame(TEXT, "a" * 30) * 3, limit=30)[0] == ["a" * 30] * 3


@pytest.mark.parametrize(
    "data",
    [
        header(TEXT, 31),
        header(BINARY, 31, final=False),
        header(TEXT, 1 << 20),
        header(TEXT, (1 << 63) - 1),
        frame(TEXT, "a" * 20, final=False) + header(CONTINUATION, 11),
        frame(TEXT, "a" * 30, final=False)
        + frame(CONTINUATION, "", final=False)
        + header(CONTINUATION, 1, final=False),
        frame(TEXT, "a" * 20, final=False) + frame(PING, "p" * 100) + header(CONTINUATION, 11),
    ],
)
def test_a_message_past_the_limit_is_refused_before_its_payload_is_there(data):
    framer = Framer(30)
    assert (framer.feed(data[:-1]), framer.closed) == ([], False)
    assert (framer.feed(data[-1:]), framer.closed) == ([], True)
    assert isinstance(framer.error, TooLargeError)
    assert framer.error.close_code == 1009
    assert "30 bytes" in str(framer.error)


def test_messages_before_one_past_the_limit_come_out():
    received, framer = feed(frame(TEXT, "a") + header(TEXT, 31), limit=30)
    assert received == ["a"]
    assert isinstance(framer.error, TooLargeError)


# -- Cut anywhere ----------------------------------------------------------------------------------------------------

MASKS = st.binary(min_size=4, max_size=4)
CUTS = st.lists(st.integers(0, 300)).map(sorted)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Data as it may arrive."""
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, max([len(data), *cuts])])]


def fed_in_pieces(data: bytes, cuts: list[int], limit: int = LIMIT) -> tuple[list[str | bytes], Framer, bytes]:
    framer = Framer(limit)
    received, outgoing = [], b""
    for piece in pieces(data, cuts):
        received += fed(framer, piece)
        outgoing += framer.data_to_send()
    return received, framer, outgoing


@st.composite
def sent_messages(draw: st.DrawFn) -> tuple[list[str | bytes], bytes, int]:
    """Messages, the frames of a client that fragments, masks and pings as it likes, and the number of its pings."""
    messages = draw(st.lists(st.text() | st.binary()))
    data, pings = b"", 0
    for message in messages:
        payload = message.encode() if isinstance(message, str) else message
        parts = [part for part in pieces(payload, draw(CUTS)) if part or draw(st.booleans())] or [b""]
        for index, part in enumerate(parts):
            opcode = CONTINUATION if index else TEXT if isinstance(message, str) else BINARY
            data += frame(opcode, part, index == len(parts) - 1, draw(MASKS))
            if draw(st.booleans()):
                data += frame(PING, b"ping") + frame(PONG, b"pong")
                pings += 1
    return messages, data, pings


@given(sent_messages(), CUTS)
def test_messages_arrive_however_their_bytes_are_cut(sent, cuts):
    messages, data, _ = sent
    received, framer, _ = fed_in_pieces(data, cuts)
    assert received == messages
    assert framer.error is None


@given(sent_messages())
def test_messages_arrive_byte_by_byte(sent):
    messages, data, pings = sent
    received, framer, outgoing = fed_in_pieces(data, list(range(len(data))))
    assert received == messages
    assert framer.error is None
    assert outgoing == b"\x8a\x04ping" * pings


FRAMES = st.builds(
    frame, st.sampled_from([TEXT, TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE]), st.binary(), st.booleans(), MASKS
)


@given(st.lists(FRAMES | st.binary(max_size=8)).map(b"".join), CUTS)
def test_whatever_comes_the_framer_says_what_is_wrong(data, cuts):
    received, framer, _ = fed_in_pieces(data, cuts, limit=20)
    whole_received, whole = feed(data, limit=20)
    assert received == whole_received
    assert (framer.closed, str(framer.error)) == (whole.closed, str(whole.error))
    assert framer.error is None or isinstance(framer.error, ProtocolError)
    for message in received:
        assert len(message.encode() if isinstance(message, str) else message) <= 20


# -- Cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, "a") * 150_000,
        fragments(TEXT, *"a" * 150_000),
        fragments(BINARY, *[b""] * 150_000),
        frame(PING, "p") * 150_000,
        frame(TEXT, "😀" * 262_144),
    ],
    ids=["tiny messages", "tiny fragments", "empty fragments", "pings", "one message"],
)
@pytest.mark.parametrize("size", [1 << 24, 7])
@pytest.mark.bulk
def test_a_megabyte_costs_little(data, size):
    framer = Framer(LIMIT)
    before = time.process_time()
    for start in range(0, len(data), size):
        fed(framer, data[start : start + size])
    assert time.process_time() - before < PROCESSOR_SECONDS
    assert framer.error is None


@pytest.mark.bulk
def test_a_megabyte_may_come_byte_by_byte():
    framer = Framer(LIMIT)
    received = []
    before = time.process_time()
    for byte in frame(TEXT, "😀" * 262_144):
        received += framer.feed(bytes([byte]))
    assert time.process_time() - before < PROCESSOR_SECONDS
    assert received == ["😀" * 262_144]


@pytest.mark.parametrize(("opcode", "part"), [(TEXT, "Ā"), (TEXT, "😀"), (BINARY, "xy")])
@pytest.mark.bulk
def test_tiny_fragments_take_no_more_memory_than_they_are_long(opcode, part):
    """As objects of their own they would take 88 bytes each."""
    framer = Framer(LIMIT)
    framer.feed(frame(opcode, "", final=False))
    fragment_run = frame(CONTINUATION, part, final=False) * 1000
    tracemalloc.start()
    try:
        for _ in range(50):
            fed(framer, fragment_run)
        assert tracemalloc.get_traced_memory()[0] < 2 * 50_000 * len(part.encode())
    finally:
        tracemalloc.stop()
    assert framer.error is None


@pytest.mark.parametrize("text", ["x" * 999 + "😀", "Привет, мир 😀", "中文", "x", "é" * 500 + "Ā"], ids=brief)
@pytest.mark.parametrize("size", [1 << 16, 5000, 100])
def test_an_unfinished_text_takes_little_more_memory_than_it_is_long(text, size):
    """One character past U+FFFF makes each of a str take four bytes."""
    data = text.encode() * (900_000 // len(text.encode()))
    begun = header(TEXT, len(data) + 1, mask=bytes(4)) + data
    framer = Framer(LIMIT)
    tracemalloc.start()
    try:
        for start in range(0, len(begun), size):
            framer.feed(begun[start : start + size])
        assert tracemalloc.get_traced_memory()[0] < 1.6 * len(data)
    finally:
        tracemalloc.stop()
    assert framer.feed(b"!") == [data.decode() + "!"]


@pytest.mark.bulk
def test_empty_fragments_leave_nothing_behind():
    framer = Framer(LIMIT)
    framer.feed(frame(BINARY, b"", final=False))
    fragment_run = frame(CONTINUATION, b"", final=False) * 1000
    tracemalloc.start()
    try:
        for _ in range(50):
            fed(framer, fragment_run)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert framer.error is None
