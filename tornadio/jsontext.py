"""JSON in frames: objects to JSON text and back, strictly by RFC 8259, in time linear in the text's length.

Package-private: :mod:`tornadio.proto` is the public codec.
"""

import gc
import math
import re
from typing import Any, Final

import simplejson

from tornadio.errors import EncodeError, ProtocolError

# int() takes time in the square of its digits. This is Python's own limit, sys.int_info.default_max_str_digits, which
# an application may have lifted.
_MAX_INT_DIGITS: Final = 4300
# An escape of a surrogate without its other half beside it. Escaped backslashes have to be replaced before.
_HIGH: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE_ESCAPE = re.compile(rf"{_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW}")
# Numbers that may be too large, in JSON whose strings are empty. The lookbehind has a match begin at a number's first
# character only, and possessive quantifiers never backtrack: both keep the search linear.
_LONG_INT = re.compile(rf"(?<![0-9.eE+-])-?[0-9]{{{_MAX_INT_DIGITS + 1},}}+(?![.eE])")
_LARGE_FLOAT = re.compile(
    r"(?<![0-9.eE+-])-?(?:"
    r"[0-9]++(?:\.[0-9]++)?+[eE]\+?[0-9]{3,}+|"
    r"[0-9]{200,}+(?=[.eE])(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)"
)
_MANY_DIGITS: Final = b"0" * 200  # with an exponent of two digits they may be too large
_DIGITS: Final = bytes.maketrans(b"123456789E", b"000000000e")
# Characters from which on JSON is parsed with the cyclic garbage collector off: the collector would run again and again
# over the new objects, among which there are no cycles.
_LARGE_JSON: Final = 1 << 16
_NOT_JSON = re.compile("NaN|Infinity")
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
# JSON's whitespace, which may stand around a value (RFC 8259, section 2).
_WHITESPACE: Final = " \t\n\r"
_BYTE_ORDER_MARKS = ("\ufeff", "\xef\xbb\xbf")


def _reject_constant(name: str) -> Any:
    """Reject ``NaN``, ``Infinity`` and ``-Infinity``, which Python's parsers accept, and RFC 8259 does not have."""
    raise ValueError(f"{name} is not JSON")


_dumps = simplejson.JSONEncoder(use_decimal=True, allow_nan=False).encode
# Python functions as parse_int and parse_float would cost more than all the rest: see _check_numbers.
_loads = simplejson.JSONDecoder(parse_int=int, parse_constant=_reject_constant).decode


def dumps(message: Any) -> str:
    """Encode an object as JSON text, in ASCII.

    :raises EncodeError: it holds a number that JSON can't express, or an object that it has no form for.
    """
    try:
        text = _dumps(message)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise EncodeError(f"can't send {type(message).__name__} as JSON: {error}") from error
    # Older simplejson writes a Decimal NaN as a bare NaN, which is not JSON, even with allow_nan=False.
    if _NOT_JSON.search(text) and _NOT_JSON.search(_JSON_STRING.sub("", text)):
        raise EncodeError(f"can't send {type(message).__name__} as JSON: NaN and infinities are not JSON")
    return text


def loads(text: str) -> Any:
    """Decode JSON text. Numbers become ``int`` and ``float``, lone surrogates in escapes U+FFFD.

    :raises ProtocolError: it is no JSON, is nested too deeply, or holds a number that is too large.
    """
    try:
        return _parse(text)
    except RecursionError:
        raise ProtocolError("JSON is nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"bad JSON: {error}") from None


def find_object_or_array(text: str) -> Any:
    """Return the object or array that a text is; ``None`` where it is anything else. Others than these are not decoded:
    nearly all texts are told by their first and last characters.
    """
    bare = text.strip(_WHITESPACE) if text[:1].isspace() or text[-1:].isspace() else text
    if not bare.startswith(("{", "[")) or not bare.endswith(("}", "]")):
        return None
    try:
        return _parse(text)
    except (ValueError, RecursionError):
        return None


def _parse(text: str) -> Any:
    if text.startswith(_BYTE_ORDER_MARKS):
        # simplejson would skip it. RFC 8259, section 8.1, lets a parser reject it, as a browser's JSON.parse does.
        raise ValueError("it starts with a byte order mark")
    _check_numbers(text)
    if "\\ud" in text or "\\uD" in text:
        text = _replace_lone_surrogates(text)
    return _loads(text) if len(text) < _LARGE_JSON else _load_large(text)


def _load_large(text: str) -> Any:
    """Parse JSON with the garbage collector off: on a megabyte of brackets it takes two thirds of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _loads(text)
    finally:
        if was_enabled:
            gc.enable()


def _replace_lone_surrogates(text: str) -> str:
    """Return JSON with each escape of a lone surrogate replaced by that of U+FFFD.

    ``JSON.stringify`` writes such escapes (ECMA-262, QuoteJSONString) for a string that was cut inside a pair.
    """
    if "\0" in text:
        return text  # JSON holds no NUL: the parser will reject it
    return _LONE_SURROGATE_ESCAPE.sub(r"\\ufffd", text.replace("\\\\", "\0")).replace("\0", "\\\\")


def _check_numbers(text: str) -> None:
    """Reject numbers that ``float`` would make infinite, and integers whose digits ``int`` would take too long for.

    :raises ValueError: there is one; says which.
    """
    if not _may_hold_large_numbers(text):
        return
    bare = _without_strings(text)
    if not _may_hold_large_numbers(bare):
        return
    found = _LONG_INT.search(bare)
    if found is not None:
        raise ValueError(f"a number of {len(found[0])} digits is too long")
    numbers = list(dict.fromkeys(_LARGE_FLOAT.findall(bare)))  # float() once for each: it may be repeated
    values = list(map(abs, map(float, numbers)))
    if math.inf in values:
        raise ValueError(f"{numbers[values.index(math.inf)][:20]} is too large for a number")


def _may_hold_large_numbers(text: str) -> bool:
    """Return whether there is an exponent of three digits, or 200 digits in a row, perhaps inside a string."""
    # Digits become 0, and plus signs vanish. A minus sign stays: a negative exponent makes no number too large.
    shape = text.encode("utf-8", "surrogatepass").translate(_DIGITS, b"+")
    return b"e000" in shape or _MANY_DIGITS in shape


def _without_strings(text: str) -> str:
    """Return JSON with every string empty. Text that is not JSON may lose more; the parser rejects it in any case."""
    # Without escapes, every other piece between quotes is outside of strings.
    return '""'.join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
