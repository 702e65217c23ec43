"""WebSocket by the drafts 75 and 76: bytes in, messages out."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROCESSOR_SECONDS, brief, fed
from tornadio.errors import ProtocolError, TooLargeError
from tornadio.websocket import hixie
from tornadio.websocket.hixie import Framer

LIMIT = 1 << 20


def frame(text: str) -> bytes:
    """A text frame."""
    return b"\x00" + text.encode() + b"\xff"


def skipped(length: int, kind: int = 0x80, padding: int = 0) -> bytes:
    """A length-prefixed frame, its length in seven bits a byte."""
    digits = [length & 0x7F]
    while length := length >> 7:
        digits.append(length & 0x7F)
    digits += [0] * padding
    prefix = bytes([*(0x80 | digit for digit in reversed(digits[1:])), digits[0]])
    size = sum(digit << 7 * place for place, digit in enumerate(digits))
    return bytes([kind]) + prefix + b"\x00\xff" * (size // 2) + b"\x00" * (size % 2)


def feed(data: bytes, limit: int = LIMIT) -> tuple[list[str | bytes], Framer]:
    """What a new framer makes of bytes, and that framer."""
    framer = Framer(limit)
    return fed(framer, data), framer


# -- Handshake -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key1", "key2", "key3", "response"),
    [
        ("4 @1  46546xW%0l 1 5", "12998 5 Y3 1  .P00", b"^n:ds[4U", b"8jKS'y:G*Co,Wxa-"),
        # The examples in the text of draft-76.
        ("18x 6]8vM;54 *(5:  {   U1]8  z [  8", "1_ tx7X d  <  nw  334J702) 7]o}` 0", b"Tm[K T2u", b"fQJ,fN/4F4!~K~MH"),
        ("3e6b263  4 17 80", "17  9 G`ZD9   2 2b 7X 3 /r90", b"WjN}|M(6", b"n`9eBk9z$R8pOtVb"),
    ],
)
def test_the_drafts_challenges_are_answered(key1, key2, key3, response):
    assert hixie.challenge_response(hixie.key_number(key1), hixie.key_number(key2), key3) == response


@pytest.mark.parametrize(
    ("key", "number"),
    [("1 0", 10), ("a1b2c ", 12), ("0 ", 0), ("4294967295 ", 4294967295), ("3 6   ", 9), ("1\uff120 ", 10)],
)
def test_a_key_hides_a_number(key, number):
    assert hixie.key_number(key) == number


@pytest.mark.parametrize(
    "key",
    ["", "123", "abc ", "   ", "1 0 1", "4294967296 ", "9" * 12 + " ", "1" * 10_000 + " ", "1\t0", "\uff11 "],
    ids=brief,
)
def test_a_key_without_a_number_is_the_peers_error(key):
    with pytest.raises(ProtocolError, match="Sec-WebSocket-Key1 and -Key2") as caught:
        hixie.key_number(key)
    assert caught.value.http_status == 400


@given(st.text() | st.text(st.sampled_from("0123456789  x"), max_size=20))
def test_any_key_is_a_number_of_32_bits_or_an_error(key):
    try:
        number = hixie.key_number(key)
    except ProtocolError:
        return
    assert len(hixie.challenge_response(number, number, bytes(hixie.KEY3_LENGTH))) == 16


def test_the_response_of_draft_76():
    assert hixie.handshake_response(76, "http://example.com", "ws://example.com/demo", "sample") == (
        b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Origin: http://example.com\r\n"
        b"Sec-WebSocket-Location: ws://example.com/demo\r\n"
        b"Sec-WebSocket-Protocol: sample\r\n"
        b"\r\n"
    )


def test_the_response_of_draft_75():
    assert hixie.handshake_response(75, "http://example.com", "ws://example.com/demo", None) == (
        b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
        b"Upgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n"
        b"WebSocket-Origin: http://example.com\r\n"
        b"WebSocket-Location: ws://example.com/demo\r\n"
        b"\r\n"
    )


def test_a_subprotocol_of_draft_75_has_no_prefix():
    assert b"\r\nWebSocket-Protocol: sample\r\n" in hixie.handshake_response(75, "null", "ws://a/", "sample")


# -- Messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"\x00abc\xff", ["abc"]),
        (b"\x00\xff", [""]),
        (b"\x00a\xff\x00b\xff", ["a", "b"]),
        (b"\x00" + "é中😀".encode() + b"\xff", ["é中😀"]),
        (b"\x00\x00\x00\xff", ["\0\0"]),
        (b"\x00abc", []),
        (b"", []),
    ],
)
def test_a_text_frame_is_a_message(data, messages):
    received, framer = feed(data)
    assert received == messages
    assert framer.error is None
    assert not framer.closed


def test_our_frames_are_text_frames():
    assert Framer.encode("é中😀") == b"\x00" + "é中😀".encode() + b"\xff"
    assert Framer.encode("") == Framer.encode_text(b"") == b"\x00\xff"


@pytest.mark.parametrize(
    "ignored",
    [
        skipped(0),
        skipped(1),
        skipped(127),
        skipped(128),
        skipped(100_000),
        skipped(3, kind=0xFF),
        skipped(3, kind=0xC1),
        skipped(3, padding=3),
    ],
    ids=brief,
)
def test_a_length_prefixed_frame_is_skipped(ignored):
    received, framer = feed(frame("a") + ignored + frame("b"))
    assert received == ["a", "b"]
    assert framer.error is None
    assert not framer.closed


@pytest.mark.parametrize("text", [b"\xc3", b"a\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_text_must_be_utf8(text):
    received, framer = feed(frame("before") + b"\x00" + text + b"\xff" + frame("behind"))
    assert received == ["before"]
    assert framer.closed
    assert framer.error is not None
    assert framer.error.close_code == 1007
    assert framer.feed(frame("behind")) == []


@pytest.mark.parametrize("kind", [0x01, 0x0A, 0x47, 0x7F, 0x81 & 0x7F])
def test_a_frame_of_an_unknown_type_ends_the_connection(kind):
    received, framer = feed(frame("before") + bytes([kind]) + b"a\xff" + frame("behind"))
    assert received == ["before"]
    assert framer.closed
    assert framer.error is not None
    assert framer.error.close_code == 1002


# -- Closing ---------------------------------------------------------------------------------------------------------


def test_a_closing_frame_is_answered_once():
    received, framer = feed(frame("a") + b"\xff\x00")
    assert received == ["a"]
    assert framer.closed
    assert framer.error is None
    assert framer.data_to_send() == b"\xff\x00"
    assert framer.data_to_send() == b""


def test_nothing_is_read_behind_a_closing_frame():
    received, framer = feed(b"\xff\x00" + frame("a") + b"\x01")
    assert framer.peer_close == (1005, "")
    assert received == framer.feed(frame("b")) == []
    assert framer.error is None


def test_our_closing_frame_is_sent_once():
    framer = Framer(LIMIT)
    assert framer.close(1009, "there is no room for a reason") == b"\xff\x00"
    assert framer.close(1000, "") == b""
    assert framer.feed(frame("on its way") + b"\xff\x00") == ["on its way"]
    assert framer.data_to_send() == b""


def test_nothing_is_owed_before_the_end():
    _, framer = feed(frame("a") + skipped(3))
    assert framer.peer_close is None
    assert framer.data_to_send() == b""


def test_a_failed_connection_is_closed_by_its_owner():
    _, framer = feed(b"\x01")
    assert framer.data_to_send() == b""
    assert framer.close(1002, "") == b"\xff\x00"


# -- Limits ----------------------------------------------------------------------------------------------------------


def test_a_message_at_the_limit_is_taken():
    assert feed(frame("中" * 10) * 3, limit=30)[0] == ["中" * 10] * 3
    assert feed(skipped(30) + frame("a"), limit=30)[0] == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" + b"a" * 31,
        frame("a" * 30) + b"\x00" + b"a" * 31,
        b"\x80" + bytes([31]),
        b"\xff" + bytes([31]),
        b"\x80\x81\x00",
        b"\x80\xff\xff\xff\xff\x7f",
        b"\x80" + b"\x80" * 5,  # a length that never ends
        b"\xff" + b"\xff" * 5,
    ],
    ids=brief,
)
def test_a_frame_past_the_limit_is_refused_before_it_is_there(data):
    framer = Framer(30)
    framer.feed(data[:-1])
    assert (framer.error, framer.closed) == (None, False)
    assert (framer.feed(data[-1:]), framer.closed) == ([], True)
    assert isinstance(framer.error, TooLargeError)
    assert framer.error.close_code == 1009


def test_a_message_past_the_limit_is_refused_when_it_is_whole_at_once():
    received, framer = feed(frame("a") + frame("a" * 31) + frame("b"), limit=30)
    assert received == ["a"]
    assert isinstance(framer.error, TooLargeError)


# -- Cut anywhere ----------------------------------------------------------------------------------------------------

CUTS = st.lists(st.integers(0, 300)).map(sorted)
IGNORED = st.builds(skipped, st.integers(1, 300), st.integers(0x80, 0xFF), st.integers(0, 2)) | st.just(skipped(0))


def fed_in_pieces(data: bytes, cuts: list[int], limit: int = LIMIT) -> tuple[list[str | bytes], Framer]:
    framer = Framer(limit)
    received = []
    for start, end in itertools.pairwise([0, *cuts, max([len(data), *cuts])]):
        received += framer.feed(data[start:end])
    return received, framer


@given(st.lists(st.text() | IGNORED), CUTS)
def test_messages_arrive_however_their_bytes_are_cut(sent, cuts):
    data = b"".join(frame(part) if isinstance(part, str) else part for part in sent)
    messages = [part for part in sent if isinstance(part, str)]
    for received, framer in (fed_in_pieces(data, cuts), fed_in_pieces(data, list(range(len(data))))):
        assert received == messages
        assert framer.error is None


@given(st.lists(st.text().map(frame) | IGNORED | st.binary(max_size=8)).map(b"".join), CUTS)
def test_whatever_comes_the_framer_says_what_is_wrong(data, cuts):
    received, framer = fed_in_pieces(data, cuts, limit=20)
    whole_received, whole = feed(data, limit=20)
    assert received == whole_received
    assert (framer.closed, str(framer.error)) == (whole.closed, str(whole.error))
    assert framer.error is None or isinstance(framer.error, ProtocolError)
    assert all(len(message.encode()) <= 20 for message in received if isinstance(message, str))


# -- Cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [frame("a") * 300_000, skipped(1) * 300_000, skipped(0) * 300_000, frame("😀" * 262_144), frame("a" * LIMIT)],
    ids=["tiny messages", "tiny skipped frames", "empty skipped frames", "one astral message", "one message"],
)
@pytest.mark.parametrize("size", [1 << 24, 7])
def test_a_megabyte_costs_little(data, size):
    framer = Framer(LIMIT)
    before = time.process_time()
    for start in range(0, len(data), size):
        fed(framer, data[start : start + size])
    assert time.process_time() - before < PROCESSOR_SECONDS
    assert framer.error is None


def test_a_message_may_come_in_a_million_pieces():
    data = frame("a" * (4 * LIMIT))
    framer = Framer(4 * LIMIT)
    received = []
    before = time.process_time()
    for start in range(0, len(data), 4):
        received += framer.feed(data[start : start + 4])
    assert time.process_time() - before < PROCESSOR_SECONDS
    assert received == ["a" * (4 * LIMIT)]
