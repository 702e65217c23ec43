"""WebSocket as in its drafts 75 and 76, of Flash movies and browsers of 2010: handshake and framing, sans-I/O.

Draft-75 is draft-hixie-thewebsocketprotocol-75, draft-76 its successor (also known as hybi-00), which added a challenge
to the handshake and a closing frame. The handshake of draft-76 has a body: KEY3_LENGTH bytes behind its headers.
"""

import hashlib
from typing import Final

from tornadio.closecodes import NO_STATUS, Cause
from tornadio.errors import ProtocolError, TooLargeError
from tornadio.websocket.framer import too_large

KEY3_LENGTH: Final = 8  # bytes (draft-76, section 5.2)

_CLOSING_FRAME: Final = b"\xff\x00"
# With seven bits a byte, a longer length is above any limit, or padding without end (CVE-2026-54466).
_MAX_LENGTH_BYTES: Final = 5
_MAX_FRAMES_PER_FEED: Final = 256  # below a millisecond, as in rfc6455.py


def key_number(key: str) -> int:
    """Return the number hidden in ``Sec-WebSocket-Key1`` or ``-Key2``: its digits, divided by its count of spaces.

    :raises ProtocolError: no spaces, no digits, a remainder, or a number past 32 bits (draft-76, section 5.2).
    """
    digits = "".join(character for character in key if "0" <= character <= "9")
    spaces = key.count(" ")
    # The largest number times the most spaces that a client may insert, 12, has 11 digits.
    if not digits or not spaces or len(digits) > 12 or int(digits) % spaces or int(digits) // spaces >= 1 << 32:
        raise ProtocolError("Sec-WebSocket-Key1 and -Key2 must hold a number that is a multiple of their spaces")
    return int(digits) // spaces


def challenge_response(key1: int, key2: int, key3: bytes) -> bytes:
    """Return the 16 bytes of the challenge's response, from both key numbers and the eight bytes of the body."""
    return hashlib.md5(key1.to_bytes(4, "big") + key2.to_bytes(4, "big") + key3).digest()


def handshake_response(draft: int, origin: str, location: str, subprotocol: str | None) -> bytes:
    """Build the head of a 101 response, which the response to the challenge follows in draft-76.

    :param draft: 75 or 76.
    :param origin: the request's ``Origin``, which the client compares.
    :param location: the requested URL, ``ws://`` or ``wss://``, which the client compares, too.
    """
    reason, prefix = ("Web Socket Protocol Handshake", "") if draft == 75 else ("WebSocket Protocol Handshake", "Sec-")
    lines = [
        f"HTTP/1.1 101 {reason}",
        "Upgrade: WebSocket",
        "Connection: Upgrade",
        f"{prefix}WebSocket-Origin: {origin}",
        f"{prefix}WebSocket-Location: {location}",
    ]
    if subprotocol:
        lines.append(f"{prefix}WebSocket-Protocol: {subprotocol}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Framer:
    """The :class:`tornadio.websocket.framer.Framer` of the drafts 75 and 76.

    :param max_payload_size: bytes of one WebSocket message, or of a length-prefixed frame, which carries no text and is
        skipped.
    """

    has_data_to_send = False  # there is no ping in these drafts
    is_encoding_shared = True

    def __init__(self, max_payload_size: int) -> None:
        self.error: ProtocolError | None = None
        self.closed = False
        self.peer_close: Cause | None = None
        self.has_more = False
        self._max_payload_size = max_payload_size
        self._buffer = bytearray()
        self._searched = 0  # bytes of a text frame that were searched for its end: each is searched once
        self._skip = 0  # bytes of a length-prefixed frame that were not received yet
        self._close_sent = False

    def feed(self, data: bytes) -> list[str | bytes]:
        messages: list[str | bytes] = []
        if self.closed:
            return messages
        self._buffer += data
        position, frames = 0, 0
        self.has_more = False
        try:
            while not self.closed and position < len(self._buffer):
                if frames == _MAX_FRAMES_PER_FEED:
                    self.has_more = True
                    break
                frames += 1
                end = self._parse(position, messages)
                if end is None:
                    break
                position = end
        except ProtocolError as error:
            self.error = error.with_traceback(None)  # which holds this object: break the reference cycle
            self.closed = True
        del self._buffer[:position]
        if self.closed:
            self._buffer.clear()
        return messages

    def _parse(self, position: int, messages: list[str | bytes]) -> int | None:
        """Parse a frame at ``position``, or a part of one to skip; returns the end, ``None`` while it is incomplete."""
        if self._skip:
            skipped = min(self._skip, len(self._buffer) - position)
            self._skip -= skipped
            return position + skipped
        kind = self._buffer[position]
        if kind == 0x00:
            return self._parse_text(position, messages)
        if kind & 0x80:  # 0x80 to 0xFF: a frame with a length in front, which carries no text
            return self._parse_length(position)
        raise ProtocolError(f"a frame of the unknown type 0x{kind:02x}", close_code=1002)

    def _parse_text(self, position: int, messages: list[str | bytes]) -> int | None:
        start = position + 1
        end = self._buffer.find(b"\xff", start + self._searched)
        if (end if end >= 0 else len(self._buffer)) - start > self._max_payload_size:
            raise too_large(self._max_payload_size)
        if end < 0:
            self._searched = len(self._buffer) - start
            return None
        self._searched = 0
        try:
            messages.append(self._buffer[start:end].decode("utf-8"))
        except UnicodeDecodeError:
            raise ProtocolError("a text message that is not UTF-8") from None
        return end + 1

    def _parse_length(self, position: int) -> int | None:
        """Parse the length of a frame without text, in seven bits a byte, most significant first; type FF with length 0
        is the closing frame.
        """
        length = 0
        for index, byte in enumerate(self._buffer[position + 1 : position + 1 + _MAX_LENGTH_BYTES], position + 2):
            length = length << 7 | byte & 0x7F
            if byte & 0x80:
                continue
            if length > self._max_payload_size:
                raise too_large(self._max_payload_size)
            self._skip = length
            if length == 0 and self._buffer[position] == 0xFF:
                self.closed = True
                self.peer_close = NO_STATUS
            return index
        if len(self._buffer) - position > _MAX_LENGTH_BYTES:
            raise TooLargeError("a frame length without end")
        return None

    def data_to_send(self) -> bytes:
        """Return the reply to the peer's closing frame, once."""
        return self.close(1000, "") if self.closed and self.error is None else b""

    @staticmethod
    def encode_text(text: bytes) -> bytes:
        return b"\x00" + text + b"\xff"

    @classmethod
    def encode(cls, message: str | bytes) -> bytes:
        return cls.encode_text(message.encode("utf-8") if isinstance(message, str) else message)

    def close(self, code: int, reason: str) -> bytes:
        """Return the closing frame, which carries neither code nor reason; empty if it was sent before."""
        if self._close_sent:
            return b""
        self._close_sent = True
        return _CLOSING_FRAME
