"""The masking of WebSocket frames, by C code of Tornado's and by ours: the same, or ours alone."""

from __future__ import annotations

import importlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornadio.websocket import masking


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=1000))
def test_each_byte_is_combined_with_its_byte_of_the_key(key, data):
    expected = bytes(byte ^ key[index % 4] for index, byte in enumerate(data))
    assert masking.mask_in_python(key, data) == expected
    assert masking.mask(key, data) == expected


def test_the_example_of_rfc_6455():
    assert masking.mask_in_python(b"\x37\xfa\x21\x3d", b"\x7f\x9f\x4d\x51\x58") == b"Hello"


def test_tornados_c_code_is_used_where_it_is_there_and_right():
    speedups = pytest.importorskip("tornado.speedups")
    assert masking.mask is speedups.websocket_mask


@pytest.mark.parametrize(
    "wrong",
    [
        lambda key, data: data,
        lambda key, data: masking.mask_in_python(key, data)[:16],
        lambda key, data: masking.mask_in_python(key[::-1], data),
        lambda key: b"",
        lambda key, data: masking.mask_in_python(key, data) if len(data) < 32 else data,
    ],
    ids=["not at all", "the beginning alone", "with the key reversed", "with another signature", "short ones alone"],
)
def test_what_does_something_else_is_not_used(monkeypatch, wrong):
    assert not masking.matches_reference(wrong)
    pytest.importorskip("tornado.speedups")
    monkeypatch.setattr("tornado.speedups.websocket_mask", wrong)
    assert masking._select_mask() is masking.mask_in_python


def test_without_tornados_c_code_ours_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "tornado.speedups", None)
    try:
        assert importlib.reload(masking).mask is masking.mask_in_python
    finally:
        monkeypatch.undo()
        importlib.reload(masking)
