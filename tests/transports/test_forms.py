"""Payloads that forms have carried: the newlines that a form has changed."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROCESSOR_SECONDS, brief
from tornadio import proto
from tornadio.errors import ProtocolError
from tornadio.transports.forms import decode_form_frames


def as_a_form_sends_it(payload: str) -> str:
    return re.sub("\r\n|\r|\n", "\r\n", payload)


def through_a_form(*texts: str) -> list[str]:
    """What arrives of texts whose frames went through a form."""
    frames = list(decode_form_frames(as_a_form_sends_it("".join(map(proto.encode, texts)))))
    assert all(kind == proto.FRAME for kind, _ in frames)
    return [text for _, text in frames]


@pytest.mark.parametrize(
    "texts",
    [
        ["abc"],
        ["a\nb"],
        ["\n"],
        ["\n\n\n"],
        ["a\n"],
        ["\na"],
        ["a\n", "\nb", "c"],
        ["é中😀\n😀", "a"],
        ["a\nb" * 1000, "c\n"],
        ["a\n~m~3~m~abc"],
        ["a\n~m~3~m~abc\n~m~1~m~", "b"],
        ["~m~1~m~a\n~m~1~m~b", "~m~", "\n~m~1~m~c"],
        ["\n\n\n\n", "3~m~abc\n"],
        ["\n\n\n\n\n\n\n~m~1~m~", "b"],
        ["", "\n", ""],
    ],
    ids=brief,
)
def test_a_line_feed_that_was_one_unit_is_one_again(texts):
    assert through_a_form(*texts) == texts


@pytest.mark.parametrize(
    "texts",
    [
        ["a\r\nb"],
        ["\r\n"],
        ["a\r\n", "\r\nb", "c"],
        ["\r\n\r\n\r\n", "a"],
        ["😀\r\n😀\r\n", "😀"],
        ["a\r\nb" * 1000, "c"],
        ["a\r\n~m~3~m~abc"],
        ["a\r\n~m~3~m~abc", "b"],
        ["\r\n\r\n\r\n\r\n", "1", ""],  # the second frame's text and the third one's mark look like a header
    ],
    ids=brief,
)
def test_a_pair_that_was_two_units_stays_two(texts):
    assert through_a_form(*texts) == texts


def test_where_both_readings_fit_the_newlines_were_line_feeds():
    # A browser's text fields have no others; and so no text, whoever wrote it, can become a frame.
    line_feeds_and_a_frames_text, pairs_and_a_frame = (
        "~m~14~m~" + "\n" * 7 + "~m~0~m~",
        "~m~14~m~" + "\r\n" * 7 + "~m~0~m~",
    )
    assert as_a_form_sends_it(line_feeds_and_a_frames_text) == as_a_form_sends_it(pairs_and_a_frame)
    assert list(decode_form_frames(as_a_form_sends_it(pairs_and_a_frame))) == [("~m~", "\n" * 7 + "~m~0~m~")]


def test_the_length_decides_frame_by_frame():
    assert through_a_form("a\nb", "a\r\nb", "a\n", "a\r\n", "a") == ["a\nb", "a\r\nb", "a\n", "a\r\n", "a"]


@pytest.mark.parametrize(
    ("sent", "arriving"), [("a\rb", "a\nb"), ("\r", "\n"), ("\n\r", "\n\n"), ("a\r\r\nb"[:2], "a\n"), ("😀\r", "😀\n")]
)
def test_a_carriage_return_arrives_as_a_line_feed(sent, arriving):
    # Nothing in the form's body tells it from one; its length was the same.
    assert through_a_form(sent, "next") == [arriving, "next"]


@pytest.mark.parametrize(
    "sent", ["a\nb\r\nc", "a\r\nb\nc", "\n\r\n", "\r\n\n", "a\r\r\n\nb", "😀\n😀\r\n😀\r\n\n", "\r\n" * 20 + "\n" * 20]
)
def test_of_mixed_newlines_as_many_are_pairs_as_there_were(sent):
    for arriving in (through_a_form(sent)[0], through_a_form(sent, "next")[0], through_a_form("a\n", sent)[1]):
        assert len(arriving) == len(sent)
        assert as_a_form_sends_it(arriving) == as_a_form_sends_it(sent)


def test_json_and_heartbeats_come_through_a_form():
    payload = as_a_form_sends_it('~m~1~m~\n~m~4~m~~h~1~m~11~m~~j~{\n"a":1}')
    assert list(decode_form_frames(payload)) == [("~m~", "\n"), ("~h~", "1"), ("~m~", {"a": 1})]


@pytest.mark.parametrize(
    ("payload", "good", "reason"),
    [
        ("\r\n", [], "expected ~m~LENGTH~m~ at 0"),
        ("~m~1~m~aoops\r\n", ["a"], "expected ~m~LENGTH~m~ at 8"),
        ("~m~1~m~\r\n~m~1~m~aoops", ["\n", "a"], "expected ~m~LENGTH~m~ at 17"),
        ("~m~1~m~\r\noops", [], "frame at 7 says 1 UTF-16 code units, but no frame ends there"),  # or was it 2?
        ("~m~1~m~\r\n~m~9~m~a", ["\n"], "frame at 16 says 9 UTF-16 code units, but no frame ends there"),
        ("~m~4~m~\r\n", [], "frame at 7 says 4 UTF-16 code units, but no frame ends there"),
        ("~m~9999999999~m~\r\n", [], "frame at 16 says 9999999999"),
        ("~m~99999999999~m~\r\n", [], "expected ~m~LENGTH~m~ at 0"),
        ("~m~٣~m~a\r\n", [], "expected ~m~LENGTH~m~ at 0"),
        ("~m~1~m~\r\n~m~4~m~~j~{", ["\n"], "bad JSON"),
        ("~m~1~m~\r\n~m~1~m~😀", ["\n"], "frame at 16 is cut in the middle of a character"),
    ],
)
def test_broken_frames_in_a_form_are_the_peers_error(payload, good, reason):
    frames = decode_form_frames(payload)
    assert [next(frames)[1] for _ in good] == good
    with pytest.raises(ProtocolError, match=re.escape(reason)) as caught:
        next(frames)
    assert (caught.value.http_status, caught.value.close_code) == (400, 1007)


ONE_UNIT = st.lists(
    st.sampled_from(["\n", "\n", "~m~", "~m~1~m~", "~h~", "1", "😀"])
    | st.characters(exclude_categories=["Cs"], exclude_characters="\r")
).map("".join)
PLAIN = st.text(st.sampled_from("a é中😀"))


@given(st.lists(ONE_UNIT))
def test_texts_with_line_feeds_make_the_round_trip(texts):
    assert through_a_form(*texts) == texts


# Seven pairs are as long as the shortest frame, and so might have been line feeds and that frame's text.
@given(st.lists(st.lists(PLAIN, max_size=7).map("\r\n".join) | st.lists(PLAIN).map("\n".join)))
def test_texts_with_one_kind_of_newline_each_make_the_round_trip(texts):
    assert through_a_form(*texts) == texts


@given(st.lists(st.text(st.sampled_from("aé😀\r\n"), max_size=13)))
def test_texts_with_any_newlines_keep_their_lines(texts):
    arriving = through_a_form(*texts)
    assert [as_a_form_sends_it(text) for text in arriving] == [as_a_form_sends_it(text) for text in texts]
    assert [len(text) for text in arriving] == [len(text) for text in texts]


@given(st.lists(st.sampled_from(["~m~", "~j~", "~h~", "1", "2", "\r\n", "\r", "😀", "\ud83d", "a", "~"])).map("".join))
def test_what_a_form_carries_is_frames_or_a_protocol_error(payload):
    try:
        for _, message in decode_form_frames(payload):
            proto.encode(message)
    except ProtocolError as error:
        str(error).encode()


@pytest.mark.parametrize(
    "texts",
    [
        ["\n" * 500_000],
        ["\r\n" * 500_000],
        ["\r\n\n" * 300_000],
        ["\n"] * 100_000,
        ["\r\n"] * 100_000,
        ["😀\n"] * 80_000,
    ],
    ids=brief,
)
def test_a_megabyte_of_newlines_costs_little(texts):
    payload = as_a_form_sends_it("".join(map(proto.encode, texts)))
    before = time.process_time()
    assert sum(1 for _ in decode_form_frames(payload)) == len(texts)
    assert time.process_time() - before < PROCESSOR_SECONDS


@pytest.mark.parametrize("frame", ["~m~9~m~", "~m~999999~m~", "~m~0~m~", "~m~1~m~\r\n~m~5000~m~"])
def test_a_megabyte_of_broken_frames_costs_little(frame):
    before = time.process_time()
    with pytest.raises(ProtocolError):
        list(decode_form_frames(frame * 100_000 + "\r\n"))
    assert time.process_time() - before < PROCESSOR_SECONDS
