"""Messages as frames, and frames as messages again."""

from __future__ import annotations

import enum
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
from tornadio.errors import CallerError, EncodeError, PeerError, ProtocolError, TooLargeError


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


def test_a_heartbeat_is_a_frame_with_its_number():
    assert proto.encode_heartbeat(7) == "~m~4~m~~h~7"
    assert proto.encode_heartbeat(12) == "~m~5~m~~h~12"


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
        ("~m~1~m~😀", "frame at 7 is cut in the middle of a character"),
        ("~m~3~m~😀", "frame at 7 says 3 UTF-16 code units, only 2 follow"),
        ("~m~10~m~é中😀", "frame at 8 says 10 UTF-16 code units, only 4 follow"),  # a length in bytes
        ("~m~1~m~a~m~2~m~b", "frame at 15 says 2 UTF-16 code units, only 1 follow"),
    ],
    ids=brief,
)
def test_broken_frames_are_the_peers_error(payload, reason):
    with pytest.raises(proto.ProtocolError, match=re.escape(reason)) as caught:
        proto.decode(payload)
    assert isinstance(caught.value, PeerError)
    assert (caught.value.http_status, caught.value.close_code) == (400, 1007)


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


def until_error(frames: Iterator[tuple[str, Any]]) -> tuple[list[Any], ProtocolError | None]:
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
