"""Messages as frames, and frames as messages again."""

from __future__ import annotations

import enum
import json
import re
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import simplejson
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROCESSOR_SECONDS, brief
from tests.texts import PROTOCOL_TEXTS, TEXTS, frame, json_frame
from tornadio import proto
from tornadio.closecodes import MAX_REASON_SIZE
from tornadio.errors import CallerError, EncodeError, PeerError, ProtocolError, SettingsError, TooLargeError
from tornadio.proto import Heartbeat, JSONMessage, TextMessage


class Colour(str, enum.Enum):  # noqa: UP042  # a StrEnum has its value as its name, too
    RED = "red"


def nested(depth: int, message: Any) -> Any:
    """A tuple in a tuple in a tuple."""
    for _ in range(depth):
        message = (message,)
    return message


def nested_list(depth: int, message: Any) -> Any:
    for _ in range(depth):
        message = [message]
    return message


CIRCULAR: dict[str, Any] = {}
CIRCULAR["itself"] = CIRCULAR

CIRCULAR_LIST: list[Any] = ["a"]
CIRCULAR_LIST.append([CIRCULAR_LIST])


# -- Messages to frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        ("abc", "~m~3~m~abc"),
        ("", "~m~0~m~"),
        ("é中😀", "~m~4~m~é中😀"),
        ("~m~3~m~abc", "~m~10~m~~m~3~m~abc"),
        (" \r\n\0", "~m~4~m~ \r\n\0"),
        (Colour.RED, "~m~3~m~red"),
        ("~h~1", '~m~9~m~~j~"~h~1"'),  # text that looks like a heartbeat, or like JSON, arrives as text
        (b"~j~{", '~m~9~m~~j~"~j~{"'),
        ({"a": "b"}, '~m~13~m~~j~{"a": "b"}'),
        ({}, "~m~5~m~~j~{}"),
        ({"é": "😀"}, '~m~29~m~~j~{"\\u00e9": "\\ud83d\\ude00"}'),
        ({"a": [1, [2, None]]}, '~m~24~m~~j~{"a": [1, [2, null]]}'),
        (3, "~m~4~m~~j~3"),
        (1.5, "~m~6~m~~j~1.5"),
        (True, "~m~7~m~~j~true"),
        (False, "~m~8~m~~j~false"),
        ((1, "a"), '~m~11~m~~j~[1, "a"]'),
        ((), "~m~5~m~~j~[]"),
        (Decimal("1.10"), "~m~7~m~~j~1.10"),
        ({"price": Decimal("1.10")}, '~m~18~m~~j~{"price": 1.10}'),
        (b"abc", "~m~3~m~abc"),
        ("é中😀".encode(), "~m~4~m~é中😀"),
        (bytearray(b"abc"), "~m~3~m~abc"),
        (memoryview(b"abc"), "~m~3~m~abc"),
        ({"a": "NaN or Infinity"}, '~m~27~m~~j~{"a": "NaN or Infinity"}'),
        ({"a": r"\"NaN\""}, '~m~23~m~~j~{"a": "\\\\\\"NaN\\\\\\""}'),
    ],
)
def test_a_message_is_a_frame(message, frames):
    assert proto.encode(message) == frames


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        (["a", "b"], "~m~1~m~a~m~1~m~b"),
        (["a", {"b": 1}, 2], '~m~1~m~a~m~11~m~~j~{"b": 1}~m~4~m~~j~2'),
        ([["a", ["b"]], [], "c"], "~m~1~m~a~m~1~m~b~m~1~m~c"),
        (["a", None, "b"], "~m~1~m~a~m~1~m~b"),
        ([(1, 2), [b"a"]], "~m~9~m~~j~[1, 2]~m~1~m~a"),
    ],
)
def test_a_list_is_the_frames_of_its_elements(message, frames):
    assert proto.encode(message) == frames


@pytest.mark.parametrize("message", [None, [], [None], [[], [None, [[]]]]])
def test_nothing_is_no_frame(message):
    assert proto.encode(message) == ""


def test_lists_may_be_nested_deeper_than_the_stack():
    assert proto.encode(nested_list(5000, "a")) == "~m~1~m~a"


def test_a_list_may_hold_another_one_twice():
    element = ["a"]
    assert proto.encode([element, element]) == "~m~1~m~a~m~1~m~a"


@pytest.mark.parametrize(
    ("text", "arriving"),
    [
        ("\ud800", "\ufffd"),
        ("\udc00a", "\ufffda"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("😀\ud83d", "😀\ufffd"),
        ("\ud83d\ude00", "😀"),
    ],
)
def test_a_lone_surrogate_arrives_as_a_replacement_character(text, arriving):
    assert proto.encode(text) == frame(arriving)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xff", "not UTF-8"),
        (b"\xed\xa0\x80", "not UTF-8"),
        (float("nan"), "float as JSON"),
        (float("inf"), "float as JSON"),
        (float("-inf"), "float as JSON"),
        ({"a": float("nan")}, "dict as JSON"),
        (Decimal("NaN"), "Decimal as JSON"),
        (Decimal("sNaN"), "Decimal as JSON"),
        ((Decimal("-Infinity"), "a"), "tuple as JSON"),
        ({'"': Decimal("Infinity")}, "dict as JSON"),
        (object(), "object as JSON"),
        ({"a": {1, 2}}, "dict as JSON"),
        ({(1, 2): "a"}, "dict as JSON"),
        ({"a": b"\xff"}, "dict as JSON"),
        (10**5000, "int as JSON"),
        (CIRCULAR, "dict as JSON"),
        (CIRCULAR_LIST, "contains itself"),
        (["a", ["b", object()]], "object as JSON"),
    ],
    ids=brief,
)
def test_what_cannot_be_sent_is_the_callers_error(message, reason):
    with pytest.raises(EncodeError, match=reason) as caught:
        proto.encode(message)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, CallerError)


@pytest.mark.bulk
def test_json_deeper_than_the_stack_is_the_callers_error():
    with pytest.raises(EncodeError, match="tuple as JSON"):
        proto.encode(nested(1_000_000, "a"))


def test_no_depth_of_nesting_is_an_error_of_another_kind():
    # The limit of the stack lies somewhere here, and what is sent is looked at more than once.
    for depth in range(900, 1100):
        try:
            frames = proto.encode(nested(depth, "NaN"))
        except EncodeError:
            continue
        assert frames == json_frame("[" * depth + '"NaN"' + "]" * depth)


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        ({"a": "b"}, '~m~10~m~{"a": "b"}'),
        ({"é": "😀"}, '~m~26~m~{"\\u00e9": "\\ud83d\\ude00"}'),
        ((1, "a"), '~m~8~m~[1, "a"]'),
        (3, "~m~1~m~3"),
        (True, "~m~4~m~true"),
        (Decimal("1.10"), "~m~4~m~1.10"),
        (["a", {"b": 1}, [None, (2,)]], '~m~1~m~a~m~8~m~{"b": 1}~m~3~m~[2]'),
        # Texts are the same in both formats: without the mark these would arrive as JSON and as a heartbeat.
        ("~h~1", '~m~9~m~~j~"~h~1"'),
        (b"~j~{", '~m~9~m~~j~"~j~{"'),
        ("é😀{", "~m~4~m~é😀{"),
        (None, ""),
    ],
)
def test_json_can_be_sent_plain(message, frames):
    assert proto.encode(message, "plain") == frames


def test_plain_json_that_cannot_be_sent_is_the_callers_error():
    with pytest.raises(EncodeError, match="dict as JSON"):
        proto.encode({"a": float("nan")}, json="plain")


@pytest.mark.parametrize(
    "call",
    [
        lambda bare: proto.encode((), bare),
        lambda bare: proto.decode("", bare),
        lambda bare: proto.iter_decode("", json=bare),
        lambda bare: proto.parse("", bare),
    ],
    ids=["encode", "decode", "iter_decode", "parse"],
)
def test_a_format_that_is_none_is_an_error_that_names_those_that_are(call):
    with pytest.raises(SettingsError, match="json must be 'marked' or 'plain', not 'bare'"):
        call("bare")


@pytest.mark.parametrize("number", [7, "7", "007", "é😀"])
def test_a_heartbeat_is_a_frame_with_its_number(number):
    assert proto.encode_heartbeat(number) == frame(f"~h~{number}")
    assert list(proto.parse(proto.encode_heartbeat(number))) == [Heartbeat(str(number))]


# -- Frames to messages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "messages"),
    [
        ("", []),
        ("~m~3~m~abc", [("~m~", "abc")]),
        ("~m~0~m~", [("~m~", "")]),
        ("~m~03~m~abc", [("~m~", "abc")]),
        ("~m~4~m~é中😀", [("~m~", "é中😀")]),
        ("~m~4~m~é中😀~m~3~m~abc", [("~m~", "é中😀"), ("~m~", "abc")]),
        ("~m~10~m~~m~3~m~abc~m~1~m~a", [("~m~", "~m~3~m~abc"), ("~m~", "a")]),
        ("~m~2~m~  ", [("~m~", "  ")]),
        ("~m~4~m~\r\n\0\x7f", [("~m~", "\r\n\0\x7f")]),
        ('~m~13~m~~j~{"a": "b"}', [("~m~", {"a": "b"})]),
        ('~m~10~m~~j~["é😀"]~m~1~m~a', [("~m~", ["é😀"]), ("~m~", "a")]),
        ("~m~7~m~~j~null", [("~m~", None)]),
        ("~m~7~m~~j~true", [("~m~", True)]),
        ('~m~8~m~~j~"~h~"', [("~m~", "~h~")]),
        ("~m~5~m~~h~12", [("~h~", "12")]),
        ("~m~4~m~~h~1~m~1~m~a", [("~h~", "1"), ("~m~", "a")]),
    ],
)
def test_frames_are_messages(payload, messages):
    assert proto.decode(payload) == messages


def test_ascii_texts_of_every_length_are_messages_and_with_another_length_an_error():
    large = [size + more for size in (10_000, 100_000) for more in range(-20, 20)]
    for length in [*range(1100), *large]:  # they are recognised by the length of their frames
        text = length * "x"
        assert proto.decode(f"~m~{length}~m~{text}") == [("~m~", text)]
        assert proto.decode(f"~m~0{length}~m~{text}") == [("~m~", text)]
        for wrong in {length - 1, length + 1} - {-1}:
            with pytest.raises(proto.ProtocolError):
                proto.decode(f"~m~{wrong}~m~{text}")
        if length:
            assert proto.decode(f"~m~{length}~m~{text[1:]}é") == [("~m~", text[1:] + "é")]
            with pytest.raises(proto.ProtocolError):
                proto.decode(f"~m~{length}~m~{text[1:]}😀")
            assert proto.decode(f"~m~{length + 1}~m~{text[1:]}😀") == [("~m~", text[1:] + "😀")]


def test_a_lone_surrogate_in_a_str_is_half_a_character_where_others_are_two_code_units():
    assert proto.decode("~m~3~m~a\ud800x") == [("~m~", "a\ud800x")]
    with pytest.raises(proto.ProtocolError, match="in the middle of a character"):
        proto.decode("~m~5~m~a\ud800x😀")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-0", 0),
        ("1.10", 1.1),
        ("1e2", 100.0),
        ("1E-2", 0.01),
        ("123456789012345678901", 123456789012345678901),
        ("1e308", 1e308),
        ("0.001e310", 1e307),
        ("1" + "0" * 308, 10**308),
        ("-" + "9" * 4300, -(10**4300) + 1),
        ("9" * 309 + "e-1", 1e308),
        ("0." + "3" * 5000, 1 / 3),
        ("1e-" + "9" * 5000, 0.0),
    ],
)
def test_numbers_in_json_become_int_and_float(text, value):
    [(_, message)] = proto.decode(json_frame(text))
    assert message == value
    assert type(message) is type(value)


def test_the_pair_of_a_heartbeat_says_so():
    assert (proto.FRAME, proto.HEARTBEAT, proto.JSON) == ("~m~", "~h~", "~j~")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("abc", "expected ~m~LENGTH~m~ at 0, found 'abc'"),
        (" ~m~1~m~a", "expected ~m~LENGTH~m~ at 0"),
        ("~m~", "expected ~m~LENGTH~m~ at 0, found '~m~'"),
        ("~m~3", "expected ~m~LENGTH~m~ at 0"),
        ("~m~3~m", "expected ~m~LENGTH~m~ at 0"),
        ("~m~~m~", "expected ~m~LENGTH~m~ at 0"),
        ("~m~3~h~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~h~3~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~-1~m~", "expected ~m~LENGTH~m~ at 0"),
        ("~m~+3~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~ 3~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~3.0~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~0x3~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~٣~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~\uff13~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~²~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~" + "9" * 1_000_000 + "~m~abc", "expected ~m~LENGTH~m~ at 0"),
        ("~m~3~m~ab", "frame at 7 says 3 UTF-16 code units, only 2 follow"),
        ("~m~9999999999~m~ab", "frame at 16 says 9999999999 UTF-16 code units, only 2 follow"),
        ("~m~3~m~abcd", "expected ~m~LENGTH~m~ at 10, found 'd'"),
        ("~m~3~m~abc ~m~1~m~a", "expected ~m~LENGTH~m~ at 10"),
        ("~m~2~m~😀oops", "expected ~m~LENGTH~m~ at 9, found 'oops'"),
        ("~m~1~m~😀oops", "frame at 7 is cut in the middle of a character"),
        ("~m~3~m~😀", "frame at 7 says 3 UTF-16 code units, only 2 follow"),
        ("~m~10~m~é中😀", "frame at 8 says 10 UTF-16 code units, only 4 follow"),
        ("~m~8~m~é中😀", "frame at 7 says 8 UTF-16 code units, only 4 follow"),  # 8 bytes are half of a character
        ("~m~1~m~éoops~m~1~m~a", "expected ~m~LENGTH~m~ at 8, found 'oops~m~1~m~a'"),
        ("~m~1~m~a~m~2~m~b", "frame at 15 says 2 UTF-16 code units, only 1 follow"),
    ],
    ids=brief,
)
def test_broken_frames_are_the_peers_error(payload, reason):
    with pytest.raises(proto.ProtocolError, match=re.escape(reason)) as caught:
        proto.decode(payload)
    assert isinstance(caught.value, PeerError)
    assert (caught.value.http_status, caught.value.close_code) == (400, 1007)


BYTES, CHARACTERS = "counts UTF-8 bytes; it must", "counts characters; it must"


@pytest.mark.parametrize(
    ("payload", "before", "reason"),
    [
        # The text seems to go on behind the payload's end, ...
        ("~m~9~m~é中😀", [], f"frame at 7: LENGTH 9 {BYTES}"),
        ("~m~1~m~a~m~2~m~é", ["a"], f"frame at 15: LENGTH 2 {BYTES}"),
        # ... or ends in the middle of a character, of its own or of another frame, ...
        ("~m~2~m~a😀", [], f"frame at 7: LENGTH 2 {CHARACTERS}"),
        ("~m~2~m~😀~m~3~m~b😀c", ["😀"], f"frame at 16: LENGTH 3 {CHARACTERS}"),
        ("~m~16~m~" + "é" * 8 + "~m~2~m~😀", [], f"frame at 8: LENGTH 16 {BYTES}"),
        # ... or where no frame begins, and then it is not what was sent.
        ("~m~2~m~é~m~1~m~a", [], f"frame at 7: LENGTH 2 {BYTES}"),
        ("~m~1~m~a~m~2~m~é~m~1~m~a", ["a"], f"frame at 15: LENGTH 2 {BYTES}"),
        ("~m~2~m~é~m~1~m~😀", [], f"frame at 7: LENGTH 2 {BYTES}"),
        ("~m~2~m~😀a~m~1~m~a", [], f"frame at 7: LENGTH 2 {CHARACTERS}"),
        ("~m~2~m~😀~m~5~m~é😀abc", ["😀"], f"frame at 16: LENGTH 5 {CHARACTERS}"),
        # Nothing tells that it was something else than what it should be.
        ("~m~7~m~ééé~m~😀x~m~1~m~a", [], "frame at 7 is cut in the middle of a character: wrong length?"),
        ("~m~1~m~éa", ["é"], "expected ~m~LENGTH~m~ at 8, found 'a'"),
        ("~m~2~m~😀oops", ["😀"], "expected ~m~LENGTH~m~ at 9, found 'oops'"),
    ],
)
def test_a_length_that_counts_bytes_or_characters_is_called_that(payload, before, reason):
    messages, error = until_error(proto.iter_decode(payload))
    assert messages == before
    assert str(error).startswith(reason)
    assert len(str(error).encode()) <= MAX_REASON_SIZE  # a close frame carries all of it


@given(st.lists(st.text(st.sampled_from("aé中😀"), max_size=3)), st.sampled_from(["bytes", "characters"]))
def test_no_text_that_was_cut_by_a_wrong_length_arrives(texts, counted):
    def count(text: str) -> int:
        return len(text.encode() if counted == "bytes" else text)

    wrong = next((number for number, text in enumerate(texts) if frame(text) != f"~m~{count(text)}~m~{text}"), None)
    payload = "".join(f"~m~{count(text)}~m~{text}" for text in texts)
    messages, error = until_error(proto.iter_decode(payload))
    assert messages == texts[:wrong]
    assert (error is not None and (BYTES if counted == "bytes" else CHARACTERS) in str(error)) == (wrong is not None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "[1,]",
        "{'a': 1}",
        "{a: 1}",
        "1 2",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1_000",
        "1\uff11",
        "\u0661",
        "NaN",
        "Infinity",
        "-Infinity",
        "[NaN]",
        "1e999",
        "-1e999",
        "[1, 2e308]",
        '{"1e9": "a", "b": 1e309}',
        "1" * 250 + "e99",
        '["1e999", 1e999]',
        r'["\"", 1e999, "\\"]',
        "1" + "0" * 400 + ".5",
        "9" * 5000,
        "9" * 1_000_000,
        "True",
        "undefined",
        '"a',
        '"\t"',
        r'"\x"',
        r'"\u12"',
        r'"\ud80"',
        r'"\ud83d\ude0"',
        '"\\ud83d\0"',
        "\ufeff{}",
        "\xef\xbb\xbf{}",
        "\xa0{}",
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[" * 100_000 + r'"\ud83d\ude00"' + "]" * 100_000,
    ],
    ids=brief,
)
def test_json_that_is_none_is_the_peers_error(text):
    with pytest.raises(proto.ProtocolError, match="JSON") as caught:
        proto.decode(json_frame(text))
    assert (caught.value.http_status, caught.value.close_code) == (400, 1007)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "bad JSON: NaN is not JSON"),
        ("-Infinity", "bad JSON: -Infinity is not JSON"),
        ("1e999", "bad JSON: 1e999 is too large for a number"),
        ("[" * 100_000, "JSON is nested too deeply"),
        ("[1 2]", "bad JSON: .*line 1 column 4"),
    ],
    ids=brief,
)
def test_the_peer_is_told_what_is_wrong_with_its_json(text, reason):
    with pytest.raises(proto.ProtocolError, match=f"frame 2: {reason}"):
        proto.decode(frame("a") + json_frame(text))


def test_an_escaped_pair_of_surrogates_is_a_character():
    assert proto.decode(json_frame(r'"\ud83d\ude00"')) == [("~m~", "😀")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud800"', "\ufffd"),
        (r'"\uDC00"', "\ufffd"),
        (r'"hello \ud83d"', "hello \ufffd"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\ud83d\ude00\ude00"', "\ufffd😀\ufffd"),
        (r'"\uD83d\uDe00\uD83D"', "😀\ufffd"),
        (r'"\ud83d\u0041"', "\ufffdA"),
        (r'"\ud83d😀"', "\ufffd😀"),
        (r'"\ud83d\n\ude00"', "\ufffd\n\ufffd"),
        (r'"\\ud83d"', r"\ud83d"),
        (r'"\\\ud83d"', "\\\ufffd"),
        (r'"\\\\ud83d\\\ude00"', "\\\\ud83d\\\ufffd"),
        (r'"\ud83d\\ude00"', "\ufffd\\ude00"),
        (r'"\"\ud83d\""', '"\ufffd"'),
        (r'{"\ud800": 1}', {"\ufffd": 1}),
        (r'{"a": {"b": ["\udfff", 1.5]}}', {"a": {"b": ["\ufffd", 1.5]}}),
    ],
)
def test_an_escape_that_is_half_of_a_surrogate_pair_is_a_replacement_character(text, value):
    assert proto.decode(json_frame(text)) == [("~m~", value)]


def test_an_escaped_backslash_before_a_surrogate_number_is_text():
    assert proto.decode(json_frame(r'"\\ud800"')) == [("~m~", r"\ud800")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "b"}', {"a": "b"}),
        ("[]", []),
        (' \t\r\n[1, "é😀"]\n ', [1, "é😀"]),
        (r'{"a": "cut \ud83d"}', {"a": "cut \ufffd"}),
        ("~j~3", 3),
        ('~j~{"a": 1}', {"a": 1}),
        # JSON that is neither an object nor an array is text, as is what only begins as one of these.
        *(
            (text, text)
            for text in ["3", "true", "null", '"a"', "", " ", "{", "{a: 1}", "[1] 2", "[Ann] hello", "[1e999]"]
        ),
        *((text, text) for text in ["\ufeff{}", "\xa0{}", "\f[]", "[" * 100_000, "hello {}"]),
    ],
    ids=brief,
)
def test_a_plain_text_that_is_an_object_or_an_array_is_one(text, message):
    assert proto.decode(frame(text), json="plain") == [("~m~", message)]
    assert proto.decode(frame("é") + frame(text), json="plain") == [("~m~", "é"), ("~m~", message)]
    marked = message if text.startswith("~j~") else text
    assert proto.decode(frame(text)) == [("~m~", marked)]


def test_what_is_marked_as_json_and_is_none_is_an_error_in_the_plain_format_too():
    with pytest.raises(proto.ProtocolError, match="frame 2: bad JSON"):
        proto.decode(frame("a") + json_frame("{"), json="plain")


def test_parsing_tells_texts_json_and_heartbeats_apart():
    payload = frame("a") + json_frame('"a"') + frame("~h~12") + json_frame("[1]") + frame("[1]")
    marked = [TextMessage("a"), JSONMessage("a"), Heartbeat("12"), JSONMessage([1]), TextMessage("[1]")]
    assert list(proto.parse(payload)) == marked
    assert list(proto.parse(payload, "plain")) == [*marked[:-1], JSONMessage([1])]
    assert list(map(type, proto.parse(payload))) == list(map(type, marked))  # which as tuples may be equal


@pytest.mark.parametrize("read", [proto.iter_decode, lambda data: proto.parse(data)])
def test_bytes_that_are_no_utf8_are_the_peers_error(read):
    with pytest.raises(proto.ProtocolError, match="the payload is not UTF-8: invalid start byte at byte 7"):
        list(read(b"~m~1~m~\xff"))


@pytest.mark.parametrize("data", [None, 3, ["~m~1~m~a"]])
def test_a_payload_that_is_neither_text_nor_bytes_is_a_type_error(data):
    with pytest.raises(TypeError, match=f"a payload is str or bytes, not {type(data).__name__}"):
        proto.parse(data)


def until_error(frames: Iterator[tuple[Any, Any]]) -> tuple[list[Any], ProtocolError | None]:
    """The messages before an error, and the error."""
    messages = []
    try:
        for _, message in frames:
            messages.append(message)
    except ProtocolError as error:
        return messages, error
    return messages, None


@pytest.mark.parametrize(
    "text", ["x" * 1000, "é" * 500, "中" * 333 + "x", "😀" * 250, '~j~"' + "x" * 995 + '"'], ids=brief
)
@pytest.mark.parametrize("before", ["", proto.encode("é"), proto.encode("😀"), proto.encode(["good"] * 500)], ids=brief)
def test_the_limit_of_a_message_is_of_the_bytes_of_its_text(before, text):
    good = proto.decode(before)
    messages, error = until_error(proto.iter_decode(before + frame(text), 1000))
    assert (len(messages), error) == (len(good) + 1, None)
    larger = frame(text.replace("x", "xx", 1) if "x" in text else text + "x")
    messages, error = until_error(proto.iter_decode(before + larger + before, 1000))
    assert len(messages) == len(good)
    assert isinstance(error, TooLargeError)
    assert (error.http_status, error.close_code) == (413, 1009)
    assert str(error) == (
        f"frame {len(good) + 1}: a message of more than 1000 bytes (max_message_size): send it in parts"
    )


@given(st.lists(st.text()), st.integers(1, 40))
def test_messages_are_yielded_up_to_the_first_that_is_too_large(texts, size):
    texts = [text.replace("~", "-") for text in texts]
    sizes = [len(text.encode()) for text in texts]
    first = next((number for number, each in enumerate(sizes) if each > size), None)
    messages, error = until_error(proto.iter_decode(proto.encode(texts), size))
    assert messages == texts[:first]
    assert isinstance(error, TooLargeError) == (first is not None)


@pytest.mark.parametrize("bad", ["oops", "~m~2~m~c", "~m~4~m~~j~{", "~m~1~m~😀"])
def test_frames_before_a_bad_one_come_out_before_its_error(bad):
    frames = proto.iter_decode("~m~1~m~a~m~1~m~b" + bad)
    assert [next(frames), next(frames)] == [("~m~", "a"), ("~m~", "b")]
    with pytest.raises(proto.ProtocolError):
        next(frames)


# -- Whatever comes ----------------------------------------------------------------------------------------------------

# A text that looks like JSON or a heartbeat travels as JSON.
PLAIN_TEXTS = TEXTS.filter(lambda text: not text.startswith(("~j~", "~h~")))
WELL_FORMED = st.text(st.characters(exclude_categories=["Cs"]))
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WELL_FORMED,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(WELL_FORMED, values, max_size=4),
    max_leaves=10,
)


def as_a_browser_sends_it(text: str) -> str:
    lone = "[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]"
    return re.sub(
        "([\ud800-\udbff])([\udc00-\udfff])",
        lambda pair: chr(0x10000 + ((ord(pair[1]) & 0x3FF) << 10) + (ord(pair[2]) & 0x3FF)),
        re.sub(lone, "\ufffd", text),
    )


def flattened(messages: list[Any]) -> list[str]:
    return [text for one in messages for text in (flattened(one) if isinstance(one, list) else [one])]


@given(st.lists(TEXTS))
def test_texts_make_the_round_trip(texts):
    assert proto.decode(proto.encode(texts)) == [("~m~", as_a_browser_sends_it(text)) for text in texts]


@given(PLAIN_TEXTS)
def test_a_length_counts_utf16_code_units(text):
    arriving = as_a_browser_sends_it(text)
    assert proto.encode(text) == frame(arriving)
    arriving.encode("utf-8")  # every transport has to


@given(st.recursive(st.lists(PLAIN_TEXTS), lambda lists: st.lists(lists | PLAIN_TEXTS)))
def test_nested_lists_flatten(messages):
    assert proto.encode(messages) == proto.encode(flattened(messages))


@given(JSON_VALUES)
def test_json_makes_the_round_trip(value):
    assert proto.decode(proto.encode({"a": value})) == [("~m~", {"a": value})]
    assert proto.decode(proto.encode((value,))) == [("~m~", [value])]


@given(TEXTS | st.lists(st.sampled_from(["\\", '"', "u", "d83d", "\ud83d", "\ude00", "😀"])).map("".join))
def test_a_text_that_a_page_has_cut_arrives_as_it_would_without_json(text):
    escaped = simplejson.dumps(text)  # every lone surrogate an escape, and every pair two
    assert proto.decode(json_frame(escaped)) == [("~m~", as_a_browser_sends_it(text))]


@given(st.lists(JSON_VALUES.map(lambda value: {"a": value}) | JSON_VALUES.map(lambda value: (value,))))
def test_plain_json_makes_the_round_trip(values):
    payload = proto.encode(values, "plain")
    expected = [("~m~", [*value] if isinstance(value, tuple) else value) for value in values]
    assert proto.decode(payload, "plain") == expected
    # A reader of the other format gets the text of each.
    assert [simplejson.loads(text) for _, text in proto.decode(payload)] == [value for _, value in expected]


@given(st.lists(TEXTS | st.text(st.sampled_from('[]{}":, 01a\n'))))
def test_texts_are_the_same_in_both_formats(texts):
    payload = proto.encode(texts, "plain")
    assert payload == proto.encode(texts)
    arriving = [as_a_browser_sends_it(text) for text in texts]
    messages = [message for _, message in proto.decode(payload, "plain")]
    assert messages == [simplejson.loads(text) if is_object_or_array(text) else text for text in arriving]


def is_object_or_array(text: str) -> bool:
    """Whether a text is a JSON object or array, by another reader of JSON."""
    try:
        return type(json.loads(text)) in (dict, list)
    except (ValueError, RecursionError):
        return False


@given(PROTOCOL_TEXTS | st.lists(PROTOCOL_TEXTS.map(frame)).map("".join), st.sampled_from(["marked", "plain"]))
def test_bytes_and_text_are_read_alike_and_parsed_as_they_are_decoded(payload, json_format):
    payload = as_a_browser_sends_it(payload)
    messages, error = until_error(proto.iter_decode(payload, json=json_format))
    again, same_error = until_error(proto.iter_decode(payload.encode(), json=json_format))
    assert (again, str(same_error)) == (messages, str(error))
    parsed, parse_error = until_error((type(one), one[0]) for one in proto.parse(payload.encode(), json_format))
    assert (parsed, str(parse_error)) == (messages, str(error))


@given(PROTOCOL_TEXTS)
def test_a_payload_is_frames_or_a_protocol_error(payload):
    try:
        messages = proto.decode(payload)
    except proto.ProtocolError as error:
        str(error).encode("utf-8")  # it is told to the peer
    else:
        assert all(kind in (proto.FRAME, proto.HEARTBEAT) for kind, _ in messages)


@given(PROTOCOL_TEXTS.map(json_frame) | WELL_FORMED.map(json_frame))
def test_a_json_frame_is_a_message_or_a_protocol_error(payload):
    try:
        [(_, message)] = proto.decode(payload)
    except proto.ProtocolError as error:
        str(error).encode("utf-8")
    else:
        proto.encode(message).encode("utf-8")  # it can be sent to others


@given(st.binary())
def test_bytes_are_a_message_or_the_callers_error(data):
    try:
        frames = proto.encode(data)
    except EncodeError:
        return
    assert frames == frame(data.decode("utf-8"))


# -- Cost --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        ["😀" * 262_144],
        ["😀"] * 100_000,
        ["a"] * 150_000,
        [""] * 150_000 + ["😀"],
        ["é" * 524_288],
        ['~j~"😀"'] * 60_000,
    ],
    ids=["one astral text", "astral frames", "ascii frames", "empty frames", "one text", "json frames"],
)
def test_a_megabyte_costs_little(texts):
    payload = "".join(map(frame, texts))
    before = time.process_time()
    assert len(proto.decode(payload)) == len(texts)
    proto.encode(texts)
    assert time.process_time() - before < PROCESSOR_SECONDS


@pytest.mark.parametrize(
    "payload",
    [
        f"~m~{1 << 20}~m~" + "é" * (1 << 19),
        f"~m~{1 << 18}~m~" + "😀" * (1 << 18),
        frame("é") * 150_000 + "~m~2~m~é" + frame("é") * 150_000,
        frame("😀") * 150_000 + "~m~1~m~😀" + frame("😀") * 150_000,
    ],
    ids=["text in bytes", "text in characters", "frames in bytes", "frames in characters"],
)
def test_to_tell_how_a_megabyte_was_counted_costs_little(payload):
    before = time.process_time()
    _, error = until_error(proto.iter_decode(payload))
    assert " counts " in str(error)
    assert time.process_time() - before < PROCESSOR_SECONDS
