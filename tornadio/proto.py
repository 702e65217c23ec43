"""Socket.IO 0.6 frames: messages to text and back, pure functions.

A payload on any transport is a run of frames ``~m~LEN~m~TEXT``. LEN is a decimal count of UTF-16 code units, as
JavaScript's ``length``: that is what the official client and server 0.6 count. TEXT that starts with ``~j~`` is
JSON, with ``~h~`` a heartbeat, else it is a text message.
"""

import gc
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import simplejson

from tornadio.errors import EncodeError, ProtocolError

__all__ = [
    "FRAME",
    "HEARTBEAT",
    "JSON",
    "EncodeError",
    "ProtocolError",
    "decode",
    "encode",
    "encode_heartbeat",
    "frames",
    "interpret",
    "split",
]

FRAME: Final = "~m~"
HEARTBEAT: Final = "~h~"
JSON: Final = "~j~"

# A length of ten digits is past every limit; int() of a million digits would be past every patience.
_MAX_LENGTH_DIGITS: Final = 10
# int() takes the square of its digits. Python's own limit is the same, but an application may have lifted it.
_MAX_INT_DIGITS: Final = 4300
HEADER: Final = re.compile(rf"{FRAME}([0-9]{{1,{_MAX_LENGTH_DIGITS}}}){FRAME}")
_LONGEST_HEADER: Final = 2 * len(FRAME) + _MAX_LENGTH_DIGITS
_SURROGATE = re.compile("[\ud800-\udfff]")
# An escape that is one half of a pair, and not beside the other one. It takes no look at what escapes a backslash.
_HIGH: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF_OF_A_PAIR = re.compile(rf"{_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW}")
# Numbers that may be too large, in JSON without its strings. Each is tried from its first character alone.
_LONG_INT = re.compile(rf"(?<![0-9.eE+-])-?[0-9]{{{_MAX_INT_DIGITS + 1},}}+(?![.eE])")
_LARGE_FLOAT = re.compile(
    r"(?<![0-9.eE+-])-?(?:"
    r"[0-9]++(?:\.[0-9]++)?+[eE]\+?[0-9]{3,}+|"
    r"[0-9]{200,}+(?=[.eE])(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)"
)
_MANY_DIGITS: Final = b"0" * 200  # with an exponent of two digits they may be too large
_DIGITS: Final = bytes.maketrans(b"123456789E", b"000000000e")
# From so many characters on it matters that the collector looks for circles while JSON is read, which makes none.
_MANY_OBJECTS: Final = 1 << 16
_NOT_JSON = re.compile("NaN|Infinity")
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_BYTE_ORDER_MARKS = ("\ufeff", "\xef\xbb\xbf")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_dumps = simplejson.JSONEncoder(use_decimal=True, allow_nan=False).encode
# A function of ours for each number would cost more than all the rest: see _check_numbers.
_loads = simplejson.JSONDecoder(parse_int=int, parse_constant=_refuse_constant).decode


def utf16_length(text: str) -> int:
    """Length of ``text`` in UTF-16 code units. ``text`` holds no lone surrogate."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) >> 1


def encode(message: Any) -> str:
    """Encode a message as frames.

    A ``str`` arrives as it is, ``bytes`` as the UTF-8 text they hold, a list as the frames of its elements one
    after the other (nested lists flatten), ``None`` as nothing, everything else as JSON.

    :returns: the frames, ``''`` where there is nothing to send.
    :raises EncodeError: bytes that are not UTF-8, a number that JSON has no word for (NaN, infinities), an object
        that JSON can't hold, a list that holds itself.
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
        return _text_frame(_text_of(bytes(message)))
    return _frame(JSON + _json(message))


def encode_heartbeat(number: int) -> str:
    """The frame of the heartbeat ``number``, which the client echoes as it is."""
    return _frame(f"{HEARTBEAT}{number}")


def _text_frame(text: str) -> str:
    """Text that a client would take for JSON or a heartbeat travels as a JSON string: it arrives as the text it is."""
    return _frame(JSON + _json(text) if text.startswith((JSON, HEARTBEAT)) else text)


def _frame(text: str) -> str:
    return f"{FRAME}{utf16_length(text)}{FRAME}{text}"


def _well_formed(text: str) -> str:
    """``text`` with every lone surrogate as U+FFFD, as a browser would send it."""
    if text.isascii() or not _SURROGATE.search(text):
        return str.__str__(text)  # the text of an enum's member, not its name
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _encode_list(messages: list[Any]) -> Iterator[str]:
    """Frames of a list's elements, without recursion: depth is the caller's data, not our stack."""
    outer = {id(messages)}
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


def _text_of(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EncodeError(f"can't send bytes that are not UTF-8 text: {error}; base64 them, say") from error


def _json(message: Any) -> str:
    try:
        text = _dumps(message)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise EncodeError(f"can't send {type(message).__name__} as JSON: {error}") from error
    # Older simplejson writes a Decimal NaN as the bare word, allow_nan or not; no JSON parser reads that.
    if _NOT_JSON.search(text) and _NOT_JSON.search(_JSON_STRING.sub("", text)):
        raise EncodeError(f"can't send {type(message).__name__} as JSON: NaN and infinities are not JSON")
    return text


def decode(data: str) -> list[tuple[str, Any]]:
    """Decode a payload into ``(FRAME, text or object)`` and ``(HEARTBEAT, digits)`` pairs.

    :raises ProtocolError: the payload is not a run of whole frames, or a JSON frame is not JSON.
        :func:`frames` also gives the frames before the bad one.
    """
    return list(frames(data))


def frames(data: str) -> Iterator[tuple[str, Any]]:
    """Decode a payload frame by frame: the good frames before a bad one come out before its error.

    The cost is linear in the length of ``data``.

    :raises ProtocolError: says what was wrong, and at which character.
    """
    if data.isascii():  # most payloads hold one text in ASCII
        header = HEADER.match(data)
        if header is not None and (start := header.end()) + int(header[1]) == len(data):
            text = data[start:]
            if not text.startswith((JSON, HEARTBEAT)):
                return iter(((FRAME, text),))
    return interpret(split(data))


def interpret(texts: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Tell JSON and heartbeats from text, in the texts of frames.

    :raises ProtocolError: JSON that is none.
    """
    for number, text in enumerate(texts, 1):
        try:
            yield _interpret(text)
        except ProtocolError as error:
            raise ProtocolError(f"frame {number}: {error}") from None


def split(data: str) -> Iterator[str]:
    """The texts of a payload's frames, uninterpreted.

    :raises ProtocolError: where the run of frames breaks.
    """
    if data.isascii() or len(data.encode("utf-16-le", "surrogatepass")) == 2 * len(data):
        return _split_text(data)
    return _split_code_units(data)


def _split_text(data: str) -> Iterator[str]:
    """Frames of a text in which each character is one UTF-16 code unit."""
    position = 0
    while position < len(data):
        header = HEADER.match(data, position)
        if header is None:
            raise _no_header(data[position : position + _LONGEST_HEADER], position)
        start = header.end()
        position = start + int(header[1])
        if position > len(data):
            raise _cut_short(int(header[1]), len(data) - start, start)
        yield data[start:position]


def _split_code_units(data: str) -> Iterator[str]:
    """Frames of a text with characters of two code units: indexed as UTF-16, where a unit is two bytes."""
    units = data.encode("utf-16-le", "surrogatepass")
    position = 0
    while position < len(units):
        head = units[position : position + 2 * _LONGEST_HEADER].decode("utf-16-le", "replace")
        header = HEADER.match(head)
        if header is None:
            raise _no_header(head, position >> 1)
        start = position + 2 * header.end()
        position = start + 2 * int(header[1])
        if position > len(units):
            raise _cut_short(int(header[1]), (len(units) - start) >> 1, start >> 1)
        try:
            yield units[start:position].decode("utf-16-le")
        except UnicodeDecodeError:
            raise ProtocolError(f"frame at {start >> 1} is cut in the middle of a character: wrong length?") from None


def _no_header(found: str, position: int) -> ProtocolError:
    return ProtocolError(f"expected {FRAME}LENGTH{FRAME} at {position}, found {found!r}")


def _cut_short(length: int, present: int, position: int) -> ProtocolError:
    return ProtocolError(
        f"frame at {position} says {length} UTF-16 code units, only {present} follow (lengths count as JavaScript does)"
    )


def _interpret(text: str) -> tuple[str, Any]:
    if text.startswith(JSON):
        return FRAME, _parse_json(text[len(JSON) :])
    if text.startswith(HEARTBEAT):
        return HEARTBEAT, text[len(HEARTBEAT) :]
    return FRAME, text


def _parse_json(text: str) -> Any:
    if text.startswith(_BYTE_ORDER_MARKS):
        raise ProtocolError("bad JSON: it starts with a byte order mark")  # simplejson skips it
    try:
        _check_numbers(text)
        if "\\ud" in text or "\\uD" in text:
            text = _with_whole_characters(text)
        return _loads(text) if len(text) < _MANY_OBJECTS else _load_large(text)
    except RecursionError:
        raise ProtocolError("JSON is nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"bad JSON: {error}") from None


def _load_large(text: str) -> Any:
    """Parse without the collector: for a megabyte of brackets it takes twice as long as all the rest."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _loads(text)
    finally:
        if was_enabled:
            gc.enable()


def _with_whole_characters(text: str) -> str:
    """JSON in which each escape that is half of a surrogate pair is U+FFFD, as where the text itself is cut there.

    ``JSON.stringify`` writes such escapes for what a page has cut in the middle of a character.
    """
    if "\0" in text:
        return text  # no JSON, as will be found
    return _HALF_OF_A_PAIR.sub(r"\\ufffd", text.replace("\\\\", "\0")).replace("\0", "\\\\")


def _check_numbers(text: str) -> None:
    """Look for what ``float`` would take for infinite, and ``int`` take the square of its digits for.

    :raises ValueError: a number is too large, or too long.
    """
    if not _may_hold_large_numbers(text):
        return
    bare = _without_strings(text)
    if not _may_hold_large_numbers(bare):
        return
    found = _LONG_INT.search(bare)
    if found is not None:
        raise ValueError(f"a number of {len(found[0])} digits is too long")
    numbers = list(dict.fromkeys(_LARGE_FLOAT.findall(bare)))
    values = list(map(abs, map(float, numbers)))
    if math.inf in values:
        raise ValueError(f"{numbers[values.index(math.inf)][:20]} is too large for a number")


def _may_hold_large_numbers(text: str) -> bool:
    """Whether there is an exponent of three digits, or two hundred digits in a row, be it in a string."""
    shape = text.encode("utf-8", "surrogatepass").translate(_DIGITS, b"+")
    return b"e000" in shape or _MANY_DIGITS in shape


def _without_strings(text: str) -> str:
    """JSON with every string empty. What is no JSON may lose more, and is refused in any case."""
    return '""'.join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
