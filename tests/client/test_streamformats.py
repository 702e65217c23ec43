"""The payloads in the bodies of streams, however a body is cut: as our server writes it, and as the official one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROCESSOR_SECONDS
from tornadio.client.streamformats import HTMLFileParser, MultipartParser, StreamParser, parse_js_string
from tornadio.errors import ProtocolError, TooLargeError
from tornadio.transports.htmlfile import HTMLFileFormat
from tornadio.transports.multipart import MultipartFormat

PARTS = "Content-Type: text/plain\n\n~m~1~m~a\n--socketio\nContent-Type: text/plain\n\n~m~2~m~\n\n\n--socketio\n"


def parsed(parser: StreamParser, body: bytes, cuts: list[int]) -> list[str]:
    def payloads() -> Iterator[str]:
        last = 0
        for cut in [*sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]:
            yield from parser.feed(body[last:cut])
            last = cut

    return list(payloads())


# What an encoder of UTF-8 can be given: no halves of surrogate pairs.
texts = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.just('", document);</script>'), max_size=5)


@given(texts, st.lists(st.integers(0, 1 << 20), max_size=5))
def test_a_multipart_stream_is_read_as_the_server_writes_it(payloads, cuts):
    stream = MultipartFormat(is_chunked=False)
    body = stream.preamble + b"".join(stream.encode(payload.encode()) + stream.part_end for payload in payloads)
    assert parsed(MultipartParser(stream.content_type, 1 << 20), body, cuts) == payloads


@given(texts, st.lists(st.integers(0, 1 << 20), max_size=5))
def test_an_htmlfile_stream_is_read_as_the_server_writes_it(payloads, cuts):
    stream = HTMLFileFormat(is_chunked=False)
    body = stream.preamble + b"".join(stream.encode(payload.encode()) + stream.part_end for payload in payloads)
    assert parsed(HTMLFileParser(stream.content_type, 1 << 20), body, cuts) == payloads


def test_the_official_servers_streams_are_read():
    multipart = MultipartParser('multipart/x-mixed-replace;boundary="socketio"', 1000)
    assert list(multipart.feed(b"--socketio\n" + PARTS.encode())) == ["~m~1~m~a", "~m~2~m~\n\n"]
    page = '<script>parent.s._("é</script>\\", document);</script>", document);</script>'  # it escapes no </script>
    html = HTMLFileParser("text/html", 1000)
    assert list(html.feed(b"<html><body>" + b" " * 244 + page.encode())) == ['é</script>", document);</script>']


@pytest.mark.parametrize(
    ("parser", "content_type", "begin"),
    [
        (MultipartParser, "multipart/x-mixed-replace; boundary=b", b"--b\n\n\n"),
        (HTMLFileParser, "text/html", b'<script>parent.s._("'),
    ],
)
def test_a_payload_without_end_is_too_large(parser, content_type, begin):
    stream = parser(content_type, 1000)
    with pytest.raises(TooLargeError, match="max_payload_size"):
        list(stream.feed(begin + b"x" * 20_000))


@pytest.mark.parametrize("parser", [MultipartParser, HTMLFileParser])
def test_another_content_type_is_none_of_a_stream(parser):
    for content_type in ("text/plain", "", "multipart/form-data"):
        with pytest.raises(ProtocolError, match=repr(content_type)):
            parser(content_type, 1000)


@pytest.mark.parametrize("literal", ["'a'", '5, ["a"', "[" * 100_000 + '"a'])
def test_a_script_without_a_string_is_an_error(literal):
    html = HTMLFileParser("text/html", 1 << 20)
    with pytest.raises(ProtocolError, match=re.escape('parent.s._("...", document);')):
        list(html.feed(f'<script>parent.s._({literal}", document);</script>'.encode()))


@pytest.mark.parametrize("end", [b", document);</script>", b'\\", document);</script>'])
def test_what_looks_like_the_end_of_a_script_costs_no_time(end):
    html = HTMLFileParser("text/html", 1 << 20)
    before = time.process_time()
    assert list(html.feed(b'<script>parent.s._("' + end * 50_000)) == []
    assert time.process_time() - before < PROCESSOR_SECONDS


def test_a_content_type_of_many_types_costs_no_time():
    before = time.process_time()
    with pytest.raises(ProtocolError, match="no multipart with a boundary"):
        MultipartParser("multipart/;" * 50_000, 1000)
    assert time.process_time() - before < PROCESSOR_SECONDS


def test_what_is_between_scripts_is_not_kept():
    html = HTMLFileParser("text/html", 1000)
    for _ in range(1000):
        assert list(html.feed(b"<script>parent.s._" * 1000)) == []


@pytest.mark.parametrize("literal", ["", "5", "'a'", '"a', '"a"b"', "null", '["a"]'])
def test_other_literals_are_no_strings(literal):
    assert parse_js_string(literal) is None


def test_an_escaped_half_of_a_pair_is_replaced():
    assert parse_js_string('"a\\ud83d"') == "a\ufffd"
    assert parse_js_string('"\\ud83d\\ude00"') == "😀"
