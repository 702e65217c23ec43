"""The bodies of POSTs: the field ``data``, and the newlines that a form has changed."""

from __future__ import annotations

import re
import time
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROCESSOR_SECONDS, brief
from tornadio import proto
from tornadio.errors import ProtocolError, TooLargeError
from tornadio.transports.bodies import parse_post_body
from tornadio.transports.forms import decode_form_frames

URLENCODED = "application/x-www-form-urlencoded; charset=utf-8"
MULTIPART = "multipart/form-data; boundary=b"
LIMIT = 1 << 20


# -- The field -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", [URLENCODED, "application/x-www-form-urlencoded", "text/plain", ""])
@pytest.mark.parametrize("payload", ["~m~3~m~abc", "~m~4~m~é中😀", "~m~3~m~a  ", "", "a&data=b", "a=b;c+d%41\r\n\0"])
def test_the_field_is_percent_decoded(payload, content_type):
    assert parse_post_body(b"data=" + quote(payload, safe="").encode(), content_type, LIMIT) == payload


def test_a_plus_is_a_blank_in_a_form():
    assert parse_post_body(b"data=a+b%2Bc", URLENCODED, LIMIT) == "a b+c"


@pytest.mark.parametrize("content_type", ["", "text/plain", "text/plain; charset=UTF-8"])
def test_a_plus_stands_for_itself_without_a_form(content_type):
    assert parse_post_body(b"data=a+b%2Bc", content_type, LIMIT) == "a+b+c"


def test_trailing_blanks_are_kept():
    assert parse_post_body(b"data=~m~3~m~a%20%20", URLENCODED, LIMIT) == "~m~3~m~a  "
    assert parse_post_body(b"data=~m~3~m~a  ", URLENCODED, LIMIT) == "~m~3~m~a  "


def test_other_fields_do_not_matter():
    assert parse_post_body(b"a=1&data=x&b=data=y&mydata=z", URLENCODED, LIMIT) == "x"


@pytest.mark.parametrize("payload", [b"~m~3~m~a  ", "~m~4~m~é中😀".encode(), b"", b"a+b%41&\r\nc"])
def test_multipart_carries_the_payload_as_it_is(payload):
    body = b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n' + payload + b"\r\n--b--\r\n"
    assert parse_post_body(body, MULTIPART, LIMIT) == payload.decode()


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"", URLENCODED, "one field data=FRAMES, it has none"),
        (b"~m~3~m~abc", URLENCODED, "it has none"),
        (b"data", URLENCODED, "it has none"),
        (b"DATA=a", URLENCODED, "it has none"),
        (b"data=a&data=b", URLENCODED, "it has several"),
        (b"data=%FF", URLENCODED, "not UTF-8"),
        (b"data=\xff", "", "not UTF-8"),
        (b"data=%ED%A0%80", URLENCODED, "not UTF-8"),
        (b"data=%", URLENCODED, "has a % at 0 that begins no escape: send encodeURIComponent"),
        (b"data=100%", "", "a % at 3 that begins no escape"),
        (b"data=%41%4", URLENCODED, "a % at 3 that begins no escape"),
        (b"data=%u0041", URLENCODED, "a % at 0 that begins no escape"),
        (b"data=%4g", URLENCODED, "a % at 0 that begins no escape"),
        (b"data=%&b=%41", URLENCODED, "a % at 0 that begins no escape"),
        (b"data=" + b"%" * 1_000_000, URLENCODED, "a % at 0 that begins no escape"),
        (b"data=a", "multipart/form-data", "bad multipart/form-data"),
        (b"data=a", MULTIPART, "bad multipart/form-data"),
        (b"--b\r\ndata=a\r\n--b--\r\n", MULTIPART, "bad multipart/form-data"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n', MULTIPART, "it has none"),
    ],
    ids=brief,
)
def test_a_body_without_the_field_is_the_peers_error(body, content_type, reason):
    with pytest.raises(ProtocolError, match=reason) as caught:
        parse_post_body(body, content_type, LIMIT)
    assert caught.value.http_status == 400


def test_the_limit_counts_the_decoded_bytes():
    body = b"data=" + quote("中" * 3).encode()
    assert parse_post_body(body, URLENCODED, 9) == "中中中"
    with pytest.raises(TooLargeError, match="more than 8 bytes") as caught:
        parse_post_body(body, URLENCODED, 8)
    assert (caught.value.http_status, caught.value.close_code) == (413, 1009)


@given(
    st.lists(
        st.sampled_from(
            [b"%41", b"%3d", b"%3D", b"%25", b"=", b"=41", b"=\r\n", b"\n", b" \n", b"_", b"%0D%0A", b"%c3%a9"]
        )
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="%&")).map(str.encode)
    ).map(b"".join)
)
def test_what_is_decoded_is_what_any_reader_of_urls_decodes(encoded):
    assert parse_post_body(b"data=" + encoded, "", LIMIT) == unquote_to_bytes(encoded).decode()


@given(
    st.binary() | st.lists(st.sampled_from([b"data=", b"&", b"%", b"%F", b"%41", b"+", b"\xff"])).map(b"".join),
    st.sampled_from(["", "text/plain", URLENCODED, MULTIPART, "multipart/form-data", "multipart/form-data; boundary="])
    | st.text(),
)
def test_a_body_is_a_payload_or_a_protocol_error(body, content_type):
    try:
        payload = parse_post_body(body, content_type, LIMIT)
    except ProtocolError as error:
        str(error).encode()  # it is told to the peer
    else:
        payload.encode()


@given(
    st.lists(
        st.sampled_from(
            [
                b"--b",
                b"--b--",
                b"\r\n",
                b"\r\n\r\n",
                b"Content-Disposition: form-data; ",
                b'name="data"',
                b"name=",
                b"\xff",
            ]
        )
        | st.binary(max_size=5)
    ).map(b"".join)
)
def test_a_multipart_body_is_a_payload_or_a_protocol_error(body):
    try:
        parse_post_body(body, MULTIPART, LIMIT)
    except ProtocolError as error:
        str(error).encode()


# -- Newlines --------------------------------------------------------------------------------------------------------


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
