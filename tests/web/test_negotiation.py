"""Accept and Accept-Encoding: what a client prefers (RFC 9110, section 12.5)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROCESSOR_SECONDS
from tornadio.web.negotiation import accepts_coding, prefers_media_type

MIXED, REPLACE = "multipart/mixed", "multipart/x-mixed-replace"


@pytest.mark.parametrize(
    "accept",
    [
        "multipart/mixed, */*;q=0.5",
        "multipart/mixed",
        "Multipart/MIXED ; Q=1.000,*/* ; q=0.999",
        "multipart/mixed;q=0.001",
        "*/*;q=0.5, text/html, multipart/mixed",
        "multipart/*, multipart/x-mixed-replace;q=0",
        "multipart/mixed;q=0.5, multipart/*;q=0.4, */*",  # the most specific range counts, not the greatest weight
        "multipart/mixed;q=0.9;level=1, */*;q=0.5",  # an extension behind the weight (RFC 7231, section 5.3.2)
        'text/plain;a="x,multipart/x-mixed-replace", multipart/mixed;q=0.1',
        ", ,multipart/mixed,,",
        "multipart/mixed, */*;q=2, multipart/*;q=0.5555",  # malformed weights are none
    ],
)
def test_multipart_mixed_is_preferred(accept):
    assert prefers_media_type(accept, MIXED, REPLACE)
    assert not prefers_media_type(accept, REPLACE, MIXED)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "*",
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",  # Java's
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "multipart/*",
        "multipart/mixed;q=0.5, */*;q=0.5",
        "multipart/mixed;q=0",
        "multipart/mixed;level=1, */*",  # of representations with that parameter
        'text/plain;a="multipart/mixed, multipart/mixed", */*',
        'text/plain;a="multipart/mixed, b',
        'text/plain;a=\\"multipart/mixed, multipart/mixed',
        "multipart/mixed;q=high",
        "multipart/mixed;q=1.001",
        "multipart/mixed-replace",
        "x-multipart/mixed",
        ";q=1",
        '"',
    ],
)
def test_neither_is_preferred(accept):
    assert not prefers_media_type(accept, MIXED, REPLACE)
    assert not prefers_media_type(accept, REPLACE, MIXED)


@pytest.mark.parametrize(
    "accept", ["multipart/mixed;q=0.5, */*", "multipart/x-mixed-replace", "*/*, multipart/mixed;q=0"]
)
def test_the_other_one_is_preferred(accept):
    assert prefers_media_type(accept, REPLACE, MIXED)
    assert not prefers_media_type(accept, MIXED, REPLACE)


@pytest.mark.parametrize("accepted", ["gzip", "gzip, deflate, br", "br, GZIP;q=0.5", "deflate;q=1.0, gzip;q=0.001"])
def test_a_coding_is_accepted(accepted):
    assert accepts_coding(accepted, "gzip")


@pytest.mark.parametrize("accepted", ["", "br", "*", "gzip;q=0", "gzip; q=0.0, br", "gzipped", "gzip;q=", "gzip;q=no"])
def test_a_coding_is_not_accepted(accepted):
    assert not accepts_coding(accepted, "gzip")


@given(st.text(st.characters(max_codepoint=255)) | st.text('*/;,="\\q01. ' + MIXED))
def test_any_header_has_a_meaning_and_never_prefers_both(accept):
    assert not (prefers_media_type(accept, MIXED, REPLACE) and prefers_media_type(accept, REPLACE, MIXED))
    accepts_coding(accept, "gzip")


@pytest.mark.parametrize("piece", ['"', '"\\', ",", ";", ";q=", "a;", '"",', " ", "\\"])
def test_a_long_header_takes_no_more_than_linear_time(piece):
    started = time.process_time()
    prefers_media_type(piece * (1 << 16), MIXED, REPLACE)
    assert time.process_time() - started < PROCESSOR_SECONDS
