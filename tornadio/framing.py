"""The framing of Socket.IO 0.6: texts to frames ``~m~LEN~m~TEXT``, and payloads to the texts of their frames.

LEN counts UTF-16 code units. Package-private: :mod:`tornadio.proto` is the public codec.
"""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Final

from tornadio.errors import ProtocolError, TooLargeError

FRAME: Final = "~m~"
# More than any max_message_size in use needs; int() of a million digits would block for seconds.
_MAX_LENGTH_DIGITS: Final = 10
HEADER: Final = re.compile(rf"{FRAME}([0-9]{{1,{_MAX_LENGTH_DIGITS}}}){FRAME}")
_MAX_HEADER_LENGTH: Final = 2 * len(FRAME) + _MAX_LENGTH_DIGITS
# Headers of the frames of short texts: by the text's length, and by the size of the whole frame, which no two have.
HEADERS: Final = [f"{FRAME}{length}{FRAME}" for length in range(1025)]
HEADERS_BY_SIZE: Final = {len(header) + length: header for length, header in enumerate(HEADERS)}


def utf16_length(text: str) -> int:
    """Return the length of ``text``, which holds no lone surrogate, in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) >> 1


def encode_frame(text: str) -> str:
    """Return the frame of a text, which holds no lone surrogate."""
    return f"{FRAME}{utf16_length(text)}{FRAME}{text}"


def header_of_one(payload: str) -> str:
    """Return the header that a payload has if it is one frame, as most are. Returns ``''`` for one with a lone
    surrogate, and for the few sizes whose header has fewer digits than they have.
    """
    try:
        size = utf16_length(payload)
    except UnicodeEncodeError:
        return ""
    if size in HEADERS_BY_SIZE:
        return HEADERS_BY_SIZE[size]
    length = size - 2 * len(FRAME) - len(str(size))
    header = f"{FRAME}{length}{FRAME}"
    return header if len(header) + length == size else ""


def split_frames(data: str) -> Iterator[str]:
    """Yield the text of each frame of a payload, without decoding JSON.

    :raises ProtocolError: at the end of the whole frames, something else follows. Where that is because the last one's
        LENGTH counts UTF-8 bytes or characters, its text, which is not what was sent, is not yielded.
    """
    # Astral characters are two UTF-16 code units and one Python character; without them an index of data counts both.
    if data.isascii() or len(data.encode("utf-16-le", "surrogatepass")) == 2 * len(data):
        return _split_text(data)
    return _split_code_units(data)


def each_encoder(encode: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return an encoder that encodes each frame of a payload, given as UTF-8, by itself.

    :param encode: encodes a frame, given as UTF-8.
    """
    return lambda payload: b"".join([encode(encode_frame(text).encode()) for text in split_frames(payload.decode())])


# The same one for all that share encode, so that what payloads keep is shared, too.
shared_each_encoder: Final = functools.lru_cache(each_encoder)


def _split_text(data: str) -> Iterator[str]:
    """Yield the texts of frames in a payload without astral characters: an index is one of UTF-16 code units."""
    position, end = 0, len(data)
    header = HEADER.match(data)
    while position < end:
        if header is None:
            raise _bad_header(data, position, position)
        start, length = header.end(), int(header[1])
        position = start + length
        if position > end:
            _check_count(data, start, length, start)
            raise _truncated(length, end - start, start)
        if position < end:
            header = HEADER.match(data, position)
            if header is None:
                _check_count(data, start, length, start)
        yield data[start:position]


def _split_code_units(data: str) -> Iterator[str]:
    """Yield the texts of frames in a payload with astral characters.

    Only one frame at a time is held as UTF-16: the payload may be large, and its rest may have to wait.
    """
    position = pairs = 0  # pairs: astral characters before position
    end = len(data)
    header = HEADER.match(data)
    while position < end:
        if header is None:
            raise _bad_header(data, position, position + pairs)
        start, length, where = header.end(), int(header[1]), header.end() + pairs
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
                    _check_count(data, start, length, where)
                    raise ProtocolError(
                        f"frame at {where} is cut in the middle of a character: wrong length?"
                    ) from None
        if present < length:
            _check_count(data, start, length, where)
            raise _truncated(length, present, where)
        position = start + len(text)
        pairs += present - len(text)
        if position < end:
            header = HEADER.match(data, position)
            if header is None:
                _check_count(data, start, length, where)
        yield text


def _check_count(data: str, start: int, length: int, where: int) -> None:
    """Check that the LENGTH of a frame, behind which no other one begins, does not count something else than it should.

    :param start: the index of its text in ``data``.
    :param where: the same in UTF-16 code units.
    :raises ProtocolError: counted in UTF-8 bytes or in characters, the text ends where the payload ends or another
        frame begins.
    """
    if data.isascii():
        return
    in_bytes = data[start : start + length].encode("utf-8", "surrogatepass")
    end_in_bytes = start + len(in_bytes[:length].decode("utf-8", "ignore"))
    if len(in_bytes) >= length and _is_boundary(data, end_in_bytes):
        counted = "UTF-8 bytes"
    elif _is_boundary(data, start + length):
        counted = "characters"
    else:
        return
    raise ProtocolError(
        f"frame at {where}: LENGTH {length} counts {counted}; it must count UTF-16 code units, as JavaScript does"
    )


def _is_boundary(data: str, position: int) -> bool:
    """Whether the payload ends or a frame begins at an index."""
    return position == len(data) or HEADER.match(data, position) is not None


def _bad_header(data: str, position: int, where: int) -> ProtocolError:
    found = data[position : position + _MAX_HEADER_LENGTH]
    return ProtocolError(f"expected {FRAME}LENGTH{FRAME} at {where}, found {found!r}")


def _truncated(length: int, present: int, where: int) -> ProtocolError:
    return ProtocolError(
        f"frame at {where} says {length} UTF-16 code units, only {present} follow (lengths count as JavaScript does)"
    )


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
