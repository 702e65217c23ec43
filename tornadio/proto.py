"""The codec of Socket.IO 0.6: messages to frames and back, as pure functions.

A payload on any transport is a run of frames ``~m~LEN~m~TEXT``. LEN is a decimal count of UTF-16 code units, as
JavaScript's ``length``: that is what the official client and server 0.6 count. TEXT that starts with ``~j~`` is
JSON, with ``~h~`` a heartbeat, else it is a text message.

Public are the names in ``__all__``. This module imports no server: a client may use it alone.
"""

import gc
import math
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import simplejson

from tornadio.errors import EncodeError, ProtocolError, TooLargeError

__all__ = [
    "FRAME",
    "HEARTBEAT",
    "JSON",
    "EncodeError",
    "ProtocolError",
    "decode",
    "encode",
    "encode_heartbeat",
    "iter_decode",
]

FRAME: Final = "~m~"
HEARTBEAT: Final = "~h~"
JSON: Final = "~j~"

# More than any max_message_size in use needs; int() of a million digits would block for seconds.
_MAX_LENGTH_DIGITS: Final = 10
# int() takes time in the square of its digits. This is Python's own limit, sys.int_info.default_max_str_digits, which
# an application may have lifted.
_MAX_INT_DIGITS: Final = 4300
HEADER: Final = re.compile(rf"{FRAME}([0-9]{{1,{_MAX_LENGTH_DIGITS}}}){FRAME}")
_MAX_HEADER_LENGTH: Final = 2 * len(FRAME) + _MAX_LENGTH_DIGITS
_SURROGATE = re.compile("[\ud800-\udfff]")
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
_BYTE_ORDER_MARKS = ("\ufeff", "\xef\xbb\xbf")


def _reject_constant(name: str) -> Any:
    """Reject ``NaN``, ``Infinity`` and ``-Infinity``, which Python's parsers accept, and RFC 8259 does not have."""
    raise ValueError(f"{name} is not JSON")


_dumps = simplejson.JSONEncoder(use_decimal=True, allow_nan=False).encode
# Python functions as parse_int and parse_float would cost more than all the rest: see _check_numbers.
_loads = simplejson.JSONDecoder(parse_int=int, parse_constant=_reject_constant).decode


def utf16_length(text: str) -> int:
    """Return the length of ``text``, which holds no lone surrogate, in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) >> 1


def encode(message: Any) -> str:
    """Encode a message as frames.

    A ``str`` arrives as it is, ``bytes`` as the UTF-8 text they hold, a list as the frames of its elements one
    after the other (nested lists flatten), ``None`` as nothing, everything else as JSON.

    :returns: the frames, ``''`` where there is nothing to send.
    :raises EncodeError: ``message`` has bytes that are not UTF-8, a number that JSON can't express (NaN, infinities),
        an object that JSON can't hold, or a list that contains itself.
    """
    if type(message) is str and message.isascii() and message[:1] != "~":  # most messages
        return f"{FRAME}{len(message)}{FRAME}{message}"
    if isinstance(message, str):
        return _text_frame(_well_formed(message))
    if isinstance(message, list):
        return "".join(_encode_list(message))
    if message is None:
        return ""
    if isinstance(message, bytes | bytearray | memoryview):
        return _text_frame(_utf8_text(bytes(message)))
    return _frame(JSON + _json(message))


def encode_heartbeat(number: int) -> str:
    """Return the frame of a heartbeat, ``~h~`` and its number, which the client echoes unchanged."""
    return _frame(f"{HEARTBEAT}{number}")


def _text_frame(text: str) -> str:
    """Return the frame of a text. One that begins as JSON or a heartbeat does is sent as a JSON string instead: else
    the client would decode it as that."""
    return _frame(JSON + _json(text) if text.startswith((JSON, HEARTBEAT)) else text)


def _frame(text: str) -> str:
    return f"{FRAME}{utf16_length(text)}{FRAME}{text}"


def _well_formed(text: str) -> str:
    """Return ``text`` with each lone surrogate replaced by U+FFFD, as browsers do when they send it."""
    if text.isascii() or not _SURROGATE.search(text):
        return str.__str__(text)  # not str(): of an enum's member that is its name
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _encode_list(messages: list[Any]) -> Iterator[str]:
    """Yield the frames of a list's elements. Iterative: the nesting of the caller's data must not exhaust the stack."""
    outer = {id(messages)}  # the lists that are being iterated over: an element among them would be a cycle
    stack = [(messages, iter(messages))]
    while stack:
        current, elements = stack[-1]
        for element in elements:
            if not isinstance(element, list):
                yield encode(element)
                continue
            if id(element) in outer:
                raise EncodeError("can't send a list that contains itself")
            outer.add(id(element))
            stack.append((element, iter(element)))
            break
        else:
            stack.pop()
            outer.discard(id(current))


def _utf8_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EncodeError(f"can't send bytes that are not UTF-8 text: {error}; base64 them, say") from error


def _json(message: Any) -> str:
    try:
        text = _dumps(message)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise EncodeError(f"can't send {type(message).__name__} as JSON: {error}") from error
    # Older simplejson writes a Decimal NaN as a bare NaN, which is not JSON, even with allow_nan=False.
    if _NOT_JSON.search(text) and _NOT_JSON.search(_JSON_STRING.sub("", text)):
        raise EncodeError(f"can't send {type(message).__name__} as JSON: NaN and infinities are not JSON")
    return text


def decode(data: str) -> list[tuple[str, Any]]:
    """Decode a payload into ``(FRAME, text or object)`` and ``(HEARTBEAT, digits)`` pairs.

    :param data: a payload, as :func:`encode` makes it; ``''`` holds no frames.
    :raises ProtocolError: the payload is not a run of whole frames, or a JSON frame is not JSON.
        :func:`iter_decode` yields the frames before the bad one first.
    """
    return list(iter_decode(data))


def iter_decode(data: str, max_message_size: int = sys.maxsize) -> Iterator[tuple[str, Any]]:
    """Decode a payload frame by frame, as :func:`decode`: frames before a bad one are yielded before the error.

    The time taken is linear in the length of ``data``.

    :param max_message_size: UTF-8 bytes that the text of a frame may have, with its mark ``~j~``.
    :raises ProtocolError: from the iterator; says what was wrong, and at which UTF-16 code unit.
    :raises TooLargeError: from the iterator, a frame's text has more than ``max_message_size`` bytes.
    """
    if data.isascii() and len(data) <= max_message_size:  # most payloads hold one text in ASCII
        header = HEADER.match(data)
        if header is not None and (start := header.end()) + int(header[1]) == len(data):
            text = data[start:]
            if not text.startswith((JSON, HEARTBEAT)):
                return iter(((FRAME, text),))
    return classify_frames(limit_sizes(split_frames(data), data, max_message_size))


def limit_sizes(texts: Iterator[str], data: str, max_message_size: int) -> Iterator[str]:
    """Return the texts of a payload's frames, to be yielded until one is too large.

    :param data: the payload. Where it has no more bytes than one text may have, this costs nothing for each text.
    :raises TooLargeError: from the iterator, a text has more than ``max_message_size`` UTF-8 bytes.
    """
    most_bytes = len(data) if data.isascii() else 4 * len(data)
    return texts if most_bytes <= max_message_size else _limited(texts, max_message_size)


def _limited(texts: Iterator[str], max_message_size: int) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        if 4 * len(text) > max_message_size and _exceeds(text, max_message_size):
            raise TooLargeError(
                f"frame {number}: a message of more than {max_message_size} bytes (max_message_size): send it in parts"
            )
        yield text


def _exceeds(text: str, size: int) -> bool:
    """Whether a text has more than ``size`` UTF-8 bytes."""
    return len(text) > size or (not text.isascii() and len(text.encode("utf-8", "surrogatepass")) > size)


def classify_frames(texts: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield ``(FRAME, text or object)`` or ``(HEARTBEAT, digits)`` for the text of each frame.

    :raises ProtocolError: a text begins as JSON does, and is not JSON; says which frame.
    """
    for number, text in enumerate(texts, 1):
        try:
            yield _classify(text)
        except ProtocolError as error:
            raise ProtocolError(f"frame {number}: {error}") from None


def split_frames(data: str) -> Iterator[str]:
    """Yield the text of each frame of a payload, without decoding JSON.

    :raises ProtocolError: at the end of the whole frames, something else follows.
    """
    # Astral characters are two UTF-16 code units and one Python character; without them an index of data counts both.
    if data.isascii() or len(data.encode("utf-16-le", "surrogatepass")) == 2 * len(data):
        return _split_text(data)
    return _split_code_units(data)


def _split_text(data: str) -> Iterator[str]:
    """Yield the texts of frames in a payload without astral characters: an index is one of UTF-16 code units."""
    position = 0
    while position < len(data):
        header = HEADER.match(data, position)
        if header is None:
            raise _bad_header(data[position : position + _MAX_HEADER_LENGTH], position)
        start = header.end()
        position = start + int(header[1])
        if position > len(data):
            raise _truncated(int(header[1]), len(data) - start, start)
        yield data[start:position]


def _split_code_units(data: str) -> Iterator[str]:
    """Yield the texts of frames in a payload with astral characters.

    Only one frame at a time is held as UTF-16: the payload may be large, and its rest may have to wait.
    """
    position = pairs = 0  # pairs: astral characters before position
    while position < len(data):
        header = HEADER.match(data, position)
        if header is None:
            raise _bad_header(data[position : position + _MAX_HEADER_LENGTH], position + pairs)
        start, length = header.end(), int(header[1])
        text = data[start : start + length]
        present = len(text)
        if not text.isascii():
            units = text.encode("utf-16-le", "surrogatepass")
            if len(units) > 2 * present:
                units = units[: 2 * length]
                present = len(units) >> 1
                try:
                    text = units.decode("utf-16-le")
                except UnicodeDecodeError:
                    where = start + pairs
                    raise ProtocolError(
                        f"frame at {where} is cut in the middle of a character: wrong length?"
                    ) from None
        if present < length:
            raise _truncated(length, present, start + pairs)
        position = start + len(text)
        pairs += present - len(text)
        yield text


def _bad_header(found: str, position: int) -> ProtocolError:
    return ProtocolError(f"expected {FRAME}LENGTH{FRAME} at {position}, found {found!r}")


def _truncated(length: int, present: int, position: int) -> ProtocolError:
    return ProtocolError(
        f"frame at {position} says {length} UTF-16 code units, only {present} follow (lengths count as JavaScript does)"
    )


def _classify(text: str) -> tuple[str, Any]:
    if text.startswith(JSON):
        return FRAME, _parse_json(text[len(JSON) :])
    if text.startswith(HEARTBEAT):
        return HEARTBEAT, text[len(HEARTBEAT) :]
    return FRAME, text


def _parse_json(text: str) -> Any:
    if text.startswith(_BYTE_ORDER_MARKS):
        # simplejson would skip it. RFC 8259, section 8.1, lets a parser reject it, as a browser's JSON.parse does.
        raise ProtocolError("bad JSON: it starts with a byte order mark")
    try:
        _check_numbers(text)
        if "\\ud" in text or "\\uD" in text:
            text = _replace_lone_surrogates(text)
        return _loads(text) if len(text) < _LARGE_JSON else _load_large(text)
    except RecursionError:
        raise ProtocolError("JSON is nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"bad JSON: {error}") from None


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
