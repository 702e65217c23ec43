"""Frames of RFC 6455: headers, parsed and built, and masking (section 5). Sections are those of RFC 6455."""

import secrets
import struct
from typing import Final

from tornadio.errors import ProtocolError
from tornadio.websocket.masking import mask

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
# In a header's first byte, beside the opcode: the message is compressed (RFC 7692, section 6).
RSV1: Final = 0x40

# Headers with an extended length of 16 or 64 bits (section 5.2).
_HEADER_16: Final = struct.Struct("!BBH").pack
_HEADER_64: Final = struct.Struct("!BBQ").pack
_MAX_CONTROL: Final = 125  # bytes of a control frame's payload (section 5.5)


def build_frame(opcode: int, payload: bytes) -> bytes:
    """Return a frame of a server, which doesn't mask (section 5.1), that is a whole message or a control frame.

    :param opcode: with :data:`RSV1` for a compressed message.
    """
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, length)) + payload
    if length < 1 << 16:
        return _HEADER_16(0x80 | opcode, 126, length) + payload
    return _HEADER_64(0x80 | opcode, 127, length) + payload


def build_masked_frame(opcode: int, payload: bytes) -> bytes:
    """Return a frame of a client, masked with a new key that nobody can predict (section 5.3), that is a whole message
    or a control frame.
    """
    length = len(payload)
    key = secrets.token_bytes(4)
    if length < 126:
        return bytes((0x80 | opcode, 0x80 | length)) + key + mask(key, payload)
    if length < 1 << 16:
        return _HEADER_16(0x80 | opcode, 0x80 | 126, length) + key + mask(key, payload)
    return _HEADER_64(0x80 | opcode, 0x80 | 127, length) + key + mask(key, payload)


class FrameHeader:
    """A frame's header, and how much of its payload is still to come.

    :ivar compressed: whether it begins a compressed message.
    :ivar remaining: bytes of the payload that were not unmasked yet.
    :ivar size: bytes of the header.
    """

    __slots__ = ("_key", "compressed", "final", "opcode", "remaining", "size")

    def __init__(self, first: int, length: int, key: bytes, size: int) -> None:
        self.final = bool(first & 0x80)
        self.compressed = bool(first & RSV1)
        self.opcode = first & 0x0F
        self.remaining = length
        self.size = size
        self._key = key  # empty: not masked

    @classmethod
    def parse(cls, buffer: bytes, position: int, masked: bool, compression: bool) -> "FrameHeader | None":
        """Parse the header at ``position``; ``None`` while it is incomplete (section 5.2).

        :param masked: whether the peer has to mask: a client has to, a server must not.
        :param compression: whether messages may be compressed.
        :raises ProtocolError: as soon as its first bytes show that it is illegal.
        """
        if len(buffer) - position < 2:
            return None
        first, second = buffer[position], buffer[position + 1]
        key_size = 4 if masked else 0
        length, size = second & 0x7F, 2 + key_size
        _check_first_bytes(first, second, masked, compression)
        if length >= 126:
            extended = 2 if length == 126 else 8
            size += extended
            if len(buffer) - position < size:
                return None
            length = int.from_bytes(buffer[position + 2 : position + 2 + extended], "big")
            # 63 bits: the most significant one of eight bytes must be 0 (section 5.2).
            if length < 126 or (extended == 8 and not 1 << 16 <= length < 1 << 63):
                raise ProtocolError("a frame length that is not written in its shortest form", close_code=1002)
        if len(buffer) - position < size:
            return None
        key = buffer[position + size - key_size : position + size]
        return cls(first, length, key, size)

    def unmask(self, chunk: bytes) -> bytes:
        """Unmask the next part of the payload."""
        self.remaining -= len(chunk)
        if not chunk or not self._key:
            return chunk
        clear = mask(self._key, chunk)
        shift = len(chunk) & 3  # the next part goes on in the middle of the key
        self._key = self._key[shift:] + self._key[:shift]
        return clear


def _check_first_bytes(first: int, second: int, masked: bool, compression: bool) -> None:
    opcode = first & 0x0F
    if first & 0x70:
        if not compression or first & 0x70 != RSV1:
            raise ProtocolError("a frame with reserved bits: no extension for them was agreed on", close_code=1002)
        if opcode not in (TEXT, BINARY):
            raise ProtocolError("a frame with RSV1 that begins no message: it can't be compressed", close_code=1002)
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise ProtocolError(f"a frame with the unknown opcode {opcode}", close_code=1002)
    if bool(second & 0x80) != masked:
        rule = "a frame from a client must be masked" if masked else "a frame from a server must not be masked"
        raise ProtocolError(rule, close_code=1002)
    if opcode >= CLOSE and (not first & 0x80 or second & 0x7F > _MAX_CONTROL):
        raise ProtocolError("a control frame must be whole and no longer than 125 bytes", close_code=1002)
