"""Payloads that HTML forms have carried: the newlines that forms change, undone."""

import itertools
import sys
from collections.abc import Iterator
from typing import Any, Final

from tornadio import proto
from tornadio.errors import ProtocolError
from tornadio.framing import HEADER, limit_sizes

# Frames that are parsed ahead to decide which of two readings is right.
_FRAMES_AHEAD: Final = 1000
# By a code unit's upper byte: whether it is half of a surrogate pair.
_IS_SURROGATE: Final = bytes(0xD8 <= byte <= 0xDF for byte in range(256))


def decode_form_frames(
    data: str, max_message_size: int = sys.maxsize, json: proto.JSONFormat = "marked"
) -> Iterator[tuple[str, Any]]:
    """Decode a payload that a form has carried; as :func:`tornadio.proto.iter_decode` otherwise.

    A form sends every newline as CRLF, but clients count LEN before. So LEN decides, frame by frame, whether a CRLF
    was one code unit or two: the frame must end where the payload ends or another frame begins.

    :param max_message_size: of a message as it was before the form.
    :param json: as for :func:`tornadio.proto.iter_decode`.
    :raises ProtocolError: as :func:`tornadio.proto.iter_decode`, as is :exc:`~tornadio.errors.TooLargeError`.
    """
    if "\r\n" not in data:
        return proto.iter_decode(data, max_message_size, json)
    texts = _split_frames(_code_units(data))
    return proto.classify_frames(limit_sizes(texts, data, max_message_size), json)


def _code_units(text: str) -> str:
    """Return a string with one character for each UTF-16 code unit of ``text``. Halves of surrogate pairs become
    characters of plane 1, since UTF-32 can't hold them.
    """
    encoded = text.encode("utf-16-le", "surrogatepass")
    if len(encoded) == 2 * len(text):
        return text
    wide = bytearray(2 * len(encoded))
    wide[0::4], wide[1::4], wide[2::4] = encoded[0::2], encoded[1::2], encoded[1::2].translate(_IS_SURROGATE)
    return wide.decode("utf-32-le")


def _from_code_units(units: str) -> str:
    """Invert :func:`_code_units`.

    :raises UnicodeDecodeError: half of a pair has no other half.
    """
    if units.isascii():
        return units
    wide = units.encode("utf-32-le", "surrogatepass")
    encoded = bytearray(len(wide) // 2)
    encoded[0::2], encoded[1::2] = wide[0::4], wide[1::4]
    return encoded.decode("utf-16-le")


def _split_frames(units: str, position: int = 0, prefer_single_newlines: bool | None = None) -> Iterator[str]:
    """Yield the texts of the frames. A frame that could end in two places ends where frames follow.

    :param prefer_single_newlines: whether a CRLF counts as one unit where both are possible; ``None`` to find out at
        the first such frame.
    :raises ProtocolError: something else than a frame.
    """
    while position < len(units):
        header = HEADER.match(units, position)
        if header is None:
            raise ProtocolError(f"expected ~m~LENGTH~m~ at {position}")
        start, length = header.end(), int(header[1])
        position, other = _ends_of(units, start, length)
        if position != other:
            if prefer_single_newlines is None:
                prefer_single_newlines = _are_frames(units, position, True) or not _are_frames(units, other, False)
            if not prefer_single_newlines:
                position = other
        shrunk = position - start - length
        text = units[start:position].replace("\r\n", "\n", shrunk) if shrunk else units[start:position]
        try:
            text = _from_code_units(text)
        except UnicodeDecodeError:
            raise ProtocolError(f"frame at {start} is cut in the middle of a character: wrong length?") from None
        yield text


def _are_frames(units: str, position: int, prefer_single_newlines: bool) -> bool:
    """Whether the next frames from ``position`` on can be parsed: a bounded number, so as not to block the loop."""
    try:
        for _ in itertools.islice(_split_frames(units, position, prefer_single_newlines), _FRAMES_AHEAD):
            pass
    except ProtocolError:
        return False
    return True


def _ends_of(units: str, start: int, length: int) -> tuple[int, int]:
    """Return the two places where a frame may end: with every CRLF, or some of them, counted as one unit; and with
    every CRLF counted as two. They are the same if only one is possible.
    """
    shortest, longest = start + length, _end_with_single_newlines(units, start, length)
    if shortest == longest <= len(units):
        return shortest, shortest
    if _is_boundary(units, longest):
        end = longest
    else:
        boundary = HEADER.search(units, shortest)
        if boundary is not None and boundary.start() <= longest:
            end = boundary.start()
        elif shortest <= len(units) <= longest:
            end = len(units)
        else:
            raise ProtocolError(f"frame at {start} says {length} UTF-16 code units, but no frame ends there")
    return end, shortest if _is_boundary(units, shortest) else end


def _end_with_single_newlines(units: str, start: int, length: int) -> int:
    """Return the end of ``length`` units from ``start`` on, if every CRLF counts as one."""
    counted, end = start, start + length
    while newlines := units.count("\r\n", counted, end + 1):
        counted, end = end, end + newlines
    return end


def _is_boundary(units: str, position: int) -> bool:
    """Whether the payload or another frame follows at ``position``: a frame may end there."""
    return position == len(units) or HEADER.match(units, position) is not None
