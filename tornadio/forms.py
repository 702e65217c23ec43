"""What HTML forms make of frames, undone: the body of a POST back to the payload that the client meant."""

import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tornado.httputil import HTTPFile, HTTPInputError, parse_body_arguments

from tornadio import proto
from tornadio.errors import ProtocolError, TooLargeError

# encodeURIComponent writes a byte as three, a character of three bytes as nine.
BODY_EXPANSION: Final = 9

_FIELD: Final = re.compile(rb"(?:^|(?<=&))data=([^&]*)")
_ESCAPES: Final = re.compile(rb"(?:%[0-9a-fA-F]{2})++")


def payload_of(body: bytes, content_type: str, max_size: int) -> str:
    """The payload in a POST's field ``data``.

    :param content_type: the header; without one the body comes from Internet Explorer's XDomainRequest, which encodes
        nothing by itself, so that a ``+`` stands for itself.
    :param max_size: bytes that the payload may have.
    :raises ProtocolError: no such field, or not UTF-8.
    :raises TooLargeError: more than ``max_size`` bytes.
    """
    if content_type.startswith("multipart/form-data"):
        payload = _the_one(_multipart_values(body, content_type))
    else:
        if content_type and not content_type.startswith("text/plain"):
            body = body.replace(b"+", b" ")
        encoded = _the_one(found[1] for found in _FIELD.finditer(body))
        payload = _unquote(encoded, max_size)
    if len(payload) > max_size:
        raise TooLargeError(f"a payload of more than {max_size} bytes")
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("the field data is not UTF-8") from None


def _the_one(values: Iterable[bytes]) -> bytes:
    """:raises ProtocolError: there is none, or more than one."""
    found = list(itertools.islice(values, 2))
    if len(found) != 1:
        raise ProtocolError(f"the body must have one field data=FRAMES, it has {'several' if found else 'none'}")
    return found[0]


def _unquote(encoded: bytes, max_size: int) -> bytes:
    """Percent-decoding piece by piece: a list of the pieces would take many times the memory of the body."""
    payload = bytearray()
    end = 0
    for run in _ESCAPES.finditer(encoded):
        payload += encoded[end : run.start()]
        payload += bytes.fromhex(run[0].replace(b"%", b"").decode("ascii"))
        end = run.end()
        if len(payload) > max_size:
            break
    return bytes(payload + encoded[end:])


def _multipart_values(body: bytes, content_type: str) -> list[bytes]:
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(content_type, body, arguments, files)
    except HTTPInputError as error:
        raise ProtocolError(f"bad multipart/form-data: {error}") from None
    return arguments.get("data", [])


def form_frames(data: str) -> Iterator[tuple[str, Any]]:
    """As :func:`tornadio.proto.frames`, for a payload that a form has carried.

    A form sends every newline as CRLF, but LEN was counted before. So LEN decides, frame by frame, whether a CRLF was
    one code unit or two: the end that it gives must be the end of the payload or the start of another frame.

    :raises ProtocolError: as :func:`tornadio.proto.frames`.
    """
    if "\r\n" not in data:
        return proto.frames(data)
    return proto.interpret(_split(_code_units(data)))


def _code_units(text: str) -> str:
    """A string with a character for each UTF-16 code unit of ``text``."""
    encoded = text.encode("utf-16-le", "surrogatepass")
    return "".join(map(chr, struct.unpack(f"<{len(encoded) // 2}H", encoded)))


def _split(units: str) -> Iterator[str]:
    """The texts of the frames. Where what comes first could end in two places, and only one lets the rest be frames, it
    is that one.

    :raises ProtocolError: where the run of frames breaks.
    """
    try:
        texts = list(_split_preferring(units, lone_newlines=True))
    except ProtocolError:
        try:
            texts = list(_split_preferring(units, lone_newlines=False))
        except ProtocolError:
            return _split_preferring(units, lone_newlines=True)
    return iter(texts)


def _split_preferring(units: str, lone_newlines: bool) -> Iterator[str]:
    position = 0
    while position < len(units):
        header = proto.HEADER.match(units, position)
        if header is None:
            raise ProtocolError(f"expected ~m~LENGTH~m~ at {position}")
        start = header.end()
        length = int(header[1])
        position = _end_of(units, start, length, lone_newlines)
        shrunk = position - start - length
        text = units[start:position].replace("\r\n", "\n", shrunk) if shrunk else units[start:position]
        try:
            yield text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise ProtocolError(f"frame at {start} is cut in the middle of a character: wrong length?") from None


def _end_of(units: str, start: int, length: int, lone_newlines: bool) -> int:
    """Where a frame ends: every CRLF one unit (the usual case), or every one two, or some of each."""
    longest = _end_with_single_newlines(units, start, length)
    shortest = start + length
    if not lone_newlines and _is_boundary(units, shortest):
        return shortest
    if longest == shortest <= len(units) or _is_boundary(units, longest):
        return longest
    boundary = proto.HEADER.search(units, shortest)
    if boundary is not None and boundary.start() <= longest:
        return boundary.start()
    if shortest <= len(units) <= longest:
        return len(units)
    raise ProtocolError(f"frame at {start} says {length} UTF-16 code units, but no frame ends there")


def _end_with_single_newlines(units: str, start: int, length: int) -> int:
    """The end of ``length`` units from ``start`` on, if every CRLF is one of them."""
    end, missing = start, length
    while (newline := units.find("\r\n", end, end + missing + 1)) >= 0:
        missing -= newline + 1 - end
        end = newline + 2
    return end + missing


def _is_boundary(units: str, position: int) -> bool:
    return position == len(units) or proto.HEADER.match(units, position) is not None
