"""Socket.IO 0.6 frames: messages to text and back, pure functions.

A payload on any transport is a run of frames ``~m~LEN~m~TEXT``. LEN is a decimal count of UTF-16 code units, as
JavaScript's ``length``: that is what the official client and server 0.6 count. TEXT that starts with ``~j~`` is
JSON, with ``~h~`` a heartbeat, else it is a text message.
"""

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
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_JSON = re.compile("NaN|Infinity")
_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_BYTE_ORDER_MARKS = ("\ufeff", "\xef\xbb\xbf")

_dumps = simplejson.JSONEncoder(use_decimal=True, allow_nan=False).encode


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
        value = simplejson.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
        if _SURROGATE_ESCAPE.search(text):
            simplejson.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ProtocolError("JSON is nested too deeply") from None
    except UnicodeEncodeError:
        raise ProtocolError("JSON holds half of a surrogate pair") from None
    except ValueError as error:
        raise ProtocolError(f"bad JSON: {error}") from None
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_INT_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits is too long")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return value
