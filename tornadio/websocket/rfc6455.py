"""WebSocket as in RFC 6455 (version 13) and in its drafts with the versions 7 and 8: handshake and framing, sans-I/O.

For a server the three versions differ in one header alone: 7 and 8 send ``Sec-WebSocket-Origin`` instead of ``Origin``.
Sections are those of RFC 6455.
"""

import base64
import binascii
import codecs
import hashlib
import sys
from collections.abc import Mapping
from typing import Final

from tornadio.closecodes import CLOSE_CODES, MAX_REASON_SIZE, NO_STATUS, PRIVATE_CLOSE_CODES, Cause
from tornadio.errors import ProtocolError
from tornadio.websocket.framer import too_large
from tornadio.websocket.masking import mask

VERSIONS: Final = ("13", "8", "7")  # as a response 426 lists them (section 4.4)

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_MAX_CONTROL: Final = 125  # bytes of a control frame's payload (section 5.5)
# Of a fragmented text, pieces of at least so many characters are kept as ``str``, if that takes at most so many bytes
# of memory for each byte received.
_MIN_TEXT_PIECE: Final = 4096
_MAX_GROWTH: Final = 1.5
# Frames that one call of feed parses, or twice as many where kinds are mixed: below a millisecond.
_MAX_FRAMES_PER_FEED: Final = 256
_FRAMES: Final = range(_MAX_FRAMES_PER_FEED)
_MAX_PONGS: Final = 4096  # bytes of pongs that are kept while the socket accepts none

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA


def handshake_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the response headers for an upgrade request (section 4.2.2).

    :raises ProtocolError: a ``Sec-WebSocket-Key`` that is not the base64 of 16 bytes.
    """
    key = headers.get("Sec-WebSocket-Key", "").strip()
    try:
        nonce = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise ProtocolError("Sec-WebSocket-Key must be 16 bytes in base64")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    return {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}


def _frame(opcode: int, payload: bytes) -> bytes:
    # 0x80: the first and last fragment. A server doesn't mask (section 5.1).
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, length)) + payload
    if length < 1 << 16:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + payload


class Framer:
    """The :class:`tornadio.websocket.framer.Framer` of RFC 6455 and of the versions 7 and 8.

    :param max_payload_size: bytes of one WebSocket message, in however many fragments; a larger one fails the
        connection as soon as a frame's header shows it.
    """

    __slots__ = (
        "_buffer",
        "_close_reply",
        "_close_sent",
        "_frame",
        "_max_payload_size",
        "_message",
        "_pongs",
        "closed",
        "error",
        "has_data_to_send",
        "has_more",
        "peer_close",
    )

    def __init__(self, max_payload_size: int) -> None:
        self.error: ProtocolError | None = None
        self.closed = False
        self.peer_close: Cause | None = None
        self.has_more = False
        self.has_data_to_send = False
        self._max_payload_size = max_payload_size
        self._buffer = b""
        self._frame: _FrameHeader | None = None
        self._message: _Message | None = None
        self._pongs = bytearray()
        self._close_reply: bytes | None = None
        self._close_sent = False

    def feed(self, data: bytes) -> list[str | bytes]:
        messages: list[str | bytes] = []
        if self.closed:
            return messages
        if self._buffer:
            data = self._buffer + data
            self.has_more = False
        try:
            self._buffer = data[self._parse(data, messages) :]
        except ProtocolError as error:
            self.error = error.with_traceback(None)  # which holds this object: break the reference cycle
            self.closed = True
        if self.closed:
            self._buffer = b""
            self._message = None
        return messages

    def _parse(self, data: bytes, messages: list[str | bytes]) -> int:
        """Parse frames, up to the limit of one call.

        :returns: where the rest begins, which is kept: part of a header or control frame, or frames past the limit.
        """
        position, end, frames = 0, len(data), 0
        while position < end and not self.closed:
            if self._frame is None:
                if self._message is None:
                    position = self._parse_unfragmented_text(data, position, messages)
                    if position == end:
                        break
                if frames + len(messages) >= _MAX_FRAMES_PER_FEED:
                    self.has_more = True
                    break
                frames += 1
                self._frame = _FrameHeader.parse(data, position)
                if self._frame is None:
                    break
                position += self._frame.size
                self._start_frame(self._frame)
            frame = self._frame
            chunk = data[position : position + frame.remaining]
            # A control frame is handled as a whole: it has 125 bytes at most. Data frames are consumed as they come.
            if len(chunk) < frame.remaining and frame.opcode >= CLOSE:
                break
            position += len(chunk)
            self._consume_frame(frame, frame.unmask(chunk), messages)
            if not frame.remaining:
                self._frame = None
        return position

    def _parse_unfragmented_text(self, data: bytes, position: int, messages: list[str | bytes]) -> int:
        """Parse text messages of one frame each, below 64 KiB: nearly all that clients send. The checks of the general
        case are left to it: anything else, or wrong, stops this loop.

        :returns: where it stopped.
        """
        end = len(data)
        for _ in _FRAMES:
            if end - position < 6 or data[position] != 0x80 | TEXT:
                break
            # XOR clears the mask bit of a masked frame, and sets that of another one: a length above 126.
            start, length = position + 2, data[position + 1] ^ 0x80
            if length == 126:
                start, length = start + 2, data[start] << 8 | data[start + 1]
            elif length > 126:
                break
            stop = start + 4 + length
            # The last: a length that is not in its shortest form.
            if stop > end or length > self._max_payload_size or (start > position + 2 and length < 126):
                break
            try:
                messages.append(mask(data[start : start + 4], data[start + 4 : stop]).decode("utf-8"))
            except UnicodeDecodeError:
                break
            position = stop
        return position

    def _start_frame(self, frame: "_FrameHeader") -> None:
        """Check a new frame's header against the message under way, if any (section 5.4), and count it towards it."""
        if frame.opcode >= CLOSE:
            return
        if frame.opcode == CONTINUATION:
            if self._message is None:
                raise ProtocolError("a continuation frame continues nothing", close_code=1002)
        else:
            if self._message is not None:
                raise ProtocolError("a new message began inside another", close_code=1002)
            self._message = _Message(frame.opcode)
        assert self._message is not None
        self._message.size += frame.remaining
        if self._message.size > self._max_payload_size:
            raise too_large(self._max_payload_size)

    def _consume_frame(self, frame: "_FrameHeader", payload: bytes, messages: list[str | bytes]) -> None:
        if frame.opcode >= CLOSE:
            self._consume_control(frame.opcode, payload)
            return
        message = self._message
        assert message is not None
        message.add(payload)
        if frame.final and not frame.remaining:
            messages.append(message.finish())
            self._message = None

    def _consume_control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            if len(self._pongs) > _MAX_PONGS:
                self._pongs.clear()  # of a flood only the latest ping has to be answered (section 5.5.3)
            self._pongs += _frame(PONG, payload)
            self.has_data_to_send = True
        elif opcode == CLOSE:
            self.peer_close = _parse_close(payload)
            self._close_reply = _frame(CLOSE, payload[:2])  # the code is echoed (section 5.5.1)
            self.closed = self.has_data_to_send = True

    def data_to_send(self) -> bytes:
        self.has_data_to_send = False
        outgoing = b"" if self._close_sent else bytes(self._pongs)
        self._pongs.clear()
        if self._close_reply is not None and not self._close_sent:
            self._close_sent = True
            outgoing += self._close_reply
        return outgoing

    @staticmethod
    def encode(message: str | bytes) -> bytes:
        if isinstance(message, str):
            return _frame(TEXT, message.encode("utf-8"))
        return _frame(BINARY, message)

    def close(self, code: int, reason: str) -> bytes:
        """Return the close frame; ``reason`` is cut to what fits a control frame (123 bytes)."""
        if self._close_sent:
            return b""
        self._close_sent = True
        text = reason.encode("utf-8")[:MAX_REASON_SIZE].decode("utf-8", "ignore").encode("utf-8")
        return _frame(CLOSE, code.to_bytes(2, "big") + text)


def _parse_close(payload: bytes) -> Cause:
    """Parse a close frame: empty, or a code that may be sent, and a reason in UTF-8 (sections 5.5.1 and 7.4).

    :raises ProtocolError: it is anything else.
    """
    if not payload:
        return NO_STATUS
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in CLOSE_CODES or code in PRIVATE_CLOSE_CODES):
        raise ProtocolError("a close frame with an illegal code", close_code=1002)
    try:
        return Cause(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise ProtocolError("a close reason that is not UTF-8") from None


class _FrameHeader:
    """A frame's header, and how much of its payload is still to come."""

    __slots__ = ("_key", "final", "opcode", "remaining", "size")

    def __init__(self, final: bool, opcode: int, length: int, key: bytes, size: int) -> None:
        self.final = final
        self.opcode = opcode
        self.remaining = length
        self.size = size
        self._key = key

    @classmethod
    def parse(cls, buffer: bytes, position: int) -> "_FrameHeader | None":
        """Parse the header at ``position``; ``None`` while it is incomplete (section 5.2).

        :raises ProtocolError: as soon as its first bytes show that it is illegal.
        """
        if len(buffer) - position < 2:
            return None
        first, second = buffer[position], buffer[position + 1]
        length, size = second & 0x7F, 6  # two bytes, and the masking key's four
        _check_first_bytes(first, second)
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
        key = buffer[position + size - 4 : position + size]
        return cls(bool(first & 0x80), first & 0x0F, length, key, size)

    def unmask(self, chunk: bytes) -> bytes:
        """Unmask the next part of the payload."""
        self.remaining -= len(chunk)
        if not chunk:
            return chunk
        clear = mask(self._key, chunk)
        shift = len(chunk) & 3  # the next part goes on in the middle of the key
        self._key = self._key[shift:] + self._key[:shift]
        return clear


def _check_first_bytes(first: int, second: int) -> None:
    opcode = first & 0x0F
    if first & 0x70:
        raise ProtocolError("a frame with reserved bits: no extension was agreed on", close_code=1002)
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise ProtocolError(f"a frame with the unknown opcode {opcode}", close_code=1002)
    if not second & 0x80:
        raise ProtocolError("a frame from a client must be masked", close_code=1002)
    if opcode >= CLOSE and (not first & 0x80 or second & 0x7F > _MAX_CONTROL):
        raise ProtocolError("a control frame must be whole and no longer than 125 bytes", close_code=1002)


class _Message:
    """A message whose last fragment was not received yet.

    Text is decoded as it is received, so that bad UTF-8 fails at its first byte. Small fragments are joined, since each
    ``str`` has some 50 bytes of its own; and text that takes far more memory as ``str`` than as UTF-8 is kept as UTF-8:
    with one emoji among them, ASCII characters take four bytes each.
    """

    __slots__ = ("_bytes", "_decoder", "_pieces", "size")

    def __init__(self, opcode: int) -> None:
        self.size = 0
        self._bytes = bytearray()  # behind the pieces
        self._pieces: list[str | bytes] = []  # of a text
        self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None

    def add(self, payload: bytes, final: bool = False) -> None:
        if self._decoder is None:
            self._bytes += payload
            return
        try:
            text = self._decoder.decode(payload, final)
        except UnicodeDecodeError:
            raise ProtocolError("a text message that is not UTF-8") from None
        if len(text) < _MIN_TEXT_PIECE or sys.getsizeof(text) > _MAX_GROWTH * len(payload):
            self._bytes += text.encode("utf-8")
            return
        if self._bytes:
            self._pieces.append(bytes(self._bytes))
            self._bytes.clear()
        self._pieces.append(text)

    def finish(self) -> str | bytes:
        if self._decoder is None:
            return bytes(self._bytes)
        self.add(b"", final=True)
        texts = [piece if isinstance(piece, str) else piece.decode("utf-8") for piece in self._pieces]
        return "".join([*texts, self._bytes.decode("utf-8")])
