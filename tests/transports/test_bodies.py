"""The bodies of POSTs: the payload in the field ``data``, however a body is cut into pieces."""

from __future__ import annotations

import time
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROCESSOR_SECONDS, brief
from tornadio.errors import ProtocolError, TooLargeError
from tornadio.transports.bodies import OVERHEAD, make_decoder, max_body_size, parse_post_body

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


# -- Pieces ----------------------------------------------------------------------------------------------------------

BODIES = st.lists(
    st.sampled_from(
        [b"data=", b"&data=", b"&", b"dat", b"a=", b"%", b"%4", b"%41", b"%c3%a9", b"%F0%9F%98%80", b"+", b"\xc3\xa9"]
    )
    | st.binary(max_size=4)
).map(b"".join) | st.text(max_size=30).map(lambda text: b"data=" + quote(text, safe="").encode())
PARTS = st.lists(
    st.sampled_from(
        [b"--b\r\n", b"--b--\r\n", b'Content-Disposition: form-data; name="data"\r\n\r\n', b"\r\n", b"abc", b"\xff"]
    )
).map(b"".join)


def outcome(pieces: list[bytes], content_type: str, limit: int) -> str | tuple[type, str]:
    """The payload that a body in these pieces holds, or what is wrong with it."""
    decoder = make_decoder(content_type, limit)
    try:
        for piece in pieces:
            decoder.feed(piece)
        return decoder.finish()
    except ProtocolError as error:
        return type(error), str(error)


def outcome_of_whole(body: bytes, content_type: str, limit: int) -> str | tuple[type, str]:
    try:
        return parse_post_body(body, content_type, limit)
    except ProtocolError as error:
        return type(error), str(error)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(body) + 1) for place in places)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


@given(
    BODIES.map(lambda body: (body, URLENCODED))
    | BODIES.map(lambda body: (body, ""))
    | PARTS.map(lambda body: (body, MULTIPART)),
    st.lists(st.integers(0, 1 << 16), max_size=6),
    st.sampled_from([0, 1, 3, 10, LIMIT]),
)
def test_a_body_in_pieces_is_what_it_is_as_a_whole(body_and_type, places, limit):
    body, content_type = body_and_type
    whole = outcome_of_whole(body, content_type, limit)
    assert outcome(cut(body, places), content_type, limit) == whole
    assert outcome([body[place : place + 1] for place in range(len(body))], content_type, limit) == whole


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("field", ["data", "mydata", "other=1&data"])
def test_the_field_is_found_wherever_it_is_cut(field, size):
    text = "~m~9~m~é中😀 a+b%"
    body = f"{field}={quote(text, safe='')}&last=%zz".encode()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    expected = (ProtocolError, "the body must have one field data=FRAMES, it has none")
    assert outcome(pieces, URLENCODED, LIMIT) == (expected if field == "mydata" else text)


@pytest.mark.parametrize("kind", ["%78", "x", "+"])
def test_a_payload_is_too_large_at_its_first_byte_too_many(kind):
    decoder = make_decoder(URLENCODED, 1000)
    decoder.feed(b"other=" + 5000 * b"y" + b"&data=")
    for _ in range(1000):
        decoder.feed(kind.encode())
    assert decoder.size == 1000
    with pytest.raises(TooLargeError, match="more than 1000 bytes"):
        decoder.feed(kind.encode())
    assert decoder.size == 0


@pytest.mark.parametrize(
    "behind", [b"&data=", b"%zz" + 5000 * b"x", b"&other=" + 5000 * b"x"], ids=["another field", "no escape", "other"]
)
def test_nothing_is_kept_of_what_will_not_be_the_payload(behind):
    decoder = make_decoder(URLENCODED, 1000)
    decoder.feed(b"data=" + 900 * b"x" + behind)
    assert decoder.size == (900 if behind.startswith(b"&other") else 0)


def test_parts_of_a_form_are_kept_to_the_limit_and_a_little_more():
    decoder = make_decoder(MULTIPART, 1000)
    decoder.feed((1000 + OVERHEAD) * b"x")
    assert decoder.size == 1000 + OVERHEAD
    with pytest.raises(TooLargeError, match="more than 1000 bytes"):
        decoder.feed(b"x")
    assert decoder.size == 0


@pytest.mark.parametrize("content_type", [URLENCODED, "", MULTIPART])
def test_the_largest_body_has_the_largest_payload_in_its_longest_form(content_type):
    assert max_body_size(content_type, 1000) == (1000 if content_type == MULTIPART else 3000) + OVERHEAD


@pytest.mark.parametrize("piece", [b"&", b"&data", b"%", b"%41", b"x", b"data=&"], ids=brief)
@pytest.mark.parametrize("size", [1, 1 << 16])
def test_the_time_is_linear_in_the_size_of_a_body(piece, size):
    decoder = make_decoder(URLENCODED, 64 << 20)
    pieces = [piece * (size // len(piece) or 1)] * min(100_000, (24 << 20) // size)
    before = time.process_time()
    decoder.feed(b"data=")
    for each in pieces:
        decoder.feed(each)
    assert time.process_time() - before < PROCESSOR_SECONDS
