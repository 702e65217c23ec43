"""The codec of Socket.IO 0.6: messages to frames and back, as pure functions.

A payload on any transport is a run of frames ``~m~LEN~m~TEXT``. LEN is a decimal count of UTF-16 code units, as
JavaScript's ``length``: that is what the official client and server 0.6 count. TEXT that starts with ``~j~`` is
JSON, with ``~h~`` a heartbeat, else it is a text message.

That is the format ``"marked"``. Most programs that speak this framing today write JSON without the mark: in the format
``"plain"`` objects go out as bare JSON text, and a text that is a JSON object or array comes in as one. See
:data:`JSONFormat`.

Public are the names in ``__all__``. This module imports no server: a client may use it alone.
"""

import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple, TypeVar

from tornadio.errors import EncodeError, ProtocolError, SettingsError
from tornadio.framing import FRAME, HEADERS, HEADERS_BY_SIZE, encode_frame, header_of_one, limit_sizes, split_frames
from tornadio.jsontext import dumps, find_object_or_array, loads

__all__ = [
    "FRAME",
    "HEARTBEAT",
    "JSON",
    "EncodeError",
    "Heartbeat",
    "JSONFormat",
    "JSONMessage",
    "ProtocolError",
    "TextMessage",
    "decode",
    "encode",
    "encode_heartbeat",
    "iter_decode",
    "parse",
]

#: What the text of a heartbeat begins with; :func:`decode` gives it as a heartbeat's kind.
HEARTBEAT: Final = "~h~"
#: What the text of a JSON message begins with, in the format ``"marked"``.
JSON: Final = "~j~"

#: How JSON is written and read. ``"marked"``: with ``~j~`` in front, as the official client and server 0.6 do.
#: ``"plain"``: as bare JSON text; what comes in with the mark is read as JSON, too, and so is a text that is a JSON
#: object or array. Other texts are texts, those that begin as JSON does and are none included.
JSONFormat = Literal["marked", "plain"]
JSON_FORMATS: Final[tuple[JSONFormat, ...]] = ("marked", "plain")

# A text that starts with one of these may be something else: in the format "plain" an object or array, which JSON's
# whitespace may precede (RFC 8259, section 2).
_MARKS: Final = (JSON, HEARTBEAT)
_PLAIN_MARKS: Final = (*_MARKS, "{", "[", " ", "\t", "\n", "\r")

K = TypeVar("K")


class TextMessage(NamedTuple):
    """A text that :func:`parse` has found in a payload.

    :ivar text: as it was sent.
    """

    text: str


class JSONMessage(NamedTuple):
    """A message in JSON that :func:`parse` has found in a payload.

    :ivar value: the object, which may be a ``str``.
    """

    value: Any


class Heartbeat(NamedTuple):
    """A heartbeat that :func:`parse` has found in a payload. Who receives one echoes it: ``encode_heartbeat(number)``.

    :ivar number: as it was sent: digits, if the peer keeps to the protocol.
    """

    number: str


_Parsed = type[TextMessage] | type[JSONMessage] | type[Heartbeat]
_PARSED: Final[tuple[_Parsed, _Parsed, _Parsed]] = (TextMessage, JSONMessage, Heartbeat)


def encode(message: Any, json: JSONFormat = "marked") -> str:
    """Encode a message as frames.

    A ``str`` arrives as it is, ``bytes`` as the UTF-8 text they hold, a list as the frames of its elements one
    after the other (nested lists flatten), ``None`` as nothing, everything else as JSON.

    :param json: whether JSON is marked with ``~j~``. A text that begins with ``~j~`` or ``~h~`` is sent as a JSON
        string with the mark in either format: else it would arrive as something else.
    :returns: the frames, ``''`` where there is nothing to send.
    :raises EncodeError: ``message`` has bytes that are not UTF-8, a number that JSON can't express (NaN, infinities),
        an object that JSON can't hold, or a list that contains itself.
    :raises SettingsError: ``json`` is neither ``"marked"`` nor ``"plain"``.
    """
    if type(message) is str and message.isascii() and message < "~":  # most messages; they begin with no mark
        length = len(message)
        return (HEADERS[length] if length < len(HEADERS) else f"{FRAME}{length}{FRAME}") + message
    if isinstance(message, str):
        return _text_frame(_well_formed(message))
    if isinstance(message, list):
        return "".join(_encode_list(message, json))
    if message is None:
        return ""
    if isinstance(message, bytes | bytearray | memoryview):
        return _text_frame(_utf8_text(bytes(message)))
    return encode_frame(dumps(message) if _is_plain(json) else JSON + dumps(message))


def encode_heartbeat(number: int | str) -> str:
    """Return the frame of a heartbeat, ``~h~`` and its number, which the peer echoes unchanged.

    :param number: of a heartbeat of one's own; to echo one, ``Heartbeat.number``.
    """
    return encode_frame(f"{HEARTBEAT}{number}")


def check_json_format(json: Any) -> JSONFormat:
    """Return ``json``, checked.

    :raises SettingsError: there is no such format.
    """
    for known in JSON_FORMATS:
        if json == known:
            return known
    raise SettingsError(f"json must be 'marked' or 'plain', not {json!r}")


def _is_plain(json: JSONFormat) -> bool:
    return json != "marked" and check_json_format(json) == "plain"


def _text_frame(text: str) -> str:
    """Return the frame of a text. One that begins as JSON or a heartbeat does is sent as a JSON string instead: else
    the client would decode it as that."""
    return encode_frame(JSON + dumps(text) if text.startswith(_MARKS) else text)


def _well_formed(text: str) -> str:
    """Return ``text`` with each lone surrogate replaced by U+FFFD, as browsers do when they send it."""
    try:
        if not text.isascii():
            text.encode("utf-16-le")  # of all that find a surrogate the fastest
        return str.__str__(text)  # not str(): of an enum's member that is its name
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _encode_list(messages: list[Any], json: JSONFormat) -> Iterator[str]:
    """Yield the frames of a list's elements. Iterative: the nesting of the caller's data must not exhaust the stack."""
    outer = {id(messages)}  # the lists that are being iterated over: an element among them would be a cycle
    stack = [(messages, iter(messages))]
    while stack:
        current, elements = stack[-1]
        for element in elements:
            if not isinstance(element, list):
                yield encode(element, json)
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


def decode(data: str | bytes | bytearray | memoryview, json: JSONFormat = "marked") -> list[tuple[str, Any]]:
    """Decode a payload into ``(FRAME, text or object)`` and ``(HEARTBEAT, digits)`` pairs.

    :param data: a payload, as :func:`encode` makes it, or its UTF-8 bytes; an empty one holds no frames.
    :param json: whether a text that is a JSON object or array is one, without a mark.
    :raises ProtocolError: the payload is not a run of whole frames, a JSON frame is not JSON, or bytes are not UTF-8.
        :func:`iter_decode` yields the frames before the bad one first.
    :raises SettingsError: ``json`` is neither ``"marked"`` nor ``"plain"``.
    """
    return list(iter_decode(data, json=json))


def iter_decode(
    data: str | bytes | bytearray | memoryview, max_message_size: int = sys.maxsize, json: JSONFormat = "marked"
) -> Iterator[tuple[str, Any]]:
    """Decode a payload frame by frame, as :func:`decode`: frames before a bad one are yielded before the error.

    The time taken is linear in the length of ``data``.

    :param max_message_size: UTF-8 bytes that the text of a frame may have, with its mark ``~j~``.
    :raises ProtocolError: from the iterator; says what was wrong, and at which UTF-16 code unit. From this call: bytes
        are not UTF-8.
    :raises TooLargeError: from the iterator, a frame's text has more than ``max_message_size`` bytes.
    :raises SettingsError: ``json`` is neither ``"marked"`` nor ``"plain"``.
    """
    if type(data) is str and 4 * len(data) <= max_message_size:  # in UTF-8 it has no more bytes
        header = (HEADERS_BY_SIZE.get(len(data)) if data.isascii() else None) or header_of_one(data)
        text = data.removeprefix(header)
        if len(text) < len(data):  # one frame, as most payloads are
            # What is less than "~" begins with neither mark: a comparison is cheaper than a call.
            if (text < "~" and json == "marked") or not text.startswith(_MARKS if json == "marked" else _PLAIN_MARKS):
                return iter(((FRAME, text),))
            return classify_frames((text,), json)
    if not isinstance(data, str):
        data = _payload_text(data)
    return classify_frames(limit_sizes(split_frames(data), data, max_message_size), json)


def parse(
    data: str | bytes | bytearray | memoryview, json: JSONFormat = "marked", max_message_size: int = sys.maxsize
) -> Iterator[TextMessage | JSONMessage | Heartbeat]:
    """Decode a payload frame by frame, as :func:`iter_decode`, and tell apart what the frames hold: a JSON string is a
    :class:`JSONMessage`, a text a :class:`TextMessage`.

    The other end of a WebSocket connection, with ``websockets``::

        async for data in websocket:
            for frame in proto.parse(data):
                match frame:
                    case proto.Heartbeat(number):
                        await websocket.send(proto.encode_heartbeat(number))
                    case proto.TextMessage(message) | proto.JSONMessage(message):
                        print(message)

    Parameters and errors are those of :func:`iter_decode`.
    """
    if not isinstance(data, str):
        data = _payload_text(data)
    texts = limit_sizes(split_frames(data), data, max_message_size)
    return itertools.starmap(_parsed, _classify_all(texts, _is_plain(json), _PARSED))


def _parsed(kind: _Parsed, value: Any) -> TextMessage | JSONMessage | Heartbeat:
    return kind(value)


def _payload_text(data: bytes | bytearray | memoryview) -> str:
    """Return the text of a payload's bytes.

    :raises ProtocolError: they are not UTF-8.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"a payload is str or bytes, not {type(data).__name__}")
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the payload is not UTF-8: {error.reason} at byte {error.start}") from None


def classify_frames(texts: Iterable[str], json: JSONFormat = "marked") -> Iterator[tuple[str, Any]]:
    """Yield ``(FRAME, text or object)`` or ``(HEARTBEAT, digits)`` for the text of each frame.

    :raises ProtocolError: from the iterator: a text begins with the mark of JSON, and is not JSON; says which frame.
    :raises SettingsError: ``json`` is neither ``"marked"`` nor ``"plain"``.
    """
    return _classify_all(texts, _is_plain(json), (FRAME, FRAME, HEARTBEAT))


def _classify_all(texts: Iterable[str], is_plain: bool, kinds: tuple[K, K, K]) -> Iterator[tuple[K, Any]]:
    """Yield what the text of each frame is, and the value of that.

    :param kinds: what is yielded for a text, for JSON and for a heartbeat.
    """
    for number, text in enumerate(texts, 1):
        try:
            yield _classify(text, is_plain, kinds)
        except ProtocolError as error:
            raise ProtocolError(f"frame {number}: {error}") from None


def _classify(text: str, is_plain: bool, kinds: tuple[K, K, K]) -> tuple[K, Any]:
    if text.startswith(JSON):
        return kinds[1], loads(text[len(JSON) :])
    if text.startswith(HEARTBEAT):
        return kinds[2], text[len(HEARTBEAT) :]
    if is_plain and (value := find_object_or_array(text)) is not None:
        return kinds[1], value
    return kinds[0], text
