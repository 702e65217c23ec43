"""The masking of WebSocket frames, by C code of websockets and of Tornado, and by ours: all the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

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


RIGHT = masking.mask_in_python
Select = Callable[..., str]


@pytest.fixture
def select(monkeypatch: pytest.MonkeyPatch) -> Select:
    """Whose function is selected where that of each package masks in a given way; `None` for a package without it."""

    def select(websockets: masking.Mask | None, tornado: masking.Mask | None) -> str:
        called: list[str] = []

        def apply_mask(data: bytes, mask: bytes) -> bytes:
            called.append("websockets")
            assert websockets is not None
            return websockets(mask, data)

        def websocket_mask(mask: bytes, data: bytes) -> bytes:
            called.append("tornado")
            assert tornado is not None
            return tornado(mask, data)

        of_websockets = None if websockets is None else SimpleNamespace(apply_mask=apply_mask)
        of_tornado = None if tornado is None else SimpleNamespace(websocket_mask=websocket_mask)
        monkeypatch.setitem(sys.modules, "websockets.speedups", of_websockets)
        monkeypatch.setitem(sys.modules, "tornado.speedups", of_tornado)
        mask = masking._select_mask()
        called.clear()
        assert mask(b"\x37\xfa\x21\x3d", b"\x7f\x9f\x4d\x51\x58") == b"Hello"
        return called.pop() if called else "ours"

    return select


def test_that_of_websockets_is_used_where_it_is_there(select):
    assert select(websockets=RIGHT, tornado=RIGHT) == "websockets"
    assert select(websockets=RIGHT, tornado=None) == "websockets"


def test_that_of_tornado_is_used_where_websockets_is_missing(select):
    assert select(websockets=None, tornado=RIGHT) == "tornado"


def test_ours_is_used_where_both_are_missing(select):
    assert select(websockets=None, tornado=None) == "ours"


def test_that_of_tornado_is_used_itself_without_a_call_between(monkeypatch):
    speedups = pytest.importorskip("tornado.speedups")
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    assert masking._select_mask() is speedups.websocket_mask


@pytest.mark.parametrize("length", [0, 1, 20, 125, 126, 1000, 65535, 100_000])
@pytest.mark.parametrize("module", ["websockets.speedups", "tornado.speedups"])
def test_the_c_code_that_is_installed_does_what_ours_does(module, length):
    pytest.importorskip(module)
    import_mask = masking._import_from_websockets if module == "websockets.speedups" else masking._import_from_tornado
    data = bytes(index * index & 0xFF for index in range(length))
    assert import_mask()(b"\x01\x80\xff\x00", data) == masking.mask_in_python(b"\x01\x80\xff\x00", data)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda key, data: data,
        lambda key, data: masking.mask_in_python(key, data)[:16],
        lambda key, data: masking.mask_in_python(key[::-1], data),
        lambda key: b"",
        lambda key, data: masking.mask_in_python(key, data) if len(data) < 32 else data,
        lambda key, data: masking.mask_in_python(key, data[:64]) + data[64:],
        lambda key, data: masking.mask_in_python(key, data) if len(data) < 1000 else data,
        lambda key, data: masking.mask_in_python(key, data[: len(data) & -16]) + data[len(data) & -16 :],
    ],
    ids=[
        "not at all",
        "the beginning alone",
        "with the key reversed",
        "with another signature",
        "short ones alone",
        "the first vectors alone",
        "all but long ones",
        "vectors without what is left behind them",
    ],
)
def test_what_does_something_else_is_not_used(select, wrong):
    assert not masking.matches_reference(wrong)
    assert select(websockets=wrong, tornado=RIGHT) == "tornado"
    assert select(websockets=wrong, tornado=wrong) == "ours"


class Broken:
    """A module that fails when something is asked of it."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"broken: {name}")


@pytest.mark.parametrize("module", [SimpleNamespace(), Broken()], ids=["without the function", "broken"])
def test_a_package_that_can_not_be_used_is_no_reason_to_fail(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "websockets.speedups", module)
    monkeypatch.setitem(sys.modules, "tornado.speedups", module)
    assert masking._select_mask() is masking.mask_in_python
